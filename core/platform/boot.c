// SPDX-License-Identifier: MIT
// What the loaders share: memory map, segments, the CPU at the kernel's entry.
#include "core/platform/boot.h"
#include "base/kernel_elf.h"
#include "base/string.h"
#include "core/platform/elf_boot.h"
#include "core/platform/linux_boot.h"

#define VECTOR_CODE 0x500
#define E820_RAM 1
#define E820_RESERVED 2
#define DESC_CODE64 0x00af9b000000ffff
#define DESC_CODE32 0x00cf9b000000ffff
#define DESC_DATA 0x00cf93000000ffff

unsigned boot_memory_map(const struct guest_boot *b, struct guest_range out[BOOT_RANGES])
{
	const struct guest_range all[BOOT_RANGES] = {
		{0, BOOT_LOW_RAM_END, E820_RAM},
		{BOOT_LOW_RAM_END, 0xa0000, E820_RESERVED},
		{BOOT_BIOS_START, BOOT_HIGH_START, E820_RESERVED},
		{BOOT_HIGH_START, b->mem_low, E820_RAM},
		{4 * GIB, 4 * GIB + b->mem_high, E820_RAM},
	};
	unsigned n = 0;

	for (unsigned i = 0; i < BOOT_RANGES; i++)
		if (all[i].start < all[i].end)
			out[n++] = all[i];
	return n;
}

void boot_write_gdt(const struct guest_boot *b, u64 gdt, bool long_mode)
{
	const u64 entries[4] = {0, 0, long_mode ? DESC_CODE64 : DESC_CODE32, DESC_DATA};

	_Static_assert(sizeof(entries) == BOOT_GDT_BYTES, "size of the GDT");
	b->write(b->ctx, gdt, entries, sizeof(entries));
}

static void set_flat(struct x86_segment *s, u16 selector, u32 attr)
{
	*s = (struct x86_segment){.selector = selector, .attr = attr, .limit = 0xffffffff};
}

void boot_set_cpu(struct x86_cpu *cpu, u64 gdt, u64 cr3)
{
	memset(cpu, 0, sizeof(*cpu));
	cpu->rflags = RFL_FIXED;
	for (unsigned i = 0; i < 6; i++)
		set_flat(&cpu->seg[i], BOOT_DS, 0xc093); // writable data, accessed, present, 4G
	set_flat(&cpu->seg[SEG_CS], BOOT_CS, cr3 ? 0xa09b : 0xc09b);
	cpu->ldtr.attr = SEG_ATTR_UNUSABLE;
	cpu->tr = (struct x86_segment){.attr = 0x8b, .limit = 0xffff}; // busy TSS as after reset
	cpu->gdtr = (struct x86_table){.base = gdt, .limit = BOOT_GDT_BYTES - 1};
	cpu->cr0 = CR0_PE | CR0_ET | (cr3 ? CR0_NE | CR0_WP | CR0_PG : 0);
	cpu->cr3 = cr3;
	cpu->cr4 = cr3 ? CR4_PAE : 0;
	cpu->efer = cr3 ? EFER_LME | EFER_LMA : 0;
	cpu->dr[6] = 0xffff0ff0;
	cpu->dr[7] = 0x400;
	cpu->pat = 0x0007040600070406;
	cpu->apic_base = 0xfee00900;
	cpu->mtrr_def = 0xc06; // on, fixed ranges on, write-back
	cpu->xcr0 = 1;
	cpu->misc_enable = 1; // fast strings
}

// What firmware leaves in the first page for kernels that go to real mode: 256 vectors to code of ours at 0x500 that does no
// more than acknowledge (the timer's counts ticks at 0x46c).
void boot_write_vectors(const struct guest_boot *b)
{
	static const u8 code[] = {
		0xcf,							  // 0x00 iret
		0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf, // 0x01 slave: push ax; mov al, 20h; out a0h; out 20h; pop ax; iret
		0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf,	      // 0x0a master
		0x1e, 0x50, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x04, // 0x11 timer: push ds; push ax; xor ax, ax;
		0xb0, 0x20, 0xe6, 0x20, 0x58, 0x1f, 0xcf, // mov ds, ax; inc dword [46ch]; mov al, 20h; out 20h; pop ax; pop ds; iret
	};
	u32 vector[256];

	for (unsigned i = 0; i < ARRAY_SIZE(vector); i++) {
		unsigned at = i == 8 ? 0x11 : i > 8 && i < 16 ? 0x0a : i >= 0x70 && i < 0x78 ? 0x01 : 0;

		vector[i] = VECTOR_CODE << 12 | at; // segment and offset
	}
	b->zero(b->ctx, 0, PAGE_SIZE);
	b->write(b->ctx, 0, vector, sizeof(vector));
	b->write(b->ctx, VECTOR_CODE, code, sizeof(code));
}

enum status guest_boot_load(struct guest_boot *b, struct x86_cpu *cpu)
{
	if (!linux_boot_probe(b->image, b->image_size) && kernel_elf_probe(b->image, b->image_size))
		return elf_boot_load(b, cpu);
	return linux_boot_load(b, cpu);
}
