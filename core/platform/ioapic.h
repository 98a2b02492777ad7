// SPDX-License-Identifier: MIT
// 82093AA IOAPIC with 24 inputs and the later EOI register (version 0x20).
#ifndef CORE_PLATFORM_IOAPIC_H
#define CORE_PLATFORM_IOAPIC_H

#include "core/platform/lapic.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_PINS 24

struct ioapic {
	u8 select;
	u8 id;
	u32 lines; // input levels
	u64 entry[IOAPIC_PINS];
};

void ioapic_init(struct ioapic *io);
u32 ioapic_read(struct ioapic *io, u32 offset);
void ioapic_write(struct ioapic *io, struct lapic *l, u32 offset, u32 value);
void ioapic_set_irq(struct ioapic *io, struct lapic *l, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *io, struct lapic *l, u8 vector);

#endif
