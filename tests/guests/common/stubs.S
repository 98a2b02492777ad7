// SPDX-License-Identifier: MIT
// Vector stubs, 16 bytes apart, STUBS of them: each leaves an error code (0 where the machine pushes none) and the vector, and jumps to
// `trap`.
	.macro stub n
	.balign 16
	.if (\n == 8) || ((\n >= 10) && (\n <= 14)) || (\n == 17)
	.else
	push $0
	.endif
	push $\n
	jmp trap
	.endm
	.balign 16
	.globl stubs
stubs:
	.set n, 0
	.rept STUBS
	stub n
	.set n, n + 1
	.endr
