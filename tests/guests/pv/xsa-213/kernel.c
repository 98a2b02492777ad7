// SPDX-License-Identifier: MIT
// XSA-213: an iret in a multicall made the vCPU the program's, and the rest of the list was run all the same, with a program's tables where
// the kernel's were counted. Here a list has a call behind its iret: it must not be run, and the program find the RAX that it was
// given, whatever the values that the hypervisor uses for itself.
#include "tests/guests/pv/harness/pv.h"

static struct multicall_entry list[3];

static void call_list(u64 context)
{
	call_on(context, __HYPERVISOR_multicall, (u64)list, 3);
}

static void test_multicall_iret(void)
{
	struct iret_context c = user_context(user_syscall, RFL_IF, 0);

	memset(list, 0, sizeof(list));
	list[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	list[1] = (struct multicall_entry){.op = __HYPERVISOR_iret};
	list[2] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	for (u64 rax = (u64)-0x8010; rax < (u64)-0x7ff0; rax++) {
		c.rax = rax;
		list[2].result = 0;
		if (!check(attempt(call_list, (u64)&c) == CAME(CAME_SYSCALL) && got.rax == rax, "its RAX", got.rax))
			break;
		check(!list[2].result, "the list goes on", list[2].result);
	}
}

const struct pv_case cases[] = {
	{"xsa-213-multicall-iret", test_multicall_iret, false},
	{0},
};
