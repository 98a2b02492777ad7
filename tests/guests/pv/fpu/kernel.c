// SPDX-License-Identifier: MIT
// fpu_taskswitch: CR0.TS as the kernel wants it.
#include "tests/guests/pv/harness/pv.h"

static void use(u64 arg)
{
	__asm__ volatile("fnop");
}

static void test_fpu(void)
{
	check(!CALL(fpu_taskswitch, 0) && !attempt(use, 0), "clear", got.vector);
	check(!CALL(fpu_taskswitch, 1) && attempt(use, 0) == CAME(VEC_NM), "set", got.vector);
	check(!CALL(fpu_taskswitch, 0) && !attempt(use, 0), "clear again", got.vector);
	check(!CALL(fpu_taskswitch, ~0ull) && attempt(use, 0) == CAME(VEC_NM), "any value", got.vector);
	check(!CALL(fpu_taskswitch, 0), "clear at last", 0);
}

const struct pv_case cases[] = {
	{"fpu", test_fpu, false},
	{0},
};
