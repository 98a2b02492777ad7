// SPDX-License-Identifier: MIT
// Making one superblock: scan guest instructions from guest_rip along the fall-through path, emit their translation into a
// private buffer, then copy it to the cache once and publish its descriptors.
//
// A block stays in one guest page, but for an instruction that straddles the page's end: that one is its last.
#include "core/bt/internal.h"

#include "base/string.h"

#define JOIN_AFTER 8 // instructions after which a block ends where another begins

struct source {
	u64 rip;
	unsigned got;   // bytes of the first page in the window
	bool page_end;  // they reach the page's end
	u32 page, page2;
	unsigned len;   // guest bytes translated
	u64 map[BT_WINDOW / 64 + 1]; // instruction starts
};

static bool is_call(u8 cls)
{
	return cls == BT_CALL || cls == BT_CALL_IND;
}

static bool ends_block(const struct bt *bt, u8 cls)
{
	return cls == BT_JMP || cls == BT_JMP_IND || cls == BT_RET || cls == BT_EMULATE || cls == BT_SYSRET || cls == BT_IRET ||
	       (is_call(cls) && !bt_calls_return(bt));
}

static unsigned fetch(struct bt *bt, u64 rip, void *buf, unsigned len, ppn_t *ppn)
{
	return bt->config.ports->fetch(bt->config.ctx, rip, buf, len, ppn);
}

// Bytes into the window; they count only once the page is protected.
static bool open_source(struct bt *bt, struct source *s)
{
	unsigned room = (unsigned)(PAGE_SIZE - (s->rip & PAGE_MASK));
	unsigned want = MIN(room, (unsigned)BT_WINDOW);
	ppn_t ppn, again;
	bool fresh;

	s->got = fetch(bt, s->rip, bt->emit.window, want, &ppn);
	if (!s->got)
		return false;
	s->page = bt_page_get(bt, s->rip, ppn, &fresh);
	if (s->page == BT_NONE)
		return false;
	if (fresh) {
		s->got = fetch(bt, s->rip, bt->emit.window, want, &again);
		if (!s->got || again != ppn)
			return false;
	}
	s->page_end = s->got == room;
	return true;
}

// The instruction at offset `off` runs past the page's end: its remaining bytes come from the next page.
static bool scan_straddling(struct bt *bt, struct source *s, struct bt_insn *in, unsigned off)
{
	u64 next = (s->rip | PAGE_MASK) + 1;
	u8 *rest = bt->emit.window + s->got;
	unsigned more, need;
	ppn_t ppn, again;
	bool fresh;

	more = fetch(bt, next, rest, 15, &ppn);
	if (!more)
		return false;
	s->page2 = bt_page_get(bt, next, ppn, &fresh);
	if (s->page2 == BT_NONE)
		return false;
	need = more;
	if (fresh && (fetch(bt, next, rest, need, &again) != need || again != ppn))
		return false;
	return bt_scan(bt, in, bt->emit.window + off, s->got - off + more, s->rip + off);
}

enum scan_result { SCAN_OK, SCAN_STRADDLES, SCAN_STOP, SCAN_UNKNOWN };

static enum scan_result scan_one(struct bt *bt, struct source *s, struct bt_insn *in, unsigned off)
{
	unsigned left = s->got - off;

	if (left && bt_scan(bt, in, bt->emit.window + off, left, s->rip + off))
		return SCAN_OK;
	if (left >= 15)
		return SCAN_UNKNOWN;
	if (!s->page_end || !left)
		return SCAN_STOP;
	return scan_straddling(bt, s, in, off) ? SCAN_STRADDLES : SCAN_STOP;
}

static void refine_class(struct bt *bt, struct bt_insn *in)
{
	if (in->cls == BT_COPY && !bt_can_copy(in))
		in->cls = BT_EMULATE;
	if (in->cls == BT_MOV_SEG && (in->modrm < 0xc0 || (in->modrm & 7) == R_RSP))
		in->cls = BT_EMULATE;
	if (in->cls == BT_MOV_CR2 && (!bt->config.cr2_in_page || (in->modrm & 7) == R_RSP))
		in->cls = BT_EMULATE;
	if (in->cls == BT_READ_CR3 && (!bt->config.cr3_by_gate || (in->modrm & 7) == R_RSP))
		in->cls = BT_EMULATE;
	if (in->cls == BT_INVLPG && !bt->config.invlpg_in_page)
		in->cls = BT_EMULATE;
	if (in->cls == BT_MOV_CR3 && (!bt->config.cr3_by_gate || (in->modrm & 7) == R_RSP))
		in->cls = BT_EMULATE;
	if ((in->cls == BT_IN_AL || in->cls == BT_OUT_AL) && !bt->config.uart_in_page)
		in->cls = BT_EMULATE;
	if (in->cls == BT_SYSRET && !bt->config.user_cs)
		in->cls = BT_EMULATE;
}

static bool joins(struct bt *bt, u32 count, u64 rip)
{
	u32 b;

	if (count < JOIN_AFTER)
		return false;
	b = bt_lookup(bt, rip);
	return b != BT_NONE && !(bt->block[b].flags & BT_BLOCK_LANDING);
}

static void scan_block(struct bt *bt, struct source *s)
{
	struct bt_emit *e = &bt->emit;
	unsigned off = 0;

	while (e->insn_count < BT_MAX_INSNS && !joins(bt, e->insn_count, s->rip + off)) {
		struct bt_insn *in = &e->insn[e->insn_count];
		enum scan_result r = scan_one(bt, s, in, off);

		if (r == SCAN_STOP)
			break;
		if (r == SCAN_UNKNOWN) {
			memset(in, 0, sizeof(*in));
			in->cls = BT_EMULATE;
			in->len = 1;
		}
		in->off = (u16)off;
		in->code = 0;
		refine_class(bt, in);
		s->map[off / 64] |= BIT(off % 64);
		e->insn_count++;
		off += in->len;
		if (ends_block(bt, in->cls) || r == SCAN_STRADDLES)
			break;
	}
	s->len = off;
	// STI's shadow covers an instruction that must be in the same block.
	if (e->insn_count && e->insn[e->insn_count - 1].cls == BT_STI)
		e->insn[e->insn_count - 1].cls = BT_EMULATE;
}

static bool is_inner(const struct source *s, u64 target)
{
	u64 off = target - s->rip;

	return off < s->len && (s->map[off / 64] & BIT(off % 64));
}

// One more guest instruction begins. Flags are kept; bt_recover() takes it back when the instruction is rolled back. What goes
// to the emulator at once is not counted here.
static void emit_counter(struct bt_emit *e, const struct bt_insn *in)
{
	unsigned field = offsetof(struct vcpu_page, counter[0]);

	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = in->off, .fix = BT_START});
	bt_spill(e, R_RAX);
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = in->off, .spilled = BIT(R_RAX)});
	bt_load(e, R_RAX, field);
	bt_put(e, "\x48\x8d\x40\x01", 4); // lea rax, [rax + 1]
	bt_store(e, field, R_RAX);
	e->counted = in->off;
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = in->off, .spilled = BIT(R_RAX)});
	bt_unspill(e, R_RAX);
}

static void emit_insn(struct bt_emit *e, const struct source *s, struct bt_insn *in)
{
	const u8 *bytes = e->window + in->off;
	bool inner = is_inner(s, in->target);

	in->code = e->pos;
	if (e->bt->config.count_instructions && in->cls != BT_EMULATE)
		emit_counter(e, in);
	switch (in->cls) {
	case BT_COPY:
		if (unlikely(e->bt->quiet_count || e->bt->config.all_quiet) && bt_can_compare(in, bytes) &&
		    (e->bt->config.all_quiet || bt_is_quiet_site(e->bt, e->guest_rip + in->off)))
			bt_emit_store_if_different(e, in, bytes);
		else
			bt_emit_copy(e, in, bytes);
		break;
	case BT_JCC:
		bt_emit_jcc(e, in, inner);
		break;
	case BT_LOOP:
		bt_emit_loop(e, in, inner, bytes);
		break;
	case BT_JMP:
		bt_emit_jump(e, in, inner);
		break;
	case BT_CALL:
		bt_emit_call(e, in, inner);
		break;
	case BT_RET:
		bt_emit_ret(e, in);
		break;
	case BT_JMP_IND:
	case BT_CALL_IND:
		bt_emit_indirect(e, in, bytes);
		break;
	default:
		bt_emit_sensitive(e, in);
		break;
	}
	if (is_call(in->cls) && bt_calls_return(e->bt)) {
		e->counted = -1;
		bt_emit_landing(e, in->off + in->len);
	}
}

static void count_kinds(struct bt *bt, const struct bt_insn *in)
{
	if (in->cls == BT_COPY && !in->rip_relative)
		bt->stats.copied++;
	else if (in->cls == BT_EMULATE)
		bt->stats.callouts++;
	else
		bt->stats.rewritten++;
}

static void emit_body(struct bt *bt, const struct source *s)
{
	struct bt_emit *e = &bt->emit;

	for (u32 i = 0; i < e->insn_count; i++) {
		emit_insn(e, s, &e->insn[i]);
		count_kinds(bt, &e->insn[i]);
	}
	if (!ends_block(bt, e->insn[e->insn_count - 1].cls))
		bt_emit_leave(e, s->rip + s->len);
	bt_finish_tails(e);
}

static void begin(struct bt *bt, u64 rip)
{
	struct bt_emit *e = &bt->emit;

	e->bt = bt;
	e->guest_rip = rip;
	e->base = bt->config.code_base + bt->code_used;
	e->pos = e->range_count = e->slot_count = e->tail_count = e->insn_count = e->inner_count = e->return_count = 0;
	e->first_slot = bt->slot_count;
	e->shadow = e->counted = -1;
}

// One pass of aligned 8-byte stores: each store to a page that holds executed code is dear under an emulating host.
static void copy_code(struct bt *bt)
{
	struct bt_emit *e = &bt->emit;
	volatile u64 *to = (volatile u64 *)(void *)(bt->config.code + bt->code_used);
	u64 word;
	u32 n = e->pos;

	while (n % 16)
		e->buf[n++] = 0xcc;
	for (u32 i = 0; i < n / 8; i++) {
		memcpy(&word, e->buf + 8 * i, 8);
		to[i] = word;
	}
}

static void publish_slots(struct bt *bt, u32 block)
{
	struct bt_emit *e = &bt->emit;
	struct bt_block *b = &bt->block[block];

	b->first_slot = bt->slot_count;
	b->slot_count = (u8)e->slot_count;
	for (u32 i = 0; i < e->slot_count; i++) {
		u32 n = bt->slot_count++;

		assert(e->slot_stub[i]);
		bt->slot[n] = (struct bt_slot){.target = e->slot_target[i], .stub = b->code + e->slot_stub[i], .jump = b->code + e->slot_jump[i],
					       .owner = block, .to = BT_NONE, .next = BT_NONE};
		bt->config.links[n] = bt->config.code_base + bt->slot[n].stub;
	}
}

// Code and descriptors of what is in bt->emit. The block is not yet found by anything.
static u32 publish(struct bt *bt, unsigned entry, unsigned body, unsigned guest_len, unsigned flags)
{
	struct bt_emit *e = &bt->emit;
	u32 block = bt->block_count++;
	struct bt_block *b = &bt->block[block];

	*b = (struct bt_block){.guest_rip = e->guest_rip, .code = (u32)bt->code_used, .hit = e->hit, .entry = (u16)entry, .body = (u16)body,
			       .code_len = (u16)e->pos, .guest_len = (u16)guest_len, .range_count = (u16)e->range_count,
			       .flags = (u8)flags, .first_range = bt->range_count, .first_map = bt->map_count,
			       .hash_next = BT_NONE, .incoming = BT_NONE};
	b->ref[0].page = b->ref[1].page = BT_NONE;
	copy_code(bt);
	memcpy(bt->range + bt->range_count, e->range, e->range_count * sizeof(e->range[0]));
	bt->range_count += e->range_count;
	publish_slots(bt, block);
	bt->code_used = ROUND_UP(bt->code_used + e->pos, 16);
	bt->stats.bytes += e->pos;
	return block;
}

static void publish_source(struct bt *bt, u32 block, const struct source *s)
{
	unsigned first = (unsigned)(s->rip & PAGE_MASK), end = first + s->len;
	unsigned from = first >> BT_GRAIN_SHIFT, to = (MIN(end, (unsigned)PAGE_SIZE) - 1) >> BT_GRAIN_SHIFT;
	u64 grains = (~0ull >> (63 - to)) & (~0ull << from);
	unsigned words = (s->len + 63) / 64;

	memcpy(bt->map + bt->map_count, s->map, words * 8);
	bt->map_count += words;
	bt_page_add(bt, block, 0, s->page, grains);
	if (end > PAGE_SIZE)
		bt_page_add(bt, block, 1, s->page2, 1);
}

static void insert(struct bt *bt, u32 block)
{
	u32 *head = &bt->hash[bt_hash64(bt->block[block].guest_rip) & bt->hash_mask];

	bt->block[block].hash_next = *head;
	*head = block;
}

bool bt_has_room(const struct bt *bt)
{
	return bt->code_used + BT_BLOCK_MAX + 16 <= bt->config.code_size && bt->block_count < bt->block_cap &&
	       bt->slot_count + BT_SLOTS_MAX <= bt->slot_cap && bt->range_count + BT_RANGES_MAX <= bt->range_cap &&
	       bt->map_count + BT_WINDOW / 64 + 1 <= bt->map_cap && (bt->page_free != BT_NONE ? 1u : 0u) + bt->page_cap - bt->page_count >= 2;
}

static u32 make_landing(struct bt *bt, struct source *s)
{
	struct bt_emit *e = &bt->emit;
	unsigned entry;
	u32 block;

	bt_emit_indirect_entry(e);
	entry = e->pos;
	bt_emit_leave(e, s->rip);
	s->len = BT_LANDING_LEN;
	s->map[0] = 0;
	block = publish(bt, entry, entry, s->len, BT_BLOCK_LANDING);
	publish_source(bt, block, s);
	return block;
}

static void ahead(struct bt *bt, u64 rip)
{
	if (bt->ahead_count < BT_AHEAD_MAX)
		bt->ahead[bt->ahead_count++] = rip;
}

// What is run all but surely when the block is: its first calls, and where its end leads.
static void note_successors(struct bt *bt, const struct source *s)
{
	const struct bt_emit *e = &bt->emit;
	const struct bt_insn *last = &e->insn[e->insn_count - 1];
	u64 end = s->rip + s->len;
	bool sure = true;

	for (u32 i = 0; i < e->insn_count && sure; i++) {
		sure = e->insn[i].cls != BT_JCC && e->insn[i].cls != BT_LOOP;
		if (e->insn[i].cls == BT_CALL && !is_inner(s, e->insn[i].target))
			ahead(bt, e->insn[i].target);
	}
	if (last->cls == BT_JMP && !is_inner(s, last->target))
		ahead(bt, last->target);
	else if (is_call(last->cls) || !ends_block(bt, last->cls))
		ahead(bt, end);
}

static u32 make_block(struct bt *bt, struct source *s)
{
	struct bt_emit *e = &bt->emit;
	unsigned entry, body;
	u32 block;

	scan_block(bt, s);
	if (!e->insn_count)
		return BT_NONE;
	bt_emit_indirect_entry(e);
	entry = e->pos;
	body = e->pos;
	emit_body(bt, s);
	block = publish(bt, entry, body, s->len, e->insn[0].cls == BT_EMULATE ? BT_BLOCK_EMULATE : 0);
	publish_source(bt, block, s);
	note_successors(bt, s);
	bt->stats.guest_instructions += e->insn_count;
	return block;
}

u32 bt_translate(struct bt *bt, u64 guest_rip, bool landing)
{
	struct source s = {.rip = guest_rip, .page = BT_NONE, .page2 = BT_NONE};
	u32 block = BT_NONE;

	if (bt->config.block_limit && bt->stats.blocks >= bt->config.block_limit)
		return BT_NONE;
	if (!bt_has_room(bt)) {
		bt_flush(bt);
		landing = false;
	}
	begin(bt, guest_rip);
	if (open_source(bt, &s))
		block = landing ? make_landing(bt, &s) : make_block(bt, &s);
	if (s.page != BT_NONE)
		bt_page_release_empty(bt, s.page);
	if (s.page2 != BT_NONE && s.page2 != s.page)
		bt_page_release_empty(bt, s.page2);
	if (block == BT_NONE)
		return BT_NONE;
	bt->stats.blocks++;
	insert(bt, block);
	for (u32 i = 0; i < bt->block[block].slot_count; i++)
		bt_slot_attach(bt, bt->block[block].first_slot + i);
	if (!landing)
		bt_attach_pending(bt, block);
	return block;
}

// The first block of an empty cache: the stubs that all blocks share.
void bt_make_system(struct bt *bt)
{
	begin(bt, 0);
	bt->miss_stub = (u32)bt->code_used;
	bt_emit_system(&bt->emit);
	publish(bt, 0, 0, 0, BT_BLOCK_SYSTEM);
}
