// SPDX-License-Identifier: MIT
// XSA-286: update_va_mapping found the entry to change by way of the guest's own tables as the TLB knew them: after an mmu_update had put
// another table in their place, the old one was changed, without a look at what it was by then. Here both calls are mixed in one
// list of calls, and the right table must change; and what an entry of level 4 said is not used after it has changed.
#include "tests/guests/pv/harness/pv.h"

static void test_stale(void)
{
	u64 *l3 = page(1), *l2 = page(2), *l1 = page(3), *other = page(4), *a = page(5), *b = page(6);
	u64 root = mfn_of((void *)start_info->pt_base);
	volatile u64 *at = (u64 *)(200ull << 39);

	a[0] = 1, b[0] = 2;
	l1[0] = leaf(a, KERNEL_RW);
	l2[0] = leaf(l1, TABLE);
	l3[0] = leaf(l2, TABLE);
	check(!remap(l1, KERNEL_RO) && !remap(l2, KERNEL_RO) && !remap(l3, KERNEL_RO) && !remap(other, KERNEL_RO),
	      "read-only", 0);
	check(!store(root, 200, leaf(l3, TABLE)) && at[0] == 1, "first", 0);
	check(!store(mfn_of(l1), 0, leaf(b, KERNEL_RW)) && at[0] == 2, "changed leaf", at[0]);
	check(!store(root, 200, leaf(other, TABLE)), "another table", 0);
	check(attempt(peek, (u64)at) == CAME(VEC_PF), "changed root", 0);
	check(!store(root, 200, 0), "none", 0);
	check(remap(l1, KERNEL_RW) == 0 && remap(l3, KERNEL_RW) == 0, "tables that nobody uses", 0);
}

static struct multicall_entry update(u64 va, u64 entry)
{
	return (struct multicall_entry){.op = __HYPERVISOR_update_va_mapping, .args = {va, entry}};
}

// Two tables of level 2, each with one of level 1; first one, then the other in level 3.
static void test_mixed(void)
{
	u64 *l3 = page(1), *l2[2] = {page(2), page(3)}, *l1[2] = {page(4), page(5)}, *data = page(6);
	u64 root = mfn_of((void *)start_info->pt_base), va = 200ull << 39, entry = leaf(data, KERNEL_RW);

	for (unsigned i = 0; i < 2; i++) {
		l2[i][0] = leaf(l1[i], TABLE);
		check(!remap(l1[i], KERNEL_RO) && !pin(l2[i], 2), "table", i);
	}
	l3[0] = leaf(l2[0], TABLE);
	check(!remap(l3, KERNEL_RO) && !store(root, 200, leaf(l3, TABLE)), "map", 0);
	for (unsigned round = 0; round < 16; round++) {
		u64 *from = l1[round & 1], *to = l1[~round & 1];
		struct mmu_update u = {mfn_of(l3) << PAGE_SHIFT, leaf(l2[~round & 1], TABLE)};
		struct multicall_entry list[3] = {
			update(va, entry),
			{.op = __HYPERVISOR_mmu_update, .args = {(u64)&u, 1, 0, DOMID_SELF}},
			update(va + PAGE_SIZE, entry),
		};

		check(!CALL(multicall, list, 3) && !list[0].result && !list[1].result && !list[2].result, "list",
		      round);
		check(from[0] == entry && !from[1], "the first table", from[1]);
		check(!to[0] && to[1] == entry, "the second", to[0]);
		check(attempt(peek, va) == CAME(VEC_PF) && !attempt(peek, va + PAGE_SIZE), "what is mapped", round);
		check(!store(mfn_of(from), 0, 0) && !store(mfn_of(to), 1, 0), "clear", round);
		check(!ext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0), "flush", round);
	}
	check(!store(root, 200, 0) && !unpin(l2[0]) && !unpin(l2[1]), "none", 0);
	for (unsigned n = 1; n <= 6; n++)
		check(!remap(page(n), KERNEL_RW), "tables that nobody uses", n);
}

const struct pv_case cases[] = {
	{"xsa-286-stale", test_stale, false},
	{"xsa-286-mixed", test_mixed, false},
	{0},
};
