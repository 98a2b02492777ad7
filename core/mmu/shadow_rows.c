// SPDX-License-Identifier: MIT
// Rows of stores to a leaf table. munmap and exit remove one entry after the other, a file's pages are mapped around a fault; each
// store is a crossing. Such a table is best let go at the first: its shadow is dropped, the guest stores natively, and the next
// fault brings the table back, neighbours included. That a store is the first of a row is a guess:
//  - one that removes an entry, if those of the same instruction were before;
//  - one that fills an entry, if it is not the one that the guest has a fault for, but one beside it; once a fault.
// A guess about a removal is looked at when the table comes back: if the next entry has stayed it was wrong. Guesses cost time at
// most; the shadow is right whatever they say.
#include "core/mmu/shadow_private.h"

#define SITE_SURE 4u
#define SITE_MAX 7u
#define SITE_STEP 2u // up for a row, down for a wrong guess; down by 1 for a store alone

void shadow_hint(struct shadow *s, u64 fault_va, u64 site)
{
	s->fault_va = fault_va;
	s->site = (u16)((site ^ site >> 8) % SITES);
}

static void site_down(struct site *site, unsigned by)
{
	site->rows -= (u8)MIN(site->rows, by);
}

// Notes the guess. Without another entry behind it in the table there is no row.
static bool guess_made(struct shadow *s, const struct table *t, unsigned slot, const u64 *guest)
{
	for (unsigned at = slot + 1; at < SLOTS; at++)
		if (entry_live(t->entry[at])) {
			s->guess[s->guess_next++ % GUESSES] = (struct guess){t->ppn, (u16)at, s->site, guest[at]};
			return true;
		}
	return false;
}

static bool removal_begins_row(struct shadow *s, struct table *t, unsigned slot, const u64 *guest)
{
	struct site *site = &s->sites[t->row_site];

	if (t->in_row && slot != t->row_slot && site->waiting) { // the second: that was a row
		site->waiting = false;
		site->rows = (u8)MIN(site->rows + SITE_STEP, SITE_MAX);
	}
	if (t->in_row)
		return false;
	site = &s->sites[s->site];
	if (site->rows >= SITE_SURE && guess_made(s, t, slot, guest))
		return true;
	if (site->waiting) // the one before from there was alone
		site_down(site, 1);
	site->waiting = true;
	t->in_row = true;
	t->row_slot = (u16)slot;
	t->row_site = s->site;
	return false;
}

bool row_begins(struct shadow *s, struct table *t, unsigned slot, const u64 *guest)
{
	u64 old = entry_live(t->entry[slot]), now = __atomic_load_n(&guest[slot], __ATOMIC_RELAXED);

	if (!s->rows || t->level != 1 || t->va >= BIT(VA_BITS - 1))
		return false;
	if (old)
		return !(now & PTE_P) && removal_begins_row(s, t, slot, guest);
	if ((now & (PTE_P | PTE_U)) != (PTE_P | PTE_U) || (t->in_row && slot == t->row_slot) || slot == va_slot(s->fault_va, 1) ||
	    ((t->va ^ s->fault_va) >> level_shift(2)) || s->fills_guessed)
		return false;
	s->fills_guessed = true;
	return true;
}

void row_check_guess(struct shadow *s, ppn_t ppn, const u64 *guest)
{
	for (unsigned i = 0; i < GUESSES; i++) {
		struct guess *g = &s->guess[i];

		if (g->ppn != ppn || !g->entry)
			continue;
		if (guest[g->slot] == g->entry)
			site_down(&s->sites[g->site], SITE_STEP);
		g->entry = 0;
	}
}
