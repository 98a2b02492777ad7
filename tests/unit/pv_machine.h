// SPDX-License-Identifier: MIT
// A small machine for hypercalls: a guest of some hundred pages and one vCPU, its tables built by hand, all memory in arrays. Machine
// frames are apart from pages, and most of their numbers are somebody else's. Everything that the guest could be told or change is
// looked at by machine_audit(). Shared by test_pv_calls.c, test_pv_grant.c and the exerciser.
#ifndef TESTS_UNIT_PV_MACHINE_H
#define TESTS_UNIT_PV_MACHINE_H

#include "core/pv/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define M_PAGES 300u // RAM; then the shared page and those of the grant table
#define M_SHARED M_PAGES
#define M_GRANTS (M_PAGES + 1)
#define M_LIMIT (M_GRANTS + PV_GRANT_FRAMES)
#define M_STRIDE 3u // of numbers of frames, one is ours
#define M_FRAMES (M_LIMIT * M_STRIDE + 100)
#define M_FOREIGN 1u // somebody else's
#define M_BASE 0xffff880000000000ull // page 0 is mapped there, and so on
#define M_USER 0x400000ull           // in the user's tables: the data pages
#define M_RW (PTE_P | PTE_W | PTE_A | PTE_D)
#define M_RO (PTE_P | PTE_A)

// The guest's pages by their use.
enum { M_L4, M_L3, M_L2, M_L1, M_USER_L4, M_USER_L3, M_USER_L2, M_USER_L1, M_GDT, M_LDT, M_TABLES_END, M_STACK = M_TABLES_END, M_ARGS, M_LIST,
       M_DATA };

struct machine {
	u64 page[M_LIMIT][512] __attribute__((aligned(4096))); // by place
	u32 place_mpn[M_LIMIT];
	mpn_t p2m[M_LIMIT];
	u32 m2p[M_FRAMES];                                  // place plus one, 0: not the guest's
	u32 m2ppn[ROUND_UP(M_FRAMES, BIT(PV_INDEX_SHIFT))]; // page plus one
	u64 told[M_FRAMES];                                 // the M2P that the guest reads
	struct pv_frame frame[M_LIMIT];
	struct pv_guest guest;
	struct pv_vcpu vcpu;
	struct x86_cpu cpu;
	u64 now;
	u64 gdt[8192], ldt[8192];
	unsigned ldt_entries;
	mpn_t loaded;
	unsigned notified, rung, console_bytes, switched, debug_writes, ended, calls, pieces;
	u16 user_gs;
	u32 seen_root_gone;
	bool populate_fails;
	enum pv_end how;
	char said[200], wrong[200];
	bool audits; // before each piece of a call, too
};

// ---- ports

static void *m_map(void *ctx, mpn_t mpn)
{
	struct machine *m = ctx;

	assert(mpn < M_FRAMES && m->m2p[mpn]);
	return m->page[m->m2p[mpn] - 1];
}

static const u32 *m_index(void *ctx, mpn_t mpn)
{
	return mpn < M_FRAMES ? &((struct machine *)ctx)->m2ppn[mpn & ~(BIT(PV_INDEX_SHIFT) - 1)] : NULL;
}

static inline ppn_t m_ppn(const struct machine *m, mpn_t mpn)
{
	return mpn < M_FRAMES && m->m2ppn[mpn] ? m->m2ppn[mpn] - 1 : PPN_NONE;
}

static mpn_t m_mpn(void *ctx, ppn_t ppn)
{
	return ppn < M_LIMIT ? ((struct machine *)ctx)->p2m[ppn] : MPN_NONE;
}

static void m_root_gone(void *ctx, ppn_t table)
{
	((struct machine *)ctx)->seen_root_gone++;
}

static bool m_descriptors(void *ctx, const u64 *entries)
{
	return true;
}

static u64 m_now(void *ctx)
{
	return ((struct machine *)ctx)->now;
}

static void m_console(void *ctx, const char *bytes, unsigned n)
{
	((struct machine *)ctx)->console_bytes += n;
}

static void m_load_root(void *ctx, struct pv_vcpu *v, mpn_t root)
{
	((struct machine *)ctx)->loaded = root;
}

static void m_set_gdt(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw)
{
	((struct machine *)ctx)->gdt[index] = raw;
}

static void m_set_ldt(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw)
{
	((struct machine *)ctx)->ldt[index] = raw;
}

static void m_ldt_loaded(void *ctx, struct pv_vcpu *v, unsigned entries)
{
	((struct machine *)ctx)->ldt_entries = entries;
}

static void m_task_switched(void *ctx, struct pv_vcpu *v)
{
	((struct machine *)ctx)->switched++;
}

static void m_debug_written(void *ctx, struct pv_vcpu *v)
{
	((struct machine *)ctx)->debug_writes++;
}

static void m_user_gs(void *ctx, struct pv_vcpu *v, u16 selector)
{
	((struct machine *)ctx)->user_gs = selector;
}

static void m_set_machphys(void *ctx, mpn_t mpn, u64 pfn)
{
	assert(mpn < M_FRAMES);
	((struct machine *)ctx)->told[mpn] = pfn;
}

static void m_place(struct machine *m, ppn_t page, u32 place)
{
	mpn_t mpn = m->place_mpn[place];

	m->p2m[page] = mpn;
	m->m2p[mpn] = place + 1;
	m->m2ppn[mpn] = (u32)page + 1;
}

static mpn_t m_populate(void *ctx, ppn_t *index)
{
	struct machine *m = ctx;

	if (m->populate_fails)
		return MPN_NONE;
	for (ppn_t p = 0; p < M_PAGES; p++)
		for (u32 place = 0; m->p2m[p] == MPN_NONE && place < M_LIMIT; place++)
			if (!m->m2p[m->place_mpn[place]]) {
				m_place(m, p, place);
				memset(m->page[place], 0, PAGE_SIZE);
				*index = p;
				return m->p2m[p];
			}
	return MPN_NONE;
}

static void m_release(void *ctx, ppn_t index)
{
	struct machine *m = ctx;
	mpn_t mpn = m->p2m[index];

	assert(mpn != MPN_NONE && index < M_PAGES && !m->frame[index].refs && !m->frame[index].done);
	m->m2p[mpn] = m->m2ppn[mpn] = 0;
	m->told[mpn] = ~0ull;
	m->p2m[index] = MPN_NONE;
}

static void m_end(void *ctx, enum pv_end how, const char *reason)
{
	struct machine *m = ctx;

	m->ended++;
	m->how = how;
	snprintf(m->said, sizeof(m->said), "%s", reason);
}

static void m_log(void *ctx, const char *text)
{
	snprintf(((struct machine *)ctx)->said, sizeof(((struct machine *)ctx)->said), "%s", text);
}

static struct pv_events *m_find(void *ctx, u16 dom)
{
	return NULL;
}

static struct vcpu_info *m_vcpu_info(void *ctx, unsigned vcpu)
{
	return ((struct machine *)ctx)->vcpu.info;
}

static void m_notify(void *ctx, unsigned vcpu)
{
	((struct machine *)ctx)->notified++;
}

static void m_sent(void *ctx, unsigned user)
{
	((struct machine *)ctx)->rung++;
}

static const struct pv_ports m_frame_ports = {
	.map = m_map, .index = m_index, .mpn = m_mpn, .root_gone = m_root_gone, .descriptors = m_descriptors};
static const struct pv_event_ports m_event_ports = {m_find, m_vcpu_info, m_notify, m_sent};
static const struct pv_guest_ports m_guest_ports = {
	.now_ns = m_now,
	.console = m_console,
	.load_root = m_load_root,
	.set_gdt = m_set_gdt,
	.set_ldt = m_set_ldt,
	.ldt_loaded = m_ldt_loaded,
	.task_switched = m_task_switched,
	.debug_written = m_debug_written,
	.user_gs = m_user_gs,
	.set_machphys = m_set_machphys,
	.populate = m_populate,
	.release = m_release,
	.end = m_end,
	.log = m_log,
};

// ---- the guest's memory

static inline u64 *m_page(struct machine *m, ppn_t page)
{
	return m_map(m, m->p2m[page]);
}

static inline u64 m_va(ppn_t page)
{
	return M_BASE + page * PAGE_SIZE;
}

static u64 m_entry(struct machine *m, ppn_t page, u64 flags)
{
	return m->p2m[page] << PAGE_SHIFT | flags;
}

// The address of an entry, as mmu_update wants it.
static inline u64 m_slot(struct machine *m, ppn_t table, unsigned slot)
{
	return m->p2m[table] << PAGE_SHIFT | slot * 8;
}

static void m_build_tables(struct machine *m)
{
	m_page(m, M_L4)[272] = m_entry(m, M_L3, M_RW);
	m_page(m, M_L3)[0] = m_entry(m, M_L2, M_RW);
	m_page(m, M_L2)[0] = m_entry(m, M_L1, M_RW);
	for (ppn_t p = 0; p < M_LIMIT; p++)
		m_page(m, M_L1)[p] = m_entry(m, p, p < M_TABLES_END ? M_RO : M_RW);
	m_page(m, M_USER_L4)[0] = m_entry(m, M_USER_L3, M_RW | PTE_U);
	m_page(m, M_USER_L3)[0] = m_entry(m, M_USER_L2, M_RW | PTE_U);
	m_page(m, M_USER_L2)[2] = m_entry(m, M_USER_L1, M_RW | PTE_U);
	for (ppn_t p = M_DATA; p < M_DATA + 16; p++)
		m_page(m, M_USER_L1)[p - M_DATA] = m_entry(m, p, M_RW | PTE_U);
}

static void m_start_cpu(struct machine *m)
{
	struct x86_cpu *c = &m->cpu;

	c->cr0 = CR0_PE | CR0_PG;
	c->cr4 = CR4_PAE | CR4_DE;
	c->efer = EFER_LMA | EFER_LME;
	c->rflags = RFL_FIXED | RFL_IF;
	c->rip = M_BASE + 0x123456;
	c->gpr[R_RSP] = m_va(M_STACK + 1);
	pv_enter_kernel(&m->vcpu);
}

static void m_report(void *ctx, const char *text)
{
	struct machine *m = ctx;

	if (!m->wrong[0])
		snprintf(m->wrong, sizeof(m->wrong), "%s", text);
}

// The number of violations; the first is in m->wrong.

static unsigned machine_audit(struct machine *m)
{
	static struct pv_count count[M_LIMIT];

	memset(count, 0, sizeof(count));
	count[M_SHARED] = (struct pv_count){1, 1};
	m->wrong[0] = 0;
	return pv_guest_audit(&m->guest, count, m_report, m);
}

static void machine_start(struct machine *m)
{
	struct pv_guest *g = &m->guest;
	enum status st;

	memset(m, 0, sizeof(*m));
	for (u32 p = 0; p < M_LIMIT; p++) {
		m->place_mpn[p] = 10 + (M_LIMIT - 1 - p) * M_STRIDE;
		m_place(m, p, p);
	}
	memset(m->told, 0xff, sizeof(m->told));
	m_build_tables(m);
	pv_frames_init(&g->frames, &m_frame_ports, m, m->frame, M_LIMIT, 40);
	g->ports = &m_guest_ports;
	g->ctx = m;
	g->shared_mpn = m->p2m[M_SHARED];
	g->shared = m_map(m, g->shared_mpn);
	g->vcpu = &m->vcpu;
	g->vcpus = 1;
	g->pages = g->pages_max = M_PAGES;
	g->machine_frames = M_FRAMES;
	g->tsc_mul = 2000000;
	m->now = 1000000000;
	pv_guest_init(g, &m_event_ports);
	m->vcpu.cpu = &m->cpu;
	m->vcpu.state_ns = m->now;
	g->frames.work = ~0u;
	st = pv_get_type(&g->frames, m->p2m[M_L4], PV_L4);
	assert(st == ST_OK);
	st = pv_get_type(&g->frames, g->shared_mpn, PV_WRITABLE);
	assert(st == ST_OK);
	m->vcpu.root = m->loaded = m->p2m[M_L4];
	if (!pv_grants_init(g, &m->p2m[M_GRANTS]))
		panic("the grant table's pages are in use");
	m_start_cpu(m);
}

// ---- calls

// Runs one, in as many pieces as it takes. The result.
static s64 machine_call(struct machine *m, unsigned nr, const u64 a[5])
{
	u64 *r = m->cpu.gpr;

	r[R_RAX] = nr, r[R_RDI] = a[0], r[R_RSI] = a[1], r[R_RDX] = a[2], r[R_R10] = a[3], r[R_R8] = a[4];
	m->calls++;
	for (m->pieces = 1; !pv_hypercall(&m->vcpu); m->pieces++)
		if (m->audits && machine_audit(m))
			panic("call %u, piece %u: %s", nr, m->pieces, m->wrong);
	return (s64)r[R_RAX];
}

#define CALL(m, nr, ...) machine_call(m, __HYPERVISOR_##nr, (const u64[5]){__VA_ARGS__})

// What is at the start of the page of arguments, and where the guest has it.
static inline void *m_args(struct machine *m)
{
	return m_page(m, M_ARGS);
}

#define ARGS m_va(M_ARGS)
#define UNMAPPED (M_BASE + 511 * PAGE_SIZE)

// Gives back all that the guest holds. False: frames are in use yet.
static bool machine_end(struct machine *m)
{
	struct pv_guest *g = &m->guest;
	struct pv_frames *f = &g->frames;

	pv_grants_end(g);
	g->over = false;
	g->budget = PV_WORK;
	CALL(m, set_gdt, 0, 0);
	f->work = ~0u;
	(void)pv_load_ldt(&m->vcpu, 0, 0);
	for (ppn_t p = 0; p < M_LIMIT; p++)
		if (m->frame[p].flags & PV_PINNED && pv_unpin(f, m->p2m[p]) != ST_OK)
			return false;
	pv_put_type(f, m->vcpu.root);
	if (m->vcpu.user_root != MPN_NONE)
		pv_put_type(f, m->vcpu.user_root);
	if (m->vcpu.info_mpn != MPN_NONE)
		pv_put_type(f, m->vcpu.info_mpn);
	pv_put_type(f, g->shared_mpn);
	for (unsigned i = 0; i < PV_GRANT_FRAMES; i++)
		pv_put_type(f, g->grants.mpn[i]);
	if (!pv_let_go(f))
		return false;
	for (ppn_t p = 0; p < M_LIMIT; p++)
		if (m->frame[p].refs || m->frame[p].uses || m->frame[p].done)
			return false;
	return true;
}

#endif
