// SPDX-License-Identifier: MIT
// PVH entry and Linux' 64-bit entry (see bzimage.S), way into long mode, and the two crossings: into a case by IRETQ, and back through the common part of the
// world's entry stubs, which saves registers before anything has changed.
#include "tests/guests/sysinsn/layout.h"

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18 // name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.quad pvh_entry

	.section .text.head, "ax"
	.code32
	.globl pvh_entry
pvh_entry:
	cli
	cld
	movl 24(%ebx), %edi // command line of the start information
	lgdt boot_gdtr
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $0x20, %eax // PAE
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax // NXE, LME, SCE
	wrmsr
	movl $0x80010023, %eax // PG, WP, NE, MP, PE
	movl %eax, %cr0
	ljmp $8, $1f
	.code64
1:	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $boot_stack_top, %esp
	movl %edi, %edi
	call kernel_main
2:	hlt
	jmp 2b

	.org 0x200 // from the start of the image
linux_entry:
	cli
	cld
	movl 0x228(%rsi), %edi // command line of boot_params
	lgdt boot_gdtr
	movl $boot_pml4, %eax
	movq %rax, %cr3
	movl $0x20, %eax
	movq %rax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax
	wrmsr
	movl $0x80010023, %eax
	movq %rax, %cr0
	movl $boot_stack_top, %esp
	pushq $8
	pushq $1b
	lretq

	.text
// Registers and the frame for IRETQ are in the save page.
	.globl case_enter
case_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, kernel_rsp
	movl $SAVE_FRAME, %esp
	movq SAVE_GPR + 0, %rax
	movq SAVE_GPR + 8, %rcx
	movq SAVE_GPR + 16, %rdx
	movq SAVE_GPR + 24, %rbx
	movq SAVE_GPR + 40, %rbp
	movq SAVE_GPR + 48, %rsi
	movq SAVE_GPR + 56, %rdi
	movq SAVE_GPR + 64, %r8
	movq SAVE_GPR + 72, %r9
	movq SAVE_GPR + 80, %r10
	movq SAVE_GPR + 88, %r11
	movq SAVE_GPR + 96, %r12
	movq SAVE_GPR + 104, %r13
	movq SAVE_GPR + 112, %r14
	movq SAVE_GPR + 120, %r15
	iretq

// The stub has saved RAX and put its vector into EAX.
	.globl stub_common
stub_common:
	movq %rcx, SAVE_GPR + 8
	movq %rdx, SAVE_GPR + 16
	movq %rbx, SAVE_GPR + 24
	movq %rsp, SAVE_GPR + 32
	movq %rbp, SAVE_GPR + 40
	movq %rsi, SAVE_GPR + 48
	movq %rdi, SAVE_GPR + 56
	movq %r8, SAVE_GPR + 64
	movq %r9, SAVE_GPR + 72
	movq %r10, SAVE_GPR + 80
	movq %r11, SAVE_GPR + 88
	movq %r12, SAVE_GPR + 96
	movq %r13, SAVE_GPR + 104
	movq %r14, SAVE_GPR + 112
	movq %r15, SAVE_GPR + 120
	movl %eax, SAVE_VECTOR
	movl %ss, %eax
	movl %eax, SAVE_SS
	movq kernel_rsp, %rsp
	pushfq
	popq SAVE_FLAGS
	cld
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.section .rodata
	.balign 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
	.word 23
	.quad boot_gdt

	.data
	.balign 4096
boot_pml4:
	.quad boot_pdpt + 3
	.fill 511, 8, 0
boot_pdpt:
	.quad boot_pd + 3
	.fill 511, 8, 0
boot_pd: // 8 MiB
	.quad 0x83, 0x200083, 0x400083, 0x600083
	.fill 508, 8, 0
	.bss
	.balign 16
	.fill 16384
boot_stack_top:
kernel_rsp:
	.quad 0
	.section .note.GNU-stack, "", @progbits
