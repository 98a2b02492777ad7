// SPDX-License-Identifier: MIT
// XSA-148: a change of an entry of level 2 that left its frame and its presence alone was not looked at, so PS could be set in it alone: the
// table below became two megabytes of writable memory, other tables and the hypervisor's among them. Here PS is tried in a table
// that is pinned, in a new entry, in one that is there, by hypercall and by a store, and at levels 3 and 4.
#include "tests/guests/pv/harness/pv.h"

#define SLOT(va, level) ((unsigned)((u64)(va) >> (12 + 9 * ((level)-1))) & 511)

static void test_large(void)
{
	u64 *l2 = page(1), *l1 = page(2), *live = table_of(0x100000, 2);
	u64 mfn = (*table_of(0x100000, 3) & PTE_ADDR) >> PAGE_SHIFT, was = live[SLOT(0x100000, 2)];

	l2[0] = leaf(l1, KERNEL_RW | PTE_PS);
	check(pin(l2, 2) < 0, "pinned with a large page in it", 0);
	check(store(mfn, 100, leaf(l1, KERNEL_RW | PTE_PS)) < 0, "a new one", 0);
	check(store(mfn, SLOT(0x100000, 2), was | PTE_PS) < 0, "the bit alone", 0);
	(void)attempt(poke, (u64)&live[SLOT(0x100000, 2)]);
	check(live[SLOT(0x100000, 2)] == was, "by a store", live[SLOT(0x100000, 2)]);
	check(!remap(l2, KERNEL_RW) || pin(l2, 2) < 0, "it is lost", 0);
	for (unsigned level = 3; level <= 4; level++) {
		u64 *t = table_of(0x100000, level);

		mfn = level == 4 ? mfn_of(t) : (*table_of(0, 4) & PTE_ADDR) >> PAGE_SHIFT;
		check(store(mfn, SLOT(0x100000, level), t[SLOT(0x100000, level)] | PTE_PS) < 0, "a larger one", level);
	}
}

const struct pv_case cases[] = {
	{"xsa-148-large", test_large, false},
	{0},
};
