// SPDX-License-Identifier: MIT
#include "core/pv/events.h"

#include "base/assert.h"
#include "base/string.h"
#include <xen/errno.h>

#define WORD_BITS 64u

_Static_assert(PV_PORTS <= EVTCHN_2L_NR_CHANNELS && PV_VCPUS <= XEN_LEGACY_MAX_VCPUS, "the shared page has bits for all");

void pv_events_init(struct pv_events *e, const struct pv_event_ports *ports, void *ctx, u16 dom, unsigned vcpus, struct shared_info *shared)
{
	assert(vcpus && vcpus <= PV_VCPUS);
	memset(e, 0, sizeof(*e));
	e->ports = ports;
	e->ctx = ctx;
	e->dom = dom;
	e->vcpus = vcpus;
	e->shared = shared;
}

static struct pv_channel *channel_at(struct pv_events *e, u32 port)
{
	return port && port < PV_PORTS && e->channel[port].state != PV_FREE ? &e->channel[port] : NULL;
}

static unsigned port_of(const struct pv_events *e, const struct pv_channel *c)
{
	return (unsigned)(c - e->channel);
}

static struct pv_channel *take(struct pv_events *e, enum pv_channel_state state)
{
	for (unsigned p = 1; p < PV_PORTS; p++) {
		struct pv_channel *c = &e->channel[p];

		if (c->state != PV_FREE)
			continue;
		*c = (struct pv_channel){.state = (u8)state};
		return c;
	}
	return NULL;
}

static struct pv_events *guest(struct pv_events *e, u16 dom)
{
	return dom == DOMID_SELF || dom == e->dom ? e : e->ports->find(e->ctx, dom);
}

// ---- bits

static bool test_and_set(xen_ulong_t *word, unsigned bit)
{
	return __atomic_fetch_or(word, 1ull << bit, __ATOMIC_SEQ_CST) >> bit & 1;
}

static bool test(const xen_ulong_t *words, unsigned port)
{
	return __atomic_load_n(&words[port / WORD_BITS], __ATOMIC_SEQ_CST) >> port % WORD_BITS & 1;
}

static void clear(xen_ulong_t *words, unsigned port)
{
	__atomic_fetch_and(&words[port / WORD_BITS], ~(1ull << port % WORD_BITS), __ATOMIC_SEQ_CST);
}

static void select(struct pv_events *e, unsigned port)
{
	unsigned vcpu = e->channel[port].vcpu;
	struct vcpu_info *v = e->ports->vcpu_info(e->ctx, vcpu);

	if (!test_and_set(&v->evtchn_pending_sel, port / WORD_BITS) &&
	    !__atomic_exchange_n(&v->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST))
		e->ports->notify(e->ctx, vcpu);
}

static void set_pending(struct pv_events *e, unsigned port)
{
	if (!test_and_set(&e->shared->evtchn_pending[port / WORD_BITS], port % WORD_BITS) && !test(e->shared->evtchn_mask, port))
		select(e, port);
}

bool pv_event_deliverable(struct pv_events *e, unsigned vcpu)
{
	const struct vcpu_info *v = e->ports->vcpu_info(e->ctx, vcpu);

	return v->evtchn_upcall_pending && !v->evtchn_upcall_mask;
}

// ---- binding

int pv_event_alloc_unbound(struct pv_events *e, struct evtchn_alloc_unbound *a)
{
	struct pv_channel *c;

	if (a->dom != DOMID_SELF && a->dom != e->dom)
		return -XEN_EPERM;
	c = take(e, PV_UNBOUND);
	if (!c)
		return -XEN_ENOSPC;
	c->remote_dom = a->remote_dom == DOMID_SELF ? e->dom : a->remote_dom;
	a->port = port_of(e, c);
	return 0;
}

int pv_event_bind_interdomain(struct pv_events *e, struct evtchn_bind_interdomain *b)
{
	struct pv_events *remote = guest(e, b->remote_dom);
	struct pv_channel *c, *r = remote ? channel_at(remote, b->remote_port) : NULL;

	if (!remote)
		return b->remote_dom == PV_HOST ? -XEN_EINVAL : -XEN_ESRCH;
	if (!r || r->state != PV_UNBOUND || r->remote_dom != e->dom)
		return -XEN_EINVAL;
	c = take(e, PV_CONNECTED);
	if (!c)
		return -XEN_ENOSPC;
	c->remote_dom = remote->dom;
	c->remote_port = (u16)b->remote_port;
	r->state = PV_CONNECTED;
	r->remote_port = (u16)port_of(e, c);
	b->local_port = port_of(e, c);
	set_pending(e, b->local_port); // what the other sent before went nowhere
	return 0;
}

static bool for_each_vcpu(u32 virq)
{
	return virq == VIRQ_TIMER || virq == VIRQ_DEBUG || virq == VIRQ_XENOPROF || virq == VIRQ_XENPMU;
}

int pv_event_bind_virq(struct pv_events *e, struct evtchn_bind_virq *b)
{
	struct pv_channel *c;

	if (b->virq >= NR_VIRQS || (b->vcpu && !for_each_vcpu(b->virq)))
		return -XEN_EINVAL;
	if (b->vcpu >= e->vcpus)
		return -XEN_ENOENT;
	if (e->virq_port[b->vcpu][b->virq])
		return -XEN_EEXIST;
	c = take(e, PV_VIRQ);
	if (!c)
		return -XEN_ENOSPC;
	c->vcpu = (u16)b->vcpu;
	c->virq = (u8)b->virq;
	b->port = port_of(e, c);
	e->virq_port[b->vcpu][b->virq] = (u16)b->port;
	return 0;
}

int pv_event_bind_ipi(struct pv_events *e, struct evtchn_bind_ipi *b)
{
	struct pv_channel *c;

	if (b->vcpu >= e->vcpus)
		return -XEN_ENOENT;
	c = take(e, PV_IPI);
	if (!c)
		return -XEN_ENOSPC;
	c->vcpu = (u16)b->vcpu;
	b->port = port_of(e, c);
	return 0;
}

int pv_event_bind_vcpu(struct pv_events *e, const struct evtchn_bind_vcpu *b)
{
	struct pv_channel *c = channel_at(e, b->port);

	if (b->vcpu >= e->vcpus)
		return -XEN_ENOENT;
	if (!c || c->state == PV_IPI || (c->state == PV_VIRQ && for_each_vcpu(c->virq)))
		return -XEN_EINVAL;
	c->vcpu = (u16)b->vcpu;
	return 0;
}

// ---- the end of a channel

static void free_channel(struct pv_events *e, struct pv_channel *c)
{
	unsigned port = port_of(e, c);

	if (c->state == PV_VIRQ)
		for (unsigned v = 0; v < e->vcpus; v++) // one for all may be another vCPU's by now
			if (e->virq_port[v][c->virq] == port)
				e->virq_port[v][c->virq] = 0;
	if (c->state == PV_CONNECTED) {
		struct pv_events *remote = guest(e, c->remote_dom);

		assert(remote);
		remote->channel[c->remote_port].state = PV_UNBOUND;
		remote->channel[c->remote_port].remote_dom = e->dom;
		remote->channel[c->remote_port].remote_port = 0;
	}
	*c = (struct pv_channel){.state = PV_FREE};
	clear(e->shared->evtchn_pending, port);
}

int pv_event_close(struct pv_events *e, const struct evtchn_close *close)
{
	struct pv_channel *c = channel_at(e, close->port);

	if (!c)
		return -XEN_EINVAL;
	free_channel(e, c);
	return 0;
}

void pv_events_end(struct pv_events *e)
{
	for (unsigned p = 1; p < PV_PORTS; p++)
		if (e->channel[p].state != PV_FREE)
			free_channel(e, &e->channel[p]);
}

int pv_event_reset(struct pv_events *e, const struct evtchn_reset *r)
{
	if (r->dom != DOMID_SELF && r->dom != e->dom)
		return -XEN_EPERM;
	pv_events_end(e);
	return 0;
}

// ---- use

int pv_event_send(struct pv_events *e, const struct evtchn_send *s)
{
	struct pv_channel *c = channel_at(e, s->port);

	switch (c ? (enum pv_channel_state)c->state : PV_FREE) {
	case PV_CONNECTED:
		set_pending(guest(e, c->remote_dom), c->remote_port);
		return 0;
	case PV_IPI:
		set_pending(e, s->port);
		return 0;
	case PV_HYPERVISOR:
		e->ports->sent(e->ctx, c->remote_port);
		return 0;
	case PV_UNBOUND: // nobody there yet, or any more
		return 0;
	case PV_VIRQ:
	case PV_FREE:
		break;
	}
	return -XEN_EINVAL;
}

int pv_event_status(struct pv_events *e, struct evtchn_status *s)
{
	static const u8 names[] = {[PV_FREE] = EVTCHNSTAT_closed,	   [PV_UNBOUND] = EVTCHNSTAT_unbound,
				   [PV_CONNECTED] = EVTCHNSTAT_interdomain, [PV_VIRQ] = EVTCHNSTAT_virq,
				   [PV_IPI] = EVTCHNSTAT_ipi,		   [PV_HYPERVISOR] = EVTCHNSTAT_interdomain};
	const struct pv_channel *c;

	if (s->dom != DOMID_SELF && s->dom != e->dom)
		return -XEN_EPERM;
	if (s->port >= PV_PORTS)
		return -XEN_EINVAL;
	c = &e->channel[s->port];
	s->status = names[c->state];
	s->vcpu = c->vcpu;
	memset(&s->u, 0, sizeof(s->u));
	if (c->state == PV_UNBOUND) {
		s->u.unbound.dom = c->remote_dom;
	} else if (c->state == PV_CONNECTED) {
		s->u.interdomain.dom = c->remote_dom;
		s->u.interdomain.port = c->remote_port;
	} else if (c->state == PV_VIRQ) {
		s->u.virq = c->virq;
	}
	return 0;
}

int pv_event_unmask(struct pv_events *e, const struct evtchn_unmask *u)
{
	if (!channel_at(e, u->port))
		return -XEN_EINVAL;
	clear(e->shared->evtchn_mask, u->port);
	if (test(e->shared->evtchn_pending, u->port))
		select(e, u->port);
	return 0;
}

// ---- the hypervisor's own

unsigned pv_event_connect(struct pv_events *e, unsigned user)
{
	struct pv_channel *c = take(e, PV_HYPERVISOR);

	if (!c)
		return 0;
	c->remote_port = (u16)user;
	return port_of(e, c);
}

void pv_event_raise(struct pv_events *e, unsigned user)
{
	for (unsigned p = 1; p < PV_PORTS; p++)
		if (e->channel[p].state == PV_HYPERVISOR && e->channel[p].remote_port == user)
			set_pending(e, p);
}

void pv_event_virq(struct pv_events *e, unsigned vcpu, unsigned virq)
{
	assert(vcpu < e->vcpus && virq < NR_VIRQS);
	if (e->virq_port[vcpu][virq])
		set_pending(e, e->virq_port[vcpu][virq]);
}

bool pv_events_audit(struct pv_events *e)
{
	if (e->channel[0].state != PV_FREE)
		return false;
	for (unsigned p = 1; p < PV_PORTS; p++) {
		const struct pv_channel *c = &e->channel[p];
		struct pv_events *remote = c->state == PV_CONNECTED ? guest(e, c->remote_dom) : NULL;
		const struct pv_channel *r = remote ? &remote->channel[c->remote_port] : NULL;

		if (c->vcpu >= e->vcpus)
			return false;
		if (c->state == PV_CONNECTED && (!r || r->state != PV_CONNECTED || r->remote_dom != e->dom || r->remote_port != p))
			return false;
	}
	for (unsigned v = 0; v < e->vcpus; v++)
		for (unsigned q = 0; q < NR_VIRQS; q++) {
			const struct pv_channel *c = &e->channel[e->virq_port[v][q]];

			if (e->virq_port[v][q] && (c->state != PV_VIRQ || c->virq != q || (for_each_vcpu(q) && c->vcpu != v)))
				return false;
		}
	return true;
}
