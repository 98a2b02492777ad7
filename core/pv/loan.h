// SPDX-License-Identifier: MIT
// A page table that the guest's kernel writes row by row, without a fault for each store. Where it has the table mapped, it gets a copy
// that it may write; the machine goes on walking the table itself. With the next crossing the copy is taken back, and what differs is
// stored by pv_store(), one entry after the other. See docs/design/pv.md.
//
// What the guest sees of it: until then the table's other mappings show what it was, and the entry that maps it another frame. Nothing
// of user mode runs meanwhile (the gate crosses for the way there), and a fault of the kernel's comes again with the stores done. D is set
// in the copy of writable entries, as the machine would set it in the table; A may be missed. An entry that is refused ends the guest: it is
// too late for a fault at the store.
#ifndef CORE_PV_LOAN_H
#define CORE_PV_LOAN_H

#include "base/types.h"

struct pv_vcpu;

struct pv_loan {
	mpn_t copy;        // the hypervisor's frame that the guest writes, at `now`
	u64 *now, *before; // before: what it was when it was lent; NULL: no loans
	mpn_t table;       // what it is a copy of, MPN_NONE: not lent
	mpn_t map;         // the table whose entry `slot` leads to it: `entry`
	unsigned slot;
	u64 entry;
	mpn_t last;   // table of the kernel's last store, no hypercall since; MPN_NONE
	mpn_t wanted; // table whose last loan was worth it
	u64 loans, stores; // how often, and what came of it
};

void pv_loan_init(struct pv_loan *l, mpn_t copy, u64 *now, u64 *before);

// The kernel has stored to a page table at va: it is lent if this was in a row.
void pv_loan_stored(struct pv_vcpu *v, u64 va);
// With each crossing, before anything else looks at the guest. True: entries have changed, a fault may be none any more.
bool pv_loan_return(struct pv_vcpu *v);
// A hypercall ends a row.
static inline void pv_loan_row_ends(struct pv_loan *l)
{
	l->last = MPN_NONE;
}

#endif
