// SPDX-License-Identifier: MIT
// Hypercalls of the domain that manages others: none of them is a guest's, whatever its arguments.
#include "tests/guests/pv/harness/pv.h"

static void test_privileged(void)
{
	static const unsigned calls[] = {
		__HYPERVISOR_platform_op, __HYPERVISOR_xsm_op,      __HYPERVISOR_hvm_op,  __HYPERVISOR_sysctl,
		__HYPERVISOR_domctl,      __HYPERVISOR_kexec_op,    __HYPERVISOR_tmem_op, __HYPERVISOR_argo_op,
		__HYPERVISOR_xenpmu_op,   __HYPERVISOR_xenoprof_op, __HYPERVISOR_dm_op,
	};
	u64 *arg = page(1);

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		for (unsigned cmd = 0; cmd < 16; cmd++) {
			memset(arg, (int)(cmd * 0x11), PAGE_SIZE);
			check(hypercall(calls[i], cmd, (u64)arg, (u64)arg, 0) < 0 &&
				      hypercall(calls[i], (u64)arg, cmd, 0, 0) < 0,
			      "call", calls[i]);
			for (unsigned n = 0; n < 512; n++)
				if (!check(arg[n] == cmd * 0x1111111111111111ull, "its argument has changed", calls[i]))
					break;
		}
}

const struct pv_case cases[] = {
	{"privileged", test_privileged, false},
	{0},
};
