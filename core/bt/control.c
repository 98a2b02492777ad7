// SPDX-License-Identifier: MIT
// Templates of control transfers.
//
// A direct exit is `jmp [slot]`. An indirect transfer puts its target into rcx (rax and rcx spilled: "dispatch state") and
// jumps through the IBTC, indexed by the target's low 13 bits, to some block's indirect entry. That compares without
// flags (LEA, JRCXZ) and either restores both registers and falls into the block, or goes to the common miss stub.
// Pushes hold guest return addresses. No template touches flags.
#include "core/bt/internal.h"

#include "base/string.h"

#define SP_AC (BIT(R_RAX) | BIT(R_RCX))
#define FIELD(f) offsetof(struct vcpu_page, f)

static void guest(struct bt_emit *e, unsigned off, unsigned spilled)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = (u16)off, .spilled = (u8)spilled});
}

static void start(struct bt_emit *e, const struct bt_insn *in)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = in->off, .fix = BT_START});
}

static void rcx_is_rip(struct bt_emit *e, unsigned fix)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_RCX, .spilled = SP_AC, .fix = (u8)fix});
}

static void spill_ac(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_spill(e, R_RAX);
	guest(e, in->off, BIT(R_RAX));
	bt_spill(e, R_RCX);
	guest(e, in->off, SP_AC);
}

static void target_is_rip(struct bt_emit *e, unsigned spilled, enum bt_exit_kind exit)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_TARGET, .spilled = (u8)spilled, .exit = exit & 15});
}

static void put_byte_load(struct bt_emit *e, u8 modrm, unsigned byte)
{
	bt_put8(e, 0x8a);
	bt_put8(e, modrm);
	bt_put32(e, (u32)(e->bt->config.vcpu_base + FIELD(target) + byte - (e->base + e->pos + 4)));
}

// Second look-up, by bits 8 to 23 of the target: tags hold minus the RIP, so LEA gives 0 on a match. Most targets that the
// first table has no room for are found here. Falls through on a miss, with rdx borrowed as well.
static void second_look_up(struct bt_emit *e)
{
	u64 table = e->bt->config.code_base; // the tables open the cache
	u32 miss;

	bt_spill(e, R_RDX);
	target_is_rip(e, SP_AC | BIT(R_RDX), BT_EXIT_NONE);
	bt_put(e, "\x48\xb8", 2); // mov rax, table / 8
	bt_put64(e, table >> 3);
	put_byte_load(e, 0x05, 1); // mov al, [target + 1]
	put_byte_load(e, 0x25, 2); // mov ah, [target + 2]
	bt_put(e, "\x48\x8b\x14\xc5\0\0\0\0\x48\x8d\x0c\x11", 12); // mov rdx, [rax * 8]; lea rcx, [rcx + rdx]
	bt_put(e, "\xe3\x02", 2);                                   // jrcxz over the jump
	miss = bt_short_jump(e, 0xeb);
	if (e->bt->config.plant != BT_PLANT_SECOND)
		bt_unspill(e, R_RDX);
	bt_put(e, "\xff\x24\xc5", 3); // jmp [rax * 8 + size of the tags]
	bt_put32(e, (u32)BT_SECOND_SIZE);
	bt_here(e, miss);
	bt_unspill(e, R_RDX);
}

// The common stubs: the first block of the cache. Dispatch state in, indirect exit out.
void bt_emit_system(struct bt_emit *e)
{
	rcx_is_rip(e, 0);
	bt_store(e, FIELD(target), R_RCX);
	target_is_rip(e, SP_AC, BT_EXIT_NONE);
	if (e->bt->second)
		second_look_up(e);
	bt_unspill(e, R_RCX);
	bt_unspill(e, R_RAX);
	target_is_rip(e, e->bt->second ? SP_AC | BIT(R_RDX) : SP_AC, BT_EXIT_INDIRECT);
	bt_put(e, "\xcd\xf0\xcc", 3);
	rcx_is_rip(e, 0);
	e->bt->dispatch_stub = e->bt->miss_stub + e->pos;
	bt_emit_dispatch(e);
}

static void jump_to_system(struct bt_emit *e, u32 stub)
{
	u64 target = e->bt->config.code_base + stub;

	bt_put8(e, 0xe9);
	bt_put32(e, (u32)(target - (e->base + e->pos + 4)));
}

static void lea_rcx_disp(struct bt_emit *e, u64 disp)
{
	bt_put(e, "\x48\x8d\x89", 3); // lea rcx, [rcx + disp32]
	bt_put32(e, (u32)disp);
}

static void lea_rcx_big(struct bt_emit *e, u64 disp)
{
	bt_mov_imm(e, R_RAX, disp);
	bt_put(e, "\x48\x8d\x0c\x01", 4); // lea rcx, [rcx + rax]
}

static void plant_flags(struct bt_emit *e)
{
	if (e->bt->config.plant == BT_PLANT_FLAGS)
		bt_put(e, "\x85\xc0", 2); // test eax, eax
}

// Dispatch state in; falls through to the guest instruction at guest_off, both registers restored, when rcx is its RIP.
static void landing(struct bt_emit *e, unsigned guest_off, u32 otherwise)
{
	u64 rip = e->guest_rip + guest_off;
	bool small = bt_fits32(rip) && bt_fits32(-rip);
	u32 hit;

	rcx_is_rip(e, 0);
	if (small)
		lea_rcx_disp(e, -rip);
	else
		lea_rcx_big(e, -rip);
	bt_range(e, (struct bt_range){.rule = BT_RIP_RCX_PLUS, .guest_off = (u16)guest_off, .spilled = SP_AC});
	plant_flags(e);
	hit = bt_short_jump(e, 0xe3); // jrcxz
	if (small)
		lea_rcx_disp(e, rip);
	else
		lea_rcx_big(e, rip);
	rcx_is_rip(e, 0);
	jump_to_system(e, otherwise);
	bt_here(e, hit);
	if (!guest_off)
		e->hit = (u16)e->pos;
	guest(e, guest_off, SP_AC);
	bt_unspill(e, R_RCX);
	if (!guest_off || e->bt->config.plant != BT_PLANT_RETURN)
		bt_unspill(e, R_RAX);
}

// The block's first code.
void bt_emit_indirect_entry(struct bt_emit *e)
{
	landing(e, 0, e->bt->miss_stub);
}

// Where the return from the call that ends at guest_off comes back to. Another's return goes on to the common dispatch.
void bt_emit_landing(struct bt_emit *e, unsigned guest_off)
{
	u32 at = (u32)(e->base + e->pos);

	for (u32 i = 0; i < e->return_count; i++)
		memcpy(e->buf + e->return_fixup[i], &at, 4);
	e->return_count = 0;
	landing(e, guest_off, e->bt->dispatch_stub);
}

bool bt_calls_return(const struct bt *bt)
{
	return bt->config.returns && !bt->config.lone_blocks;
}

// The call tells the return where to come back to: the low half of the landing's address, filled in when that is known.
static void note_return(struct bt_emit *e, u64 ret)
{
	unsigned field = FIELD(returns) + 8 * (ret & (RETURNS - 1));

	if (!bt_calls_return(e->bt))
		return;
	bt_put(e, "\xc7\x05", 2); // mov dword [returns + ...], imm32
	bt_put32(e, (u32)(e->bt->config.vcpu_base + field - (e->base + e->pos + 8)));
	e->return_fixup[e->return_count++] = e->pos;
	bt_put32(e, 0);
}

// Return address in rcx, dispatch state. No flags: mov rax, returns / 8; mov al, cl; jmp [rax * 8].
static void return_look_up(struct bt_emit *e)
{
	bt_put(e, "\x48\xb8", 2);
	bt_put64(e, (e->bt->config.vcpu_base + FIELD(returns)) >> 3);
	bt_put(e, "\x88\xc8\xff\x24\xc5\0\0\0\0", 9);
}

// The table is small, 16 pages: each of them is a TLB miss after a world switch. What does not fit is found by the second one.
void bt_emit_dispatch(struct bt_emit *e)
{
	_Static_assert(IBTC_BITS == 13, "lea ax keeps 16 bits: 13 of index, 3 of scale");
	bt_put(e, "\x48\xb8", 2); // mov rax, table
	bt_put64(e, e->bt->config.ibtc_base);
	bt_put(e, "\x66\x8d\x04\xcd\0\0\0\0", 8); // lea ax, [rcx * 8]
	bt_put(e, "\xff\x20", 2);                   // jmp [rax]
}

// Jump through a slot, its stub right behind. The range of the jump is the caller's.
static void jump_slot_and_stub(struct bt_emit *e, unsigned slot)
{
	bt_jump_slot(e, slot);
	if (e->slot_stub[slot])
		return;
	bt_range(e, (struct bt_range){.rule = BT_RIP_SLOT, .slot = (u8)slot, .exit = BT_EXIT_LINK});
	e->slot_stub[slot] = e->pos;
	bt_put(e, "\xcd\xf0\xcc", 3);
}

void bt_emit_leave(struct bt_emit *e, u64 target)
{
	unsigned slot = bt_slot_for(e, target);

	bt_range(e, (struct bt_range){.rule = BT_RIP_SLOT, .slot = (u8)slot});
	jump_slot_and_stub(e, slot);
}

void bt_emit_jump(struct bt_emit *e, const struct bt_insn *in, bool inner)
{
	start(e, in);
	if (inner)
		bt_jump_inner(e, -1, in->target);
	else
		jump_slot_and_stub(e, bt_slot_for(e, in->target));
}

void bt_emit_jcc(struct bt_emit *e, const struct bt_insn *in, bool inner)
{
	int cc = in->opcode & 15;

	start(e, in);
	if (inner)
		bt_jump_inner(e, cc, in->target);
	else
		bt_jump_tail(e, cc, (struct bt_tail){.exit = BT_EXIT_LINK, .slot = (u8)bt_slot_for(e, in->target)});
}

// The byte-displacement branches hop over a long jump: [67] e2 02, jmp over, taken: jmp target, over:
void bt_emit_loop(struct bt_emit *e, const struct bt_insn *in, bool inner, const u8 *bytes)
{
	u32 taken, over;

	start(e, in);
	if (in->addrsize)
		bt_put8(e, 0x67);
	taken = bt_short_jump(e, in->opcode);
	guest(e, in->off + in->len, 0);
	over = bt_short_jump(e, 0xeb);
	bt_here(e, taken);
	if (inner) {
		e->counted = -1; // done, even if the target is itself
		guest(e, (unsigned)(in->target - e->guest_rip), 0);
		bt_jump_inner(e, -1, in->target);
	} else {
		unsigned slot = bt_slot_for(e, in->target);

		bt_range(e, (struct bt_range){.rule = BT_RIP_SLOT, .slot = (u8)slot});
		bt_jump_tail(e, -1, (struct bt_tail){.exit = BT_EXIT_LINK, .slot = (u8)slot});
	}
	bt_here(e, over);
}

// Pushes the guest address of the next instruction. On entry the range is the caller's; a register is borrowed (and
// already spilled by the caller) when the address does not fit PUSH imm32. Committed when the last instruction is done.
static void push_return(struct bt_emit *e, u64 ret)
{
	if (bt_fits32(ret)) {
		bt_put8(e, 0x68);
		bt_put32(e, (u32)ret);
		return;
	}
	bt_mov_imm(e, R_RAX, ret);
	bt_put(e, "\x48\x89\x44\x24\xf8", 5); // mov [rsp - 8], rax
	bt_put(e, "\x48\x8d\x64\x24\xf8", 5); // lea rsp, [rsp - 8]
}

void bt_emit_call(struct bt_emit *e, const struct bt_insn *in, bool inner)
{
	u64 ret = e->guest_rip + in->off + in->len;
	unsigned borrowed = bt_fits32(ret) ? 0 : BIT(R_RAX);

	start(e, in);
	note_return(e, ret);
	if (borrowed) {
		bt_spill(e, R_RAX);
		guest(e, in->off, borrowed);
	}
	push_return(e, ret);
	if (!inner) {
		unsigned slot = bt_slot_for(e, in->target);

		if (borrowed) {
			bt_range(e, (struct bt_range){.rule = BT_RIP_SLOT, .slot = (u8)slot, .spilled = (u8)borrowed});
			bt_unspill(e, R_RAX);
		}
		bt_emit_leave(e, in->target);
		return;
	}
	e->counted = -1; // done, even if the target is itself
	guest(e, (unsigned)(in->target - e->guest_rip), borrowed);
	if (borrowed)
		bt_unspill(e, R_RAX);
	guest(e, (unsigned)(in->target - e->guest_rip), 0);
	bt_jump_inner(e, -1, in->target);
}

void bt_emit_ret(struct bt_emit *e, const struct bt_insn *in)
{
	spill_ac(e, in);
	if (in->opcode == 0xc3) {
		bt_put8(e, 0x59); // pop rcx
	} else {
		bt_put(e, "\x48\x8b\x0c\x24", 4); // mov rcx, [rsp]
		bt_put(e, "\x48\x8d\xa4\x24", 4); // lea rsp, [rsp + 8 + n]
		bt_put32(e, 8 + (u32)(u16)in->imm);
	}
	rcx_is_rip(e, 0);
	if (e->bt->config.plant == BT_PLANT_COMMIT)
		guest(e, in->off, SP_AC);
	if (bt_calls_return(e->bt))
		return_look_up(e);
	else
		bt_emit_dispatch(e);
}

// mov rcx, r/m with the operand of JMP or CALL: opcode and ModRM.reg change, W is forced.
static void load_target(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes)
{
	struct bt_insn mov = *in;
	u8 code[16];
	unsigned n = 0;

	for (unsigned i = 0; i < in->modrm_off; i++) {
		u8 b = bytes[i];

		if (i == in->prefix_off || i == in->modrm_off - 1u || b == 0xf2 || b == 0xf3)
			continue; // REX and opcode are written anew, REPs mean nothing here
		code[n++] = b;
	}
	mov.prefix_off = (u8)n;
	code[n++] = 0x48 | (in->rex & 3);
	code[n++] = 0x8b;
	mov.modrm_off = (u8)n;
	mov.rex = code[mov.prefix_off];
	mov.modrm = (in->modrm & 0xc7) | R_RCX << 3;
	code[n++] = mov.modrm;
	for (unsigned i = in->modrm_off + 1u; i < in->len; i++)
		code[n++] = bytes[i];
	mov.disp_off = (u8)(in->disp_off + mov.modrm_off - in->modrm_off);
	mov.len = (u8)n;
	mov.encoding = BT_ENC_LEGACY;
	if (!in->rip_relative) {
		bt_put(e, code, n);
	} else if (bt_fits32(in->target)) {
		bt_emit_rebased(e, &mov, code, -1);
	} else {
		bt_mov_imm(e, R_RCX, in->target);
		bt_emit_rebased(e, &mov, code, R_RCX);
	}
}

// JMP and CALL r/m. The operand is read first, then the return address is written, as the instruction does.
void bt_emit_indirect(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes)
{
	spill_ac(e, in);
	if (in->cls == BT_CALL_IND)
		note_return(e, e->guest_rip + in->off + in->len);
	load_target(e, in, bytes);
	if (in->cls == BT_CALL_IND)
		push_return(e, e->guest_rip + in->off + in->len);
	rcx_is_rip(e, 0);
	bt_emit_dispatch(e);
}
