// SPDX-License-Identifier: MIT
// CLI, STI, PUSHF, POPF and IRET: flags by CPL and IOPL, selectors, frames.
#include "tests/guests/sysinsn/groups.h"

#define ALL_BUT_TF (0xffffffff & ~RFL_TF)

const u64 flag_values[FLAG_VALUES] = {
	0,
	ALL_BUT_TF,
	RFL_IF,
	RFL_IOPL,
	RFL_IF | RFL_IOPL,
	RFL_NT,
	RFL_AC | RFL_ID,
	RFL_RF | RFL_VM,
	RFL_ARITH | RFL_DF,
	RFL_VIF | RFL_VIP,
	BIT(12) | RFL_FIXED,
	0xffffffff00000000 | RFL_CF,
};

static void with_op(struct sys_case *c, unsigned op)
{
	u64 v = op >= 4 ? flag_values[(op - 4) / 2] : 0;

	switch (op) {
	case 0:
		CODE(c, 0xfa);
		break;
	case 1:
		CODE(c, 0xfb);
		break;
	case 2:
		CODE(c, 0x9c);
		break;
	case 3:
		CODE(c, 0x66, 0x9c);
		break;
	default:
		if (op & 1)
			CODE(c, 0x66, 0x9d);
		else
			CODE(c, 0x9d);
		case_poke(c, c->gpr[R_RSP], v, 8);
	}
}

void make_flags(unsigned i, struct sys_case *c)
{
	case_init(c, digit(&i, ENTRIES));
	c->flags = RFL_FIXED | (u64)digit(&i, 4) << 12;
	c->flags |= digit(&i, 2) ? RFL_IF | RFL_ARITH | RFL_ID : RFL_DF;
	with_op(c, i);
}

void case_frame(struct sys_case *c, unsigned width, unsigned n, const u64 *words)
{
	for (unsigned k = 0; k < n; k++)
		case_poke(c, c->gpr[R_RSP] + k * width, words[k], width);
}

// QEMU reads the frame as supervisor also at CPL 3: with SMAP it would always fault.
static void iret_code(struct sys_case *c, unsigned width)
{
	if (user(c->entry))
		c->cr4 &= ~CR4_SMAP;
	if (width == 8)
		CODE(c, 0x48, 0xcf);
	else if (width == 4)
		CODE(c, 0xcf);
	else
		CODE(c, 0x66, 0xcf);
}

static u64 target_page(u16 cs)
{
	return (cs & 3) == 3 ? W_UCODE : W_KCODE;
}

static u64 target_stack(u16 cs)
{
	return ((cs & 3) == 3 ? W_USTACK : W_KSTACK) + 0xc00;
}

// 16-bit frames cannot reach the world's pages: the fault at their target is the outcome.
static void iret_to(struct sys_case *c, unsigned width, u16 cs, u16 ss, u64 flags)
{
	u64 words[5] = {target_page(cs) + 0x300, cs, flags, target_stack(cs), ss};

	iret_code(c, width);
	case_frame(c, width, 5, words);
}

void make_iret_flags(unsigned i, struct sys_case *c)
{
	static const u16 targets[][2] = {
		{S_KCS, S_KDS}, {S_UCS, S_UDS}, {S_UCS32, S_UDS}, {S_KCS32, S_KDS}, {T_CODE16 * 8 + 27, S_UDS}};
	enum entry e = digit(&i, ENTRIES);
	const u16 *t = targets[digit(&i, 5)];
	u64 v = flag_values[digit(&i, FLAG_VALUES)];
	unsigned width = 8u >> digit(&i, 3);

	case_init(c, e);
	if (width == 8 && !is64(e)) {
		c->skip = "no REX outside 64-bit code";
		return;
	}
	if (width == 4 && (v & RFL_VM))
		c->skip = "QEMU returns to virtual-8086 mode from long mode";
	c->flags = i ? RFL_FIXED | RFL_IOPL : RFL_FIXED | RFL_IF | RFL_ARITH | RFL_ID;
	iret_to(c, width, t[0], t[1], v);
}

void make_iret_cs(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned rpl = digit(&i, 2) ? 3 : 0;

	case_init(c, e);
	iret_to(c, is64(e) ? 8 : 4, world_selector(i) | (u16)rpl, rpl ? S_UDS : S_KDS, RFL_FIXED);
}

// From ring 0 to rings 0 and 3, and within ring 3: any SS.
void make_iret_ss(unsigned i, struct sys_case *c)
{
	static const u16 cs[3] = {S_KCS, S_UCS, S_UCS32};
	u16 to = cs[digit(&i, 3)];
	unsigned rpl = digit(&i, 4);

	case_init(c, rpl & 1 ? U64 : K64);
	iret_to(c, 8, to, world_selector(i) | (u16)(rpl & 2 ? 3 : 0), RFL_FIXED);
}

void make_iret_odd(unsigned i, struct sys_case *c)
{
	static const u64 rips[] = {0x0000800000000000,
				   0xffff7fffffffffff,
				   0x00007ffffffffff0,
				   0xffff800000000000,
				   W_HOLE,
				   W_DATA,
				   0x100000000 + W_UCODE,
				   ~0ull};
	static const u16 targets[][2] = {{S_KCS, S_KDS}, {S_UCS, S_UDS}, {S_UCS32, S_UDS}, {S_KCS, 0}};
	enum entry e = digit(&i, ENTRIES);
	const u16 *t = targets[digit(&i, 4)];
	u64 words[5] = {target_page(t[0]) + 0x300, t[0], RFL_FIXED, target_stack(t[0]), t[1]};

	case_init(c, e);
	iret_code(c, is64(e) ? 8 : 4);
	switch (i) {
	case 8:
		c->flags |= RFL_NT;
		break;
	case 9:
		words[3] = 0x0000900000000000;
		break;
	case 10:
		c->ds = S_KDS, c->es = S_UDS, c->fs = S_UDS, c->gs = S_KCS;
		break;
	case 11:
		c->gpr[R_RSP] = W_KSTACK + PAGE_SIZE - 24;
		break;
	default:
		words[0] = rips[i];
	}
	if (i == 10 && user(e))
		c->ds = c->gs = 0;
	if (i == 11 && user(e))
		c->gpr[R_RSP] = W_HOLE - 8;
	case_frame(c, is64(e) ? 8 : 4, i == 11 ? (user(e) ? 1 : 3) : 5, words);
}
