// SPDX-License-Identifier: MIT
// Delivery of interrupts and exceptions (SDM 3A 6.10-6.14): gate, privilege, stack switch by TSS or IST, frame. Real mode, 16- and
// 32-bit protected mode, out of virtual-8086 mode (SDM 3B 20.3), by task gate, and long mode.
//
// Everything is read and checked first, then the frame is written in one piece, then registers change.
#include "core/emul/internal.h"

#include "base/string.h"

#define GATE_TRAP 1 // type bit: leaves IF alone
#define GATE_INT16 6
#define GATE_INT32 14

struct delivery {
	u8 vector;
	bool soft, external, has_error;
	u32 error;
	u32 ext; // EXT bit of error codes
	// From the gate.
	u16 selector;
	u64 offset;
	unsigned type, ist;
	struct emu_desc code;
	u64 task; // a task gate, else 0
	// Derived.
	unsigned cpl; // of the handler
	u64 sp;
};

static enum emul_result vector_fault(struct emu *x, const struct delivery *d, unsigned vector)
{
	return emu_fault_code(x, vector, (u32)d->vector << 3 | 2 | d->ext);
}

static enum emul_result read_gate(struct emu *x, struct delivery *d)
{
	unsigned size = emu_lma(x) ? 16 : 8;
	u64 gate[2] = {0, 0};

	if ((u32)d->vector * size + size - 1 > x->cpu->idtr.limit)
		return vector_fault(x, d, VEC_GP);
	TRY(emu_sys_read(x, x->cpu->idtr.base + (u64)d->vector * size, gate, size));
	d->type = DESC_TYPE(gate[0]);
	if (DESC_S(gate[0]) || ((d->type & ~1u) != GATE_INT32 &&
				(emu_lma(x) || ((d->type & ~1u) != GATE_INT16 && d->type != SYS_TASK_GATE))))
		return vector_fault(x, d, VEC_GP);
	if (d->soft && DESC_DPL(gate[0]) < cpu_cpl(x->cpu))
		return vector_fault(x, d, VEC_GP);
	if (!DESC_P(gate[0]))
		return vector_fault(x, d, VEC_NP);
	d->task = d->type == SYS_TASK_GATE ? gate[0] : 0;
	d->selector = (u16)(gate[0] >> 16);
	d->offset = (gate[0] & 0xffff) | ((gate[0] >> 48) & 0xffff) << 16 | (emu_lma(x) ? gate[1] << 32 : 0);
	if ((d->type & ~1u) == GATE_INT16)
		d->offset &= 0xffff;
	d->ist = emu_lma(x) ? (unsigned)(gate[0] >> 32) & 7 : 0;
	return EMUL_OK;
}

static enum emul_result read_code(struct emu *x, struct delivery *d)
{
	unsigned cpl = cpu_cpl(x->cpu), dpl;
	u32 code = (d->selector & 0xfffc) | d->ext;

	if (!(d->selector & 0xfffc))
		return emu_fault_code(x, VEC_GP, d->ext);
	TRY(emu_desc_read(x, d->selector, VEC_GP, d->ext, &d->code));
	dpl = DESC_DPL(d->code.raw);
	if (!desc_is_code(d->code.raw) || dpl > cpl)
		return emu_fault_code(x, VEC_GP, code);
	if (emu_lma(x) && (!DESC_L(d->code.raw) || DESC_DB(d->code.raw)))
		return emu_fault_code(x, VEC_GP, code);
	if (!DESC_P(d->code.raw))
		return emu_fault_code(x, VEC_NP, code);
	d->cpl = DESC_TYPE(d->code.raw) & TYPE_CONFORMING ? cpl : dpl;
	return EMUL_OK;
}

// Frame size is at most 9 words of 4 bytes or 6 of 8.
struct frame {
	u8 bytes[48];
	unsigned len, width;
};

static void frame_add(struct frame *f, u64 v)
{
	memcpy(f->bytes + f->len, &v, f->width);
	f->len += f->width;
}

// RF is set in the image of fault-class exceptions, so that the instruction restarts past its breakpoint (SDM 3B 17.3.1.1).
static u64 flags_image(const struct emu *x, const struct delivery *d)
{
	u64 f = x->cpu->rflags | RFL_FIXED;
	bool fault_class = !d->soft && !d->external && d->vector < 32 && d->vector != VEC_DB && d->vector != VEC_NMI &&
			   d->vector != VEC_BP && d->vector != VEC_OF && d->vector != VEC_DF && d->vector != VEC_MC;

	return fault_class ? f | RFL_RF : f;
}

static void frame_build(const struct emu *x, const struct delivery *d, bool with_stack, struct frame *f)
{
	if (d->has_error)
		frame_add(f, d->error);
	frame_add(f, x->cpu->rip);
	frame_add(f, x->cpu->seg[SEG_CS].selector);
	frame_add(f, flags_image(x, d));
	if (with_stack) {
		frame_add(f, x->cpu->gpr[R_RSP]);
		frame_add(f, x->cpu->seg[SEG_SS].selector);
	}
}

static void enter_handler(struct emu *x, const struct delivery *d)
{
	struct x86_cpu *c = x->cpu;
	u64 clear = RFL_TF | RFL_NT | RFL_RF | RFL_VM | (d->type & GATE_TRAP ? 0 : RFL_IF);

	emu_desc_unpack(d->code.raw, (u16)((d->selector & ~3u) | d->cpl), &c->seg[SEG_CS]);
	emu_segment_notify(x, SEG_CS);
	c->rflags = (c->rflags & ~clear) | RFL_FIXED;
	c->rip = d->offset;
	c->halted = false;
	c->interrupt_shadow = false;
	if (d->vector == VEC_NMI && !d->soft)
		c->nmi_blocked = true;
	if (d->vector == VEC_DB && !d->soft && !d->external)
		c->dr[7] &= ~DR7_GD;
}

static enum emul_result stack_from_tss64(struct emu *x, struct delivery *d)
{
	u32 at = d->ist ? 0x24 + 8 * (d->ist - 1) : 4 + 8 * d->cpl;

	if (at + 7 > x->cpu->tr.limit)
		return emu_fault_code(x, VEC_TS, (x->cpu->tr.selector & 0xfffc) | d->ext);
	TRY(emu_sys_read(x, x->cpu->tr.base + at, &d->sp, 8));
	return is_canonical(d->sp) ? EMUL_OK : emu_fault_code(x, VEC_SS, d->ext);
}

enum emul_result emu_frame_write(struct emu *x, u64 sp, const void *words, unsigned len, unsigned word, unsigned kind)
{
	enum emul_result r = x->p->write(x->ctx, sp, words, len, kind, &x->e->fault);
	struct x86_fault *f = &x->e->fault;
	u64 top = sp + len - word;

	if (r == EMUL_FAULT && f->vector == VEC_PF && f->cr2 - sp < len)
		f->cr2 = (f->cr2 | PAGE_MASK) < top ? (f->cr2 | PAGE_MASK) - word + 1 : top;
	return r;
}

static enum emul_result deliver_long(struct emu *x, struct delivery *d)
{
	struct frame f = {.width = 8};
	bool inner = d->cpl < cpu_cpl(x->cpu);
	unsigned kind = emu_frame_kind(d->cpl);

	d->sp = x->cpu->gpr[R_RSP];
	if (inner || d->ist)
		TRY(stack_from_tss64(x, d));
	d->sp &= ~15ull;
	frame_build(x, d, true, &f);
	d->sp -= f.len;
	if (!is_canonical(d->sp))
		return emu_fault_code(x, VEC_SS, d->ext);
	if (!is_canonical(d->offset))
		return emu_fault_code(x, VEC_GP, d->ext);
	TRY(emu_frame_write(x, d->sp, f.bytes, f.len, 8, kind));
	TRY(emu_desc_mark(x, &d->code));
	if (inner) {
		emu_segment_null(&x->cpu->seg[SEG_SS], (u16)d->cpl, d->cpl);
		emu_segment_notify(x, SEG_SS);
	}
	x->cpu->gpr[R_RSP] = d->sp;
	enter_handler(x, d);
	return EMUL_OK;
}

static void v86_drop_data(struct emu *x)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		emu_segment_null(&x->cpu->seg[data[i]], 0, 0);
		emu_segment_notify(x, data[i]);
	}
}

static enum emul_result deliver_legacy(struct emu *x, struct delivery *d)
{
	bool v86 = x->cpu->rflags & RFL_VM;
	struct frame f = {.width = (d->type & ~1u) == GATE_INT16 ? 2 : 4};
	struct emu_stack s = {.seg = x->cpu->seg[SEG_SS], .sp = x->cpu->gpr[R_RSP]};
	bool inner = d->cpl < cpu_cpl(x->cpu);
	struct x86_segment code;
	u64 linear = 0;

	if (v86 && d->cpl)
		return emu_fault_code(x, VEC_GP, (d->selector & 0xfffc) | d->ext);
	if (inner)
		TRY(emu_stack_inner(x, d->cpl, d->ext, &s));
	frame_build(x, d, inner, &f);
	if (v86) {
		frame_add(&f, x->cpu->seg[SEG_ES].selector);
		frame_add(&f, x->cpu->seg[SEG_DS].selector);
		frame_add(&f, x->cpu->seg[SEG_FS].selector);
		frame_add(&f, x->cpu->seg[SEG_GS].selector);
	}
	TRY(emu_stack_place(x, &s, f.len, (inner ? s.sel & 0xfffc : 0) | d->ext, &linear));
	emu_desc_unpack(d->code.raw, 0, &code);
	if (d->offset > code.limit)
		return emu_fault_code(x, VEC_GP, d->ext);
	TRY(emu_frame_write(x, linear, f.bytes, f.len, f.width, emu_frame_kind(d->cpl)));
	TRY(emu_desc_mark(x, &d->code));
	TRY(emu_stack_commit(x, &s, inner));
	if (v86)
		v86_drop_data(x);
	enter_handler(x, d);
	return EMUL_OK;
}

// The handler's task finds the error code on its stack.
static enum emul_result deliver_task(struct emu *x, struct delivery *d)
{
	struct task_switch t = {.how = TASK_EVENT, .ext = d->ext, .rip = x->cpu->rip, .rflags = flags_image(x, d)};
	struct emu_stack s;
	u64 linear = 0;
	u32 error = d->error;

	TRY(emu_task_gate(x, d->task, &t));
	x->cpu->halted = false;
	x->cpu->interrupt_shadow = false;
	if (d->vector == VEC_NMI && !d->soft)
		x->cpu->nmi_blocked = true;
	if (d->has_error) {
		unsigned width = x->cpu->tr.attr & SYS_32 ? 4 : 2;

		s = (struct emu_stack){.seg = x->cpu->seg[SEG_SS], .sp = x->cpu->gpr[R_RSP]};
		TRY(emu_stack_place(x, &s, width, d->ext, &linear));
		TRY(x->p->write(x->ctx, linear, &error, width, EMUL_WRITE, &x->e->fault));
		TRY(emu_stack_commit(x, &s, false));
	}
	x->e->trap = x->hits;
	if (x->hits)
		emu_debug_status(x->cpu, x->hits);
	return EMUL_OK;
}

// Real mode: a vector table of far pointers, frames of three words (SDM 3B 20.1.4).
static enum emul_result deliver_real(struct emu *x, struct delivery *d)
{
	struct x86_cpu *c = x->cpu;
	u64 sp = c->gpr[R_RSP] & 0xffff;
	u16 vector[2];

	if ((u32)d->vector * 4 + 3 > c->idtr.limit)
		return emu_fault_code(x, VEC_GP, (u32)d->vector << 3 | 2 | d->ext);
	TRY(emu_sys_read(x, c->idtr.base + (u64)d->vector * 4, vector, 4));
	TRY(emu_push(x, &sp, 2, c->rflags));
	TRY(emu_push(x, &sp, 2, c->seg[SEG_CS].selector));
	TRY(emu_push(x, &sp, 2, c->rip));
	emu_sp_set(x, sp);
	emu_segment_real(c, SEG_CS, vector[1]);
	emu_segment_notify(x, SEG_CS);
	c->rip = vector[0];
	c->rflags &= ~(RFL_IF | RFL_TF | RFL_RF | RFL_AC);
	c->halted = false;
	c->interrupt_shadow = false;
	if (d->vector == VEC_NMI && !d->soft)
		c->nmi_blocked = true;
	return EMUL_OK;
}

enum emul_result emul_deliver(struct emul *e, const struct x86_fault *event, bool soft, bool external)
{
	struct emu x; // the decoded instruction in it stays untouched
	struct delivery d = {.vector = event->vector, .soft = soft, .external = external, .error = event->error};

	x.e = e;
	x.cpu = e->cpu;
	x.p = e->ports;
	x.ctx = e->ctx;
	x.mode = emu_mode(e->cpu);
	x.hits = 0;
	e->trap = 0;
	e->switched = false;
	d.has_error = event->has_error && !soft && !external;
	d.ext = soft ? 0 : 1;
	if (event->vector == VEC_PF && !soft && !external)
		e->cpu->cr2 = event->cr2;
	if (!(e->cpu->cr0 & CR0_PE))
		return deliver_real(&x, &d);
	TRY(read_gate(&x, &d));
	if (d.task)
		return deliver_task(&x, &d);
	TRY(read_code(&x, &d));
	return emu_lma(&x) ? deliver_long(&x, &d) : deliver_legacy(&x, &d);
}

// SDM 3A table 6-5: benign, contributory and page-fault classes.
static bool contributory(unsigned v)
{
	return v == VEC_DE || (v >= VEC_TS && v <= VEC_GP);
}

enum emul_escalation emul_escalate(unsigned first, unsigned second)
{
	bool bad = contributory(second) || second == VEC_PF;

	if (first == VEC_DF)
		return bad ? EMUL_TRIPLE : EMUL_SERIAL;
	if (contributory(first) && contributory(second))
		return EMUL_DOUBLE;
	if (first == VEC_PF && bad)
		return EMUL_DOUBLE;
	return EMUL_SERIAL;
}
