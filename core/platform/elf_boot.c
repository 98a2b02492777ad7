// SPDX-License-Identifier: MIT
// ELF and multiboot kernels. Everything is validated before the first write. The kernel goes where its file says; then come,
// each on a page of its own:
//
//   hand-over   GDT, information structure, memory map, module list, command line: at 0x9000 if the kernel leaves that free
//               (where other loaders put it too), else behind the kernel
//   ramdisk     behind the kernel
#include "core/platform/elf_boot.h"
#include "base/kernel_elf.h"
#include "base/string.h"

#define HANDOVER_GPA 0x9000
#define CMDLINE_MAX 0x4000

// Offsets in the hand-over area.
enum {
	AT_GDT = 0,
	AT_INFO = 0x40,
	AT_MAP = 0x100,
	AT_MODULE = 0x200,
	AT_LOADER = 0x240,
	AT_CMDLINE = 0x300,
};

// struct multiboot_info
enum {
	MI_FLAGS = 0,
	MI_LOWER = 4,
	MI_UPPER = 8,
	MI_CMDLINE = 16,
	MI_MODS = 20,
	MI_MODS_AT = 24,
	MI_MAP_BYTES = 44,
	MI_MAP_AT = 48,
	MI_LOADER = 64,
};
#define MI_HAS_MEMORY BIT(0)
#define MI_HAS_CMDLINE BIT(2)
#define MI_HAS_MODULES BIT(3)
#define MI_HAS_MAP BIT(6)
#define MI_HAS_LOADER BIT(9)
#define MULTIBOOT_MAGIC 0x2badb002
#define LOADER_NAME "trapeze"

// struct hvm_start_info, version 1
enum {
	SI_MAGIC = 0,
	SI_VERSION = 4,
	SI_MODS = 12,
	SI_MODS_AT = 16,
	SI_CMDLINE = 24,
	SI_RSDP = 32,
	SI_MAP_AT = 40,
	SI_MAP_ENTRIES = 48,
};
#define PVH_MAGIC 0x336ec578

static bool overlaps(const struct kernel_elf *k, u64 start, u64 end)
{
	for (unsigned i = 0; i < k->pieces; i++)
		if (start < k->piece[i].gpa + k->piece[i].mem_bytes && k->piece[i].gpa < end)
			return true;
	return false;
}

// Conventional memory or RAM above 1 MiB. The first page holds the interrupt vectors and the BIOS's data.
static bool in_ram(const struct guest_boot *b, const struct kernel_piece *p)
{
	u64 end = p->gpa + p->mem_bytes;

	return (p->gpa >= PAGE_SIZE && end <= BOOT_LOW_RAM_END) || (p->gpa >= BOOT_HIGH_START && end <= b->mem_low);
}

static enum status place(struct guest_boot *b, const struct kernel_elf *k, u64 *handover, u64 handover_bytes)
{
	u64 next = MAX(ROUND_UP(k->end, PAGE_SIZE), (u64)BOOT_HIGH_START);

	*handover = HANDOVER_GPA;
	if (overlaps(k, *handover, *handover + handover_bytes)) {
		*handover = next;
		next += ROUND_UP(handover_bytes, PAGE_SIZE);
	}
	b->kernel_gpa = k->start;
	b->ramdisk_gpa = b->ramdisk_size ? next : 0;
	b->memory_needed = next + ROUND_UP(b->ramdisk_size, PAGE_SIZE);
	for (unsigned i = 0; i < k->pieces; i++)
		if (!in_ram(b, &k->piece[i]) && k->piece[i].gpa + k->piece[i].mem_bytes <= b->mem_low)
			return BOOT_FAIL(b, ST_INVALID, "a segment at 0x%llx is not in RAM", (unsigned long long)k->piece[i].gpa);
	if (b->memory_needed > b->mem_low)
		return BOOT_FAIL(b, ST_NOMEM, "not enough memory: kernel and ramdisk need %llu MiB, there are %llu",
				 (unsigned long long)(ROUND_UP(b->memory_needed, MIB) / MIB), (unsigned long long)(b->mem_low / MIB));
	return ST_OK;
}

static void put(struct guest_boot *b, u64 gpa, u64 value, unsigned bytes)
{
	b->write(b->ctx, gpa, &value, bytes);
}

// "NAME ARGUMENTS": a multiboot command line begins with the kernel's name. Returns its address.
static u64 write_cmdline(struct guest_boot *b, u64 at, bool with_name)
{
	u64 start = at;

	if (with_name) {
		b->write(b->ctx, at, b->name, strlen(b->name));
		at += strlen(b->name);
		put(b, at++, ' ', 1);
	}
	b->write(b->ctx, at, b->cmdline, strlen(b->cmdline) + 1);
	return start;
}

static void write_multiboot(struct guest_boot *b, u64 area)
{
	u64 info = area + AT_INFO, map = area + AT_MAP;
	struct guest_range range[BOOT_RANGES];
	unsigned n = boot_memory_map(b, range);

	put(b, info + MI_FLAGS, MI_HAS_MEMORY | MI_HAS_CMDLINE | MI_HAS_MODULES | MI_HAS_MAP | MI_HAS_LOADER, 4);
	put(b, info + MI_LOWER, BOOT_LOW_RAM_END / KIB, 4);
	put(b, info + MI_UPPER, (b->mem_low - BOOT_HIGH_START) / KIB, 4);
	put(b, info + MI_CMDLINE, write_cmdline(b, area + AT_CMDLINE, true), 4);
	put(b, info + MI_MODS, b->ramdisk_size != 0, 4);
	put(b, info + MI_MODS_AT, area + AT_MODULE, 4);
	put(b, info + MI_MAP_BYTES, n * 24, 4);
	put(b, info + MI_MAP_AT, map, 4);
	put(b, info + MI_LOADER, area + AT_LOADER, 4);
	b->write(b->ctx, area + AT_LOADER, LOADER_NAME, sizeof(LOADER_NAME));
	put(b, area + AT_MODULE, b->ramdisk_gpa, 4);
	put(b, area + AT_MODULE + 4, b->ramdisk_gpa + b->ramdisk_size, 4);
	put(b, area + AT_MODULE + 8, area + AT_LOADER + sizeof(LOADER_NAME) - 1, 4); // its command line: none
	for (unsigned i = 0; i < n; i++) {
		put(b, map + i * 24, 20, 4); // size of the rest
		put(b, map + i * 24 + 4, range[i].start, 8);
		put(b, map + i * 24 + 12, range[i].end - range[i].start, 8);
		put(b, map + i * 24 + 20, range[i].type, 4);
	}
}

static void write_pvh(struct guest_boot *b, u64 area)
{
	u64 info = area + AT_INFO, map = area + AT_MAP;
	struct guest_range range[BOOT_RANGES];
	unsigned n = boot_memory_map(b, range);

	put(b, info + SI_MAGIC, PVH_MAGIC, 4);
	put(b, info + SI_VERSION, 1, 4);
	put(b, info + SI_MODS, b->ramdisk_size != 0, 4);
	put(b, info + SI_MODS_AT, b->ramdisk_size ? area + AT_MODULE : 0, 8);
	put(b, info + SI_CMDLINE, write_cmdline(b, area + AT_CMDLINE, false), 8);
	put(b, info + SI_RSDP, b->acpi_rsdp, 8);
	put(b, info + SI_MAP_AT, map, 8);
	put(b, info + SI_MAP_ENTRIES, n, 4);
	put(b, area + AT_MODULE, b->ramdisk_gpa, 8);
	put(b, area + AT_MODULE + 8, b->ramdisk_size, 8);
	for (unsigned i = 0; i < n; i++) {
		put(b, map + i * 24, range[i].start, 8);
		put(b, map + i * 24 + 8, range[i].end - range[i].start, 8);
		put(b, map + i * 24 + 16, range[i].type, 4);
	}
}

static void set_cpu(const struct kernel_elf *k, u64 area, struct x86_cpu *cpu)
{
	boot_set_cpu(cpu, area + AT_GDT, 0);
	cpu->rip = k->entry;
	cpu->gpr[R_RBX] = area + AT_INFO;
	if (k->entered == KERNEL_MULTIBOOT)
		cpu->gpr[R_RAX] = MULTIBOOT_MAGIC;
	else
		cpu->tr.limit = 0x67;
}

enum status elf_boot_load(struct guest_boot *b, struct x86_cpu *cpu)
{
	u64 length = strlen(b->cmdline) + (b->name ? strlen(b->name) : 0) + 2, area;
	struct kernel_elf k;
	enum status status;

	b->error[0] = 0;
	b->memory_needed = 0;
	if (!kernel_elf_parse(&k, b->image, b->image_size))
		return BOOT_FAIL(b, ST_INVALID, "%s", k.wrong);
	if (length > CMDLINE_MAX)
		return BOOT_FAIL(b, ST_INVALID, "command line of %llu characters: %u fit", (unsigned long long)length, CMDLINE_MAX);
	status = place(b, &k, &area, AT_CMDLINE + length);
	if (status)
		return status;
	for (unsigned i = 0; i < k.pieces; i++) {
		const struct kernel_piece *p = &k.piece[i];

		b->write(b->ctx, p->gpa, b->image + p->file_offset, p->file_bytes);
		b->zero(b->ctx, p->gpa + p->file_bytes, p->mem_bytes - p->file_bytes);
	}
	if (b->ramdisk_size)
		b->write(b->ctx, b->ramdisk_gpa, b->ramdisk, b->ramdisk_size);
	b->zero(b->ctx, area, AT_CMDLINE);
	boot_write_vectors(b);
	boot_write_gdt(b, area + AT_GDT, false);
	if (k.entered == KERNEL_MULTIBOOT)
		write_multiboot(b, area);
	else
		write_pvh(b, area);
	set_cpu(&k, area, cpu);
	return ST_OK;
}
