// SPDX-License-Identifier: MIT
// A decoder for what makes up most of a kernel: one-byte and common two-byte integer instructions with at most one each of
// 66, a segment override and REX. Everything else, and whatever might be invalid, is Zydis's business (scan.c); the unit
// test compares the two on random bytes. Translation time under an emulating host is mostly decoding time.
#include "core/bt/internal.h"

// What follows the opcode.
enum {
	N = 1,      // nothing
	M,          // ModRM
	B,          // imm8
	Z,          // imm32, or imm16 with 66
	MB,         // ModRM, imm8
	MZ,         // ModRM, imm32 or imm16
	V,          // imm64 with REX.W, imm16 with 66, else imm32
	J,          // rel32; not with 66
	JB,         // rel8; not with 66
	ML,         // LEA: ModRM, memory only
	M0,         // ModRM.reg 0 or 1 only
	MB0, MZ0,   // MOV r/m, imm: ModRM.reg 0 only
	MT, MTZ,    // group 3: imm for TEST (reg 0), none for reg 2..7
	MF,         // group 5
	M8,         // group 8: imm8, reg 4..7
};

#define ALU M, M, M, M, B, Z, 0, 0
#define X4(a) a, a, a, a
#define X8(a) X4(a), X4(a)
#define X16(a) X8(a), X8(a)

static const u8 one_byte[256] = {
	ALU, ALU, ALU, ALU, ALU, ALU, ALU, ALU,                         // 00
	X16(0),                                                         // 40 REX
	X16(N),                                                         // 50
	0, 0, 0, M, 0, 0, 0, 0, Z, MZ, B, MB, 0, 0, 0, 0,               // 60
	X16(JB),                                                        // 70
	MB, MZ, 0, MB, M, M, M, M, M, M, M, M, 0, ML, 0, 0,             // 80
	X8(N), N, N, 0, 0, N, N, N, N,                                  // 90
	0, 0, 0, 0, N, N, N, N, B, Z, N, N, N, N, N, N,                 // a0
	X8(B), X8(V),                                                   // b0
	MB, MB, 0, N, 0, 0, MB0, MZ0, 0, N, 0, 0, 0, 0, 0, 0,           // c0
	M, M, M, M, X4(0), X8(0),                                       // d0
	0, 0, 0, 0, 0, 0, 0, 0, J, J, 0, JB, 0, 0, 0, 0,                // e0
	0, 0, 0, 0, 0, N, MT, MTZ, N, N, N, N, N, N, M0, MF,            // f0
};

static const u8 two_byte[256] = {
	X16(0), X16(0), X16(0), X16(0),                                 // 00
	X16(M),                                                         // 40 CMOVcc
	X16(0), X16(0), X16(0),                                         // 50
	X16(J), X16(M),                                                 // 80 Jcc, SETcc
	0, 0, 0, M, MB, M, 0, 0, 0, 0, 0, M, MB, M, 0, M,               // a0
	M, M, 0, M, 0, 0, M, M, 0, 0, M8, M, M, M, M, M,                // b0
	M, M, 0, 0, 0, 0, 0, 0, X8(N),                                  // c0
	X16(0), X16(0), X16(0),                                         // d0
};

struct cursor {
	const u8 *p;
	unsigned n;
};

static void take_prefixes(struct bt_insn *in, struct cursor *c)
{
	bool segment = false;

	for (;; c->n++) {
		u8 b = c->p[c->n];

		if (b == 0x66 && !in->opsize)
			in->opsize = true;
		else if ((b == 0x65 || b == 0x64) && !segment)
			segment = true;
		else
			break;
	}
	if ((c->p[c->n] & 0xf0) == 0x40) {
		in->prefix_off = (u8)c->n;
		in->rex = c->p[c->n++];
	}
}

// ModRM, SIB and displacement.
static void take_modrm(struct bt_insn *in, struct cursor *c)
{
	unsigned mod, rm;

	in->modrm_off = (u8)c->n;
	in->modrm = c->p[c->n++];
	mod = in->modrm >> 6;
	rm = in->modrm & 7;
	if (mod == 3)
		return;
	in->disp_size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	if (rm == 4) {
		u8 sib = c->p[c->n++];

		if (!mod && (sib & 7) == 5)
			in->disp_size = 4;
	} else if (!mod && rm == 5) {
		in->disp_size = 4;
		in->rip_relative = true;
	}
	if (in->disp_size) {
		in->disp_off = (u8)c->n;
		c->n += in->disp_size;
	}
}

// Bytes of the immediate, or -1 when the form is not ours.
static int immediate(const struct bt_insn *in, u8 form)
{
	unsigned reg = (in->modrm >> 3) & 7;
	int z = in->opsize && !(in->rex & 8) ? 2 : 4;

	switch (form) {
	case N:
	case M:
		return 0;
	case B:
	case MB:
		return 1;
	case Z:
	case MZ:
		return z;
	case V:
		return in->rex & 8 ? 8 : z;
	case J:
		return in->opsize ? -1 : 4;
	case JB:
		return in->opsize ? -1 : 1;
	case ML:
		return in->modrm >= 0xc0 ? -1 : 0;
	case M0:
		return reg <= 1 ? 0 : -1;
	case MB0:
		return reg == 0 ? 1 : -1;
	case MZ0:
		return reg == 0 ? z : -1;
	case MT:
		return reg == 0 ? 1 : reg >= 2 ? 0 : -1;
	case MTZ:
		return reg == 0 ? z : reg >= 2 ? 0 : -1;
	case MF:
		return reg == 7 || reg == 3 || reg == 5 ? -1 : 0;
	case M8:
		return reg >= 4 ? 1 : -1;
	default:
		return -1;
	}
}

static s64 signed_value(const u8 *p, unsigned size)
{
	s32 v;

	if (size == 1)
		return (s8)p[0];
	if (size == 2)
		return (s16)(p[0] | p[1] << 8);
	v = (s32)((u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24);
	return v;
}

// Needs 15 readable bytes. False: let Zydis decide. The class is the caller's business.
bool bt_scan_quick(struct bt_insn *in, const u8 *bytes, u64 rip)
{
	struct cursor c = {bytes, 0};
	u8 form;
	int imm;

	*in = (struct bt_insn){.prefix_off = 0xff, .modrm_off = 0xff};
	take_prefixes(in, &c);
	in->opcode = bytes[c.n++];
	form = one_byte[in->opcode];
	if (in->opcode == 0x0f) {
		in->map = 1;
		in->opcode = bytes[c.n++];
		form = two_byte[in->opcode];
	}
	if (!form)
		return false;
	if (form != N && form != B && form != Z && form != V && form != J && form != JB)
		take_modrm(in, &c);
	imm = immediate(in, form);
	if (imm < 0 || c.n + (unsigned)imm > 15)
		return false;
	if (imm) {
		in->imm_off = (u8)c.n;
		in->imm_size = (u8)imm;
		if (imm < 8)
			in->imm = signed_value(bytes + c.n, (unsigned)imm);
	}
	in->len = (u8)(c.n + (unsigned)imm);
	if (in->rip_relative)
		in->target = rip + in->len + (u64)signed_value(bytes + in->disp_off, 4);
	else if (form == J || form == JB)
		in->target = rip + in->len + (u64)in->imm;
	return true;
}
