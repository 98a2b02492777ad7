// SPDX-License-Identifier: MIT
// String instructions with REP, and port I/O (SDM 1 7.3.9, 19.5). Each iteration commits its registers, so that a fault or
// EMUL_RETRY in the middle keeps the progress made; elements keep their width, for MMIO's sake.
#include "core/emul/internal.h"

#include "base/assert.h"

enum string_kind { STR_MOVS, STR_CMPS, STR_SCAS, STR_LODS, STR_STOS, STR_INS, STR_OUTS };

struct string_op {
	enum string_kind kind;
	unsigned bytes;
};

static struct string_op string_op_of(ZydisMnemonic m)
{
#define S(op, n, b)                       \
	case ZYDIS_MNEMONIC_##n:          \
		return (struct string_op) \
		{                         \
			STR_##op, b       \
		}
	switch (m) {
		S(MOVS, MOVSB, 1);
		S(MOVS, MOVSW, 2);
		S(MOVS, MOVSD, 4);
		S(MOVS, MOVSQ, 8);
		S(CMPS, CMPSB, 1);
		S(CMPS, CMPSW, 2);
		S(CMPS, CMPSD, 4);
		S(CMPS, CMPSQ, 8);
		S(SCAS, SCASB, 1);
		S(SCAS, SCASW, 2);
		S(SCAS, SCASD, 4);
		S(SCAS, SCASQ, 8);
		S(LODS, LODSB, 1);
		S(LODS, LODSW, 2);
		S(LODS, LODSD, 4);
		S(LODS, LODSQ, 8);
		S(STOS, STOSB, 1);
		S(STOS, STOSW, 2);
		S(STOS, STOSD, 4);
		S(STOS, STOSQ, 8);
		S(INS, INSB, 1);
		S(INS, INSW, 2);
		S(INS, INSD, 4);
		S(OUTS, OUTSB, 1);
		S(OUTS, OUTSW, 2);
		S(OUTS, OUTSD, 4);
	default:
		panic("emulator: string mnemonic %d", (int)m);
	}
#undef S
}

// The last of the repeat prefixes counts, on every string instruction.
static u8 repeat_prefix(const struct emu *x)
{
	u8 rep = 0;

	for (unsigned i = 0; i < x->in.d.raw.prefix_count; i++)
		if (x->in.d.raw.prefixes[i].value == 0xf2 || x->in.d.raw.prefixes[i].value == 0xf3)
			rep = x->in.d.raw.prefixes[i].value;
	return rep;
}

static u64 index_get(const struct emu *x, unsigned n)
{
	return x->cpu->gpr[n] & width_mask(x->in.d.address_width);
}

static void index_step(struct emu *x, unsigned n, unsigned bytes)
{
	u64 by = x->cpu->rflags & RFL_DF ? -(u64)bytes : bytes;

	emu_gpr_set(x->cpu, n, x->in.d.address_width, index_get(x, n) + by);
}

// SDM 1 19.5.2: a port is open if CPL <= IOPL or its bits in the TSS's map are clear.
static enum emul_result io_permission(struct emu *x, u16 port, unsigned bytes)
{
	const struct x86_segment *tr = &x->cpu->tr;
	u64 iopl = (x->cpu->rflags & RFL_IOPL) >> 12;
	u16 map, bits;

	if (!(x->cpu->cr0 & CR0_PE) || (cpu_cpl(x->cpu) <= iopl && !(x->cpu->rflags & RFL_VM)))
		return EMUL_OK;
	if (!(tr->attr & SYS_32) || tr->limit < 0x67)
		return emu_gp0(x);
	TRY(emu_sys_read(x, tr->base + 0x66, &map, 2));
	if ((u32)map + port / 8 + 1 > tr->limit)
		return emu_gp0(x);
	TRY(emu_sys_read(x, tr->base + map + port / 8, &bits, 2));
	return (bits >> (port & 7)) & width_mask(bytes) ? emu_gp0(x) : EMUL_OK;
}

static enum emul_result string_ins(struct emu *x, unsigned bytes)
{
	u64 at = index_get(x, R_RDI), linear;
	u32 v = 0;

	TRY(emu_linear(x, SEG_ES, at, bytes, EMUL_WRITE, &linear));
	TRY(x->p->in(x->ctx, (u16)x->cpu->gpr[R_RDX], bytes, &v));
	emu_watch(x, linear, bytes, true);
	TRY(x->p->write(x->ctx, linear, &v, bytes, EMUL_WRITE, &x->e->fault));
	index_step(x, R_RDI, bytes);
	return EMUL_OK;
}

static enum emul_result string_outs(struct emu *x, unsigned seg, unsigned bytes)
{
	u32 v = 0;

	TRY(emu_read(x, seg, index_get(x, R_RSI), &v, bytes, EMUL_READ));
	TRY(x->p->out(x->ctx, (u16)x->cpu->gpr[R_RDX], bytes, v));
	index_step(x, R_RSI, bytes);
	return EMUL_OK;
}

static enum emul_result string_compare(struct emu *x, struct string_op op, unsigned seg)
{
	u64 a = x->cpu->gpr[R_RAX] & width_mask(op.bytes * 8), b = 0, r;

	if (op.kind == STR_CMPS) {
		a = 0;
		TRY(emu_read(x, seg, index_get(x, R_RSI), &a, op.bytes, EMUL_READ));
	}
	TRY(emu_read(x, SEG_ES, index_get(x, R_RDI), &b, op.bytes, EMUL_READ));
	x->cpu->rflags = (x->cpu->rflags & ~RFL_ARITH) | flags_sub(a, b, false, op.bytes * 8, &r);
	if (op.kind == STR_CMPS)
		index_step(x, R_RSI, op.bytes);
	index_step(x, R_RDI, op.bytes);
	return EMUL_OK;
}

static enum emul_result string_once(struct emu *x, struct string_op op, unsigned seg)
{
	u64 v = x->cpu->gpr[R_RAX];

	switch (op.kind) {
	case STR_INS:
		return string_ins(x, op.bytes);
	case STR_OUTS:
		return string_outs(x, seg, op.bytes);
	case STR_CMPS:
	case STR_SCAS:
		return string_compare(x, op, seg);
	case STR_LODS:
		TRY(emu_read(x, seg, index_get(x, R_RSI), &v, op.bytes, EMUL_READ));
		emu_gpr_set(x->cpu, R_RAX, op.bytes * 8, v);
		index_step(x, R_RSI, op.bytes);
		return EMUL_OK;
	case STR_MOVS:
		TRY(emu_read(x, seg, index_get(x, R_RSI), &v, op.bytes, EMUL_READ));
		TRY(emu_write(x, SEG_ES, index_get(x, R_RDI), &v, op.bytes));
		index_step(x, R_RSI, op.bytes);
		index_step(x, R_RDI, op.bytes);
		return EMUL_OK;
	default:
		TRY(emu_write(x, SEG_ES, index_get(x, R_RDI), &v, op.bytes));
		index_step(x, R_RDI, op.bytes);
		return EMUL_OK;
	}
}

static enum emul_result string_repeat(struct emu *x, struct string_op op, unsigned seg, u8 rep)
{
	bool compares = op.kind == STR_CMPS || op.kind == STR_SCAS;

	for (unsigned done = 0; index_get(x, R_RCX); done++) {
		if (done == EMU_REP_CHUNK)
			return EMUL_RETRY;
		TRY(string_once(x, op, seg));
		emu_gpr_set(x->cpu, R_RCX, x->in.d.address_width, index_get(x, R_RCX) - 1);
		if (compares && !!(x->cpu->rflags & RFL_ZF) != (rep == 0xf3))
			break;
	}
	return EMUL_OK;
}

enum emul_result emu_op_string(struct emu *x)
{
	struct string_op op = string_op_of(x->in.d.mnemonic);
	unsigned seg = emu_default_data_segment(x);
	u8 rep = repeat_prefix(x);

	if (op.kind == STR_INS || op.kind == STR_OUTS)
		TRY(io_permission(x, (u16)x->cpu->gpr[R_RDX], op.bytes));
	return rep ? string_repeat(x, op, seg, rep) : string_once(x, op, seg);
}

// MOVSD and CMPSD name a string and an SSE instruction each.
enum emul_result emu_op_movsd(struct emu *x)
{
	return x->in.d.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? emu_op_string(x) : emu_op_sse(x);
}

enum emul_result emu_op_cmpsd(struct emu *x)
{
	return x->in.d.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? emu_op_string(x) : EMUL_UNSUPPORTED;
}

// The accumulator of port I/O is AL, AX or EAX by opcode and operand size.
static unsigned io_bytes(const struct emu *x)
{
	if (!(x->in.d.opcode & 1))
		return 1;
	return x->in.d.operand_width == 16 ? 2 : 4;
}

static u16 io_port(const struct emu *x)
{
	return x->in.d.opcode & 8 ? (u16)x->cpu->gpr[R_RDX] : x->in.bytes[x->in.length - 1];
}

enum emul_result emu_op_in(struct emu *x)
{
	unsigned bytes = io_bytes(x);
	u16 port = io_port(x);
	u32 v = 0;

	TRY(io_permission(x, port, bytes));
	TRY(x->p->in(x->ctx, port, bytes, &v));
	emu_gpr_set(x->cpu, R_RAX, bytes * 8, v);
	return EMUL_OK;
}

enum emul_result emu_op_out(struct emu *x)
{
	unsigned bytes = io_bytes(x);
	u16 port = io_port(x);

	TRY(io_permission(x, port, bytes));
	return x->p->out(x->ctx, port, bytes, (u32)(x->cpu->gpr[R_RAX] & width_mask(bytes * 8)));
}
