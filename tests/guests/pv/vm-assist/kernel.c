// SPDX-License-Identifier: MIT
// vm_assist: what there is can be asked for and given up; the rest is refused.
#include "tests/guests/pv/harness/pv.h"

static void test_assists(void)
{
	check(CALL(vm_assist, VMASST_CMD_enable, 63) < 0 && CALL(vm_assist, VMASST_CMD_enable, 64) < 0 &&
		      CALL(vm_assist, VMASST_CMD_enable, ~0u) < 0 && CALL(vm_assist, 9, 0) < 0,
	      "what is none", 0);
	for (unsigned n = 0; n < 64; n++)
		check(CALL(vm_assist, VMASST_CMD_enable, n) == CALL(vm_assist, VMASST_CMD_disable, n), "on and off", n);
	check(!CALL(vm_assist, VMASST_CMD_enable, VMASST_TYPE_architectural_iopl) &&
		      !CALL(vm_assist, VMASST_CMD_disable, VMASST_TYPE_architectural_iopl),
	      "one that there is", 0);
}

const struct pv_case cases[] = {
	{"vm-assist", test_assists, false},
	{0},
};
