// SPDX-License-Identifier: MIT
// Leaf tables out of sync: a level-1 guest table that is written in a row becomes writable for the guest; its shadow
// follows at the next INVLPG (that entry), CR3 load or full flush. Stale entries are then what a TLB may still hold.
//
// Each unsynced table has a place with a copy of the guest's table: copy[slot] is the guest's entry that the shadow's
// was computed from, so bringing in is comparing two pages.
//
// Invariants
//  - Only a frame that is one level-1 table and nothing else is unsynced: no other level, nobody watching.
//  - A stale entry grants no more than the copy's entry. What a guest may not do by a stale entry on a machine (reach it by
//    a path, or with rights of higher levels, that came later) it may not do here: such changes bring all tables in first.
//  - Everything but the guest's own stores (P2M, protection, watches) reaches stale entries by the reverse map at once.
#include "core/mmu/shadow_private.h"

// Brings in what has changed. Returns how many entries.
static unsigned oos_bring_in(struct shadow *s, struct table *t)
{
	const u64 *copy = oos_copy(s, t), *guest = walk_table(s, t->ppn);
	unsigned changed = 0;

	assert(guest); // a frame that goes away is unshadowed
	for (unsigned at = 0; at < SLOTS; at += 8) {
		const u64 *g = guest + at, *c = copy + at;

		if (!((g[0] ^ c[0]) | (g[1] ^ c[1]) | (g[2] ^ c[2]) | (g[3] ^ c[3]) | (g[4] ^ c[4]) | (g[5] ^ c[5]) |
		      (g[6] ^ c[6]) | (g[7] ^ c[7])))
			continue;
		for (unsigned slot = at; slot < at + 8; slot++)
			if (guest[slot] != copy[slot]) {
				sync_leaf(s, t, slot, guest);
				changed++;
			}
	}
	return changed;
}

void oos_forget(struct shadow *s, struct table *t)
{
	s->oos[t->unsynced - 1u] = 0;
	s->oos_count--;
	frame_of(s, t->ppn)->unsynced = false;
	t->unsynced = 0;
}

// In sync again and protected.
void oos_end(struct shadow *s, struct table *t)
{
	struct frame *f = frame_of(s, t->ppn);
	struct site *site = &s->sites[t->row_site];

	if (oos_bring_in(s, t) < 2 && t->guessed)
		site->rows -= (u8)MIN(site->rows, SITE_STEP);
	oos_forget(s, t);
	table_in_use(s, t);
	if (!(s->plant & PLANT_SKIP_REPROTECT))
		frame_protect(s, f);
	if (t->remark)
		table_mark(s, t);
}

// Is this the first write of a row? Of a row that takes rights away if those of this instruction were; of one that fills entries if
// it is for another page than the one that the guest has a fault of.
static bool oos_guess(struct shadow *s, struct table *t, unsigned slot, const u64 *guest)
{
	if (t->uses == s->uses && t->row && slot == t->last_leaf) // cleared and set: one entry
		return false;
	if (entry_live(t->entry[slot]))
		return s->sites[s->site].rows >= SITE_SURE;
	return !(guest[slot] & PTE_P) && !t->multi && t->va < BIT(VA_BITS - 1) && slot != va_slot(s->fault_va, 1) &&
	       !((t->va ^ s->fault_va) >> level_shift(2));
}

// Does it go on with what the last ones did: taking rights away, or filling the entry after the last one?
static bool oos_row(struct shadow *s, const struct table *t, unsigned slot)
{
	struct site *site = &s->sites[t->row_site];

	if (t->uses != s->uses || t->row < s->oos_after || slot == t->last_leaf)
		return false;
	if (t->row_fills)
		return slot == t->last_leaf + 1u;
	site->waiting = false;
	site->rows = (u8)MIN(site->rows + SITE_STEP, SITE_MAX);
	return true;
}

bool oos_start(struct shadow *s, struct frame *f, u64 gpa)
{
	struct table *t = &s->tables[f->tables];
	unsigned slot = gpa / sizeof(u64) % SLOTS, place;
	const u64 *guest;

	if (!s->oos_max || !f->tables || f->watch || t->frame_next || t->level != 1)
		return false;
	guest = walk_table(s, t->ppn);
	if (!guest)
		return false;
	t->guessed = false;
	if (!oos_row(s, t, slot)) {
		if (!oos_guess(s, t, slot, guest))
			return false;
		t->guessed = entry_live(t->entry[slot]);
		t->row_site = s->site;
	}
	if (s->oos_count < s->oos_max) {
		for (place = 0; s->oos[place]; place++)
			;
	} else {
		place = s->oos_next++ % s->oos_max;
		oos_end(s, &s->tables[s->oos[place]]);
	}
	s->oos[place] = table_index(s, t);
	s->oos_count++;
	t->unsynced = (u8)(place + 1);
	f->unsynced = true;
	t->remark = t->markers;
	if (!(s->plant & PLANT_KEEP_MARKERS))
		table_unmark(t);
	memcpy(oos_copy(s, t), guest, PAGE_SIZE);
	s->stats.unsyncs++;
	return true;
}

// All are brought in. At a sync point they are protected again: until they are, no CR3 load can be the gate's own, which costs
// more than their next faults.
void oos_sync(struct shadow *s, bool point)
{
	u32 left = s->oos_count;

	if (point && (s->plant & PLANT_SKIP_SYNC))
		return;
	for (unsigned place = 0; left; place++) {
		struct table *t = &s->tables[s->oos[place]];

		if (!s->oos[place])
			continue;
		left--;
		s->stats.resyncs++;
		if (point)
			oos_end(s, t);
		else
			oos_bring_in(s, t);
	}
}

void shadow_invlpg(struct shadow *s)
{
	if (!(s->plant & PLANT_SKIP_INVLPG))
		oos_sync(s, true);
}
