// SPDX-License-Identifier: MIT
#include "machine/io/pci.h"

#include "machine/cpu/spinlock.h"

#define ADDRESS 0xcf8
#define DATA 0xcfc
#define ENABLE 0x80000000u
#define REG_ID 0x00
#define REG_COMMAND 0x04
#define REG_HEADER 0x0c
#define REG_BAR 0x10
#define REG_INTERRUPT 0x3c
#define COMMAND_ON 0x7u // I/O, memory, bus master
#define HEADER_MANY (1u << 23)
#define BAR_IO 1u
#define BUSES 8 // looked at: all that the machines of ours have
#define SLOTS 32
#define FUNCTIONS 8

static struct spinlock lock; // address and data belong together

static u32 access(const struct pci_device *d, u8 offset, const u32 *value)
{
	u64 flags = spin_lock_irqsave(&lock);
	u32 v = 0;

	outl(ADDRESS, ENABLE | (u32)d->bus << 16 | (u32)d->slot << 11 | (u32)d->function << 8 | (offset & 0xfcu));
	if (value)
		outl(DATA, *value);
	else
		v = inl(DATA);
	spin_unlock_irqrestore(&lock, flags);
	return v;
}

u32 pci_config_read(const struct pci_device *d, u8 offset)
{
	return access(d, offset, NULL);
}

void pci_config_write(const struct pci_device *d, u8 offset, u32 value)
{
	access(d, offset, &value);
}

static bool find_in_slot(u32 id, struct pci_device *d)
{
	for (unsigned f = 0; f < FUNCTIONS; f++) {
		d->function = (u8)f;
		if (pci_config_read(d, REG_ID) == id)
			return true;
		if (!f && !(pci_config_read(d, REG_HEADER) & HEADER_MANY))
			return false;
	}
	return false;
}

bool pci_find(u16 vendor, u16 device, struct pci_device *out)
{
	for (unsigned bus = 0; bus < BUSES; bus++) {
		for (unsigned slot = 0; slot < SLOTS; slot++) {
			*out = (struct pci_device){.bus = (u8)bus, .slot = (u8)slot};
			if (find_in_slot((u32)device << 16 | vendor, out))
				return true;
		}
	}
	return false;
}

u16 pci_io_bar(const struct pci_device *d, unsigned bar)
{
	u32 v = pci_config_read(d, (u8)(REG_BAR + 4 * bar));

	return v & BAR_IO ? (u16)(v & ~3u) : 0;
}

unsigned pci_interrupt_line(const struct pci_device *d)
{
	u32 v = pci_config_read(d, REG_INTERRUPT);

	return (v & 0xff00) && (v & 0xff) < 16 ? v & 0xff : 0;
}

void pci_enable(const struct pci_device *d)
{
	pci_config_write(d, REG_COMMAND, (pci_config_read(d, REG_COMMAND) & 0xffff) | COMMAND_ON);
}
