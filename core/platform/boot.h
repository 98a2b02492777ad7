// SPDX-License-Identifier: MIT
// Loading a guest kernel: what every loader is given, what it promises, and the pieces that they share. linux_boot.c takes
// bzImages, elf_boot.c ELF and multiboot kernels; guest_boot_load() finds out which it is.
#ifndef CORE_PLATFORM_BOOT_H
#define CORE_PLATFORM_BOOT_H

#include "base/fmt.h"
#include "base/status.h"
#include "core/x86/cpu.h"

#define GUEST_BOOT_ERROR 160

#define BOOT_LOW_RAM_END 0x9fc00
#define BOOT_BIOS_START 0xe0000
#define BOOT_HIGH_START 0x100000
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_GDT_BYTES 32

struct guest_boot {
	// In.
	const u8 *image;
	u64 image_size;
	const char *name; // of the kernel, for protocols whose command line begins with it
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
	char error[GUEST_BOOT_ERROR];
};

// Validates, then writes kernel, ramdisk, command line and what the protocol hands over, and fills *cpu for the entry.
// ST_INVALID (not a usable image or command line), ST_UNSUPPORTED (too old), ST_NOMEM: the reason is in b->error and nothing was
// written.
enum status guest_boot_load(struct guest_boot *b, struct x86_cpu *cpu) MUST_CHECK;

// ---- for loaders

#define BOOT_FAIL(b, status, ...) (fmt_snprintf((b)->error, sizeof((b)->error), __VA_ARGS__), (status))

// The memory map, as E820 has it: type 1 RAM, 2 reserved. Returns the number of entries.
struct guest_range {
	u64 start, end;
	u32 type;
};
#define BOOT_RANGES 5
unsigned boot_memory_map(const struct guest_boot *b, struct guest_range out[BOOT_RANGES]);

// The state after reset as far as no protocol says more, with flat segments by BOOT_CS and BOOT_DS: 64-bit code with paging
// at `cr3`, or (cr3 0) 32-bit code without.
void boot_set_cpu(struct x86_cpu *cpu, u64 gdt, u64 cr3);
// What real mode finds in page 0, for kernels that start in 32-bit mode.
void boot_write_vectors(const struct guest_boot *b);
// Writes the GDT, BOOT_GDT_BYTES, that goes with it.
void boot_write_gdt(const struct guest_boot *b, u64 gdt, bool long_mode);

#endif
