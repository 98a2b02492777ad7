// SPDX-License-Identifier: MIT
// Several small things that a VM can do, by the first letter of its command line's second word (the first is the VM's name); up in no time.
//   w (and nothing)  works: how many pieces does it get done while the machine's TSC goes from FROM to TO? Several VMs that count over
//                    the same stretch show how the CPUs were shared out. Prints `TZ-WORK N`, hexadecimal (0: it came too
//                    late). PAUSE lets an emulator that runs its CPUs in turn on one thread go on to the next, so that
//                    both work at once as far as the guests can see.
//   e                prints `TZ-ECHO`, then what is typed, control characters as ^ and a letter; ^D ends it
//   s                prints `TZ-SLEEP` and halts for ever
//   t                prints `TZ-TRIPLE` and dies of a triple fault
// Ends by writing 0 to port 0xf4.
	.set INFO_CMDLINE, 16
	.set FROM, 9 << 30 // of an emulator's instruction clock: about 10 s, for others have to come up, too
	.set TO, 14 << 30
	.set PIECE, 100
	.set POLL, 20000
	.set COM1, 0x3f8
	.set LSR, COM1 + 5

#include "tests/guests/common/multiboot.S"
	mov INFO_CMDLINE(%rbx), %ebp
1:	mov (%rbp), %bl // behind the VM's name
	inc %ebp
	test %bl, %bl
	jz 2f
	cmp $' ', %bl
	jne 1b
	mov (%rbp), %bl
2:
	cmp $'e', %bl
	je echo
	cmp $'s', %bl
	je asleep
	cmp $'t', %bl
	je triple
	xor %ebx, %ebx
	call now
	movabs $FROM, %rbp
	cmp %rbp, %rax
	jae 1f
	call work
	movabs $TO, %rbp
	call work
1:	mov %rbx, %rdi
	mov $work_text, %ebx
	call print
	call print_number
end:	xor %eax, %eax
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

echo:	mov $echo_text, %ebx
	call print
1:	mov $POLL, %ecx
2:	dec %ecx
	jnz 2b
	mov $LSR, %edx
	inb %dx, %al
	test $1, %al
	jz 1b
	mov $COM1, %edx
	inb %dx, %al
	cmp $4, %al
	je end
	cmp $' ', %al
	jae 3f
	cmp $'\r', %al
	je 4f
	cmp $'\n', %al
	je 4f
	mov %eax, %ebx
	mov $'^', %al
	call put
	lea 0x40(%rbx), %eax
3:	call put
	jmp 1b
4:	mov $'\r', %al
	call put
	mov $'\n', %al
	jmp 3b

asleep:	mov $sleep_text, %ebx
	call print
	cli
	hlt

triple:	mov $triple_text, %ebx
	call print
	lidt none
	int3

put:	mov %eax, %esi
	mov $LSR, %edx
1:	inb %dx, %al
	test $0x20, %al
	jz 1b
	mov %esi, %eax
	mov $COM1, %edx
	outb %al, %dx
	ret

// The text at RBX.
print:	mov (%rbx), %al
	call put
	inc %rbx
	cmpb $0, (%rbx)
	jne print
	ret

// RDI, sixteen digits, and the line's end.
print_number:
	mov $16, %ebx
1:	rol $4, %rdi
	mov %edi, %eax
	and $15, %eax
	mov digits(%rax), %al
	call put
	dec %ebx
	jnz 1b
	mov $'\n', %al
	jmp put

work_text: .asciz "TZ-WORK "
echo_text: .asciz "TZ-ECHO\n"
sleep_text: .asciz "TZ-SLEEP\n"
triple_text: .asciz "TZ-TRIPLE\n"
digits:	.ascii "0123456789abcdef"
	.balign 8
none:	.skip 10 // a descriptor table of nothing
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff // 08 code
	.quad 0x00cf93000000ffff // 10 data
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.quad gdt

	.bss
	.balign 4096
	.skip 4096
stack_top:
	.section .note.GNU-stack, "", @progbits
