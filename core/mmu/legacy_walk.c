// SPDX-License-Identifier: MIT
// The walk of guests that page without long mode (SDM 3A 4.3, 4.4): two levels with 4 MiB pages (PSE), or PAE's three. No shadow
// is built for them: the emulator runs them and walks at each access, so nothing is cached and nothing can be stale.
//
// The four entries of PAE's top level are read at each walk, as AMD's processors and QEMU do; Intel's keep them in registers
// from the load of CR3 on. Table frames may still have shadows of an earlier time in long mode: those are told of A and D.
#include "core/mmu/shadow_private.h"

#define WALK_ATTEMPTS 1000
#define HIGH_BITS (0x7ffull << 52) // of a PAE entry: 52 to 62 are reserved, not the system's
#define PSE_RESERVED BIT(21)
#define PSE_HIGH 0x1fe000ull // bits 32 to 39 of a 4 MiB page's address

static bool read_entry(const struct shadow *s, u64 gpa, bool wide, u64 *entry)
{
	const u8 *table = (const u8 *)walk_table(s, gpa >> PAGE_SHIFT);

	if (!table)
		return false;
	*entry = wide ? __atomic_load_n((const u64 *)(table + (gpa & PAGE_MASK)), __ATOMIC_RELAXED)
		      : __atomic_load_n((const u32 *)(table + (gpa & PAGE_MASK)), __ATOMIC_RELAXED);
	return true;
}

static bool large(const struct mmu_mode *m, u64 e, unsigned level)
{
	return level == 2 && (e & PTE_PS) && (m->paging == PAGING_PAE || m->pse);
}

static u64 reserved(const struct shadow *s, const struct mmu_mode *m, u64 e, unsigned level)
{
	u64 mask;

	if (m->paging == PAGING_32)
		return large(m, e, level) ? PSE_RESERVED : 0;
	mask = s->addr_reserved | HIGH_BITS | (m->nx && level < 3 ? 0 : PTE_NX);
	if (large(m, e, level)) // bit 12 is PAT
		mask |= (BIT(21) - 1) & ~(BIT(13) - 1);
	return mask;
}

static u64 leaf_base(const struct mmu_mode *m, u64 e, unsigned level)
{
	if (m->paging == PAGING_PAE)
		return e & PTE_ADDR & ~(level == 2 ? BIT(21) - 1 : PAGE_MASK);
	if (level == 1)
		return e & ~(u64)PAGE_MASK;
	return (e & ~(BIT(22) - 1)) | (e & PSE_HIGH) << 19;
}

static u64 entry_place(const struct mmu_mode *m, u64 table, u64 va, unsigned level)
{
	if (m->paging == PAGING_PAE)
		return table + (va >> (12 + 9 * (level - 1)) & (level == 3 ? 3 : 511)) * 8;
	return table + (va >> (12 + 10 * (level - 1)) & 1023) * 4;
}

// False: *cause says why.
static bool legacy_read(const struct shadow *s, const struct mmu_mode *m, u64 va, struct guest_walk *w, u32 *cause)
{
	bool wide = m->paging == PAGING_PAE;
	u64 table = wide ? m->cr3 & 0xffffffe0 : m->cr3 & 0xfffff000;

	w->writable = w->user = true;
	for (unsigned level = wide ? 3 : 2;; level--) {
		u64 gpa = entry_place(m, table, va, level), e = ~0ull;

		w->level = level;
		w->entry_gpa[level] = gpa;
		if (!read_entry(s, gpa, wide, &e) && !wide)
			e = 0xffffffff;
		w->entry[level] = e;
		*cause = 0;
		if (!(e & PTE_P))
			return false;
		*cause = PF_P | PF_RSVD;
		if (e & reserved(s, m, e, level))
			return false;
		if (level < 3) { // the top level of PAE has no rights
			w->writable &= !!(e & PTE_W);
			w->user &= !!(e & PTE_U);
			w->nx |= wide && (e & PTE_NX);
		}
		if (level == 1 || large(m, e, level)) {
			w->gpa = leaf_base(m, e, level) | (va & ((level == 1 ? BIT(12)
								  : wide     ? BIT(21)
									     : BIT(22)) -
								 1));
			return true;
		}
		table = wide ? e & PTE_ADDR : e & 0xfffff000;
	}
}

// Sets A on the path and D on its leaf. False: an entry has changed since it was read.
static bool legacy_set_ad(struct shadow *s, const struct mmu_mode *m, u32 err, struct guest_walk *w)
{
	bool wide = m->paging == PAGING_PAE;

	for (unsigned level = 2; level >= w->level; level--) {
		u64 gpa = w->entry_gpa[level], old = w->entry[level];
		u64 want = old | PTE_A | (level == w->level && (err & PF_W) ? PTE_D : 0);
		u8 *at;
		mpn_t mpn;
		bool same;

		if (want == old || s->ports->p2m(s->ctx, gpa >> PAGE_SHIFT, &mpn) != P2M_RAM)
			continue;
		at = (u8 *)s->ports->map(s->ctx, mpn) + (gpa & PAGE_MASK);
		if (wide) {
			same = __atomic_compare_exchange_n((u64 *)at, &old, want, false, __ATOMIC_SEQ_CST,
							   __ATOMIC_RELAXED);
		} else {
			u32 narrow = (u32)old;

			same = __atomic_compare_exchange_n((u32 *)at, &narrow, (u32)want, false, __ATOMIC_SEQ_CST,
							   __ATOMIC_RELAXED);
		}
		if (!same)
			return false;
		if (unlikely(shadow_is_table(s, gpa >> PAGE_SHIFT)))
			shadow_written(s, gpa, wide ? 8 : 4);
		w->entry[level] = want;
		// A directory that points to itself is its own table: its entry is as we have just written it.
		if (level > w->level && w->entry_gpa[w->level] == gpa)
			w->entry[w->level] = want;
	}
	return true;
}

bool legacy_translate(struct shadow *s, const struct mmu_mode *m, u64 va, u32 err, bool set_ad, struct guest_walk *w,
		      struct x86_fault *fault)
{
	va = (u32)va;
	for (unsigned attempt = 0;; attempt++) {
		u32 cause = 0;

		*w = (struct guest_walk){0};
		if (m->paging == PAGING_OFF) {
			*w = (struct guest_walk){
				.present = true, .level = 1, .gpa = va, .writable = true, .user = true};
			return true;
		}
		if (!legacy_read(s, m, va, w, &cause))
			return walk_fault(m, va, err, cause, fault);
		if (!walk_allowed(m, err, w))
			return walk_fault(m, va, err, PF_P, fault);
		if (!set_ad || legacy_set_ad(s, m, err, w) || attempt == WALK_ATTEMPTS)
			break;
	}
	w->pte_gpa = w->entry_gpa[w->level];
	w->present = true;
	w->pte = w->entry[w->level];
	return true;
}
