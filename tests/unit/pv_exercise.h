// SPDX-License-Identifier: MIT
// The exerciser of hypercalls: calls with plausible arguments, and now and then with others, over the small machine of pv_machine.h, in
// pieces of all sizes; the guest's own hands at its pages in between. Shared by test_pv_exercise.c (seeded) and fuzz_pv_calls.c (input).
// Counts per operation; pv_x_audit() is to be called every so often. What is wrong panics with the number of the step.
#ifndef TESTS_UNIT_PV_EXERCISE_H
#define TESTS_UNIT_PV_EXERCISE_H

#include "tests/unit/pv_machine.h"

#include <xen/callback.h>
#include <xen/errno.h>
#include <xen/memory.h>
#include <xen/nmi.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

#define X_BALLOON 200u // from here on pages come and go

struct pv_x {
	struct machine *m;
	u64 (*random)(void *ctx);
	void *ctx;
	u64 steps, calls;
};

static u64 x_below(struct pv_x *x, u64 n)
{
	return x->random(x->ctx) % n;
}

static bool x_rarely(struct pv_x *x)
{
	return x_below(x, 12) == 0;
}

// ---- arguments

// Tables more often than others, since most is about them.
static ppn_t x_page(struct pv_x *x)
{
	return x_below(x, 3) ? x_below(x, 3) ? M_DATA + x_below(x, 24) : x_below(x, M_DATA) : x_below(x, M_LIMIT);
}

static mpn_t x_mpn(struct pv_x *x)
{
	mpn_t mpn = x->m->p2m[x_page(x)];

	return x_below(x, 40) && mpn != MPN_NONE ? mpn : x_below(x, 3) ? x_below(x, M_FRAMES + 10) : x->random(x->ctx);
}

static u64 x_va(struct pv_x *x)
{
	static const u64 odd[] = {0, 0x1000, M_USER, UNMAPPED, 1ull << 50, HYPERVISOR_VIRT_START, ~0ull, ~0ull - 4095};
	u64 va = m_va(x_page(x)) + (x_rarely(x) ? x_below(x, PAGE_SIZE) : 0);

	return x_rarely(x) ? odd[x_below(x, ARRAY_SIZE(odd))] : va;
}

static u64 x_entry(struct pv_x *x)
{
	u64 flags = x_rarely(x) ? x_below(x, 4096) : x_below(x, 2) ? M_RW : M_RO;

	return x_below(x, 4) ? x_mpn(x) << PAGE_SHIFT | flags : 0;
}

static u32 x_dom(struct pv_x *x)
{
	return x_rarely(x) ? (u32)x_below(x, 5) << (x_below(x, 2) * 16) : x_below(x, 2) ? DOMID_SELF : PV_DOM;
}

// Where the arguments are: what is put there, or something else.
static u64 x_put(struct pv_x *x, const void *bytes, size_t n)
{
	u64 *page = m_args(x->m);

	memcpy(page, bytes, n);
	return x_below(x, 30) ? ARGS : x_va(x);
}
#define X_PUT(...) x_put(x, &(__VA_ARGS__), sizeof(__VA_ARGS__))

// Entries of a table that a test leaves alone keep the machine's map of memory: without it no arguments can be read.
static u64 x_pte(struct pv_x *x)
{
	ppn_t tables[] = {M_L1, M_L1, M_USER_L1, M_USER_L2, M_USER_L3, M_USER_L4, M_DATA + 1, M_L2, M_L3, M_L4};
	ppn_t t = x_rarely(x) ? x_page(x) : tables[x_below(x, ARRAY_SIZE(tables))];
	unsigned slot = t == M_L1 ? (x_below(x, 2) ? M_DATA + 4 : 310) + (unsigned)x_below(x, 190)
				  : t == M_L4 ? 280 + (unsigned)x_below(x, 8)
				  : t < M_TABLES_END && t <= M_L2 ? 1 + (unsigned)x_below(x, 511) : (unsigned)x_below(x, 12);

	return (x->m->p2m[t] == MPN_NONE ? x_mpn(x) : x->m->p2m[t]) << PAGE_SHIFT | (slot & 511) * 8;
}

// ---- groups: each makes one call, and gives its operation's number

struct x_call {
	unsigned nr;
	u64 a[5];
};

static struct x_call x_mmu_update(struct pv_x *x)
{
	struct mmu_update u[8];
	unsigned n = 1 + (unsigned)x_below(x, 8);

	for (unsigned i = 0; i < n; i++)
		u[i] = (struct mmu_update){x_pte(x) | (x_below(x, 4) ? 0 : x_below(x, 4)), x_entry(x)};
	return (struct x_call){__HYPERVISOR_mmu_update, {x_put(x, u, sizeof(u)), n, x_below(x, 3) ? 0 : m_va(M_DATA), x_dom(x)}};
}

static struct x_call x_mmuext(struct pv_x *x)
{
	static const ppn_t by_level[] = {M_USER_L1, M_USER_L2, M_USER_L3, M_USER_L4};
	struct mmuext_op op = {.cmd = (unsigned)x_below(x, 22)};

	op.arg1.mfn = op.cmd <= MMUEXT_PIN_L4_TABLE && x_below(x, 2) ? x->m->p2m[by_level[op.cmd]] : x_mpn(x);
	op.arg2.src_mfn = x_mpn(x);
	if (op.cmd == MMUEXT_NEW_BASEPTR)
		op.arg1.mfn = x_below(x, 2) ? x->m->p2m[M_L4] : x->m->p2m[M_DATA];
	if (op.cmd == MMUEXT_NEW_USER_BASEPTR || (op.cmd == MMUEXT_UNPIN_TABLE && x_below(x, 2)))
		op.arg1.mfn = x_below(x, 4) ? x->m->p2m[by_level[op.cmd == MMUEXT_UNPIN_TABLE ? x_below(x, 4) : 3]] : 0;
	if (op.cmd == MMUEXT_SET_LDT) {
		op.arg1.linear_addr = x_below(x, 2) ? m_va(M_LDT) : x_va(x);
		op.arg2.nr_ents = (unsigned)x_below(x, x_rarely(x) ? 10000 : 1100);
	}
	if (op.cmd == MMUEXT_TLB_FLUSH_MULTI || op.cmd == MMUEXT_INVLPG_MULTI)
		op.arg2.vcpumask.p = (void *)x_va(x);
	return (struct x_call){__HYPERVISOR_mmuext_op, {X_PUT(op), 1, 0, x_dom(x)}};
}

static struct x_call x_update_va(struct pv_x *x)
{
	u64 va = x_below(x, 4) ? M_BASE + (310 + x_below(x, 180)) * PAGE_SIZE : x_rarely(x) ? x_va(x) | 0 : 0x1000;
	u64 flags = x_below(x, 3) | (x_below(x, 3) ? 0 : x_va(x) & ~3ull);
	bool other = x_below(x, 2);

	if (x_below(x, 3) == 0) // a page that may then be given away
		return (struct x_call){__HYPERVISOR_update_va_mapping, {m_va(X_BALLOON + x_below(x, 90)), 0}};
	if (va >= M_BASE && va < m_va(M_DATA + 4))
		va = UNMAPPED;
	return (struct x_call){other ? __HYPERVISOR_update_va_mapping_otherdomain : __HYPERVISOR_update_va_mapping, {va, x_entry(x), flags, x_dom(x)}};
}

static struct x_call x_descriptors(struct pv_x *x)
{
	u64 list[PV_GDT_PAGES];

	for (unsigned i = 0; i < PV_GDT_PAGES; i++)
		list[i] = x_below(x, 8) ? x->m->p2m[M_GDT + x_below(x, 2)] : x_mpn(x);
	if (x_below(x, 2))
		return (struct x_call){__HYPERVISOR_set_gdt, {x_put(x, list, sizeof(list)), x_below(x, x_rarely(x) ? 9000 : 1100)}};
	return (struct x_call){__HYPERVISOR_update_descriptor,
			       {(x_below(x, 2) ? x->m->p2m[M_GDT] : x_mpn(x)) << PAGE_SHIFT | x_below(x, 512) * (x_rarely(x) ? 4 : 8),
				x_below(x, 2) ? 0x00affb000000ffff : x->random(x->ctx)}};
}

static struct x_call x_reservation(struct pv_x *x, u32 op)
{
	u64 *list = m_page(x->m, M_LIST);
	struct xen_memory_reservation r = {.nr_extents = x_below(x, 20), .domid = (domid_t)x_dom(x)};

	for (unsigned i = 0; i < 20; i++)
		list[i] = op == XENMEM_decrease_reservation && x_below(x, 20) ? x->m->p2m[X_BALLOON + x_below(x, 90)] : x_mpn(x);
	r.extent_order = x_rarely(x) ? (unsigned)x_below(x, 12) : 0;
	r.extent_start.p = (void *)(x_rarely(x) ? x_va(x) : m_va(M_LIST));
	return (struct x_call){__HYPERVISOR_memory_op, {op | (x_rarely(x) ? x_below(x, 20) << 6 : 0), X_PUT(r)}};
}

static struct x_call x_memory(struct pv_x *x)
{
	static const u32 rest[] = {XENMEM_maximum_ram_page, XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn,
				   XENMEM_machphys_mfn_list, XENMEM_machphys_mapping, XENMEM_memory_map, XENMEM_machine_memory_map,
				   XENMEM_add_to_physmap, XENMEM_get_vnumainfo};
	struct xen_memory_exchange e = {.in = {.nr_extents = x_below(x, 8)}};
	struct xen_memory_map map = {.nr_entries = 1};
	u32 kind = (u32)x_below(x, 5);

	if (kind < 3)
		return x_reservation(x, (const u32[]){XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap}[kind]);
	if (kind == 4) {
		u32 op = rest[x_below(x, ARRAY_SIZE(rest))];

		map.nr_entries = op == XENMEM_memory_map ? 1 : x_dom(x);
		map.buffer.p = (void *)x_va(x);
		return (struct x_call){__HYPERVISOR_memory_op, {op, X_PUT(map)}};
	}
	for (unsigned i = 0; i < 8; i++)
		m_page(x->m, M_LIST)[i] = x->m->p2m[X_BALLOON + x_below(x, 90)];
	e.in.domid = e.out.domid = (domid_t)x_dom(x);
	e.out.nr_extents = x_rarely(x) ? x_below(x, 8) : e.in.nr_extents;
	e.in.extent_order = x_rarely(x) ? (unsigned)x_below(x, 80) : 0;
	e.in.extent_start.p = (void *)m_va(M_LIST);
	e.out.extent_start.p = (void *)(x_rarely(x) ? x_va(x) : m_va(M_LIST) + 256);
	return (struct x_call){__HYPERVISOR_memory_op, {XENMEM_exchange, X_PUT(e)}};
}

// The guest writes entries of its grant table.
static void x_offer(struct pv_x *x)
{
	grant_entry_v1_t *e = (grant_entry_v1_t *)m_page(x->m, M_GRANTS + x_below(x, PV_GRANT_FRAMES)) + x_below(x, 16);

	*e = (grant_entry_v1_t){(u16)(x_rarely(x) ? x->random(x->ctx) : GTF_permit_access | (x_below(x, 3) ? 0 : GTF_readonly)),
				x_rarely(x) ? 5 : PV_DOM, (u32)x_mpn(x)};
}

static u32 x_ref(struct pv_x *x)
{
	return (u32)(x_rarely(x) ? x_below(x, 5000) : x_below(x, 2) * 512 + x_below(x, 16));
}

static struct x_call x_map(struct pv_x *x)
{
	struct gnttab_map_grant_ref op = {.flags = x_rarely(x) ? (u32)x->random(x->ctx) : GNTMAP_host_map, .ref = x_ref(x), .dom = (domid_t)x_dom(x)};

	op.flags |= (u32)x_below(x, 2) * GNTMAP_readonly | (u32)x_below(x, 2) * GNTMAP_contains_pte | (u32)(x_below(x, 4) == 0) * GNTMAP_device_map;
	op.host_addr = op.flags & GNTMAP_contains_pte ? x_pte(x) : M_BASE + (310 + x_below(x, 180)) * PAGE_SIZE;
	return (struct x_call){__HYPERVISOR_grant_table_op, {GNTTABOP_map_grant_ref, X_PUT(op), 1}};
}

// Of a handle that there is, its mapping where the guest's table has it.
static struct x_call x_unmap(struct pv_x *x)
{
	struct pv_grants *t = &x->m->guest.grants;
	unsigned h = (unsigned)x_below(x, 64);
	struct gnttab_unmap_grant_ref op = {.handle = x_rarely(x) ? (u32)x->random(x->ctx) : h};
	struct gnttab_unmap_and_replace r = {.handle = h, .new_addr = x_below(x, 2) ? 0 : M_BASE + (310 + x_below(x, 180)) * PAGE_SIZE};
	mpn_t mpn = t->handle[h].flags ? t->grant[t->handle[h].ref].mpn : 0;
	u64 *table = m_page(x->m, t->handle[h].flags & GNTMAP_contains_pte && x_below(x, 2) ? M_USER_L1 : M_L1);
	unsigned slot = 310 + (unsigned)x_below(x, 190);

	if (table == m_page(x->m, M_USER_L1))
		slot = (unsigned)x_below(x, 12);
	for (unsigned i = 0; i < 190 && (table[slot] & PTE_ADDR) >> PAGE_SHIFT != mpn; i++)
		slot = slot >= 500 ? 310 : slot + 1;
	op.host_addr = t->handle[h].flags & GNTMAP_contains_pte
			       ? x->m->p2m[table == m_page(x->m, M_USER_L1) ? M_USER_L1 : M_L1] << PAGE_SHIFT | (slot & 511) * 8
			       : M_BASE + slot * PAGE_SIZE;
	r.host_addr = op.host_addr;
	op.dev_bus_addr = x_below(x, 2) ? mpn << PAGE_SHIFT : 0;
	if (x_below(x, 4) == 0)
		return (struct x_call){__HYPERVISOR_grant_table_op, {GNTTABOP_unmap_and_replace, X_PUT(r), 1}};
	return (struct x_call){__HYPERVISOR_grant_table_op, {GNTTABOP_unmap_grant_ref, X_PUT(op), 1}};
}

static struct gnttab_copy_ptr x_side(struct pv_x *x, bool by_ref)
{
	struct gnttab_copy_ptr p = {.domid = x_rarely(x) ? (domid_t)x_dom(x) : DOMID_SELF, .offset = (u16)x_below(x, x_rarely(x) ? 5000 : 2000)};

	if (by_ref)
		p.u.ref = x_ref(x);
	else
		p.u.gmfn = x_mpn(x);
	return p;
}

static struct x_call x_grants(struct pv_x *x)
{
	struct gnttab_setup_table s = {.dom = (domid_t)x_dom(x), .nr_frames = (u32)x_below(x, 6)};
	struct gnttab_copy c = {.len = (u16)x_below(x, 2000), .flags = (u16)x_below(x, 4)};
	struct gnttab_swap_grant_ref swap = {x_ref(x), x_ref(x), 0};
	struct gnttab_cache_flush f = {.a.dev_bus_addr = x_mpn(x) << PAGE_SHIFT, .length = 9, .op = (u32)x_below(x, 4)};
	struct gnttab_set_version version = {1 + (u32)x_below(x, 3)};
	u32 op = (u32)x_below(x, 14);

	x_offer(x);
	s.frame_list.p = (void *)m_va(M_LIST);
	c.source = x_side(x, c.flags & GNTCOPY_source_gref);
	c.dest = x_side(x, c.flags & GNTCOPY_dest_gref);
	if (op == GNTTABOP_map_grant_ref || op == GNTTABOP_dump_table)
		return x_map(x);
	if (op == GNTTABOP_unmap_grant_ref || op == GNTTABOP_unmap_and_replace || op == 13)
		return x_unmap(x);
	return (struct x_call){__HYPERVISOR_grant_table_op,
			       {op,
				op == GNTTABOP_copy	       ? X_PUT(c)
				: op == GNTTABOP_swap_grant_ref ? X_PUT(swap)
				: op == GNTTABOP_cache_flush   ? X_PUT(f)
				: op == GNTTABOP_set_version   ? X_PUT(version)
							       : X_PUT(s),
				1}};
}

static struct x_call x_events(struct pv_x *x)
{
	u32 words[6];
	u32 op = (u32)x_below(x, 15);

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = (u32)x_below(x, 12);
	if (op > 11)
		op = EVTCHNOP_close;
	if (op == EVTCHNOP_alloc_unbound || op == EVTCHNOP_status || op == EVTCHNOP_reset || op == EVTCHNOP_bind_interdomain)
		words[0] = x_below(x, 3) ? DOMID_SELF | (u32)DOMID_SELF << 16 : x_dom(x) | (u32)PV_DOM << 16;
	if ((op == EVTCHNOP_bind_ipi || op == EVTCHNOP_bind_virq || op == EVTCHNOP_bind_vcpu) && x_below(x, 2))
		words[0] = 0, words[1] = 0;
	if (op == EVTCHNOP_reset && x_below(x, 30))
		op = EVTCHNOP_close;
	return (struct x_call){__HYPERVISOR_event_channel_op, {op, x_put(x, words, sizeof(words))}};
}

static struct x_call x_vcpu(struct pv_x *x)
{
	static const u32 ops[] = {VCPUOP_initialise, VCPUOP_up, VCPUOP_is_up, VCPUOP_get_runstate_info, VCPUOP_register_runstate_memory_area,
				  VCPUOP_set_periodic_timer, VCPUOP_stop_periodic_timer, VCPUOP_set_singleshot_timer, VCPUOP_stop_singleshot_timer,
				  VCPUOP_register_vcpu_info, VCPUOP_get_physid, VCPUOP_register_vcpu_time_memory_area, VCPUOP_send_nmi};
	u32 op = ops[x_below(x, ARRAY_SIZE(ops))];
	struct vcpu_register_vcpu_info info = {.mfn = x_mpn(x), .offset = (u32)x_below(x, 600) * 8};
	u64 words[2] = {x->m->now + x_below(x, 4000000) - 1000, x_below(x, 2)};

	if (op == VCPUOP_register_runstate_memory_area || op == VCPUOP_register_vcpu_time_memory_area)
		words[0] = x_va(x);
	if (op == VCPUOP_set_periodic_timer)
		words[0] = x_below(x, 3000000);
	return (struct x_call){__HYPERVISOR_vcpu_op,
			       {op, x_rarely(x), op == VCPUOP_send_nmi ? x_below(x, 2) : op == VCPUOP_register_vcpu_info ? X_PUT(info) : x_put(x, words, sizeof(words))}};
}

static struct x_call x_traps(struct pv_x *x)
{
	struct trap_info t[4] = {{3, 0, 0, M_BASE + 16}, {(u8)x_below(x, 256), (u8)x_below(x, 8), 0, x_rarely(x) ? 1ull << 50 : M_BASE}, {0}};
	u16 types[2] = {(u16)x_below(x, 9), (u16)x_below(x, 2)};
	u64 callback[2] = {types[0] | (u64)types[1] << 16, x_va(x)};

	switch (x_below(x, 4)) {
	case 0:
		return (struct x_call){__HYPERVISOR_set_trap_table, {x_rarely(x) ? 0 : X_PUT(t)}};
	case 1:
		return (struct x_call){__HYPERVISOR_set_callbacks, {x_va(x), x_va(x), x_va(x)}};
	case 2:
		return (struct x_call){__HYPERVISOR_nmi_op, {x_below(x, 3), x_put(x, &callback[1], 8)}};
	default:
		return (struct x_call){__HYPERVISOR_callback_op, {x_below(x, 3), x_put(x, callback, sizeof(callback))}};
	}
}

static struct x_call x_sched(struct pv_x *x)
{
	static const u32 ops[] = {SCHEDOP_yield, SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_poll, SCHEDOP_shutdown_code, SCHEDOP_watchdog};
	u32 op = ops[x_below(x, ARRAY_SIZE(ops))];
	struct sched_poll p = {.nr_ports = x_rarely(x) ? 200 : (unsigned)x_below(x, 3), .timeout = x_below(x, 2) * x->m->now};
	struct sched_watchdog w = {(u32)x_below(x, PV_WATCHDOGS + 2), (u32)x_below(x, 3)};
	struct sched_shutdown s = {x_below(x, 50) ? SHUTDOWN_suspend : (unsigned)x_below(x, 7)};

	p.ports.p = (void *)m_va(M_LIST);
	for (unsigned i = 0; op == SCHEDOP_poll && i < 4; i++)
		((u32 *)m_page(x->m, M_LIST))[i] = (u32)x_below(x, x_rarely(x) ? 5000 : 30);
	return (struct x_call){__HYPERVISOR_sched_op, {op, op == SCHEDOP_poll ? X_PUT(p) : op == SCHEDOP_watchdog ? X_PUT(w) : X_PUT(s)}};
}

static struct x_call x_small(struct pv_x *x)
{
	u64 words[2] = {x_below(x, 5), x_below(x, 2)};

	switch (x_below(x, 10)) {
	case 0:
		return (struct x_call){__HYPERVISOR_xen_version, {x_below(x, 12), x_below(x, 2) ? X_PUT(words) : 0}};
	case 1:
		return (struct x_call){__HYPERVISOR_console_io, {x_rarely(x) ? 2 : x_below(x, 2), x_below(x, 3000), x_va(x)}};
	case 2:
		return (struct x_call){__HYPERVISOR_fpu_taskswitch, {x_below(x, 2)}};
	case 3:
		return (struct x_call){__HYPERVISOR_set_debugreg, {x_below(x, 9), x_below(x, 2) ? x_va(x) : x_below(x, 1ull << 33)}};
	case 4:
		return (struct x_call){__HYPERVISOR_get_debugreg, {x_below(x, 9)}};
	case 5:
		return (struct x_call){__HYPERVISOR_vm_assist, {x_rarely(x) ? 2 : x_below(x, 2), x_below(x, 8)}};
	case 6:
		return (struct x_call){__HYPERVISOR_physdev_op, {x_rarely(x) ? 1 : 6 + x_below(x, 2), X_PUT(words)}};
	case 7:
		return (struct x_call){__HYPERVISOR_set_segment_base, {x_below(x, 5), x_va(x)}};
	case 8:
		return (struct x_call){__HYPERVISOR_set_timer_op, {x_below(x, 2) * (x->m->now + x_below(x, 1000))}};
	default:
		return (struct x_call){x_rarely(x) ? 50 : __HYPERVISOR_stack_switch, {0, x_rarely(x) ? 1ull << 50 : m_va(M_STACK + 1)}};
	}
}

// ---- steps

// Operations within hypercalls, for the table. `sides`: those that have no success, or no error.
static const struct {
	unsigned nr, ops, base;
	u64 sides;
	const char *name;
} x_groups[] = {
	{__HYPERVISOR_mmuext_op, 22, 0,
	 BIT(MMUEXT_FLUSH_CACHE) | BIT(MMUEXT_FLUSH_CACHE_GLOBAL) | BIT(MMUEXT_MARK_SUPER) | BIT(MMUEXT_UNMARK_SUPER) | BIT(14) | BIT(21), "mmuext_op"},
	{__HYPERVISOR_memory_op, 32, 24,
	 BIT(XENMEM_maximum_ram_page) | BIT(XENMEM_add_to_physmap) | BIT(XENMEM_machine_memory_map) | BIT(XENMEM_get_vnumainfo), "memory_op"},
	{__HYPERVISOR_grant_table_op, 13, 56, BIT(GNTTABOP_transfer), "grant_table_op"},
	{__HYPERVISOR_event_channel_op, 12, 72, BIT(EVTCHNOP_bind_pirq) | BIT(EVTCHNOP_init_control), "event_channel_op"},
	{__HYPERVISOR_vcpu_op, 16, 88, BIT(VCPUOP_initialise) | BIT(VCPUOP_get_physid), "vcpu_op"},
	{__HYPERVISOR_sched_op, 7, 104, BIT(SCHEDOP_yield) | BIT(SCHEDOP_block), "sched_op"},
};

struct x_totals {
	u64 of_op[2][112], of_call[2][PV_CALLS];
};

static bool x_succeeded(struct pv_x *x, const struct x_call *c, s64 r)
{
	const s16 *status = (const s16 *)m_args(x->m);
	static const u8 at[] = {[GNTTABOP_map_grant_ref] = offsetof(struct gnttab_map_grant_ref, status),
				[GNTTABOP_unmap_grant_ref] = offsetof(struct gnttab_unmap_grant_ref, status),
				[GNTTABOP_setup_table] = offsetof(struct gnttab_setup_table, status),
				[GNTTABOP_transfer] = offsetof(struct gnttab_transfer, status),
				[GNTTABOP_copy] = offsetof(struct gnttab_copy, status),
				[GNTTABOP_query_size] = offsetof(struct gnttab_query_size, status),
				[GNTTABOP_unmap_and_replace] = offsetof(struct gnttab_unmap_and_replace, status),
				[GNTTABOP_get_status_frames] = offsetof(struct gnttab_get_status_frames, status),
				[GNTTABOP_swap_grant_ref] = offsetof(struct gnttab_swap_grant_ref, status)};

	if (c->nr == __HYPERVISOR_grant_table_op && !r && c->a[1] == ARGS && c->a[0] < ARRAY_SIZE(at) && at[c->a[0]])
		return status[at[c->a[0]] / 2] == GNTST_okay;
	if (c->nr == __HYPERVISOR_memory_op && (c->a[0] == XENMEM_increase_reservation || c->a[0] == XENMEM_decrease_reservation ||
						c->a[0] == XENMEM_populate_physmap))
		return r > 0;
	return r >= 0 || r < -4095;
}

static struct x_totals x_totals;

static void x_count(struct pv_x *x, const struct x_call *c, s64 r)
{
	bool ok = x_succeeded(x, c, r);
	u64 op = c->nr == __HYPERVISOR_mmuext_op ? ((struct mmuext_op *)m_args(x->m))->cmd : c->a[0];

	x->calls++;
	if (c->nr < PV_CALLS)
		x_totals.of_call[ok][c->nr]++;
	for (unsigned i = 0; i < ARRAY_SIZE(x_groups); i++)
		if (c->nr == x_groups[i].nr && op < x_groups[i].ops && (c->nr != __HYPERVISOR_mmuext_op || c->a[0] == ARGS))
			x_totals.of_op[ok][x_groups[i].base + op]++;
}

static struct x_call x_any(struct pv_x *x)
{
	static struct x_call (*const groups[])(struct pv_x * x) = {x_mmu_update, x_mmu_update, x_mmuext, x_mmuext, x_update_va, x_descriptors, x_memory,
								   x_grants,	 x_grants,     x_events, x_vcpu,   x_traps,	x_sched,	x_small};

	return groups[x_below(x, ARRAY_SIZE(groups))](x);
}

// Several in one; the arguments of all are the last one's, which is as good as any.
static struct x_call x_multicall(struct pv_x *x)
{
	struct multicall_entry *e = (struct multicall_entry *)m_page(x->m, M_DATA);
	unsigned n = (unsigned)x_below(x, 6);

	for (unsigned i = 0; i < n; i++) {
		struct x_call c = x_any(x);

		e[i] = (struct multicall_entry){.op = x_below(x, 40) ? c.nr : __HYPERVISOR_iret};
		memcpy(e[i].args, c.a, sizeof(c.a));
	}
	return (struct x_call){__HYPERVISOR_multicall, {x_rarely(x) ? x_va(x) : m_va(M_DATA), n}};
}

// The kernel's entry points and its way back; each writes frames, or reads them, where the tables say.
static void x_enter_and_leave(struct pv_x *x)
{
	struct machine *m = x->m;
	struct x86_fault f = {.vector = (u8)(x_below(x, 4) ? VEC_BP : x_below(x, 32))};
	struct iret_context *i = (struct iret_context *)m_page(m, M_STACK);

	m->cpu.gpr[R_RSP] = x_below(x, 20) ? m_va(M_STACK + 1) - x_below(x, 64) : x_va(x);
	switch (x_below(x, 4)) {
	case 0:
		pv_exception(&m->vcpu, &f);
		break;
	case 1:
		pv_failsafe(&m->vcpu);
		break;
	case 2:
		(void)pv_deliver(&m->vcpu);
		break;
	default:
		*i = (struct iret_context){.cs = x_below(x, 2) ? 0xe033 : 0xe030, .rflags = x->random(x->ctx), .rsp = m_va(M_STACK + 1) - 64};
		m->cpu.gpr[R_RSP] = m_va(M_STACK);
		CALL(m, iret, 0);
		if (!pv_kernel_mode(&m->vcpu))
			pv_syscall(&m->vcpu, x_below(x, 2));
	}
	pv_enter_kernel(&m->vcpu);
}

// What the guest can do by itself: to a page that is mapped writable.
static void x_own_hands(struct pv_x *x)
{
	ppn_t page = x_below(x, 3) ? M_DATA + x_below(x, 24) : M_USER_L4 + x_below(x, 6);
	struct machine *m = x->m;

	if (m->p2m[page] != MPN_NONE && (m->frame[page].uses ? m->frame[page].type == PV_WRITABLE : !m->frame[page].done))
		m_page(m, page)[x_below(x, 12)] = x_entry(x);
	if (x_rarely(x))
		((u8 *)m->guest.shared)[x_below(x, sizeof(struct shared_info))] = (u8)x->random(x->ctx);
}

// A guest that has given up the pages in which it asks can ask no more: it is for the caller to start another life.
static bool pv_x_alive(const struct pv_x *x)
{
	for (ppn_t p = M_STACK; p <= M_DATA; p++)
		if (!x->m->frame[p].uses || x->m->frame[p].type != PV_WRITABLE)
			return false;
	return true;
}

static void x_live(struct pv_x *x)
{
	struct machine *m = x->m;

	m->guest.over = m->guest.block = m->guest.yield = false;
	m->now += x_below(x, 10000);
	if (pv_timer_next(&m->vcpu) <= m->now)
		pv_timer_advance(&m->vcpu);
	(void)pv_waits(&m->vcpu);
}

static void pv_x_step(struct pv_x *x)
{
	struct x_call c;
	s64 r;

	x->steps++;
	x_live(x);
	if (x_below(x, 8) == 0)
		x_own_hands(x);
	if (x_below(x, 64) == 0) {
		x_enter_and_leave(x);
		return;
	}
	c = x_below(x, 16) ? x_any(x) : x_multicall(x);
	x->m->guest.budget = x_below(x, 4) ? PV_WORK : PV_WORK_MIN + (unsigned)x_below(x, 200);
	x->m->populate_fails = x_below(x, 30) == 0;
	r = machine_call(x->m, c.nr, c.a);
	x_count(x, &c, r);
}

static void pv_x_audit(struct pv_x *x)
{
	if (machine_audit(x->m))
		panic("step %lu: %s", (unsigned long)x->steps, x->m->wrong);
}

#endif
