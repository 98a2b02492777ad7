// SPDX-License-Identifier: MIT
// PCI configuration space by mechanism #1 (ports 0xcf8 and 0xcfc), enough to find a device and switch it on. Firmware has assigned
// addresses and interrupt lines.
#ifndef MACHINE_IO_PCI_H
#define MACHINE_IO_PCI_H

#include "base/types.h"

struct pci_device {
	u8 bus, slot, function;
};

// The first function with these ids on the first eight buses.
bool pci_find(u16 vendor, u16 device, struct pci_device *out);
u32 pci_config_read(const struct pci_device *d, u8 offset); // offset a multiple of 4
void pci_config_write(const struct pci_device *d, u8 offset, u32 value);
// Base of an I/O port BAR (0 to 5), 0 if it is none.
u16 pci_io_bar(const struct pci_device *d, unsigned bar);
// ISA interrupt that its INTx pin is routed to; 0: none.
unsigned pci_interrupt_line(const struct pci_device *d);
// Lets it answer to I/O ports and memory, and be a bus master.
void pci_enable(const struct pci_device *d);

#endif
