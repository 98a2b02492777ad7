// SPDX-License-Identifier: MIT
// iret, and the ways between kernel and programs: system calls, exceptions, selectors and flags of any kind, events on the way.
#include "tests/guests/pv/harness/pv.h"

static void test_user(void)
{
	for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
		for (unsigned masked = 0; masked < 2; masked++) {
			check(run_user(user_syscall, masked ? 0 : RFL_IF, flags) == CAME(CAME_SYSCALL), "system call",
			      flags);
			check((got.cs & 3) == 3 && (got.ss & 3) == 3 && got.rip == (u64)user_syscall + 2, "its frame",
			      got.cs);
			check(run_user(user_syscall + 2, masked ? 0 : RFL_IF, flags) == CAME(VEC_UD), "exception",
			      flags);
		}
	check(run_user((void *)0x6000000000, 0, 0) == CAME(VEC_PF) && (got.error & 4), "page fault", got.error);
	check(run_user((void *)MACH2PHYS_VIRT_START, RFL_IF, 0) == CAME(VEC_PF), "M2P is run", 0);
	check(run_user((void *)GATE_TEXT, RFL_IF, 0) == CAME(VEC_PF), "gate is run", 0);
}

static void test_selectors(void)
{
	for (unsigned sel = 0; sel < 0x10000; sel += sel >= 0xdf80 && sel < 0xf080 ? 1 : 0x333) {
		struct iret_context c = user_context(user_syscall, RFL_IF, 0), d = c;

		c.cs = sel | 3;
		d.ss = sel | 3;
		check(attempt(enter_user, (u64)&c) != 0, "CS", sel);
		check(attempt(enter_user, (u64)&d) != 0, "SS", sel);
	}
}

// Events on the way to a program: taken before its first instruction.
static void test_iret_events(void)
{
	struct evtchn_bind_ipi b = {0};
	unsigned before = events;

	check(!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b), "bind", 0);
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	shared()->evtchn_mask[0] &= ~BIT(b.port);
	check(!CALL(event_channel_op, EVTCHNOP_send, &b.port) && events == before, "masked", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL) && events == before + 1, "taken", events);
	shared()->evtchn_pending[0] = 0;
	check(!CALL(event_channel_op, EVTCHNOP_close, &b.port), "close", 0);
}

static void iret_from_nowhere(void)
{
	call_on(UNCANONICAL, __HYPERVISOR_iret, 0, 0);
}

static void no_user_tables(void)
{
	(void)ext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
	(void)run_user(user_syscall, RFL_IF, 0);
}

const struct pv_case cases[] = {
	{"user", test_user, false},
	{"selectors", test_selectors, false},
	{"iret-events", test_iret_events, false},
	{"iret-from-nowhere", iret_from_nowhere, true},
	{"no-user-tables", no_user_tables, true},
	{0},
};
