// SPDX-License-Identifier: MIT
// event_channel_op: upcalls, masks, ports of each kind, as many as there are.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void test_events(void)
{
	u32 port = bind_ipi();
	unsigned before = events;
	volatile struct vcpu_info *v = &shared()->vcpu_info[0];

	shared()->evtchn_mask[0] |= BIT(port);
	v->evtchn_upcall_mask = 0;
	check(!port_op(EVTCHNOP_send, port) && events == before && (shared()->evtchn_pending[0] >> port & 1),
	      "a masked port", events);
	check(!port_op(EVTCHNOP_unmask, port), "unmask", 0);
	check(events == before + 1, "an upcall", events);
	shared()->evtchn_pending[0] = 0;
	v->evtchn_upcall_mask = 1;
	check(!port_op(EVTCHNOP_send, port) && events == before + 1, "while masked", events);
	v->evtchn_upcall_mask = 0;
	(void)CALL(xen_version, 0, 0);
	check(events == before + 2, "after it", events);
	shared()->evtchn_pending[0] = 0;
	check(!port_op(EVTCHNOP_close, port) && port_op(EVTCHNOP_send, port) < 0 && port_op(EVTCHNOP_close, port) < 0,
	      "close", 0);
}

// All there are, and no more; then all are free again.
static void test_exhaustion(void)
{
	unsigned n = 0;
	struct evtchn_bind_ipi b = {0};
	u32 first = 0;

	while (!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b)) {
		first = first ? first : b.port;
		if (++n > 1024)
			break;
	}
	check(n > 900 && n < 1024, "how many", n);
	for (u32 port = first; port < 1024; port++)
		(void)port_op(EVTCHNOP_close, port);
	check(bind_ipi() != 0, "again", 0);
	(void)port_op(EVTCHNOP_close, first);
}

// Two ends of a channel in one guest.
static void test_interdomain(void)
{
	struct evtchn_alloc_unbound u = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
	struct evtchn_bind_interdomain d = {.remote_dom = DOMID_SELF};
	struct evtchn_status s = {.dom = DOMID_SELF};

	check(!CALL(event_channel_op, EVTCHNOP_alloc_unbound, &u), "unbound", 0);
	d.remote_port = u.port;
	shared()->evtchn_mask[0] = ~0ull;
	check(!CALL(event_channel_op, EVTCHNOP_bind_interdomain, &d) && d.local_port != u.port, "bind", d.local_port);
	check(CALL(event_channel_op, EVTCHNOP_bind_interdomain, &d) < 0, "twice", 0);
	shared()->evtchn_pending[0] = 0;
	check(!port_op(EVTCHNOP_send, d.local_port) && shared()->evtchn_pending[0] == BIT(u.port), "to the other",
	      shared()->evtchn_pending[0]);
	shared()->evtchn_pending[0] = 0;
	check(!port_op(EVTCHNOP_send, u.port) && shared()->evtchn_pending[0] == BIT(d.local_port), "and back",
	      shared()->evtchn_pending[0]);
	check(!port_op(EVTCHNOP_close, u.port), "close", 0);
	s.port = d.local_port;
	check(!CALL(event_channel_op, EVTCHNOP_status, &s) && s.status == EVTCHNSTAT_unbound, "the other end",
	      s.status);
	check(!port_op(EVTCHNOP_close, d.local_port), "close the other", 0);
	u.dom = 5;
	check(CALL(event_channel_op, EVTCHNOP_alloc_unbound, &u) < 0, "of others", 0);
	s.dom = 5;
	check(CALL(event_channel_op, EVTCHNOP_status, &s) < 0 &&
		      CALL(event_channel_op, EVTCHNOP_reset, &(struct evtchn_reset){.dom = 5}) < 0,
	      "others' state", 0);
	check(CALL(event_channel_op, 99, &s) < 0, "operation", 0);
	shared()->evtchn_pending[0] = 0;
}

static void test_virq(void)
{
	struct evtchn_bind_virq q = {.virq = VIRQ_TIMER}, again = q, nobody = {.virq = VIRQ_TIMER, .vcpu = 1};

	check(!CALL(event_channel_op, EVTCHNOP_bind_virq, &q), "bind", 0);
	check(CALL(event_channel_op, EVTCHNOP_bind_virq, &again) == -XEN_EEXIST, "twice", 0);
	check(CALL(event_channel_op, EVTCHNOP_bind_virq, &nobody) < 0, "of nobody", 0);
	check(port_op(EVTCHNOP_send, q.port) < 0, "sent by the guest", 0);
	check(!port_op(EVTCHNOP_close, q.port) && !CALL(event_channel_op, EVTCHNOP_bind_virq, &again) &&
		      !port_op(EVTCHNOP_close, again.port),
	      "and again", again.port);
}

const struct pv_case cases[] = {
	{"events", test_events, false},
	{"ports-exhausted", test_exhaustion, false},
	{"interdomain", test_interdomain, false},
	{"virq", test_virq, false},
	{0},
};
