// SPDX-License-Identifier: MIT
// ACPI as far as a machine without drivers needs it: where the CPUs' LAPICs and the IOAPICs are (MADT), and how to
// switch the machine off (FADT and \_S5). Tables are checked (signature, length, checksum) before use.
#ifndef MACHINE_BOOT_ACPI_H
#define MACHINE_BOOT_ACPI_H

#include "machine/boot/boot_info.h"
#include "machine/cpu/cpu.h"

#define IOAPICS_MAX 8
#define ISA_IRQS 16

struct acpi_ioapic {
	u64 base;
	u32 gsi_base;
};

struct acpi_info {
	u64 lapic_base;
	u32 cpu_count; // enabled ones, at most CPUS_MAX
	u32 apic_id[CPUS_MAX];
	u32 ioapic_count;
	struct acpi_ioapic ioapic[IOAPICS_MAX];
	struct {
		u32 gsi;
		u16 flags; // MPS INTI flags: polarity and trigger
	} isa[ISA_IRQS];
	u16 pm1a_control, pm1b_control; // ports, 0: unknown or none
	u16 s5_type, s5_type_b;
	u16 smi_command; // port, and what to write there for the firmware to hand over power management; 0: nothing
	u8 acpi_enable;
};

// Fills acpi_info; without usable tables it says one CPU, the standard LAPIC and IOAPIC addresses.
void acpi_init(const struct boot_info *bi);
const struct acpi_info *acpi_info(void);
// Mapped table with this signature, NULL when there is none. *len is its checked length.
const void *acpi_find(const char *signature, u32 *len);
// Power off; returns when the machine cannot.
void acpi_poweroff(void);

#endif
