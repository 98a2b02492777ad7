// SPDX-License-Identifier: MIT
// Data movement between general registers and memory, conversions, conditions, single flags (SDM 2).
#include "core/emul/internal.h"

int emu_condition(ZydisMnemonic m)
{
#define CC(n, S)                     \
	case ZYDIS_MNEMONIC_J##S:    \
	case ZYDIS_MNEMONIC_SET##S:  \
	case ZYDIS_MNEMONIC_CMOV##S: \
		return n
	switch (m) {
		CC(0, O);
		CC(1, NO);
		CC(2, B);
		CC(3, NB);
		CC(4, Z);
		CC(5, NZ);
		CC(6, BE);
		CC(7, NBE);
		CC(8, S);
		CC(9, NS);
		CC(10, P);
		CC(11, NP);
		CC(12, L);
		CC(13, NL);
		CC(14, LE);
		CC(15, NLE);
	default:
		return -1;
	}
#undef CC
}

static bool in_class(const struct emu *x, unsigned i, ZydisRegister first, ZydisRegister last)
{
	const ZydisDecodedOperand *o = &x->in.op[i];

	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value >= first && o->reg.value <= last;
}

enum emul_result emu_op_mov(struct emu *x)
{
	u64 v;

	for (unsigned i = 0; i < 2; i++) {
		if (in_class(x, i, ZYDIS_REGISTER_ES, ZYDIS_REGISTER_GS))
			return emu_mov_sreg(x);
		if (in_class(x, i, ZYDIS_REGISTER_CR0, ZYDIS_REGISTER_CR15))
			return emu_mov_cr(x);
		if (in_class(x, i, ZYDIS_REGISTER_DR0, ZYDIS_REGISTER_DR15))
			return emu_mov_dr(x);
	}
	TRY(emu_get(x, 1, &v));
	return emu_set(x, 0, v);
}

enum emul_result emu_op_movzx(struct emu *x)
{
	u64 v;

	TRY(emu_get(x, 1, &v));
	return emu_set(x, 0, v);
}

enum emul_result emu_op_movsx(struct emu *x)
{
	u64 v;

	TRY(emu_get(x, 1, &v));
	return emu_set(x, 0, sign_extend(v, emu_bits(x, 1)));
}

enum emul_result emu_op_lea(struct emu *x)
{
	return emu_set(x, 0, emu_offset(x, 1));
}

static u64 take_source(u64 dst, u64 src, unsigned bits, u64 *flags)
{
	return src;
}

// XCHG with memory is locked whether or not it says so.
enum emul_result emu_op_xchg(struct emu *x)
{
	unsigned mem = emu_is_mem(x, 1) ? 1 : 0, reg = 1 - mem, bits = emu_bits(x, 0);
	u64 src = emu_reg_get(x->cpu, x->in.op[reg].reg.value), old, flags = x->cpu->rflags;

	if (emu_is_mem(x, mem)) {
		TRY(emu_rmw_at(x, emu_segment(x, mem), emu_offset(x, mem), bits, true, take_source, src, &old, &flags));
	} else {
		old = emu_reg_get(x->cpu, x->in.op[0].reg.value);
		emu_reg_set(x->cpu, x->in.op[0].reg.value, src);
	}
	emu_reg_set(x->cpu, x->in.op[reg].reg.value, old);
	return EMUL_OK;
}

static u64 swap_bytes(u64 v, unsigned bits)
{
	return __builtin_bswap64(v) >> (64 - bits);
}

// With a 16-bit operand the result is undefined; processors clear it.
enum emul_result emu_op_bswap(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	ZydisRegister r = x->in.op[0].reg.value;

	emu_reg_set(x->cpu, r, bits == 16 ? 0 : swap_bytes(emu_reg_get(x->cpu, r), bits));
	return EMUL_OK;
}

enum emul_result emu_op_movbe(struct emu *x)
{
	u64 v;

	TRY(emu_get(x, 1, &v));
	return emu_set(x, 0, swap_bytes(v, emu_bits(x, 0)));
}

// CBW, CWDE, CDQE extend the accumulator; CWD, CDQ, CQO fill RDX with its sign.
enum emul_result emu_op_convert(struct emu *x)
{
	u64 a = x->cpu->gpr[R_RAX];

	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_CBW:
		emu_gpr_set(x->cpu, R_RAX, 16, sign_extend(a, 8));
		break;
	case ZYDIS_MNEMONIC_CWDE:
		emu_gpr_set(x->cpu, R_RAX, 32, sign_extend(a, 16));
		break;
	case ZYDIS_MNEMONIC_CDQE:
		emu_gpr_set(x->cpu, R_RAX, 64, sign_extend(a, 32));
		break;
	case ZYDIS_MNEMONIC_CWD:
		emu_gpr_set(x->cpu, R_RDX, 16, msb(a, 16) ? ~0ull : 0);
		break;
	case ZYDIS_MNEMONIC_CDQ:
		emu_gpr_set(x->cpu, R_RDX, 32, msb(a, 32) ? ~0ull : 0);
		break;
	default:
		emu_gpr_set(x->cpu, R_RDX, 64, msb(a, 64) ? ~0ull : 0);
		break;
	}
	return EMUL_OK;
}

enum emul_result emu_op_xlat(struct emu *x)
{
	u64 at = (x->cpu->gpr[R_RBX] + (u8)x->cpu->gpr[R_RAX]) & width_mask(x->in.d.address_width);
	u8 v;

	TRY(emu_read(x, emu_default_data_segment(x), at, &v, 1, EMUL_READ));
	emu_gpr_set(x->cpu, R_RAX, 8, v);
	return EMUL_OK;
}

enum emul_result emu_op_setcc(struct emu *x)
{
	return emu_set(x, 0, flags_condition(x->cpu->rflags, (unsigned)emu_condition(x->in.d.mnemonic)));
}

// The source is read and the upper half of a 32-bit destination cleared whatever the condition.
enum emul_result emu_op_cmovcc(struct emu *x)
{
	u64 v;

	TRY(emu_get(x, 1, &v));
	if (!flags_condition(x->cpu->rflags, (unsigned)emu_condition(x->in.d.mnemonic)))
		TRY(emu_get(x, 0, &v));
	return emu_set(x, 0, v);
}

enum emul_result emu_op_nop(struct emu *x)
{
	return EMUL_OK;
}

enum emul_result emu_op_flag(struct emu *x)
{
	u64 *f = &x->cpu->rflags;

	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_CLC:
		*f &= ~RFL_CF;
		break;
	case ZYDIS_MNEMONIC_STC:
		*f |= RFL_CF;
		break;
	case ZYDIS_MNEMONIC_CMC:
		*f ^= RFL_CF;
		break;
	case ZYDIS_MNEMONIC_CLD:
		*f &= ~RFL_DF;
		break;
	default:
		*f |= RFL_DF;
		break;
	}
	return EMUL_OK;
}

#define LAHF_FLAGS (RFL_SF | RFL_ZF | RFL_AF | RFL_PF | RFL_CF)

enum emul_result emu_op_lahf(struct emu *x)
{
	u64 v = (x->cpu->rflags & LAHF_FLAGS) | RFL_FIXED;

	emu_reg_set(x->cpu, ZYDIS_REGISTER_AH, v);
	return EMUL_OK;
}

enum emul_result emu_op_sahf(struct emu *x)
{
	u64 v = emu_reg_get(x->cpu, ZYDIS_REGISTER_AH);

	x->cpu->rflags = (x->cpu->rflags & ~LAHF_FLAGS) | (v & LAHF_FLAGS);
	return EMUL_OK;
}
