// SPDX-License-Identifier: MIT
// grant_table_op: entries that say no, mappings that are read-only, copies, and the smaller operations.
#include "tests/guests/pv/harness/pv.h"

static void test_grants(void)
{
	u64 *data = page(1), *at = page(2);
	u32 h = 0;

	if (!set_up_grants())
		return;
	data[0] = 9;
	check(!remap(at, 0), "free address", 0);
	check(grant_map(10, (u64)at, GNTMAP_host_map, &h) != 0, "an entry that says nothing", 0);
	check(grant_map(100000, (u64)at, GNTMAP_host_map, &h) != 0 && grant_map(~0u, (u64)at, GNTMAP_host_map, &h) != 0,
	      "an entry that is none", 0);
	offer(10, data, GTF_readonly);
	check(grant_map(10, (u64)at, GNTMAP_host_map, &h) != 0, "writable, of one that is not", 0);
	check(grant_map(10, (u64)at, 0, &h) != 0, "for nobody", 0);
	check(grant_map(10, UNCANONICAL, GNTMAP_host_map | GNTMAP_readonly, &h) != 0 &&
		      grant_map(10, GATE_TRUST, GNTMAP_host_map | GNTMAP_readonly, &h) != 0,
	      "where nothing can be mapped", 0);
	check(!(grant_table[10].flags & (GTF_reading | GTF_writing)), "it is in use", grant_table[10].flags);
	check(!grant_map(10, (u64)at, GNTMAP_host_map | GNTMAP_readonly, &h) && at[0] == 9, "read-only", 0);
	check(attempt(poke, (u64)at) == CAME(VEC_PF) && data[0] == 9, "it can be written", data[0]);
	check(grant_table[10].flags & GTF_reading && !(grant_table[10].flags & GTF_writing), "what the entry says",
	      grant_table[10].flags);
	grant_table[10].frame = (u32)mfn_of(page(3)); // too late
	check(!grant_unmap(h, (u64)at, 0), "unmap", 0);
	grant_table[10].flags = 0;
	grant_table[11] = (struct grant_entry_v1){.flags = GTF_permit_access, .domid = 7, .frame = (u32)mfn_of(data)};
	check(grant_map(11, (u64)at, GNTMAP_host_map, &h) != 0, "for somebody else", 0);
	for (u64 mfn = 0; mfn < 64; mfn++) {
		grant_table[11] = (struct grant_entry_v1){.flags = GTF_permit_access, .domid = 1, .frame = (u32)mfn};
		check(is_own(mfn) || grant_map(11, (u64)at, GNTMAP_host_map, &h) != 0, "a frame of others", mfn);
	}
	grant_table[11].flags = 0;
}

// A handle for each mapping, all different; and no more when they are used up.
static void test_handles(void)
{
	u64 *data = page(1);
	static u32 handle[2048];
	unsigned n = 0;

	if (!set_up_grants())
		return;
	offer(10, data, 0);
	while (n < 2048 && !grant_map(10, 0, GNTMAP_device_map, &handle[n]))
		n++;
	check(n > 100 && n < 2048, "how many", n);
	for (unsigned i = 0; i < n; i++)
		check(!grant_unmap(handle[i], 0, mfn_of(data) << PAGE_SHIFT), "unmap", handle[i]);
	check(!(grant_table[10].flags & (GTF_reading | GTF_writing)), "in use after all", grant_table[10].flags);
	grant_table[10].flags = 0;
	check(!pin(data, 1) && !unpin(data), "a use is left", 0);
}

static void test_small_operations(void)
{
	struct gnttab_query_size q = {.dom = DOMID_SELF};
	struct gnttab_setup_table s = {.dom = DOMID_SELF, .nr_frames = 100};
	struct gnttab_swap_grant_ref w = {.ref_a = 12, .ref_b = 13};
	struct gnttab_transfer t = {.mfn = mfn_of(page(1)), .domid = 1};
	u64 frames[4];

	if (!set_up_grants())
		return;
	check(!grant(GNTTABOP_query_size, &q) && !q.status && q.nr_frames && q.nr_frames <= q.max_nr_frames, "size",
	      q.nr_frames);
	q.dom = 5;
	check(!grant(GNTTABOP_query_size, &q) && q.status, "of others", 0);
	s.frame_list.p = (void *)frames;
	check(!grant(GNTTABOP_setup_table, &s) && s.status, "more frames than there are", 0);
	s.nr_frames = 1;
	s.frame_list.p = (void *)GATE_TRUST;
	check(!grant(GNTTABOP_setup_table, &s) && s.status, "told where it cannot be", 0);
	offer(12, page(2), 0);
	check(!grant(GNTTABOP_swap_grant_ref, &w) && !w.status && !grant_table[12].flags && grant_table[13].flags,
	      "swap", 0);
	w.ref_b = 100000;
	check(!grant(GNTTABOP_swap_grant_ref, &w) && w.status, "with one that is none", 0);
	check(!grant(GNTTABOP_transfer, &t) && t.status, "a page given away", 0);
	check(CALL(grant_table_op, 99, &t, 1) < 0 && CALL(grant_table_op, GNTTABOP_query_size, &q, ~0u) < 0 &&
		      CALL(grant_table_op, GNTTABOP_map_grant_ref, GATE_TRUST, 1) < 0,
	      "operation", 0);
	grant_table[13].flags = 0;
}

static void test_grant_copy(void)
{
	u64 *from = page(1), *to = page(2), *l1 = page(3);
	struct gnttab_copy c = {.source = {.domid = DOMID_SELF}, .dest = {.domid = DOMID_SELF}, .len = 8};

	if (!set_up_grants())
		return;
	from[0] = 77;
	c.source.u.gmfn = mfn_of(from);
	c.dest.u.gmfn = mfn_of(to);
	check(!grant(GNTTABOP_copy, &c) && !c.status && to[0] == 77, "copy", (u64)(s64)c.status);
	c.dest.offset = 4092;
	check(!grant(GNTTABOP_copy, &c) && c.status, "over the end", 0);
	c.dest.offset = 0;
	check(!remap(l1, KERNEL_RO) && !ext(MMUEXT_PIN_L1_TABLE, mfn_of(l1), 0), "table", 0);
	c.dest.u.gmfn = mfn_of(l1);
	check(!grant(GNTTABOP_copy, &c) && c.status && !l1[0], "into a table", l1[0]);
	for (u64 mfn = 0; mfn < 300; mfn++) {
		c.dest.u.gmfn = mfn;
		check(is_own(mfn) || (!grant(GNTTABOP_copy, &c) && c.status), "into others' frame", mfn);
	}
	check(!ext(MMUEXT_UNPIN_TABLE, mfn_of(l1), 0), "unpin", 0);
}

const struct pv_case cases[] = {
	{"grants", test_grants, false},
	{"grant-handles", test_handles, false},
	{"grant-small", test_small_operations, false},
	{"grant-copy", test_grant_copy, false},
	{0},
};
