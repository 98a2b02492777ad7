// SPDX-License-Identifier: MIT
// Copied to 0x10000. Leaves long mode, goes to ring 3 of protected mode without paging, from there by a fault back to ring 0, and
// into virtual-8086 mode with CS F000 (in a PC's ROM area, where it finds no code of use); its first fault has no handler.
#define HERE(x) (0x10000 + (x) - legacy_start)

	.section .rodata
	.globl legacy_start, legacy_end
	.balign 16
legacy_start:
	.code64
	lgdt gdtr(%rip)
	pushq $8
	pushq $HERE(1f)
	lretq
	.code32
1:	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $0xc0000080, %ecx
	rdmsr
	andl $~0x100, %eax
	wrmsr
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $0x18000, %esp
	movl $0x18000, 0x19004 // ESP0, SS0
	movl $16, 0x19008
	lidtl HERE(idtr)
	movl $0x20, %eax
	ltr %ax
	// ring 3, flat, no paging: counts, then faults by CLI
	pushl $0x33
	pushl $0x17000
	pushl $2
	pushl $0x2b
	pushl $HERE(user)
	iret
user:
	movl $1000, %ecx
2:	loop 2b
	cli
3:	jmp 3b
handler: // #GP of ring 3: into virtual-8086 mode at F000:0100
	movl $16, %eax // the way to ring 3 has nulled them
	movl %eax, %ds
	movl %eax, %es
	movl $0x18000, %esp
	pushl $0 // GS FS DS ES
	pushl $0
	pushl $0
	pushl $0
	pushl $0 // SS
	pushl $0x7000
	pushl $0x20002
	pushl $0xf000
	pushl $0x100
	movl $HERE(last), %eax
	movw %ax, HERE(idt) + 13 * 8
	movb $0xf4, 0xf0100 // HLT
	iret
last:
	movl $16, %eax
	movl %eax, %ds
	movb $'V', %al
	movw $0x3f8, %dx
	outb %al, %dx
	lidtl HERE(nothing)
	ud2

	.balign 8
idt:
	.fill 13, 8, 0
	.word handler - legacy_start, 8, 0x8e00, 1
	.fill 2, 8, 0
idtr:
	.word idtr - idt - 1
	.long HERE(idt)
nothing:
	.word 0
	.long 0
	.balign 8
gdt:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0
	.quad 0x0000890190000067, 0x00cffb000000ffff, 0x00cff3000000ffff // TSS at 0x19000, ring 3
gdtr:
	.word gdtr - gdt - 1
	.quad HERE(gdt)
legacy_end:
	.section .note.GNU-stack, "", @progbits
