// SPDX-License-Identifier: MIT
// What the loader said, in one form whichever loader it was (PVH start info, multiboot 2). Everything is a copy in the
// image's own memory, except the modules' contents, which the frame allocator never hands out.
#ifndef MACHINE_BOOT_BOOT_INFO_H
#define MACHINE_BOOT_BOOT_INFO_H

#include "base/types.h"

#define BOOT_RANGES_MAX 256
#define BOOT_MODULES_MAX 32

enum boot_range_type { RANGE_USABLE = 1, RANGE_RESERVED, RANGE_ACPI, RANGE_NVS, RANGE_BAD }; // as in E820

struct boot_range {
	u64 base, len; // bytes
	u32 type;
};

struct boot_module {
	u64 start, len;   // physical, bytes
	const char *name; // its command line, "" when it has none
};

struct boot_info {
	const char *loader;
	const char *cmdline;
	u32 range_count, module_count;
	struct boot_range ranges[BOOT_RANGES_MAX];
	struct boot_module modules[BOOT_MODULES_MAX];
	u64 rsdp; // physical, 0: not given
};

// Reads what the loader left; panics when it is not one we know. Needs the boot page tables (first 4 GiB).
const struct boot_info *boot_info_parse(u32 magic, u32 info);

// Value of `key=value` (or "" for a bare `key`) in the command line; false when absent. Truncates to size.
bool boot_option(const struct boot_info *bi, const char *key, char *value, size_t size);

// Where the machine layer hands over, on the first CPU, interrupts disabled. Provided by vmm/.
NORETURN void vmm_main(const struct boot_info *bi);

#endif
