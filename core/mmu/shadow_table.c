// SPDX-License-Identifier: MIT
// Shadow tables: look-up, links between parents and children, release, eviction.
//
// Invariants
//  - A table below level 4 has at least one parent entry; when the last goes, so does the table. Roots (level 4) have no
//    parents; they live in the LRU list until they are evicted or their guest frame is no page table any more.
//  - Every path to a table that is not `multi` has the address table.va.
//  - The entries of an unused table that kept its frames are all zero.
#include "core/mmu/shadow_private.h"

static u32 bucket(const struct shadow *s, u64 key)
{
	return (u32)(key * 0x9e3779b97f4a7c15ull >> (64 - s->bucket_bits));
}

static u32 *key_bucket(struct shadow *s, ppn_t ppn, unsigned level, bool direct)
{
	return &s->by_key[bucket(s, ppn << 4 | level << 1 | direct)];
}

struct table *table_find(struct shadow *s, ppn_t ppn, unsigned level, bool direct)
{
	for (u32 i = *key_bucket(s, ppn, level, direct); i; i = s->tables[i].next) {
		struct table *t = &s->tables[i];

		if (t->ppn == ppn && t->level == level && t->direct == direct)
			return t;
	}
	return NULL;
}

struct table *table_by_mpn(struct shadow *s, mpn_t mpn)
{
	for (u32 i = s->by_mpn[bucket(s, mpn)]; i; i = s->tables[i].mpn_next)
		if (s->tables[i].mpn == mpn)
			return &s->tables[i];
	panic("shadow: machine frame %lx is no table", (unsigned long)mpn);
}

// Lists of entries by their links. `owner` is found again by whoever removes the first one.
void table_list_push(struct shadow *s, u32 *head, u32 owner, u32 ref)
{
	struct link *l = &ref_table(s, ref)->link[ref_slot(ref)];

	l->next = *head;
	l->prev = REF_HEAD | owner;
	if (*head)
		ref_table(s, *head)->link[ref_slot(*head)].prev = ref;
	*head = ref;
}

void table_list_remove(struct shadow *s, u32 *head_if_first, u32 ref)
{
	struct link *l = &ref_table(s, ref)->link[ref_slot(ref)];

	if (l->prev & REF_HEAD) {
		assert(*head_if_first == ref);
		*head_if_first = l->next;
	} else {
		ref_table(s, l->prev)->link[ref_slot(l->prev)].next = l->next;
	}
	if (l->next)
		ref_table(s, l->next)->link[ref_slot(l->next)].prev = l->prev;
}

void table_flush(struct shadow *s, const struct table *t, unsigned slot)
{
	u64 va = t->va | (u64)slot << level_shift(t->level);

	if (unlikely(s->plant & PLANT_NO_FLUSH))
		return;
	if (t->multi || t->level > 1)
		s->ports->flush(s->ctx, VA_ALL);
	else
		s->ports->flush(s->ctx, (u64)((s64)(va << (64 - VA_BITS)) >> (64 - VA_BITS)));
}

static void lru_remove(struct shadow *s, struct table *t)
{
	if (t->lru_prev)
		s->tables[t->lru_prev].lru_next = t->lru_next;
	else
		s->lru_head = t->lru_next;
	if (t->lru_next)
		s->tables[t->lru_next].lru_prev = t->lru_prev;
	else
		s->lru_tail = t->lru_prev;
}

static void lru_push(struct shadow *s, struct table *t)
{
	u32 i = table_index(s, t);

	t->lru_prev = 0;
	t->lru_next = s->lru_head;
	if (s->lru_head)
		s->tables[s->lru_head].lru_prev = i;
	else
		s->lru_tail = i;
	s->lru_head = i;
}

void table_used(struct shadow *s, struct table *t)
{
	lru_remove(s, t);
	lru_push(s, t);
}

static void table_mark_multi(struct shadow *s, struct table *t)
{
	if (t->multi)
		return;
	t->multi = true;
	if (t->level == 1)
		return;
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (t->entry[slot])
			table_mark_multi(s, table_by_mpn(s, (t->entry[slot] & PTE_ADDR) >> PAGE_SHIFT));
}

void table_link(struct shadow *s, struct table *t, unsigned slot, struct table *child, u64 rights)
{
	u64 va = t->va | (u64)slot << level_shift(t->level);
	u64 old = t->entry[slot], want = child->mpn << PAGE_SHIFT | PTE_P | PTE_A | rights;
	bool fresh;

	assert(t->level == child->level + 1u && !slot_is_ours(t, slot));
	if (old == want)
		return;
	if (old && !((old ^ want) & PTE_ADDR)) {
		entry_store(t, slot, want);
		if (entry_reduced(old, want))
			table_flush(s, t, slot);
		return;
	}
	fresh = !child->refs++; // counted first, so that the child survives the removal of what was there
	if (old) {
		table_unlink(s, t, slot);
		table_flush(s, t, slot);
	}
	if (fresh) {
		child->va = va;
		child->multi = t->multi;
	} else if (t->multi || child->va != va) {
		table_mark_multi(s, child);
	}
	table_list_push(s, &child->parents, table_index(s, child), ref_make(table_index(s, t), slot));
	t->live++;
	entry_store(t, slot, want);
}

// Removes the entry alone.
static struct table *table_detach(struct shadow *s, struct table *t, unsigned slot)
{
	struct table *child = table_by_mpn(s, (t->entry[slot] & PTE_ADDR) >> PAGE_SHIFT);

	assert(child->refs && t->live);
	entry_store(t, slot, 0);
	table_list_remove(s, &child->parents, ref_make(table_index(s, t), slot));
	child->refs--;
	t->live--;
	return child;
}

void table_unlink(struct shadow *s, struct table *t, unsigned slot)
{
	struct table *child = table_detach(s, t, slot);

	if (!child->refs)
		table_release(s, child);
}

void table_clear(struct shadow *s, struct table *t)
{
	for (unsigned slot = 0; slot < SLOTS && t->live; slot++) {
		if (!entry_live(t->entry[slot]) || slot_is_ours(t, slot))
			continue;
		if (t->level == 1)
			leaf_clear(s, t, slot);
		else
			table_unlink(s, t, slot);
	}
	assert(!t->live);
	table_unmark(t);
}

// No entry of the table promises a guest fault any more.
void table_unmark(struct table *t)
{
	for (unsigned slot = 0; slot < SLOTS && t->markers; slot++)
		if (t->entry[slot] == ENTRY_MARKER)
			entry_store(t, slot, 0);
	t->markers = false;
}

// Every entry that the guest has not present says so from now on, until the table is let go.
void table_mark(struct shadow *s, struct table *t)
{
	const u64 *guest = walk_table(s, t->ppn);

	if (t->markers || t->direct || t->level != 1 || !guest)
		return;
	t->markers = true;
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (!t->entry[slot] && !(guest[slot] & PTE_P))
			entry_store(t, slot, ENTRY_MARKER);
}

// What was written to the guest's table so far was not the beginning of its end.
void table_in_use(struct shadow *s, struct table *t)
{
	t->writes = 0;
	t->in_row = false;
	t->uses = s->uses;
}

static void chain_remove(u32 *head, struct shadow *s, struct table *t, size_t next)
{
	u32 i = table_index(s, t), *at = head;

	while (*at != i) {
		assert(*at);
		at = (u32 *)((char *)&s->tables[*at] + next);
	}
	*at = *(u32 *)((char *)t + next);
}

// Gives an unused table's frames back and makes the descriptor cold.
static void table_cool(struct shadow *s, struct table *t)
{
	chain_remove(&s->by_mpn[bucket(s, t->mpn)], s, t, offsetof(struct table, mpn_next));
	s->ports->free(s->ctx, t->mpn);
	s->ports->free(s->ctx, t->link_mpn);
	t->next = s->cold;
	s->cold = table_index(s, t);
	s->cold_count++;
}

// The caller flushes when the machine may have cached something of it.
void table_release(struct shadow *s, struct table *t)
{
	struct frame *f = t->direct ? NULL : frame_of(s, t->ppn);

	assert(table_index(s, t) != s->current);
	for (u32 bound = t->refs; t->parents; bound--) {
		assert(bound);
		table_detach(s, ref_table(s, t->parents), ref_slot(t->parents));
	}
	table_clear(s, t);
	if (t->level == 4) {
		entry_store(t, GATE_SLOT, 0);
		entry_store(t, WINDOW_SLOT, 0);
		s->roots_gone++;
		s->root_gone = t->mpn;
		lru_remove(s, t);
	}
	chain_remove(key_bucket(s, t->ppn, t->level, t->direct), s, t, offsetof(struct table, next));
	if (f)
		chain_remove(&f->tables, s, t, offsetof(struct table, frame_next));
	s->upper_changes += t->level > 1;
	t->level = 0;
	s->stats.tables--;
	if (s->warm_count < WARM_MAX) {
		t->next = s->warm;
		s->warm = table_index(s, t);
		s->warm_count++;
	} else {
		table_cool(s, t);
	}
	if (f && !frame_protected(f))
		frame_lift(s, f);
}

// Frees some table if there is one: the root longest unused, at last what hangs below the current root.
static bool table_evict(struct shadow *s)
{
	u32 victim = s->lru_tail;

	if (victim && victim == s->current)
		victim = s->tables[victim].lru_prev;
	if (!victim && (!s->current || !s->tables[s->current].live))
		return false;
	s->stats.evictions++;
	if (victim) {
		frame_of(s, s->tables[victim].ppn)->evicted = true;
		table_release(s, &s->tables[victim]);
	} else {
		table_clear(s, &s->tables[s->current]);
		s->ports->flush(s->ctx, VA_ALL);
	}
	return true;
}

// A root that was evicted is wanted again: what does not fit was in use, so that more is asked for instead of evicting the next.
static void table_missed(struct shadow *s, struct frame *f)
{
	if (!f->evicted)
		return;
	f->evicted = false;
	s->stats.missed++;
	s->needed = MIN(s->needed + MISSED_TABLES, WARM_MAX);
}

// Gives a cold descriptor its frames.
static bool table_warm_up(struct shadow *s)
{
	struct table *t = &s->tables[s->cold];
	bool needed = s->needed || !s->lru_tail || (s->lru_tail == s->current && s->lru_head == s->current);
	u32 *head;
	mpn_t mpn, link_mpn;

	if (!s->cold)
		return false;
	mpn = s->ports->alloc(s->ctx, needed);
	if (mpn == MPN_NONE)
		return false;
	link_mpn = s->ports->alloc(s->ctx, needed);
	if (link_mpn == MPN_NONE) {
		s->ports->free(s->ctx, mpn);
		return false;
	}
	s->needed -= s->needed > 0;
	s->cold = t->next;
	s->cold_count--;
	*t = (struct table){.mpn = mpn, .link_mpn = link_mpn};
	t->entry = s->ports->map(s->ctx, mpn);
	t->link = s->ports->map(s->ctx, link_mpn);
	head = &s->by_mpn[bucket(s, mpn)];
	t->mpn_next = *head;
	*head = table_index(s, t);
	t->next = s->warm;
	s->warm = table_index(s, t);
	s->warm_count++;
	return true;
}

bool table_reserve_free(struct shadow *s, unsigned count)
{
	while (s->warm_count < count)
		if (!table_warm_up(s))
			return false;
	return true;
}

bool table_reserve(struct shadow *s, unsigned count)
{
	while (s->warm_count < count)
		if (!table_warm_up(s) && !table_evict(s))
			return false;
	return true;
}

// Finds the table or takes a reserved one. A guest frame that gets its first table is write-protected here.
struct table *table_get(struct shadow *s, ppn_t ppn, unsigned level, bool direct)
{
	struct table *t = table_find(s, ppn, level, direct);
	struct frame *f = direct ? NULL : frame_of(s, ppn);
	u32 *head = key_bucket(s, ppn, level, direct), i = s->warm;

	if (t)
		return t;
	assert(i && (direct || f));
	t = &s->tables[i];
	assert(!t->level && !t->live && !t->refs && !t->parents);
	s->warm = t->next;
	s->warm_count--;
	*t = (struct table){.ppn = ppn,
			    .mpn = t->mpn,
			    .link_mpn = t->link_mpn,
			    .entry = t->entry,
			    .link = t->link,
			    .mpn_next = t->mpn_next,
			    .next = *head,
			    .level = (u8)level,
			    .direct = direct};
	*head = i;
	if (f && level == 1) {
		const u64 *guest = walk_table(s, ppn);

		if (s->unshadowed_fault == ppn)
			s->unshadowed_fault = NO_PPN;

		if (guest)
			row_check_guess(s, ppn, guest);
	}
	if (f) {
		t->frame_next = f->tables;
		f->tables = i;
		frame_protect(s, f);
		if (level == 4)
			table_missed(s, f);
	}
	if (level == 4) {
		entry_store(t, GATE_SLOT, s->gate_l3 << PAGE_SHIFT | PTE_P | PTE_W | PTE_A);
		entry_store(t, WINDOW_SLOT, t->mpn << PAGE_SHIFT | PTE_P | PTE_A | PTE_NX);
		lru_push(s, t);
		s->stats.roots_built++;
	}
	s->stats.tables++;
	return t;
}
