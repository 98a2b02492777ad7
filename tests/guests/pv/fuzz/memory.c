// SPDX-License-Identifier: MIT
// Reservations and grants.
#include "tests/guests/pv/fuzz/fuzz.h"

static unsigned holes(u8 *which, unsigned most)
{
	unsigned n = 0;

	for (unsigned i = BALLOON; i < POOL && n < most; i++)
		if (pool[i] == GONE)
			which[n++] = (u8)i;
	return n;
}

static u8 slots[32];
static unsigned slots_n;

static void given_back(s64 done)
{
	for (unsigned i = 0; i < slots_n && (s64)i < done; i++)
		pool[slots[i]] = GONE;
}

static void taken(s64 done)
{
	for (unsigned i = 0; i < slots_n && (s64)i < done; i++)
		pool[slots[i]] = list[i];
}

static void exchanged(s64 result)
{
	const struct xen_memory_exchange *e = (void *)args;

	for (unsigned i = 0; i < slots_n && i < e->nr_exchanged; i++)
		pool[slots[i]] = list[64 + i];
}

// Some frames of the balloon, into the list.
static void choose(unsigned n)
{
	slots_n = 0;
	for (unsigned i = BALLOON + (unsigned)below(8); i < POOL && slots_n < n; i += 1 + (unsigned)below(6))
		if (pool[i] != GONE) {
			slots[slots_n] = (u8)i;
			list[slots_n++] = pool[i];
		}
}

#define AT_OUT 64 // in the list

// One that gives frames whose numbers are not read would lose them: odd arguments are such that nothing can succeed.
static struct call reservation(u32 op)
{
	bool back = op == XENMEM_decrease_reservation;
	struct xen_memory_reservation r = {.domid = domain()};

	if (back)
		choose((unsigned)below(16));
	else
		slots_n = holes(slots, (unsigned)below(16));
	for (unsigned i = 0; i < slots_n && !back; i++)
		list[i] = start_info->nr_pages - POOL + slots[i];
	r.nr_extents = slots_n;
	r.extent_start.p = (void *)list;
	if (rarely()) {
		slots_n = 0;
		r.nr_extents = 1 + below(3);
		r.extent_order = 10 + (unsigned)below(70);
		list[0] = back ? below(3) : ~0ull - below(5000);
	} else if (rarely()) {
		slots_n = 0;
		r.extent_start.p = (void *)UNCANONICAL;
	} else if (rarely() && back) {
		list[slots_n ? below(slots_n) : 0] = kernel_l1;
	}
	return (struct call){__HYPERVISOR_memory_op, {op, PUT(r)}, back ? given_back : taken};
}

static struct call exchange(void)
{
	struct xen_memory_exchange e = {.in = {.domid = domain()}};

	choose((unsigned)below(8));
	e.in.nr_extents = e.out.nr_extents = slots_n;
	e.out.domid = e.in.domid;
	for (unsigned i = 0; i < slots_n; i++)
		list[AT_OUT + i] = start_info->nr_pages - POOL + slots[i];
	e.in.extent_start.p = (void *)list;
	e.out.extent_start.p = (void *)&list[AT_OUT];
	if (rarely())
		e.out.nr_extents += 1 + below(3);
	else if (rarely())
		e.in.extent_order = 1 + (unsigned)below(70);
	else if (rarely())
		e.in.extent_start.p = (void *)UNCANONICAL;
	return (struct call){__HYPERVISOR_memory_op, {XENMEM_exchange, PUT(e)}, exchanged};
}

struct call memory_call(void)
{
	static const u32 rest[] = {XENMEM_maximum_ram_page,    XENMEM_current_reservation, XENMEM_maximum_reservation,
				   XENMEM_maximum_gpfn,        XENMEM_machphys_mfn_list,   XENMEM_machphys_mapping,
				   XENMEM_memory_map,          XENMEM_machine_memory_map,  XENMEM_add_to_physmap,
				   XENMEM_remove_from_physmap, XENMEM_get_vnumainfo};
	static const u32 main[] = {XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap};
	struct xen_memory_map map = {.nr_entries = (u32)below(3)};
	u32 kind = (u32)below(5), op = rarely() ? 30 + (u32)below(20) : rest[below(ARRAY_SIZE(rest))];

	if (kind < 3)
		return reservation(main[kind]);
	if (kind == 3)
		return exchange();
	if (op != XENMEM_memory_map && op != XENMEM_machphys_mfn_list)
		map.nr_entries = domain();
	map.buffer.p = (void *)arena_va();
	return (struct call){__HYPERVISOR_memory_op, {op, elsewhere(PUT(map))}, NULL};
}

// ---- grants, to itself

#define HANDLES 64
static struct {
	u64 host, bus;
	bool is;
} handle[HANDLES];

static u32 reference(void)
{
	return (u32)(rarely() ? below(5000) : 8 + below(24));
}

static void grant_mapped(s64 result)
{
	const struct gnttab_map_grant_ref *op = (void *)args;

	if (!op->status && op->handle < HANDLES) {
		handle[op->handle].is = true;
		handle[op->handle].host = op->flags & GNTMAP_host_map ? op->host_addr : 0;
		handle[op->handle].bus = op->flags & GNTMAP_device_map ? op->dev_bus_addr : 0;
	}
}

static void grant_unmapped(s64 result)
{
	const struct gnttab_unmap_grant_ref *op = (void *)args;

	if (op->status || op->handle >= HANDLES)
		return;
	if (op->host_addr)
		handle[op->handle].host = 0;
	if (op->dev_bus_addr)
		handle[op->handle].bus = 0;
	handle[op->handle].is = handle[op->handle].host || handle[op->handle].bus;
}

static void grant_replaced(s64 result)
{
	const struct gnttab_unmap_and_replace *op = (void *)args;

	if (op->status || op->handle >= HANDLES)
		return;
	handle[op->handle].host = 0;
	handle[op->handle].is = handle[op->handle].bus;
}

static struct call grant_op(u32 op, u64 at, void (*after)(s64))
{
	return (struct call){__HYPERVISOR_grant_table_op, {op, at, rarely() ? below(3) : 1}, after};
}

static struct call map_call(void)
{
	struct gnttab_map_grant_ref m = {.flags = GNTMAP_host_map, .ref = reference(), .dom = domain()};

	m.flags |= (u32)below(2) * GNTMAP_readonly | (u32)(below(4) == 0) * GNTMAP_contains_pte |
		   (u32)(below(4) == 0) * GNTMAP_device_map;
	if (rarely())
		m.flags = (u32)random64();
	m.host_addr = m.flags & GNTMAP_contains_pte ? entry_address() : arena_va();
	return grant_op(GNTTABOP_map_grant_ref, PUT(m), grant_mapped);
}

static struct call unmap_call(void)
{
	u32 h = (u32)below(HANDLES);
	struct gnttab_unmap_grant_ref u = {0};
	struct gnttab_unmap_and_replace r = {0};

	for (unsigned i = 0; i < HANDLES && !handle[h].is; i++)
		h = (h + 1) % HANDLES;
	u.handle = r.handle = rarely() ? (u32)random64() : h;
	u.host_addr = r.host_addr = rarely() ? arena_va() : handle[h].host;
	u.dev_bus_addr = rarely() ? any_frame() << PAGE_SHIFT : below(2) ? handle[h].bus : 0;
	r.new_addr = below(2) ? 0 : arena_va();
	if (below(3))
		return grant_op(GNTTABOP_unmap_grant_ref, PUT(u), grant_unmapped);
	return grant_op(GNTTABOP_unmap_and_replace, PUT(r), grant_replaced);
}

static struct gnttab_copy_ptr side(bool by_reference, bool written)
{
	struct gnttab_copy_ptr p = {.domid = rarely() ? domain() : DOMID_SELF,
				    .offset = (u16)below(rarely() ? 5000 : 2000)};

	if (by_reference)
		p.u.ref = reference();
	else
		p.u.gmfn = written ? pool_frame() : any_frame();
	return p;
}

struct call grant_call(void)
{
	struct gnttab_setup_table s = {.dom = domain(), .nr_frames = (u32)below(6)};
	struct gnttab_query_size q = {.dom = domain()};
	struct gnttab_copy c = {.len = (u16)below(2000), .flags = (u16)below(4)};
	struct gnttab_swap_grant_ref swap = {reference(), reference(), 0};
	struct gnttab_cache_flush f = {.a.dev_bus_addr = any_frame() << PAGE_SHIFT, .length = 9, .op = (u32)below(4)};
	struct gnttab_set_version version = {1 + (u32)below(3)};
	u32 op = (u32)below(14), ref = reference();

	if (ref < PAGE_SIZE / sizeof(*grant_table) && !(grant_table[ref].flags & (GTF_reading | GTF_writing)))
		grant_table[ref] =
			(struct grant_entry_v1){(u16)(rarely() ? random64() & ~(u64)(GTF_reading | GTF_writing)
							       : GTF_permit_access | (below(3) ? 0 : GTF_readonly)),
						rarely() ? 5 : 1, (u32)pool_frame()};
	s.frame_list.p = (void *)list;
	c.source = side(c.flags & GNTCOPY_source_gref, false);
	c.dest = side(c.flags & GNTCOPY_dest_gref, true);
	switch (op) {
	case GNTTABOP_map_grant_ref:
	case GNTTABOP_dump_table:
		return map_call();
	case GNTTABOP_unmap_grant_ref:
	case GNTTABOP_unmap_and_replace:
	case 13:
		return unmap_call();
	case GNTTABOP_copy:
		return grant_op(op, PUT(c), NULL);
	case GNTTABOP_swap_grant_ref:
		return grant_op(op, PUT(swap), NULL);
	case GNTTABOP_cache_flush:
		return grant_op(op, PUT(f), NULL);
	case GNTTABOP_set_version:
		return grant_op(op, PUT(version), NULL);
	case GNTTABOP_query_size:
		return grant_op(op, PUT(q), NULL);
	default:
		return grant_op(op, PUT(s), NULL);
	}
}

void grants_clear(void)
{
	for (u32 h = 0; h < HANDLES; h++) {
		struct gnttab_unmap_grant_ref u = {handle[h].host, handle[h].bus, h, 0};

		if (handle[h].is && !grant(GNTTABOP_unmap_grant_ref, &u) && !u.status)
			handle[h].is = false;
	}
}
