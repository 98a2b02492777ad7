// SPDX-License-Identifier: MIT
// Entry, exception and interrupt stubs, and the few transfers that C cannot express.
#include "tests/guests/common/multiboot.S"
	call kmain
1:	hlt
	jmp 1b

// Frame: r15..rax, vector, error, rip, cs, rflags, rsp, ss (kernel.h: struct frame).
#define STUBS 256
#include "tests/guests/common/stubs.S"

trap:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	cld
	mov %rsp, %rbp
	and $-16, %rsp
	call on_trap
	mov %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

// u64 guarded(void (*code)(u64), u64 argument): calls code; a trap that no hook takes ends it. Returns 0, or 1 after a trap.
	.globl guarded, guarded_end
guarded:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, guard_rsp
	mov %rdi, %rax
	mov %rsi, %rdi
	call *%rax
	xor %eax, %eax
	jmp 1f
guarded_end:
	mov guard_rsp, %rsp
	mov $1, %eax
1:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	cld
	ret

// void iret_to(u64 rip, u64 cs, u64 rflags, u64 rsp, u64 ss)
	.globl iret_to
iret_to:
	push %r8
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	iretq

	.section .data
	.balign 16
	.globl gdt, gdt_pointer
gdt:	.quad 0
	.quad 0x00af9b000000ffff // 08 kernel code
	.quad 0x00cf93000000ffff // 10 kernel data
	.quad 0x00cffb000000ffff // 18 user code, 32 bits
	.quad 0x00cff3000000ffff // 20 user data
	.quad 0x00affb000000ffff // 28 user code
	.quad 0x00cf9b000000ffff // 30 kernel code, 32 bits
	.quad 0x00af1b000000ffff // 38 kernel code, not present
	.quad 0x00cf91000000ffff // 40 kernel data, read-only
	.quad 0, 0		 // 48 TSS
	.quad 0, 0		 // 58 call gate
	.quad 0x00009f0000000fff // 68 conforming code, byte limit
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.section .bss
	.balign 4096
	.globl stack_top, guard_rsp, user_stack, fault_stack
	.skip 16384
stack_top:
	.skip 4096
user_stack:
	.skip 4096
fault_stack:
guard_rsp: .skip 8
	.section .note.GNU-stack, "", @progbits
