// SPDX-License-Identifier: MIT
// Page faults: true guest faults are told from hidden ones, and the shadow is filled for the latter.
//
// A hidden fault costs two crossings, so it brings more than the page asked for: the neighbours in the same table whose
// accessed bit the guest has set, the pieces of the same large page; a run around the address at first, the whole table
// when it faults again. Prefetch goes through the same sync_leaf() as everything else, so it grants nothing new.
#include "core/mmu/shadow_private.h"

#define LATER_RUN 8 // entries looked at when a table faults that has been filled before

static void fault_prefetch(struct shadow *s, struct table *t, unsigned at, const u64 *guest)
{
	unsigned run = t->direct ? s->direct_run : s->leaf_run;
	unsigned first, last;

	if (t->faults == 1 && run)
		run = SLOTS; // the second fault brings the rest, once
	else if (t->faults > 1)
		run = MIN(run, (unsigned)LATER_RUN);
	if (t->faults < 2)
		t->faults++;
	first = run ? at / run * run : at;
	last = run ? MIN(first + run, SLOTS) : at;
	for (unsigned slot = first; slot < last; slot++) {
		if (entry_live(t->entry[slot]) || (guest && (guest[slot] & (PTE_P | PTE_A)) != (PTE_P | PTE_A)))
			continue;
		if (sync_leaf(s, t, slot, guest))
			s->stats.prefetched++;
	}
}

// The table that entry `slot` of t must lead to for this walk, made and linked when it is not there.
static struct table *fault_descend(struct shadow *s, struct table *t, const struct guest_walk *w, u64 va)
{
	unsigned slot = va_slot(va, t->level);
	u64 rights = PTE_W | PTE_U;
	struct table *child;

	if (t->direct) { // inside a 1G page
		child = table_get(s, t->ppn + (ppn_t)slot * SLOTS, t->level - 1u, true);
	} else {
		u64 e = w->entry[t->level];

		child = table_get(s, entry_ppn(e, t->level), t->level - 1u, t->level == w->level);
		rights = sync_upper_rights(e, t->level);
	}
	table_link(s, t, slot, child, rights);
	table_in_use(s, child);
	return child;
}

// Could the gate tell this guest fault of user mode by the leaf table, were it shadowed? Not present, or a store to what is read-only.
static bool fault_gate_tells(const struct guest_walk *w, u32 error)
{
	u64 e = w->entry[1];

	return !(e & PTE_P) || ((error & PF_W) && (e & (PTE_A | PTE_U | PTE_W)) == (PTE_A | PTE_U));
}

// The guest's leaf table, linked below the root in use and marked. Not worth an eviction.
static void fault_bring_table(struct shadow *s, const struct guest_walk *w, u64 va)
{
	ppn_t ppn = w->entry_gpa[1] >> PAGE_SHIFT;
	struct table *t = &s->tables[s->current];

	for (unsigned level = 4; level > 1; level--)
		if (!(w->entry[level] & PTE_A))
			return;
	if (!frame_of(s, ppn) || !walk_table(s, ppn) || !table_reserve_free(s, FAULT_TABLES))
		return;
	while (t->level > 1)
		t = fault_descend(s, t, w, va);
	fault_prefetch(s, t, va_slot(va, 1), walk_table(s, ppn));
	table_mark(s, t);
}

// A guest fault: its page table is in use, not being torn down. One of user mode that the gate could have told came here since the
// table is not shadowed, or not below this root. Mostly the guest fills the entry next, best natively; if the same table has another
// such fault and has not come back between, the guest's answer is another (a signal), and the markers spare its crossings.
static void fault_note_use(struct shadow *s, const struct guest_walk *w, u64 va, u32 error)
{
	ppn_t ppn = w->entry_gpa[w->level] >> PAGE_SHIFT;
	struct table *t = table_find(s, ppn, w->level, false);

	s->fills_guessed = false;
	if (t)
		table_in_use(s, t);
	if (!s->markers || w->level != 1 || !(error & PF_U))
		return;
	if (t)
		table_mark(s, t);
	if (!fault_gate_tells(w, error))
		return;
	if (s->unshadowed_fault == ppn)
		fault_bring_table(s, w, va);
	s->unshadowed_fault = ppn;
}

static enum shadow_result fault_fill(struct shadow *s, const struct guest_walk *w, u64 va, u32 error)
{
	struct table *t = &s->tables[s->current];
	const u64 *guest;
	unsigned slot = va_slot(va, 1);

	if (!table_reserve(s, FAULT_TABLES))
		return SHADOW_NOMEM;
	while (t->level > 1)
		t = fault_descend(s, t, w, va);
	guest = t->direct ? NULL : walk_table(s, t->ppn);
	if (!sync_leaf(s, t, slot, guest))
		return SHADOW_EMULATE;
	fault_prefetch(s, t, slot, guest);
	if (s->markers && guest && (error & PF_U))
		table_mark(s, t);
	s->stats.hidden_faults++;
	return SHADOW_FIXED;
}

// A frame that is shadowed by roots alone, none of them in use, and is written: a dead process's, most likely.
static bool fault_dead_root(struct shadow *s, const struct frame *f)
{
	if (!f->tables || f->watch)
		return false;
	for (u32 i = f->tables; i; i = s->tables[i].frame_next)
		if (s->tables[i].level != 4 || i == s->current)
			return false;
	return true;
}

// What can be told without the shadow: devices, read-only memory, protected frames.
static bool fault_must_emulate(struct shadow *s, const struct guest_walk *w, u32 error)
{
	struct frame *f = frame_of(s, w->gpa >> PAGE_SHIFT);
	mpn_t mpn;
	enum p2m_type type = s->ports->p2m(s->ctx, w->gpa >> PAGE_SHIFT, &mpn);

	if (!f || type == P2M_NONE || type == P2M_MMIO)
		return true;
	// Accessed bits that could not be set: tables in read-only memory.
	for (unsigned level = 4; level >= w->level; level--)
		if (!(w->entry[level] & PTE_A))
			return true;
	if (!(error & PF_W))
		return false;
	if (type == P2M_ROM || !w->writable || !(w->pte & PTE_D))
		return true;
	if (fault_dead_root(s, f))
		sync_unshadow(s, f);
	return frame_protected(f);
}

#define WALK_SPAN BIT(21)
#define SUPERVISOR_WRITE (PF_W | PF_P)

static struct walk_memo *walk_memo(struct shadow *s, u64 va)
{
	return &s->walk[va / WALK_SPAN % WALKS];
}

static void walk_remember(struct shadow *s, const struct mmu_mode *m, const struct guest_walk *w, u64 va)
{
	if (w->level == 1 || !w->writable || w->user || !(w->pte & PTE_D))
		return;
	for (unsigned level = 4; level >= w->level; level--)
		if (!(w->entry[level] & PTE_A) || !table_find(s, w->entry_gpa[level] >> PAGE_SHIFT, level, false))
			return;
	*walk_memo(s, va) = (struct walk_memo){va & ~(WALK_SPAN - 1), m->cr3, w->gpa & ~(WALK_SPAN - 1), s->upper_changes};
}

// The commonest fault, short: a kernel's write to a protected frame through large pages that it wrote through before.
static bool fault_remembered(struct shadow *s, const struct mmu_mode *m, u64 va, u32 error, struct guest_walk *w)
{
	const struct walk_memo *memo = walk_memo(s, va);
	struct frame *f;

	if (error != SUPERVISOR_WRITE || memo->va != (va & ~(WALK_SPAN - 1)) || memo->cr3 != m->cr3 ||
	    memo->generation != s->upper_changes || m->nx != s->nx)
		return false;
	w->gpa = memo->gpa | (va & (WALK_SPAN - 1));
	f = frame_of(s, w->gpa >> PAGE_SHIFT);
	w->present = f && frame_protected(f) && !fault_dead_root(s, f);
	return w->present;
}

enum shadow_result shadow_fault(struct shadow *s, const struct mmu_mode *m, u64 va, u32 error, struct guest_walk *w,
				struct x86_fault *fault)
{
	assert(s->current && s->tables[s->current].ppn == (m->cr3 & PTE_ADDR) >> PAGE_SHIFT);
	if (fault_remembered(s, m, va, error, w)) {
		s->stats.emulated++;
		return SHADOW_EMULATE;
	}
	error &= PF_W | PF_U | PF_I;
	if (m->nx != s->nx) {
		shadow_flush_all(s);
		s->nx = m->nx;
	}
	if (!guest_translate(s, m, va, error, true, w, fault)) {
		if (is_canonical(va) && root_slot_is_ours(va_slot(va, 4)))
			return SHADOW_EMULATE;
		s->stats.guest_faults++;
		if (fault->vector == VEC_PF)
			fault_note_use(s, w, va, error);
		return SHADOW_INJECT;
	}
	if (root_slot_is_ours(va_slot(va, 4)) || fault_must_emulate(s, w, error)) {
		s->stats.emulated++;
		walk_remember(s, m, w, va);
		return SHADOW_EMULATE;
	}
	return fault_fill(s, w, va, error);
}
