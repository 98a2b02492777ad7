// SPDX-License-Identifier: MIT
// Page tables lent to the guest's kernel; see loan.h.
#include "core/pv/guest.h"

#include "base/string.h"

#define SLOTS 512u
#define WORTH 3 // stores: a loan costs about as much as a crossing

void pv_loan_init(struct pv_loan *l, mpn_t copy, u64 *now, u64 *before)
{
	*l = (struct pv_loan){
		.copy = copy, .now = now, .before = before, .table = MPN_NONE, .map = MPN_NONE, .last = MPN_NONE, .wanted = MPN_NONE};
}

static u64 *entries(struct pv_vcpu *v, mpn_t mpn)
{
	return v->guest->frames.ports->map(v->guest->frames.ctx, mpn);
}

static void lend(struct pv_vcpu *v, mpn_t table)
{
	struct pv_loan *l = &v->guest->loan;
	const u64 *from = entries(v, table);

	for (unsigned i = 0; i < SLOTS; i++) {
		u64 e = from[i];

		l->now[i] = l->before[i] = (e & (PTE_P | PTE_W)) == (PTE_P | PTE_W) ? e | PTE_D : e;
	}
	l->table = table;
	l->loans++;
	entries(v, l->map)[l->slot] = (l->entry & ~PTE_ADDR) | l->copy << PAGE_SHIFT | PTE_W | PTE_A | PTE_D;
}

void pv_loan_stored(struct pv_vcpu *v, u64 va)
{
	struct pv_loan *l = &v->guest->loan;
	mpn_t table;
	bool row;

	if (!l->before || !pv_leaf(v, va, &l->map, &l->slot, &l->entry) || !(l->entry & PTE_P) || (l->entry & PTE_W))
		return;
	table = (l->entry & PTE_ADDR) >> PAGE_SHIFT;
	row = table == l->last || table == l->wanted;
	l->last = table;
	if (row && pv_is_type(&v->guest->frames, table, PV_L1) && pv_tables_writable(v, va))
		lend(v, table);
}

// The budget is for what must not keep others waiting; this is a table's worth of entries, each of which can let go another's.
static enum status store(struct pv_vcpu *v, mpn_t table, unsigned slot, u64 value)
{
	struct pv_frames *f = &v->guest->frames;
	enum status st;

	do {
		f->work = PV_WORK;
		st = pv_store(f, table, slot, value, false);
	} while (st == ST_AGAIN);
	return st;
}

bool pv_loan_return(struct pv_vcpu *v)
{
	struct pv_loan *l = &v->guest->loan;
	mpn_t table = l->table;
	unsigned changed = 0;

	if (likely(table == MPN_NONE))
		return false;
	l->table = MPN_NONE;
	entries(v, l->map)[l->slot] = l->entry;
	for (unsigned i = 0; i < SLOTS; i++) {
		if (likely(l->now[i] == l->before[i]))
			continue;
		changed++;
		if (store(v, table, i, l->now[i]) != ST_OK) {
			pv_crash(v, "entry %u of a page table, stored in a row, is refused: %lx", i, l->now[i]);
			break;
		}
	}
	l->stores += changed;
	if (changed >= WORTH)
		l->wanted = table;
	else if (l->wanted == table)
		l->wanted = MPN_NONE;
	return changed;
}
