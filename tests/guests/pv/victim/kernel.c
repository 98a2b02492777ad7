// SPDX-License-Identifier: MIT
// No attack: looks after its own memory while others attack. Each run of tests/system/test_pvguests.sh has it beside the others.
#include "tests/guests/pv/harness/pv.h"

static void victim(void)
{
	u64 *from = page(1), *to = from + (PAGES - 1) * 512;

	for (u64 *p = from; p < to; p++)
		*p = (u64)p * 0x9e3779b97f4a7c15ull;
	for (unsigned round = 0; round < argument("rounds=", 20000); round++)
		for (u64 *p = from; p < to; p++)
			if (*(volatile u64 *)p != (u64)p * 0x9e3779b97f4a7c15ull) {
				check(false, "memory of the victim has changed", (u64)p);
				return;
			}
}

const struct pv_case cases[] = {
	{"victim", victim, true},
	{0},
};
