// SPDX-License-Identifier: MIT
// Page tables lent to the guest's kernel; see loan.h.
#include "core/pv/guest.h"

#include "base/string.h"

#define SLOTS 512u
#define ROW 3    // stores, then it is lent: a page copied on write has two
#define WORTH 3 // stores: a loan costs about as much as a crossing

void pv_loan_init(struct pv_loan *l, mpn_t copy, u64 *now, u64 *before)
{
	*l = (struct pv_loan){.copy = copy,
			      .now = now,
			      .before = before,
			      .table = MPN_NONE,
			      .map = MPN_NONE,
			      .last = MPN_NONE,
			      .updated = MPN_NONE,
			      .wanted = {MPN_NONE, MPN_NONE}};
}

static u64 *entries(struct pv_vcpu *v, mpn_t mpn)
{
	return v->guest->frames.ports->map(v->guest->frames.ctx, mpn);
}

static mpn_t mpn_of(u64 entry)
{
	return (entry & PTE_ADDR) >> PAGE_SHIFT;
}

static void lend(struct pv_vcpu *v, mpn_t table)
{
	struct pv_frames *f = &v->guest->frames;
	struct pv_loan *l = &v->guest->loan;
	const u64 *from = entries(v, table);

	for (unsigned i = 0; i < SLOTS; i++) {
		u64 e = from[i];

		l->now[i] = l->before[i] = (e & (PTE_P | PTE_W)) == (PTE_P | PTE_W) ? e | PTE_D : e;
	}
	l->table = table;
	entries(v, l->map)[l->slot] = (l->entry & ~PTE_ADDR) | l->copy << PAGE_SHIFT | PTE_W | PTE_A | PTE_D;
	if (f->ports->lent)
		f->ports->lent(f->ctx, table, l->copy);
}

// The table is mapped at va, read-only, and nowhere else.
static bool mapped_once(struct pv_vcpu *v, mpn_t table, u64 va)
{
	struct pv_loan *l = &v->guest->loan;

	return pv_leaf(v, va, &l->map, &l->slot, &l->entry) && (l->entry & (PTE_P | PTE_W)) == PTE_P && mpn_of(l->entry) == table &&
	       pv_tables_writable(v, va) && pv_other_uses(&v->guest->frames, table) == 1;
}

static void in_row(struct pv_vcpu *v, mpn_t table, u64 va, unsigned kind, u64 returns)
{
	struct pv_loan *l = &v->guest->loan;

	l->row = table == l->last && returns == l->returns ? l->row + 1 : 1;
	l->last = table;
	l->returns = returns;
	if ((l->row < ROW && table != l->wanted[kind]) || !pv_is_type(&v->guest->frames, table, PV_L1) || !mapped_once(v, table, va))
		return;
	l->kind = kind;
	lend(v, table);
}

void pv_loan_stored(struct pv_vcpu *v, u64 va, u64 returns)
{
	struct pv_loan *l = &v->guest->loan;
	mpn_t table;
	unsigned slot;
	u64 entry;

	if (!l->before || !pv_leaf(v, va, &table, &slot, &entry) || !(entry & PTE_P))
		return;
	l->base = va - (v->guest->frames.ports->ppn(v->guest->frames.ctx, mpn_of(entry)) << PAGE_SHIFT) - (va & PAGE_MASK);
	in_row(v, mpn_of(entry), va, PV_LOAN_STORES, returns);
}

// Where its kernel has the table, only its stores tell: kernels have all of their pages in a row.
void pv_loan_called(struct pv_vcpu *v, unsigned nr, u64 returns)
{
	struct pv_loan *l = &v->guest->loan;
	struct pv_frames *f = &v->guest->frames;
	mpn_t table = l->updated;

	l->updated = MPN_NONE;
	if (nr != __HYPERVISOR_mmu_update || table == MPN_NONE)
		l->last = MPN_NONE;
	else if (l->before && l->base)
		in_row(v, table, l->base + (f->ports->ppn(f->ctx, table) << PAGE_SHIFT), PV_LOAN_UPDATES, returns);
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
	if (v->guest->frames.ports->lent)
		v->guest->frames.ports->lent(v->guest->frames.ctx, table, MPN_NONE);
	entries(v, l->map)[l->slot] = l->entry;
	for (unsigned i = 0; i < SLOTS; i++) {
		u64 value = l->now[i];

		if (likely(value == l->before[i]))
			continue;
		changed++;
		if (store(v, table, i, value) != ST_OK) {
			pv_crash(v, "entry %u of a page table, stored in a row, is refused: %lx", i, value);
			break;
		}
	}
	if (changed >= WORTH)
		l->wanted[l->kind] = table;
	else if (l->wanted[l->kind] == table)
		l->wanted[l->kind] = MPN_NONE;
	return changed;
}
