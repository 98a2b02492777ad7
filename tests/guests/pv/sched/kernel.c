// SPDX-License-Identifier: MIT
// sched_op: waiting, ending, watchdogs.
#include "tests/guests/pv/harness/pv.h"

static s64 watch(u32 id, u32 timeout)
{
	struct sched_watchdog w = {.id = id, .timeout = timeout};

	return CALL(sched_op, SCHEDOP_watchdog, &w);
}

static void test_sched(void)
{
	check(!CALL(sched_op, SCHEDOP_yield), "yield", 0);
	check(CALL(sched_op, 77, 0) < 0, "operation", 0);
	for (unsigned reason = 5; reason < 300; reason += 7)
		check(CALL(sched_op, SCHEDOP_shutdown, &(struct sched_shutdown){reason}) < 0, "shutdown", reason);
	check(CALL(sched_op, SCHEDOP_shutdown, &(struct sched_shutdown){77}) < 0, "no such reason", 0);
	check(CALL(sched_op, SCHEDOP_shutdown, &(struct sched_shutdown){SHUTDOWN_suspend}) < 0,
	      "nothing would resume it", 0);
	check(CALL(sched_op, SCHEDOP_shutdown, UNCANONICAL) < 0 &&
		      CALL(sched_op, SCHEDOP_shutdown, GATE_TRUST + PAGE_SIZE * 511) < 0,
	      "argument", 0);
}

static void test_poll(void)
{
	evtchn_port_t port[200] = {0};
	struct sched_poll p = {.nr_ports = 1, .timeout = 1};

	port[0] = bind_ipi();
	p.ports.p = port;
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	shared()->evtchn_mask[0] |= BIT(port[0]);
	check(!CALL(sched_op, SCHEDOP_poll, &p), "a time that is past", 0);
	check(!port_op(EVTCHNOP_send, port[0]), "send", 0);
	p.timeout = 0;
	check(!CALL(sched_op, SCHEDOP_poll, &p), "a port that is pending, without end", 0);
	p.nr_ports = 200;
	check(CALL(sched_op, SCHEDOP_poll, &p) < 0, "too many", 0);
	p.nr_ports = ~0u;
	check(CALL(sched_op, SCHEDOP_poll, &p) < 0, "without end", 0);
	p.nr_ports = 1;
	p.ports.p = (void *)UNCANONICAL;
	check(CALL(sched_op, SCHEDOP_poll, &p) < 0, "a list that is none", 0);
	shared()->evtchn_pending[0] = 0;
	check(!port_op(EVTCHNOP_close, port[0]), "close", 0);
}

static void test_watchdogs(void)
{
	s64 first = watch(0, 60), second = watch(0, 60);

	check(first == 1 && second == 2 && watch(0, 60) < 0, "two", (u64)second);
	check(watch(3, 60) < 0 && watch(~0u, 60) < 0, "one that is none", 0);
	check(!watch(1, 60) && !watch(1, 0) && watch(1, 60) < 0 && !watch(2, 0) && watch(2, 0) < 0,
	      "wound, and no more", 0);
	check(watch(0, 0) < 0, "of no time", 0);
}

// A second, and nobody winds it.
static void watchdog(void)
{
	struct sched_watchdog w = {.timeout = 1};

	check(CALL(sched_op, SCHEDOP_watchdog, &w) == 1, "set", 0);
	for (;;) {
		struct sched_poll p = {.nr_ports = 0, .timeout = 0};

		(void)CALL(sched_op, SCHEDOP_poll, &p);
	}
}

const struct pv_case cases[] = {
	{"sched", test_sched, false},
	{"poll", test_poll, false},
	{"watchdogs", test_watchdogs, false},
	{"watchdog", watchdog, true},
	{0},
};
