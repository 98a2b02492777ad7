// SPDX-License-Identifier: MIT
// IOAPIC and 8259. Access is by index and data register, so under a lock.
#include "machine/irq/ioapic.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/spinlock.h"
#include "machine/mm/paging.h"

enum { IOAPIC_VERSION = 1, IOAPIC_ENTRY = 0x10 };
#define ENTRY_LOW_ACTIVE 0x2000u
#define ENTRY_LEVEL 0x8000u
#define ENTRY_MASKED 0x10000u
#define MPS_POLARITY_LOW 3  // in flags bits 1:0
#define MPS_TRIGGER_LEVEL 3 // in flags bits 3:2
#define PIC1 0x20
#define PIC2 0xa0
#define PIC_VECTOR 0x20 // spurious ones would land at 0x27 and 0x2f, below every vector in use

static struct {
	volatile u32 *regs;
	u32 gsi_base, pins;
} ioapics[IOAPICS_MAX];
static unsigned count;
static struct spinlock lock;

static u32 get(unsigned i, u32 reg)
{
	ioapics[i].regs[0] = reg;
	return ioapics[i].regs[4];
}

static void set(unsigned i, u32 reg, u32 v)
{
	ioapics[i].regs[0] = reg;
	ioapics[i].regs[4] = v;
}

void pic_mask(void)
{
	outb(PIC1, 0x11); // ICW1: edge, cascade, ICW4 follows
	outb(PIC2, 0x11);
	outb(PIC1 + 1, PIC_VECTOR);
	outb(PIC2 + 1, PIC_VECTOR + 8);
	outb(PIC1 + 1, 4);
	outb(PIC2 + 1, 2);
	outb(PIC1 + 1, 1);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

void ioapic_start(void)
{
	const struct acpi_info *a = acpi_info();

	for (u32 i = 0; i < a->ioapic_count; i++) {
		volatile u32 *regs = map_io(a->ioapic[i].base, PAGE_SIZE);

		if (!regs)
			continue;
		ioapics[count].regs = regs;
		ioapics[count].gsi_base = a->ioapic[i].gsi_base;
		ioapics[count].pins = (get(count, IOAPIC_VERSION) >> 16 & 0xff) + 1;
		for (u32 pin = 0; pin < ioapics[count].pins; pin++)
			set(count, IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
		count++;
	}
}

static bool write_entry(u32 gsi, u32 low)
{
	for (unsigned i = 0; i < count; i++) {
		u32 pin = gsi - ioapics[i].gsi_base;

		if (gsi >= ioapics[i].gsi_base && pin < ioapics[i].pins) {
			u64 flags = spin_lock_irqsave(&lock);

			set(i, IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
			set(i, IOAPIC_ENTRY + 2 * pin + 1, cpu_get(0)->apic_id << 24);
			set(i, IOAPIC_ENTRY + 2 * pin, low);
			spin_unlock_irqrestore(&lock, flags);
			return true;
		}
	}
	return false;
}

bool ioapic_route_isa(unsigned irq, u8 vector)
{
	u16 flags = acpi_info()->isa[irq].flags;
	u32 low = vector;

	if ((flags & 3) == MPS_POLARITY_LOW)
		low |= ENTRY_LOW_ACTIVE;
	if ((flags >> 2 & 3) == MPS_TRIGGER_LEVEL)
		low |= ENTRY_LEVEL;
	return write_entry(acpi_info()->isa[irq].gsi, low);
}

bool ioapic_route_pci(u32 gsi, u8 vector)
{
	return write_entry(gsi, vector | ENTRY_LOW_ACTIVE | ENTRY_LEVEL);
}

void ioapic_mask(u32 gsi, bool masked)
{
	for (unsigned i = 0; i < count; i++) {
		u32 pin = gsi - ioapics[i].gsi_base;

		if (gsi >= ioapics[i].gsi_base && pin < ioapics[i].pins) {
			u64 flags = spin_lock_irqsave(&lock);
			u32 low = get(i, IOAPIC_ENTRY + 2 * pin) & ~ENTRY_MASKED;

			set(i, IOAPIC_ENTRY + 2 * pin, low | (masked ? ENTRY_MASKED : 0));
			spin_unlock_irqrestore(&lock, flags);
		}
	}
}
