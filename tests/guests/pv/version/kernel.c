// SPDX-License-Identifier: MIT
// xen_version: what the hypervisor says of itself, and hypercalls that are none.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>
#include <xen/hvm/hvm_op.h>

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

// Calls of machines of another kind, and of the domain that has the machine.
static void test_others(void)
{
	u64 arg[4] = {DOMID_SELF};

	check(CALL(hvm_op, HVMOP_get_param, arg) == -XEN_EINVAL && CALL(hvm_op, HVMOP_set_param, arg) == -XEN_EINVAL,
	      "parameters of an HVM domain", 0);
	check(CALL(hvm_op, 200, arg) == -XEN_ENOSYS, "none of those", 0);
	check(CALL(platform_op, arg) == -XEN_EPERM, "the platform", 0);
}

const struct pv_case cases[] = {
	{"version", test_version, false},
	{"others", test_others, false},
	{0},
};
