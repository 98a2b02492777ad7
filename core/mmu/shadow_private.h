// SPDX-License-Identifier: MIT
// What the shadow_*.c family shares: table descriptors, frame records and the lists between them. Not for other folders.
//
//   shadow.c        creation, roots, watches, statistics
//   shadow_table.c  descriptors, look-up by key and by machine frame, parent links, release, eviction
//   shadow_rmap.c   leaf entries, reverse map, write protection
//   shadow_sync.c   recomputing entries from the guest's, writes to guest tables, unshadowing
//   shadow_oos.c    leaf tables out of sync
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
// A fault needs at most this many new tables.
#define FAULT_TABLES 3u
#define MIN_TABLES 32u // one instruction's worst case: code, stack, two operands, each across a page, by private tables

#define DEFAULT_PHYS_BITS 40
#define DEFAULT_FLOOD 4
#define UPPER_FLOOD 16 // times that for tables above level 1: rebuilding them costs all that hangs below
#define FLOOD_MAX 15u  // times UPPER_FLOOD still fits the counter
#define DEFAULT_LEAF_RUN 64
#define DEFAULT_DIRECT_RUN 64

#define OOS_MAX 32u // tables out of sync at once; a CR3 load looks at each
#define DEFAULT_OOS_AFTER 1

struct link {
	u32 prev, next;
};
_Static_assert(sizeof(struct link) * SLOTS == PAGE_SIZE, "links of a table fill a page");

struct frame {
	u32 rmap;      // refs of the level-1 entries that map this guest page
	u32 tables;    // descriptors that shadow it as a page table, by table.frame_next
	u8 watch;      // enum shadow_watch bits
	bool writable; // some entry may map it writable (set with the entry, cleared when protected)
	bool unsynced; // its only table is
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
	u16 live;               // present entries, the gate's excepted
	u8 level;               // 1..4; 0: unused
	bool direct;            // pieces of a guest large page: rights are in the entry that points here
	bool multi;             // mapped at more than one address
	bool markers;           // absent entries of the guest are ENTRY_MARKER
	u8 unsynced;            // writable by the guest: 1 + its place in shadow.oos; 0: in sync
	bool guessed;           // went out of sync at the first of a row
	bool row_fills;         // the last of the row filled an entry
	bool remark;            // had markers when it went out of sync
	u8 writes;              // to the guest's frame, each at another place than the one before, since the table was last used
	u8 row;                 // of these, how many look like a row of many: shadow_oos.c
	u16 last_write;         // slot
	u16 last_leaf;          // slot that was counted in row
	u16 row_site;           // in shadow.sites, of the first of the row
	u8 faults;              // hidden faults served: prefetch grows with them
	u32 uses;               // shadow.uses when writes and row were last counted: void when another
};

// Faults that tests plant to prove that audit and model notice.
enum {
	PLANT_SKIP_PROTECT = 1,
	PLANT_STALE_ENTRY = 2,
	PLANT_IGNORE_DIRTY = 4,
	PLANT_NO_FLUSH = 8,
	PLANT_SKIP_SYNC = 16,
	PLANT_SKIP_INVLPG = 32,
	PLANT_SKIP_REPROTECT = 64,
	PLANT_SKIP_RAISE = 128,
	PLANT_KEEP_MARKERS = 256, // when a table goes out of sync
};

// A walk remembered: kernel address space mapped writable by large pages, where page tables are written. True while no table above
// level 1 has been written or has ceased to be shadowed (then its writes go unseen).
#define WALKS 4
struct walk_memo {
	u64 va, cr3; // 2 MiB of addresses
	u64 gpa;
	u64 generation; // shadow.upper_changes, which is never 0: an empty one is never true
};

// What stores of one instruction of the guest that take a right away were: the first of a row, or alone.
#define SITES 64
#define SITE_SURE 4u
#define SITE_MAX 7u
#define SITE_STEP 2u // for a row, or a wrong guess; 1 for a store alone
struct site {
	u8 rows;      // up for a row, down for a store alone: from SITE_SURE on the table goes out of sync at the first
	bool waiting; // the last first one has not been followed yet
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
	u64 roots_gone;                  // how many have been released
	mpn_t root_gone;                 // the last of them
	u32 flood, leaf_run, direct_run; // knobs
	u32 oos_max, oos_after;
	u64 fault_va;           // shadow_hint()
	u16 site;               // in sites
	struct site sites[SITES];
	u32 uses; // guest faults that went by the gate: what was written before them was not in a row with what comes after
	u32 oos_count, oos_next;
	u32 oos[OOS_MAX]; // unsynced tables, 0: free place
	u64 *oos_copies;  // SLOTS entries for each place
	u32 plant;
	u64 upper_changes; // writes to and releases of tables above level 1
	struct walk_memo walk[WALKS];
	struct shadow_stats stats;
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
	return (f->tables && !f->unsynced) || f->watch;
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

// The guest's entries that an unsynced table's shadow was computed from.
static inline u64 *oos_copy(const struct shadow *s, const struct table *t)
{
	return s->oos_copies + (t->unsynced - 1u) * SLOTS;
}

// A leaf entry that says: the guest's entry is not present, and the table is in sync. Faults on it are the guest's own, which
// the machine tells by the reserved bit (shadow_config.markers). Not live: no frame, no reverse map.
#define ENTRY_MARKER (PTE_P | BIT(51))

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

// shadow_oos.c
// A protected frame is written, at gpa: true if it has been let go out of sync, and may be mapped writable.
bool oos_start(struct shadow *s, struct frame *f, u64 gpa);
void oos_end(struct shadow *s, struct table *t);
void oos_forget(struct shadow *s, struct table *t);
// point: a CR3 load or full flush.
void oos_sync(struct shadow *s, bool point);

#endif
