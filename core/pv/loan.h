// SPDX-License-Identifier: MIT
// A page table that the guest's kernel writes row by row, by stores or by mmu_update, without a crossing for each. Where it has the table
// mapped, it gets a copy that it may write; the machine goes on walking the table itself. With the next crossing the copy is taken back,
// and what differs is stored by pv_store(), one entry after the other. See docs/design/pv.md.
//
// What the guest sees of it: the entry that maps the table leads to another frame; there is no other such entry, or it is not lent. Nothing
// of user mode runs meanwhile (the gate crosses for the way there, and for each flush), and a fault of the kernel's comes again with the
// stores done. D is set in the copy of writable entries, as the machine would set it in the table; A may be missed. An entry that is refused
// ends the guest: it is too late for a fault at the store. (The gate looks at what mmu_update says before it takes it.)
#ifndef CORE_PV_LOAN_H
#define CORE_PV_LOAN_H

#include "base/types.h"

struct pv_vcpu;

#define PV_LOAN_STARTS 16u

struct pv_loan {
	mpn_t copy;        // the hypervisor's frame that the guest writes, at `now`
	u64 *now, *before; // before: what it was when it was lent, where `groups` says so; NULL: no loans
	u64 groups;        // a bit for each eight entries: some of `now` may not be 0
	mpn_t table;       // what it is a copy of, MPN_NONE: not lent
	mpn_t map;         // the table whose entry `slot` leads to it: `entry`
	unsigned slot;
	u64 entry;
	mpn_t last;   // table of the kernel's last store or update of a level-1 table, MPN_NONE
	unsigned row; // how many there were of it without another hypercall or a return to user mode between
	u64 base;     // where its kernel has page 0, if it has all pages in a row; by its last store, 0: not known
	u64 returns;  // to user mode, as the caller counts them, when that was
	mpn_t updated; // table that the hypercall in progress has updated, at which slot, to what
	unsigned updated_slot;
	u64 updated_to;
	// Whether to lend with the first already. Of stores: the table whose last loan was worth it. Of updates that map a page read-only, as kernels
	// map files: by where in PV_LOAN_STARTS slots such rows began, how many of the last were worth it; 2 to 3 are enough.
	mpn_t wanted;
	u8 often[PV_LOAN_STARTS];
	unsigned start; // of the present row of such updates; PV_LOAN_STARTS: it is not one
};

void pv_loan_init(struct pv_loan *l, mpn_t copy, u64 *now, u64 *before);

// The kernel has stored to a page table at va, or a hypercall of it is done: the table is lent if this was in a row. returns: how often it has
// gone back to user mode, modulo anything.
void pv_loan_stored(struct pv_vcpu *v, u64 va, u64 returns);
void pv_loan_called(struct pv_vcpu *v, unsigned nr, u64 returns);
// With each crossing, before anything else looks at the guest. True: entries have changed, a fault may be none any more.
bool pv_loan_return(struct pv_vcpu *v);
#endif
