// SPDX-License-Identifier: MIT
// XSA-317: to allocate one event channel more than there was room prepared for failed, and left a port behind that counted as there and had
// nothing to it: using it ended the machine. Here all ports are taken, each way of having another is tried again and again, and
// nothing may come of it; ports that are none, beyond the end of the table and of the interface, are used in every operation.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void test_ports(void)
{
	static const u32 odd[] = {0, 1000, 1023, 1024, 4095, 4096, 65535, 131071, 131072, 0x7fffffff, 0x80000000, ~0u};

	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		struct evtchn_status s = {.dom = DOMID_SELF, .port = odd[i]};
		struct evtchn_bind_vcpu b = {.port = odd[i], .vcpu = odd[i]};
		struct sched_poll p = {.nr_ports = 1, .timeout = 1};
		evtchn_port_t port = odd[i];

		p.ports.p = &port;
		check(port_op(EVTCHNOP_send, odd[i]) < 0 && port_op(EVTCHNOP_close, odd[i]) < 0, "send, close", odd[i]);
		check(port_op(EVTCHNOP_unmask, odd[i]) < 0 || odd[i] < 1024, "unmask", odd[i]);
		check(CALL(event_channel_op, EVTCHNOP_bind_vcpu, &b) < 0, "vCPU", odd[i]);
		(void)CALL(event_channel_op, EVTCHNOP_status, &s);
		check(CALL(sched_op, SCHEDOP_poll, &p) < 0 || odd[i] < 1024, "poll", odd[i]);
	}
	struct evtchn_bind_virq q = {.virq = 24};
	struct evtchn_bind_interdomain d = {.remote_dom = 0, .remote_port = 5};

	check(CALL(event_channel_op, EVTCHNOP_bind_virq, &q) < 0, "virtual interrupt", 0);
	check(CALL(event_channel_op, EVTCHNOP_bind_interdomain, &d) < 0, "another's", 0);
}

static u8 state_of(u32 port)
{
	struct evtchn_status s = {.dom = DOMID_SELF, .port = port};

	check(!CALL(event_channel_op, EVTCHNOP_status, &s), "status", port);
	return (u8)s.status;
}

static void test_full(void)
{
	struct evtchn_alloc_unbound u = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
	struct evtchn_bind_interdomain d = {.remote_dom = DOMID_SELF};
	struct evtchn_bind_virq q = {.virq = VIRQ_DEBUG};
	struct evtchn_bind_ipi b = {0};
	u8 before[1024];

	check(!CALL(event_channel_op, EVTCHNOP_alloc_unbound, &u), "unbound", 0);
	d.remote_port = u.port;
	for (unsigned n = 0; n < 1024 && !CALL(event_channel_op, EVTCHNOP_bind_ipi, &b); n++)
		;
	for (u32 port = 0; port < 1024; port++)
		before[port] = state_of(port);
	for (unsigned n = 0; n < 100; n++)
		check(CALL(event_channel_op, EVTCHNOP_bind_ipi, &b) == -XEN_ENOSPC &&
			      CALL(event_channel_op, EVTCHNOP_alloc_unbound, &u) == -XEN_ENOSPC &&
			      CALL(event_channel_op, EVTCHNOP_bind_virq, &q) == -XEN_ENOSPC &&
			      CALL(event_channel_op, EVTCHNOP_bind_interdomain, &d) == -XEN_ENOSPC,
		      "one more", n);
	for (u32 port = 0; port < 1024; port++) {
		check(state_of(port) == before[port], "it has changed", port);
		shared()->evtchn_mask[port / 64] |= BIT(port % 64);
		if (before[port] == EVTCHNSTAT_ipi)
			check(!port_op(EVTCHNOP_send, port), "send", port);
	}
	check(state_of(d.remote_port) == EVTCHNSTAT_unbound, "it is bound", d.remote_port);
	check(!port_op(EVTCHNOP_close, d.remote_port), "room for one", 0);
	check(!CALL(event_channel_op, EVTCHNOP_bind_virq, &q) && q.port == d.remote_port, "the virtual interrupt",
	      q.port);
	for (u32 port = 0; port < 1024; port++)
		if (port == q.port || before[port] == EVTCHNSTAT_ipi)
			check(!port_op(EVTCHNOP_close, port), "close", port);
}

const struct pv_case cases[] = {
	{"xsa-317-ports", test_ports, false},
	{"xsa-317-full", test_full, false},
	{0},
};
