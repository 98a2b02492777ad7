// SPDX-License-Identifier: MIT
// A kernel that only works: how many pieces does it get done while the machine's TSC goes from FROM to TO? Several VMs that
// count over the same stretch show how the CPUs were shared out. Prints `TZ-WORK N`, hexadecimal (0 if it came too late), and
// writes 0 to port 0xf4. PAUSE lets an emulator that runs its CPUs in turn on one thread go on to the
// next, so that both work at once as far as the guests can see. Multiboot 1, linked at 1 MiB.
	.set MAGIC, 0x1badb002
	.set MSR_EFER, 0xc0000080
	.set FROM, 3 << 30 // of an emulator's instruction clock: about 3 s
	.set TO, 8 << 30
	.set PIECE, 100
	.set COM1, 0x3f8

	.text
image:	.balign 4
	.long MAGIC, 0, -MAGIC

	.code32
	.globl start
start:
	mov $stack, %esp
	movl $pdpt + 3, pml4
	movl $directory + 3, pdpt
	movl $0x83, directory // the first 2 MiB
	mov $0x20, %eax // PAE
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x100, %eax // LME
	wrmsr
	mov $0x80010011, %eax // PG, WP, ET, PE
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $start64

	.code64
start64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %ebx, %ebx
	call now
	movabs $FROM, %rbp
	cmp %rbp, %rax
	jae 1f
	call work
	movabs $TO, %rbp
	call work
1:	mov %rbx, %rdi
	call print
	xor %eax, %eax
	mov $0xf4, %edx
	outl %eax, %dx
1:	hlt
	jmp 1b

now:	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	ret

// Pieces done until the TSC is at RBP: RBX.
work:	xor %ebx, %ebx
1:	mov $PIECE, %ecx
2:	dec %ecx
	jnz 2b
	inc %rbx
	pause
	call now
	cmp %rbp, %rax
	jb 1b
	ret

put:	mov %eax, %esi
	mov $COM1 + 5, %edx
1:	inb %dx, %al
	test $0x20, %al
	jz 1b
	mov %esi, %eax
	mov $COM1, %edx
	outb %al, %dx
	ret

// RDI, sixteen digits.
print:	mov $text, %ebx
1:	mov (%rbx), %al
	call put
	inc %rbx
	cmpb $0, (%rbx)
	jne 1b
	mov $16, %ebx
2:	rol $4, %rdi
	mov %edi, %eax
	and $15, %eax
	mov digits(%rax), %al
	call put
	dec %ebx
	jnz 2b
	mov $'\n', %al
	jmp put

text:	.asciz "TZ-WORK "
digits:	.ascii "0123456789abcdef"
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff // 08 code
	.quad 0x00cf93000000ffff // 10 data
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.quad gdt

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
directory: .skip 4096
	.skip 4096
stack:
	.section .note.GNU-stack, "", @progbits
