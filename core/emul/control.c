// SPDX-License-Identifier: MIT
// Near control flow and the stack: JMP, Jcc, CALL, RET, LOOP, PUSH, POP, PUSHF, POPF, ENTER, LEAVE (SDM 2). In 64-bit mode
// near branches are 64 bits wide whatever the operand-size prefix (Intel's rule).
#include "core/emul/internal.h"

static unsigned branch_bits(const struct emu *x)
{
	return emu_long(x) ? 64 : x->in.d.operand_width;
}

static enum emul_result branch_target(struct emu *x, u64 *target)
{
	const ZydisDecodedOperand *o = &x->in.op[0];

	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		*target = x->next + o->imm.value.u;
		return EMUL_OK;
	}
	return emu_get(x, 0, target);
}

enum emul_result emu_op_jmp(struct emu *x)
{
	u64 target;

	if (x->in.d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return emu_jmp_far(x);
	TRY(branch_target(x, &target));
	return emu_branch(x, target, branch_bits(x));
}

static enum emul_result branch_if(struct emu *x, bool taken)
{
	u64 target;

	if (!taken)
		return EMUL_OK;
	TRY(branch_target(x, &target));
	return emu_branch(x, target, branch_bits(x));
}

enum emul_result emu_op_jcc(struct emu *x)
{
	return branch_if(x, flags_condition(x->cpu->rflags, (unsigned)emu_condition(x->in.d.mnemonic)));
}

enum emul_result emu_op_loop(struct emu *x)
{
	unsigned bits = x->in.d.address_width;
	u64 count = (x->cpu->gpr[R_RCX] - 1) & width_mask(bits);
	bool zf = x->cpu->rflags & RFL_ZF, taken = count != 0;

	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_LOOPE)
		taken = taken && zf;
	else if (x->in.d.mnemonic == ZYDIS_MNEMONIC_LOOPNE)
		taken = taken && !zf;
	TRY(branch_if(x, taken));
	emu_gpr_set(x->cpu, R_RCX, bits, count);
	return EMUL_OK;
}

enum emul_result emu_op_jcxz(struct emu *x)
{
	return branch_if(x, !(x->cpu->gpr[R_RCX] & width_mask(x->in.d.address_width)));
}

enum emul_result emu_op_call(struct emu *x)
{
	unsigned bits = branch_bits(x);
	u64 target, sp = emu_sp(x), from = x->next;

	if (x->in.d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return emu_call_far(x);
	TRY(branch_target(x, &target));
	TRY(emu_branch(x, target, bits));
	TRY(emu_push(x, &sp, bits / 8, from));
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_ret(struct emu *x)
{
	unsigned bits = branch_bits(x);
	u64 target, sp = emu_sp(x);

	if (x->in.d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return emu_ret_far(x);
	TRY(emu_pop(x, &sp, bits / 8, &target));
	TRY(emu_branch(x, target, bits));
	if (x->in.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		sp += x->in.op[0].imm.value.u & 0xffff;
	emu_sp_set(x, sp);
	return EMUL_OK;
}

// Width of PUSH and POP: 64 bits in 64-bit mode unless prefixed to 16.
static unsigned stack_bytes(const struct emu *x)
{
	if (emu_long(x))
		return x->in.d.operand_width == 16 ? 2 : 8;
	return x->in.d.operand_width / 8;
}

enum emul_result emu_op_push(struct emu *x)
{
	u64 v, sp = emu_sp(x);

	TRY(emu_get(x, 0, &v));
	TRY(emu_push(x, &sp, stack_bytes(x), v));
	emu_sp_set(x, sp);
	return EMUL_OK;
}

static enum emul_result pop_segment(struct emu *x, unsigned seg, u64 v, u64 sp)
{
	TRY(emu_segment_load(x, seg, (u16)v));
	emu_sp_set(x, sp);
	x->shadow = seg == SEG_SS;
	return EMUL_OK;
}

// A memory destination that uses the stack pointer sees it already incremented.
enum emul_result emu_op_pop(struct emu *x)
{
	const ZydisDecodedOperand *o = &x->in.op[0];
	u64 v, sp = emu_sp(x), old = x->cpu->gpr[R_RSP];
	enum emul_result r;

	TRY(emu_pop(x, &sp, stack_bytes(x), &v));
	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && emu_is_segment_register(o->reg.value))
		return pop_segment(x, (unsigned)(o->reg.value - ZYDIS_REGISTER_ES), v, sp);
	emu_sp_set(x, sp);
	r = emu_set(x, 0, v);
	if (r != EMUL_OK)
		x->cpu->gpr[R_RSP] = old;
	return r;
}

static unsigned flags_bytes(const struct emu *x)
{
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_POPF:
		return 2;
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_POPFD:
		return 4;
	default:
		return 8;
	}
}

static bool v86_needs_iopl(const struct emu *x)
{
	return (x->cpu->rflags & RFL_VM) && (x->cpu->rflags & RFL_IOPL) != RFL_IOPL;
}

enum emul_result emu_op_pushf(struct emu *x)
{
	u64 sp = emu_sp(x);

	if (v86_needs_iopl(x))
		return emu_gp0(x);
	TRY(emu_push(x, &sp, flags_bytes(x), (x->cpu->rflags & ~(RFL_RF | RFL_VM)) | RFL_FIXED));
	emu_sp_set(x, sp);
	return EMUL_OK;
}

u64 emu_flags_mask(const struct emu *x, unsigned bytes)
{
	u64 m = RFL_ARITH | RFL_TF | RFL_DF | RFL_NT, iopl = (x->cpu->rflags & RFL_IOPL) >> 12;
	unsigned cpl = cpu_cpl(x->cpu);

	if (bytes > 2)
		m |= RFL_AC | RFL_ID;
	if (cpl <= iopl)
		m |= RFL_IF;
	if (cpl == 0)
		m |= RFL_IOPL;
	return m;
}

enum emul_result emu_op_popf(struct emu *x)
{
	unsigned bytes = flags_bytes(x);
	u64 v, sp = emu_sp(x), m = emu_flags_mask(x, bytes);

	if (v86_needs_iopl(x))
		return emu_gp0(x);
	TRY(emu_pop(x, &sp, bytes, &v));
	x->cpu->rflags = (x->cpu->rflags & ~(m | RFL_RF)) | (v & m);
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_enter(struct emu *x)
{
	unsigned bytes = stack_bytes(x), level;
	u64 size = x->in.op[0].imm.value.u & 0xffff, sp = emu_sp(x), rbp = x->cpu->gpr[R_RBP], frame, v;
	u8 probe = 0;

	level = (unsigned)x->in.op[1].imm.value.u & 31;
	TRY(emu_push(x, &sp, bytes, rbp));
	frame = sp;
	for (unsigned i = 1; i < level; i++) {
		rbp -= bytes;
		v = 0;
		TRY(emu_read(x, SEG_SS, emu_long(x) ? rbp : (u32)rbp, &v, bytes, EMUL_READ));
		TRY(emu_push(x, &sp, bytes, v));
	}
	if (level)
		TRY(emu_push(x, &sp, bytes, frame));
	sp -= size;
	TRY(emu_read(x, SEG_SS, emu_long(x) ? sp : (u32)sp, &probe, 1, EMUL_RMW)); // the new top must be writable
	emu_gpr_set(x->cpu, R_RBP, bytes * 8, frame);
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_leave(struct emu *x)
{
	unsigned bytes = stack_bytes(x);
	u64 old = x->cpu->gpr[R_RSP], sp, v;
	enum emul_result r;

	emu_sp_set(x, x->cpu->gpr[R_RBP]);
	sp = emu_sp(x);
	x->cpu->gpr[R_RSP] = old;
	r = emu_pop(x, &sp, bytes, &v);
	if (r != EMUL_OK)
		return r;
	emu_gpr_set(x->cpu, R_RBP, bytes * 8, v);
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_pusha(struct emu *x)
{
	unsigned bytes = x->in.d.operand_width / 8;
	u64 sp = emu_sp(x);

	for (unsigned i = 0; i < 8; i++)
		TRY(emu_push(x, &sp, bytes, x->cpu->gpr[i]));
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_popa(struct emu *x)
{
	unsigned bytes = x->in.d.operand_width / 8;
	u64 sp = emu_sp(x), v[8];

	for (int i = 7; i >= 0; i--)
		TRY(emu_pop(x, &sp, bytes, &v[i]));
	for (unsigned i = 0; i < 8; i++)
		if (i != R_RSP)
			emu_gpr_set(x->cpu, i, bytes * 8, v[i]);
	emu_sp_set(x, sp);
	return EMUL_OK;
}

enum emul_result emu_op_bound(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 at = emu_offset(x, 1), low = 0, high = 0, v;

	TRY(emu_get(x, 0, &v));
	TRY(emu_read(x, emu_segment(x, 1), at, &low, bits / 8, EMUL_READ));
	TRY(emu_read(x, emu_segment(x, 1), at + bits / 8, &high, bits / 8, EMUL_READ));
	if ((s64)sign_extend(v, bits) < (s64)sign_extend(low, bits) ||
	    (s64)sign_extend(v, bits) > (s64)sign_extend(high, bits))
		return emu_fault(x, VEC_BR);
	return EMUL_OK;
}
