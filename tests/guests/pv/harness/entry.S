/* SPDX-License-Identifier: MIT */
// Start, notes and entries of the paravirtual test kernels. What comes to it, an exception, a program's system call, an event or the failsafe
// callback, is made one frame (struct frame in pv.h) for handle() in kernel.c.
#define IRET 23

	.macro note type, value
	.long 4, 8, \type
	.asciz "Xen"
	.quad \value
	.endm
	.pushsection .note.Xen, "a", @note
	note 1, start
	note 3, 0
	note 5, 0
	.popsection

	.globl start
start:
	cld
	mov %rsi, start_info(%rip)
	lea stack_top(%rip), %rsp
	xor %ebp, %ebp
	call kernel_main
	ud2

// RCX and R11 are on the stack, below an error code for some.
	.globl stubs
	.balign 16
stubs:
	.set vector, 0
	.rept 256
	.balign 16
	pop %rcx
	pop %r11
	.if vector > 31 || (0x227d00 >> (vector & 31) & 1) == 0
	push $0
	.endif
	push $vector
	jmp common
	.set vector, vector + 1
	.endr

	.globl on_syscall, on_event, on_failsafe
on_syscall:
	pop %rcx
	pop %r11
	push $0
	push $0x100
	jmp common
on_event:
	pop %rcx
	pop %r11
	push $0
	push $0x101
	jmp common
on_failsafe: // behind RCX and R11: DS, ES, FS, GS
	pop %rcx
	pop %r11
	add $32, %rsp
	push $0
	push $0x102
common:
	push %r15
	push %r14
	push %r13
	push %r12
	push %r11
	push %r10
	push %r9
	push %r8
	push %rdi
	push %rsi
	push %rbp
	push %rbx
	push %rdx
	push %rcx
	push %rax
	cld
	mov %rsp, %rdi
	call handle
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	pop %rbp
	pop %rsi
	pop %rdi
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	add $16, %rsp
	push $0
	push %r11
	push %rcx
	push %rax
	mov $IRET, %eax
	syscall
	ud2

// unsigned attempt(void (*fn)(u64), u64 arg): 0, or 1 and the vector of what came instead of its end.
	.globl attempt, attempt_failed
attempt:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, attempt_rsp(%rip)
	mov %rdi, %rax
	mov %rsi, %rdi
	call *%rax
	xor %eax, %eax
	jmp 1f
attempt_failed:
	mov attempt_rsp(%rip), %rsp
1:	movq $0, attempt_rsp(%rip)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

// void iret(struct iret_context *): does not return. Nor does the other, a hypercall on a stack of the caller's choice.
	.globl iret, call_on
iret:
	mov %rdi, %rsp
	mov $IRET, %eax
	syscall
	ud2
// void call_on(u64 rsp, u64 nr, u64 a0, u64 a1)
call_on:
	mov %rdi, %rsp
	mov %rsi, %rax
	mov %rdx, %rdi
	mov %rcx, %rsi
	syscall
	ud2

// Programs. Each leaves by SYSCALL or an exception.
	.globl user_syscall, user_sysenter, user_in, user_out
	.balign 4096
user_syscall:
	syscall
	ud2
user_sysenter:
	push $0x4002
	popf
	sysenter
	ud2
user_in:
	in $0x61, %al
	ud2
user_out:
	mov $0x61, %dx
	out %al, %dx
	ud2
	.balign 4096

	.bss
	.globl start_info, attempt_rsp
	.balign 16
start_info:
	.quad 0
attempt_rsp:
	.quad 0
	.balign 4096
	.skip 32768
stack_top:
	.section .note.GNU-stack, "", @progbits
