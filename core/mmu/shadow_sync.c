// SPDX-License-Identifier: MIT
// Keeping shadow entries equal to the guest's: recomputing one, serving writes to guest tables, and telling when a frame is
// no page table any more.
//
// A reported write updates the entries it touched at once (a new entry whose A is set is filled: that saves its first
// fault). What does not look like the update of an entry, or comes in a row with no use of the table between (fork,
// exit, mprotect), drops the shadow instead: the frame becomes writable, later faults rebuild the table with prefetch.
#include "core/mmu/shadow_private.h"

#define ENTRY_AD (PTE_P | PTE_A)

bool sync_leaf(struct shadow *s, struct table *t, unsigned slot, const u64 *guest)
{
	u64 old = entry_live(t->entry[slot]), now = 0;
	ppn_t ppn = t->ppn + slot;
	bool absent = false;

	assert_slow(t->level == 1 && t->direct == !guest);
	if (t->direct) {
		now = leaf_compute(s, ppn, PTE_W | PTE_U);
	} else {
		u64 e = __atomic_load_n(&guest[slot], __ATOMIC_RELAXED);

		absent = !(e & PTE_P);
		if ((e & ENTRY_AD) == ENTRY_AD && !(e & walk_reserved(s, s->nx, e, 1))) {
			u64 rights = e & (PTE_W | PTE_U | PTE_NX);

			if (!(e & PTE_D) && !(s->plant & PLANT_IGNORE_DIRTY))
				rights &= ~PTE_W;
			ppn = (e & PTE_ADDR) >> PAGE_SHIFT;
			now = leaf_compute(s, ppn, rights);
			if (now && s->markers && !((s->plant & PLANT_READ_ONLY ? now : e) & PTE_W))
				now |= ENTRY_READ_ONLY;
		}
	}
	if (old && !now && (s->plant & PLANT_STALE_ENTRY))
		return true;
	if (now)
		leaf_set(s, t, slot, ppn, now); // even when equal: two guest frames may share one of the machine's
	else if (old)
		leaf_clear(s, t, slot);
	if (!now && t->markers)
		entry_store(t, slot, absent ? ENTRY_MARKER : 0);
	if (entry_reduced(old, now))
		table_flush(s, t, slot);
	return now;
}

u64 sync_upper_rights(u64 guest_entry, unsigned level)
{
	u64 rights = guest_entry & (PTE_W | PTE_U | PTE_NX);

	// The dirty bit of a large page holds for all its pieces.
	if (entry_is_leaf(guest_entry, level) && !(guest_entry & PTE_D))
		rights &= ~PTE_W;
	return rights;
}

// A higher entry was written: it stays while it leads to the same table. New ones wait for a fault.
static void sync_upper(struct shadow *s, struct table *t, unsigned slot, u64 guest)
{
	u64 old = t->entry[slot];

	if (!old || slot_is_ours(t, slot))
		return;
	if ((guest & ENTRY_AD) == ENTRY_AD && !(guest & walk_reserved(s, s->nx, guest, t->level))) {
		bool large = entry_is_leaf(guest, t->level);
		struct table *child = table_find(s, entry_ppn(guest, t->level), t->level - 1u, large);

		if (child && child->mpn == (old & PTE_ADDR) >> PAGE_SHIFT) {
			table_link(s, t, slot, child, sync_upper_rights(guest, t->level));
			return;
		}
	}
	if (s->plant & PLANT_STALE_ENTRY)
		return;
	table_unlink(s, t, slot);
	table_flush(s, t, slot);
}

// Drops every shadow of the frame. The root in use only loses its entries.
void sync_unshadow(struct shadow *s, struct frame *f)
{
	u32 i = f->tables;

	s->stats.unshadowed++;
	while (i) {
		struct table *t = &s->tables[i];

		if (i == s->current) {
			table_clear(s, t);
			if (f->tables == i && !t->frame_next)
				break;
			// Clearing a root that leads to itself has released others of this frame: look again.
			i = f->tables == i ? t->frame_next : f->tables;
			continue;
		}
		table_release(s, t);
		i = f->tables;
	}
	s->ports->flush(s->ctx, VA_ALL);
}

static bool only_current(const struct shadow *s, const struct frame *f)
{
	return f->tables == s->current && !s->tables[f->tables].frame_next;
}

// Entries that no operating system writes on purpose: reserved bits, or no memory and no device there.
static bool entry_implausible(struct shadow *s, u64 e, unsigned level)
{
	mpn_t mpn;

	if (!(e & PTE_P))
		return false;
	return (e & walk_reserved(s, s->nx, e, level)) || s->ports->p2m(s->ctx, entry_ppn(e, level), &mpn) == P2M_NONE;
}

// Is this write the end of the frame as a page table?
static bool write_unshadows(struct shadow *s, struct frame *f, const u64 *guest, unsigned offset, unsigned len)
{
	unsigned slot = offset / sizeof(u64);
	bool flooded = false, row;

	if (only_current(s, f))
		return false;
	if (!guest || offset % sizeof(u64) + len > sizeof(u64))
		return true;
	for (u32 i = f->tables; i; i = s->tables[i].frame_next)
		if (i == s->current)
			return false;
	for (u32 i = f->tables; i; i = s->tables[i].frame_next) {
		struct table *t = &s->tables[i];

		if (t->uses != s->uses)
			table_in_use(s, t);
		// The same entry set and cleared again and again (text patching, mprotect) is no tearing down, but not worth a
		// crossing each either.
		t->writes = (u16)MIN(t->writes + (t->writes && t->last_write == slot ? 1u : OTHER_ENTRY), UINT16_MAX);
		t->last_write = (u16)slot;
		row = row_begins(s, t, slot, guest);
		s->stats.guesses += row;
		flooded |= row || t->writes > OTHER_ENTRY * (t->level == 1 ? s->flood : s->flood * UPPER_FLOOD) ||
			   entry_implausible(s, guest[slot], t->level);
	}
	return flooded;
}

void shadow_used(struct shadow *s)
{
	s->uses++;
	s->fills_guessed = false;
}

static bool frame_is_upper(const struct shadow *s, const struct frame *f)
{
	for (u32 i = f->tables; i; i = s->tables[i].frame_next)
		if (s->tables[i].level > 1)
			return true;
	return false;
}

static void written_in_frame(struct shadow *s, ppn_t ppn, unsigned offset, unsigned len)
{
	struct frame *f = frame_of(s, ppn);
	unsigned first = offset / sizeof(u64), last = (offset + len - 1) / sizeof(u64);
	const u64 *guest;

	if (!f || !f->tables)
		return;
	s->stats.pte_writes++;
	s->upper_changes += frame_is_upper(s, f);
	guest = walk_table(s, ppn);
	if (!guest || write_unshadows(s, f, guest, offset, len)) {
		sync_unshadow(s, f);
		return;
	}
	// By level, downwards, looked up anew each time: an update may release tables below, this frame's among them.
	for (unsigned level = 4; level > 0; level--) {
		struct table *t = table_find(s, ppn, level, false);

		for (unsigned slot = first; t && slot <= last; slot++) {
			if (level == 1)
				(void)sync_leaf(s, t, slot, guest);
			else
				sync_upper(s, t, slot, __atomic_load_n(&guest[slot], __ATOMIC_RELAXED));
		}
	}
}

void shadow_written(struct shadow *s, u64 gpa, unsigned len)
{
	while (len) {
		unsigned offset = gpa & PAGE_MASK;
		unsigned here = MIN(len, (unsigned)PAGE_SIZE - offset);

		written_in_frame(s, gpa >> PAGE_SHIFT, offset, here);
		gpa += here;
		len -= here;
	}
}
