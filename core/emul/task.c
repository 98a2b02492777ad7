// SPDX-License-Identifier: MIT
// Hardware task switches without long mode (SDM 3A chapter 7): JMP and CALL to a TSS or task gate, task gates in the IDT, IRET
// with NT; TSSs of 16 and 32 bits.
//
// All that can fault in the old task comes first: descriptors, both TSSs read and probed for writing. Then the old task is saved and
// the new one loaded; a bad selector in it faults there, with its RIP and with the segments that have been loaded so far.
#include "core/emul/internal.h"

#include "base/string.h"

#define TSS32_LIMIT 0x67u
#define TSS16_LIMIT 0x2bu
#define LOCAL_BREAKPOINTS 0x55ull // of DR7
#define FLAGS_LOADED (RFL_ARITH | RFL_TF | RFL_IF | RFL_DF | RFL_IOPL | RFL_NT | RFL_RF | RFL_VM | RFL_AC | RFL_ID)
#define UPPER_ONES 0xffff0000u // what a 16-bit TSS leaves in the upper halves of registers

// In the TSS's order; both kinds have the general registers in encoding order, and the segments.
struct task_state {
	u32 cr3, rip, rflags, gpr[8];
	u16 seg[6], ldt, link;
	bool wide, t;
};

// Places in the two kinds of TSS. What is saved begins with the instruction pointer and ends with the last segment.
struct tss_layout {
	u8 link, rip, rflags, gpr, seg, ldt, width, segments, saved;
};
static const struct tss_layout layout16 = {0, 0x0e, 0x10, 0x12, 0x22, 0x2a, 2, 4, 0x2a - 0x0e};
static const struct tss_layout layout32 = {0, 0x20, 0x24, 0x28, 0x48, 0x60, 4, 6, 0x60 - 0x20};

static const struct tss_layout *layout_of(bool wide)
{
	return wide ? &layout32 : &layout16;
}

static u32 field(const u8 *tss, unsigned at, unsigned width)
{
	u32 v = 0;

	memcpy(&v, tss + at, width);
	return v;
}

static enum emul_result probe(struct emu *x, u64 at, void *buf, unsigned len)
{
	return x->p->read(x->ctx, at, buf, len, EMUL_READ | EMUL_RMW | EMUL_SUPERVISOR, &x->e->fault);
}

static unsigned bad_selector(const struct task_switch *t)
{
	return t->how == TASK_JMP || t->how == TASK_CALL ? VEC_GP : VEC_TS;
}

// The descriptor of the TSS to go to.
static enum emul_result find_tss(struct emu *x, const struct task_switch *t, struct emu_desc *d)
{
	u32 code = (t->sel & 0xfffc) | t->ext, limit;
	unsigned want = t->how == TASK_IRET ? SYS_TSS16 | SYS_BUSY : SYS_TSS16;
	struct x86_segment s;

	if ((t->sel & 4) || !(t->sel & 0xfffc))
		return emu_fault_code(x, bad_selector(t), code);
	TRY(emu_desc_read(x, t->sel, bad_selector(t), t->ext, d));
	if (DESC_S(d->raw) || (DESC_TYPE(d->raw) & ~(unsigned)SYS_32) != want)
		return emu_fault_code(x, bad_selector(t), code);
	if (!DESC_P(d->raw))
		return emu_fault_code(x, VEC_NP, code);
	emu_desc_unpack(d->raw, 0, &s);
	limit = DESC_TYPE(d->raw) & SYS_32 ? TSS32_LIMIT : TSS16_LIMIT;
	return s.limit >= limit ? EMUL_OK : emu_fault_code(x, VEC_TS, code);
}

static enum emul_result read_new(struct emu *x, u64 base, struct task_state *s)
{
	const struct tss_layout *l = layout_of(s->wide);
	u8 tss[TSS32_LIMIT + 1];
	unsigned size = s->wide ? sizeof(tss) : TSS16_LIMIT + 1;

	for (unsigned done = 0; done < size; done += 32)
		TRY(emu_sys_read(x, base + done, tss + done, MIN(32u, size - done)));
	s->link = (u16)field(tss, l->link, 2);
	s->cr3 = s->wide ? field(tss, 0x1c, 4) : 0;
	s->rip = field(tss, l->rip, l->width);
	s->rflags = field(tss, l->rflags, l->width);
	for (unsigned i = 0; i < 8; i++)
		s->gpr[i] = field(tss, l->gpr + i * l->width, l->width) | (s->wide ? 0 : UPPER_ONES);
	memset(s->seg, 0, sizeof(s->seg));
	for (unsigned i = 0; i < l->segments; i++)
		s->seg[i] = (u16)field(tss, l->seg + i * l->width, 2);
	s->ldt = (u16)field(tss, l->ldt, 2);
	s->t = s->wide && (tss[0x64] & 1);
	return EMUL_OK;
}

// The old task's registers in the image of its TSS from RIP on.
static void fill_old(const struct emu *x, const struct task_switch *t, bool wide, u8 *saved)
{
	const struct tss_layout *l = layout_of(wide);
	u64 flags = t->how == TASK_IRET ? t->rflags & ~RFL_NT : t->rflags;

	memcpy(saved, &t->rip, l->width);
	memcpy(saved + l->rflags - l->rip, &flags, l->width);
	for (unsigned i = 0; i < 8; i++)
		memcpy(saved + l->gpr - l->rip + i * l->width, &x->cpu->gpr[i], l->width);
	for (unsigned i = 0; i < l->segments; i++)
		memcpy(saved + l->seg - l->rip + i * l->width, &x->cpu->seg[i].selector, 2);
}

static enum emul_result busy(struct emu *x, const struct emu_desc *d, bool set)
{
	u8 type = (u8)((d->raw >> 40 & ~(u64)SYS_BUSY) | (set ? SYS_BUSY : 0));

	return emu_sys_write(x, d->at + 5, &type, 1);
}

// ---- in the new task

static enum emul_result load_fault(struct emu *x, const struct task_switch *t, unsigned vector, u16 sel)
{
	return emu_fault_code(x, vector, (sel & 0xfffc) | t->ext);
}

static enum emul_result load_ldt(struct emu *x, const struct task_switch *t, u16 sel)
{
	struct emu_desc d;

	emu_segment_null(&x->cpu->ldtr, sel, 0);
	if (!(sel & 0xfffc)) {
		emu_table_notify(x, 2);
		return EMUL_OK;
	}
	if (sel & 4)
		return load_fault(x, t, VEC_TS, sel);
	TRY(emu_desc_read(x, sel, VEC_TS, t->ext, &d));
	if (DESC_S(d.raw) || DESC_TYPE(d.raw) != SYS_LDT || !DESC_P(d.raw))
		return load_fault(x, t, VEC_TS, sel);
	emu_desc_unpack(d.raw, sel, &x->cpu->ldtr);
	emu_table_notify(x, 2);
	return EMUL_OK;
}

static bool segment_good(unsigned seg, u16 sel, u64 raw, unsigned cpl)
{
	unsigned rpl = sel & 3, dpl = DESC_DPL(raw), type = DESC_TYPE(raw);

	if (!DESC_S(raw))
		return false;
	if (seg == SEG_CS)
		return (type & TYPE_CODE) && (type & TYPE_CONFORMING ? dpl <= rpl : dpl == rpl);
	if (seg == SEG_SS)
		return !(type & TYPE_CODE) && (type & TYPE_WRITE) && dpl == cpl && rpl == cpl;
	if ((type & TYPE_CODE) && !(type & 2))
		return false;
	return ((type & TYPE_CODE) && (type & TYPE_CONFORMING)) || (dpl >= cpl && dpl >= rpl);
}

static enum emul_result load_segment(struct emu *x, const struct task_switch *t, unsigned seg, u16 sel, unsigned cpl)
{
	struct emu_desc d;

	if (!(sel & 0xfffc))
		return seg == SEG_CS || seg == SEG_SS ? load_fault(x, t, VEC_TS, sel) : EMUL_OK;
	TRY(emu_desc_read(x, sel, VEC_TS, t->ext, &d));
	if (!segment_good(seg, sel, d.raw, cpl))
		return load_fault(x, t, VEC_TS, sel);
	if (!DESC_P(d.raw))
		return load_fault(x, t, seg == SEG_SS ? VEC_SS : VEC_NP, sel);
	TRY(emu_desc_mark(x, &d));
	emu_desc_unpack(d.raw, sel, &x->cpu->seg[seg]);
	return EMUL_OK;
}

static enum emul_result load_segments(struct emu *x, const struct task_switch *t, const struct task_state *s)
{
	static const u8 order[] = {SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	unsigned cpl = s->seg[SEG_CS] & 3u;

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		TRY(load_segment(x, t, order[i], s->seg[order[i]], cpl));
	return x->cpu->rip <= x->cpu->seg[SEG_CS].limit ? EMUL_OK : emu_fault_code(x, VEC_GP, t->ext);
}

static void load_registers(struct emu *x, const struct task_switch *t, const struct task_state *s)
{
	struct x86_cpu *c = x->cpu;
	u64 mask = s->wide ? FLAGS_LOADED : FLAGS_LOADED & 0xffff, old = c->cr3;

	if (s->wide && (c->cr0 & CR0_PG)) {
		c->cr3 = s->cr3;
		emu_cr_notify(x, 3, old);
	}
	c->rip = x->next = s->rip;
	c->rflags = (c->rflags & ~(mask | RFL_VM)) | (s->rflags & mask) | RFL_FIXED;
	if (t->how == TASK_CALL || t->how == TASK_EVENT)
		c->rflags |= RFL_NT;
	for (unsigned i = 0; i < 8; i++)
		c->gpr[i] = s->gpr[i];
	for (unsigned i = 0; i < 6; i++)
		emu_segment_null(&c->seg[i], s->seg[i], s->seg[SEG_CS] & 3u);
	c->seg[SEG_CS].limit = 0xffffffff; // until it is loaded: a fault of what follows is raised at RIP
	old = c->cr0;
	c->cr0 |= CR0_TS;
	emu_cr_notify(x, 0, old);
	if (c->dr[7] & LOCAL_BREAKPOINTS) {
		c->dr[7] &= ~LOCAL_BREAKPOINTS;
		if (x->p->dr_written)
			x->p->dr_written(x->ctx, 7);
	}
	x->keep_rf = x->switched = true;
	x->e->switched = true;
	if (s->t)
		x->hits |= DR6_BT;
}

static enum emul_result enter_task(struct emu *x, const struct task_switch *t, const struct task_state *s)
{
	enum emul_result r = EMUL_OK;

	load_registers(x, t, s);
	if (x->cpu->rflags & RFL_VM) {
		for (unsigned i = 0; i < 6; i++)
			emu_segment_real(x->cpu, i, s->seg[i]);
		r = load_ldt(x, t, s->ldt);
		if (r == EMUL_OK && x->cpu->rip > x->cpu->seg[SEG_CS].limit)
			r = emu_fault_code(x, VEC_GP, t->ext);
	} else {
		r = load_ldt(x, t, s->ldt);
		if (r == EMUL_OK)
			r = load_segments(x, t, s);
	}
	x->mode = emu_mode(x->cpu);
	for (unsigned i = 0; i < 6; i++)
		emu_segment_notify(x, i);
	return r;
}

enum emul_result emu_task_switch(struct emu *x, const struct task_switch *t)
{
	struct x86_cpu *c = x->cpu;
	bool old_wide = c->tr.attr & SYS_32, leaves = t->how == TASK_JMP || t->how == TASK_IRET;
	const struct tss_layout *l = layout_of(old_wide);
	struct x86_segment tss;
	struct task_state s;
	struct emu_desc d, old = {0};
	u8 saved[64], byte;
	u16 link = c->tr.selector;

	TRY(find_tss(x, t, &d));
	emu_desc_unpack(d.raw | (u64)SYS_BUSY << 40, t->sel, &tss);
	s.wide = DESC_TYPE(d.raw) & SYS_32;
	TRY(read_new(x, tss.base, &s));
	TRY(probe(x, c->tr.base + l->rip, saved, l->saved));
	if (leaves) {
		TRY(emu_desc_read(x, c->tr.selector, VEC_TS, t->ext, &old));
		TRY(probe(x, old.at + 5, &byte, 1));
	}
	if (t->how != TASK_IRET)
		TRY(probe(x, d.at + 5, &byte, 1));
	if (!leaves)
		TRY(probe(x, tss.base, &byte, 1));
	fill_old(x, t, old_wide, saved);
	if (leaves)
		TRY(busy(x, &old, false));
	TRY(emu_sys_write(x, c->tr.base + l->rip, saved, l->saved));
	if (!leaves)
		TRY(emu_sys_write(x, tss.base, &link, 2));
	if (t->how != TASK_IRET)
		TRY(busy(x, &d, true));
	c->tr = tss;
	emu_table_notify(x, 3);
	return enter_task(x, t, &s);
}

enum emul_result emu_task_gate(struct emu *x, u64 gate, struct task_switch *t)
{
	t->sel = (u16)(gate >> 16);
	return emu_task_switch(x, t);
}

enum emul_result emu_task_return(struct emu *x)
{
	struct task_switch t = {.how = TASK_IRET, .rip = x->next, .rflags = x->cpu->rflags};

	TRY(emu_sys_read(x, x->cpu->tr.base, &t.sel, 2));
	return emu_task_switch(x, &t);
}
