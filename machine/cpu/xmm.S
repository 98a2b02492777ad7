// SPDX-License-Identifier: MIT
// The guest's SSE registers are live while the hypervisor runs; the emulator reads and writes single ones here.
// void fpu_read_xmm(unsigned reg, u8 out[16]); void fpu_write_xmm(unsigned reg, const u8 in[16]);
	.macro table name, op
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	and $15, %edi
	shl $4, %edi
	lea 1f(%rip), %rax
	add %rdi, %rax
	jmp *%rax
	.balign 16
1:
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	.balign 16
	\op \n
	ret
	.endr
	.size \name, . - \name
	.endm

	.macro load n
	movups (%rsi), %xmm\n
	.endm
	.macro store n
	movups %xmm\n, (%rsi)
	.endm

	.text
// u64 fpu_run(u64 code, void *operand, u64 *flags, u64 *gpr): calls the code with RAX = operand, RCX = *gpr and those arithmetic
// flags; both come back. -1: done, else the vector that it raised (trap_handle() goes on at fpu_run_raised with it in RAX).
	.globl fpu_run, fpu_run_raised
	.hidden fpu_run, fpu_run_raised
fpu_run:
	push %rbx
	push %r12
	mov %rdx, %rbx
	mov %rcx, %r12
	mov (%r12), %rcx
	mov %rsi, %rax
	push (%rbx)
	popfq
	call *%rdi
	pushfq
	pop (%rbx)
	push $2
	popfq
	mov %rcx, (%r12)
	mov $-1, %rax
	pop %r12
	pop %rbx
	ret
fpu_run_raised:
	add $8, %rsp
	pop %r12
	pop %rbx
	ret

	table fpu_read_xmm, store
	table fpu_write_xmm, load
	.section .note.GNU-stack, "", @progbits
