// SPDX-License-Identifier: MIT
// set_debugreg and get_debugreg, and MOV to a debug register by the kernel: what the hypercall refuses, MOV refuses.
#include "tests/guests/pv/harness/pv.h"

static void mov_dr7(u64 value)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(value));
}

static void mov_dr0(u64 value)
{
	__asm__ volatile("mov %0, %%dr0" : : "r"(value));
}

static void test_debug_registers(void)
{
	static const u64 bad[] = {0x20401, 0x2400, 0x200000400 | 1};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		check(CALL(set_debugreg, 7, bad[i]) < 0, "DR7 by hypercall", bad[i]);
		check(attempt(mov_dr7, bad[i]) == CAME(VEC_GP), "DR7 by MOV", bad[i]);
	}
	for (u64 at = HYPERVISOR_VIRT_START; at < HYPERVISOR_VIRT_END; at += 1ull << 40) {
		check(CALL(set_debugreg, 0, at) < 0, "DR0 by hypercall", at);
		check(attempt(mov_dr0, at) == CAME(VEC_GP), "DR0 by MOV", at);
	}
	check(CALL(get_debugreg, 7) == 0x400 && !CALL(get_debugreg, 0), "nothing is set", 0);
	check(!attempt(mov_dr0, (u64)bad) && CALL(get_debugreg, 0) == (s64)bad && !attempt(mov_dr0, 0), "what may be",
	      0);
}

static void test_debug_calls(void)
{
	u64 here = (u64)test_debug_calls;

	check(CALL(set_debugreg, 8, 0) < 0 && CALL(set_debugreg, 7, 1ull << 32) < 0, "which", 0);
	for (unsigned n = 0; n < 4; n++) {
		check(!CALL(set_debugreg, n, here + n) && CALL(get_debugreg, n) == (s64)(here + n), "what was set", n);
		check(CALL(set_debugreg, n, UNCANONICAL) < 0 && CALL(get_debugreg, n) == (s64)(here + n),
		      "what was refused", n);
		check(!CALL(set_debugreg, n, 0), "none", n);
	}
	check(CALL(get_debugreg, 8) < 0, "read", 0);
}

const struct pv_case cases[] = {
	{"debug-registers", test_debug_registers, false},
	{"debug-calls", test_debug_calls, false},
	{0},
};
