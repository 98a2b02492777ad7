// SPDX-License-Identifier: MIT
// What memory a guest has (Xen's memory.h): pages come and go, and are told of. Pages are single: a guest has no use for
// contiguous machine memory here.
#include "core/pv/guest.h"

#include <xen/errno.h>
#include <xen/memory.h>

#define E820_RAM 1
#define M2P_END 0xffff808000000000ull // of the slot

static bool own(domid_t dom)
{
	return dom == DOMID_SELF || dom == PV_DOM;
}

static mpn_t mpn_at(struct pv_vcpu *v, ppn_t index)
{
	return v->guest->frames.ports->mpn(v->guest->frames.ctx, index);
}

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

// A page in use stays.
static s64 release(struct pv_vcpu *v, u64 mpn)
{
	struct pv_guest *g = v->guest;
	struct pv_frames *f = &g->frames;
	ppn_t index = f->ports->ppn(f->ctx, mpn);

	if (index >= f->ppn_limit || pv_in_use(f, mpn))
		return -XEN_EINVAL;
	g->ports->release(g->ctx, index);
	g->pages--;
	return 0;
}

static s64 one_extent(struct pv_vcpu *v, u32 op, u64 at)
{
	u64 slot = 0;
	s64 r;

	if ((op != XENMEM_increase_reservation) && !pv_read(v, at, &slot, sizeof(slot)))
		return -XEN_EFAULT;
	if (op == XENMEM_decrease_reservation)
		return release(v, slot);
	r = populate(v, &slot, op == XENMEM_populate_physmap);
	if (r)
		return r;
	if (at && !pv_write(v, at, &slot, sizeof(slot))) {
		(void)release(v, slot);
		return -XEN_EFAULT;
	}
	return 0;
}

// The result is how many extents were done.
static s64 reservation(struct pv_vcpu *v, u32 op, u64 arg)
{
	struct xen_memory_reservation r;

	if (!pv_read(v, arg, &r, sizeof(r)))
		return -XEN_EFAULT;
	if (!own(r.domid))
		return -XEN_EPERM;
	if (r.extent_order)
		return v->progress ? (s64)v->progress : 0; // none can be had
	while (v->progress < r.nr_extents) {
		u64 list = (u64)r.extent_start.p;

		if (!pv_work_left(v))
			return PV_AGAIN;
		if (one_extent(v, op, list ? list + v->progress * sizeof(u64) : 0))
			break;
		v->progress++;
	}
	return (s64)v->progress;
}

// Every frame that is asked for is one like those given: it keeps them, and gives them back under the new numbers. Only one-page
// extents on both sides: a guest that wants contiguous memory has a device.
static s64 exchange(struct pv_vcpu *v, u64 arg)
{
	struct xen_memory_exchange x;

	if (!pv_read(v, arg, &x, sizeof(x)))
		return -XEN_EFAULT;
	if (!own(x.in.domid) || !own(x.out.domid))
		return -XEN_EPERM;
	if (x.in.nr_extents << x.in.extent_order != x.out.nr_extents << x.out.extent_order || x.nr_exchanged > x.in.nr_extents)
		return -XEN_EINVAL;
	return -XEN_ENOMEM;
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
	if (!m.nr_entries)
		return -XEN_EINVAL;
	m.nr_entries = 1;
	if (!pv_write(v, (u64)m.buffer.p, &entry, sizeof(entry)) || !pv_write(v, arg, &m, sizeof(m)))
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

	if (!pv_read(v, arg, &dom, sizeof(dom)))
		return -XEN_EFAULT;
	return own(dom) ? (s64)pages : -XEN_ESRCH;
}

static s64 remove_from_physmap(struct pv_vcpu *v, u64 arg)
{
	struct xen_remove_from_physmap r;

	if (!pv_read(v, arg, &r, sizeof(r)))
		return -XEN_EFAULT;
	if (!own(r.domid))
		return -XEN_EPERM;
	return release(v, r.gpfn < v->guest->pages_max ? mpn_at(v, r.gpfn) : MPN_NONE);
}

s64 pv_memory_op(struct pv_vcpu *v, const u64 *a)
{
	switch ((u32)a[0] & 0x3f) {
	case XENMEM_increase_reservation:
	case XENMEM_decrease_reservation:
	case XENMEM_populate_physmap:
		return reservation(v, (u32)a[0] & 0x3f, a[1]);
	case XENMEM_exchange:
		return exchange(v, a[1]);
	case XENMEM_maximum_ram_page:
		return (s64)v->guest->machine_frames - 1;
	case XENMEM_current_reservation:
		return domain_pages(v, a[1], v->guest->pages);
	case XENMEM_maximum_reservation:
	case XENMEM_maximum_gpfn:
		return domain_pages(v, a[1], v->guest->pages_max);
	case XENMEM_machphys_mfn_list:
		return machphys_list(v, a[1]);
	case XENMEM_machphys_mapping:
		return machphys_mapping(v, a[1]);
	case XENMEM_memory_map:
		return memory_map(v, a[1]);
	case XENMEM_machine_memory_map:
		return -XEN_EPERM;
	case XENMEM_remove_from_physmap:
		return remove_from_physmap(v, a[1]);
	default:
		return -XEN_ENOSYS;
	}
}
