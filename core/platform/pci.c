// SPDX-License-Identifier: MIT
// PCI: 00:00.0 is an Intel 82441FX host bridge, as on QEMU's pc; every other function is absent (all ones).
#include "core/platform/pci.h"
#include "base/string.h"

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_WRITABLE 0x80fffffcu
#define ADDRESS_FUNCTION(a) ((a) >> 8 & 0xffff)
#define HOST_BRIDGE 0
#define ID_82441FX 0x12378086
#define CLASS_HOST_BRIDGE_REV2 0x06000002
#define COMMAND_WRITABLE 0x0106
#define SUBSYSTEM_QEMU 0x11001af4

void pci_init(struct pci *p)
{
	memset(p, 0, sizeof(*p));
	p->command = 0x0006;
}

static u32 config_read(const struct pci *p, unsigned reg)
{
	switch (reg) {
	case 0x00:
		return ID_82441FX;
	case 0x04:
		return p->command;
	case 0x08:
		return CLASS_HOST_BRIDGE_REV2;
	case 0x2c:
		return SUBSYSTEM_QEMU;
	case 0x3c:
		return p->line;
	}
	return 0;
}

static bool selected(const struct pci *p)
{
	return (p->address & ADDRESS_ENABLE) && ADDRESS_FUNCTION(p->address) == HOST_BRIDGE;
}

u32 pci_read(struct pci *p, u16 port, unsigned len)
{
	u32 value;

	if (port < PCI_DATA)
		return port == PCI_ADDRESS && len == 4 ? p->address : 0xffffffff;
	if (!selected(p))
		return 0xffffffff;
	value = config_read(p, p->address & 0xfc) >> (port & 3) * 8;
	return value;
}

void pci_write(struct pci *p, u16 port, unsigned len, u32 value)
{
	unsigned reg = (p->address & 0xfc) | (port & 3);

	if (port == PCI_ADDRESS && len == 4)
		p->address = value & ADDRESS_WRITABLE;
	if (port < PCI_DATA || !selected(p))
		return;
	if (reg == 0x04 && len >= 2)
		p->command = value & COMMAND_WRITABLE;
	else if (reg == 0x3c)
		p->line = (u8)value;
}
