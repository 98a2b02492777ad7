// SPDX-License-Identifier: MIT
// The IOAPICs, all pins masked until routed, and the 8259s, masked for good.
#ifndef MACHINE_IRQ_IOAPIC_H
#define MACHINE_IRQ_IOAPIC_H

#include "base/types.h"

// Masks the 8259s. Before lapic_start(), while LINT0 still passes their output: QEMU keeps a request that the firmware's
// timer raised until that output falls through an unmasked LINT0, and would deliver it later as vector -1 (#GP).
void pic_mask(void);
void ioapic_start(void);
// An ISA interrupt (0-15, MADT overrides applied) to a vector on the first CPU, unmasked. False: no such pin.
bool ioapic_route_isa(unsigned irq, u8 vector);
// A PCI interrupt by its global number: level, active low.
bool ioapic_route_pci(u32 gsi, u8 vector);
void ioapic_mask(u32 gsi, bool masked);

#endif
