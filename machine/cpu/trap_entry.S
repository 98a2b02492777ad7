// SPDX-License-Identifier: MIT
// One stub per vector, 16 bytes each: error code (0 where the CPU has none), vector, then the common part, which builds
// struct trap_frame (machine/cpu/traps.h) and calls trap_handle().
#include "machine/cpu/traps.h"

	.text
	.balign 16
	.globl trap_stubs, trap_return, trap_common
trap_stubs:
	.set v, 0
	.rept 256
	.balign TRAP_STUB_SIZE
	.if (v == 8) || ((v >= 10) && (v <= 14)) || (v == 17) || (v == 21) || (v == 29) || (v == 30)
	.else
	pushq $0
	.endif
	pushq $v
	jmp trap_common
	.set v, v + 1
	.endr

	.balign 16
	.type trap_common, @function
trap_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call trap_handle
trap_return:
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq
	.size trap_common, . - trap_common
	.section .note.GNU-stack, "", @progbits
