// SPDX-License-Identifier: MIT
// INT n, INT3, INTO, INT1 through gates of every kind; stacks from the TSS; faults during delivery up to #DF. Cases that
// would end in a triple fault are not made.
#include "tests/guests/sysinsn/groups.h"

#define VECTOR 0x40u

void make_int_vector(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);

	case_init(c, e);
	switch (i) {
	case 256:
		CODE(c, 0xcc);
		break;
	case 257:
		CODE(c, 0xf1);
		break;
	case 258:
		CODE(c, 0xce);
		break;
	case 259:
		CODE(c, 0xce);
		c->flags |= RFL_OF;
		break;
	case 260:
		CODE(c, 0x0f, 0x0b);
		c->flags |= RFL_NT | RFL_AC | RFL_DF;
		break;
	default:
		CODE(c, 0xcd, (u8)i);
	}
}

// Type, DPL, present, and which of RFLAGS survive.
void make_int_gate(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned type = digit(&i, 16), dpl = digit(&i, 2) * 3, p = digit(&i, 2);

	case_init(c, e);
	CODE(c, 0xcd, VECTOR);
	c->flags |= i ? RFL_NT | RFL_AC | RFL_ID | RFL_IOPL : 0;
	case_gate(c, VECTOR, S_KCS, world_stub(VECTOR), 0, p << 7 | dpl << 5 | type);
}

void make_int_selector(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned slot = world_selector(i) / 8;

	case_init(c, e);
	if (user(e)) { // QEMU pushes as supervisor, also for a handler at CPL 3
		c->cr4 &= ~CR4_SMAP;
		if (slot == T_ODD + 10 || slot == T_ODD + 11)
			c->skip = "the handler would run at CPL 1";
	}
	CODE(c, 0xcd, VECTOR);
	case_gate(c, VECTOR, world_selector(i) | (u16)(i & 3), world_stub(VECTOR), 0, 0xee);
}

static void odd_stack(struct sys_case *c, unsigned ist, unsigned i)
{
	static const u64 tops[6] = {
		0, W_IST3 + 0x208, W_HOLE + 8, 0x0000900000000000, W_RODATA + 0x800, W_USTACK + 0x808};
	u64 slot = W_TSS + (ist ? 0x24 + 8 * (ist - 1) : 4);

	if (i)
		case_poke(c, slot, tops[i], 8);
}

// Each IST, with tops that are odd, unmapped, not canonical, read-only, user's.
void make_int_stack(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned ist = digit(&i, 8);

	case_init(c, e);
	CODE(c, 0xcd, VECTOR);
	if (!user(e))
		c->gpr[R_RSP] += i * 3;
	case_gate(c, VECTOR, S_KCS, world_stub(VECTOR), ist, 0xee);
	odd_stack(c, ist, i);
	if (ist == 0 && user(e) && i >= 2) // the fault in turn needs a stack
		case_gate(c, i == 3 ? VEC_SS : VEC_PF, S_KCS, world_stub(i == 3 ? VEC_SS : VEC_PF), 2, 0x8e);
	if (ist == 0 && user(e) && i == 3)
		case_gate(c, VEC_GP, S_KCS, world_stub(VEC_GP), 2, 0x8e);
}

// Offsets and tables: non-canonical handler, IDT limit, TSS limit, RSP in bad places.
void make_int_odd(unsigned i, struct sys_case *c)
{
	static const u64 offsets[3] = {0x0000800000000000, 0xffff7fffffffffff, 0x1234567800000000};
	enum entry e = digit(&i, ENTRIES);
	unsigned what = digit(&i, 9);

	case_init(c, e);
	CODE(c, 0xcd, VECTOR);
	case_gate(c, VECTOR, S_KCS, world_stub(VECTOR), what == 4 ? 7 : 0, 0xee);
	switch (what) {
	case 0:
		case_gate(c, VECTOR, S_KCS, offsets[i], 0, 0xee);
		break;
	case 1:
		if (user(e) || !is64(e)) {
			c->skip = "LIDT needs ring 0";
			return;
		}
		CODE(c, 0x0f, 0x01, 0x1b, 0xcd, VECTOR);
		case_poke(c, c->gpr[R_RBX], VECTOR * 16 + (i == 0 ? 14 : i == 1 ? 15 : 0), 2);
		case_poke(c, c->gpr[R_RBX] + 2, W_IDT, 8);
		break;
	case 2:
		c->gpr[R_RSP] = W_HOLE + (i ? i * 8 : 0);
		break;
	case 3:
		c->gpr[R_RSP] = is64(e) && i == 0 ? 0x0000800000000000 : W_RODATA + 0x800 + i;
		break;
	case 4:
		case_poke(c, W_TSS + 0x54, i ? W_IST3 + 0x800 + i : 0, 8);
		break;
	case 5:
		case_poke(c, W_GDT + (S_KCS), i ? 0x00af98000000ffff : 0x00af18000000ffff, 8);
		break;
	case 6:
		c->flags = RFL_FIXED | (i ? RFL_NT : RFL_AC);
		break;
	case 7:
		CODE(c, 0x66, 0xcd, VECTOR);
		break;
	default:
		CODE(c, 0xf0, 0xcd, VECTOR);
	}
	if (what == 5 && !i)
		c->skip = "a handler segment that is not present leaves nothing to stop at";
	if (!user(e) && (what == 2 || what == 3)) { // the fault in turn needs a stack
		case_gate(c, VEC_PF, S_KCS, world_stub(VEC_PF), 2, 0x8e);
		case_gate(c, VEC_SS, S_KCS, world_stub(VEC_SS), 2, 0x8e);
	}
}

// First exception: UD DE GP PF BP DB INT80 OF.
static unsigned raise(struct sys_case *c, unsigned first)
{
	static const u8 vectors[8] = {VEC_UD, VEC_DE, VEC_GP, VEC_PF, VEC_BP, VEC_DB, 0x80, VEC_NM};

	switch (first) {
	case 0:
		CODE(c, 0x0f, 0x0b);
		break;
	case 1:
		CODE(c, 0xf7, 0xf1); // DIV by zero
		c->gpr[R_RCX] = 0;
		break;
	case 2:
		CODE(c, 0x8e, 0xd8); // MOV DS, a system descriptor
		c->gpr[R_RAX] = S_TSS;
		break;
	case 3:
		CODE(c, 0x8b, 0x03);
		c->gpr[R_RBX] = W_HOLE + 4;
		break;
	case 4:
		CODE(c, 0xcc);
		break;
	case 5:
		CODE(c, 0xf1);
		break;
	case 6:
		CODE(c, 0xcd, 0x80);
		break;
	default:
		CODE(c, 0xd9, 0xe8); // FLD1 with TS
		c->cr0 |= CR0_TS;
		c->skip = "x87 is the machine's own";
	}
	return vectors[first];
}

static void break_gate(struct sys_case *c, unsigned vector, unsigned how)
{
	switch (how) {
	case 0:
		case_gate(c, vector, S_KCS, world_stub(vector), 0, 0x6e);
		break; // not present
	case 1:
		case_gate(c, vector, S_KCS, world_stub(vector), 0, 0xec);
		break; // a call gate
	case 2:
		case_gate(c, vector, 0, world_stub(vector), 0, 0xee);
		break;
	case 3:
		case_gate(c, vector, S_KDS, world_stub(vector), 0, 0xee);
		break;
	case 4:
		case_gate(c, vector, T_END * 8, world_stub(vector), 0, 0xee);
		break;
	case 5:
		case_gate(c, vector, S_KCS, 0x0000900000000000, 0, 0xee);
		break;
	case 6:
		case_gate(c, vector, S_KCS32, world_stub(vector), 0, 0xee);
		break;
	case 7:
		case_gate(c, vector, T_ABSENT0 * 8 + 0x58, world_stub(vector), 0, 0xee);
		break;
	case 8: // IST 3 unmapped
		case_gate(c, vector, S_KCS, world_stub(vector), 3, 0xee);
		case_poke(c, W_TSS + 0x34, W_HOLE + 0x800, 8);
		break;
	default: // IST 3 not canonical
		case_gate(c, vector, S_KCS, world_stub(vector), 3, 0xee);
		case_poke(c, W_TSS + 0x34, 0x0000a00000000000, 8);
	}
}

// The first gate is broken; then also the one that the resulting fault needs (#NP, #GP).
void make_double_fault(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned first = digit(&i, 8), how = digit(&i, 10), vector;

	case_init(c, e);
	vector = raise(c, first);
	break_gate(c, vector, how);
	if (i == 1)
		break_gate(c, VEC_NP, 0);
	if (i == 2 && vector != VEC_GP)
		break_gate(c, VEC_GP, 1);
}
