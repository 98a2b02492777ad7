// SPDX-License-Identifier: MIT
// XSA-227: a grant can be mapped by the machine address of the entry to fill, and whether that was the beginning of an entry was not checked:
// parts of two entries were overwritten. Here it is tried with each byte of an entry, with pages that are no table, frames of
// others, and a table of level 4; the table must be as it was. A good one, and a table that is granted, besides.
#include "tests/guests/pv/harness/pv.h"

static void test_grant_pte(void)
{
	u64 *data = page(1), *l1 = page(2);
	u32 h = 0;

	if (!set_up_grants())
		return;
	l1[0] = leaf(page(4), KERNEL_RO);
	l1[1] = leaf(page(5), KERNEL_RO);
	check(!pin(l1, 1), "table", 0);
	offer(11, data, 0);
	for (unsigned odd = 1; odd < 8; odd++)
		check(grant_map(11, (mfn_of(l1) << PAGE_SHIFT) + odd, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0,
		      "within an entry", odd);
	for (unsigned i = 0; i < 512; i++)
		check(l1[i] == (i < 2 ? leaf(page(4 + i), KERNEL_RO) : 0), "the table has changed", i);
	check(!store(mfn_of(l1), 1, 0), "free entry", 0);
	check(grant_map(11, mfn_of(data) << PAGE_SHIFT, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0, "no table", 0);
	check(grant_map(11, 0x100000, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0, "others' frame", 0);
	check(grant_map(11, (mfn_of((void *)start_info->pt_base) << PAGE_SHIFT) + 800,
			GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0,
	      "level 4", 0);
	check(!grant_map(11, (mfn_of(l1) << PAGE_SHIFT) + 8, GNTMAP_host_map | GNTMAP_contains_pte, &h) &&
		      (l1[1] & PTE_ADDR) >> PAGE_SHIFT == mfn_of(data),
	      "as it should be", l1[1]);
	check(!grant_unmap(h, (mfn_of(l1) << PAGE_SHIFT) + 8, 0) && !l1[1], "unmap", l1[1]);
	offer(12, l1, 0);
	check(grant_map(12, (u64)page(3), GNTMAP_host_map, &h) != 0, "a table can be written by a grant", 0);
	check(!unpin(l1), "unpin", 0);
	grant_table[11].flags = grant_table[12].flags = 0;
}

const struct pv_case cases[] = {
	{"xsa-227-grant-pte", test_grant_pte, false},
	{0},
};
