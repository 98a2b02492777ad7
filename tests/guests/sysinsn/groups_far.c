// SPDX-License-Identifier: MIT
// Far JMP, CALL and RET to every kind of descriptor. Targets lie in the entry's own code page, returns to ring 3 in the
// user's.
#include "tests/guests/sysinsn/groups.h"

// Pointer of 4 + 2 bytes at RBX.
static void through_memory(unsigned i, struct sys_case *c, u8 modrm)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned rpl = digit(&i, 2) * 3;

	case_init(c, e);
	if (user(e)) // QEMU pushes as supervisor
		c->cr4 &= ~CR4_SMAP;
	CODE(c, 0xff, modrm);
	case_poke(c, c->gpr[R_RBX], code_page(e) + 0x300, 4);
	case_poke(c, c->gpr[R_RBX] + 4, world_selector(i) | rpl, 2);
}

void make_far_jmp(unsigned i, struct sys_case *c)
{
	through_memory(i, c, 0x2b);
}

void make_far_call(unsigned i, struct sys_case *c)
{
	through_memory(i, c, 0x1b);
}

static void far_ret(struct sys_case *c, u16 cs, u16 ss)
{
	bool ring3 = (cs & 3) == 3;
	unsigned width = is64(c->entry) ? 8 : 4, step = c->gpr[R_RDX] & 1 ? 16 : 0;
	u64 code[2] = {(ring3 ? W_UCODE : W_KCODE) + 0x300, cs}, stack[2] = {(ring3 ? W_USTACK : W_KSTACK) + 0xc00, ss};
	u64 rsp = c->gpr[R_RSP];

	if (user(c->entry)) // QEMU reads the frame as supervisor
		c->cr4 &= ~CR4_SMAP;
	if (width == 8 && step)
		CODE(c, 0x48, 0xca, 0x10, 0x00);
	else if (width == 8)
		CODE(c, 0x48, 0xcb);
	else if (step)
		CODE(c, 0xca, 0x10, 0x00);
	else
		CODE(c, 0xcb);
	case_frame(c, width, 2, code);
	c->gpr[R_RSP] += 2 * width + step;
	case_frame(c, width, 2, stack);
	c->gpr[R_RSP] = rsp;
}

void make_far_ret(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned rpl = digit(&i, 2) * 3;

	case_init(c, e);
	c->gpr[R_RDX] = i & 1;
	far_ret(c, world_selector(i) | (u16)rpl, rpl ? S_UDS : S_KDS);
}

void make_far_ret_ss(unsigned i, struct sys_case *c)
{
	static const u16 cs[3] = {S_UCS, S_UCS32, T_CODE16 * 8 + 27};
	u16 to = cs[digit(&i, 3)];
	unsigned rpl = digit(&i, 4);

	case_init(c, rpl & 1 ? K32 : K64);
	far_ret(c, to, world_selector(i) | (u16)(rpl & 2 ? 3 : 0));
}

static void odd_operand(struct sys_case *c, unsigned op, unsigned i)
{
	static const u64 at[8] = {0, W_HOLE, W_HOLE - 5, W_HOLE - 3, 0x0000800000000000, W_KDATA, 0, 0};

	if (i && i < 6)
		c->gpr[op == 2 ? R_RSP : R_RBX] = at[i];
	if (i == 6)
		c->gpr[R_RSP] = (user(c->entry) ? W_HOLE : W_KSTACK + 0x20) + 4;
}

// Operands and stacks in bad places, offsets that are not canonical or beyond the limit.
void make_far_odd(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 3);
	u64 target = code_page(e) + 0x300;

	case_init(c, e);
	if (user(e) && op != 1)
		c->cr4 &= ~CR4_SMAP;
	if (i == 7)
		target = 0x0000800000001000;
	if (op == 2)
		is64(e) ? CODE(c, 0x48, 0xcb) : CODE(c, 0xcb);
	else if (is64(e))
		CODE(c, 0x48, 0xff, op ? 0x2b : 0x1b);
	else
		CODE(c, 0xff, op ? 0x2b : 0x1b);
	odd_operand(c, op, i);
	if (i && i < 7)
		return;
	case_poke(c, c->gpr[op == 2 ? R_RSP : R_RBX], target, 8);
	case_poke(c, c->gpr[op == 2 ? R_RSP : R_RBX] + (is64(e) ? 8 : 4),
		  is64(e) ? (user(e) ? S_UCS : S_KCS) : (user(e) ? S_UCS32 : S_KCS32), 4);
}

// JMP or CALL through the DPL-3 call gate, which is changed to what the case needs.
static void through_gate(struct sys_case *c, unsigned call, u16 rpl)
{
	u16 gate = (u16)((T_SYS3 + 24) * 8) | rpl;

	if (user(c->entry)) // QEMU pushes as supervisor
		c->cr4 &= ~CR4_SMAP;
	CODE(c, 0xff, call ? 0x1b : 0x2b);
	case_poke(c, c->gpr[R_RBX], 0x12345678, 4);
	case_poke(c, c->gpr[R_RBX] + 4, gate, 2);
}

static void gate_is(struct sys_case *c, u16 selector, u64 offset, unsigned access)
{
	case_poke(c, W_GDT + (T_SYS3 + 24) * 8, world_gate_low(selector, offset, 0, access), 8);
	case_poke(c, W_GDT + (T_SYS3 + 25) * 8, offset >> 32, 8);
}

void make_far_gate(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned call = digit(&i, 2);
	u16 selector = world_selector(i) | (i & 1 ? 3 : 0);

	case_init(c, e);
	if (user(e) && call && selector / 8 == T_ODD + 10)
		c->skip = "QEMU runs a gate's CPL-1 code at CPL 0";
	through_gate(c, call, 0);
	gate_is(c, selector, W_KCODE + 0x200, 0xec);
}

// Gates and stacks with something wrong.
void make_far_gate_odd(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned call = digit(&i, 2);
	static const u64 stacks[5] = {W_HOLE + 8, 0x0000900000000000, W_RODATA + 0x800, W_RSP0 + 0x804, 0};

	case_init(c, e);
	through_gate(c, call, i == 0 ? 3 : 0);
	gate_is(c, S_KCS, i == 1 ? 0x0000800000000000 : W_KCODE + 0x200, i == 2 ? 0x6c : i == 3 ? 0x8c : 0xec);
	if (i == 4)
		case_poke(c, W_GDT + (T_SYS3 + 25) * 8 + 4, 0x1f00, 4);
	if (i == 5)
		case_poke(c, W_GDT + (T_SYS3 + 25) * 8 + 4, 0x00ff, 4);
	if (i == 6)
		case_poke(c, W_GDT + (T_SYS3 + 24) * 8 + 4, 0x1f, 1); // parameter count
	if (i == 7)
		c->gpr[R_RSP] = user(e) ? W_HOLE + 8 : W_KSTACK + 0x503;
	if (i == 8)
		c->flags |= RFL_NT | RFL_AC | RFL_DF;
	if (i < 9 || !user(e))
		return;
	case_poke(c, W_TSS + 4, stacks[i - 9], 8);
	for (unsigned v = VEC_SS; v <= VEC_PF; v++) // the fault, and the end, need a stack of their own
		case_gate(c, v, S_KCS, world_stub(v), 2, 0x8e);
	case_gate(c, VEC_BP, S_KCS, world_stub(VEC_BP), 2, 0xee);
}
