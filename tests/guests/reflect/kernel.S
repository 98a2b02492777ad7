// SPDX-License-Identifier: MIT
// A kernel for one question: are the address and the error code of a user program's page fault right when the handler first does
// something with a device (under a hypervisor: an exit) and only then reads CR2? Loads from pages that are not there, stores to
// read-only ones, fetches, and fetches once more without EFER.NXE, when their code is that of a load; then 0x10 to port 0xf4 if all
// were right, else 0x20. Linked at 1 MiB, and small: an offset from IMAGE is the low half of an address.
	.set IMAGE, 0x100000
	.set AT, 0x50000000
	.set EACH, 200
	.set READ_ONLY, 256 // first page of them
	.set NOWHERE, 480   // first page that is called
	.set CALLS, 20
	.set FAULTS, 2 * EACH + 2 * CALLS
	.set MSR_EFER, 0xc0000080
	.set MSR_STAR, 0xc0000081

#include "tests/guests/common/multiboot.S"
	movl $directory2 + 7, pdpt + 8
	movl $table + 7, directory2 + 128 * 8
	movl $page + 7, table // of its table one page is there
	mov $table + READ_ONLY * 8, %edi
	mov $EACH, %ecx
1:	movq $page + 0x25, (%rdi)
	add $8, %rdi
	dec %ecx
	jnz 1b
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x800, %eax
	wrmsr
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

// Each load and store is an instruction of two bytes; the handler goes on behind it. A call returns at once.
user:	mov $AT + 4096, %edi
	mov $EACH, %ecx
1:	.byte 0x8a, 0x07 // mov (%rdi), %al
	add $4096, %rdi
	dec %ecx
	jnz 1b
	mov $AT + READ_ONLY * 4096, %edi
	mov $EACH, %ecx
1:	.byte 0x88, 0x07 // mov %al, (%rdi)
	add $4096, %rdi
	dec %ecx
	jnz 1b
	mov $2, %esi
2:	mov $AT + NOWHERE * 4096, %edi
	mov $CALLS, %ecx
1:	call *%rdi
	add $4096, %rdi
	dec %ecx
	jnz 1b
	int $0x80
	dec %esi
	jnz 2b

page_fault:
	push %rax
	push %rdx
	outb %al, $0x80
	mov count, %rdx
	cmp $FAULTS, %rdx
	jae wrong
	mov 16(%rsp), %rax
	mov %rax, codes(, %rdx, 8)
	mov %cr2, %rax
	mov %rax, seen(, %rdx, 8)
	incq count
	cmp %rax, 24(%rsp)
	je 1f
	addq $2, 24(%rsp)
	jmp 2f
1:	mov 48(%rsp), %rdx // the user's stack
	mov (%rdx), %rax
	mov %rax, 24(%rsp)
	addq $8, 48(%rsp)
2:	pop %rdx
	pop %rax
	add $8, %rsp
	iretq

// The next CALLED faults were at pages from FIRST on, with error code CODE.
	.macro expect first, called, code
	mov $AT + \first * 4096, %edx
	mov $\called, %ecx
1:	cmp %rdx, seen(, %rbx, 8)
	jne wrong
	cmpq $\code, codes(, %rbx, 8)
	jne wrong
	add $4096, %rdx
	inc %rbx
	dec %ecx
	jnz 1b
	.endm

// First: NXE goes. Second: what was seen?
system_call:
	cmpq $FAULTS, count
	je 2f
	mov $MSR_EFER, %ecx
	rdmsr
	and $~0x800, %eax
	wrmsr
	iretq
2:	xor %ebx, %ebx
	expect 1, EACH, 4
	expect READ_ONLY, EACH, 7
	expect NOWHERE, CALLS, 0x14
	expect NOWHERE, CALLS, 4
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
codes:	.skip FAULTS * 8
	.section .note.GNU-stack, "", @progbits
