// SPDX-License-Identifier: MIT
// What the shadow_*.c family shares: table descriptors, frame records and the lists between them. Not for other folders.
//
//   shadow.c        creation, roots, watches, statistics
//   shadow_table.c  descriptors, look-up by key and by machine frame, parent links, release, eviction
//   shadow_rmap.c   leaf entries, reverse map, write protection
//   shadow_sync.c   recomputing entries from the guest's, writes to guest tables, unshadowing
//   shadow_rows.c   guesses that a store is the first of a row
//   shadow_fault.c  page faults, prefetch
//   shadow_audit.c  recomputes everything
//   shadow_stress.c looks for rights reduced without a flush
//   guest_walk.c, legacy_walk.c   the guest's own tables walked
//
// A shadow table is a descriptor with two machine frames: the 512 entries that the machine walks, and as many links. The
// link of a level-1 entry chains it to the frame record of the guest page it maps (reverse map); the link of a higher entry
// chains it to the descriptor of the table it points to (parents). So adding and removing is O(1) and needs no pool. An
// entry is named by a ref: table index * 512 + slot; index 0 is never used, so 0 is "none".
#ifndef CORE_MMU_SHADOW_PRIVATE_H
#define CORE_MMU_SHADOW_PRIVATE_H

#include "base/assert.h"
#include "base/gate.h"
#include "base/string.h"
#include "base/x86.h"
#include "core/mmu/shadow.h"

#define SLOTS 512u
#define TABLE_BITS 9
#define REF_HEAD 0x80000000u // in link.prev: first of its list, the low bits name the list's owner
#define VA_BITS 48
#define VA_ALL (~0ull)

// Unused tables that keep their (zeroed) frames, so that making one costs no allocation and no clearing.
#define WARM_MAX 64u
// What a process's tables come to, and some more: asked for when one was evicted that is used again.
#define MISSED_TABLES 16u
// A fault needs at most this many new tables.
#define FAULT_TABLES 3u
#define MIN_TABLES 32u // one instruction's worst case: code, stack, two operands, each across a page, by private tables

#define DEFAULT_PHYS_BITS 40
#define DEFAULT_FLOOD 4
#define UPPER_FLOOD 16 // times that for tables above level 1: rebuilding them costs all that hangs below
#define NO_PPN (~(ppn_t)0)
#define OTHER_ENTRY 4u // what a store to another entry than the last one counts; one to the same counts 1
#define FLOOD_MAX 255u // times UPPER_FLOOD and OTHER_ENTRY still fits the counter
#define DEFAULT_LEAF_RUN 64
#define DEFAULT_DIRECT_RUN 64

struct link {
	u32 prev, next;
};
_Static_assert(sizeof(struct link) * SLOTS == PAGE_SIZE, "links of a table fill a page");

struct frame {
	u32 rmap;      // refs of the level-1 entries that map this guest page
	u32 tables;    // descriptors that shadow it as a page table, by table.frame_next
	u8 watch;      // enum shadow_watch bits
	bool writable; // some entry may map it writable (set with the entry, cleared when protected)
	bool evicted;  // it was a root until memory was short
};

struct table {
	ppn_t ppn; // guest frame that is shadowed; for a direct table the first guest page it maps
	u64 va;    // what it maps from, unless multi
	mpn_t mpn, link_mpn;
	u64 *entry;
	struct link *link;
	u32 parents, refs;      // entries that point here
	u32 next;               // in the hash bucket, or in the warm or cold list
	u32 mpn_next;           // in the bucket by machine frame
	u32 frame_next;         // tables of the same guest frame
	u32 lru_prev, lru_next; // roots only
	u16 live;               // present entries, but ours in a root
	u8 level;               // 1..4; 0: unused
	bool direct;            // pieces of a guest large page: rights are in the entry that points here
	bool multi;             // mapped at more than one address
	bool markers;           // absent entries of the guest are ENTRY_MARKER
	u16 writes;             // to the guest's frame since the table was last used, weighed by OTHER_ENTRY
	bool in_row;            // one of these removed an entry: shadow_rows.c
	u16 last_write;         // slot
	u16 row_slot;           // the first that did
	u16 row_site;           // its instruction, in shadow.sites
	u8 faults;              // hidden faults served: prefetch grows with them
	u32 uses;               // shadow.uses when writes and row were last looked at: void when another
};

// Faults that tests plant to prove that audit and model notice.
enum {
	PLANT_SKIP_PROTECT = 1,
	PLANT_STALE_ENTRY = 2,
	PLANT_IGNORE_DIRTY = 4,
	PLANT_NO_FLUSH = 8,
	PLANT_READ_ONLY = 16, // ENTRY_READ_ONLY wherever the shadow is, whatever the guest's is
};

// A walk remembered: kernel address space mapped writable by large pages, where page tables are written. True while no table above
// level 1 has been written or has ceased to be shadowed (then its writes go unseen).
#define WALKS 4
struct walk_memo {
	u64 va, cr3; // 2 MiB of addresses
	u64 gpa;
	u64 generation; // shadow.upper_changes, which is never 0: an empty one is never true
};

// What stores of one instruction that remove an entry were: the first of a row, or alone.
#define SITES 256
struct site {
	u8 rows;      // up for a row, down for a store alone
	bool waiting; // the last first one has not been followed yet
};

#define GUESSES 8
struct guess {
	ppn_t ppn; // of a leaf table that was dropped at the first of a row
	u16 slot;  // that should change next
	u16 site;
	u64 entry; // what it was; 0: nothing here
};

struct shadow {
	const struct shadow_ports *ports;
	void *ctx;
	u64 ppn_limit;
	u32 max_tables;
	mpn_t gate_l3;
	bool markers; // shadow_config.markers
	u64 addr_reserved; // address bits that no guest entry may have
	bool nx;           // the guest's EFER.NXE when the tables were built
	struct frame *frames;
	struct table *tables; // [max_tables + 1]
	u32 *by_key, *by_mpn; // [buckets]
	u32 bucket_bits;
	u32 warm, warm_count, cold, cold_count;
	u32 current;                     // root in use
	u32 lru_head, lru_tail;          // roots, most recent first
	u32 needed;                      // so many tables are asked for however short memory is
	u64 roots_gone;                  // how many have been released
	mpn_t root_gone;                 // the last of them
	u32 flood, leaf_run, direct_run; // knobs
	bool rows;
	u64 fault_va;           // shadow_hint()
	bool fills_guessed;     // since the guest's last own fault
	u16 site;               // in sites
	u32 uses; // guest faults that went by the gate: what was written before them was not in a row with what comes after
	u32 plant;
	ppn_t unshadowed_fault; // guest table of the last guest fault of user mode in one that is not shadowed
	u64 upper_changes; // writes to and releases of tables above level 1
	struct walk_memo walk[WALKS];
	struct shadow_stats stats;
	u32 guess_next;
	struct guess guess[GUESSES]; // the last ones
	struct site sites[SITES];
};

static inline u32 ref_make(u32 index, unsigned slot)
{
	return index << TABLE_BITS | slot;
}

static inline struct table *ref_table(const struct shadow *s, u32 ref)
{
	return &s->tables[ref >> TABLE_BITS];
}

static inline unsigned ref_slot(u32 ref)
{
	return ref & (SLOTS - 1);
}

static inline u32 table_index(const struct shadow *s, const struct table *t)
{
	return (u32)(t - s->tables);
}

static inline unsigned level_shift(unsigned level)
{
	return PAGE_SHIFT + TABLE_BITS * (level - 1);
}

static inline unsigned va_slot(u64 va, unsigned level)
{
	return va >> level_shift(level) & (SLOTS - 1);
}

static inline struct frame *frame_of(const struct shadow *s, ppn_t ppn)
{
	return ppn < s->ppn_limit ? &s->frames[ppn] : NULL;
}

static inline bool frame_protected(const struct frame *f)
{
	return f->tables || f->watch;
}

// True for a guest leaf at that level: level 1, or a large page.
static inline bool entry_is_leaf(u64 entry, unsigned level)
{
	return level == 1 || (level <= 3 && (entry & PTE_PS));
}

// Guest page that an entry leads to: a table's, or the first of a leaf's (a large page has PAT where the address begins).
static inline ppn_t entry_ppn(u64 entry, unsigned level)
{
	u64 in_page = entry_is_leaf(entry, level) ? BIT(level_shift(level)) - 1 : 0;

	return (entry & PTE_ADDR & ~in_page) >> PAGE_SHIFT;
}

// Does the change take away something that the machine may have cached? More U counts: SMEP and SMAP make it less.
static inline bool entry_reduced(u64 old, u64 now)
{
	return (old & PTE_P) &&
	       (!(now & PTE_P) || ((old ^ now) & (PTE_ADDR | PTE_U)) || (old & ~now & PTE_W) || (now & ~old & PTE_NX));
}

// A leaf entry that says: the guest's entry is not present. Faults on it are the guest's own, which
// the machine tells by the reserved bit (shadow_config.markers). Not live: no frame, no reverse map.
#define ENTRY_MARKER (PTE_P | BIT(51))

// In a leaf entry: the guest's own is present without the right to write, so a store of user mode is the guest's fault.
#define ENTRY_READ_ONLY WINDOW_READ_ONLY
// Slots of a root that are never the guest's: the gate's, and the one by which it reads the shadow (base/gate.h).
static inline bool root_slot_is_ours(unsigned slot)
{
	return slot == GATE_SLOT || slot == WINDOW_SLOT;
}

static inline bool slot_is_ours(const struct table *t, unsigned slot)
{
	return t->level == 4 && root_slot_is_ours(slot);
}

static inline u64 entry_live(u64 entry)
{
	return entry == ENTRY_MARKER ? 0 : entry;
}

static inline void entry_store(struct table *t, unsigned slot, u64 value)
{
	__atomic_store_n(&t->entry[slot], value, __ATOMIC_RELEASE);
}

// Which bits of a present guest entry must be clear (SDM 3A 4.5).
u64 walk_reserved(const struct shadow *s, bool nx, u64 entry, unsigned level);
// The guest's table at ppn, NULL when no memory is there.
u64 *walk_table(const struct shadow *s, ppn_t ppn);

// What ends a walk, and whether its rights allow the access.
bool walk_fault(const struct mmu_mode *m, u64 va, u32 err, u32 cause, struct x86_fault *fault);
bool walk_allowed(const struct mmu_mode *m, u32 err, const struct guest_walk *w);
// guest_translate() for the other modes (legacy_walk.c).
bool legacy_translate(struct shadow *s, const struct mmu_mode *m, u64 va, u32 err, bool set_ad, struct guest_walk *w,
		      struct x86_fault *fault);

// shadow_table.c
struct table *table_find(struct shadow *s, ppn_t ppn, unsigned level, bool direct);
struct table *table_by_mpn(struct shadow *s, mpn_t mpn);
// Makes sure that `count` tables can be had by table_get(); evicts. False: not even so.
bool table_reserve(struct shadow *s, unsigned count);
// The same without evicting.
bool table_reserve_free(struct shadow *s, unsigned count);
struct table *table_get(struct shadow *s, ppn_t ppn, unsigned level, bool direct);
void table_link(struct shadow *s, struct table *t, unsigned slot, struct table *child, u64 rights);
void table_unlink(struct shadow *s, struct table *t, unsigned slot);
void table_clear(struct shadow *s, struct table *t);
void table_mark(struct shadow *s, struct table *t);
void table_in_use(struct shadow *s, struct table *t);
void table_unmark(struct table *t);
void table_release(struct shadow *s, struct table *t);
void table_used(struct shadow *s, struct table *t);
void table_list_push(struct shadow *s, u32 *head, u32 owner, u32 ref);
void table_list_remove(struct shadow *s, u32 *head_if_first, u32 ref);
void table_flush(struct shadow *s, const struct table *t, unsigned slot);

// shadow_rmap.c
u64 leaf_compute(struct shadow *s, ppn_t ppn, u64 rights);
void leaf_set(struct shadow *s, struct table *t, unsigned slot, ppn_t ppn, u64 entry);
void leaf_clear(struct shadow *s, struct table *t, unsigned slot);
void frame_protect(struct shadow *s, struct frame *f);
void frame_lift(struct shadow *s, struct frame *f);

// shadow_sync.c
// Recomputes one level-1 entry; guest: the guest's table (NULL for direct tables). True if it is present afterwards.
bool sync_leaf(struct shadow *s, struct table *t, unsigned slot, const u64 *guest);
u64 sync_upper_rights(u64 guest_entry, unsigned level);
void sync_unshadow(struct shadow *s, struct frame *f);

// shadow_rows.c
// Is this store to a leaf table, not yet in its shadow, likely to be the first of a row? guest: the table, as it is now.
bool row_begins(struct shadow *s, struct table *t, unsigned slot, const u64 *guest);
// The frame is being shadowed again: was it right to drop it?
void row_check_guess(struct shadow *s, ppn_t ppn, const u64 *guest);

#endif
