// SPDX-License-Identifier: MIT
// Far JMP and CALL to system descriptors without long mode (SDM 3A 5.8.3 to 5.8.5, 7.3): call gates of 16 and 32 bits with
// their parameters, task gates, TSSs.
#include "core/emul/internal.h"

#include "base/string.h"

#define PARAMETERS_MAX 31

struct call {
	struct emu_desc code;
	u64 rip;
	u16 sel;
	unsigned width, parameters;
};

// The gate or TSS that `sel` names may be used by this code.
static enum emul_result usable(struct emu *x, u16 sel, u64 raw)
{
	unsigned dpl = DESC_DPL(raw);

	if (dpl < cpu_cpl(x->cpu) || dpl < (sel & 3u))
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	return EMUL_OK;
}

static enum emul_result read_target(struct emu *x, u64 gate, bool call, struct call *c)
{
	unsigned cpl = cpu_cpl(x->cpu), dpl;
	struct x86_segment s;
	u64 raw;
	bool wide = DESC_TYPE(gate) & SYS_32, ok;

	c->sel = (u16)(gate >> 16);
	c->rip = (gate & 0xffff) | (wide ? gate >> 48 << 16 : 0);
	c->width = wide ? 4 : 2;
	c->parameters = (unsigned)(gate >> 32) & PARAMETERS_MAX;
	if (!(c->sel & 0xfffc))
		return emu_gp0(x);
	TRY(emu_desc_read(x, c->sel, VEC_GP, 0, &c->code));
	raw = c->code.raw;
	dpl = DESC_DPL(raw);
	ok = call || (DESC_TYPE(raw) & TYPE_CONFORMING) ? dpl <= cpl : dpl == cpl;
	if (!desc_is_code(raw) || !ok)
		return emu_fault_code(x, VEC_GP, c->sel & 0xfffc);
	if (!DESC_P(raw))
		return emu_fault_code(x, VEC_NP, c->sel & 0xfffc);
	emu_desc_unpack(raw, 0, &s);
	return c->rip <= s.limit ? EMUL_OK : emu_gp0(x);
}

static void enter(struct emu *x, const struct call *c, unsigned cpl)
{
	emu_desc_unpack(c->code.raw, (u16)((c->sel & ~3u) | cpl), &x->cpu->seg[SEG_CS]);
	emu_segment_notify(x, SEG_CS);
	x->next = c->rip;
}

struct words {
	u8 bytes[4 * (PARAMETERS_MAX + 4)];
	unsigned len, width;
};

static void add(struct words *w, u64 v)
{
	memcpy(w->bytes + w->len, &v, w->width);
	w->len += w->width;
}

// Ports take 64 bytes at most: a longer frame is probed first, it spans two pages at most.
static enum emul_result write_words(struct emu *x, u64 linear, const struct words *w, unsigned cpl)
{
	unsigned kind = emu_frame_kind(cpl);
	u32 probe;

	if (w->len > 64) {
		TRY(x->p->read(x->ctx, linear + w->len - w->width, &probe, w->width, kind | EMUL_RMW, &x->e->fault));
		TRY(x->p->read(x->ctx, linear, &probe, w->width, kind | EMUL_RMW, &x->e->fault));
	}
	for (unsigned done = 0; done < w->len; done += 64)
		TRY(emu_frame_write(x, linear + done, w->bytes + done, MIN(64u, w->len - done), w->width, kind));
	return EMUL_OK;
}

static enum emul_result call_inner(struct emu *x, struct call *c, unsigned cpl)
{
	struct words w = {.width = c->width};
	struct emu_stack s;
	u64 linear = 0, from = emu_sp(x), v;

	TRY(emu_stack_inner(x, cpl, 0, &s));
	add(&w, x->next);
	add(&w, x->cpu->seg[SEG_CS].selector);
	for (unsigned i = 0; i < c->parameters; i++) {
		TRY(emu_pop(x, &from, c->width, &v));
		add(&w, v);
	}
	add(&w, x->cpu->gpr[R_RSP]);
	add(&w, x->cpu->seg[SEG_SS].selector);
	TRY(emu_stack_place(x, &s, w.len, s.sel & 0xfffc, &linear));
	TRY(write_words(x, linear, &w, cpl));
	TRY(emu_desc_mark(x, &c->code));
	TRY(emu_stack_commit(x, &s, true));
	enter(x, c, cpl);
	return EMUL_OK;
}

static enum emul_result through_gate(struct emu *x, u64 gate, bool call)
{
	unsigned cpl = cpu_cpl(x->cpu), to;
	u64 sp = emu_sp(x);
	struct call c;

	TRY(read_target(x, gate, call, &c));
	to = DESC_TYPE(c.code.raw) & TYPE_CONFORMING ? cpl : DESC_DPL(c.code.raw);
	if (call && to < cpl)
		return call_inner(x, &c, to);
	if (call) {
		TRY(emu_push(x, &sp, c.width, x->cpu->seg[SEG_CS].selector));
		TRY(emu_push(x, &sp, c.width, x->next));
	}
	TRY(emu_desc_mark(x, &c.code));
	emu_sp_set(x, sp);
	enter(x, &c, cpl);
	return EMUL_OK;
}

static enum emul_result to_system(struct emu *x, u16 sel, bool call)
{
	struct task_switch t = {.how = call ? TASK_CALL : TASK_JMP,
				.sel = sel,
				.rip = x->next,
				.rflags = x->cpu->rflags};
	struct emu_desc d;

	TRY(emu_desc_read(x, sel, VEC_GP, 0, &d));
	switch (DESC_TYPE(d.raw)) {
	case SYS_CALL16:
	case SYS_CALL32:
	case SYS_TASK_GATE:
	case SYS_TSS16:
	case SYS_TSS:
		TRY(usable(x, sel, d.raw));
		break;
	default: // busy TSSs among them
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	}
	if (DESC_TYPE(d.raw) == SYS_TSS || DESC_TYPE(d.raw) == SYS_TSS16)
		return emu_task_switch(x, &t);
	if (!DESC_P(d.raw))
		return emu_fault_code(x, VEC_NP, sel & 0xfffc);
	if (DESC_TYPE(d.raw) == SYS_TASK_GATE)
		return emu_task_gate(x, d.raw, &t);
	return through_gate(x, d.raw, call);
}

enum emul_result emu_system_jmp(struct emu *x, u16 sel)
{
	return to_system(x, sel, false);
}

enum emul_result emu_system_call(struct emu *x, u16 sel)
{
	return to_system(x, sel, true);
}
