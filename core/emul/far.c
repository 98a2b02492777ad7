// SPDX-License-Identifier: MIT
// Changes of code segment by instruction: far JMP, CALL, RET, IRET, SYSCALL, SYSRET, SYSENTER, SYSEXIT, INT n (SDM 3A 5.8,
// SDM 2). Call gates of long mode are in callgate.c; legacy ones, task gates and TSSs in callgate_legacy.c and task.c.
//
// Everything is checked on local copies; CS, SS, RSP and RFLAGS change together at the end.
#include "core/emul/internal.h"

#include "base/string.h"

// Target RIP against the code segment to be: canonical in 64-bit code, within the limit otherwise.
static enum emul_result target_check(struct emu *x, const struct emu_desc *d, u64 *rip)
{
	struct x86_segment s;

	if (emu_lma(x) && DESC_L(d->raw))
		return is_canonical(*rip) ? EMUL_OK : emu_gp0(x);
	emu_desc_unpack(d->raw, 0, &s);
	*rip &= 0xffffffff;
	return *rip <= s.limit ? EMUL_OK : emu_gp0(x);
}

static enum emul_result code_common(struct emu *x, u16 sel, const struct emu_desc *d)
{
	if (emu_lma(x) && DESC_L(d->raw) && DESC_DB(d->raw))
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	return DESC_P(d->raw) ? EMUL_OK : emu_fault_code(x, VEC_NP, sel & 0xfffc);
}

// Code segment as target of a far JMP or CALL: no change of privilege.
static enum emul_result far_target(struct emu *x, u16 sel, struct emu_desc *d, u64 *rip)
{
	unsigned cpl = cpu_cpl(x->cpu);
	bool ok;

	if (!(sel & 0xfffc))
		return emu_gp0(x);
	TRY(emu_desc_read(x, sel, VEC_GP, 0, d));
	if (DESC_TYPE(d->raw) & TYPE_CONFORMING)
		ok = DESC_DPL(d->raw) <= cpl;
	else
		ok = (sel & 3u) <= cpl && DESC_DPL(d->raw) == cpl;
	if (!desc_is_code(d->raw) || !ok)
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	TRY(code_common(x, sel, d));
	TRY(target_check(x, d, rip));
	return emu_desc_mark(x, d);
}

static void load_code(struct emu *x, const struct emu_desc *d, u16 sel, unsigned cpl)
{
	emu_desc_unpack(d->raw, (u16)((sel & ~3u) | cpl), &x->cpu->seg[SEG_CS]);
	emu_segment_notify(x, SEG_CS);
}

static enum emul_result far_pointer(struct emu *x, u16 *sel, u64 *rip)
{
	const ZydisDecodedOperand *o = &x->in.op[0];
	unsigned bytes = x->in.d.operand_width / 8;

	*rip = 0;
	if (o->type == ZYDIS_OPERAND_TYPE_POINTER) {
		*sel = o->ptr.segment;
		*rip = o->ptr.offset & width_mask(bytes * 8);
		return EMUL_OK;
	}
	TRY(emu_read(x, emu_segment(x, 0), emu_offset(x, 0), rip, bytes, EMUL_READ));
	return emu_read(x, emu_segment(x, 0), emu_offset(x, 0) + bytes, sel, 2, EMUL_READ);
}

static enum emul_result real_code(struct emu *x, u16 sel, u64 rip)
{
	if (rip > x->cpu->seg[SEG_CS].limit)
		return emu_gp0(x);
	emu_segment_real(x->cpu, SEG_CS, sel);
	emu_segment_notify(x, SEG_CS);
	x->next = rip;
	return EMUL_OK;
}

enum emul_result emu_jmp_far(struct emu *x)
{
	struct emu_desc d;
	u64 rip;
	u16 sel;

	TRY(far_pointer(x, &sel, &rip));
	if (!emu_protected(x))
		return real_code(x, sel, rip);
	if (emu_is_gate(x, sel))
		return emu_lma(x) ? emu_gate_jmp(x, sel) : emu_system_jmp(x, sel);
	TRY(far_target(x, sel, &d, &rip));
	load_code(x, &d, sel, cpu_cpl(x->cpu));
	x->next = rip;
	return EMUL_OK;
}

enum emul_result emu_call_far(struct emu *x)
{
	unsigned bytes = x->in.d.operand_width / 8;
	u64 rip, sp = emu_sp(x), back = x->next;
	struct emu_desc d;
	u16 sel, cs = x->cpu->seg[SEG_CS].selector;

	TRY(far_pointer(x, &sel, &rip));
	if (emu_protected(x) && emu_is_gate(x, sel))
		return emu_lma(x) ? emu_gate_call(x, sel) : emu_system_call(x, sel);
	if (emu_protected(x))
		TRY(far_target(x, sel, &d, &rip));
	else if (rip > x->cpu->seg[SEG_CS].limit)
		return emu_gp0(x);
	TRY(emu_push(x, &sp, bytes, cs));
	TRY(emu_push(x, &sp, bytes, back));
	emu_sp_set(x, sp);
	if (!emu_protected(x))
		return real_code(x, sel, rip);
	load_code(x, &d, sel, cpu_cpl(x->cpu));
	x->next = rip;
	return EMUL_OK;
}

// Checks shared by RET far and IRET on the code segment to return to.
static enum emul_result return_code(struct emu *x, u16 sel, struct emu_desc *d, u64 *rip)
{
	unsigned cpl = cpu_cpl(x->cpu), rpl = sel & 3;
	bool ok;

	if (!(sel & 0xfffc))
		return emu_gp0(x);
	TRY(emu_desc_read(x, sel, VEC_GP, 0, d));
	ok = desc_is_code(d->raw) && rpl >= cpl;
	if (DESC_TYPE(d->raw) & TYPE_CONFORMING)
		ok = ok && DESC_DPL(d->raw) <= rpl;
	else
		ok = ok && DESC_DPL(d->raw) == rpl;
	if (!ok)
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	TRY(code_common(x, sel, d));
	return target_check(x, d, rip);
}

// And on the stack segment. *null: a null selector was accepted.
static enum emul_result return_stack(struct emu *x, u16 ss, unsigned rpl, bool to64, struct emu_desc *d, bool *null)
{
	*null = !(ss & 0xfffc);
	if (*null)
		return to64 && rpl != 3 && (ss & 3u) == rpl ? EMUL_OK : emu_gp0(x);
	TRY(emu_desc_read(x, ss, VEC_GP, 0, d));
	if ((ss & 3u) != rpl || !DESC_S(d->raw) || (DESC_TYPE(d->raw) & (TYPE_CODE | TYPE_WRITE)) != TYPE_WRITE ||
	    DESC_DPL(d->raw) != rpl)
		return emu_fault_code(x, VEC_GP, ss & 0xfffc);
	if (!DESC_P(d->raw))
		return emu_fault_code(x, VEC_SS, ss & 0xfffc);
	return emu_desc_mark(x, d);
}

// Data segments that the outer ring may not use become null (SDM 3A 5.8.6).
static void drop_privileged_data(struct emu *x, unsigned cpl)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct x86_segment *s = &x->cpu->seg[data[i]];
		bool conforming = (s->attr & TYPE_CODE) && (s->attr & TYPE_CONFORMING);

		if ((s->attr & SEG_ATTR_UNUSABLE) || conforming || SEG_ATTR_DPL(s->attr) >= cpl)
			continue;
		s->selector = 0;
		s->attr = SEG_ATTR_UNUSABLE;
		emu_segment_notify(x, data[i]);
	}
}

struct far_return {
	u64 rip, flags, sp, extra;
	u16 cs, ss;
	bool stack; // RSP and SS come with it
	bool has_flags;
};

static void return_flags(struct emu *x, const struct far_return *f, u64 mask)
{
	if (!f->has_flags)
		return;
	x->cpu->rflags = (x->cpu->rflags & ~mask) | (f->flags & mask) | RFL_FIXED;
	x->keep_rf = mask & RFL_RF;
}

// Everything was popped; check it and commit. mask: flags that may change.
static enum emul_result far_return(struct emu *x, struct far_return *f, u64 mask)
{
	unsigned cpl = cpu_cpl(x->cpu), rpl = f->cs & 3;
	struct emu_desc code, stack;
	bool null = false, to64;

	TRY(return_code(x, f->cs, &code, &f->rip));
	to64 = emu_lma(x) && DESC_L(code.raw);
	if (f->stack)
		TRY(return_stack(x, f->ss, rpl, to64, &stack, &null));
	TRY(emu_desc_mark(x, &code));
	load_code(x, &code, f->cs, rpl);
	return_flags(x, f, mask);
	if (f->stack) {
		if (null)
			emu_segment_null(&x->cpu->seg[SEG_SS], f->ss, rpl);
		else
			emu_desc_unpack(stack.raw, f->ss, &x->cpu->seg[SEG_SS]);
		emu_segment_notify(x, SEG_SS);
	}
	if (f->stack && to64)
		x->cpu->gpr[R_RSP] = f->sp + f->extra;
	else if (f->stack)
		emu_gpr_set(x->cpu, R_RSP, x->cpu->seg[SEG_SS].attr & SEG_ATTR_DB ? 32 : 16, f->sp + f->extra);
	else
		emu_sp_set(x, f->sp + f->extra);
	if (rpl > cpl)
		drop_privileged_data(x, rpl);
	x->next = f->rip;
	return EMUL_OK;
}

enum emul_result emu_ret_far(struct emu *x)
{
	unsigned bytes = x->in.d.operand_width / 8;
	u64 sp = emu_sp(x), cs, ss;
	struct far_return f = {0};

	if (x->in.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		f.extra = x->in.op[0].imm.value.u & 0xffff;
	TRY(emu_pop(x, &sp, bytes, &f.rip));
	TRY(emu_pop(x, &sp, bytes, &cs));
	f.cs = (u16)cs;
	f.sp = sp;
	if (!emu_protected(x)) {
		TRY(real_code(x, f.cs, f.rip));
		emu_sp_set(x, sp + f.extra);
		return EMUL_OK;
	}
	if ((f.cs & 3u) > cpu_cpl(x->cpu)) {
		sp += f.extra;
		TRY(emu_pop(x, &sp, bytes, &f.sp));
		TRY(emu_pop(x, &sp, bytes, &ss));
		f.ss = (u16)ss;
		f.stack = true;
	}
	return far_return(x, &f, 0);
}

static enum emul_result real_iret(struct emu *x, struct far_return *f, u64 sp, unsigned bytes)
{
	u64 m = RFL_ARITH | RFL_TF | RFL_IF | RFL_DF | RFL_NT | RFL_IOPL | (bytes > 2 ? RFL_RF | RFL_AC | RFL_ID : 0);

	if (x->cpu->rflags & RFL_VM)
		m &= ~RFL_IOPL;
	TRY(real_code(x, f->cs, f->rip));
	return_flags(x, f, m);
	emu_sp_set(x, sp);
	return EMUL_OK;
}

// To virtual-8086 mode, from a frame with all segment registers (SDM 3B 20.2.5).
static enum emul_result v86_iret(struct emu *x, struct far_return *f)
{
	static const u8 order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	u64 sp = f->sp, esp, sel[ARRAY_SIZE(order)];

	TRY(emu_pop(x, &sp, 4, &esp));
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		TRY(emu_pop(x, &sp, 4, &sel[i]));
	if ((f->rip & 0xffffffff) > 0xffff)
		return emu_gp0(x);
	return_flags(x, f,
		     RFL_ARITH | RFL_TF | RFL_IF | RFL_DF | RFL_IOPL | RFL_NT | RFL_RF | RFL_VM | RFL_AC | RFL_VIF |
			     RFL_VIP | RFL_ID);
	emu_segment_real(x->cpu, SEG_CS, f->cs);
	emu_segment_notify(x, SEG_CS);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		emu_segment_real(x->cpu, order[i], (u16)sel[i]);
		emu_segment_notify(x, order[i]);
	}
	x->cpu->gpr[R_RSP] = (u32)esp;
	x->next = f->rip & 0xffff;
	return EMUL_OK;
}

static enum emul_result iret(struct emu *x)
{
	unsigned bytes = x->in.d.mnemonic == ZYDIS_MNEMONIC_IRETQ   ? 8
			 : x->in.d.mnemonic == ZYDIS_MNEMONIC_IRETD ? 4
								    : 2;
	u64 sp = emu_sp(x), cs, ss, mask;
	struct far_return f = {.has_flags = true};

	if (emu_protected(x) && (x->cpu->rflags & RFL_NT))
		return emu_lma(x) ? emu_gp0(x) : emu_task_return(x);
	if ((x->cpu->rflags & RFL_VM) && (x->cpu->rflags & RFL_IOPL) != RFL_IOPL)
		return emu_gp0(x);
	TRY(emu_pop(x, &sp, bytes, &f.rip));
	TRY(emu_pop(x, &sp, bytes, &cs));
	TRY(emu_pop(x, &sp, bytes, &f.flags));
	f.cs = (u16)cs;
	f.sp = sp;
	if (!emu_protected(x))
		return real_iret(x, &f, sp, bytes);
	if (!emu_lma(x) && bytes == 4 && (f.flags & RFL_VM) && cpu_cpl(x->cpu) == 0)
		return v86_iret(x, &f);
	if (emu_long(x) || (f.cs & 3u) > cpu_cpl(x->cpu)) {
		TRY(emu_pop(x, &sp, bytes, &f.sp));
		TRY(emu_pop(x, &sp, bytes, &ss));
		f.ss = (u16)ss;
		f.stack = true;
	}
	mask = emu_flags_mask(x, bytes) | (bytes > 2 ? RFL_RF : 0);
	if (cpu_cpl(x->cpu) == 0 && bytes > 2)
		mask |= RFL_VIF | RFL_VIP;
	return far_return(x, &f, mask);
}

enum emul_result emu_op_iret(struct emu *x)
{
	TRY(iret(x));
	x->cpu->nmi_blocked = false;
	return EMUL_OK;
}

// AMD's processors take SYSCALL in compatibility mode (to CSTAR), but no SYSENTER in long mode; Intel's the other way round.
static bool vendor_amd(struct emu *x)
{
	u32 id[4] = {0};

	x->p->cpuid(x->ctx, 0, 0, id);
	return id[1] == 0x68747541 || id[1] == 0x6f677948; // "Auth", "Hygo"
}

enum emul_result emu_op_syscall(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	u16 cs = (u16)(c->star >> 32) & 0xfffc;
	u64 target = emu_long(x) ? c->lstar : c->cstar;

	if (!(c->efer & EFER_SCE) || !emu_lma(x) || (!emu_long(x) && !vendor_amd(x)))
		return emu_ud(x);
	c->gpr[R_RCX] = x->next;
	c->gpr[R_R11] = (c->rflags & ~RFL_RF) | RFL_FIXED;
	c->rflags = ((c->rflags & ~c->sfmask) & ~RFL_RF) | RFL_FIXED;
	emu_code_flat(c, cs, (u16)(cs + 8), 0, true);
	emu_segment_notify(x, SEG_CS);
	emu_segment_notify(x, SEG_SS);
	x->next = target;
	return EMUL_OK;
}

#define SYSRET_FLAGS 0x3c7fd7ull

enum emul_result emu_op_sysret(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	bool to64 = x->in.d.raw.rex.W;
	u16 base = (u16)(c->star >> 48);

	if (!emu_long(x) || !(c->efer & EFER_SCE))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	if (to64 && !is_canonical(c->gpr[R_RCX]))
		return emu_gp0(x);
	x->next = to64 ? c->gpr[R_RCX] : (u32)c->gpr[R_RCX];
	c->rflags = (c->gpr[R_R11] & SYSRET_FLAGS) | RFL_FIXED;
	emu_code_flat(c, (u16)((base + (to64 ? 16 : 0)) | 3), (u16)((base + 8) | 3), 3, to64);
	emu_segment_notify(x, SEG_CS);
	emu_segment_notify(x, SEG_SS);
	return EMUL_OK;
}

enum emul_result emu_op_sysenter(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	u16 cs = (u16)c->sysenter_cs & 0xfffc;

	if (emu_lma(x) && vendor_amd(x) && !x->e->sysenter_known)
		return emu_ud(x);
	if (!(c->cr0 & CR0_PE) || !cs) // virtual-8086 mode has it, too
		return emu_gp0(x);
	c->rflags &= ~(RFL_VM | RFL_IF | RFL_RF);
	emu_code_flat(c, cs, (u16)(cs + 8), 0, emu_lma(x));
	c->gpr[R_RSP] = emu_lma(x) ? c->sysenter_esp : (u32)c->sysenter_esp;
	x->next = emu_lma(x) ? c->sysenter_eip : (u32)c->sysenter_eip;
	emu_segment_notify(x, SEG_CS);
	emu_segment_notify(x, SEG_SS);
	return EMUL_OK;
}

enum emul_result emu_op_sysexit(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	bool to64 = x->in.d.raw.rex.W;
	u16 base = (u16)c->sysenter_cs & 0xfffc;

	if (emu_lma(x) && vendor_amd(x))
		return emu_ud(x);
	if (!emu_protected(x) || !base || cpu_cpl(c))
		return emu_gp0(x);
	if (to64 && (!is_canonical(c->gpr[R_RCX]) || !is_canonical(c->gpr[R_RDX])))
		return emu_gp0(x);
	x->next = to64 ? c->gpr[R_RDX] : (u32)c->gpr[R_RDX];
	c->gpr[R_RSP] = to64 ? c->gpr[R_RCX] : (u32)c->gpr[R_RCX];
	emu_code_flat(c, (u16)((base + (to64 ? 32 : 16)) | 3), (u16)((base + (to64 ? 40 : 24)) | 3), 3, to64);
	emu_segment_notify(x, SEG_CS);
	emu_segment_notify(x, SEG_SS);
	return EMUL_OK;
}

static bool v86_int_needs_iopl(const struct emu *x)
{
	return x->in.d.mnemonic == ZYDIS_MNEMONIC_INT && (x->cpu->rflags & RFL_VM) &&
	       (x->cpu->rflags & RFL_IOPL) != RFL_IOPL;
}

// INT n, INT3, INTO, INT1: delivery with the return address behind the instruction.
enum emul_result emu_op_int(struct emu *x)
{
	struct x86_fault event = {0};
	u64 rip = x->cpu->rip;
	enum emul_result r;
	bool soft = true;

	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_INT3:
		event.vector = VEC_BP;
		break;
	case ZYDIS_MNEMONIC_INTO:
		if (!(x->cpu->rflags & RFL_OF))
			return EMUL_OK;
		event.vector = VEC_OF;
		break;
	case ZYDIS_MNEMONIC_INT1:
		event.vector = VEC_DB;
		soft = false;
		break;
	default:
		event.vector = (u8)x->in.op[0].imm.value.u;
		break;
	}
	if (v86_int_needs_iopl(x))
		return emu_gp0(x);
	x->cpu->rip = x->next;
	r = emul_deliver(x->e, &event, soft, false);
	x->next = x->cpu->rip;
	if (x->e->switched) {
		x->keep_rf = x->switched = true;
		x->hits |= x->e->trap;
	} else if (r != EMUL_OK) {
		x->cpu->rip = rip;
	}
	return r;
}
