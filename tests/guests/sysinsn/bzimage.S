// SPDX-License-Identifier: MIT
// The test kernel in the clothes of a bzImage (Linux' boot protocol 2.12), for loaders that take nothing else: entered in
// 64-bit mode at 0x200. IMAGE names the flat binary, which is linked at 2 MiB.
	.section .text
	.org 0x1f1
	.byte 1              // setup sectors
	.word 0
	.long (image_end - image) / 16
	.org 0x1fe
	.word 0xaa55
	.byte 0xeb, header_end - header_start
header_start:
	.ascii "HdrS"
	.word 0x20c
	.org 0x211
	.byte 1              // loaded high
	.org 0x22c
	.long 0x7fffffff     // ramdisk
	.long 0x200000       // alignment
	.byte 0, 21
	.word 1              // xloadflags: 64-bit entry
	.long 255            // command line
	.org 0x258
	.quad 0x200000       // preferred address
	.long 0x200000       // with BSS, below the world
	.long 0
header_end:
	.org 0x400
image:
	.incbin IMAGE
	.balign 512
image_end:
