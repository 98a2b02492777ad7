// SPDX-License-Identifier: MIT
// IOAPIC. Edge requests on a masked pin are lost, as the 82093AA manual has it; a level pin asserts while its line is high
// and its remote IRR is clear.
#include "core/platform/ioapic.h"
#include "base/string.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI 0x40
#define INDEX_ID 0
#define INDEX_VERSION 1
#define INDEX_ARBITRATION 2
#define INDEX_ENTRY 0x10
#define VERSION (0x20 | (IOAPIC_PINS - 1) << 16)
#define ENTRY_VECTOR(e) ((u8)(e))
#define ENTRY_MODE(e) ((unsigned)((e) >> 8) & 7)
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_STATUS BIT(12)
#define ENTRY_LOW_ACTIVE BIT(13)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_READ_ONLY (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_WRITABLE (0xff0000000001afffull)

void ioapic_init(struct ioapic *io)
{
	memset(io, 0, sizeof(*io));
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->entry[i] = ENTRY_MASKED;
}

static void send(struct ioapic *io, struct lapic *l, unsigned pin)
{
	u64 e = io->entry[pin];
	bool level = e & ENTRY_LEVEL;

	if (lapic_deliver(l, (u8)(e >> 56), e & ENTRY_LOGICAL, ENTRY_MODE(e), ENTRY_VECTOR(e), level) && level)
		io->entry[pin] |= ENTRY_REMOTE_IRR;
}

static void assert_level(struct ioapic *io, struct lapic *l, unsigned pin)
{
	u64 e = io->entry[pin];

	if ((io->lines >> pin & 1) && (e & ENTRY_LEVEL) && !(e & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
		send(io, l, pin);
}

// `level` is the logical level (asserted or not), whatever the polarity bit says: there are no wires here.
void ioapic_set_irq(struct ioapic *io, struct lapic *l, unsigned pin, bool level)
{
	bool rising = level && !(io->lines >> pin & 1);
	u64 e = io->entry[pin];

	io->lines = level ? io->lines | 1u << pin : io->lines & ~(1u << pin);
	if (e & ENTRY_LEVEL)
		assert_level(io, l, pin);
	else if (rising && !(e & ENTRY_MASKED))
		send(io, l, pin);
}

void ioapic_eoi(struct ioapic *io, struct lapic *l, u8 vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if (ENTRY_VECTOR(io->entry[i]) != vector || !(io->entry[i] & ENTRY_LEVEL))
			continue;
		io->entry[i] &= ~ENTRY_REMOTE_IRR;
		assert_level(io, l, i);
	}
}

static u32 read_index(const struct ioapic *io, u8 index)
{
	unsigned pin = (unsigned)(index - INDEX_ENTRY) >> 1;

	if (index == INDEX_ID || index == INDEX_ARBITRATION)
		return (u32)io->id << 24;
	if (index == INDEX_VERSION)
		return VERSION;
	if (index < INDEX_ENTRY || pin >= IOAPIC_PINS)
		return 0;
	return (u32)(io->entry[pin] >> (index & 1 ? 32 : 0));
}

static void write_index(struct ioapic *io, struct lapic *l, u8 index, u32 value)
{
	unsigned pin = (unsigned)(index - INDEX_ENTRY) >> 1, shift = index & 1 ? 32 : 0;
	u64 e, mask = (0xffffffffull << shift) & ENTRY_WRITABLE;

	if (index == INDEX_ID)
		io->id = value >> 24 & 0xf;
	if (index < INDEX_ENTRY || pin >= IOAPIC_PINS)
		return;
	e = (io->entry[pin] & ~mask) | (((u64)value << shift) & mask);
	if (!(e & ENTRY_LEVEL)) // switching to edge is how software without the EOI register clears it
		e &= ~ENTRY_REMOTE_IRR;
	io->entry[pin] = e;
	assert_level(io, l, pin);
}

u32 ioapic_read(struct ioapic *io, u32 offset)
{
	switch (offset & 0xff) {
	case REG_SELECT:
		return io->select;
	case REG_WINDOW:
		return read_index(io, io->select);
	}
	return 0;
}

void ioapic_write(struct ioapic *io, struct lapic *l, u32 offset, u32 value)
{
	switch (offset & 0xff) {
	case REG_SELECT:
		io->select = (u8)value;
		break;
	case REG_WINDOW:
		write_index(io, l, io->select, value);
		break;
	case REG_EOI:
		ioapic_eoi(io, l, (u8)value);
		break;
	}
}
