// SPDX-License-Identifier: MIT
// Builds the tables one after the other in a small buffer and writes each where the next free place is. Order: the tables
// that others point to come first; the RSDP's place, the first, is filled last.
#include "core/platform/acpi.h"
#include "base/assert.h"
#include "base/string.h"
#include "core/platform/aml.h"
#include "core/platform/ioapic.h"
#include "core/platform/pm.h"
#include "core/platform/pvpanic.h"

#define TABLE_MAX 1024
#define HEADER_SIZE 36
#define TABLE_ALIGN 64
#define OP_SCOPE 0x10
#define OP_PACKAGE 0x12
#define OP_NAME 0x08
#define OP_DEVICE 0x5b82
#define RSDP_PLACE 64
#define PM_TIMER_BITS 24
#define RESET_PORT 0xcf9
#define RESET_VALUE 0x06
#define PCI_WINDOW_END 0xfebfffffu
#define PCI_WINDOW_ALIGN 0x10000000ull

struct builder {
	const struct acpi_config *c;
	u64 next;
	u8 bytes[TABLE_MAX];
	struct aml out;
};

static u8 checksum(const u8 *bytes, unsigned n)
{
	u8 sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += bytes[i];
	return (u8)-sum;
}

static void put_text(struct builder *b, const char *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		aml_byte(&b->out, (u8)text[i]);
}

static void put(struct builder *b, u64 value, unsigned bytes)
{
	aml_le(&b->out, value, bytes);
}

static void start_raw(struct builder *b)
{
	b->out = (struct aml){.buffer = b->bytes, .size = TABLE_MAX};
}

// System description header; length and checksum follow in finish().
static void start(struct builder *b, const char *signature, u8 revision)
{
	start_raw(b);
	put_text(b, signature, 4);
	put(b, 0, 4);
	put(b, revision, 1);
	put(b, 0, 1);
	put_text(b, "TRPZE ", 6);
	put_text(b, "TRAPEZE ", 8);
	put(b, 1, 4);
	put_text(b, "TRPZ", 4);
	put(b, 1, 4);
}

static u64 write_out(struct builder *b)
{
	u64 where = b->next;

	assert(!b->out.overflow);
	b->c->write(b->c->ctx, where, b->bytes, b->out.length);
	b->next = ROUND_UP(where + b->out.length, TABLE_ALIGN);
	assert(b->next <= b->c->base + ACPI_AREA_SIZE);
	return where;
}

static u64 finish(struct builder *b)
{
	u32 length = b->out.length;

	assert(!b->out.overflow);
	memcpy(b->bytes + 4, &length, 4);
	b->bytes[9] = checksum(b->bytes, length);
	return write_out(b);
}

static u64 build_facs(struct builder *b)
{
	start_raw(b);
	put_text(b, "FACS", 4);
	put(b, 64, 4);
	for (unsigned i = 0; i < 6; i++) // signature, vectors, lock, flags: nothing wakes here
		put(b, 0, 4);
	put(b, 2, 1); // version
	for (unsigned i = 0; i < 31; i++)
		put(b, 0, 1);
	return write_out(b);
}

static void device_serial(struct aml *a)
{
	unsigned device = aml_open(a, OP_DEVICE);
	struct aml_resources r;

	aml_name(a, "COM1");
	aml_name_eisa(a, "_HID", "PNP0501");
	aml_name_integer(a, "_UID", 1);
	aml_name_integer(a, "_STA", 0xf);
	r = aml_resources_open(a);
	aml_io(a, 0x3f8, 0x3f8, 0, 8);
	aml_irq(a, 4);
	aml_resources_close(a, &r);
	aml_close(a, device);
}

static void device_rtc(struct aml *a)
{
	unsigned device = aml_open(a, OP_DEVICE);
	struct aml_resources r;

	aml_name(a, "RTC");
	aml_name_eisa(a, "_HID", "PNP0B00");
	r = aml_resources_open(a);
	aml_io(a, 0x70, 0x70, 0x10, 2);
	aml_irq(a, 8);
	aml_resources_close(a, &r);
	aml_close(a, device);
}

// QEMU's device, by which a kernel that has the driver (Linux: pvpanic-mmio) says that it panicked.
static void device_pvpanic(struct aml *a)
{
	unsigned device = aml_open(a, OP_DEVICE);
	struct aml_resources r;

	aml_name(a, "PEVT");
	aml_name_string(a, "_HID", "QEMU0001");
	aml_name_integer(a, "_STA", 0xf);
	r = aml_resources_open(a);
	aml_io(a, PVPANIC_PORT, PVPANIC_PORT, 1, 1);
	aml_resources_close(a, &r);
	aml_close(a, device);
}

static void device_pci(struct builder *b, struct aml *a)
{
	unsigned device = aml_open(a, OP_DEVICE);
	u64 window = ROUND_UP(MAX(b->c->mem_low, 8 * PCI_WINDOW_ALIGN), PCI_WINDOW_ALIGN);
	struct aml_resources r;

	aml_name(a, "PCI0");
	aml_name_eisa(a, "_HID", "PNP0A03");
	aml_name_integer(a, "_UID", 0);
	aml_name_integer(a, "_BBN", 0);
	r = aml_resources_open(a);
	aml_word_space(a, AML_BUS, 0, 0xff);
	aml_io(a, 0xcf8, 0xcf8, 1, 8);
	aml_word_space(a, AML_IO, 0, 0xcf7);
	aml_word_space(a, AML_IO, 0xd00, 0xffff);
	aml_dword_memory(a, 0xa0000, 0xbffff, true);
	if (window < PCI_WINDOW_END)
		aml_dword_memory(a, (u32)window, PCI_WINDOW_END, false);
	aml_resources_close(a, &r);
	device_serial(a);
	device_rtc(a);
	device_pvpanic(a);
	aml_close(a, device);
}

static u64 build_dsdt(struct builder *b)
{
	struct aml *a = &b->out;
	unsigned scope, package;

	start(b, "DSDT", 2);
	aml_byte(a, OP_NAME);
	aml_name(a, "\\_S5");
	package = aml_open(a, OP_PACKAGE);
	aml_byte(a, 4);
	aml_integer(a, PM_S5_TYPE);
	for (unsigned i = 0; i < 3; i++)
		aml_integer(a, 0);
	aml_close(a, package);
	scope = aml_open(a, OP_SCOPE);
	aml_name(a, "\\_SB");
	device_pci(b, a);
	aml_close(a, scope);
	return finish(b);
}

// Generic address of an I/O port register.
static void put_gas(struct builder *b, u16 port, u8 bits, u8 access)
{
	put(b, port ? 1 : 0, 1); // system I/O
	put(b, port ? bits : 0, 1);
	put(b, 0, 1);
	put(b, port ? access : 0, 1);
	put(b, port, 8);
}

#define FADT_FLAGS                                                                                         \
	(BIT(0) /* WBINVD */ | BIT(2) /* C1 */ | BIT(5) /* no sleep button */ | BIT(6) /* no RTC wake */ | \
	 BIT(10) /* reset register */)
#define BOOT_ARCH (BIT(0) /* legacy devices: COM1 */ | BIT(2) /* no VGA */) // and no 8042, PCIe or MSI claims

static u64 build_fadt(struct builder *b, u64 facs, u64 dsdt)
{
	start(b, "FACP", 5);
	put(b, facs, 4);
	put(b, dsdt, 4);
	put(b, 0, 1);
	put(b, 0, 1); // preferred profile: unspecified
	put(b, SCI_IRQ, 2);
	put(b, 0, 4); // SMI_CMD: none, always in ACPI mode
	put(b, 0, 4); // ACPI_ENABLE, _DISABLE, S4BIOS_REQ, PSTATE_CNT
	put(b, PM_EVENT, 4);
	put(b, 0, 4);
	put(b, PM_CONTROL, 4);
	put(b, 0, 8); // PM1b control, PM2 control
	put(b, PM_TIMER, 4);
	put(b, 0, 8);                                           // GPE blocks
	put(b, 0x04 | 0x02 << 8 | 0x00 << 16 | 0x04u << 24, 4); // lengths: PM1 event, control, PM2, timer
	put(b, 0, 4);                                           // GPE lengths and base, CST_CNT
	put(b, 0xfff, 2);                                       // C2 and C3 latencies: unsupported
	put(b, 0xfff, 2);
	put(b, 0, 6);    // flush size and stride, duty cycle
	put(b, 0, 2);    // day and month alarm
	put(b, 0x32, 1); // century
	put(b, BOOT_ARCH, 2);
	put(b, 0, 1);
	put(b, FADT_FLAGS, 4);
	put_gas(b, RESET_PORT, 8, 1);
	put(b, RESET_VALUE, 1);
	put(b, 0, 3);
	put(b, 0, 8); // X_FIRMWARE_CTRL: the 32-bit one holds
	put(b, dsdt, 8);
	put_gas(b, PM_EVENT, 32, 2);
	put_gas(b, 0, 0, 0);
	put_gas(b, PM_CONTROL, 16, 2);
	put_gas(b, 0, 0, 0);
	put_gas(b, 0, 0, 0);
	put_gas(b, PM_TIMER, 32, 3);
	put_gas(b, 0, 0, 0);
	put_gas(b, 0, 0, 0);
	put_gas(b, 0, 0, 0); // sleep control and status: full hardware has none
	put_gas(b, 0, 0, 0);
	assert(b->out.length == 268);
	return finish(b);
}

static void put_override(struct builder *b, u8 irq, u32 gsi, u16 flags)
{
	put(b, 2 | 10 << 8, 2);
	put(b, 0, 1); // ISA
	put(b, irq, 1);
	put(b, gsi, 4);
	put(b, flags, 2);
}

static u64 build_madt(struct builder *b)
{
	start(b, "APIC", 3);
	put(b, LAPIC_BASE, 4);
	put(b, 1, 4);          // a PIC pair is there too
	put(b, 0 | 8 << 8, 2); // local APIC: processor 0, ID 0, enabled
	put(b, 0, 2);
	put(b, 1, 4);
	put(b, 1 | 12 << 8, 2); // IOAPIC: ID 0, interrupts from 0
	put(b, 0, 2);
	put(b, IOAPIC_BASE, 4);
	put(b, 0, 4);
	put_override(b, 0, 2, 0);
	put_override(b, SCI_IRQ, SCI_IRQ, 0xd); // active high, level
	put(b, 4 | 6 << 8, 2);                  // NMI on LINT1 of all processors
	put(b, 0xff, 1);
	put(b, 0, 2);
	put(b, 1, 1);
	return finish(b);
}

static u64 build_root(struct builder *b, const char *signature, unsigned entry_bytes, u64 fadt, u64 madt)
{
	start(b, signature, 1);
	put(b, fadt, entry_bytes);
	put(b, madt, entry_bytes);
	return finish(b);
}

u64 acpi_build(const struct acpi_config *c)
{
	struct builder b = {.c = c, .next = c->base + RSDP_PLACE};
	u64 facs, dsdt, fadt, madt, rsdt, xsdt;

	assert(!(c->base & (TABLE_ALIGN - 1)) && c->base + ACPI_AREA_SIZE <= 4 * GIB);
	facs = build_facs(&b);
	dsdt = build_dsdt(&b);
	fadt = build_fadt(&b, facs, dsdt);
	madt = build_madt(&b);
	rsdt = build_root(&b, "RSDT", 4, fadt, madt);
	xsdt = build_root(&b, "XSDT", 8, fadt, madt);
	start_raw(&b);
	put_text(&b, "RSD PTR ", 8);
	put(&b, 0, 1);
	put_text(&b, "TRPZE ", 6);
	put(&b, 2, 1);
	put(&b, rsdt, 4);
	put(&b, 36, 4);
	put(&b, xsdt, 8);
	put(&b, 0, 4);
	b.bytes[8] = checksum(b.bytes, 20);
	b.bytes[32] = checksum(b.bytes, 36);
	b.next = c->base;
	return write_out(&b);
}
