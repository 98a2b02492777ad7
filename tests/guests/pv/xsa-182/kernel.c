// SPDX-License-Identifier: MIT
// XSA-182: a table of level 4 may be in itself read-only, and a shortcut for changes of flags let W be added later, which made all
// tables writable. XSA-240: tables of one level in each other, without end. Neither is ever allowed here: all of it is tried.
#include "tests/guests/pv/harness/pv.h"

static void test_linear(void)
{
	u64 *l4 = (u64 *)start_info->pt_base, root = mfn_of(l4);
	unsigned slot = 100;

	if (!store(root, slot, leaf(l4, PTE_P | PTE_U | PTE_A))) {
		check(store(root, slot, leaf(l4, PTE_P | PTE_U | PTE_A | PTE_W)) < 0, "it gets writable", 0);
		check(!store(root, slot, 0), "it goes", 0);
	}
	check(store(root, slot, leaf(l4, TABLE)) < 0 && !l4[slot], "writable at once", l4[slot]);
	for (unsigned level = 1; level <= 4; level++) {
		u64 *a = page(1), *b = page(2);

		a[1] = leaf(b, TABLE);
		b[1] = leaf(a, TABLE);
		check(level == 1 || pin(a, level) < 0, "two in each other",
		      level); // at level 1 the other is a page like any
		memset(page(1), 0, PAGE_SIZE);
		a[2] = leaf(a, TABLE);
		check(pin(a, level) < 0, "one in itself", level);
	}
}

const struct pv_case cases[] = {
	{"xsa-182-linear", test_linear, false},
	{0},
};
