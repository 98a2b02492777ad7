// SPDX-License-Identifier: MIT
// PCI configuration mechanism #1 (PCI 3.0, 3.2.2.3) over a bus that holds a host bridge and nothing else.
#ifndef CORE_PLATFORM_PCI_H
#define CORE_PLATFORM_PCI_H

#include "base/types.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc

struct pci {
	u32 address;
	u16 command; // of the host bridge
	u8 line;     // its interrupt line register: scratch
};

void pci_init(struct pci *p);
u32 pci_read(struct pci *p, u16 port, unsigned len);
void pci_write(struct pci *p, u16 port, unsigned len, u32 value);

#endif
