// SPDX-License-Identifier: MIT
// Event channels: each operation's success and its errors, when an upcall is due, and three guests that do random things to each
// other's channels and to their own bits, with the audit.
#include "core/pv/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <xen/errno.h>

#define GUESTS 3u
#define USER 7

static struct pv_events guest[GUESTS];
static struct shared_info shared[GUESTS];
static unsigned notified[GUESTS], rung[GUESTS];
static bool gone[GUESTS];

static struct pv_events *find(void *ctx, u16 dom)
{
	return dom < GUESTS && !gone[dom] ? &guest[dom] : NULL;
}

static unsigned index_of(void *ctx)
{
	return (unsigned)((struct shared_info *)ctx - shared);
}

static struct vcpu_info *vcpu_info(void *ctx, unsigned vcpu)
{
	return &shared[index_of(ctx)].vcpu_info[vcpu];
}

static void notify(void *ctx, unsigned vcpu)
{
	notified[index_of(ctx)]++;
}

static void sent(void *ctx, unsigned user)
{
	assert_int_equal(user, USER);
	rung[index_of(ctx)]++;
}

static const struct pv_event_ports ports = {find, vcpu_info, notify, sent};

static int start(void **state)
{
	memset(shared, 0, sizeof(shared));
	memset(notified, 0, sizeof(notified));
	memset(rung, 0, sizeof(rung));
	memset(gone, 0, sizeof(gone));
	for (unsigned g = 0; g < GUESTS; g++)
		pv_events_init(&guest[g], &ports, &shared[g], (u16)g, 2, &shared[g]);
	return 0;
}

static bool pending(unsigned g, unsigned port)
{
	return shared[g].evtchn_pending[port / 64] >> port % 64 & 1;
}

static unsigned unbound(unsigned g, u16 remote)
{
	struct evtchn_alloc_unbound a = {.dom = DOMID_SELF, .remote_dom = remote};

	assert_int_equal(pv_event_alloc_unbound(&guest[g], &a), 0);
	return a.port;
}

static unsigned connect(unsigned g, u16 remote, unsigned port)
{
	struct evtchn_bind_interdomain b = {.remote_dom = remote, .remote_port = port};

	assert_int_equal(pv_event_bind_interdomain(&guest[g], &b), 0);
	return b.local_port;
}

static int send(unsigned g, unsigned port)
{
	return pv_event_send(&guest[g], &(struct evtchn_send){port});
}

static int close_port(unsigned g, unsigned port)
{
	return pv_event_close(&guest[g], &(struct evtchn_close){port});
}

static unsigned state_of(unsigned g, unsigned port)
{
	struct evtchn_status s = {.dom = DOMID_SELF, .port = port};

	assert_int_equal(pv_event_status(&guest[g], &s), 0);
	return s.status;
}

static void take_upcall(unsigned g)
{
	shared[g].vcpu_info[0].evtchn_upcall_pending = 0;
	shared[g].vcpu_info[0].evtchn_pending_sel = 0;
}

static void test_connect(void **state)
{
	unsigned a = unbound(0, 1), b;
	struct evtchn_status s = {.dom = 0, .port = a};

	assert_int_equal(send(0, a), 0); // goes nowhere
	assert_int_equal(pv_event_status(&guest[0], &s), 0);
	assert_int_equal(s.status, EVTCHNSTAT_unbound);
	assert_int_equal(s.u.unbound.dom, 1);
	b = connect(1, 0, a);
	assert_true(pending(1, b));
	assert_int_equal(notified[1], 1);
	assert_int_equal(send(1, b), 0);
	assert_true(pending(0, a));
	assert_int_equal(notified[0], 1);
	assert_true(pv_event_deliverable(&guest[0], 0));
	assert_false(pv_event_deliverable(&guest[0], 1));
	s.port = a;
	assert_int_equal(pv_event_status(&guest[0], &s), 0);
	assert_int_equal(s.status, EVTCHNSTAT_interdomain);
	assert_int_equal(s.u.interdomain.dom, 1);
	assert_int_equal(s.u.interdomain.port, b);
	assert_int_equal(close_port(1, b), 0);
	assert_false(pending(1, b));
	assert_int_equal(state_of(0, a), EVTCHNSTAT_unbound);
	assert_int_equal(state_of(1, b), EVTCHNSTAT_closed);
	b = connect(1, 0, a); // a successor
	pv_events_end(&guest[1]);
	gone[1] = true;
	assert_int_equal(state_of(0, a), EVTCHNSTAT_unbound);
	assert_int_equal(send(0, a), 0);
	assert_int_equal(close_port(0, a), 0);
	a = unbound(2, DOMID_SELF); // to itself
	b = connect(2, DOMID_SELF, a);
	assert_int_equal(send(2, a), 0);
	assert_true(pending(2, b));
	assert_int_equal(pv_event_reset(&guest[2], &(struct evtchn_reset){DOMID_SELF}), 0);
	assert_int_equal(state_of(2, a), EVTCHNSTAT_closed);
	assert_int_equal(state_of(2, b), EVTCHNSTAT_closed);
}

static void test_errors(void **state)
{
	struct evtchn_alloc_unbound other = {.dom = 1};
	struct evtchn_bind_interdomain b = {.remote_dom = 0, .remote_port = unbound(0, 1)};
	struct evtchn_bind_virq virq = {.virq = VIRQ_TIMER, .vcpu = 1};
	struct evtchn_bind_ipi ipi = {.vcpu = 0};
	struct evtchn_status s = {.dom = 1};
	static const u32 bad_ports[] = {0, 500, PV_PORTS, PV_PORTS + 1, ~0u};

	assert_int_equal(pv_event_alloc_unbound(&guest[0], &other), -XEN_EPERM);
	assert_int_equal(pv_event_bind_interdomain(&guest[2], &b), -XEN_EINVAL); // not for it
	b.remote_dom = 9;
	assert_int_equal(pv_event_bind_interdomain(&guest[1], &b), -XEN_ESRCH);
	b.remote_dom = 0;
	assert_int_equal(pv_event_bind_interdomain(&guest[1], &b), 0);
	assert_int_equal(pv_event_bind_interdomain(&guest[1], &b), -XEN_EINVAL); // taken
	for (unsigned i = 0; i < ARRAY_SIZE(bad_ports); i++) {
		b.remote_port = bad_ports[i];
		assert_int_equal(pv_event_bind_interdomain(&guest[1], &b), -XEN_EINVAL);
		assert_int_equal(send(0, bad_ports[i]), -XEN_EINVAL);
		assert_int_equal(close_port(0, bad_ports[i]), -XEN_EINVAL);
		assert_int_equal(pv_event_unmask(&guest[0], &(struct evtchn_unmask){bad_ports[i]}), -XEN_EINVAL);
		assert_int_equal(pv_event_bind_vcpu(&guest[0], &(struct evtchn_bind_vcpu){bad_ports[i], 0}), -XEN_EINVAL);
	}
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), 0);
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), -XEN_EEXIST);
	assert_int_equal(send(0, virq.port), -XEN_EINVAL);
	assert_int_equal(pv_event_bind_vcpu(&guest[0], &(struct evtchn_bind_vcpu){virq.port, 0}), -XEN_EINVAL);
	assert_int_equal(close_port(0, virq.port), 0);
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), 0);
	virq.vcpu = 2;
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), -XEN_ENOENT);
	virq.virq = NR_VIRQS;
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), -XEN_EINVAL);
	virq = (struct evtchn_bind_virq){.virq = VIRQ_CONSOLE, .vcpu = 1};
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), -XEN_EINVAL); // there is one for all vCPUs
	ipi.vcpu = 2;
	assert_int_equal(pv_event_bind_ipi(&guest[0], &ipi), -XEN_ENOENT);
	ipi.vcpu = 1;
	assert_int_equal(pv_event_bind_ipi(&guest[0], &ipi), 0);
	assert_int_equal(pv_event_bind_vcpu(&guest[0], &(struct evtchn_bind_vcpu){ipi.port, 0}), -XEN_EINVAL);
	assert_int_equal(pv_event_bind_vcpu(&guest[0], &(struct evtchn_bind_vcpu){ipi.port, 2}), -XEN_ENOENT);
	assert_int_equal(pv_event_status(&guest[0], &s), -XEN_EPERM);
	s = (struct evtchn_status){.dom = 0, .port = PV_PORTS};
	assert_int_equal(pv_event_status(&guest[0], &s), -XEN_EINVAL);
	assert_int_equal(pv_event_reset(&guest[0], &(struct evtchn_reset){1}), -XEN_EPERM);
	for (unsigned i = 0; i < 2 * PV_PORTS; i++) {
		struct evtchn_alloc_unbound a = {.dom = DOMID_SELF, .remote_dom = 1};

		if (pv_event_alloc_unbound(&guest[0], &a))
			assert_int_equal(pv_event_alloc_unbound(&guest[0], &a), -XEN_ENOSPC);
	}
	assert_int_equal(pv_event_connect(&guest[0], USER), 0);
	assert_true(pv_events_audit(&guest[0]));
}

// An upcall for the first of a word's events, and none while the channel or the vCPU is masked.
static void test_upcalls(void **state)
{
	struct evtchn_bind_ipi one = {.vcpu = 0}, two = {.vcpu = 0};

	assert_int_equal(pv_event_bind_ipi(&guest[0], &one), 0);
	assert_int_equal(pv_event_bind_ipi(&guest[0], &two), 0);
	send(0, one.port);
	assert_int_equal(notified[0], 1);
	assert_int_equal(shared[0].vcpu_info[0].evtchn_pending_sel, 1);
	send(0, one.port);
	send(0, two.port);
	assert_int_equal(notified[0], 1);
	shared[0].vcpu_info[0].evtchn_upcall_mask = 1;
	assert_false(pv_event_deliverable(&guest[0], 0));
	shared[0].vcpu_info[0].evtchn_upcall_mask = 0;
	take_upcall(0);
	memset(shared[0].evtchn_pending, 0, sizeof(shared[0].evtchn_pending));
	shared[0].evtchn_mask[0] = 1ull << one.port;
	send(0, one.port);
	assert_true(pending(0, one.port));
	assert_int_equal(notified[0], 1);
	assert_int_equal(pv_event_unmask(&guest[0], &(struct evtchn_unmask){one.port}), 0);
	assert_int_equal(shared[0].evtchn_mask[0], 0);
	assert_int_equal(notified[0], 2);
	assert_true(pv_event_deliverable(&guest[0], 0));
}

static void test_hypervisor(void **state)
{
	unsigned port = pv_event_connect(&guest[0], USER);
	struct evtchn_bind_virq virq = {.virq = VIRQ_TIMER, .vcpu = 1};

	assert_int_equal(port, 1);
	assert_int_equal(send(0, port), 0);
	assert_int_equal(rung[0], 1);
	pv_event_raise(&guest[0], USER + 1);
	assert_int_equal(notified[0], 0);
	pv_event_raise(&guest[0], USER);
	assert_true(pending(0, port));
	assert_int_equal(state_of(0, port), EVTCHNSTAT_interdomain);
	pv_event_virq(&guest[0], 1, VIRQ_TIMER); // not bound: nobody to tell
	assert_int_equal(pv_event_bind_virq(&guest[0], &virq), 0);
	pv_event_virq(&guest[0], 1, VIRQ_TIMER);
	assert_true(pending(0, virq.port) && pv_event_deliverable(&guest[0], 1));
	assert_int_equal(close_port(0, port), 0);
	pv_event_raise(&guest[0], USER);
	assert_false(pending(0, port));
}

static u64 seed = 88172645463325252ull;

static u32 below(u32 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)((seed >> 17) % n);
}

static void test_random(void **state)
{
	unsigned done[2][11] = {0};

	for (unsigned i = 0; i < 300000; i++) {
		unsigned g = below(GUESTS), op = below(11), port = below(30);
		struct pv_events *e = &guest[g];
		struct evtchn_alloc_unbound a = {.dom = DOMID_SELF, .remote_dom = (u16)below(4)};
		struct evtchn_bind_interdomain b = {.remote_dom = (u16)below(4), .remote_port = port};
		struct evtchn_bind_virq v = {.virq = below(26), .vcpu = below(3)};
		struct evtchn_bind_ipi ipi = {.vcpu = below(3)};
		struct evtchn_status s = {.dom = below(9) ? DOMID_SELF : 1, .port = below(2000)};
		int r = 0;

		switch (op) {
		case 0: r = pv_event_alloc_unbound(e, &a); break;
		case 1: r = pv_event_bind_interdomain(e, &b); break;
		case 2: r = pv_event_bind_virq(e, &v); break;
		case 3: r = pv_event_bind_ipi(e, &ipi); break;
		case 4: r = close_port(g, port); break;
		case 5: r = send(g, port); break;
		case 6: r = pv_event_status(e, &s); break;
		case 7: r = pv_event_unmask(e, &(struct evtchn_unmask){port}); break;
		case 8: r = pv_event_bind_vcpu(e, &(struct evtchn_bind_vcpu){port, below(3)}); break;
		case 9: r = below(500) ? 0 : pv_event_reset(e, &(struct evtchn_reset){(u16)(below(2) ? DOMID_SELF : 1)}); break;
		default: // the guest's own hands
			((u8 *)&shared[g])[below(sizeof(shared[g]))] = (u8)below(256);
		}
		done[r != 0][op]++;
		if (i % 64 == 0)
			for (unsigned k = 0; k < GUESTS; k++)
				assert_true(pv_events_audit(&guest[k]));
	}
	for (unsigned op = 0; op < 9; op++) {
		print_message("operation %u: %u done, %u refused\n", op, done[0][op], done[1][op]);
		assert_true(done[0][op] > 50 && (op == 0 || done[1][op] > 50));
	}
	guest[0].channel[3].state = PV_CONNECTED; // the audit can fail
	guest[0].channel[3].remote_dom = 1;
	guest[0].channel[3].remote_port = 1000;
	assert_false(pv_events_audit(&guest[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_connect, start),	cmocka_unit_test_setup(test_errors, start),
		cmocka_unit_test_setup(test_upcalls, start),	cmocka_unit_test_setup(test_hypervisor, start),
		cmocka_unit_test_setup(test_random, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
