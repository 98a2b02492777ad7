// SPDX-License-Identifier: MIT
// Moves guest state between its two homes: the machine's registers as an exit left them (gate.page, segment registers, FS
// and GS bases) and struct x86_cpu.
#include "vmm/vm.h"

#include "base/assert.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/segments.h"

#define RFL_REAL_KEEP (RFL_ARITH | RFL_TF | RFL_DF | RFL_NT | RFL_AC | RFL_ID | RFL_RF)

#define ATTR_CODE64 (0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G)
#define ATTR_DATA (0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)

// CS and SS of CPL-0 code, whose selectors the gate and translated code keep in the vcpu_page.
static void kernel_segments(struct vcpu *v)
{
	const struct vcpu_page *p = v->gate.page;
	struct x86_segment *cs = &v->cpu.seg[SEG_CS], *ss = &v->cpu.seg[SEG_SS];
	u16 cs_sel = p->guest_cs & 0xfffc, ss_sel = p->guest_ss & 0xfffc;
	bool was_kernel = cpu_cpl(&v->cpu) == 0;

	if (!was_kernel || cs->selector != cs_sel || !(cs->attr & SEG_ATTR_L))
		*cs = (struct x86_segment){.selector = cs_sel, .attr = ATTR_CODE64, .limit = 0xffffffff};
	if (!was_kernel || ss->selector != ss_sel)
		*ss = (struct x86_segment){.selector = ss_sel,
					   .attr = ss_sel ? ATTR_DATA : SEG_ATTR_UNUSABLE,
					   .limit = ss_sel ? 0xffffffff : 0};
}

static void user_segments(struct vcpu *v, u16 cs, u16 ss)
{
	struct x86_cpu *c = &v->cpu;

	if (c->seg[SEG_CS].selector != cs || cpu_cpl(c) != 3)
		tables_fill_segment(v, &c->seg[SEG_CS], cs);
	if (c->seg[SEG_SS].selector != ss || cpu_cpl(c) != 3)
		tables_fill_segment(v, &c->seg[SEG_SS], ss);
	c->seg[SEG_SS].attr |= 3 << 5; // CPL 3, whatever the descriptor has become
	c->seg[SEG_SS].attr &= ~(u32)SEG_ATTR_UNUSABLE;
}

// All but RIP, which is as the machine had it.
static void take_registers(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	struct x86_cpu *c = &v->cpu;

	assert(v->in_machine);
	v->in_machine = false;
	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = p->gpr[i];
	c->gpr[R_RSP] = p->rsp;
	c->rip = p->rip;
	c->cr2 = p->guest_cr2; // the gate may have reflected a fault since
	c->rflags = (p->rflags & RFL_REAL_KEEP) | RFL_FIXED | (c->rflags & RFL_IOPL) | (p->vif & RFL_IF);
	if (saved_rpl(v) == 3)
		user_segments(v, (u16)p->cs, (u16)p->ss);
	else
		kernel_segments(v);
}

void regs_at_boundary(struct vcpu *v)
{
	take_registers(v);
}

void regs_from_machine(struct vcpu *v, bool is_fault)
{
	struct x86_cpu *c = &v->cpu;
	u64 iopl = c->rflags & RFL_IOPL;
	bool finish = false;

	take_registers(v);
	if (saved_rpl(v) == 3)
		return;
	if (!bt_knows(v->vm->bt, c->rip)) {
		vm_end(v->vm, END_CRASH, 0, "untranslated kernel code was run at %lx", c->rip);
		return;
	}
	bt_recover(v->vm->bt, c, v->gate.page, is_fault, &finish);
	c->rflags = (c->rflags & ~(RFL_IF | RFL_IOPL)) | (v->gate.page->vif & RFL_IF) | iopl;
	if (finish)
		vcpu_emulate(v);
}

// RDFSBASE and the like are there or not as a paravirtual kernel wants it, for it and its programs: nothing stands between them and the
// machine. What runs for other guests' kernels has a use for them.
static bool base_instructions(const struct vcpu *v)
{
	return !v->vm->pv || (read_cr4() & CR4_FSGSBASE);
}

static void bases_in(struct vcpu *v)
{
	struct x86_segment *seg = v->cpu.seg;

	if (likely(base_instructions(v))) {
		seg[SEG_FS].base = rdfsbase();
		seg[SEG_GS].base = rdgsbase();
	} else {
		seg[SEG_FS].base = rdmsr(MSR_FS_BASE);
		seg[SEG_GS].base = rdmsr(MSR_GS_BASE);
	}
}

static void bases_out(const struct vcpu *v)
{
	const struct x86_segment *seg = v->cpu.seg;

	if (likely(base_instructions(v))) {
		wrfsbase(seg[SEG_FS].base);
		wrgsbase(seg[SEG_GS].base);
	} else {
		wrmsr(MSR_FS_BASE, seg[SEG_FS].base);
		wrmsr(MSR_GS_BASE, seg[SEG_GS].base);
	}
}

void regs_segments_in(struct vcpu *v)
{
	struct x86_cpu *c = &v->cpu;
	static const u8 order[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};

	if (v->segments_live)
		return;
	v->segments_live = true;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		u16 sel = read_segment(order[i]);

		if (sel != c->seg[order[i]].selector)
			tables_fill_segment(v, &c->seg[order[i]], sel);
	}
	bases_in(v);
	// The guest can write the page: WRGSBASE must not be handed what it refuses.
	c->kernel_gs_base = v->vm->pv ? rdmsr(MSR_KERNEL_GS_BASE) : (u64)((s64)(v->gate.page->kernel_gs_base << 16) >> 16);
}

// A selector that the filtered tables refuse (not present, system, beyond an LDT that has shrunk since) is
// loaded as null: its next use by ring 1 or 3 faults and is emulated. A null selector keeps its RPL.
static u16 loadable(u16 sel)
{
	return !(sel & ~3) || segment_loadable(sel) ? sel : 0;
}

void regs_segments_out(struct vcpu *v)
{
	struct x86_cpu *c = &v->cpu;
	static const u8 order[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};

	if (!v->segments_live)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		u16 sel = c->seg[order[i]].selector;

		if (sel != read_segment(order[i]))
			write_segment(order[i], loadable(sel));
	}
	bases_out(v);
	if (v->vm->pv) // its gate has SWAPGS
		wrmsr(MSR_KERNEL_GS_BASE, c->kernel_gs_base);
	else
		v->gate.page->kernel_gs_base = c->kernel_gs_base;
	v->segments_live = false;
}

void regs_to_machine(struct vcpu *v, u64 machine_rip)
{
	struct vcpu_page *p = v->gate.page;
	const struct x86_cpu *c = &v->cpu;
	bool user = cpu_cpl(c) == 3;

	assert(!v->in_machine);
	for (unsigned i = 0; i < 16; i++)
		p->gpr[i] = c->gpr[i];
	p->rsp = c->gpr[R_RSP];
	p->rip = machine_rip;
	p->rflags = (c->rflags & RFL_REAL_KEEP) | RFL_FIXED | RFL_IF;
	p->vif = c->rflags & RFL_IF;
	p->guest_cr2 = c->cr2;
	p->cs = user ? c->seg[SEG_CS].selector | 3 : SEL_R1_CS; // whatever CS is, never ring 0
	p->ss = user ? c->seg[SEG_SS].selector : SEL_R1_SS;
	if (!user) {
		p->guest_cs = c->seg[SEG_CS].selector & 0xfffc;
		p->guest_ss = c->seg[SEG_SS].selector & 0xfffc;
	}
	regs_segments_out(v);
	v->in_machine = true;
}

void regs_control_out(struct vcpu *v)
{
	const struct x86_cpu *c = &v->cpu;
	u64 cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG | (c->cr0 & (CR0_MP | CR0_EM | CR0_TS | CR0_AM));
	u64 guests = CR4_SMEP | CR4_SMAP | CR4_TSD | CR4_DE | CR4_OSXSAVE | (v->vm->pv ? CR4_FSGSBASE : 0);
	u64 cr4 = (read_cr4() & ~(guests | CR4_PGE)) | (c->cr4 & guests);

	if (read_cr0() != cr0)
		write_cr0(cr0);
	if (read_cr4() != cr4)
		write_cr4(cr4);
}
