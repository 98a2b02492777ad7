// SPDX-License-Identifier: MIT
// First instructions: two ways in (PVH and multiboot 2), both in 32-bit protected mode without paging. Builds the boot
// page tables (the first 4 GiB at 0, at IMAGE_OFFSET and at DIRECT_BASE), enters long mode and calls
// boot_start(magic, info). The boot tables live on for the other CPUs' start only.
#include "machine/mm/layout.h"

#define MB2_HEADER_MAGIC 0xe85250d6
#define PVH_MAGIC 0x336ec578
#define PTE_TABLE 0x3
#define PTE_LEAF_2M 0x83
#define CR4_PAE 0x20
#define EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define CR0_BITS 0x80010033 // PG WP NE ET MP PE

	.section .boot.header, "ax"
	.balign 8
mb2_header:
	.long MB2_HEADER_MAGIC, 0, mb2_header_end - mb2_header
	.long -(MB2_HEADER_MAGIC + 0 + (mb2_header_end - mb2_header))
	.word 3, 0 // entry address, physical
	.long 12, phys_mb2_entry
	.balign 8
	.word 6, 0 // modules on page boundaries
	.long 8
	.word 0, 0
	.long 8
mb2_header_end:

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18 // name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.quad phys_pvh_entry

	.section .boot.text, "ax"
	.code32
	.globl pvh_entry, mb2_entry, long_entry
pvh_entry:
	movl $PVH_MAGIC, %eax
mb2_entry:
	cli
	cld
	movl %eax, %ebp // which loader
	movl %ebx, %esi // its information

	movl $phys_boot_tables, %ebx
	leal 0x1000 + PTE_TABLE(%ebx), %eax
	movl %eax, (%ebx)
	movl %eax, BOOT_SLOT_IMAGE * 8(%ebx)
	movl %eax, BOOT_SLOT_DIRECT * 8(%ebx)
	leal 0x2000 + PTE_TABLE(%ebx), %eax
	xorl %ecx, %ecx
1:	movl %eax, 0x1000(%ebx, %ecx, 8)
	addl $0x1000, %eax
	incl %ecx
	cmpl $4, %ecx
	jne 1b
	movl $PTE_LEAF_2M, %eax
	xorl %ecx, %ecx
2:	movl %eax, 0x2000(%ebx, %ecx, 8)
	addl $0x200000, %eax
	incl %ecx
	cmpl $2048, %ecx
	jne 2b

	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl %ebx, %cr3
	movl $EFER, %ecx
	rdmsr
	orl $EFER_LME_NXE, %eax
	wrmsr
	movl $CR0_BITS, %eax
	movl %eax, %cr0
	lgdtl phys_boot_gdtr
	ljmp $8, $phys_long_entry

	.code64
long_entry:
	movabsq $1f, %rax
	jmp *%rax
1:	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	leaq boot_cpu_block + CPU_BLOCK_SIZE(%rip), %rsp
	movl %ebp, %edi
	movl %esi, %esi
	xorl %ebp, %ebp
	call boot_start
	ud2

	.section .boot.text, "ax" // read-only, and never collected as unused
	.balign 8
	.globl boot_gdt, boot_gdtr
boot_gdt:
	.quad 0, 0x00af9b000000ffff // 8: ring 0, 64-bit code
	.quad 0x00cf9b000000ffff    // 16: ring 0, 32-bit code (other CPUs' start)
	.quad 0x00cf93000000ffff    // 24: ring 0 data
boot_gdt_end:
boot_gdtr:
	.word boot_gdt_end - boot_gdt - 1
	.long phys_boot_gdt, 0

	.section .bss.block, "aw", @nobits
	.balign CPU_BLOCK_SIZE
	.globl boot_cpu_block, boot_tables
boot_cpu_block:
	.skip CPU_BLOCK_SIZE
boot_tables: // PML4, PDPT, four page directories
	.skip 6 * 4096
	.section .note.GNU-stack, "", @progbits
