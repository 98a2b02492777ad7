// SPDX-License-Identifier: MIT
// Multiboot-1 header and entry of the test kernels, included first by their assembly. What follows the include runs with flat
// segments (gdt_pointer: 08 code, 10 data) on stack_top: in 64-bit mode with the first GiB mapped at its own address, user may use
// it all; or, with LEGACY_KERNEL defined, in 32-bit protected mode without paging. EBX has the information that the loader gave.
// Linked at 1 MiB by kernel.lds.
	.set MULTIBOOT_MAGIC, 0x1badb002
	.section .multiboot, "a"
	.balign 4
	.long MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC

#ifndef LEGACY_KERNEL
	.section .bss
	.balign 4096
	.globl pml4, pdpt, directory
pml4:	.skip 4096
pdpt:	.skip 4096
directory: .skip 4096
#endif

	.section .text
	.code32
	.globl start
start:
	mov $stack_top, %esp
#ifdef LEGACY_KERNEL
	lgdt gdt_pointer
	ljmp $0x08, $1f
#else
	movl $pdpt + 7, pml4
	movl $directory + 7, pdpt
	xor %ecx, %ecx
1:	mov %ecx, %eax
	shl $21, %eax
	or $0x87, %eax
	mov %eax, directory(, %ecx, 8)
	inc %ecx
	cmp $512, %ecx
	jb 1b
	mov $0x20, %eax // PAE
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x101, %eax // LME, SCE
	wrmsr
	mov $0x80010011, %eax // PG, WP, ET, PE
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $1f
	.code64
#endif
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $stack_top, %esp
