// SPDX-License-Identifier: MIT
// Direct paging: the machine walks a paravirtual guest's own page tables, so what they may say is checked before they are used.
// Every frame of the guest has uses, and a type while it has uses of that type. Types exclude each other: a page table is never
// writable by the guest, at any of its addresses. See docs/design/pv.md.
//
// A table is validated when it is first used as one (entry by entry, its frames taken), and let go when it is used no more. Both can be
// long: they are done within a budget, and go on where they stopped when the caller calls again.
//
// Invariants
//  - refs counts all uses: entries of tables that hold the frame, pins, pv_get(). uses are those of refs that are by its type.
//  - A table holds what its first `done` entries lead to, and nothing else. It is valid when uses > 0; then done is 512.
//  - An entry of a valid table that is present leads to a frame of the guest: one of the next lower level's type, or at level 1 any,
//    writable only if the frame's type is that.
//  - G is never set, nor a reserved bit, nor PS.
#ifndef CORE_PV_FRAMES_H
#define CORE_PV_FRAMES_H

#include "base/status.h"
#include "base/types.h"

// Levels are their types' numbers.
enum pv_type { PV_NONE, PV_L1, PV_L2, PV_L3, PV_L4, PV_DESCRIPTORS, PV_WRITABLE };

struct pv_frame {
	u32 refs, uses;
	u32 next;  // in the list of tables to be let go
	u16 done;
	u8 type;  // enum pv_type; means nothing while uses and done are 0
	u8 flags; // PV_PINNED, PV_WAITING
};
#define PV_PINNED 1
#define PV_WAITING 2 // in that list

struct pv_ports {
	// Pointer to a frame of the guest's. Not asked if pv_frames says where all are.
	void *(*map)(void *ctx, mpn_t mpn);
	// Which pages of the guest's are in the frame and its neighbours: BIT(PV_INDEX_SHIFT) numbers, from a multiple of that on. A page plus
	// one, 0: the guest has none there; NULL: in none of these. They stay where they are. The only way in for what a guest says.
	const u32 *(*index)(void *ctx, mpn_t mpn);
	mpn_t (*mpn)(void *ctx, ppn_t ppn); // of a page that is there, MPN_NONE
	// An entry of a valid level-4 table has changed: roots made of it follow. May be NULL.
	void (*root_changed)(void *ctx, ppn_t table, unsigned slot, u64 entry);
	// The guest has stored to a page that is no table, by its machine address. It may without asking until the page is claimed: before it
	// is used as a table or of descriptors. May be NULL.
	void (*plain)(void *ctx, mpn_t mpn);
	void (*claimed)(void *ctx, mpn_t mpn);
	// A table is lent (loan.h): what the guest stores to it by its machine address goes to `copy`; MPN_NONE: no more. May be NULL.
	void (*lent)(void *ctx, mpn_t table, mpn_t copy);
	// A level-4 table is one no more. May be NULL.
	void (*root_gone)(void *ctx, ppn_t table);
	// What a page of descriptors says is fit for use. May be NULL: none is.
	bool (*descriptors)(void *ctx, const u64 *entries);
};

#define PV_INDEX_SHIFT 10
#define PV_FOUND 16

struct pv_frames {
	const struct pv_ports *ports;
	void *ctx;
	struct pv_frame *frame; // [ppn_limit]
	ppn_t ppn_limit;
	u64 reserved; // address bits that the machine has not
	u8 *direct;   // where frame 0 is mapped and all others behind it, NULL: ask the port
	// What `index` said, by mpn >> PV_INDEX_SHIFT modulo PV_FOUND; for the CPU that has the guest.
	struct {
		const u32 *page;
		u64 at; // ~0: nothing yet
	} found[PV_FOUND];
	unsigned work; // entries that may yet be looked at: set by the caller before a call
	u32 waiting;   // list of tables to be let go, PV_END at its end
	ppn_t busy[PV_L4 + 1]; // by level: the table that is being validated, on behalf of that of the next level; PPN_NONE: none
};
#define PV_END (~0u)

// Level-4 slots that are the hypervisor's in every root: no table of the guest's has entries there (Xen's ABI).
#define PV_FIRST_OURS 256
#define PV_LAST_OURS 271

// `memory`: ppn_limit records, zeroed. phys_bits: width of machine addresses.
void pv_frames_init(struct pv_frames *f, const struct pv_ports *ports, void *ctx, struct pv_frame *memory, ppn_t ppn_limit,
		    unsigned phys_bits);

static inline void *pv_map(const struct pv_frames *f, mpn_t mpn)
{
	return f->direct ? f->direct + (mpn << PAGE_SHIFT) : f->ports->map(f->ctx, mpn);
}

// The guest's page that is in this machine frame; PPN_NONE: it has none there.
ppn_t pv_page_asked(struct pv_frames *f, mpn_t mpn);
static inline ppn_t pv_page_in(struct pv_frames *f, mpn_t mpn)
{
	u64 at = mpn >> PV_INDEX_SHIFT;

	if (unlikely(f->found[at % PV_FOUND].at != at))
		return pv_page_asked(f, mpn);
	return (ppn_t)f->found[at % PV_FOUND].page[mpn & (BIT(PV_INDEX_SHIFT) - 1)] - 1; // 0 becomes PPN_NONE
}

// Any use. ST_RANGE: not the guest's.
enum status pv_get(struct pv_frames *f, mpn_t mpn) MUST_CHECK;
void pv_put(struct pv_frames *f, mpn_t mpn);
bool pv_in_use(struct pv_frames *f, mpn_t mpn);
bool pv_is_plain(struct pv_frames *f, mpn_t mpn);   // the guest's, and neither a table, whole or in progress, nor of descriptors
u32 pv_other_uses(struct pv_frames *f, mpn_t mpn); // of a page of the guest's, those not by its type
bool pv_is_type(struct pv_frames *f, mpn_t mpn, enum pv_type type); // the guest's, with uses of that type

// A use by type. ST_RANGE: not the guest's. ST_BUSY: it is of another. ST_INVALID: as a table it is not fit. ST_AGAIN: the budget is
// used up; nothing was taken, and the next call goes on from there.
enum status pv_get_type(struct pv_frames *f, mpn_t mpn, enum pv_type type) MUST_CHECK;
void pv_put_type(struct pv_frames *f, mpn_t mpn);

// A use that the guest asks for and gives back by name. As pv_get_type(); ST_BUSY also: it is pinned already, or not at all.
enum status pv_pin(struct pv_frames *f, mpn_t mpn, enum pv_type level) MUST_CHECK;
enum status pv_unpin(struct pv_frames *f, mpn_t mpn) MUST_CHECK;

// Stores an entry of a table, or 8 bytes into a page that is writable or of no type. keep_ad: A and D of what is there stay. As
// pv_get_type() of what the entry leads to; ST_BUSY also: the page is of descriptors.
enum status pv_store(struct pv_frames *f, mpn_t mpn, unsigned slot, u64 value, bool keep_ad) MUST_CHECK;
// Tables that nobody uses any more give back what they hold. False: the budget is used up.
bool pv_let_go(struct pv_frames *f) MUST_CHECK;

// Counts everything anew. `count` has a zeroed element for each page, into which the caller has put how often it holds a frame itself: in all,
// and by type (pins not counted). Returns the number of violations; each is described through report (may be NULL).
struct pv_count {
	u32 refs, uses;
};
unsigned pv_audit(struct pv_frames *f, struct pv_count *count, void (*report)(void *ctx, const char *text), void *ctx);

#endif
