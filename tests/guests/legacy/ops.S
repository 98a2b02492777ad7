// SPDX-License-Identifier: MIT
// Instructions whose effects in 32- and 16-bit code, virtual-8086 and real mode are compared: each assembled twice, with a name
// and the flags that it leaves undefined. EBX, ESI and EDI hold offsets into the data segment, ECX a count.
	.set CF, 1
	.set PF, 4
	.set AF, 0x10
	.set ZF, 0x40
	.set SF, 0x80
	.set OF, 0x800

	.macro op name, undefined, code
	.section .rodata
7:	.asciz "\name"
	.section .optext, "a"
	.code32
8:	\code
	int3
	.code16
9:	\code
	int3
6:	.section .optable, "a"
	.long 7b, \undefined, 8b, 9b, 6b
	.endm

	.section .optable, "a"
	.globl optable
optable:
	op "add", 0, "add %cx, %ax"
	op "adc", 0, "stc; adc (%ebx), %eax"
	op "sub", 0, "sub %eax, (%ebx)"
	op "sbb", 0, "stc; sbb %dx, 2(%ebx)"
	op "and or xor", AF, "and %edx, %eax; or %cl, %al; xor %dl, (%ebx)"
	op "inc dec", 0, "incl (%ebx); decw 4(%ebx); inc %ax; dec %esi"
	op "neg not", 0, "negl (%ebx); notw 4(%ebx)"
	op "cmp test", AF, "cmp %eax, (%ebx); test %dl, %al"
	op "mul", AF|ZF|SF|PF, "mul %dx"
	op "mul 32", AF|ZF|SF|PF, "mull (%ebx)"
	op "imul", AF|ZF|SF|PF, "imul $-7, %edx, %eax"
	op "imul 2", AF|ZF|SF|PF, "imul (%ebx), %ax"
	op "div", AF|ZF|SF|PF|CF|OF, "mov $3, %edx; divl (%ebx)"
	op "div 16", AF|ZF|SF|PF|CF|OF, "mov $3, %dx; mov $0x7777, %cx; div %cx"
	op "idiv", AF|ZF|SF|PF|CF|OF, "cltd; idivl (%ebx)"
	op "div 8", AF|ZF|SF|PF|CF|OF, "mov $0x77, %cl; mov $0x1234, %ax; div %cl"
	op "div by zero", AF|ZF|SF|PF|CF|OF, "xor %ecx, %ecx; div %ecx"
	op "div overflow", AF|ZF|SF|PF|CF|OF, "mov $-1, %edx; mov $2, %ecx; div %ecx"
	op "aaa", OF|SF|ZF|PF, "mov $0x3f, %al; aaa"
	op "aas", OF|SF|ZF|PF, "mov $0x3f, %al; aas"
	op "daa", OF, "mov $0x9b, %al; daa"
	op "das", OF, "mov $0x9b, %al; das"
	op "aam", OF|AF|CF, "mov $0x57, %al; aam"
	op "aad", OF|AF|CF, "mov $0x507, %ax; aad"
	op "aam 0", -1, "aam $0"
	op "salc", 0, "stc; .byte 0xd6"
	op "shl", AF|OF, "shl $3, %eax"
	op "shr 1", AF, "shrw (%ebx)"
	op "sar", AF|OF, "sar %cl, %edx"
	op "rol", OF, "rolw $5, (%ebx)"
	op "ror 1", 0, "ror %eax"
	op "rcl", OF, "stc; rcl %cl, %dx"
	op "rcr", OF, "stc; rcrl $9, (%ebx)"
	op "shld", AF|OF, "shld $5, %edx, %eax"
	op "shrd", AF|OF, "shrd %cl, %ax, (%ebx)"
	op "bt", AF|OF|SF|PF|ZF, "bt %ecx, %eax"
	op "bts", AF|OF|SF|PF|ZF, "mov $-9, %edx; bts %edx, 8(%ebx)"
	op "lock btr", AF|OF|SF|PF|ZF, "mov $0x65, %dx; lock btrw %dx, (%ebx)"
	op "lock btc", AF|OF|SF|PF|ZF, "lock btcl $7, (%ebx)"
	op "bsf bsr", AF|OF|SF|PF|CF, "bsf (%ebx), %eax; bsr %edx, %ecx"
	op "bsf 16", AF|OF|SF|PF|CF, "bsf 2(%ebx), %ax"
	op "popcnt", 0, "popcnt (%ebx), %eax; popcnt %dx, %cx"
	op "bswap", 0, "bswap %eax; bswap %edx"
	op "xadd", 0, "lock xadd %eax, (%ebx); xadd %cl, %dl"
	op "cmpxchg equal", 0, "mov (%ebx), %eax; lock cmpxchg %edx, (%ebx)"
	op "cmpxchg other", 0, "cmpxchg %dx, (%ebx)"
	op "cmpxchg8b", 0, "lock cmpxchg8b (%ebx)"
	op "cmpxchg8b equal", 0, "mov (%esi), %eax; mov 4(%esi), %edx; cmpxchg8b (%esi)"
	op "xchg", 0, "xchg %eax, (%ebx); xchg %dl, %dh"
	op "lock add", 0, "lock addw $0x7fff, (%ebx)"
	op "lock nop", -1, ".byte 0xf0, 0x90"
	op "movs", 0, "cld; rep movsb"
	op "movs down", 0, "std; rep movsw; cld"
	op "movs 32", 0, "cld; rep movsl"
	op "stos", 0, "cld; rep stosw"
	op "lods", 0, "cld; lodsl; lodsb"
	op "scas", 0, "cld; repne scasb"
	op "cmps", 0, "cld; repe cmpsw"
	op "addr32 movs", 0, "cld; .byte 0x67; rep movsb"
	op "movzx movsx", 0, "movzbl (%ebx), %eax; movsbw 1(%ebx), %dx; movswl 2(%ebx), %ecx"
	op "setcc cmov", 0, "cmp %eax, %edx; setb %al; setg %ah; cmovae (%ebx), %ecx; cmovs %edx, %esi"
	op "cbw", 0, "mov $0x80, %al; cbtw; cwtl; cltd"
	op "lea", 0, "lea 0x1234(%ebx, %esi, 4), %eax; lea 5(%bx, %di), %dx"
	op "xlat", 0, "mov $7, %al; xlat"
	op "16-bit addresses", 0, "mov (%bx, %si), %al; mov -2(%bx, %di), %ah"
	op "lahf sahf", 0, "mov $0xd7, %ah; sahf; mov $0, %ah; lahf"
	op "push pop", 0, "push %ax; push %ecx; pop %dx; pop %edx; sub $0, %ax; pushl (%ebx); popl 8(%ebx); sub %ax, %ax; sub $2, %sp; push %bx"
	op "push segment", 0, "push %ds; pop %eax; push %es; pop %ecx; mov %ss, %edx"
	op "pusha", 0, "pusha; pop %eax; pop %edx; popl 4(%ebx); lea 20(%esp), %esp"
	op "pushaw", 0, "pushaw; popl (%ebx); popl 4(%ebx); popl 8(%ebx); popl 12(%ebx)"
	op "popa", 0, "pusha; xor %eax, %eax; xor %edi, %edi; popa"
	op "enter", 0, "mov %esp, %edx; enter $8, $0; sub %esp, %edx; leave"
	op "enter nested", 0, "push %ebp; mov %sp, %bp; mov %esp, %edx; enter $4, $2; sub %esp, %edx; leave; pop %ebp"
	op "call ret", 0, "call 1f; jmp 2f; 1: inc %eax; ret; 2: inc %edx"
	op "call indirect", 0, "jmp 2f; 1: inc %eax; ret $4; 2: push %eax; call 1b"
	op "loop", 0, "1: inc %eax; loop 1b; jcxz 1f; inc %edx; 1: inc %ebx"
	op "loopne", 0, "1: add $0x11, %al; loopne 1b; jecxz 1f; inc %edx; 1:"
	op "bound", 0, "boundl %esi, (%ebx)"
	op "into", 0, "mov $0x7f, %al; add $1, %al; into"
	op "into not", 0, "xor %al, %al; into; inc %edx"
	op "les", 0, "push %es; movw %es, 6(%ebx); les 4(%ebx), %ax; mov %es, %edx; pop %es"
	op "clc cmc std", 0, "clc; cmc; std; pushfl; pop %eax; cld"
	op "popf", 0, "pushl $0xcd5; popfl; pushfl; pop %eax; cld"
	op "popfw", 0, "pushw $0xcd5; popfw; pushfl; pop %eax; cld"
	op "cpuid", 0, "xor %eax, %eax; cpuid"
	op "smsw", 0, "smsw %eax; and $0xf, %eax"
	op "sgdt", 0, "sgdt (%ebx); movw $0, 6(%ebx)"
	op "in", 0, "mov $0x3fb, %dx; in %dx, %al"
	op "out", 0, "mov $0x3ff, %dx; mov $0x5a, %al; out %al, %dx; xor %eax, %eax; in %dx, %al"
	op "insb", 0, "mov $0x3ff, %dx; cld; rep insb"
	op "ud2", -1, "ud2"
	op "mfence", 0, "mfence; sfence; lfence; pause; prefetcht0 (%ebx)"
	op "long prefix", 0, ".byte 0x2e, 0x36, 0x3e, 0x26; inc %eax"
	.long 0
	.section .note.GNU-stack, "", @progbits
