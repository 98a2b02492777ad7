// SPDX-License-Identifier: MIT
// Encoding of the few instructions that templates are made of, and the recovery ranges that go with them.
//
// Nothing here touches flags but bt_cmp_imm8 and bt_cmp32 (for templates whose guest instruction frees them).
#include "core/bt/internal.h"

#include "base/string.h"

#define SPILL(reg) (offsetof(struct vcpu_page, spill) + 8 * (reg))

void bt_put8(struct bt_emit *e, u8 v)
{
	assert(e->pos < BT_BLOCK_MAX);
	e->buf[e->pos++] = v;
}

void bt_put(struct bt_emit *e, const void *bytes, unsigned n)
{
	assert(e->pos + n <= BT_BLOCK_MAX);
	for (unsigned i = 0; i < n; i++) // mostly less than eight
		e->buf[e->pos + i] = ((const u8 *)bytes)[i];
	e->pos += n;
}

void bt_put32(struct bt_emit *e, u32 v)
{
	bt_put(e, &v, 4);
}

void bt_put64(struct bt_emit *e, u64 v)
{
	bt_put(e, &v, 8);
}

static void patch32(struct bt_emit *e, u32 at, u32 v)
{
	memcpy(e->buf + at, &v, 4);
}

// disp32 that reaches `address` from an instruction that ends `after` bytes behind the displacement.
static void put_rip_disp(struct bt_emit *e, u64 address, unsigned after)
{
	u64 d = address - (e->base + e->pos + 4 + after);

	assert(bt_fits32(d));
	bt_put32(e, (u32)d);
}

static u64 field_address(struct bt_emit *e, unsigned field)
{
	return e->bt->config.vcpu_base + field;
}

static bool continues(const struct bt_emit *e, const struct bt_range *r)
{
	const struct bt_range *last;

	if (!e->range_count)
		return false;
	last = &e->range[e->range_count - 1];
	return r->rule == BT_RIP_LINEAR && last->rule == BT_RIP_LINEAR && r->fix == last->fix &&
	       r->guest_off - last->guest_off == (int)(e->pos - last->code_off);
}

// From here on the given rule holds. A range that no code went into is replaced.
void bt_range(struct bt_emit *e, struct bt_range r)
{
	if ((r.rule == BT_RIP_GUEST || r.rule == BT_RIP_LINEAR) && r.guest_off == e->shadow)
		r.fix |= BT_SHADOW;
	if ((r.rule == BT_RIP_GUEST || r.rule == BT_RIP_LINEAR) && r.guest_off == e->counted)
		r.counted = 1;
	if (continues(e, &r))
		return;
	r.code_off = (u16)e->pos;
	if (e->range_count && e->range[e->range_count - 1].code_off == r.code_off)
		e->range_count--;
	assert(e->range_count < BT_RANGES_MAX);
	e->range[e->range_count++] = r;
}

static void put_field_insn(struct bt_emit *e, u8 opcode, unsigned reg, unsigned field)
{
	bt_put8(e, 0x48 | (reg >= 8 ? 4 : 0));
	bt_put8(e, opcode);
	bt_put8(e, (u8)(0x05 | (reg & 7) << 3));
	put_rip_disp(e, field_address(e, field), 0);
}

void bt_store(struct bt_emit *e, unsigned field, unsigned reg)
{
	put_field_insn(e, 0x89, reg, field);
}

void bt_load(struct bt_emit *e, unsigned reg, unsigned field)
{
	put_field_insn(e, 0x8b, reg, field);
}

// The 32-bit forms; a 66 prefix before bt_load32() makes it the 16-bit one.
static void put_field_insn32(struct bt_emit *e, u8 opcode, unsigned reg, unsigned field)
{
	if (reg >= 8)
		bt_put8(e, 0x44);
	bt_put8(e, opcode);
	bt_put8(e, (u8)(0x05 | (reg & 7) << 3));
	put_rip_disp(e, field_address(e, field), 0);
}

void bt_store32(struct bt_emit *e, unsigned field, unsigned reg)
{
	put_field_insn32(e, 0x89, reg, field);
}

void bt_load32(struct bt_emit *e, unsigned reg, unsigned field)
{
	put_field_insn32(e, 0x8b, reg, field);
}

void bt_cmp32(struct bt_emit *e, unsigned reg, unsigned field)
{
	put_field_insn32(e, 0x3b, reg, field);
}

void bt_load_byte(struct bt_emit *e, unsigned reg, unsigned field)
{
	assert(reg < 8);
	bt_put(e, "\x0f\xb6", 2);
	bt_put8(e, (u8)(0x05 | reg << 3));
	put_rip_disp(e, field_address(e, field), 0);
}

void bt_lea_field(struct bt_emit *e, unsigned reg, unsigned field)
{
	put_field_insn(e, 0x8d, reg, field);
}

void bt_spill(struct bt_emit *e, unsigned reg)
{
	bt_store(e, SPILL(reg), reg);
}

void bt_unspill(struct bt_emit *e, unsigned reg)
{
	bt_load(e, reg, SPILL(reg));
}

void bt_store_imm(struct bt_emit *e, unsigned field, s32 imm)
{
	bt_put(e, "\x48\xc7\x05", 3);
	put_rip_disp(e, field_address(e, field), 4);
	bt_put32(e, (u32)imm);
}

void bt_cmp_imm8(struct bt_emit *e, unsigned field, s8 imm)
{
	bt_put(e, "\x48\x83\x3d", 3);
	put_rip_disp(e, field_address(e, field), 1);
	bt_put8(e, (u8)imm);
}

void bt_mov_imm(struct bt_emit *e, unsigned reg, u64 v)
{
	u8 b = reg >= 8;

	if (v <= 0xffffffff) {
		if (b)
			bt_put8(e, 0x41);
		bt_put8(e, (u8)(0xb8 | (reg & 7)));
		bt_put32(e, (u32)v);
	} else if (bt_fits32(v)) {
		bt_put8(e, 0x48 | b);
		bt_put8(e, 0xc7);
		bt_put8(e, (u8)(0xc0 | (reg & 7)));
		bt_put32(e, (u32)v);
	} else {
		bt_put8(e, 0x48 | b);
		bt_put8(e, (u8)(0xb8 | (reg & 7)));
		bt_put64(e, v);
	}
}

void bt_jump_slot(struct bt_emit *e, unsigned slot)
{
	if (!e->slot_jump[slot])
		e->slot_jump[slot] = e->pos;
	bt_put(e, "\xff\x25", 2);
	put_rip_disp(e, e->bt->config.links_base + 8ull * (e->first_slot + slot), 0);
}

// INT to the hypervisor. The byte behind it belongs to the same range, as the saved RIP points there.
void bt_exit_here(struct bt_emit *e, enum bt_exit_kind kind, unsigned guest_off, unsigned spilled, unsigned fix)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST,
				      .guest_off = (u16)guest_off,
				      .spilled = (u8)spilled,
				      .fix = (u8)fix,
				      .exit = (u8)kind & 15});
	bt_put(e, "\xcd\xf0\xcc", 3);
}

unsigned bt_slot_for(struct bt_emit *e, u64 target)
{
	for (unsigned i = 0; i < e->slot_count; i++)
		if (e->slot_target[i] == target)
			return i;
	assert(e->slot_count < BT_SLOTS_MAX);
	e->slot_target[e->slot_count] = target;
	e->slot_stub[e->slot_count] = e->slot_jump[e->slot_count] = 0;
	return e->slot_count++;
}

static u32 put_long_jump(struct bt_emit *e, int cc)
{
	if (cc < 0) {
		bt_put8(e, 0xe9);
	} else {
		bt_put8(e, 0x0f);
		bt_put8(e, (u8)(0x80 | cc));
	}
	bt_put32(e, 0);
	return e->pos - 4;
}

void bt_jump_tail(struct bt_emit *e, int cc, struct bt_tail t)
{
	assert(e->tail_count < BT_TAILS_MAX);
	if (t.exit != BT_EXIT_LINK && t.guest_off == e->shadow)
		t.fix |= BT_SHADOW;
	t.counted = t.exit != BT_EXIT_LINK && t.guest_off == e->counted;
	t.fixup = put_long_jump(e, cc);
	e->tail[e->tail_count++] = t;
}

// Backward targets are known: the short form where it reaches. Forward ones are filled in when the block is complete.
void bt_jump_inner(struct bt_emit *e, int cc, u64 target)
{
	unsigned off = (unsigned)(target - e->guest_rip);

	for (unsigned i = 0; i < e->insn_count; i++) {
		s64 d = (s64)e->insn[i].code - (e->pos + 2);

		if (e->insn[i].off == off && e->insn[i].code && d >= -128 && d < 0) {
			bt_put8(e, cc < 0 ? 0xeb : (u8)(0x70 | cc));
			bt_put8(e, (u8)d);
			return;
		}
	}
	assert(e->inner_count < BT_MAX_INSNS);
	e->inner[e->inner_count].fixup = put_long_jump(e, cc);
	e->inner[e->inner_count++].target = target;
}

u32 bt_short_jump(struct bt_emit *e, u8 opcode)
{
	bt_put8(e, opcode);
	bt_put8(e, 0);
	return e->pos;
}

void bt_here(struct bt_emit *e, u32 label)
{
	assert(e->pos - label < 128);
	e->buf[label - 1] = (u8)(e->pos - label);
}

static void finish_link_tail(struct bt_emit *e, const struct bt_tail *t)
{
	struct bt_range r = {.rule = BT_RIP_SLOT, .slot = t->slot, .spilled = t->spilled};

	bt_range(e, r);
	bt_jump_slot(e, t->slot);
	if (e->slot_stub[t->slot])
		return;
	r.exit = BT_EXIT_LINK;
	bt_range(e, r);
	e->slot_stub[t->slot] = e->pos;
	bt_put(e, "\xcd\xf0\xcc", 3);
}

// An exit leaves exact state without bt_recover's help.
static void finish_exit_tail(struct bt_emit *e, const struct bt_tail *t)
{
	e->counted = t->counted ? t->guest_off : -1;
	bt_range(e, (struct bt_range){
			    .rule = BT_RIP_GUEST, .guest_off = t->guest_off, .spilled = t->spilled, .fix = t->fix});
	if (t->fix & BT_FIX_VIF) {
		bt_load(e, R_RAX, offsetof(struct vcpu_page, old_vif));
		bt_store(e, offsetof(struct vcpu_page, vif), R_RAX);
	}
	if (t->fix & BT_FIX_VIF_ZERO)
		bt_store_imm(e, offsetof(struct vcpu_page, vif), 0);
	for (unsigned reg = 0; reg < 8; reg++)
		if (t->spilled & BIT(reg))
			bt_unspill(e, reg);
	bt_exit_here(e, t->exit, t->guest_off, t->spilled, t->fix);
}

static bool same_tail(const struct bt_tail *a, const struct bt_tail *b)
{
	return a->exit == b->exit && a->guest_off == b->guest_off && a->spilled == b->spilled && a->slot == b->slot &&
	       a->fix == b->fix && a->counted == b->counted;
}

// Exits at the block's end, one for all jumps that want the same; then the jumps inside the block.
void bt_finish_tails(struct bt_emit *e)
{
	for (u32 i = 0; i < e->tail_count; i++) {
		struct bt_tail *t = &e->tail[i];
		u32 here = e->pos;

		if (!t->fixup)
			continue;
		for (u32 j = i; j < e->tail_count; j++) {
			if (!e->tail[j].fixup || !same_tail(t, &e->tail[j]))
				continue;
			patch32(e, e->tail[j].fixup, here - (e->tail[j].fixup + 4));
			if (j != i)
				e->tail[j].fixup = 0;
		}
		if (t->exit == BT_EXIT_LINK)
			finish_link_tail(e, t);
		else
			finish_exit_tail(e, t);
	}
	for (u32 i = 0; i < e->inner_count; i++) {
		u32 n;

		for (n = 0; n < e->insn_count; n++)
			if (e->guest_rip + e->insn[n].off == e->inner[i].target)
				break;
		assert(n < e->insn_count);
		patch32(e, e->inner[i].fixup, e->insn[n].code - (e->inner[i].fixup + 4));
	}
}
