// SPDX-License-Identifier: MIT
// Descriptors: LAR LSL VERR VERW, loads of segment registers and what they make of memory accesses, LLDT LTR, descriptor
// table registers, stores of selectors.
#include "tests/guests/sysinsn/groups.h"

void make_query(unsigned i, struct sys_case *c)
{
	static const enum entry entries[3] = {K64, U64, U32};
	enum entry e = entries[digit(&i, 3)];
	unsigned op = digit(&i, 4), rpl = digit(&i, 2) * 3;

	case_init(c, e);
	c->gpr[R_RCX] = (c->gpr[R_RCX] & ~0xffffull) | world_selector(i) | rpl;
	c->flags |= i & 1 ? RFL_ARITH : 0;
	switch (op) {
	case 0:
		CODE(c, 0x0f, 0x02, 0xc1);
		break; // LAR eax, ecx
	case 1:
		if (i & 1)
			CODE(c, 0x66, 0x0f, 0x03, 0xc1); // LSL ax, cx
		else
			CODE(c, 0x0f, 0x03, 0xc1);
		break;
	case 2:
		CODE(c, 0x0f, 0x00, 0xe1);
		break; // VERR
	default:
		CODE(c, 0x0f, 0x00, 0xe9); // VERW
	}
}

// ES SS DS FS GS as MOV encodes them.
static const u8 sreg[5] = {0, 2, 3, 4, 5};

// 64-bit mode.
void make_load(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, 2) ? U64 : K64;
	u8 seg = sreg[digit(&i, 5)];
	unsigned rpl = digit(&i, 2) * 3;

	case_init(c, e);
	c->gpr[R_RAX] = world_selector(i) | rpl | 0xabcd0000;
	CODE(c, 0x8e, (u8)(0xc0 | seg << 3));
}

// 32-bit code: load DS, ES or SS, then access memory through it, four of the twelve accesses per segment and selector.
void make_load_legacy(unsigned i, struct sys_case *c)
{
	static const u8 segs[3] = {3, 0, 2}, prefixes[3] = {0x3e, 0x26, 0x36};
	static const u32 offsets[6] = {W_DATA + 0x10, W_KDATA + 0x10, 0x10, 0xffc, 0xffd, 0x7e};
	enum entry e = digit(&i, 2) ? U32 : K32;
	unsigned s = digit(&i, 3), access = digit(&i, 4) * 5 + i * 7, write = access & 1, at = access / 2 % 6;

	case_init(c, e);
	c->cr4 &= ~CR4_SMAP;
	c->gpr[R_RAX] = world_selector(i) | (user(e) ? 3 : 0);
	c->gpr[R_RCX] = offsets[at];
	CODE(c, 0x8e, (u8)(0xc0 | segs[s] << 3), prefixes[s], write ? 0x89 : 0x8b, 0x11);
}

// LSS LFS LGS, with operand sizes 16, 32 and in 64-bit code 64; LDS and LES in 32-bit code.
void make_far_pointer(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 5), rpl = (i * 5 + op) & 1 ? 3 : 0;

	case_init(c, e);
	switch (op) {
	case 0:
		CODE(c, 0x0f, 0xb2, 0x03);
		break; // LSS eax
	case 1:
		CODE(c, 0x0f, 0xb4, 0x03);
		break; // LFS
	case 2:
		CODE(c, 0x66, 0x0f, 0xb5, 0x03);
		break; // LGS ax
	case 3:
		if (is64(e))
			CODE(c, 0x48, 0x0f, 0xb2, 0x03);
		else
			CODE(c, 0xc5, 0x03); // LDS
		break;
	default:
		if (is64(e))
			CODE(c, 0x48, 0x0f, 0xb5, 0x03);
		else
			CODE(c, 0xc4, 0x03); // LES
	}
	case_poke(c, c->gpr[R_RBX], 0x8765432187654321, 8);
	case_poke(c, c->gpr[R_RBX] + (op == 2 ? 2 : op < 3 || !is64(e) ? 4 : 8), world_selector(i) | rpl, 2);
}

void make_system_selector(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned ltr = digit(&i, 2), rpl = digit(&i, 2) * 3;

	case_init(c, e);
	c->gpr[R_RCX] = world_selector(i) | rpl | 0x10000;
	CODE(c, 0x0f, 0x00, ltr ? 0xd9 : 0xd1);
}

static void table_image(struct sys_case *c, unsigned kind, u64 base)
{
	static const u16 limits[6] = {GDT_LIMIT, 0x1f, 0x2f, 0xffff, GDT_LIMIT, GDT_LIMIT};

	if (kind == 4)
		base = 0x8000000000000000 | base;
	if (kind == 5)
		base |= 0xffff800000000000;
	case_poke(c, c->gpr[R_RBX], limits[kind], 2);
	case_poke(c, c->gpr[R_RBX] + 2, base, 8);
}

// LGDT and LIDT of the same tables with other limits (what INT3 needs stays inside), SGDT, SIDT, their 16-bit forms,
// and operands in bad places. LIDT beyond the tables would leave nothing to stop at.
void make_tables(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 8);

	case_init(c, e);
	switch (op) {
	case 0:
		CODE(c, 0x0f, 0x01, 0x13);
		break; // LGDT
	case 1:
		CODE(c, 0x0f, 0x01, 0x1b);
		break; // LIDT
	case 2:
		CODE(c, 0x0f, 0x01, 0x03);
		break; // SGDT
	case 3:
		CODE(c, 0x0f, 0x01, 0x0b);
		break; // SIDT
	case 4:
		CODE(c, 0x66, 0x0f, 0x01, 0x13);
		break;
	case 5:
		CODE(c, 0x66, 0x0f, 0x01, 0x1b);
		break;
	case 6:
		CODE(c, 0x66, 0x0f, 0x01, 0x03);
		break;
	default:
		CODE(c, 0x66, 0x0f, 0x01, 0x0b);
	}
	if (op == 2 || op == 3 || op >= 6) {
		static const u64 at[6] = {0, W_RODATA, W_HOLE - 4, W_KDATA, W_HOLE, W_DATA};

		c->cr4 &= i & 1 ? ~CR4_UMIP : ~0ull;
		c->gpr[R_RBX] = i ? at[i] : c->gpr[R_RBX];
		return;
	}
	if (e == K64 && i >= 4)
		c->skip = "a table that is not mapped leaves nothing to stop at";
	table_image(c, i, op & 1 ? W_IDT : W_GDT);
	if (op & 1)
		case_poke(c, c->gpr[R_RBX], 0xfff, 2);
}

// SLDT STR SMSW to registers of each width and memory; MOV and PUSH from segment registers.
void make_selectors(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 12);

	case_init(c, e);
	if (i == 1)
		c->cr4 &= ~CR4_UMIP;
	if (i == 2) {
		c->gpr[R_RBX] = W_HOLE - 1;
		c->cr4 &= ~CR4_UMIP;
	}
	c->fs = S_UDS;
	switch (op) {
	case 0:
		CODE(c, 0x0f, 0x00, 0xc0);
		break; // SLDT eax
	case 1:
		CODE(c, 0x66, 0x0f, 0x00, 0xc8);
		break; // STR ax
	case 2:
		CODE(c, 0x0f, 0x00, 0x0b);
		break; // STR [rbx]
	case 3:
		CODE(c, 0x0f, 0x01, 0xe0);
		break; // SMSW eax
	case 4:
		CODE(c, 0x66, 0x0f, 0x01, 0xe0);
		break;
	case 5:
		CODE(c, 0x0f, 0x01, 0x23);
		break; // SMSW [rbx]
	case 6:
		CODE(c, 0x0f, 0x00, 0x03);
		break; // SLDT [rbx]
	case 7:
		CODE(c, 0x8c, 0xc8);
		break; // MOV eax, cs
	case 8:
		CODE(c, 0x66, 0x8c, 0xe0);
		break; // MOV ax, fs
	case 9:
		CODE(c, 0x8c, 0x13);
		break; // MOV [rbx], ss
	case 10:
		CODE(c, 0x0f, 0xa0);
		break; // PUSH fs
	default:
		CODE(c, 0x0f, 0xa0, 0x0f, 0xa9); // PUSH fs, POP gs
	}
}
