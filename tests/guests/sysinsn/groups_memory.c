// SPDX-License-Identifier: MIT
// Ports and memory: I/O bitmap, string instructions over page ends, page rights with WP, SMEP, SMAP, addresses that are not
// canonical, LOCK where it may not be, alignment.
#include "tests/guests/sysinsn/groups.h"

#include "base/string.h"

void make_io(unsigned i, struct sys_case *c)
{
	static const u16 ports[12] = {W_PORT,      W_PORT + 4,  W_PORT + 6,  W_PORT + 7,  W_PORT + 8, W_PORT + 16,
				      W_PORT + 18, W_PORT + 19, W_PORT + 20, W_PORT + 31, 0xfffe,     0xffff};
	enum entry e = digit(&i, ENTRIES);
	unsigned iopl = digit(&i, 4), op = digit(&i, 6);

	case_init(c, e);
	c->flags |= (u64)iopl << 12;
	c->gpr[R_RDX] = (c->gpr[R_RDX] & ~0xffffull) | ports[digit(&i, 12)];
	if (i)
		case_poke(c, W_TSS + 0x66, iopl & 1 ? 0xdfff : 0x2060, 2);
	switch (op) {
	case 0:
		CODE(c, 0xec);
		break;
	case 1:
		CODE(c, 0x66, 0xed);
		break;
	case 2:
		CODE(c, 0xed);
		break;
	case 3:
		CODE(c, 0xee);
		break;
	case 4:
		CODE(c, 0x66, 0xef);
		break;
	default:
		CODE(c, 0xef);
	}
}

static const u8 rep[2] = {0x2e, 0xf3}; // an override without effect, or REP

void make_io_string(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned outs = digit(&i, 2), size = digit(&i, 3), repeat = digit(&i, 2), page = digit(&i, 5);
	const u64 at[5] = {user(e) ? W_DATA : W_KDATA, W_RODATA + 0x80, W_HOLE + 0x80, W_HOLE - 6,
			   user(e) ? W_DATA : W_KDATA};

	case_init(c, e);
	c->gpr[R_RCX] = 3;
	c->gpr[R_RDX] = W_PORT + (page == 4 ? 8 : 0);
	c->gpr[R_RSI] = c->gpr[R_RDI] = at[page] + (page == 0 ? 0x204 : 0);
	c->flags |= i ? RFL_DF : 0;
	CODE(c, (u8)(size == 1 ? 0x66 : 0x3e), rep[repeat], (u8)((outs ? 0x6e : 0x6c) | (size > 0)));
}

// MOVS STOS CMPS; in place, over the end of what is mapped, into read-only; counts 0, 5, 20.
void make_string(unsigned i, struct sys_case *c)
{
	static const u8 opcodes[3] = {0xa4, 0xaa, 0xa6};
	static const u8 counts[3] = {0, 5, 20};
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 3), size = digit(&i, 4), where = digit(&i, 3);
	u8 prefix = size == 1 ? 0x66 : size == 3 && is64(e) ? 0x48 : 0x3e;
	u64 data = user(e) ? W_DATA : W_KDATA;

	case_init(c, e);
	c->gpr[R_RCX] = counts[i];
	c->gpr[R_RSI] = data + 0x300;
	c->gpr[R_RDI] = where == 0 ? data + 0x301 : where == 1 ? W_HOLE - 21 : W_RODATA + 8;
	if (where == 1 && user(e))
		c->gpr[R_RSI] = W_KDATA - 11;
	c->flags |= (i + size + op) & 1 && where != 1 ? RFL_DF : 0;
	if (size == 3 && is64(e))
		CODE(c, 0xf3, prefix, (u8)(opcodes[op] | 1));
	else
		CODE(c, prefix, 0xf3, (u8)(opcodes[op] | (size > 0)));
}

static u64 page_of(unsigned op, unsigned page)
{
	static const u64 data[5] = {W_DATA + 0x18, W_RODATA + 0x18, W_KDATA + 0x18, W_HOLE + 0x18, W_HOLE - 2};
	static const u64 fetch[5] = {W_DATA, W_UCODE + 0x500, W_KCODE + 0x500, W_HOLE, W_RODATA};

	return op == 5 ? fetch[page] : data[page];
}

// Rights of pages, with WP, SMEP and SMAP, AC.
void make_memory(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned page = digit(&i, 5), op = digit(&i, 6);

	case_init(c, e);
	c->cr0 &= i & 1 ? ~CR0_WP : ~0ull;
	c->cr4 &= i & 2 ? ~(CR4_SMAP | CR4_SMEP) : ~0ull;
	c->flags |= i & 4 ? RFL_AC : 0;
	c->gpr[R_RBX] = page_of(op, page);
	switch (op) {
	case 0:
		CODE(c, 0x8b, 0x03);
		break;
	case 1:
		CODE(c, 0x89, 0x03);
		break;
	case 2:
		CODE(c, 0x01, 0x03);
		break;
	case 3:
		CODE(c, 0xf0, 0x0f, 0xb1, 0x0b);
		break; // LOCK CMPXCHG
	case 4:
		CODE(c, 0xff, 0x33);
		break; // PUSH
	default:
		CODE(c, 0xff, 0xe3); // JMP rbx
	}
}

void make_canonical(unsigned i, struct sys_case *c)
{
	static const u64 at[8] = {0x0000800000000000,
				  0x00007ffffffffffe,
				  0xffff7ffffffffffc,
				  0xffff800000000000,
				  0x8000000000000000,
				  0x1234567890123456,
				  ~0ull,
				  0xffff7fffffffff00};
	enum entry e = digit(&i, 2) ? U64 : K64;
	unsigned op = digit(&i, 10);
	unsigned reg = op < 5 ? R_RBX : op < 7 ? R_RBP : R_RSP;

	case_init(c, e);
	c->gpr[reg] = at[i];
	switch (op) {
	case 0:
		CODE(c, 0x8b, 0x03);
		break;
	case 1:
		CODE(c, 0x89, 0x03);
		break;
	case 2:
		CODE(c, 0xff, 0x03);
		break; // INC
	case 3:
		CODE(c, 0xff, 0xe3);
		break; // JMP rbx
	case 4:
		CODE(c, 0xff, 0xd3);
		break; // CALL rbx
	case 5:
		CODE(c, 0x8b, 0x45, 0x00);
		break;
	case 6:
		CODE(c, 0x89, 0x45, 0x00);
		break;
	case 7:
		CODE(c, 0x50);
		break; // PUSH
	case 8:
		CODE(c, 0x58);
		break; // POP
	default:
		CODE(c, 0xc3);
	}
	if (reg == R_RSP && !user(e)) { // and the fault needs a stack
		for (unsigned v = VEC_SS; v <= VEC_PF; v++)
			case_gate(c, v, S_KCS, world_stub(v), 2, 0x8e);
		case_gate(c, VEC_BP, S_KCS, world_stub(VEC_BP), 2, 0xee);
	}
}

// LOCK before every opcode of both maps, with a memory operand and with a register; what follows is INT3s.
void make_lock(unsigned i, struct sys_case *c)
{
	unsigned opcode = digit(&i, 256), escape = digit(&i, 2);
	u8 modrm = i ? 0xc3 : 0x03;

	case_init(c, U64);
	c->gpr[R_RCX] = 2;
	if (escape)
		CODE(c, 0xf0, 0x0f, (u8)opcode, modrm);
	else
		CODE(c, 0xf0, (u8)opcode, modrm);
	if (escape && (opcode == 0x31 || opcode == 0xc7 || opcode == 0xa2))
		c->skip = "result of the machine's own";
	if (i && escape && (opcode == 0xa3 || opcode == 0xab || opcode == 0xb3 || opcode == 0xbb || opcode == 0xba))
		c->skip = "QEMU's translator aborts on LOCK with BT and a register";
}

void make_alignment(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned am = digit(&i, 2), ac = digit(&i, 2);

	case_init(c, e);
	c->cr0 &= am ? ~0ull : ~CR0_AM;
	c->flags |= ac ? RFL_AC : 0;
	c->gpr[R_RBX] += 1;
	switch (i) {
	case 0:
		CODE(c, 0x8b, 0x03);
		break;
	case 1:
		CODE(c, 0x66, 0x89, 0x03);
		break;
	case 2:
		CODE(c, 0x87, 0x03);
		break; // XCHG
	case 3:
		c->gpr[R_RSP] += 2;
		CODE(c, 0x50);
		break;
	case 4:
		CODE(c, 0x8a, 0x03);
		break;
	default:
		CODE(c, 0x0f, 0xb6, 0x0b);
	}
}
