// SPDX-License-Identifier: MIT
// multicall: a list of calls, none of which is a list.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void test_multicall(void)
{
	struct multicall_entry *e = (struct multicall_entry *)(page(1) + 512) - 3; // up to a page that is not there

	e[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_multicall, .args = {(u64)e, 3}};
	e[2] = (struct multicall_entry){.op = 63};
	check(!remap(page(2), 0) && !CALL(multicall, e, 3), "it fails", 0);
	check(e[0].result == PAGE_SIZE && (s64)e[1].result < 0 && (s64)e[2].result == -XEN_ENOSYS, "results",
	      e[0].result);
	check(CALL(multicall, e, ~0u) < 0, "without end", 0);
}

const struct pv_case cases[] = {
	{"multicall", test_multicall, false},
	{0},
};
