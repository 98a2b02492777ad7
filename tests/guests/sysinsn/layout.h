// SPDX-License-Identifier: MIT
// The save page, as entry.S and kernel.c see it (plain numbers for the assembler; checked against world.h in kernel.c).
#ifndef TESTS_SYSINSN_LAYOUT_H
#define TESTS_SYSINSN_LAYOUT_H

#define SAVE_GPR 0x415000
#define SAVE_VECTOR 0x415080
#define SAVE_SS 0x415088
#define SAVE_FLAGS 0x415090
#define SAVE_FRAME 0x415100

#endif
