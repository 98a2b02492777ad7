// SPDX-License-Identifier: MIT
// The IOAPICs, all pins masked until routed, and the 8259s, masked for good.
#ifndef MACHINE_IRQ_IOAPIC_H
#define MACHINE_IRQ_IOAPIC_H

#include "base/types.h"

void ioapic_init(void);
// An ISA interrupt (0-15, MADT overrides applied) to a vector on the first CPU, unmasked. False: no such pin.
bool ioapic_route_isa(unsigned irq, u8 vector);
// A PCI interrupt by its global number: level, active low.
bool ioapic_route_pci(u32 gsi, u8 vector);
void ioapic_mask(u32 gsi, bool masked);

#endif
