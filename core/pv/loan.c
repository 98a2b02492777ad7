// SPDX-License-Identifier: MIT
// Page tables lent to the guest's kernel; see loan.h.
#include "core/pv/guest.h"

#include "base/string.h"

#define SLOTS 512u
#define GROUP 8u
#define ROW 3   // stores, then it is lent: a page copied on write has two
#define WORTH 2 // stores after that: a loan costs a crossing
#define OFTEN 2
#define OFTEN_MOST 3

void pv_loan_init(struct pv_loan *l, mpn_t copy, u64 *now, u64 *before)
{
	*l = (struct pv_loan){.copy = copy,
			      .now = now,
			      .before = before,
			      .groups = ~0ull,
			      .table = MPN_NONE,
			      .map = MPN_NONE,
			      .last = MPN_NONE,
			      .updated = MPN_NONE,
			      .wanted = MPN_NONE,
			      .start = PV_LOAN_STARTS};
}

static u64 *entries(struct pv_vcpu *v, mpn_t mpn)
{
	return pv_map(&v->guest->frames, mpn);
}

static mpn_t mpn_of(u64 entry)
{
	return (entry & PTE_ADDR) >> PAGE_SHIFT;
}

static bool any(const u64 *e)
{
	return e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7];
}

static bool differ(const u64 *a, const u64 *b)
{
	return (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5]) |
	       (a[6] ^ b[6]) | (a[7] ^ b[7]);
}

// Most of most tables is empty, and what is copied is empty from the last time.
static void copy_group(struct pv_loan *l, unsigned group, const u64 *from)
{
	u64 *now = &l->now[group * GROUP], *before = &l->before[group * GROUP];

	if (!any(from)) {
		if (l->groups & BIT(group))
			memset(now, 0, GROUP * sizeof(*now));
		l->groups &= ~BIT(group);
		return;
	}
	l->groups |= BIT(group);
#pragma GCC unroll 8
	for (unsigned i = 0; i < GROUP; i++)
		now[i] = before[i] = from[i] | (from[i] & from[i] >> 1 & PTE_P) * PTE_D; // P and W
}

static void lend(struct pv_vcpu *v, mpn_t table)
{
	struct pv_frames *f = &v->guest->frames;
	struct pv_loan *l = &v->guest->loan;
	const u64 *from = entries(v, table);

	for (unsigned g = 0; g < SLOTS / GROUP; g++)
		copy_group(l, g, &from[g * GROUP]);
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

// The row has ended.
static void learn(struct pv_loan *l, bool worth)
{
	u8 *often = &l->often[l->start % PV_LOAN_STARTS];

	if (l->start == PV_LOAN_STARTS)
		return;
	l->start = PV_LOAN_STARTS;
	if (worth)
		*often = (u8)MIN(*often + 1, OFTEN_MOST);
	else if (*often)
		--*often;
}

// start: of a row of updates like this, if it is the first; PV_LOAN_STARTS: not known to be of use.
static void in_row(struct pv_vcpu *v, mpn_t table, u64 va, unsigned start, bool wanted, u64 returns)
{
	struct pv_loan *l = &v->guest->loan;

	l->row = table == l->last && returns == l->returns ? l->row + 1 : 1;
	l->last = table;
	l->returns = returns;
	if (l->row == 1) {
		learn(l, false);
		l->start = start;
	}
	if ((l->row >= ROW || wanted) && pv_is_type(&v->guest->frames, table, PV_L1) && mapped_once(v, table, va))
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
	l->base = va - (pv_page_in(&v->guest->frames, mpn_of(entry)) << PAGE_SHIFT) - (va & PAGE_MASK);
	in_row(v, mpn_of(entry), va, PV_LOAN_STARTS, mpn_of(entry) == l->wanted, returns);
}

// Where its kernel has the table, only its stores tell: kernels have all of their pages in a row.
void pv_loan_called(struct pv_vcpu *v, unsigned nr, u64 returns)
{
	struct pv_loan *l = &v->guest->loan;
	struct pv_frames *f = &v->guest->frames;
	mpn_t table = l->updated;
	unsigned start = (l->updated_to & (PTE_P | PTE_W)) == PTE_P ? l->updated_slot % PV_LOAN_STARTS : PV_LOAN_STARTS;
	bool wanted = start < PV_LOAN_STARTS && l->often[start] >= OFTEN;

	l->updated = MPN_NONE;
	if (nr != __HYPERVISOR_mmu_update || table == MPN_NONE)
		l->last = MPN_NONE;
	else if (l->before && l->base)
		in_row(v, table, l->base + (pv_page_in(f, table) << PAGE_SHIFT), start, wanted, returns);
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

// An entry that the kernel has changed: 1. It is the guest's end if it is refused.
static unsigned give_back(struct pv_vcpu *v, mpn_t table, unsigned slot, u64 value)
{
	if (!v->guest->over && store(v, table, slot, value) != ST_OK)
		pv_crash(v, "entry %u of a page table, stored in a row, is refused: %lx", slot, value);
	return 1;
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
	for (unsigned g = 0; g < SLOTS / GROUP && !v->guest->over; g++) {
		bool was = l->groups & BIT(g);
		u64 *now = &l->now[g * GROUP];

		if (likely(!(was ? differ(now, &l->before[g * GROUP]) : any(now))))
			continue;
		l->groups |= BIT(g);
		for (unsigned i = 0; i < GROUP; i++)
			if (now[i] != (was ? l->before[g * GROUP + i] : 0))
				changed += give_back(v, table, g * GROUP + i, now[i]);
	}
	if (l->start < PV_LOAN_STARTS)
		learn(l, changed >= WORTH);
	else if (changed >= WORTH)
		l->wanted = table;
	else if (l->wanted == table)
		l->wanted = MPN_NONE;
	return changed;
}
