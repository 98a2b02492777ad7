// SPDX-License-Identifier: MIT
// Moves between XMM registers and memory that can meet MMIO or a write-protected page (SDM 2), through the get_xmm and
// set_xmm ports. Register-to-register forms and arithmetic do not come here: the machine runs them.
#include "core/emul/internal.h"

#include "base/string.h"

static bool is_xmm(const struct emu *x, unsigned i)
{
	const ZydisDecodedOperand *o = &x->in.op[i];

	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value >= ZYDIS_REGISTER_XMM0 &&
	       o->reg.value <= ZYDIS_REGISTER_XMM15;
}

static bool is_gpr(const struct emu *x, unsigned i)
{
	return x->in.op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && insn_gpr_number(x->in.op[i].reg.value) >= 0;
}

static bool needs_alignment(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
		return true;
	default:
		return false;
	}
}

static bool high_half(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_MOVHPS || m == ZYDIS_MNEMONIC_MOVHPD;
}

static bool keeps_rest(ZydisMnemonic m)
{
	return high_half(m) || m == ZYDIS_MNEMONIC_MOVLPS || m == ZYDIS_MNEMONIC_MOVLPD;
}

static enum emul_result aligned(struct emu *x, unsigned i)
{
	return needs_alignment(x->in.d.mnemonic) && emu_misaligned16(x, i) ? emu_gp0(x) : EMUL_OK;
}

static unsigned xmm(const struct emu *x, unsigned i)
{
	return (unsigned)(x->in.op[i].reg.value - ZYDIS_REGISTER_XMM0);
}

static enum emul_result load(struct emu *x)
{
	unsigned bytes = emu_bits(x, 1) / 8;
	u8 v[16] = {0}, part[16];
	u64 g;

	if (is_gpr(x, 1)) {
		TRY(emu_get(x, 1, &g));
		memcpy(v, &g, bytes);
		x->p->set_xmm(x->ctx, xmm(x, 0), v);
		return EMUL_OK;
	}
	TRY(aligned(x, 1));
	TRY(emu_read_op(x, 1, part, bytes));
	if (keeps_rest(x->in.d.mnemonic))
		x->p->get_xmm(x->ctx, xmm(x, 0), v);
	memcpy(v + (high_half(x->in.d.mnemonic) ? 8 : 0), part, bytes);
	x->p->set_xmm(x->ctx, xmm(x, 0), v);
	return EMUL_OK;
}

static enum emul_result store(struct emu *x)
{
	unsigned bytes = emu_bits(x, 0) / 8;
	u64 g = 0;
	u8 v[16];

	x->p->get_xmm(x->ctx, xmm(x, 1), v);
	if (is_gpr(x, 0)) {
		memcpy(&g, v, bytes);
		return emu_set(x, 0, g);
	}
	TRY(aligned(x, 0));
	return emu_write_op(x, 0, v + (high_half(x->in.d.mnemonic) ? 8 : 0), bytes);
}

enum emul_result emu_op_sse(struct emu *x)
{
	if (!x->p->get_xmm || !x->p->set_xmm || x->in.d.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return EMUL_UNSUPPORTED;
	if ((x->cpu->cr0 & CR0_EM) || !(x->cpu->cr4 & CR4_OSFXSR))
		return emu_ud(x);
	if (x->cpu->cr0 & CR0_TS)
		return emu_fault(x, VEC_NM);
	if (is_xmm(x, 0) && (emu_is_mem(x, 1) || is_gpr(x, 1)))
		return load(x);
	if (is_xmm(x, 1) && (emu_is_mem(x, 0) || is_gpr(x, 0)))
		return store(x);
	return emu_native(x);
}
