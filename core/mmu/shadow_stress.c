// SPDX-License-Identifier: MIT
// The stress mode (mmu.stress=N): an emulated machine hides stale TLB entries, so this looks for them in the shadow itself.
// Before an entry of a guest everything reachable from its root is copied; before the next, each entry of those tables
// that has lost a right since must be covered by a flush that was announced through the port in between.
//
// Invariant: what the machine can have cached at an exit is what was reachable from the root at the entry before, or has been
// added since by nobody (the guest was running); a change of the root by the gate flushes everything, then there is nothing
// to compare (the caller says so).
#include "core/mmu/shadow_private.h"

#define STRESS_TABLES 1024u // reachable tables that are followed; more are left out, and counted

struct stress {
	u32 count, table[STRESS_TABLES], left_out;
	u32 flushes;
	bool all; // everything was flushed
	u64 flushed[SHADOW_STRESS_FLUSHES];
	u64 checks, entries_reduced;
	u64 va[STRESS_TABLES]; // where the table was, or VA_ALL: at more addresses than one
	u64 copy[STRESS_TABLES][SLOTS];
};

size_t shadow_stress_size(void)
{
	return sizeof(struct stress);
}

void shadow_stress_flushed(void *memory, u64 va)
{
	struct stress *st = memory;

	if (va == VA_ALL || st->flushes == SHADOW_STRESS_FLUSHES)
		st->all = true;
	else
		st->flushed[st->flushes++] = va;
}

static bool followed(const struct stress *st, u32 index)
{
	for (u32 i = 0; i < st->count; i++)
		if (st->table[i] == index)
			return true;
	return false;
}

static void follow(struct shadow *s, struct stress *st, struct table *t)
{
	u32 index = table_index(s, t);

	if (followed(st, index))
		return;
	if (st->count == STRESS_TABLES) {
		st->left_out++;
		return;
	}
	memcpy(st->copy[st->count], t->entry, PAGE_SIZE);
	st->va[st->count] = t->multi || t->level > 1 ? VA_ALL : t->va;
	st->table[st->count++] = index;
	for (unsigned slot = 0; t->level > 1 && slot < SLOTS; slot++)
		if ((t->entry[slot] & PTE_P) && !slot_is_ours(t, slot))
			follow(s, st, table_by_mpn(s, (t->entry[slot] & PTE_ADDR) >> PAGE_SHIFT));
}

void shadow_stress_begin(struct shadow *s, void *memory)
{
	struct stress *st = memory;

	st->count = st->flushes = 0;
	st->all = false;
	if (s->current)
		follow(s, st, &s->tables[s->current]);
}

// By the addresses at which the machine saw the table: it may have got more since, which no TLB knows.
static bool covered(const struct stress *st, u32 i, unsigned slot)
{
	u64 va = st->va[i] | (u64)slot << PAGE_SHIFT;

	if (st->va[i] == VA_ALL)
		return false;
	for (u32 k = 0; k < st->flushes; k++)
		if (!((st->flushed[k] ^ va) << (64 - VA_BITS) >> (64 - VA_BITS) >> PAGE_SHIFT))
			return true;
	return false;
}

unsigned shadow_stress_check(struct shadow *s, void *memory, void (*report)(void *ctx, u64 va, u64 old, u64 now), void *ctx)
{
	struct stress *st = memory;
	unsigned bad = 0;

	st->checks++;
	if (st->all || !st->count || st->table[0] != s->current) // a CR3 load flushes everything
		return 0;
	for (u32 i = 0; i < st->count; i++) {
		const struct table *t = &s->tables[st->table[i]];

		for (unsigned slot = 0; slot < SLOTS; slot++) {
			u64 old = entry_live(st->copy[i][slot]), now = entry_live(t->entry[slot]);

			if (old == now || !entry_reduced(old, now))
				continue;
			st->entries_reduced++;
			if (covered(st, i, slot))
				continue;
			bad++;
			report(ctx, t->level ? t->va | (u64)slot << level_shift(t->level) : 0, old, now);
		}
	}
	return bad;
}

void shadow_stress_counts(const void *memory, u64 *checks, u64 *reduced)
{
	const struct stress *st = memory;

	*checks = st->checks;
	*reduced = st->entries_reduced;
}
