// SPDX-License-Identifier: MIT
// NMIs that the guest sends itself (VCPUOP_send_nmi): whatever is masked, one after the other.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void send_nmi(u64 arg)
{
	check(!CALL(vcpu_op, VCPUOP_send_nmi, 0, 0), "send", 0);
}

static void test_nmi(void)
{
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	check(attempt(send_nmi, 0) == CAME(VEC_NMI), "to itself", got.vector);
	nmis = 0;
	count_nmis = true;
	check(!attempt(send_nmi, 0) && nmis == 2, "one after the other", nmis);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "programs run after it", 0);
	count_nmis = false;
	check(CALL(vcpu_op, VCPUOP_send_nmi, 1, 0) == -XEN_ENOENT, "to nobody", 0);
}

const struct pv_case cases[] = {
	{"nmi", test_nmi, false},
	{0},
};
