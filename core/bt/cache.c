// SPDX-License-Identifier: MIT
// The cache as a whole: creation and flush, look-up by guest RIP and by cache address, link slots, the IBTC, audit.
#include "core/bt/internal.h"

#include "base/string.h"

// --- memory ---

struct carver {
	u8 *at, *end;
};

static void *carve(struct carver *c, size_t bytes)
{
	void *p = c->at;

	bytes = ROUND_UP(bytes, 16);
	if ((size_t)(c->end - c->at) < bytes)
		return NULL;
	c->at += bytes;
	return p;
}

static u32 power_of_two_below(u64 n)
{
	u32 p = 1;

	while (2ull * p <= n)
		p *= 2;
	return p;
}

// Averages of a kernel's blocks: 3 exits, 16 ranges, 5 words of bitmap, a page for every four blocks. Slots and ranges keep
// the worst case of one block in reserve.
static bool lay_out(struct bt *bt, struct carver *c)
{
	const size_t per_block = sizeof(struct bt_block) + 3 * sizeof(struct bt_slot) + 16 * sizeof(struct bt_range) +
				 5 * sizeof(u64) + sizeof(struct bt_page) / 4 + 4 + 8 + 2;
	const size_t reserve = sizeof(struct bt_slot) * BT_SLOTS_MAX * 2 + sizeof(struct bt_range) * BT_RANGES_MAX * 2 + 4096;
	size_t space = (size_t)(c->end - c->at);
	u32 n;

	if (space < reserve + 64 * per_block)
		return false;
	n = (u32)((space - reserve) / per_block);
	bt->block_cap = n;
	bt->slot_cap = MIN(3 * n + 2 * BT_SLOTS_MAX, (u32)MIN(bt->config.link_count, 0xffffff00ull));
	bt->range_cap = 16 * n + 2 * BT_RANGES_MAX;
	bt->map_cap = 5 * n + 64;
	bt->page_cap = n / 4 + 8;
	bt->hash_mask = power_of_two_below(n) - 1;
	bt->pending_mask = power_of_two_below(2ull * n) - 1;
	bt->page_mask = power_of_two_below(bt->page_cap) - 1;
	bt->block = carve(c, n * sizeof(struct bt_block));
	bt->slot = carve(c, bt->slot_cap * sizeof(struct bt_slot));
	bt->range = carve(c, bt->range_cap * sizeof(struct bt_range));
	bt->map = carve(c, bt->map_cap * sizeof(u64));
	bt->page = carve(c, bt->page_cap * sizeof(struct bt_page));
	bt->hash = carve(c, (bt->hash_mask + 1ull) * 4);
	bt->pending = carve(c, (bt->pending_mask + 1ull) * 4);
	bt->vhash = carve(c, (bt->page_mask + 1ull) * 4);
	bt->phash = carve(c, (bt->page_mask + 1ull) * 4);
	return bt->block && bt->slot && bt->range && bt->map && bt->page && bt->hash && bt->pending && bt->vhash && bt->phash &&
	       bt->slot_cap >= 2 * BT_SLOTS_MAX;
}

static void reset(struct bt *bt)
{
	bt->generation++;
	bt->code_used = bt->second ? 2 * BT_SECOND_SIZE : 0;
	for (u32 i = 0; bt->second && i < BT_SECOND_ENTRIES; i++)
		bt->second[i] = BT_SECOND_NONE(i);
	bt->block_count = bt->slot_count = bt->range_count = bt->map_count = 0;
	memset(bt->hash, 0xff, (bt->hash_mask + 1ull) * 4);
	memset(bt->pending, 0xff, (bt->pending_mask + 1ull) * 4);
	memset(bt->missed, 0, sizeof(bt->missed));
	bt->ahead_count = bt->settled = 0;
	bt_make_system(bt);
	for (u32 i = 0; bt->config.returns && i < RETURNS; i++)
		bt->config.returns[i] = bt->config.code_base + bt->dispatch_stub;
	for (u32 i = 0; i < IBTC_ENTRIES; i++)
		bt->config.ibtc[i] = bt->config.code_base + bt->miss_stub;
}

struct bt *bt_create(const struct bt_config *config)
{
	struct carver c = {(u8 *)ROUND_UP((uintptr_t)config->meta, 64), (u8 *)config->meta + config->meta_size};
	struct bt *bt;

	assert(!(config->ibtc_base & 0xffff) && !(config->code_base & 15) && !(config->vcpu_base & PAGE_MASK));
	assert(config->code_base >> 32 == (config->code_base + config->code_size - 1) >> 32); // landings are told by their low half
	if (config->meta_size < 64 || config->code_size < 4 * BT_BLOCK_MAX)
		return NULL;
	bt = carve(&c, sizeof(*bt));
	if (!bt)
		return NULL;
	memset(bt, 0, sizeof(*bt));
	bt->config = *config;
	bt->config.code_size = MIN(config->code_size, (size_t)GATE_TC_MAX);
	if (!lay_out(bt, &c))
		return NULL;
	if (bt->config.code_size >= 16 * BT_SECOND_SIZE && !(config->code_base & (BT_SECOND_SIZE - 1)))
		bt->second = (u64 *)(void *)config->code;
	assert(ZYAN_SUCCESS(ZydisDecoderInit(&bt->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
	bt_pages_reset(bt);
	reset(bt);
	return bt;
}

void bt_flush(struct bt *bt)
{
	bt_pages_release_all(bt);
	bt_pages_reset(bt);
	reset(bt);
	bt->stats.flushes++;
}

bool bt_wants_renewal(struct bt *bt, u64 work)
{
	bool few;

	if (work - bt->renewal_work < BT_RENEWAL_WORK)
		return false;
	few = bt->stats.blocks - bt->renewal_blocks < BT_RENEWAL_FEW;
	bt->renewal_work = work;
	bt->renewal_blocks = bt->stats.blocks;
	if (!few || bt->config.lone_blocks)
		return false;
	if (!bt->settled && bt->stats.flushes)
		bt->settled = bt->block_count;
	return bt->block_count >= 2 * bt->settled + BT_RENEWAL_BLOCKS;
}

u64 bt_generation(const struct bt *bt)
{
	return bt->generation;
}

const struct bt_stats *bt_get_stats(const struct bt *bt)
{
	return &bt->stats;
}

void bt_set_selectors(struct bt *bt, u16 guest_ss, u16 user_cs, u16 user_ss)
{
	struct bt_config *c = &bt->config;

	if (c->guest_ss == guest_ss && c->user_cs == user_cs && c->user_ss == user_ss)
		return;
	c->guest_ss = guest_ss;
	c->user_cs = user_cs;
	c->user_ss = user_ss;
	bt_flush(bt);
}

void bt_set_lone(struct bt *bt, bool lone)
{
	if (bt->config.lone_blocks == lone)
		return;
	bt->config.lone_blocks = lone;
	bt_flush(bt);
}

// --- look-up ---

u32 bt_lookup(const struct bt *bt, u64 guest_rip)
{
	u32 b = bt->hash[bt_hash64(guest_rip) & bt->hash_mask];

	while (b != BT_NONE && bt->block[b].guest_rip != guest_rip)
		b = bt->block[b].hash_next;
	return b;
}

static u64 direct_entry(const struct bt *bt, u32 block)
{
	return bt->config.code_base + bt->block[block].code + bt->block[block].entry;
}

bool bt_contains(const struct bt *bt, u64 cache_rip)
{
	return cache_rip - bt->config.code_base < bt->config.code_size;
}

// Block whose code holds the address, dead ones too.
u32 bt_block_at(const struct bt *bt, u64 cache_rip)
{
	u64 off = cache_rip - bt->config.code_base;
	u32 lo = 0, hi = bt->block_count;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (bt->block[mid].code <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || off - bt->block[lo - 1].code >= bt->block[lo - 1].code_len)
		return BT_NONE;
	return lo - 1;
}

// off: from the block's code.
const struct bt_range *bt_range_at(const struct bt *bt, const struct bt_block *b, u32 off)
{
	const struct bt_range *r = bt->range + b->first_range;
	u32 lo = 0, hi = b->range_count;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (r[mid].code_off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	assert(lo);
	return &r[lo - 1];
}

void bt_extent(const struct bt *bt, u64 cache_rip, u64 *guest_rip, u32 *len)
{
	u32 block = bt_block_at(bt, cache_rip);

	assert(block != BT_NONE);
	*guest_rip = bt->block[block].guest_rip;
	*len = bt->block[block].guest_len;
}

// Code offset of the instruction at guest offset off, 0: none begins there.
static unsigned inside_block(const struct bt *bt, const struct bt_block *b, u64 off)
{
	const struct bt_range *r = bt->range + b->first_range;

	if (!(bt->map[b->first_map + off / 64] & BIT(off % 64)))
		return 0;
	for (u32 i = 0; i < b->range_count; i++) {
		unsigned end = i + 1 < b->range_count ? r[i + 1].code_off : b->code_len;

		if ((r[i].fix & BT_START) && r[i].guest_off == off)
			return r[i].code_off;
		if (r[i].rule == BT_RIP_LINEAR && off >= r[i].guest_off && off - r[i].guest_off < end - r[i].code_off)
			return r[i].code_off + (unsigned)(off - r[i].guest_off);
	}
	return 0;
}

u64 bt_inside(const struct bt *bt, u64 guest_rip, u32 *block)
{
	u64 vpn = guest_rip >> PAGE_SHIFT;

	for (u32 p = bt->vhash[bt_hash64(vpn) & bt->page_mask]; p != BT_NONE; p = bt->page[p].vnext) {
		if (bt->page[p].vpn != vpn)
			continue;
		for (u32 r = bt->page[p].refs; r != BT_NONE; r = bt->block[r / 2].ref[r & 1].next) {
			const struct bt_block *b = &bt->block[r / 2];
			unsigned code;

			if ((r & 1) || (b->flags & BT_BLOCK_LANDING) || guest_rip - b->guest_rip >= b->guest_len)
				continue;
			code = inside_block(bt, b, guest_rip - b->guest_rip);
			if (code) {
				*block = r / 2;
				return bt->config.code_base + b->code + code;
			}
		}
	}
	return 0;
}

// Where to go on at guest_rip: a block's entry or the middle of one. 0: nowhere.
static u64 resolve(const struct bt *bt, u64 guest_rip, u32 *block)
{
	u32 b = bt_lookup(bt, guest_rip);

	if (b != BT_NONE && !(bt->block[b].flags & BT_BLOCK_LANDING)) {
		*block = b;
		return direct_entry(bt, b);
	}
	return bt_inside(bt, guest_rip, block);
}

u64 bt_find(const struct bt *bt, u64 guest_rip)
{
	u32 block;

	return resolve(bt, guest_rip, &block);
}

static bool is_emulate_exit(const struct bt *bt, u32 block, u64 entry)
{
	const struct bt_block *b = &bt->block[block];
	u32 off = (u32)(entry - bt->config.code_base - b->code);

	if (off == b->entry)
		return b->flags & BT_BLOCK_EMULATE;
	return bt_range_at(bt, b, off)->exit == BT_EXIT_EMULATE;
}

static u64 *ibtc_of(struct bt *bt, u64 guest_rip)
{
	return &bt->config.ibtc[guest_rip & (IBTC_ENTRIES - 1)];
}

// An exit costs more than a translation: what will be run almost surely is made at once, a few blocks deep. Never flushes.
static void translate_ahead(struct bt *bt)
{
	for (u32 i = 0; i < bt->ahead_count; i++) {
		u64 rip = bt->ahead[i];
		u32 other, made;

		if (resolve(bt, rip, &other) || bt_lookup(bt, rip) != BT_NONE || !bt_has_room(bt))
			continue;
		made = bt_translate(bt, rip, false);
		if (made != BT_NONE)
			bt->stats.ahead++;
	}
}

u64 bt_entry(struct bt *bt, u64 guest_rip)
{
	u32 block;
	u64 entry = resolve(bt, guest_rip, &block);

	if (!entry) {
		u32 landing = bt_lookup(bt, guest_rip);

		if (landing != BT_NONE) // its inner block went away
			bt_drop(bt, landing);
		bt->ahead_count = 0;
		block = bt_translate(bt, guest_rip, false);
		if (block != BT_NONE) {
			entry = direct_entry(bt, block);
			translate_ahead(bt);
		}
	}
	return !entry || is_emulate_exit(bt, block, entry) ? 0 : entry;
}

// --- link slots ---

static void push_pending(struct bt *bt, u32 slot)
{
	u32 *head = &bt->pending[bt_hash64(bt->slot[slot].target) & bt->pending_mask];

	bt->slot[slot].next = *head;
	*head = slot;
}

static void patch(struct bt *bt, u32 at, u16 opcode, u64 target, unsigned length)
{
	u8 *code = bt->config.code + at;
	u32 disp = (u32)(target - (bt->config.code_base + at + length));

	// One instruction for another of the same length; the bytes in between are never seen, as no vCPU is in the cache.
	if (length == 5) {
		code[0] = (u8)opcode;
		memcpy(code + 1, &disp, 4);
		code[5] = 0x90;
	} else {
		memcpy(code, &opcode, 2);
		memcpy(code + 2, &disp, 4);
	}
}

// The slot's first jump goes straight to its target, or through the slot again.
static void make_direct(struct bt *bt, u32 slot, u64 entry)
{
	bt->slot[slot].direct = true;
	patch(bt, bt->slot[slot].jump, 0xe9, entry, 5);
}

static void make_indirect(struct bt *bt, u32 slot)
{
	bt->slot[slot].direct = false;
	patch(bt, bt->slot[slot].jump, 0x25ff, bt->config.links_base + 8ull * slot, 6);
}

void bt_slot_set(struct bt *bt, u32 slot, u32 block, u64 entry)
{
	make_direct(bt, slot, entry);
	bt->slot[slot].to = block;
	bt->slot[slot].next = bt->block[block].incoming;
	bt->block[block].incoming = slot;
	*(volatile u64 *)&bt->config.links[slot] = entry;
	bt->stats.links++;
}

// A slot in no list: to its target if that is translated, else pending.
void bt_slot_attach(struct bt *bt, u32 slot)
{
	u32 block;
	u64 entry = bt->config.lone_blocks ? 0 : resolve(bt, bt->slot[slot].target, &block);

	if (entry)
		bt_slot_set(bt, slot, block, entry);
	else
		push_pending(bt, slot);
}

static void attach_bucket(struct bt *bt, u64 target, u32 block, u64 entry)
{
	u32 *link = &bt->pending[bt_hash64(target) & bt->pending_mask];

	while (*link != BT_NONE) {
		u32 slot = *link;
		bool dead = bt->block[bt->slot[slot].owner].flags & BT_BLOCK_DEAD;

		if (!dead && bt->slot[slot].target != target) {
			link = &bt->slot[slot].next;
			continue;
		}
		*link = bt->slot[slot].next;
		bt->slot[slot].next = BT_NONE;
		if (!dead)
			bt_slot_set(bt, slot, block, entry);
	}
}

// Slots that waited for an instruction of this new block. (bt->emit still describes it.)
void bt_attach_pending(struct bt *bt, u32 block)
{
	const struct bt_emit *e = &bt->emit;

	if (bt->config.lone_blocks)
		return;
	attach_bucket(bt, e->guest_rip, block, direct_entry(bt, block));
	for (u32 i = 1; i < e->insn_count; i++)
		attach_bucket(bt, e->guest_rip + e->insn[i].off, block, e->base + e->insn[i].code);
}

static void take_pending(struct bt *bt, u32 slot)
{
	u32 *link = &bt->pending[bt_hash64(bt->slot[slot].target) & bt->pending_mask];

	while (*link != BT_NONE && *link != slot)
		link = &bt->slot[*link].next;
	if (*link == slot)
		*link = bt->slot[slot].next;
}

// A slot number from before a flush, or an entry that was dropped since, is ignored.
void bt_link(struct bt *bt, u32 slot, u64 entry)
{
	u32 block;

	if (bt->config.lone_blocks || slot >= bt->slot_count || bt->slot[slot].to != BT_NONE ||
	    (bt->block[bt->slot[slot].owner].flags & BT_BLOCK_DEAD) || resolve(bt, bt->slot[slot].target, &block) != entry || !entry)
		return;
	take_pending(bt, slot);
	bt_slot_set(bt, slot, block, entry);
}

// --- IBTC ---

static u32 second_index(u64 guest_rip)
{
	return (u32)(guest_rip >> 8) & (BT_SECOND_ENTRIES - 1);
}

// The block that loses its place in the first table moves to the second.
static void demote(struct bt *bt, u64 entry)
{
	u32 block = bt_block_at(bt, entry), i;
	const struct bt_block *b = &bt->block[block];

	if (!bt->second || !block)
		return;
	i = second_index(b->guest_rip);
	*(volatile u64 *)&bt->second[i] = BT_SECOND_NONE(i);
	*(volatile u64 *)&bt->second[i + BT_SECOND_ENTRIES] = bt->config.code_base + b->code + b->hit;
	*(volatile u64 *)&bt->second[i] = -b->guest_rip;
}

// A target inside a block gets an entry of its own when it is missed for the second time: most such targets are where an
// interrupt happened to strike.
void bt_fill_ibtc(struct bt *bt, u64 guest_rip)
{
	u32 block = bt_lookup(bt, guest_rip), inner;
	u64 entry;

	if (bt->config.lone_blocks)
		return;
	if (block == BT_NONE) {
		u64 *seen = &bt->missed[bt_hash64(guest_rip) % BT_MISS_FILTER];

		if (!bt_inside(bt, guest_rip, &inner))
			return;
		if (*seen != guest_rip) {
			*seen = guest_rip;
			return;
		}
		block = bt_translate(bt, guest_rip, true);
		if (block == BT_NONE)
			return;
	}
	entry = bt->config.code_base + bt->block[block].code;
	if (*ibtc_of(bt, guest_rip) != entry)
		demote(bt, *ibtc_of(bt, guest_rip));
	*(volatile u64 *)ibtc_of(bt, guest_rip) = entry;
	bt->stats.ibtc_fills++;
}

// --- removal ---

static void unhash(struct bt *bt, u32 block)
{
	u32 *link = &bt->hash[bt_hash64(bt->block[block].guest_rip) & bt->hash_mask];

	while (*link != block) {
		assert(*link != BT_NONE);
		link = &bt->block[*link].hash_next;
	}
	*link = bt->block[block].hash_next;
}

// (The guest can write the return cache: what it put there is its own harm.)
static void forget_returns(struct bt *bt, const struct bt_block *b)
{
	u64 code = bt->config.code_base + b->code;

	for (u32 i = 0; bt->config.returns && i < RETURNS; i++)
		if (bt->config.returns[i] - code < b->code_len)
			*(volatile u64 *)&bt->config.returns[i] = bt->config.code_base + bt->dispatch_stub;
}

// The block's code and ranges stay, so a RIP inside is still explained; nothing leads there any more.
void bt_drop(struct bt *bt, u32 block)
{
	struct bt_block *b = &bt->block[block];
	u64 *ibtc = ibtc_of(bt, b->guest_rip);
	u32 slot, next;

	assert(!(b->flags & (BT_BLOCK_DEAD | BT_BLOCK_SYSTEM)));
	unhash(bt, block);
	b->flags |= BT_BLOCK_DEAD;
	if (*ibtc == bt->config.code_base + b->code)
		*(volatile u64 *)ibtc = bt->config.code_base + bt->miss_stub;
	if (bt->second && bt->second[second_index(b->guest_rip)] == -b->guest_rip)
		*(volatile u64 *)&bt->second[second_index(b->guest_rip)] = BT_SECOND_NONE(second_index(b->guest_rip));
	for (slot = b->incoming; slot != BT_NONE; slot = next) {
		next = bt->slot[slot].next;
		bt->slot[slot].to = BT_NONE;
		bt->slot[slot].next = BT_NONE;
		*(volatile u64 *)&bt->config.links[slot] = bt->config.code_base + bt->slot[slot].stub;
		if (bt->slot[slot].direct)
			make_indirect(bt, slot);
		if (!(bt->block[bt->slot[slot].owner].flags & BT_BLOCK_DEAD))
			push_pending(bt, slot);
	}
	b->incoming = BT_NONE;
	forget_returns(bt, b);
	bt_page_remove(bt, block);
	bt->generation++;
}

// --- audit ---

static void audit_ranges(const struct bt *bt, const struct bt_block *b)
{
	const struct bt_range *r = bt->range + b->first_range;

	assert(b->range_count && r[0].code_off == 0);
	for (u32 i = 1; i < b->range_count; i++)
		assert(r[i].code_off > r[i - 1].code_off && r[i].code_off < b->code_len);
}

static u32 audit_block(const struct bt *bt, u32 n)
{
	const struct bt_block *b = &bt->block[n];
	u32 incoming = 0;

	audit_ranges(bt, b);
	assert(!n || b->code >= bt->block[n - 1].code + bt->block[n - 1].code_len);
	if (b->flags & (BT_BLOCK_DEAD | BT_BLOCK_SYSTEM))
		return 0;
	assert(b->ref[0].page != BT_NONE && bt->page[b->ref[0].page].vpn == b->guest_rip >> PAGE_SHIFT);
	for (u32 s = b->incoming; s != BT_NONE; s = bt->slot[s].next, incoming++) {
		u64 off = bt->config.links[s] - bt->config.code_base - b->code;

		assert(bt->slot[s].to == n && off < b->code_len);
		assert(bt->slot[s].target - b->guest_rip < b->guest_len);
	}
	return incoming;
}

void bt_audit(const struct bt *bt)
{
	u32 linked = 0, incoming = 0, live = 0, hashed = 0;

	for (u32 n = 0; n < bt->block_count; n++) {
		incoming += audit_block(bt, n);
		live += !(bt->block[n].flags & (BT_BLOCK_DEAD | BT_BLOCK_SYSTEM));
	}
	for (u32 h = 0; h <= bt->hash_mask; h++)
		for (u32 b = bt->hash[h]; b != BT_NONE; b = bt->block[b].hash_next, hashed++)
			assert(!(bt->block[b].flags & BT_BLOCK_DEAD) && bt_lookup(bt, bt->block[b].guest_rip) == b);
	for (u32 s = 0; s < bt->slot_count; s++) {
		assert(bt->slot[s].to != BT_NONE || !bt->slot[s].direct);
		linked += bt->slot[s].to != BT_NONE;
		assert(bt->slot[s].to != BT_NONE || bt->config.links[s] == bt->config.code_base + bt->slot[s].stub);
	}
	assert(hashed == live && linked == incoming);
	for (u32 i = 0; i < IBTC_ENTRIES; i++) {
		u32 b = bt_block_at(bt, bt->config.ibtc[i]);

		assert(b != BT_NONE && !(bt->block[b].flags & BT_BLOCK_DEAD));
		assert(bt->config.ibtc[i] == bt->config.code_base + bt->block[b].code);
		assert(b == 0 || (bt->block[b].guest_rip & (IBTC_ENTRIES - 1)) == i);
	}
	for (u32 i = 0; bt->second && i < BT_SECOND_ENTRIES; i++) {
		u32 b;

		if (bt->second[i] == BT_SECOND_NONE(i))
			continue;
		b = bt_lookup(bt, -bt->second[i]);
		assert(b != BT_NONE && bt->second[i + BT_SECOND_ENTRIES] == bt->config.code_base + bt->block[b].code + bt->block[b].hit);
	}
	for (u32 i = 0; bt->config.returns && i < RETURNS; i++) {
		u32 b = bt_block_at(bt, bt->config.returns[i]);

		assert(b != BT_NONE && !(bt->block[b].flags & BT_BLOCK_DEAD));
	}
	bt_audit_pages(bt);
}
