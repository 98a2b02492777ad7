// SPDX-License-Identifier: MIT
// Random guest programs for the translator's differential tests. Same seed and layout: same program.
#ifndef TESTS_DIFF_BT_GEN_H
#define TESTS_DIFF_BT_GEN_H

#include "base/types.h"

struct gen_layout {
	u8 *code;      // where the program goes and runs, gen_size bytes
	u64 code_size;
	u64 near;      // data within RIP-relative reach of the code
	u64 data;      // data addressed through r15
	u64 data_size; // of either
	u64 stack_top;
	u16 kernel_cs, kernel_ss, user_cs, user_ss;
	unsigned features; // GEN_*
};

#define GEN_SYSTEM 1 // CLI, STI, PUSHF, POPF, STAC, SWAPGS, selectors, IRET, SYSRET

#define GEN_USER_MARK 0xf1cd // INT 0xf1: user code ends here, the kernel goes on behind it

// Returns the program's entry. It ends in HLT.
u64 gen_program(const struct gen_layout *l, u64 seed);

#endif
