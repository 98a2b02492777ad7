// SPDX-License-Identifier: MIT
// xen_version: what the hypervisor says of itself, and hypercalls that are none.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void test_version(void)
{
	struct xen_feature_info f = {0};

	check(CALL(xen_version, XENVER_version, 0) >> 16 == 4, "version", (u64)CALL(xen_version, XENVER_version, 0));
	check(CALL(xen_version, XENVER_pagesize, 0) == PAGE_SIZE, "page size", 0);
	check(!CALL(xen_version, XENVER_get_features, (u64)&f) && f.submap >> XENFEAT_mmu_pt_update_preserve_ad & 1,
	      "features", f.submap);
	check(CALL(xen_version, ~0ull, 0) == -XEN_ENOSYS, "unknown command", 0);
	check(hypercall(63, 0, 0, 0, 0) == -XEN_ENOSYS && hypercall(~0ull, 0, 0, 0, 0) == -XEN_ENOSYS, "unknown call",
	      0);
}

const struct pv_case cases[] = {
	{"version", test_version, false},
	{0},
};
