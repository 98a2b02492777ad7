// SPDX-License-Identifier: MIT
// Operands of the instruction in flight: registers, effective addresses, segment checks (SDM 3A 5.2-5.6 and, in 64-bit
// mode, canonical addresses, SDM 1 3.3.7.1), memory through the ports, read-modify-write, and the stack.
#include "core/emul/internal.h"

#include "base/assert.h"
#include "base/string.h"

enum emul_result emu_fault(struct emu *x, unsigned vector)
{
	x->e->fault = (struct x86_fault){.vector = (u8)vector};
	return EMUL_FAULT;
}

enum emul_result emu_fault_code(struct emu *x, unsigned vector, u32 code)
{
	x->e->fault = (struct x86_fault){.vector = (u8)vector, .has_error = true, .error = code};
	return EMUL_FAULT;
}

enum emul_result emu_need_cpl0(struct emu *x)
{
	return cpu_cpl(x->cpu) == 0 ? EMUL_OK : emu_gp0(x);
}

bool emu_is_segment_register(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS;
}

u64 emu_reg_get(const struct x86_cpu *cpu, ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return cpu->gpr[r - ZYDIS_REGISTER_RAX];
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return (u32)cpu->gpr[r - ZYDIS_REGISTER_EAX];
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return (u16)cpu->gpr[r - ZYDIS_REGISTER_AX];
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return (u8)cpu->gpr[r - ZYDIS_REGISTER_AL];
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		return (u8)(cpu->gpr[r - ZYDIS_REGISTER_AH] >> 8);
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return (u8)cpu->gpr[r - ZYDIS_REGISTER_SPL + 4];
	if (emu_is_segment_register(r))
		return cpu->seg[r - ZYDIS_REGISTER_ES].selector;
	return 0;
}

void emu_gpr_set(struct x86_cpu *cpu, unsigned n, unsigned bits, u64 v)
{
	u64 m = width_mask(bits);

	assert_slow(n < 16);
	cpu->gpr[n] = bits == 32 ? (u32)v : (cpu->gpr[n] & ~m) | (v & m);
}

void emu_reg_set(struct x86_cpu *cpu, ZydisRegister r, u64 v)
{
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		cpu->gpr[r - ZYDIS_REGISTER_RAX] = v;
	else if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		cpu->gpr[r - ZYDIS_REGISTER_EAX] = (u32)v;
	else if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		emu_gpr_set(cpu, r - ZYDIS_REGISTER_AX, 16, v);
	else if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		emu_gpr_set(cpu, r - ZYDIS_REGISTER_AL, 8, v);
	else if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		cpu->gpr[r - ZYDIS_REGISTER_AH] = (cpu->gpr[r - ZYDIS_REGISTER_AH] & ~0xff00ull) | (v & 0xff) << 8;
	else if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		emu_gpr_set(cpu, r - ZYDIS_REGISTER_SPL + 4, 8, v);
	else
		panic("emulator: write to register %d", (int)r);
}

u64 emu_offset(const struct emu *x, unsigned i)
{
	const ZydisDecodedOperandMem *m = &x->in.op[i].mem;
	u64 a = m->disp.has_displacement ? (u64)m->disp.value : 0;

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP)
		a += x->next;
	else if (m->base != ZYDIS_REGISTER_NONE)
		a += emu_reg_get(x->cpu, m->base);
	if (m->index != ZYDIS_REGISTER_NONE)
		a += emu_reg_get(x->cpu, m->index) * m->scale;
	return a & width_mask(x->in.d.address_width);
}

static unsigned segment_number(ZydisRegister r)
{
	return emu_is_segment_register(r) ? (unsigned)(r - ZYDIS_REGISTER_ES) : SEG_DS;
}

unsigned emu_segment(const struct emu *x, unsigned i)
{
	return segment_number(x->in.op[i].mem.segment);
}

unsigned emu_default_data_segment(const struct emu *x)
{
	static const struct {
		u64 attribute;
		unsigned seg;
	} overrides[] = {
		{ZYDIS_ATTRIB_HAS_SEGMENT_CS, SEG_CS}, {ZYDIS_ATTRIB_HAS_SEGMENT_SS, SEG_SS},
		{ZYDIS_ATTRIB_HAS_SEGMENT_ES, SEG_ES}, {ZYDIS_ATTRIB_HAS_SEGMENT_FS, SEG_FS},
		{ZYDIS_ATTRIB_HAS_SEGMENT_GS, SEG_GS},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(overrides); i++)
		if (x->in.d.attributes & overrides[i].attribute)
			return overrides[i].seg;
	return SEG_DS;
}

bool emu_misaligned16(const struct emu *x, unsigned i)
{
	unsigned seg = emu_segment(x, i);

	return (emu_offset(x, i) + (emu_long(x) && seg < SEG_FS ? 0 : x->cpu->seg[seg].base)) & 15;
}

static enum emul_result segment_fault(struct emu *x, unsigned seg)
{
	return emu_fault_code(x, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
}

// Limit and type checks of legacy and compatibility mode.
static enum emul_result linear_legacy(struct emu *x, unsigned seg, u64 offset, unsigned len, unsigned kind, u64 *linear)
{
	const struct x86_segment *s = &x->cpu->seg[seg];
	u64 last = offset + len - 1;
	bool ok, code = s->attr & TYPE_CODE, writes = kind & (EMUL_WRITE | EMUL_RMW);

	if (emu_protected(x)) {
		if (s->attr & SEG_ATTR_UNUSABLE)
			return segment_fault(x, seg);
		if (writes && (code || !(s->attr & TYPE_WRITE)))
			return segment_fault(x, seg);
		if (!writes && !(kind & EMUL_EXEC) && code && !(s->attr & 2))
			return segment_fault(x, seg);
	}
	if (emu_protected(x) && !code && (s->attr & 4)) // expand down
		ok = offset > s->limit && last <= ((s->attr & SEG_ATTR_DB) ? 0xffffffffull : 0xffffull);
	else
		ok = last <= s->limit;
	if (!ok)
		return segment_fault(x, seg);
	*linear = (u32)(s->base + offset);
	return EMUL_OK;
}

enum emul_result emu_linear(struct emu *x, unsigned seg, u64 offset, unsigned len, unsigned kind, u64 *linear)
{
	if (!emu_long(x))
		return linear_legacy(x, seg, offset, len, kind, linear);
	*linear = offset + (seg >= SEG_FS ? x->cpu->seg[seg].base : 0);
	if (!is_canonical(*linear) || !is_canonical(*linear + len - 1))
		return segment_fault(x, seg);
	return EMUL_OK;
}

enum emul_result emu_read(struct emu *x, unsigned seg, u64 offset, void *buf, unsigned len, unsigned kind)
{
	u64 linear;

	TRY(emu_linear(x, seg, offset, len, kind, &linear));
	emu_watch(x, linear, len, false);
	return x->p->read(x->ctx, linear, buf, len, kind, &x->e->fault);
}

enum emul_result emu_write(struct emu *x, unsigned seg, u64 offset, const void *buf, unsigned len)
{
	u64 linear;

	TRY(emu_linear(x, seg, offset, len, EMUL_WRITE, &linear));
	emu_watch(x, linear, len, true);
	return x->p->write(x->ctx, linear, buf, len, EMUL_WRITE, &x->e->fault);
}

enum emul_result emu_read_op(struct emu *x, unsigned i, void *buf, unsigned len)
{
	return emu_read(x, emu_segment(x, i), emu_offset(x, i), buf, len, EMUL_READ);
}

enum emul_result emu_write_op(struct emu *x, unsigned i, const void *buf, unsigned len)
{
	return emu_write(x, emu_segment(x, i), emu_offset(x, i), buf, len);
}

enum emul_result emu_sys_read(struct emu *x, u64 linear, void *buf, unsigned len)
{
	return x->p->read(x->ctx, linear, buf, len, EMUL_READ | EMUL_SUPERVISOR, &x->e->fault);
}

enum emul_result emu_sys_write(struct emu *x, u64 linear, const void *buf, unsigned len)
{
	return x->p->write(x->ctx, linear, buf, len, EMUL_WRITE | EMUL_SUPERVISOR, &x->e->fault);
}

enum emul_result emu_get(struct emu *x, unsigned i, u64 *v)
{
	const ZydisDecodedOperand *o = &x->in.op[i];

	switch (o->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		*v = emu_reg_get(x->cpu, o->reg.value);
		return EMUL_OK;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		*v = o->imm.value.u;
		return EMUL_OK;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		*v = 0;
		assert_slow(o->size <= 64);
		return emu_read_op(x, i, v, o->size / 8);
	default:
		return EMUL_UNSUPPORTED;
	}
}

enum emul_result emu_set(struct emu *x, unsigned i, u64 v)
{
	const ZydisDecodedOperand *o = &x->in.op[i];

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_write_op(x, i, &v, o->size / 8);
	emu_reg_set(x->cpu, o->reg.value, v);
	return EMUL_OK;
}

static enum emul_result locked_update(struct emu *x, u64 linear, unsigned bits, emu_alu f, u64 src, u64 *old,
				      u64 *flags)
{
	u64 seen = 0;

	TRY(x->p->read(x->ctx, linear, &seen, bits / 8, EMUL_READ | EMUL_RMW, &x->e->fault));
	for (unsigned i = 0; i < EMU_LOCK_TRIES; i++) {
		u64 result_flags = *flags, expected = seen;
		u64 next = f(seen, src, bits, &result_flags);
		bool done = false;

		TRY(x->p->cmpxchg(x->ctx, linear, &expected, &next, bits / 8, &done, &x->e->fault));
		if (done) {
			*old = seen;
			*flags = result_flags;
			return EMUL_OK;
		}
		seen = expected & width_mask(bits);
	}
	return EMUL_RETRY;
}

enum emul_result emu_rmw_at(struct emu *x, unsigned seg, u64 offset, unsigned bits, bool locked, emu_alu f, u64 src,
			    u64 *old, u64 *flags)
{
	u64 linear, v = 0, next, result_flags = *flags;

	TRY(emu_linear(x, seg, offset, bits / 8, EMUL_RMW, &linear));
	emu_watch(x, linear, bits / 8, true);
	if (locked)
		return locked_update(x, linear, bits, f, src, old, flags);
	TRY(x->p->read(x->ctx, linear, &v, bits / 8, EMUL_READ | EMUL_RMW, &x->e->fault));
	next = f(v, src, bits, &result_flags);
	TRY(x->p->write(x->ctx, linear, &next, bits / 8, EMUL_WRITE, &x->e->fault));
	*old = v;
	*flags = result_flags;
	return EMUL_OK;
}

enum emul_result emu_rmw(struct emu *x, emu_alu f, u64 src, u64 *old)
{
	u64 flags = x->cpu->rflags, seen, next;
	unsigned bits = emu_bits(x, 0);

	if (emu_is_mem(x, 0)) {
		TRY(emu_rmw_at(x, emu_segment(x, 0), emu_offset(x, 0), bits, emu_locked(x), f, src, &seen, &flags));
	} else {
		seen = emu_reg_get(x->cpu, x->in.op[0].reg.value);
		next = f(seen, src, bits, &flags);
		emu_reg_set(x->cpu, x->in.op[0].reg.value, next);
	}
	x->cpu->rflags = flags;
	if (old)
		*old = seen;
	return EMUL_OK;
}

static u64 stack_mask(const struct emu *x)
{
	if (emu_long(x))
		return ~0ull;
	return x->cpu->seg[SEG_SS].attr & SEG_ATTR_DB ? 0xffffffffull : 0xffffull;
}

u64 emu_sp(const struct emu *x)
{
	return x->cpu->gpr[R_RSP] & stack_mask(x);
}

void emu_sp_set(struct emu *x, u64 sp)
{
	u64 m = stack_mask(x), *rsp = &x->cpu->gpr[R_RSP];

	*rsp = m == 0xffff ? (*rsp & ~m) | (sp & m) : sp & m;
}

enum emul_result emu_push(struct emu *x, u64 *sp, unsigned bytes, u64 v)
{
	u64 to = (*sp - bytes) & stack_mask(x);

	TRY(emu_write(x, SEG_SS, to, &v, bytes));
	*sp = to;
	return EMUL_OK;
}

enum emul_result emu_pop(struct emu *x, u64 *sp, unsigned bytes, u64 *v)
{
	*v = 0;
	TRY(emu_read(x, SEG_SS, *sp, v, bytes, EMUL_READ));
	*sp = (*sp + bytes) & stack_mask(x);
	return EMUL_OK;
}

enum emul_result emu_branch(struct emu *x, u64 target, unsigned bits)
{
	if (emu_long(x)) {
		if (!is_canonical(target))
			return emu_gp0(x);
	} else {
		target &= width_mask(bits);
		if (target > x->cpu->seg[SEG_CS].limit)
			return emu_gp0(x);
	}
	x->next = target;
	return EMUL_OK;
}
