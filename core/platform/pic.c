// SPDX-License-Identifier: MIT
// 8259A pair. The cascade input is not latched: the master sees the slave's output as it is, so that no edge is lost
// when the slave has a second request ready.
#include "core/platform/pic.h"
#include "base/string.h"

#define CASCADE 2
#define ICW1_INIT 0x10
#define ICW1_LEVEL 0x08
#define ICW1_SINGLE 0x02
#define ICW1_ICW4 0x01
#define ICW4_NESTED 0x10
#define ICW4_AEOI 0x02
#define OCW3 0x08
// Inputs that cannot be level-triggered: timer, keyboard, cascade; RTC and FPU on the slave.
#define ELCR_MASK_MASTER 0xf8
#define ELCR_MASK_SLAVE 0xde

void pic_init(struct pic *p)
{
	memset(p, 0, sizeof(*p));
	for (unsigned i = 0; i < 2; i++) {
		p->chip[i].imr = 0xff;
		p->chip[i].lowest = 7;
	}
	p->chip[0].base = 0x08;
	p->chip[1].base = 0x70;
}

// Rank of the highest-priority bit in `bits` (0 is served first), 8 when there is none.
static unsigned first_rank(const struct pic_chip *c, u8 bits)
{
	for (unsigned rank = 0; rank < 8; rank++)
		if (bits & (1u << ((c->lowest + 1 + rank) & 7)))
			return rank;
	return 8;
}

// Input to be served, or -1.
static int chip_request(const struct pic_chip *c, bool cascade)
{
	u8 requests = (u8)((c->irr | (cascade ? 1u << CASCADE : 0)) & ~c->imr);
	u8 blocking = c->isr;
	unsigned rank = first_rank(c, requests);

	if (c->special_mask)
		blocking &= (u8)~c->imr;
	if (c->nested && cascade)
		blocking &= (u8) ~(1u << CASCADE);
	if (rank == 8 || rank >= first_rank(c, blocking))
		return -1;
	return (int)((c->lowest + 1 + rank) & 7);
}

static bool slave_output(const struct pic *p)
{
	return chip_request(&p->chip[1], false) >= 0;
}

bool pic_output(const struct pic *p)
{
	return chip_request(&p->chip[0], slave_output(p)) >= 0;
}

void pic_set_irq(struct pic *p, unsigned irq, bool level)
{
	struct pic_chip *c = &p->chip[irq >> 3 & 1];
	u8 bit = (u8)(1u << (irq & 7));

	if (c->elcr & bit) {
		c->irr = (u8)(level ? c->irr | bit : c->irr & ~bit);
	} else if (level && !(c->lines & bit)) {
		c->irr |= bit;
	}
	c->lines = (u8)(level ? c->lines | bit : c->lines & ~bit);
}

static void chip_take(struct pic_chip *c, unsigned input)
{
	u8 bit = (u8)(1u << input);

	if (!(c->elcr & bit))
		c->irr &= (u8)~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest = (u8)input;
}

u8 pic_acknowledge(struct pic *p)
{
	int input = chip_request(&p->chip[0], slave_output(p));

	if (input < 0)
		return p->chip[0].base + 7;
	if (input != CASCADE) {
		chip_take(&p->chip[0], (unsigned)input);
		return (u8)(p->chip[0].base + input);
	}
	input = chip_request(&p->chip[1], false);
	chip_take(&p->chip[0], CASCADE);
	if (input < 0)
		return p->chip[1].base + 7;
	chip_take(&p->chip[1], (unsigned)input);
	return (u8)(p->chip[1].base + input);
}

static u8 chip_poll(struct pic *p, unsigned which)
{
	struct pic_chip *c = &p->chip[which];
	int input = chip_request(c, which == 0 && slave_output(p));

	c->poll = false;
	if (input < 0)
		return 0;
	chip_take(c, (unsigned)input);
	return (u8)(0x80 | input);
}

u8 pic_read(struct pic *p, u16 port)
{
	unsigned which = port & 0x80 ? 1 : 0;
	struct pic_chip *c = &p->chip[which];

	if (port == 0x4d0 || port == 0x4d1)
		return p->chip[port & 1].elcr;
	if (c->poll)
		return chip_poll(p, which);
	if (port & 1)
		return c->imr;
	if (c->read_isr)
		return c->isr;
	return (u8)(c->irr | (which == 0 && slave_output(p) ? 1u << CASCADE : 0));
}

static void chip_start_init(struct pic_chip *c, u8 icw1)
{
	// Level inputs stay requested: their line is their request.
	c->irr = c->lines & c->elcr;
	c->imr = c->isr = 0;
	c->lowest = 7;
	c->auto_eoi = c->rotate_aeoi = c->special_mask = c->nested = c->read_isr = c->poll = false;
	c->icw4 = icw1 & ICW1_ICW4;
	c->single = icw1 & ICW1_SINGLE;
	c->icw = 2;
}

static void chip_ocw2(struct pic_chip *c, u8 value)
{
	unsigned command = value >> 5, level = value & 7, rank;

	switch (command) {
	case 0: // rotate in automatic EOI mode: clear, set
	case 4:
		c->rotate_aeoi = command == 4;
		break;
	case 1: // non-specific EOI, with 5: and rotate
	case 5:
		rank = first_rank(c, c->special_mask ? c->isr & (u8)~c->imr : c->isr);
		if (rank < 8) {
			unsigned input = (c->lowest + 1 + rank) & 7;

			c->isr &= (u8) ~(1u << input);
			if (command == 5)
				c->lowest = (u8)input;
		}
		break;
	case 3: // specific EOI, with 7: and rotate
	case 7:
		c->isr &= (u8) ~(1u << level);
		if (command == 7)
			c->lowest = (u8)level;
		break;
	case 6: // set priority
		c->lowest = (u8)level;
		break;
	}
}

static void chip_ocw3(struct pic_chip *c, u8 value)
{
	if (value & 0x04)
		c->poll = true;
	if (value & 0x02)
		c->read_isr = value & 1;
	if (value & 0x40)
		c->special_mask = value & 0x20;
}

static void chip_data(struct pic_chip *c, u8 value)
{
	switch (c->icw) {
	case 0:
		c->imr = value;
		break;
	case 2:
		c->base = value & 0xf8;
		c->icw = !c->single ? 3 : c->icw4 ? 4 : 0;
		break;
	case 3:
		c->icw = c->icw4 ? 4 : 0;
		break;
	case 4:
		c->nested = value & ICW4_NESTED;
		c->auto_eoi = value & ICW4_AEOI;
		c->icw = 0;
		break;
	}
}

void pic_write(struct pic *p, u16 port, u8 value)
{
	struct pic_chip *c = &p->chip[port & 0x80 ? 1 : 0];

	if (port == 0x4d0 || port == 0x4d1) {
		c = &p->chip[port & 1];
		c->elcr = value & (port & 1 ? ELCR_MASK_SLAVE : ELCR_MASK_MASTER);
		c->irr = (u8)((c->irr & ~c->elcr) | (c->lines & c->elcr));
	} else if (port & 1) {
		chip_data(c, value);
	} else if (value & ICW1_INIT) {
		chip_start_init(c, value);
	} else if (value & OCW3) {
		chip_ocw3(c, value);
	} else {
		chip_ocw2(c, value);
	}
}
