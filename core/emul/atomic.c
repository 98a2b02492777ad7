// SPDX-License-Identifier: MIT
// XADD, CMPXCHG, CMPXCHG8B/16B. With memory they always go through the compare-exchange port: locked or not, the
// comparison and the store must not be separated by what a device or another CPU writes.
#include "core/emul/internal.h"

#include "base/string.h"

enum emul_result emu_op_xadd(struct emu *x)
{
	ZydisRegister reg = x->in.op[1].reg.value;
	u64 src = emu_reg_get(x->cpu, reg), old, flags = x->cpu->rflags, sum;

	if (emu_is_mem(x, 0)) {
		TRY(emu_rmw(x, emu_alu_of(ZYDIS_MNEMONIC_ADD), src, &old));
		emu_reg_set(x->cpu, reg, old);
		return EMUL_OK;
	}
	old = emu_reg_get(x->cpu, x->in.op[0].reg.value);
	sum = emu_alu_of(ZYDIS_MNEMONIC_ADD)(old, src, emu_bits(x, 0), &flags);
	emu_reg_set(x->cpu, reg, old);
	emu_reg_set(x->cpu, x->in.op[0].reg.value, sum);
	x->cpu->rflags = flags;
	return EMUL_OK;
}

enum emul_result emu_op_cmpxchg(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 m = width_mask(bits), acc = x->cpu->gpr[R_RAX] & m, seen = acc, linear;
	u64 src = emu_reg_get(x->cpu, x->in.op[1].reg.value);
	bool done = false;

	if (emu_is_mem(x, 0)) {
		TRY(emu_linear(x, emu_segment(x, 0), emu_offset(x, 0), bits / 8, EMUL_RMW, &linear));
		emu_watch(x, linear, bits / 8, true);
		TRY(x->p->cmpxchg(x->ctx, linear, &seen, &src, bits / 8, &done, &x->e->fault));
		if (done)
			seen = acc;
		seen &= m;
	} else {
		seen = emu_reg_get(x->cpu, x->in.op[0].reg.value);
		done = seen == acc;
		if (done) // a 32-bit destination is zero-extended only when written
			emu_reg_set(x->cpu, x->in.op[0].reg.value, src);
	}
	emu_alu_of(ZYDIS_MNEMONIC_SUB)(acc, seen, bits, &x->cpu->rflags);
	if (!done)
		emu_gpr_set(x->cpu, R_RAX, bits, seen);
	return EMUL_OK;
}

enum emul_result emu_op_cmpxchg8b(struct emu *x)
{
	bool wide = x->in.d.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B, done = false;
	unsigned half = wide ? 8 : 4;
	u64 *g = x->cpu->gpr, linear, lo = 0, hi = 0;
	u8 old[16], next[16];

	memcpy(old, &g[R_RAX], half);
	memcpy(old + half, &g[R_RDX], half);
	memcpy(next, &g[R_RBX], half);
	memcpy(next + half, &g[R_RCX], half);
	if (wide && emu_misaligned16(x, 0))
		return emu_gp0(x);
	TRY(emu_linear(x, emu_segment(x, 0), emu_offset(x, 0), 2 * half, EMUL_RMW, &linear));
	emu_watch(x, linear, 2 * half, true);
	TRY(x->p->cmpxchg(x->ctx, linear, old, next, 2 * half, &done, &x->e->fault));
	x->cpu->rflags = (x->cpu->rflags & ~RFL_ZF) | flag_if(done, RFL_ZF);
	if (!done) {
		memcpy(&lo, old, half);
		memcpy(&hi, old + half, half);
		emu_gpr_set(x->cpu, R_RAX, half * 8, lo);
		emu_gpr_set(x->cpu, R_RDX, half * 8, hi);
	}
	return EMUL_OK;
}
