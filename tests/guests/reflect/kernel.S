// SPDX-License-Identifier: MIT
// A kernel for one question: is the address of a user program's page fault still there when the handler first does something with
// a device (under a hypervisor: an exit) and only then reads CR2? 200 faults; then 0x10 to port 0xf4 if every address was
// right, else 0x20. Linked at 1 MiB, and small: an offset from IMAGE is the low half of an address.
	.set IMAGE, 0x100000
	.set AT, 0x50000000
	.set FAULTS, 200
	.set MSR_STAR, 0xc0000081

#include "tests/guests/common/multiboot.S"
	movl $directory2 + 7, pdpt + 8
	movl $table + 7, directory2 + 128 * 8
	movl $page + 7, table // of its table one page is there
	lidt idt_pointer
	mov $0x30, %eax
	ltr %ax
	mov $MSR_STAR, %ecx
	xor %eax, %eax
	mov $0x00180008, %edx
	wrmsr
	mov AT, %al
	pushq $0x23
	pushq $user_stack
	pushq $2
	pushq $0x2b
	pushq $user
	iretq

// Each load is an instruction of two bytes; the handler goes on behind it.
user:	mov $AT + 4096, %edi
	mov $FAULTS, %ecx
1:	.byte 0x8a, 0x07 // mov (%rdi), %al
	add $4096, %rdi
	dec %ecx
	jnz 1b
	int $0x80

page_fault:
	push %rax
	push %rdx
	outb %al, $0x80
	mov count, %rdx
	cmp $FAULTS, %rdx
	jae wrong
	mov %cr2, %rax
	mov %rax, seen(, %rdx, 8)
	incq count
	addq $2, 24(%rsp)
	pop %rdx
	pop %rax
	add $8, %rsp
	iretq

system_call:
	cmpq $FAULTS, count
	jne wrong
	xor %ecx, %ecx
	mov $AT + 4096, %edx
1:	cmp %rdx, seen(, %rcx, 8)
	jne wrong
	add $4096, %rdx
	inc %ecx
	cmp $FAULTS, %ecx
	jb 1b
	mov $0x10, %eax
	outl %eax, $0xf4
wrong:	mov $0x20, %eax
	outl %eax, $0xf4
	hlt

	.macro gate handler, type
	.word \handler - IMAGE, 0x08
	.byte 0, \type
	.word 0x10
	.quad 0
	.endm
	.balign 16
idt:	.skip 14 * 16
	gate page_fault, 0x8e
	.skip (0x80 - 15) * 16
	gate system_call, 0xee
idt_pointer:
	.word idt_pointer - idt - 1
	.quad idt
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff // 08 kernel code
	.quad 0x00cf93000000ffff // 10 kernel data
	.quad 0x00cffb000000ffff // 18 user code, 32 bits
	.quad 0x00cff3000000ffff // 20 user data
	.quad 0x00affb000000ffff // 28 user code
	.word 103, tss - IMAGE // 30 TSS
	.byte 0x10, 0x89, 0, 0
	.quad 0
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.quad gdt
tss:	.long 0
	.quad stack_top
	.skip 92

	.bss
	.balign 4096
directory2: .skip 4096
table:	.skip 4096
page:	.skip 4096
	.skip 4096
stack_top: .skip 4096
user_stack:
count:	.skip 8
seen:	.skip FAULTS * 8
	.section .note.GNU-stack, "", @progbits
