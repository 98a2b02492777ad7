// SPDX-License-Identifier: MIT
// XSA-255: a guest that went back from version 2 of the grant table to 1 had the status frames freed while it had them mapped. Here
// there is version 1 only: to ask for another must fail and leave the table as it is, and no status frames come. (If there are some,
// they must stay while they are mapped.) No frame of the table itself can be given back or become a page table, mapped or not.
#include "tests/guests/pv/harness/pv.h"

static void test_versions(void)
{
	struct gnttab_set_version s = {.version = 2};
	struct gnttab_get_status_frames f = {.dom = DOMID_SELF, .nr_frames = 1};
	struct gnttab_get_version g = {.dom = DOMID_SELF};
	u64 *data = page(1), *at = page(2), *status = page(3), frame = 0;
	u32 h = 0;

	if (!set_up_grants())
		return;
	offer(10, data, 0);
	check(!remap(at, 0), "free address", 0);
	f.frame_list.p = (void *)&frame;
	if (grant(GNTTABOP_set_version, &s) < 0) {
		check(s.version == 1, "the version that there is", s.version);
		check(grant(GNTTABOP_get_status_frames, &f) < 0 || f.status, "status frames", 0);
		check(!frame, "one of them", frame);
	} else if (!grant(GNTTABOP_get_status_frames, &f) && !f.status) {
		check(!map_at(status, frame << PAGE_SHIFT | KERNEL_RW), "map", frame);
		s.version = 1;
		check(grant(GNTTABOP_set_version, &s) < 0, "they go while they are mapped", frame);
		check(!map_at(status, 0), "unmap", frame);
	}
	s.version = 3;
	check(grant(GNTTABOP_set_version, &s) < 0, "version 3", 0);
	s.version = 1;
	check(!grant(GNTTABOP_set_version, &s), "back to 1", 0);
	check(!grant(GNTTABOP_get_version, &g) && g.version == 1, "version", g.version);
	check(!grant_map(10, (u64)at, GNTMAP_host_map, &h), "what was granted before", 0);
	at[3] = 4;
	check(data[3] == 4 && !grant_unmap(h, (u64)at, 0), "is the page", data[3]);
	grant_table[10].flags = 0;
}

static s64 give_back(u64 frame)
{
	struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};

	r.extent_start.p = (void *)&frame;
	return CALL(memory_op, XENMEM_decrease_reservation, &r);
}

static void test_table_frames(void)
{
	u64 frame[4] = {0}, *at = page(1);
	struct gnttab_setup_table s = {.dom = DOMID_SELF, .nr_frames = 4};

	s.frame_list.p = (void *)frame;
	check(!grant(GNTTABOP_setup_table, &s) && !s.status, "set up", (u64)(s64)s.status);
	for (unsigned i = 0; i < 4; i++) {
		check(frame[i] && !map_at(at, frame[i] << PAGE_SHIFT | KERNEL_RW), "map", frame[i]);
		check(!give_back(frame[i]), "it goes while it is mapped", i);
		check(!map_at(at, 0), "unmap", i);
		check(!give_back(frame[i]), "it goes", i);
		for (unsigned level = 1; level <= 4; level++)
			check(ext(MMUEXT_PIN_L1_TABLE + level - 1, frame[i], 0) < 0, "it becomes a table", level);
		check(CALL(set_gdt, &frame[i], 16) < 0, "it becomes a page of descriptors", i);
		for (unsigned j = 0; j < i; j++)
			check(frame[i] != frame[j], "twice the same", i);
	}
}

const struct pv_case cases[] = {
	{"xsa-255-versions", test_versions, false},
	{"xsa-255-table-frames", test_table_frames, false},
	{0},
};
