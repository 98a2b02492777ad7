// SPDX-License-Identifier: MIT
// Types and uses of frames; contract and invariants in frames.h.
//
// A table is in progress while it has no use and done is not 0: its validation has stopped, or it waits to be let go. Nothing
// can write to it then but pv_store(), which lets it go first; so what its first `done` entries say is what they hold.
#include "core/pv/frames.h"

#include "base/assert.h"
#include "base/x86.h"

#define SLOTS 512u
#define IGNORED_FLAGS PTE_G // taken off

static bool is_table(enum pv_type type)
{
	return type >= PV_L1 && type <= PV_L4;
}

void pv_frames_init(struct pv_frames *f, const struct pv_ports *ports, void *ctx, struct pv_frame *memory, ppn_t ppn_limit,
		    unsigned phys_bits)
{
	assert(ppn_limit < PV_END && phys_bits >= 32 && phys_bits <= 52);
	*f = (struct pv_frames){.ports = ports,
				.ctx = ctx,
				.frame = memory,
				.ppn_limit = ppn_limit,
				.reserved = PTE_ADDR & ~(BIT(phys_bits) - 1),
				.waiting = PV_END};
	for (unsigned l = 0; l <= PV_L4; l++)
		f->busy[l] = PPN_NONE;
	for (unsigned i = 0; i < PV_FOUND; i++)
		f->found[i].at = ~0ull;
}

ppn_t pv_page_asked(struct pv_frames *f, mpn_t mpn)
{
	u64 at = mpn >> PV_INDEX_SHIFT;
	const u32 *page = f->ports->index(f->ctx, mpn);

	if (!page)
		return PPN_NONE;
	f->found[at % PV_FOUND].page = page;
	f->found[at % PV_FOUND].at = at;
	return (ppn_t)page[mpn & (BIT(PV_INDEX_SHIFT) - 1)] - 1;
}

static struct pv_frame *frame_of(struct pv_frames *f, mpn_t mpn)
{
	ppn_t ppn = pv_page_in(f, mpn);

	return likely(ppn < f->ppn_limit) ? &f->frame[ppn] : NULL;
}

static ppn_t ppn_of(const struct pv_frames *f, const struct pv_frame *fr)
{
	return (ppn_t)(fr - f->frame);
}

static u64 *entries_of(const struct pv_frames *f, const struct pv_frame *fr)
{
	return pv_map(f, f->ports->mpn(f->ctx, ppn_of(f, fr)));
}

static mpn_t entry_mpn(u64 entry)
{
	return (entry & PTE_ADDR) >> PAGE_SHIFT;
}

static bool is_busy(const struct pv_frames *f, const struct pv_frame *fr)
{
	for (unsigned l = PV_L1; l <= PV_L4; l++)
		if (f->busy[l] == ppn_of(f, fr))
			return true;
	return false;
}

// ---- uses

enum status pv_get(struct pv_frames *f, mpn_t mpn)
{
	struct pv_frame *fr = frame_of(f, mpn);

	if (!fr)
		return ST_RANGE;
	if (fr->refs == ~0u)
		return ST_BUSY;
	fr->refs++;
	return ST_OK;
}

void pv_put(struct pv_frames *f, mpn_t mpn)
{
	struct pv_frame *fr = frame_of(f, mpn);

	assert(fr && fr->refs > fr->uses);
	fr->refs--;
}

bool pv_in_use(struct pv_frames *f, mpn_t mpn)
{
	const struct pv_frame *fr = frame_of(f, mpn);

	return fr && (fr->refs || fr->done);
}

u32 pv_other_uses(struct pv_frames *f, mpn_t mpn)
{
	const struct pv_frame *fr = frame_of(f, mpn);

	return fr ? fr->refs - fr->uses : 0;
}

bool pv_is_type(struct pv_frames *f, mpn_t mpn, enum pv_type type)
{
	const struct pv_frame *fr = frame_of(f, mpn);

	return fr && fr->uses && fr->type == type;
}

bool pv_is_plain(struct pv_frames *f, mpn_t mpn)
{
	const struct pv_frame *fr = frame_of(f, mpn);

	return fr && !fr->done && (!fr->uses || fr->type == PV_WRITABLE);
}

// A table without uses will give back what it holds.
static void wait(struct pv_frames *f, struct pv_frame *fr)
{
	if (!fr->done || (fr->flags & PV_WAITING))
		return;
	fr->flags |= PV_WAITING;
	fr->next = f->waiting;
	f->waiting = (u32)ppn_of(f, fr);
}

static void put_type(struct pv_frames *f, struct pv_frame *fr)
{
	assert(fr->uses && fr->refs >= fr->uses);
	fr->refs--;
	if (--fr->uses)
		return;
	if (fr->type == PV_L4 && f->ports->root_gone)
		f->ports->root_gone(f->ctx, ppn_of(f, fr));
	wait(f, fr);
}

void pv_put_type(struct pv_frames *f, mpn_t mpn)
{
	struct pv_frame *fr = frame_of(f, mpn);

	assert(fr);
	put_type(f, fr);
}

// ---- entries

// What is never let through, and G, which would keep an entry in the TLB over a change of world.
static enum status check(const struct pv_frames *f, unsigned level, unsigned slot, u64 *value)
{
	if (!(*value & PTE_P))
		return ST_OK;
	if ((*value & f->reserved) || (level > 1 && (*value & PTE_PS)))
		return ST_INVALID;
	if (level == PV_L4 && slot >= PV_FIRST_OURS && slot <= PV_LAST_OURS)
		return ST_INVALID;
	*value &= ~IGNORED_FLAGS;
	return ST_OK;
}

static enum pv_type wanted_type(unsigned level, u64 entry)
{
	if (level > 1)
		return (enum pv_type)(level - 1);
	return entry & PTE_W ? PV_WRITABLE : PV_NONE;
}

static inline enum status take(struct pv_frames *f, unsigned level, u64 entry)
{
	enum pv_type type = wanted_type(level, entry);

	if (!(entry & PTE_P))
		return ST_OK;
	return type == PV_NONE ? pv_get(f, entry_mpn(entry)) : pv_get_type(f, entry_mpn(entry), type);
}

static inline void give_back(struct pv_frames *f, unsigned level, u64 entry)
{
	if (!(entry & PTE_P))
		return;
	if (wanted_type(level, entry) == PV_NONE)
		pv_put(f, entry_mpn(entry));
	else
		pv_put_type(f, entry_mpn(entry));
}

// ---- tables

// Most entries of most tables are not present: how far that goes up and down, over `most` entries.
static bool eight_absent(const u64 *e)
{
	return !((e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]) & PTE_P);
}

static unsigned absent_from(const u64 *entry, unsigned slot, unsigned most)
{
	unsigned end = slot + most;

	while (slot + 8 <= end && eight_absent(&entry[slot]))
		slot += 8;
	while (slot < end && !(entry[slot] & PTE_P))
		slot++;
	return slot;
}

static unsigned absent_below(const u64 *entry, unsigned end, unsigned most)
{
	unsigned first = end - most;

	while (end >= first + 8 && eight_absent(&entry[end - 8]))
		end -= 8;
	while (end > first && !(entry[end - 1] & PTE_P))
		end--;
	return end;
}

// False: the budget is used up.
static bool let_go(struct pv_frames *f, struct pv_frame *fr)
{
	const u64 *entry = fr->done ? entries_of(f, fr) : NULL;

	assert(!fr->uses);
	while (fr->done) {
		if (!(entry[fr->done - 1] & PTE_P)) {
			unsigned first = absent_below(entry, fr->done, MIN(f->work, fr->done));

			f->work -= fr->done - first;
			fr->done = (u16)first;
			if (!first)
				break;
		}
		if (!f->work)
			return false;
		f->work--;
		give_back(f, fr->type, entry[--fr->done]);
	}
	return true;
}

bool pv_let_go(struct pv_frames *f)
{
	while (f->waiting != PV_END) {
		struct pv_frame *fr = &f->frame[f->waiting];

		// Off the list first: what it gives back goes in front of the others.
		f->waiting = fr->next;
		fr->flags &= (u8)~PV_WAITING;
		if (fr->uses || let_go(f, fr))
			continue;
		wait(f, fr);
		return false;
	}
	return true;
}

static enum status validate_entries(struct pv_frames *f, struct pv_frame *fr)
{
	u64 *entry = entries_of(f, fr);

	for (; fr->done < SLOTS; fr->done++) {
		enum status st;
		u64 value;

		if (!(entry[fr->done] & PTE_P)) {
			unsigned first = absent_from(entry, fr->done, MIN(f->work, SLOTS - fr->done));

			f->work -= first - fr->done;
			fr->done = (u16)first;
			if (first == SLOTS)
				break;
		}
		if (!f->work)
			return ST_AGAIN;
		f->work--;
		value = entry[fr->done];
		st = check(f, fr->type, fr->done, &value);
		if (st == ST_OK)
			st = take(f, fr->type, value);
		if (st != ST_OK)
			return st;
		if (value != entry[fr->done])
			entry[fr->done] = value;
	}
	return ST_OK;
}

// The frame has no use of another type and holds nothing, or is in progress as this one.
static enum status validate(struct pv_frames *f, struct pv_frame *fr, enum pv_type level)
{
	enum status st;

	fr->type = (u8)level;
	assert(f->busy[level] == PPN_NONE);
	f->busy[level] = ppn_of(f, fr);
	st = validate_entries(f, fr);
	f->busy[level] = PPN_NONE;
	if (st != ST_OK && st != ST_AGAIN)
		wait(f, fr);
	return st == ST_BUSY || st == ST_RANGE ? ST_INVALID : st;
}

static enum status first_use(struct pv_frames *f, struct pv_frame *fr, enum pv_type type)
{
	if (fr->done && fr->type != type && !let_go(f, fr))
		return ST_AGAIN;
	if (is_table(type))
		return validate(f, fr, type);
	if (type == PV_DESCRIPTORS && (!f->ports->descriptors || !f->ports->descriptors(f->ctx, entries_of(f, fr))))
		return ST_INVALID;
	fr->type = (u8)type;
	return ST_OK;
}

enum status pv_get_type(struct pv_frames *f, mpn_t mpn, enum pv_type type)
{
	struct pv_frame *fr = frame_of(f, mpn);
	enum status st;

	if (!fr)
		return ST_RANGE;
	if (fr->refs == ~0u || (fr->uses && fr->type != type))
		return ST_BUSY;
	if (!fr->uses) {
		if (is_busy(f, fr)) // has no use yet
			return ST_BUSY;
		if (type != PV_WRITABLE && f->ports->claimed)
			f->ports->claimed(f->ctx, mpn);
		st = first_use(f, fr, type);
		if (st != ST_OK)
			return st;
	}
	fr->uses++;
	fr->refs++;
	return ST_OK;
}

enum status pv_pin(struct pv_frames *f, mpn_t mpn, enum pv_type level)
{
	struct pv_frame *fr = frame_of(f, mpn);
	enum status st;

	assert(is_table(level));
	if (fr && (fr->flags & PV_PINNED))
		return ST_BUSY;
	st = pv_get_type(f, mpn, level);
	if (st == ST_OK)
		fr->flags |= PV_PINNED;
	return st;
}

enum status pv_unpin(struct pv_frames *f, mpn_t mpn)
{
	struct pv_frame *fr = frame_of(f, mpn);

	if (!fr)
		return ST_RANGE;
	if (!(fr->flags & PV_PINNED))
		return ST_BUSY;
	fr->flags &= (u8)~PV_PINNED;
	put_type(f, fr);
	return ST_OK;
}

// ---- stores

// The machine may set A and D of the entry meanwhile. Returns what was there.
static u64 replace(u64 *entry, u64 value, bool keep_ad)
{
	u64 old = __atomic_load_n(entry, __ATOMIC_RELAXED);

	if (!keep_ad)
		return __atomic_exchange_n(entry, value, __ATOMIC_SEQ_CST);
	while (!__atomic_compare_exchange_n(entry, &old, value | (old & (PTE_A | PTE_D)), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	return old;
}

static bool holds_same(unsigned level, u64 a, u64 b)
{
	return (a & PTE_P) == (b & PTE_P) && (!(a & PTE_P) || (entry_mpn(a) == entry_mpn(b) && wanted_type(level, a) == wanted_type(level, b)));
}

static enum status store_entry(struct pv_frames *f, struct pv_frame *fr, u64 *entry, unsigned slot, u64 value, bool keep_ad)
{
	u64 old = *entry;
	enum status st = check(f, fr->type, slot, &value);
	bool same = holds_same(fr->type, old, value);

	if (st == ST_OK && !same)
		st = take(f, fr->type, value);
	if (st != ST_OK)
		return st;
	replace(entry, value, keep_ad);
	if (fr->type == PV_L4 && f->ports->root_changed)
		f->ports->root_changed(f->ctx, ppn_of(f, fr), slot, *entry);
	if (!same)
		give_back(f, fr->type, old);
	return ST_OK;
}

enum status pv_store(struct pv_frames *f, mpn_t mpn, unsigned slot, u64 value, bool keep_ad)
{
	struct pv_frame *fr = frame_of(f, mpn);
	u64 *entry;

	assert(slot < SLOTS);
	if (!fr)
		return ST_RANGE;
	entry = (u64 *)pv_map(f, mpn) + slot;
	if (fr->uses && is_table(fr->type))
		return store_entry(f, fr, entry, slot, value, keep_ad);
	if (fr->uses && fr->type == PV_DESCRIPTORS)
		return ST_BUSY;
	if (fr->done && !let_go(f, fr))
		return ST_AGAIN;
	replace(entry, value, keep_ad);
	if (f->ports->plain)
		f->ports->plain(f->ctx, mpn);
	return ST_OK;
}
