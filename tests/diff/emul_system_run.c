// SPDX-License-Identifier: MIT
// One case with the emulator: memory is the world's image behind a walk of its page tables with the rights of SDM 3A 4.6;
// exceptions are delivered as the hypervisor does it. Planted faults sit in the ports, so that the emulator computes with
// something that is wrong.
#include "tests/diff/emul_system.h"

#include "core/x86/policy.h"

#include <string.h>

#define STEPS 200

static u8 world[W_SIZE], pristine[W_SIZE];
static struct x86_cpu cpu;
static struct emul emul;
static struct system_run *run;

static bool in_world(u64 at, unsigned len)
{
	return at >= WORLD && at + len <= WORLD + W_SIZE;
}

static u64 table_entry(u64 table, unsigned index)
{
	u64 v = 0, at = (table & PTE_ADDR) + index * 8;

	if (in_world(at, 8))
		memcpy(&v, world + (at - WORLD), 8);
	return v;
}

struct access {
	bool write, exec, user;
	bool implicit; // as a supervisor whatever the CPL
};

static enum emul_result page_fault(const struct access *a, u64 linear, bool present, struct x86_fault *f)
{
	bool nx = (cpu.efer & EFER_NXE) || (cpu.cr4 & CR4_SMEP);

	*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .cr2 = linear};
	f->error =
		(u32)((present ? PF_P : 0) | (a->write ? PF_W : 0) | (a->user ? PF_U : 0) | (a->exec && nx ? PF_I : 0));
	return EMUL_FAULT;
}

// rights: U and W are those of all levels, NX that of any.
static bool allowed(const struct access *a, u64 rights)
{
	bool user_page = rights & PTE_U;

	if (a->user && !user_page)
		return false;
	if (a->exec)
		return !((rights & PTE_NX) && (cpu.efer & EFER_NXE)) &&
		       !(user_page && !a->user && (cpu.cr4 & CR4_SMEP));
	if (!a->user && user_page && (cpu.cr4 & CR4_SMAP) && (a->implicit || !(cpu.rflags & RFL_AC)))
		return false;
	return !a->write || (rights & PTE_W) || (!a->user && !(cpu.cr0 & CR0_WP));
}

static enum emul_result walk(const struct access *a, u64 linear, struct x86_fault *f)
{
	u64 table = cpu.cr3, rights = PTE_U | PTE_W, e;

	for (int level = 3; level >= 0; level--) {
		e = table_entry(table, (unsigned)(linear >> (12 + 9 * level)) & 511);
		if (!(e & PTE_P))
			return page_fault(a, linear, false, f);
		rights = ((rights & PTE_U) & e) | ((rights & PTE_W) & e) | ((rights | e) & PTE_NX);
		if (level == 1 && (e & PTE_PS))
			break;
		table = e;
	}
	return allowed(a, rights) ? EMUL_OK : page_fault(a, linear, true, f);
}

// Checks all pages. Memory outside of the world (the test kernel) reads as zeroes and takes nothing.
static enum emul_result check(const struct access *a, u64 at, unsigned len, struct x86_fault *f)
{
	enum emul_result r = walk(a, at, f);

	if (r == EMUL_OK && (at & PAGE_MASK) + len > PAGE_SIZE)
		r = walk(a, (at | PAGE_MASK) + 1, f);
	return r;
}

static void plant_descriptor(u64 at, void *buf, unsigned len)
{
	u8 *b = buf;

	if (run->plant == 1 && at >= W_GDT + T_FLAT0 * 8 && at < W_LDT && len >= 8)
		b[5] ^= 0x20; // DPL
	if (run->plant == 2 && at >= W_IDT && at < W_TSS && len >= 8)
		b[4] = 0; // IST
	if (run->plant == 3 && at >= W_TSS + 0x68 && at < W_TSS2)
		memset(b, 0, len); // I/O bitmap
}

static enum emul_result p_read(void *ctx, u64 at, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	struct access a = {.write = kind & EMUL_RMW, .implicit = kind & EMUL_SUPERVISOR};
	enum emul_result r;

	a.user = cpu_cpl(&cpu) == 3 && !a.implicit;
	r = check(&a, at, len, f);
	if (r != EMUL_OK)
		return r;
	memset(buf, 0, len);
	if (in_world(at, len))
		memcpy(buf, world + (at - WORLD), len);
	plant_descriptor(at, buf, len);
	return EMUL_OK;
}

static enum emul_result p_write(void *ctx, u64 at, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	struct access a = {.write = true, .implicit = kind & EMUL_SUPERVISOR};
	enum emul_result r;

	a.user = cpu_cpl(&cpu) == 3 && !a.implicit;
	r = check(&a, at, len, f);
	if (r == EMUL_OK && in_world(at, len))
		memcpy(world + (at - WORLD), buf, len);
	return r;
}

static enum emul_result p_cmpxchg(void *ctx, u64 at, void *old, const void *next, unsigned len, bool *done,
				  struct x86_fault *f)
{
	u8 now[16];

	*done = false;
	if (p_read(ctx, at, now, len, EMUL_RMW, f) != EMUL_OK)
		return EMUL_FAULT;
	*done = !memcmp(now, old, len);
	memcpy(old, now, len);
	return *done ? p_write(ctx, at, next, len, EMUL_WRITE, f) : EMUL_OK;
}

static enum emul_result p_fetch(void *ctx, u64 at, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	struct access a = {.exec = true, .user = cpu_cpl(&cpu) == 3};
	unsigned here = MIN(len, (unsigned)(PAGE_SIZE - (at & PAGE_MASK)));

	*got = 0;
	if (walk(&a, at, f) != EMUL_OK)
		return EMUL_FAULT;
	memset(buf, 0, here);
	if (in_world(at, here))
		memcpy(buf, world + (at - WORLD), here);
	*got = here;
	return EMUL_OK;
}

// Nothing answers at the ports that cases use; QEMU's bus reads an unaligned port that nobody has as zero, the hypervisor's not.
static enum emul_result p_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	*value = (port & (len - 1)) && !run->guest ? 0 : ~0u >> (32 - 8 * len);
	return EMUL_OK;
}

static enum emul_result p_out(void *ctx, u16 port, unsigned len, u32 value)
{
	return EMUL_OK;
}

static enum emul_result msr_fault(struct x86_fault *f)
{
	*f = (struct x86_fault){.vector = VEC_GP, .has_error = true};
	return EMUL_FAULT;
}

static enum emul_result p_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *f)
{
	return policy_rdmsr(&cpu, msr, value) ? EMUL_OK : msr_fault(f);
}

static enum emul_result p_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *f)
{
	return policy_wrmsr(&cpu, msr, value) ? EMUL_OK : msr_fault(f);
}

static void p_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	memset(out, 0, 16);
	for (unsigned i = 0; i < run->cpuid_rows; i++)
		if (run->cpuid[i].leaf == leaf && !subleaf)
			memcpy(out, run->cpuid[i].out, 16);
}

static u64 p_rdtsc(void *ctx)
{
	return 0;
}

static const struct emul_ports ports = {
	.read = p_read,
	.write = p_write,
	.cmpxchg = p_cmpxchg,
	.fetch = p_fetch,
	.in = p_in,
	.out = p_out,
	.rdmsr = p_rdmsr,
	.wrmsr = p_wrmsr,
	.cpuid = p_cpuid,
	.rdtsc = p_rdtsc,
};

u64 system_pristine(u64 at)
{
	u64 v;

	memcpy(&v, pristine + (at - WORLD), 8);
	return v;
}

static u64 word(u64 at)
{
	u64 v;

	memcpy(&v, world + (at - WORLD), 8);
	return v;
}

static struct x86_segment segment(u16 selector)
{
	u64 d = word(W_GDT + (selector & ~7u));
	u32 limit = (u32)(d & 0xffff) | ((u32)(d >> 32) & 0xf0000);
	struct x86_segment s = {.selector = selector, .attr = (u32)(d >> 40) & 0xf0ff};

	if (!(selector & ~3u)) {
		s.attr = SEG_ATTR_UNUSABLE;
		return s;
	}
	s.limit = s.attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
	s.base = (d >> 16 & 0xffffff) | d >> 56 << 24;
	return s;
}

static void load_segments(const struct sys_case *c, const struct outcome *base)
{
	cpu.seg[SEG_CS] = segment((u16)base->f[O_cs]);
	cpu.seg[SEG_SS] = segment((u16)base->f[O_ss]);
	cpu.seg[SEG_DS] = segment(c->ds);
	cpu.seg[SEG_ES] = segment(c->es);
	cpu.seg[SEG_FS] = segment(c->fs);
	cpu.seg[SEG_GS] = segment(c->gs);
	cpu.seg[SEG_FS].base = c->fs_base;
	cpu.seg[SEG_GS].base = c->gs_base;
	cpu.tr = segment(S_TSS);
	cpu.ldtr = segment(c->ldt);
	cpu.gdtr = (struct x86_table){W_GDT, GDT_LIMIT};
	cpu.idtr = (struct x86_table){W_IDT, 0xfff};
}

static void load_case(const struct sys_case *c)
{
	struct outcome base;

	outcome_baseline(c, &base);
	memcpy(world, pristine, W_SIZE);
	memcpy(world + (code_page(c->entry) + W_CODE_AT - WORLD), c->code, sizeof(c->code));
	for (unsigned i = 0; i < c->pokes; i++)
		memcpy(world + (c->poke[i].at - WORLD), &c->poke[i].value, c->poke[i].bytes);
	cpu = (struct x86_cpu){.rip = code_page(c->entry) + W_CODE_AT,
			       .rflags = c->flags,
			       .cr0 = c->cr0,
			       .cr2 = c->cr2,
			       .cr3 = W_PML4,
			       .cr4 = c->cr4,
			       .cr8 = c->cr8,
			       .efer = c->efer,
			       .star = c->star,
			       .lstar = c->lstar,
			       .cstar = c->cstar,
			       .sfmask = c->sfmask,
			       .kernel_gs_base = c->kernel_gs_base,
			       .sysenter_cs = W_SYSENTER_CS,
			       .sysenter_esp = W_SYSENTER_ESP,
			       .sysenter_eip = W_SYSENTER_EIP,
			       .pat = W_PAT,
			       .xcr0 = 1};
	memcpy(cpu.gpr, c->gpr, sizeof(cpu.gpr));
	memcpy(cpu.dr, c->dr, sizeof(cpu.dr));
	world[W_GDT - WORLD + base.f[O_cs] / 8 * 8 + 5] |= 1; // entered by IRETQ
	load_segments(c, &base);
}

// As vcpu_inject() does.
static bool deliver(struct x86_fault event)
{
	for (;;) {
		if (run->plant == 4 && event.vector == VEC_GP)
			event.error ^= 4;
		if (run->plant == 5 && event.vector == VEC_PF)
			event.cr2++;
		if (event.vector == VEC_PF)
			cpu.cr2 = event.cr2;
		if (emul_deliver(&emul, &event, false, false) == EMUL_OK)
			return true;
		switch (emul_escalate(event.vector, emul.fault.vector)) {
		case EMUL_SERIAL:
			event = emul.fault;
			break;
		case EMUL_DOUBLE:
			if (emul.fault.vector == VEC_PF)
				cpu.cr2 = emul.fault.cr2;
			event = (struct x86_fault){.vector = VEC_DF, .has_error = true};
			break;
		default:
			return false;
		}
	}
}

static bool stopped(void)
{
	return cpu.rip >= world_stub(0) && cpu.rip < world_stub(256) && cpu_cpl(&cpu) == 0;
}

static void capture_registers(struct outcome *o)
{
	for (unsigned i = 0; i < 16; i++)
		o->f[O_rax + i] = i == R_RSP ? 0 : cpu.gpr[i];
	o->f[O_entry_rsp] = cpu.gpr[R_RSP];
	o->f[O_vector] = (cpu.rip - world_stub(0)) / W_STUB_SIZE;
	o->f[O_entry_ss] = cpu.seg[SEG_SS].selector;
	o->f[O_entry_cs] = cpu.seg[SEG_CS].selector;
	o->f[O_entry_flags] = cpu.rflags & ~RFL_RF; // PUSHF does not show it
	o->f[O_ds] = cpu.seg[SEG_DS].selector;
	o->f[O_es] = cpu.seg[SEG_ES].selector;
	o->f[O_fs] = cpu.seg[SEG_FS].selector;
	o->f[O_gs] = cpu.seg[SEG_GS].selector;
	o->f[O_fs_base] = cpu.seg[SEG_FS].base;
	o->f[O_gs_base] = cpu.seg[SEG_GS].base;
	o->f[O_kernel_gs_base] = cpu.kernel_gs_base;
}

static void capture(struct outcome *o)
{
	static const u8 dr[] = {0, 1, 2, 3, 6, 7};

	memset(o, 0, sizeof(*o));
	capture_registers(o);
	o->f[O_cr0] = cpu.cr0;
	o->f[O_cr2] = cpu.cr2;
	o->f[O_cr3] = cpu.cr3;
	o->f[O_cr4] = cpu.cr4;
	o->f[O_cr8] = cpu.cr8;
	for (unsigned i = 0; i < 6; i++)
		o->f[O_dr0 + i] = cpu.dr[dr[i]];
	o->f[O_efer] = cpu.efer;
	o->f[O_star] = cpu.star;
	o->f[O_lstar] = cpu.lstar;
	o->f[O_cstar] = cpu.cstar;
	o->f[O_sfmask] = cpu.sfmask;
	o->f[O_gdt_base] = cpu.gdtr.base;
	o->f[O_gdt_limit] = cpu.gdtr.limit;
	o->f[O_idt_base] = cpu.idtr.base;
	o->f[O_idt_limit] = cpu.idtr.limit;
	o->f[O_ldtr] = cpu.ldtr.selector;
	o->f[O_tr] = cpu.tr.selector;
	if (run->plant == 6)
		o->f[O_entry_flags] |= RFL_NT;
	outcome_memory(o, world, pristine);
}

static enum case_end lost(const char *how)
{
	run->lost = how;
	return CASE_LOST;
}

static enum case_end run_steps(void)
{
	for (unsigned n = 0; n < STEPS; n++) {
		enum emul_result r;

		if (stopped())
			return CASE_STOPPED;
		r = emul_step(&emul);
		if (r == EMUL_UNSUPPORTED) {
			run->unsupported = emul.mnemonic;
			return CASE_UNSUPPORTED;
		}
		if (r == EMUL_HALT)
			return lost("halt");
		if (r == EMUL_FAULT && !deliver(emul.fault))
			return lost("triple fault");
	}
	return lost("no end");
}

enum case_end system_run(struct system_run *r, const struct sys_case *c, struct outcome *o)
{
	enum case_end end;

	run = r;
	if (!pristine[W_KCODE - WORLD])
		world_build(pristine);
	load_case(c);
	emul = (struct emul){.cpu = &cpu, .ports = &ports};
	end = run_steps();
	if (end == CASE_STOPPED)
		capture(o);
	return end;
}
