// SPDX-License-Identifier: MIT
// XSA-259: INT 80h has a way of its own into the kernel, whose end for a kernel without a handler was written wrongly: the hypervisor
// stored to an address that is none. Here a program and the kernel use it without a handler, and with one again.
#include "tests/guests/pv/harness/pv.h"

static void test_int80(void)
{
	struct trap_info was = traps[0x80];
	u8 *code = (u8 *)page(1);

	code[0] = 0xcd, code[1] = 0x80, code[2] = 0x0f, code[3] = 0x0b;
	traps[0x80] = traps[0x81]; // twice the same, and none for it
	check(!CALL(set_trap_table, 0) && !CALL(set_trap_table, traps), "table without", 0);
	check(run_user(code, RFL_IF, 0) == CAME(VEC_GP) && got.error == (0x80 * 8 | 2) && got.rip == (u64)code,
	      "INT 80h of a program", got.error);
	check(attempt(int_at, (u64)code) == CAME(VEC_GP), "and of the kernel", got.vector);
	traps[0x80] = was;
	check(!CALL(set_trap_table, traps), "table with", 0);
	check(run_user(code, RFL_IF, 0) == CAME(0x80), "and now", got.vector);
}

const struct pv_case cases[] = {
	{"xsa-259-int80", test_int80, false},
	{0},
};
