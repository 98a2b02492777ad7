// SPDX-License-Identifier: MIT
// Loads a second root, which the gate then knows, dies, and loads it again first thing in its next life: the roots of the first
// are freed by then. The gate serves CR3 loads of kernels that run in the upper half, with global pages. Prints a line a life.
	.set COM1, 0x3f8
#include "tests/guests/common/multiboot.S"
	movl $pdpt + 7, pml4 + 511 * 8
	movabs $0xffffff8000000000, %rax
	lea high(%rip), %rbx
	add %rbx, %rax
	jmp *%rax
high:	mov %cr4, %rax
	or $0x80, %rax
	mov %rax, %cr4
	mov pml4, %rax
	mov %rax, second
	mov pml4 + 511 * 8, %rax
	mov %rax, second + 511 * 8
	mov $pml4, %eax
	mov %rax, %cr3
	out %al, $0x80
	mov $COM1, %edx
	mov $'>', %al
	out %al, %dx
	out %al, $0x80
	mov $second, %eax
	mov %rax, %cr3
	out %al, $0x80
	mov $pml4, %eax
	mov %rax, %cr3
	out %al, $0x80
	mov $COM1, %edx
	mov $'<', %al
	out %al, %dx
	mov $10, %al
	out %al, %dx
	out %al, $0x80
	lidt none
	int3
1:	hlt
	jmp 1b
	.balign 8
none:	.skip 10
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff // 08 code
	.quad 0x00cf93000000ffff // 10 data
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.quad gdt
	.bss
	.balign 4096
second:	.skip 4096
	.skip 4096
stack_top:
	.section .note.GNU-stack, "", @progbits
