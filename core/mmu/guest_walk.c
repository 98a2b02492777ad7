// SPDX-License-Identifier: MIT
// The walk of the guest's own page tables as its machine would do it (SDM 3A 4.5 to 4.8): rights, reserved bits, error
// code, accessed and dirty bits. Pure: what it touches it touches through the ports.
//
// Invariants
//  - Accessed and dirty bits are set only when the whole translation is allowed, by compare-exchange: an entry that changed
//    meanwhile is never overwritten, the walk starts anew.
//  - A table where there is no memory reads as all ones, so it faults by reserved bits.
#include "core/mmu/shadow_private.h"

#define WALK_ATTEMPTS 1000 // an entry changed under us that often: leave its A and D as they are

enum walk_status { WALK_OK, WALK_FAULT, WALK_AGAIN };

u64 walk_reserved(const struct shadow *s, bool nx, u64 entry, unsigned level)
{
	u64 mask = s->addr_reserved | (nx ? 0 : PTE_NX);

	if (level == 4)
		return mask | PTE_PS;
	if (level > 1 && (entry & PTE_PS)) // bit 12 is PAT
		mask |= (BIT(level_shift(level)) - 1) & ~(BIT(13) - 1);
	return mask;
}

u64 *walk_table(const struct shadow *s, ppn_t ppn)
{
	mpn_t mpn = MPN_NONE;
	enum p2m_type type = s->ports->p2m(s->ctx, ppn, &mpn);

	if (type != P2M_RAM && type != P2M_ROM)
		return NULL;
	return s->ports->map(s->ctx, mpn);
}

static bool walk_writable(const struct shadow *s, ppn_t ppn)
{
	mpn_t mpn;

	return s->ports->p2m(s->ctx, ppn, &mpn) == P2M_RAM;
}

// Error code of a true guest fault: cause is PF_P, PF_P | PF_RSVD or 0.
bool walk_fault(const struct mmu_mode *m, u64 va, u32 err, u32 cause, struct x86_fault *fault)
{
	u32 code = cause | (err & (PF_W | PF_U));

	if ((err & PF_I) && (m->nx || m->smep))
		code |= PF_I;
	*fault = (struct x86_fault){.vector = VEC_PF, .has_error = true, .error = code, .cr2 = va};
	return false;
}

bool walk_allowed(const struct mmu_mode *m, u32 err, const struct guest_walk *w)
{
	bool user_access = err & PF_U;

	if (user_access && !w->user)
		return false;
	if (err & PF_I)
		return !w->nx && (user_access || !w->user || !m->smep);
	if (!user_access && w->user && m->smap && !m->ac)
		return false;
	return !(err & PF_W) || w->writable || (!user_access && !m->wp);
}

// Reads the entries from level 4 down to a leaf and combines their rights. False: *cause says why.
static bool walk_read(struct shadow *s, const struct mmu_mode *m, u64 va, struct guest_walk *w, u64 *tables[5],
		      u32 *cause)
{
	u64 table = m->cr3 & PTE_ADDR;

	w->writable = w->user = true;
	w->nx = false;
	for (unsigned level = 4;; level--) {
		unsigned slot = va_slot(va, level);
		u64 *at = walk_table(s, table >> PAGE_SHIFT);
		u64 e = at ? __atomic_load_n(&at[slot], __ATOMIC_RELAXED) : ~0ull;

		tables[level] = at;
		w->entry[level] = e;
		w->entry_gpa[level] = table + slot * sizeof(u64);
		w->level = level;
		*cause = 0;
		if (!(e & PTE_P))
			return false;
		*cause = PF_P | PF_RSVD;
		if (e & walk_reserved(s, m->nx, e, level))
			return false;
		w->writable &= !!(e & PTE_W);
		w->user &= !!(e & PTE_U);
		w->nx |= !!(e & PTE_NX);
		if (entry_is_leaf(e, level))
			return true;
		table = e & PTE_ADDR;
	}
}

// Sets the accessed bits of the path and the dirty bit of its leaf. False: an entry has changed since it was read.
static bool walk_set_ad(struct shadow *s, u32 err, struct guest_walk *w, u64 *tables[5])
{
	for (unsigned level = 4; level >= w->level; level--) {
		u64 old = w->entry[level];
		u64 want = old | PTE_A | (level == w->level && (err & PF_W) ? PTE_D : 0);
		unsigned slot = w->entry_gpa[level] / sizeof(u64) % SLOTS;

		if (want == old || !walk_writable(s, w->entry_gpa[level] >> PAGE_SHIFT))
			continue;
		if (!__atomic_compare_exchange_n(&tables[level][slot], &old, want, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_RELAXED))
			return false;
		w->entry[level] = want;
		// A table that points to itself is met again further down: its entry is as we have just written it.
		for (unsigned below = level; below-- > w->level;)
			if (w->entry_gpa[below] == w->entry_gpa[level])
				w->entry[below] = want;
	}
	// The leaf's dirty bit shows in the copies above it.
	for (unsigned level = 4; level > w->level; level--)
		if (w->entry_gpa[level] == w->entry_gpa[w->level])
			w->entry[level] = w->entry[w->level];
	return true;
}

bool guest_translate(struct shadow *s, const struct mmu_mode *m, u64 va, u32 err, bool set_ad, struct guest_walk *w,
		     struct x86_fault *fault)
{
	if (unlikely(m->paging != PAGING_LONG))
		return legacy_translate(s, m, va, err, set_ad, w, fault);
	*w = (struct guest_walk){0};
	if (!is_canonical(va)) {
		*fault = (struct x86_fault){.vector = VEC_GP, .has_error = true};
		return false;
	}
	for (unsigned attempt = 0;; attempt++) {
		u64 *tables[5] = {0};
		u64 in_page;
		u32 cause;

		*w = (struct guest_walk){0};
		if (!walk_read(s, m, va, w, tables, &cause))
			return walk_fault(m, va, err, cause, fault);
		in_page = BIT(level_shift(w->level)) - 1;
		w->gpa = (w->entry[w->level] & PTE_ADDR & ~in_page) | (va & in_page);
		w->pte_gpa = w->entry_gpa[w->level];
		if (!walk_allowed(m, err, w))
			return walk_fault(m, va, err, PF_P, fault);
		if (!set_ad || walk_set_ad(s, err, w, tables) || attempt == WALK_ATTEMPTS)
			break;
	}
	w->present = true;
	w->pte = w->entry[w->level];
	return true;
}
