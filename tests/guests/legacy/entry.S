// SPDX-License-Identifier: MIT
// Entry, traps and starts. A trap goes back by IRET in its own ring; one that nothing takes ends guarded().
#define LEGACY_KERNEL
#include "tests/guests/common/multiboot.S"
	sub $12, %esp
	push %ebx // the loader's information
	call kmain
1:	hlt
	jmp 1b

#define STUBS 64
#include "tests/guests/common/stubs.S"

trap:
	pusha
	push %ds
	push %es
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %esp, %ebp
	push %ebp
	cld
	call on_trap
	mov %ebp, %esp
	pop %es
	pop %ds
	popa
	add $8, %esp
	iret

// u32 guarded(void (*code)(u32), u32 argument)
	.globl guarded, guarded_end
guarded:
	push %ebx
	push %ebp
	push %esi
	push %edi
	mov %esp, guard_esp
	push 24(%esp)
	call *24(%esp)
	xor %eax, %eax
	jmp 1f
guarded_end:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $1, %eax
1:	mov guard_esp, %esp
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	cld
	ret

// void go(const struct start *s): in ring 0 it runs on the words below *s.
	.globl go
go:	mov 4(%esp), %esp
	testl $0x20000, 40(%esp) // into virtual-8086 mode IRET takes all segments along
	jnz 1f
	mov 56(%esp), %ds
	mov %ss:52(%esp), %es
1:	popa
	iret

	.section .data
	.balign 16
	.globl gdt, gdt_pointer
gdt:	.quad 0
	.quad 0x00cf9b000000ffff // 08 code
	.quad 0x00cf93000000ffff // 10 data
	.quad 0x00cffb000000ffff // 18 user code
	.quad 0x00cff3000000ffff // 20 user data
	.skip 15 * 8
gdt_end:
	.word 0
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

	.section .bss
	.balign 4096
	.globl stack_top, guard_esp, user_stack, trap_stack
	.skip 16384
stack_top:
	.skip 4096
user_stack:
	.skip 8192
trap_stack:
guard_esp: .skip 4
	.section .note.GNU-stack, "", @progbits
