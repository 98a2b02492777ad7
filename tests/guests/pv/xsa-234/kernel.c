// SPDX-License-Identifier: MIT
// XSA-234: to unmap or replace a grant the hypervisor looked at whose frame the entry had, and not at whether it was present or writable. A
// guest that had changed the entry meanwhile gave back another kind of use than the entry had, and kept a mapping that nobody
// counted. Here an entry is changed in each of these ways, and moved by unmap_and_replace: what does not fit is refused.
#include "tests/guests/pv/harness/pv.h"

static s16 replace(u32 handle, u64 at, u64 with)
{
	struct gnttab_unmap_and_replace r = {.host_addr = at, .new_addr = with, .handle = handle};

	check(!grant(GNTTABOP_unmap_and_replace, &r), "call", 0);
	return r.status;
}

static void test_changed_entry(void)
{
	u64 *data = page(1), *at = page(2), *other = page(3);
	u64 rw = leaf(data, KERNEL_RW), ro = leaf(data, KERNEL_RO);
	u64 wrong[] = {0, ro, rw & ~(u64)PTE_P, leaf(other, KERNEL_RW)};
	u32 h = 0;

	if (!set_up_grants())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		offer(10, data, 0);
		check(!remap(at, 0) && !grant_map(10, (u64)at, GNTMAP_host_map, &h), "map", i);
		check(!map_at(at, wrong[i]), "change", wrong[i]);
		check(grant_unmap(h, (u64)at, 0) != 0, "writable, unmapped by another entry", wrong[i]);
		check(replace(h, (u64)at, (u64)page(4)) != 0, "and replaced", wrong[i]);
		check(!map_at(at, rw) && !grant_unmap(h, (u64)at, 0), "as it was", i);
		grant_table[10].flags = 0;
	}
	offer(10, data, 0);
	check(!remap(at, 0) && !grant_map(10, (u64)at, GNTMAP_host_map | GNTMAP_readonly, &h), "map", 0);
	check(!map_at(at, rw) && grant_unmap(h, (u64)at, 0) != 0, "read-only, unmapped by a writable entry", 0);
	check(!map_at(at, ro) && !grant_unmap(h, (u64)at, 0), "as it was", 0);
	grant_table[10].flags = 0;
	check(ext(MMUEXT_PIN_L1_TABLE, mfn_of(data), 0) < 0, "a table, and the kernel can write it", 0);
	check(!pin(data, 1) && !unpin(data), "a use is left", 0);
}

// The writable entry of one grant is moved to where a read-only one was; then the first is unmapped by a read-only entry.
static void test_moved_entry(void)
{
	u64 *first = page(1), *second = page(2), *a = page(3), *b = page(4);
	u32 h = 0, g = 0;

	if (!set_up_grants())
		return;
	offer(10, first, 0);
	offer(11, second, GTF_readonly);
	check(!remap(a, 0) && !remap(b, 0) && !grant_map(10, (u64)a, GNTMAP_host_map, &h) &&
		      !grant_map(11, (u64)b, GNTMAP_host_map | GNTMAP_readonly, &g),
	      "map", 0);
	check(!replace(g, (u64)b, (u64)a), "replace", 0);
	b[5] = 2;
	check(first[5] == 2 && attempt(peek, (u64)a) == CAME(VEC_PF), "the entry has moved", first[5]);
	check(!map_at(a, leaf(first, KERNEL_RO)) && grant_unmap(h, (u64)a, 0) != 0, "unmapped by a read-only entry", 0);
	check(!remap(first, KERNEL_RO) && ext(MMUEXT_PIN_L1_TABLE, mfn_of(first), 0) < 0,
	      "a table, and it can be written where the entry went", 0);
	check(!map_at(b, 0) && ext(MMUEXT_PIN_L1_TABLE, mfn_of(first), 0) < 0, "a table, and it is granted", 0);
	check(!map_at(a, leaf(first, KERNEL_RW)) && !grant_unmap(h, (u64)a, 0), "as it was", 0);
	check(!pin(first, 1) && !unpin(first) && !pin(second, 1) && !unpin(second), "a use is left", 0);
	grant_table[10].flags = grant_table[11].flags = 0;
}

const struct pv_case cases[] = {
	{"xsa-234-changed-entry", test_changed_entry, false},
	{"xsa-234-moved-entry", test_moved_entry, false},
	{0},
};
