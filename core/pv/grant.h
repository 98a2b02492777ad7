// SPDX-License-Identifier: MIT
// Grant tables (Xen's grant_table.h), version 1: a guest's offers of its own pages, by entries in pages that it writes as it likes, and
// what a guest has taken by such offers. The guest may name itself, and the hypervisor, which grants nothing; who else could be named is up to
// grants_of() in grant.c.
//
// Invariants (pv_grants_audit)
//  - An entry that is in use has its frame, as it was when it came into use, and as many readers and writers as there are handles for it:
//    what the guest writes to it meanwhile changes nothing. The frame is held once for each handle, writable by those that write.
//  - Handles without flags are free. A mapping that a handle made is an entry of the guest's page tables like any other.
#ifndef CORE_PV_GRANT_H
#define CORE_PV_GRANT_H

#include "core/pv/abi.h"
#include "core/pv/frames.h"
#include <xen/grant_table.h>

#define PV_GRANT_FRAMES 4u
#define PV_GRANTS ((u32)(PV_GRANT_FRAMES * PAGE_SIZE / sizeof(grant_entry_v1_t)))
#define PV_HANDLES 1024u

struct pv_grant { // an entry in use
	mpn_t mpn;
	u16 dom; // that uses it
	u16 readers, writers;
};

struct pv_handle {
	u32 ref;
	u16 dom;   // whose grant it is
	u16 flags; // GNTMAP_* of what is left of it, 0: free
};

struct pv_grants {
	u64 *table[PV_GRANT_FRAMES]; // entries, in pages of the guest's
	mpn_t mpn[PV_GRANT_FRAMES];  // held writable
	unsigned frames;             // that the guest has asked for
	struct pv_grant grant[PV_GRANTS];
	struct pv_handle handle[PV_HANDLES];
};

struct pv_guest;

// The table's pages, empty, from now on held. False: they are not the guest's, or in use.
bool pv_grants_init(struct pv_guest *g, const mpn_t mpn[PV_GRANT_FRAMES]) MUST_CHECK;
// The guest is going: what it took by handles it gives back.
void pv_grants_end(struct pv_guest *g);
// Adds what the table and the handles hold, for pv_audit(). False: an invariant is broken.
bool pv_grants_audit(struct pv_guest *g, struct pv_count *count) MUST_CHECK;

#endif
