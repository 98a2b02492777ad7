// SPDX-License-Identifier: MIT
// void real_switch(void): to real mode, the registers and the frame at REAL_STACK into the machine, and, when a vector below 32 or
// 0x30 ends it, back. The code runs where it is copied to, REAL_BASE; the vector table is VECTORS.
	.set REAL_BASE, 0x7000
	.set REAL_STACK, 0x7800 // edi .. eax, ip, cs, flags; what runs has its stack here too
	.set REAL_RESULT, 0x7a00 // gs fs es ds edi .. eax vector ip cs flags
	.set VECTORS, 0x6000
	.set REAL_SEGMENTS, 0x7c00 // ds es fs
#define AT(label) (label - real_blob + REAL_BASE)

	.section .text
	.code32
	.globl real_switch
real_switch:
	pusha
	mov %esp, saved
	sidt saved_idt
	lidt real_idt
	ljmp $0x78, $AT(to_real)
back:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov saved, %esp
	lidt saved_idt
	popa
	ret

	.globl real_blob, real_blob_end, real_stubs
real_blob:
	.code16
to_real:
	mov $0x80, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %fs
	mov %ax, %gs
	mov %ax, %ss
	mov %cr0, %eax
	and $0xfe, %al
	mov %eax, %cr0
	ljmp $0, $AT(1f)
1:	xor %ax, %ax
	mov %ax, %ss
	mov %ax, %gs
	mov %ax, %ds
	mov $REAL_STACK, %sp
	mov REAL_SEGMENTS + 2, %es
	mov REAL_SEGMENTS + 4, %fs
	mov REAL_SEGMENTS, %ds
	popal
	iret

	.balign 16
real_stubs:
	.set n, 0
	.rept 64
	.balign 8
	pushw $n
	jmp come
	.set n, n + 1
	.endr
come:	cld
	pushal
	push %ds
	push %es
	push %fs
	push %gs
	mov %sp, %si
	xor %ax, %ax
	mov %ax, %es
	mov $REAL_RESULT, %di
	mov $24, %cx
	rep movsw %ss:(%si), %es:(%di)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $0x08, $back
real_blob_end:
	.code32

	.section .data
real_idt: .word 0x3ff
	.long VECTORS
	.section .bss
	.balign 4
saved:	.skip 4
saved_idt: .skip 8
	.section .note.GNU-stack, "", @progbits
