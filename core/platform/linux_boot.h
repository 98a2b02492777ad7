// SPDX-License-Identifier: MIT
// Loads a Linux bzImage by the 64-bit boot protocol (Documentation/x86/boot.rst, 1.14) and prepares the CPU for it.
#ifndef CORE_PLATFORM_LINUX_BOOT_H
#define CORE_PLATFORM_LINUX_BOOT_H

#include "base/status.h"
#include "core/x86/cpu.h"

#define LINUX_BOOT_ERROR 160

struct linux_boot {
	// In.
	const u8 *image;
	u64 image_size;
	const char *cmdline;
	const void *ramdisk; // may be NULL
	u64 ramdisk_size;
	u64 mem_low, mem_high; // RAM below and above 4 GiB
	u64 acpi_rsdp;         // 0: none
	void (*write)(void *ctx, u64 gpa, const void *bytes, u64 len);
	void (*zero)(void *ctx, u64 gpa, u64 len);
	void *ctx;
	// Out.
	u64 kernel_gpa, ramdisk_gpa;
	u64 memory_needed; // least mem_low that would have been enough, as far as the header tells
	char error[LINUX_BOOT_ERROR];
};

// True when the image starts like a bzImage: what to try this loader on.
bool linux_boot_probe(const u8 *image, u64 size);

// Validates, then writes kernel, ramdisk, command line, boot_params, page tables and GDT, and fills *cpu for the entry.
// ST_INVALID (not a usable image or command line), ST_UNSUPPORTED (too old, 32-bit only), ST_NOMEM: the reason is in b->error
// and nothing was written.
enum status linux_boot_load(struct linux_boot *b, struct x86_cpu *cpu) MUST_CHECK;

#endif
