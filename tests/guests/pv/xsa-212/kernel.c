// SPDX-License-Identifier: MIT
// XSA-212: XENMEM_exchange checked where its lists begin, and not where the element is that it goes on with: a guest that said that many were
// done already had its results written where it liked. Here the same is tried with lists that end up in the gate, the M2P
// and elsewhere; and each group's results are asked for at such addresses.
#include "tests/guests/pv/harness/pv.h"

static void test_results(void)
{
	for (unsigned i = 0; i < NOT_OURS; i++) {
		u64 at = not_ours[i];

		for (unsigned cmd = 0; cmd < 12; cmd++)
			if (at)
				check(cmd == XENVER_version || cmd == XENVER_pagesize || CALL(xen_version, cmd, at) < 0,
				      "version", at);
		for (unsigned cmd = 0; cmd < 30; cmd++)
			if (cmd != XENMEM_maximum_ram_page && at)
				check(CALL(memory_op, cmd, at) <= 0, "memory", cmd);
		for (unsigned cmd = 0; cmd < 14; cmd++)
			if (at)
				check(CALL(event_channel_op, cmd, at) < 0, "events", at);
		if (at) {
			check(CALL(vcpu_op, VCPUOP_get_runstate_info, 0, at) < 0, "run state", at);
			check(CALL(sched_op, SCHEDOP_poll, at) < 0 && CALL(set_trap_table, at) < 0 &&
				      CALL(set_gdt, at, 8) < 0,
			      "arguments", at);
			check(CALL(console_io, CONSOLEIO_write, 8, at) < 0 && CALL(multicall, at, 1) < 0 &&
				      CALL(mmu_update, at, 1, 0, DOMID_SELF) < 0,
			      "lists", at);
		}
	}
}

static void test_exchange(void)
{
	u64 list[1] = {mfn_of(page(1))};

	for (unsigned i = 0; i < NOT_OURS; i++) {
		u64 done = not_ours[i] / 8;
		struct xen_memory_exchange x = {.in = {.nr_extents = done + 1, .domid = DOMID_SELF},
						.out = {.nr_extents = done + 1, .domid = DOMID_SELF},
						.nr_exchanged = done};

		x.in.extent_start.p = (void *)((u64)list - not_ours[i]);
		x.out.extent_start.p = (void *)not_ours[i];
		check(CALL(memory_op, XENMEM_exchange, &x) < 0, "exchange", not_ours[i]);
	}
}

const struct pv_case cases[] = {
	{"xsa-212-results", test_results, false},
	{"xsa-212-exchange", test_exchange, false},
	{0},
};
