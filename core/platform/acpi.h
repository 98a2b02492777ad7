// SPDX-License-Identifier: MIT
// ACPI tables of the virtual platform (ACPI 5.0 where a revision matters): RSDP, RSDT, XSDT, FADT, FACS, MADT and a DSDT
// in AML.
#ifndef CORE_PLATFORM_ACPI_H
#define CORE_PLATFORM_ACPI_H

#include "base/types.h"

#define ACPI_AREA 0xe0000 // where they go by default: the BIOS area that operating systems search for the RSDP
#define ACPI_AREA_SIZE 0x2000

struct acpi_config {
	u64 base;    // guest-physical, 64-byte aligned, below 4 GiB, ACPI_AREA_SIZE bytes
	u64 mem_low; // RAM below 4 GiB: the PCI memory window starts above
	void (*write)(void *ctx, u64 gpa, const void *bytes, unsigned len);
	void *ctx;
};

// Writes the tables and returns the RSDP's address.
u64 acpi_build(const struct acpi_config *c);

#endif
