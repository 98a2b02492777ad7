// SPDX-License-Identifier: MIT
// The console's ring (Xen's io/console.h), the hypervisor's end. The page is the guest's: its indices are believed only as far as
// they make sense, and each is read once.
#include "core/pv/guest.h"

#include <xen/io/console.h>

void pv_console_drain(struct pv_guest *g)
{
	struct xencons_interface *ring = g->console;
	XENCONS_RING_IDX cons = ring->out_cons, prod = __atomic_load_n(&ring->out_prod, __ATOMIC_ACQUIRE), n = prod - cons;

	if (!n || n > sizeof(ring->out))
		return;
	while (n) {
		unsigned at = MASK_XENCONS_IDX(cons, ring->out), part = MIN(n, (unsigned)sizeof(ring->out) - at);

		g->ports->console(g->ctx, ring->out + at, part);
		cons += part, n -= part;
	}
	__atomic_store_n(&ring->out_cons, cons, __ATOMIC_RELEASE);
	pv_event_raise(&g->events, PV_USER_CONSOLE);
}

unsigned pv_console_input(struct pv_guest *g, const u8 *bytes, unsigned n)
{
	struct xencons_interface *ring = g->console;
	XENCONS_RING_IDX cons = __atomic_load_n(&ring->in_cons, __ATOMIC_ACQUIRE), prod = ring->in_prod, full = prod - cons;

	if (full > sizeof(ring->in))
		return 0;
	n = MIN(n, (unsigned)sizeof(ring->in) - full);
	for (unsigned i = 0; i < n; i++, prod++)
		ring->in[MASK_XENCONS_IDX(prod, ring->in)] = (char)bytes[i];
	__atomic_store_n(&ring->in_prod, prod, __ATOMIC_RELEASE);
	if (n)
		pv_event_raise(&g->events, PV_USER_CONSOLE);
	return n;
}
