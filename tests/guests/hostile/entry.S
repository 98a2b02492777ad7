// SPDX-License-Identifier: MIT
// Linux' 64-bit entry (at 0x200 of the image, tests/guests/sysinsn/bzimage.S), the way into an attack and the way back: every
// vector has a stub on a stack of its own (IST 1), which saves everything, goes back to the harness's address space and
// returns from attack() with the vector. In the attack's address space this image is read-only and at the same place.
#include "tests/guests/hostile/layout.h"

	.section .text.head, "ax"
	.code64
	.byte 0xf4
	.org 0x200
	.globl linux_entry
linux_entry:
	cli
	cld
	movl 0x228(%rsi), %edi // command line of boot_params
	lgdt boot_gdtr(%rip)
	movl $boot_pml4, %eax
	movq %rax, %cr3
	movl $KERNEL_CR4, %eax
	movq %rax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	movl $KERNEL_EFER, %eax
	xorl %edx, %edx
	wrmsr
	movl $KERNEL_CR0, %eax
	movq %rax, %cr0
	movl $boot_stack_top, %esp
	pushq $SEL_KCODE
	pushq $1f
	lretq
1:	movl $SEL_KDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %ebp, %ebp
	call kernel_main
2:	hlt
	jmp 2b

	.text
// unsigned attack(const struct context *c): loads CR3 and all registers, returns 1 + vector of what ended it.
	.globl attack
attack:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, kernel_rsp
	movl $ATTACK_FRAME, %esp // in memory that the attack's address space has
	movq 16 * 8(%rdi), %rax
	movq %rax, (%rsp)
	movq 17 * 8(%rdi), %rax
	movq %rax, 8(%rsp)
	movq 18 * 8(%rdi), %rax
	movq %rax, 16(%rsp)
	movq 19 * 8(%rdi), %rax
	movq %rax, 24(%rsp)
	movq 20 * 8(%rdi), %rax
	movq %rax, 32(%rsp)
	movq 21 * 8(%rdi), %rax
	cmpb $0, careful
	je 1f
	movq %rax, %cr3
1:
	movq 0 * 8(%rdi), %rax
	movq 1 * 8(%rdi), %rcx
	movq 2 * 8(%rdi), %rdx
	movq 3 * 8(%rdi), %rbx
	movq 5 * 8(%rdi), %rbp
	movq 6 * 8(%rdi), %rsi
	movq 8 * 8(%rdi), %r8
	movq 9 * 8(%rdi), %r9
	movq 10 * 8(%rdi), %r10
	movq 11 * 8(%rdi), %r11
	movq 12 * 8(%rdi), %r12
	movq 13 * 8(%rdi), %r13
	movq 14 * 8(%rdi), %r14
	movq 15 * 8(%rdi), %r15
	movq 7 * 8(%rdi), %rdi
	iretq

// unsigned attempt(void (*fn)(u64), u64 arg): 0, or 1 + vector of the exception that ended it.
	.globl attempt
attempt:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, kernel_rsp
	movq %rdi, %rax
	movq %rsi, %rdi
	subq $8, %rsp
	call *%rax
	addq $8, %rsp
	xorl %eax, %eax
	jmp restore

	.globl stubs
	.balign 16
stubs:
	.set v, 0
	.rept 256
	.balign 16
	.if (v == 8) || ((v >= 10) && (v <= 14)) || (v == 17)
	.else
	pushq $0
	.endif
	pushq $v
	jmp common
	.set v, v + 1
	.endr

// SYSCALL ends an attack like an interrupt of vector 256.
	.globl syscall_stub
	.balign 16
syscall_stub:
	movq %rsp, %r8
	movl $ATTACK_FRAME, %esp
	pushq $SEL_UDATA
	pushq %r8
	pushq %r11
	pushq $SEL_UCODE
	pushq %rcx
	pushq $0
	pushq $256

common:
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %r11
	pushq %r10
	pushq %r9
	pushq %r8
	pushq %rdi
	pushq %rsi
	pushq %rbp
	pushq %rsp
	pushq %rbx
	pushq %rdx
	pushq %rcx
	pushq %rax
	cld
	movq %cr2, %rdx
	cmpb $0, careful
	je 1f
	movl $boot_pml4, %eax
	movq %rax, %cr3
	movl $KERNEL_CR0, %eax
	movq %rax, %cr0
1:	movq %rdx, got + 23 * 8
	movq %rsp, %rsi
	movl $got, %edi
	movl $23, %ecx // registers, vector, error, frame
	rep movsq
	movl $SEL_KDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movq got + 16 * 8, %rax
	incq %rax
	movq kernel_rsp, %rsp
	testq %rsp, %rsp
	jz nobody
restore:
	movq $0, kernel_rsp
	pushq $2
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

nobody: // no attack was under way
	movl $boot_stack_top, %esp
	call unexpected

	.data
	.balign 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
	.globl boot_gdtr
boot_gdtr:
	.word 23
	.quad boot_gdt
	.balign 4096
	.globl boot_pml4, boot_pdpt, boot_pd
boot_pml4:
	.quad boot_pdpt + 3
	.fill 511, 8, 0
boot_pdpt: // 4 GiB; kernel.c fills the directories
	.quad boot_pd + 3, boot_pd + 0x1003, boot_pd + 0x2003, boot_pd + 0x3003
	.fill 508, 8, 0
boot_pd:
	.set page, 0
	.rept 2048
	.quad page + 0x83
	.set page, page + 0x200000
	.endr
	.globl got
got:
	.fill 24, 8, 0
kernel_rsp:
	.quad 0
	.globl careful // attacks may change CR3 and CR0
careful:
	.byte 0
	.bss
	.balign 16
	.fill 32768
	.globl boot_stack_top
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
