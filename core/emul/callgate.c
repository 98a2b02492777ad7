// SPDX-License-Identifier: MIT
// Far JMP and CALL through a call gate in IA-32e mode (SDM 3A 5.8.3.1, 5.8.5): 16-byte gates to 64-bit code, stack switch
// by the TSS without parameters. Every other system descriptor is #GP there.
#include "core/emul/internal.h"

#define GATE_CALL 12

struct gate_target {
	struct emu_desc code;
	u64 rip;
	u16 sel;
};

bool emu_is_gate(struct emu *x, u16 sel)
{
	struct emu_desc d;

	return (sel & 0xfffc) && emu_desc_read(x, sel, VEC_GP, 0, &d) == EMUL_OK && !DESC_S(d.raw);
}

static enum emul_result gate_read(struct emu *x, u16 sel, struct gate_target *t)
{
	unsigned cpl = cpu_cpl(x->cpu);
	u32 bad = sel & 0xfffc;
	struct emu_desc g;

	TRY(emu_desc_read(x, sel, VEC_GP, 0, &g));
	if (DESC_TYPE(g.raw) != GATE_CALL || DESC_DPL(g.raw) < cpl || DESC_DPL(g.raw) < (sel & 3u))
		return emu_fault_code(x, VEC_GP, bad);
	if (!DESC_P(g.raw))
		return emu_fault_code(x, VEC_NP, bad);
	TRY(emu_desc_read16(x, sel, &g));
	if (g.high >> 40 & 31) // the upper half must not look like a descriptor
		return emu_fault_code(x, VEC_GP, bad);
	t->sel = (u16)(g.raw >> 16);
	t->rip = (g.raw & 0xffff) | (g.raw >> 48) << 16 | g.high << 32;
	return EMUL_OK;
}

static enum emul_result gate_code(struct emu *x, struct gate_target *t, bool call)
{
	unsigned cpl = cpu_cpl(x->cpu), dpl;
	u64 raw;
	bool ok;

	if (!(t->sel & 0xfffc))
		return emu_gp0(x);
	TRY(emu_desc_read(x, t->sel, VEC_GP, 0, &t->code));
	raw = t->code.raw;
	dpl = DESC_DPL(raw);
	ok = call || (DESC_TYPE(raw) & TYPE_CONFORMING) ? dpl <= cpl : dpl == cpl;
	if (!desc_is_code(raw) || !ok || !DESC_L(raw) || DESC_DB(raw))
		return emu_fault_code(x, VEC_GP, t->sel & 0xfffc);
	if (!DESC_P(raw))
		return emu_fault_code(x, VEC_NP, t->sel & 0xfffc);
	return is_canonical(t->rip) ? EMUL_OK : emu_gp0(x);
}

static void gate_enter(struct emu *x, const struct gate_target *t, unsigned cpl)
{
	emu_desc_unpack(t->code.raw, (u16)((t->sel & ~3u) | cpl), &x->cpu->seg[SEG_CS]);
	emu_segment_notify(x, SEG_CS);
	x->next = t->rip;
}

enum emul_result emu_gate_jmp(struct emu *x, u16 sel)
{
	struct gate_target t;

	TRY(gate_read(x, sel, &t));
	TRY(gate_code(x, &t, false));
	TRY(emu_desc_mark(x, &t.code));
	gate_enter(x, &t, cpu_cpl(x->cpu));
	return EMUL_OK;
}

static enum emul_result call_inner(struct emu *x, struct gate_target *t, unsigned cpl)
{
	struct x86_cpu *c = x->cpu;
	u32 at = 4 + 8 * cpl;
	u64 sp, frame[4] = {x->next, c->seg[SEG_CS].selector, c->gpr[R_RSP], c->seg[SEG_SS].selector};

	if (at + 7 > c->tr.limit)
		return emu_fault_code(x, VEC_TS, c->tr.selector & 0xfffc);
	TRY(emu_sys_read(x, c->tr.base + at, &sp, 8));
	sp -= sizeof(frame);
	if (!is_canonical(sp) || !is_canonical(sp + sizeof(frame) - 1))
		return emu_fault_code(x, VEC_SS, 0);
	TRY(emu_frame_write(x, sp, frame, sizeof(frame), 8, EMUL_WRITE | EMUL_SUPERVISOR));
	TRY(emu_desc_mark(x, &t->code));
	c->gpr[R_RSP] = sp;
	emu_segment_null(&c->seg[SEG_SS], (u16)cpl, cpl);
	emu_segment_notify(x, SEG_SS);
	gate_enter(x, t, cpl);
	return EMUL_OK;
}

enum emul_result emu_gate_call(struct emu *x, u16 sel)
{
	unsigned cpl = cpu_cpl(x->cpu), to;
	struct gate_target t;
	u64 sp = emu_sp(x);

	TRY(gate_read(x, sel, &t));
	TRY(gate_code(x, &t, true));
	to = DESC_TYPE(t.code.raw) & TYPE_CONFORMING ? cpl : DESC_DPL(t.code.raw);
	if (to < cpl)
		return call_inner(x, &t, to);
	TRY(emu_push(x, &sp, 8, x->cpu->seg[SEG_CS].selector));
	TRY(emu_push(x, &sp, 8, x->next));
	TRY(emu_desc_mark(x, &t.code));
	emu_sp_set(x, sp);
	gate_enter(x, &t, cpl);
	return EMUL_OK;
}
