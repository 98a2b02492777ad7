// SPDX-License-Identifier: MIT
// Where other CPUs begin: real mode at TRAMPOLINE_PHYS, to long mode in one go on the boot page tables (which map low
// memory at its own address), then to their own root and stack. Copied, so only `here` addresses inside it are used.
#include "machine/mm/layout.h"

#define CR4_PAE 0x20
#define EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define CR0_BITS 0x80010033
#define HERE(sym) (sym - trampoline_start + TRAMPOLINE_PHYS)

	.section .rodata.trampoline, "a"
	.globl trampoline_start, trampoline_end
	.code16
trampoline_start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl HERE(gdtr)
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $phys_boot_tables, %eax
	movl %eax, %cr3
	movl $EFER, %ecx
	rdmsr
	orl $EFER_LME_NXE, %eax
	wrmsr
	movl $CR0_BITS, %eax
	movl %eax, %cr0
	ljmpl $8, $HERE(long_mode)
	.code64
long_mode:
	movabsq $ap_entry, %rax
	jmp *%rax
	.balign 8
gdtr:
	.word 4 * 8 - 1
	.long phys_boot_gdt
trampoline_end:

	.text
	.type ap_entry, @function
ap_entry:
	movq ap_start(%rip), %rax
	movq %rax, %cr3
	movq ap_start + 8(%rip), %rsp
	movq ap_start + 16(%rip), %rdi
	xorl %ebp, %ebp
	call ap_main
	ud2
	.size ap_entry, . - ap_entry
	.section .note.GNU-stack, "", @progbits
