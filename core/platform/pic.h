// SPDX-License-Identifier: MIT
// Pair of 8259A interrupt controllers, the slave on the master's input 2 (Intel 8259A data sheet, 1988).
#ifndef CORE_PLATFORM_PIC_H
#define CORE_PLATFORM_PIC_H

#include "base/types.h"

struct pic_chip {
	u8 irr, imr, isr;
	u8 lines;  // input levels
	u8 elcr;   // 1: level-triggered
	u8 base;   // vector of input 0
	u8 lowest; // input of lowest priority
	u8 icw;    // next initialization word expected: 0 none, 2..4
	bool icw4, single, auto_eoi, rotate_aeoi, special_mask, nested, read_isr, poll;
};

struct pic {
	struct pic_chip chip[2];
};

void pic_init(struct pic *p);
u8 pic_read(struct pic *p, u16 port);
void pic_write(struct pic *p, u16 port, u8 value);
void pic_set_irq(struct pic *p, unsigned irq, bool level);
bool pic_output(const struct pic *p);
// Interrupt acknowledge cycle: the vector; spurious ones are input 7's.
u8 pic_acknowledge(struct pic *p);

#endif
