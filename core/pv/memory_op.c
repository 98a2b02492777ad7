// SPDX-License-Identifier: MIT
// What memory a guest has (Xen's memory.h): pages come and go, and are told of. Pages are single: a guest has no use for
// contiguous machine memory here.
#include "core/pv/guest.h"

#include <xen/errno.h>
#include <xen/memory.h>

#define E820_RAM 1
#define EXTENT_SHIFT 6 // the operation is below, extents already done above
#define EXTENTS_MAX (~0u >> EXTENT_SHIFT)
#define ORDER_MAX 9 // of what a guest without devices may ask for
#define M2P_END 0xffff808000000000ull // of the slot

// One extent. *slot is the guest's list's element: page numbers in, frames in or out.
static s64 populate(struct pv_vcpu *v, u64 *slot, bool named)
{
	struct pv_guest *g = v->guest;
	u64 pfn = *slot;
	ppn_t index;
	mpn_t mpn;

	if (g->pages >= g->pages_max)
		return -XEN_ENOMEM;
	mpn = g->ports->populate(g->ctx, &index);
	if (mpn == MPN_NONE)
		return -XEN_ENOMEM;
	g->pages++;
	if (named)
		g->ports->set_machphys(g->ctx, mpn, pfn);
	*slot = mpn;
	return 0;
}

// Pages in use stay, and with one of them its extent.
static s64 release(struct pv_vcpu *v, u64 mpn, unsigned order)
{
	struct pv_guest *g = v->guest;
	struct pv_frames *f = &g->frames;

	for (u64 i = 0; i < BIT(order); i++)
		if (pv_page_in(f, mpn + i) >= f->ppn_limit || pv_in_use(f, mpn + i))
			return -XEN_EINVAL;
	for (u64 i = 0; i < BIT(order); i++)
		g->ports->release(g->ctx, pv_page_in(f, mpn + i));
	g->pages -= BIT(order);
	pv_charge(v, 1u << order);
	return 0;
}

static s64 one_extent(struct pv_vcpu *v, u32 op, unsigned order, u64 at)
{
	u64 slot = 0;
	s64 r;

	if (op != XENMEM_increase_reservation && !pv_read(v, at, &slot, sizeof(slot)))
		return -XEN_EFAULT;
	if (op == XENMEM_decrease_reservation)
		return release(v, slot, order);
	if (order) // contiguous memory
		return -XEN_ENOMEM;
	r = populate(v, &slot, op == XENMEM_populate_physmap);
	if (r)
		return r;
	if (at && !pv_write(v, at, &slot, sizeof(slot))) {
		(void)release(v, slot, 0);
		return -XEN_EFAULT;
	}
	return 0;
}

// The result is how many extents were done, from the first of the list on; it tells of errors, too. `start` are done already.
static s64 reservation(struct pv_vcpu *v, u32 op, u64 start, u64 arg)
{
	struct xen_memory_reservation r;

	if (!pv_read(v, arg, &r, sizeof(r)) || pv_about(r.domid) || r.nr_extents > EXTENTS_MAX || r.extent_order > ORDER_MAX ||
	    (r.mem_flags & XENMEMF_populate_on_demand))
		return (s64)start;
	while (start + v->progress < r.nr_extents) {
		u64 list = (u64)r.extent_start.p;

		if (!pv_work_left(v))
			return PV_AGAIN;
		if (one_extent(v, op, r.extent_order, list ? list + (start + v->progress) * sizeof(u64) : 0))
			break;
		v->progress++;
	}
	return (s64)(start + v->progress);
}

// What an exchange asks for, as Xen checks it.
static s64 check_exchange(const struct xen_memory_exchange *x)
{
	if (MAX(x->in.extent_order, x->out.extent_order) > ORDER_MAX)
		return -XEN_EPERM;
	if (x->nr_exchanged > x->in.nr_extents || x->in.domid != x->out.domid || x->in.nr_extents > ~0ull >> ORDER_MAX ||
	    x->out.nr_extents > ~0ull >> ORDER_MAX || x->in.nr_extents << x->in.extent_order != x->out.nr_extents << x->out.extent_order)
		return -XEN_EINVAL;
	return pv_about(x->in.domid);
}

// A page for a page of any address, or of an address with so many bits: the one that was given is as good as another.
static s64 exchange_one(struct pv_vcpu *v, const struct xen_memory_exchange *x)
{
	struct pv_guest *g = v->guest;
	struct pv_frames *f = &g->frames;
	u64 in = (u64)x->in.extent_start.p + x->nr_exchanged * sizeof(u64), mpn;
	u64 out = (u64)x->out.extent_start.p + x->nr_exchanged * sizeof(u64), pfn;
	unsigned bits = XENMEMF_get_address_bits(x->out.mem_flags);

	if (!pv_read(v, in, &mpn, sizeof(mpn)) || !pv_read(v, out, &pfn, sizeof(pfn)))
		return -XEN_EFAULT;
	if (pv_page_in(f, mpn) >= f->ppn_limit || pv_in_use(f, mpn))
		return -XEN_EINVAL;
	if (bits && bits < 64 && mpn << PAGE_SHIFT >> bits)
		return -XEN_ENOMEM;
	if (!pv_write(v, out, &mpn, sizeof(mpn)))
		return -XEN_EFAULT;
	g->ports->set_machphys(g->ctx, mpn, pfn);
	return 0;
}

// Single pages only: what is contiguous is for who has a device. The guest is told how far it went, whatever the result; that is also
// where a long one goes on.
static s64 exchange(struct pv_vcpu *v, u64 arg)
{
	struct xen_memory_exchange x;
	s64 r;

	if (!pv_read(v, arg, &x, sizeof(x)))
		return -XEN_EFAULT;
	r = check_exchange(&x);
	while (!r && x.nr_exchanged < x.in.nr_extents) {
		if (!pv_work_left(v))
			r = PV_AGAIN;
		else
			r = x.in.extent_order || x.out.extent_order ? -XEN_ENOMEM : exchange_one(v, &x);
		if (!r)
			x.nr_exchanged++;
	}
	return pv_write(v, arg + offsetof(struct xen_memory_exchange, nr_exchanged), &x.nr_exchanged, sizeof(x.nr_exchanged)) ? r : -XEN_EFAULT;
}

static s64 memory_map(struct pv_vcpu *v, u64 arg)
{
	struct xen_memory_map m;
	struct PACKED {
		u64 addr, size;
		u32 type;
	} entry = {0, v->guest->pages_max << PAGE_SHIFT, E820_RAM};

	if (!pv_read(v, arg, &m, sizeof(m)))
		return -XEN_EFAULT;
	m.nr_entries = MIN(m.nr_entries, 1u);
	if (!pv_write(v, (u64)m.buffer.p, &entry, m.nr_entries * sizeof(entry)) || !pv_write(v, arg, &m, sizeof(m)))
		return -XEN_EFAULT;
	return 0;
}

static s64 machphys_mapping(struct pv_vcpu *v, u64 arg)
{
	struct xen_machphys_mapping m = {__MACH2PHYS_VIRT_START, M2P_END, v->guest->machine_frames - 1};

	return pv_write(v, arg, &m, sizeof(m)) ? 0 : -XEN_EFAULT;
}

// The frames that have the table's pages are the hypervisor's own: who could map them can read it already.
static s64 machphys_list(struct pv_vcpu *v, u64 arg)
{
	struct xen_machphys_mfn_list l;

	if (!pv_read(v, arg, &l, sizeof(l)))
		return -XEN_EFAULT;
	l.nr_extents = 0;
	return pv_write(v, arg, &l, sizeof(l)) ? 0 : -XEN_EFAULT;
}

static s64 domain_pages(struct pv_vcpu *v, u64 arg, u64 pages)
{
	domid_t dom;
	s64 r;

	if (!pv_read(v, arg, &dom, sizeof(dom)))
		return -XEN_EFAULT;
	r = pv_about(dom);
	return r ? r : (s64)pages;
}

// The guest's own count, of its list of frames.
static u64 last_gpfn(const struct pv_guest *g)
{
	u64 pages = __atomic_load_n(&g->shared->arch.max_pfn, __ATOMIC_RELAXED);

	return pages ? pages - 1 : 0;
}

// The map from pages to frames is the guest's own: the interface gives it no part in what changes ours.
static s64 physmap(struct pv_vcpu *v, u64 arg)
{
	domid_t dom; // the first field of each
	s64 r;

	if (!pv_read(v, arg, &dom, sizeof(dom)))
		return -XEN_EFAULT;
	r = pv_about(dom);
	return r ? r : -XEN_EACCES;
}

static s64 vnuma(struct pv_vcpu *v, u64 arg)
{
	struct xen_vnuma_topology_info t;
	s64 r;

	if (!pv_read(v, arg, &t, sizeof(t)))
		return -XEN_EFAULT;
	if (t.pad)
		return -XEN_EINVAL;
	r = pv_about(t.domid);
	return r ? r : -XEN_EOPNOTSUPP;
}

s64 pv_memory_op(struct pv_vcpu *v, const u64 *a)
{
	u32 op = (u32)a[0] & ((1u << EXTENT_SHIFT) - 1);
	u64 start = a[0] >> EXTENT_SHIFT;

	if (op == XENMEM_increase_reservation || op == XENMEM_decrease_reservation || op == XENMEM_populate_physmap)
		return reservation(v, op, start, a[1]);
	if (start)
		return -XEN_EINVAL;
	switch (op) {
	case XENMEM_exchange:
		return exchange(v, a[1]);
	case XENMEM_maximum_ram_page:
		return (s64)v->guest->machine_frames - 1;
	case XENMEM_current_reservation:
		return domain_pages(v, a[1], v->guest->pages);
	case XENMEM_maximum_reservation:
		return domain_pages(v, a[1], v->guest->pages_max);
	case XENMEM_maximum_gpfn:
		return domain_pages(v, a[1], last_gpfn(v->guest));
	case XENMEM_machphys_mfn_list:
		return machphys_list(v, a[1]);
	case XENMEM_machphys_mapping:
		return machphys_mapping(v, a[1]);
	case XENMEM_memory_map:
		return memory_map(v, a[1]);
	case XENMEM_machine_memory_map:
		return -XEN_EPERM;
	case XENMEM_add_to_physmap:
	case XENMEM_add_to_physmap_batch:
	case XENMEM_remove_from_physmap:
		return physmap(v, a[1]);
	case XENMEM_get_vnumainfo:
		return vnuma(v, a[1]);
	default:
		return -XEN_ENOSYS;
	}
}
