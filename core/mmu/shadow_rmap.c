// SPDX-License-Identifier: MIT
// Level-1 shadow entries and the reverse map from guest frames to them: setting, clearing, write protection.
//
// Invariants
//  - An entry is present exactly when its link is in the list of the guest frame it maps.
//  - No entry maps a frame writable that is watched or shadowed as a page table; frame.writable is false only if no entry
//    maps it writable.
#include "core/mmu/shadow_private.h"

#define LIFT_MAX 4 // entries that get their write right back at once when protection is lifted; others by a fault

// The entry that maps ppn with at most these rights (PTE_W, PTE_U, PTE_NX), 0 where there is nothing to map.
u64 leaf_compute(struct shadow *s, ppn_t ppn, u64 rights)
{
	struct frame *f = frame_of(s, ppn);
	mpn_t mpn = MPN_NONE;
	enum p2m_type type;
	u64 e;

	if (!f)
		return 0;
	type = s->ports->p2m(s->ctx, ppn, &mpn);
	if (type != P2M_RAM && type != P2M_ROM)
		return 0;
	e = mpn << PAGE_SHIFT | PTE_P | PTE_A | (rights & (PTE_U | PTE_NX));
	if ((rights & PTE_W) && type == P2M_RAM && (!frame_protected(f) || (s->plant & PLANT_SKIP_PROTECT)))
		e |= PTE_W | PTE_D;
	return e;
}

// List head that the first link names.
static u32 *rmap_head(struct shadow *s, const struct table *t, unsigned slot)
{
	u32 prev = t->link[slot].prev;

	return prev & REF_HEAD ? &s->frames[prev & ~REF_HEAD].rmap : NULL;
}

void leaf_set(struct shadow *s, struct table *t, unsigned slot, ppn_t ppn, u64 entry)
{
	struct frame *f = frame_of(s, ppn);
	u32 ref = ref_make(table_index(s, t), slot);

	assert(t->level == 1 && f && (entry & PTE_P));
	if (entry_live(t->entry[slot]))
		table_list_remove(s, rmap_head(s, t, slot), ref);
	else
		t->live++;
	table_list_push(s, &f->rmap, (u32)ppn, ref);
	if (entry & PTE_W)
		f->writable = true;
	entry_store(t, slot, entry);
}

void leaf_clear(struct shadow *s, struct table *t, unsigned slot)
{
	assert(t->level == 1 && t->live && entry_live(t->entry[slot]));
	entry_store(t, slot, 0);
	table_list_remove(s, rmap_head(s, t, slot), ref_make(table_index(s, t), slot));
	t->live--;
}

// Takes the write right from every entry that maps the frame.
void frame_protect(struct shadow *s, struct frame *f)
{
	if (!f->writable || (s->plant & PLANT_SKIP_PROTECT))
		return;
	for (u32 ref = f->rmap; ref; ref = ref_table(s, ref)->link[ref_slot(ref)].next) {
		struct table *t = ref_table(s, ref);
		unsigned slot = ref_slot(ref);

		if (!(t->entry[slot] & PTE_W))
			continue;
		entry_store(t, slot, t->entry[slot] & ~(PTE_W | PTE_D));
		table_flush(s, t, slot);
	}
	f->writable = false;
}

// Protection is gone: the first few mappings get writable again where the guest's entry lets them. The frame is likely to be
// written at once (a freed page table that is cleared for its next use), so this saves a fault.
void frame_lift(struct shadow *s, struct frame *f)
{
	ppn_t ppn = (ppn_t)(f - s->frames);
	u32 ref = f->rmap;

	assert(!frame_protected(f));
	for (unsigned n = 0; ref && n < LIFT_MAX; n++, ref = ref_table(s, ref)->link[ref_slot(ref)].next) {
		struct table *t = ref_table(s, ref);
		unsigned slot = ref_slot(ref);
		const u64 *guest = t->direct ? NULL : walk_table(s, t->ppn);
		const u64 need = PTE_P | PTE_A | PTE_W | PTE_D;
		u64 rights = PTE_W | PTE_U;
		u64 e;

		if (!t->direct) {
			// A write that is just being reported may have changed the entry: then its own update decides.
			if (!guest || (guest[slot] & need) != need || (guest[slot] & PTE_ADDR) >> PAGE_SHIFT != ppn)
				continue;
			rights = guest[slot] & (PTE_W | PTE_U | PTE_NX);
		}
		e = leaf_compute(s, ppn, rights);
		if (!(e & PTE_W) || (e | PTE_W | PTE_D) != (t->entry[slot] | PTE_W | PTE_D))
			continue;
		f->writable = true;
		entry_store(t, slot, e);
	}
}

void shadow_watch(struct shadow *s, ppn_t ppn, enum shadow_watch why)
{
	struct frame *f = frame_of(s, ppn);

	if (!f)
		return;
	f->watch |= (u8)why;
	frame_protect(s, f);
}

void shadow_unwatch(struct shadow *s, ppn_t ppn, enum shadow_watch why)
{
	struct frame *f = frame_of(s, ppn);

	if (!f || !(f->watch & why))
		return;
	f->watch &= (u8)~why;
	if (!frame_protected(f))
		frame_lift(s, f);
}

unsigned shadow_watched(const struct shadow *s, ppn_t ppn)
{
	const struct frame *f = frame_of(s, ppn);

	return f ? f->watch : 0;
}

bool shadow_is_table(const struct shadow *s, ppn_t ppn)
{
	const struct frame *f = frame_of(s, ppn);

	return f && f->tables;
}

void shadow_drop_frame(struct shadow *s, ppn_t ppn)
{
	struct frame *f = frame_of(s, ppn);

	if (!f)
		return;
	while (f->rmap) {
		struct table *t = ref_table(s, f->rmap);
		unsigned slot = ref_slot(f->rmap);

		leaf_clear(s, t, slot);
		table_flush(s, t, slot);
	}
	f->writable = false;
	if (f->tables)
		sync_unshadow(s, f);
}
