// SPDX-License-Identifier: MIT
// Event channels (Xen's event_channel.h), two-level: what hardware interrupts are for a paravirtual guest. A channel leads to another
// guest's, to one of the same guest, to the hypervisor (console, store), or is a virtual interrupt's or a vCPU's for another.
//
// The pending and mask bits are in a page that the guest writes as it likes: they are looked at one bit at a time, and what they say
// harms the guest alone.
//
// Invariants (pv_events_audit)
//  - Of two connected channels each names the other. virq_port names a bound channel of that vCPU and virtual interrupt, or is 0.
//  - Port 0 is never used.
// Not locked: the caller serialises all calls for all guests that can reach each other. Results are 0 or one of Xen's errors, negative.
#ifndef CORE_PV_EVENTS_H
#define CORE_PV_EVENTS_H

#include "core/pv/abi.h"
#include <xen/event_channel.h>

#define PV_PORTS 1024u
// To a guest, the hypervisor, which has its store and console. It grants nothing, and no port of its waits for who binds to it.
#define PV_HOST 0
#define PV_VCPUS 32u // as many as have their vcpu_info in the shared page

enum pv_channel_state {
	PV_FREE,
	PV_UNBOUND,    // waits for remote_dom
	PV_CONNECTED,  // to remote_dom's remote_port
	PV_VIRQ,
	PV_IPI,
	PV_HYPERVISOR, // remote_port says which of its users
};

struct pv_channel {
	u8 state;
	u8 virq;
	u16 vcpu; // that is notified
	u16 remote_dom;
	u16 remote_port;
};

struct pv_events;

struct pv_event_ports {
	struct pv_events *(*find)(void *ctx, u16 dom); // another guest's, NULL: none
	struct vcpu_info *(*vcpu_info)(void *ctx, unsigned vcpu);
	void (*notify)(void *ctx, unsigned vcpu);        // it has an upcall to take that it had not
	void (*sent)(void *ctx, unsigned user);          // the guest rang for the hypervisor
};

struct pv_events {
	struct pv_channel channel[PV_PORTS];
	u16 virq_port[PV_VCPUS][NR_VIRQS];
	const struct pv_event_ports *ports; // from here on each call may look
	void *ctx;
	u16 dom;
	unsigned vcpus;
	struct shared_info *shared;
};

void pv_events_init(struct pv_events *e, const struct pv_event_ports *ports, void *ctx, u16 dom, unsigned vcpus, struct shared_info *shared);
// The guest is going: whoever is connected waits for a successor, as after a close.
void pv_events_end(struct pv_events *e);

// EVTCHNOP_*. Structures as in event_channel.h, already copied out of the guest; OUT fields are filled.
int pv_event_alloc_unbound(struct pv_events *e, struct evtchn_alloc_unbound *a);
int pv_event_bind_interdomain(struct pv_events *e, struct evtchn_bind_interdomain *b);
int pv_event_bind_virq(struct pv_events *e, struct evtchn_bind_virq *b);
int pv_event_bind_ipi(struct pv_events *e, struct evtchn_bind_ipi *b);
int pv_event_bind_vcpu(struct pv_events *e, const struct evtchn_bind_vcpu *b);
int pv_event_close(struct pv_events *e, const struct evtchn_close *c);
int pv_event_send(struct pv_events *e, const struct evtchn_send *s);
int pv_event_status(struct pv_events *e, struct evtchn_status *s);
int pv_event_unmask(struct pv_events *e, const struct evtchn_unmask *u);
int pv_event_reset(struct pv_events *e, const struct evtchn_reset *r);

// The hypervisor's own. A channel to it, by the number of its user; 0: no port is left.
unsigned pv_event_connect(struct pv_events *e, unsigned user);
void pv_event_raise(struct pv_events *e, unsigned user); // nothing if the guest has closed it
void pv_event_virq(struct pv_events *e, unsigned vcpu, unsigned virq);
// The vCPU has an upcall to take and does not mask it.
bool pv_event_deliverable(struct pv_events *e, unsigned vcpu);

bool pv_events_audit(struct pv_events *e);

#endif
