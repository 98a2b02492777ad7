// SPDX-License-Identifier: MIT
// System instructions: interrupt flag, MSRs, CPUID, time-stamp counter, control and debug registers, XCR0, FS/GS bases,
// TLB management (SDM 2; checks on control registers: SDM 3A 2.5). Values are checked, stored in x86_cpu, then announced.
#include "core/emul/internal.h"

#include "base/string.h"

#define CR0_KNOWN (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR3_RESERVED (~PTE_ADDR & ~0xfffull) // above the physical-address width; bit 63 apart
#define CR3_NOFLUSH BIT(63)
#define DR6_WRITABLE 0xe00full
#define DR7_FIXED BIT(10)
#define DR7_WRITABLE 0xffff23ffull

static enum emul_result interrupt_flag_allowed(struct emu *x)
{
	u64 iopl = (x->cpu->rflags & RFL_IOPL) >> 12;

	return cpu_cpl(x->cpu) <= iopl ? EMUL_OK : emu_gp0(x);
}

enum emul_result emu_op_cli(struct emu *x)
{
	TRY(interrupt_flag_allowed(x));
	x->cpu->rflags &= ~RFL_IF;
	return EMUL_OK;
}

enum emul_result emu_op_sti(struct emu *x)
{
	TRY(interrupt_flag_allowed(x));
	x->shadow = !(x->cpu->rflags & RFL_IF);
	x->cpu->rflags |= RFL_IF;
	return EMUL_OK;
}

enum emul_result emu_op_hlt(struct emu *x)
{
	TRY(emu_need_cpl0(x));
	x->cpu->halted = true; // emul_step turns this into EMUL_HALT
	return EMUL_OK;
}

enum emul_result emu_op_rdmsr(struct emu *x)
{
	u64 v = 0;

	TRY(emu_need_cpl0(x));
	TRY(x->p->rdmsr(x->ctx, (u32)x->cpu->gpr[R_RCX], &v, &x->e->fault));
	emu_gpr_set(x->cpu, R_RAX, 32, v);
	emu_gpr_set(x->cpu, R_RDX, 32, v >> 32);
	return EMUL_OK;
}

enum emul_result emu_op_wrmsr(struct emu *x)
{
	u64 v = (u32)x->cpu->gpr[R_RAX] | x->cpu->gpr[R_RDX] << 32;

	TRY(emu_need_cpl0(x));
	return x->p->wrmsr(x->ctx, (u32)x->cpu->gpr[R_RCX], v, &x->e->fault);
}

enum emul_result emu_op_cpuid(struct emu *x)
{
	static const u8 order[4] = {R_RAX, R_RBX, R_RCX, R_RDX};
	u32 out[4] = {0};

	x->p->cpuid(x->ctx, (u32)x->cpu->gpr[R_RAX], (u32)x->cpu->gpr[R_RCX], out);
	for (unsigned i = 0; i < 4; i++)
		emu_gpr_set(x->cpu, order[i], 32, out[i]);
	return EMUL_OK;
}

enum emul_result emu_op_rdtsc(struct emu *x)
{
	u64 v;

	if ((x->cpu->cr4 & CR4_TSD) && cpu_cpl(x->cpu))
		return emu_gp0(x);
	v = x->p->rdtsc(x->ctx);
	emu_gpr_set(x->cpu, R_RAX, 32, v);
	emu_gpr_set(x->cpu, R_RDX, 32, v >> 32);
	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_RDTSCP)
		emu_gpr_set(x->cpu, R_RCX, 32, x->cpu->tsc_aux);
	return EMUL_OK;
}

enum emul_result emu_op_rdpid(struct emu *x)
{
	return emu_set(x, 0, x->cpu->tsc_aux);
}

// "No entropy now" is always a legal answer: CF clear, destination zero.
enum emul_result emu_op_rdrand(struct emu *x)
{
	x->cpu->rflags &= ~RFL_ARITH;
	return emu_set(x, 0, 0);
}

void emu_cr_notify(struct emu *x, unsigned cr, u64 old)
{
	if (x->p->cr_written)
		x->p->cr_written(x->ctx, cr, old);
}

static enum emul_result write_cr0(struct emu *x, u64 v)
{
	struct x86_cpu *c = x->cpu;
	u64 old = c->cr0;
	bool paging_on = (v & CR0_PG) && !(old & CR0_PG), paging_off = !(v & CR0_PG) && (old & CR0_PG);

	if (v >> 32 || ((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
		return emu_gp0(x);
	if (paging_on && (c->efer & EFER_LME) && (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & SEG_ATTR_L)))
		return emu_gp0(x);
	if (paging_off && (emu_long(x) || (c->cr4 & CR4_PCIDE)))
		return emu_gp0(x);
	if (paging_on && (c->efer & EFER_LME))
		c->efer |= EFER_LMA;
	if (paging_off)
		c->efer &= ~EFER_LMA;
	c->cr0 = (v & CR0_KNOWN) | CR0_ET;
	emu_cr_notify(x, 0, old);
	return EMUL_OK;
}

static enum emul_result write_cr3(struct emu *x, u64 v)
{
	u64 old = x->cpu->cr3;

	if (x->cpu->cr4 & CR4_PCIDE)
		v &= ~CR3_NOFLUSH;
	if (emu_lma(x) && (v & CR3_RESERVED))
		return emu_gp0(x);
	x->cpu->cr3 = emu_lma(x) ? v : (u32)v;
	emu_cr_notify(x, 3, old);
	return EMUL_OK;
}

// CR4 bits that the guest's CPUID offers; the others are reserved for it.
static u64 cr4_offered(struct emu *x)
{
	static const struct {
		u8 leaf, reg, bit; // reg: eax 0 .. edx 3
		u32 cr4;
	} gated[] = {
		{1, 2, 17, CR4_PCIDE}, {1, 2, 26, CR4_OSXSAVE}, {7, 1, 0, CR4_FSGSBASE}, {7, 1, 7, CR4_SMEP},
		{7, 1, 20, CR4_SMAP},  {7, 2, 2, CR4_UMIP},     {7, 2, 3, CR4_PKE},
	};
	u64 m = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		CR4_OSXMMEXCPT;
	u32 leaf1[4], leaf7[4];

	x->p->cpuid(x->ctx, 1, 0, leaf1);
	x->p->cpuid(x->ctx, 7, 0, leaf7);
	for (unsigned i = 0; i < ARRAY_SIZE(gated); i++)
		if (((gated[i].leaf == 1 ? leaf1 : leaf7)[gated[i].reg] >> gated[i].bit) & 1)
			m |= gated[i].cr4;
	return m;
}

static enum emul_result write_cr4(struct emu *x, u64 v)
{
	struct x86_cpu *c = x->cpu;
	u64 old = c->cr4;

	if (v & ~(cr4_offered(x) | old))
		return emu_gp0(x);
	if (emu_lma(x) && !(v & CR4_PAE))
		return emu_gp0(x);
	if ((v & CR4_PCIDE) && !(old & CR4_PCIDE) && (!emu_lma(x) || (c->cr3 & 0xfff)))
		return emu_gp0(x);
	c->cr4 = v;
	emu_cr_notify(x, 4, old);
	return EMUL_OK;
}

static enum emul_result write_cr8(struct emu *x, u64 v)
{
	u64 old = x->cpu->cr8;

	if (v & ~15ull)
		return emu_gp0(x);
	x->cpu->cr8 = v;
	emu_cr_notify(x, 8, old);
	return EMUL_OK;
}

static enum emul_result write_cr(struct emu *x, unsigned n, u64 v)
{
	if (!emu_long(x))
		v = (u32)v;
	switch (n) {
	case 0:
		return write_cr0(x, v);
	case 2:
		x->cpu->cr2 = v;
		return EMUL_OK;
	case 3:
		return write_cr3(x, v);
	case 4:
		return write_cr4(x, v);
	case 8:
		return write_cr8(x, v);
	default:
		return emu_ud(x);
	}
}

enum emul_result emu_mov_cr(struct emu *x)
{
	ZydisRegister to = x->in.op[0].reg.value, from = x->in.op[1].reg.value;
	struct x86_cpu *c = x->cpu;
	unsigned n;

	if (cpu_cpl(c))
		return emu_gp0(x);
	if (to >= ZYDIS_REGISTER_CR0 && to <= ZYDIS_REGISTER_CR15)
		return write_cr(x, to - ZYDIS_REGISTER_CR0, emu_reg_get(c, from));
	n = from - ZYDIS_REGISTER_CR0;
	switch (n) {
	case 0:
		emu_reg_set(c, to, c->cr0);
		return EMUL_OK;
	case 2:
		emu_reg_set(c, to, c->cr2);
		return EMUL_OK;
	case 3:
		emu_reg_set(c, to, c->cr3);
		return EMUL_OK;
	case 4:
		emu_reg_set(c, to, c->cr4);
		return EMUL_OK;
	case 8:
		emu_reg_set(c, to, c->cr8);
		return EMUL_OK;
	default:
		return emu_ud(x);
	}
}

static enum emul_result write_dr(struct emu *x, unsigned n, u64 v)
{
	if (!emu_long(x))
		v = (u32)v;
	if (n >= 6 && v >> 32)
		return emu_gp0(x);
	if (x->p->dr_allowed && !x->p->dr_allowed(x->ctx, n, v))
		return emu_gp0(x);
	if (n == 6)
		v = (v & DR6_WRITABLE) | DR6_FIXED;
	else if (n == 7)
		v = (v & DR7_WRITABLE) | DR7_FIXED;
	x->cpu->dr[n] = v;
	if (x->p->dr_written)
		x->p->dr_written(x->ctx, n);
	return EMUL_OK;
}

enum emul_result emu_mov_dr(struct emu *x)
{
	ZydisRegister to = x->in.op[0].reg.value, from = x->in.op[1].reg.value;
	bool writes = to >= ZYDIS_REGISTER_DR0 && to <= ZYDIS_REGISTER_DR15;
	unsigned n = writes ? to - ZYDIS_REGISTER_DR0 : from - ZYDIS_REGISTER_DR0;

	if (n == 4 || n == 5) {
		if (x->cpu->cr4 & CR4_DE)
			return emu_ud(x);
		n += 2;
	}
	if (n > 7)
		return emu_ud(x);
	if (cpu_cpl(x->cpu))
		return emu_gp0(x);
	if (x->cpu->dr[7] & DR7_GD) {
		x->cpu->dr[6] |= DR6_BD;
		return emu_fault(x, VEC_DB);
	}
	if (writes)
		return write_dr(x, n, emu_reg_get(x->cpu, from));
	emu_reg_set(x->cpu, to, x->cpu->dr[n]);
	return EMUL_OK;
}

enum emul_result emu_op_clts(struct emu *x)
{
	u64 old = x->cpu->cr0;

	TRY(emu_need_cpl0(x));
	x->cpu->cr0 &= ~CR0_TS;
	emu_cr_notify(x, 0, old);
	return EMUL_OK;
}

// Can set PE but not clear it.
enum emul_result emu_op_lmsw(struct emu *x)
{
	u64 v;

	TRY(emu_need_cpl0(x));
	TRY(emu_get(x, 0, &v));
	return write_cr0(x, (x->cpu->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (v & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

enum emul_result emu_op_smsw(struct emu *x)
{
	u64 v = x->cpu->cr0;

	if ((x->cpu->cr4 & CR4_UMIP) && cpu_cpl(x->cpu))
		return emu_gp0(x);
	if (emu_is_mem(x, 0))
		return emu_write_op(x, 0, &v, 2);
	return emu_set(x, 0, v);
}

enum emul_result emu_op_invlpg(struct emu *x)
{
	u64 linear, offset = emu_offset(x, 0);
	unsigned seg = emu_segment(x, 0);

	TRY(emu_need_cpl0(x));
	linear = offset + (emu_long(x) && seg < SEG_FS ? 0 : x->cpu->seg[seg].base);
	if (!emu_long(x))
		linear = (u32)linear;
	if (is_canonical(linear) && x->p->invlpg)
		x->p->invlpg(x->ctx, linear);
	return EMUL_OK;
}

// Types 1 and 3 flush whole contexts: announced as a load of the same CR3. Type 2 flushes global entries too: as a change of CR4.PGE.
enum emul_result emu_op_invpcid(struct emu *x)
{
	u64 type, desc[2];
	u32 leaf7[4];

	x->p->cpuid(x->ctx, 7, 0, leaf7);
	if (!(leaf7[1] & BIT(10)))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	TRY(emu_get(x, 0, &type));
	TRY(emu_read_op(x, 1, desc, 16));
	if (type > 3 || (type < 2 && desc[0] >> 12))
		return emu_gp0(x);
	if (type < 2 && (desc[0] & 0xfff) && !(x->cpu->cr4 & CR4_PCIDE))
		return emu_gp0(x);
	if (type == 0 && !is_canonical(desc[1]))
		return emu_gp0(x);
	if (type == 0 && x->p->invlpg)
		x->p->invlpg(x->ctx, desc[1]);
	else if (type == 2)
		emu_cr_notify(x, 4, x->cpu->cr4 ^ CR4_PGE);
	else
		emu_cr_notify(x, 3, x->cpu->cr3);
	return EMUL_OK;
}

enum emul_result emu_op_cpl0_nop(struct emu *x)
{
	return emu_need_cpl0(x);
}

enum emul_result emu_op_swapgs(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	u64 base = c->seg[SEG_GS].base;

	if (!emu_long(x))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	c->seg[SEG_GS].base = c->kernel_gs_base;
	c->kernel_gs_base = base;
	emu_segment_notify(x, SEG_GS);
	return EMUL_OK;
}

enum emul_result emu_op_fsgsbase(struct emu *x)
{
	ZydisMnemonic m = x->in.d.mnemonic;
	unsigned seg = m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_WRFSBASE ? SEG_FS : SEG_GS;
	u64 v;

	if (!emu_long(x) || !(x->cpu->cr4 & CR4_FSGSBASE))
		return emu_ud(x);
	if (m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_RDGSBASE)
		return emu_set(x, 0, x->cpu->seg[seg].base);
	TRY(emu_get(x, 0, &v));
	if (!is_canonical(v))
		return emu_gp0(x);
	x->cpu->seg[seg].base = v;
	emu_segment_notify(x, seg);
	return EMUL_OK;
}

enum emul_result emu_op_stac(struct emu *x)
{
	if (cpu_cpl(x->cpu))
		return emu_ud(x);
	x->cpu->rflags &= ~RFL_AC;
	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_STAC)
		x->cpu->rflags |= RFL_AC;
	return EMUL_OK;
}

enum emul_result emu_op_xgetbv(struct emu *x)
{
	if (!(x->cpu->cr4 & CR4_OSXSAVE))
		return emu_ud(x);
	if ((u32)x->cpu->gpr[R_RCX])
		return emu_gp0(x);
	emu_gpr_set(x->cpu, R_RAX, 32, x->cpu->xcr0);
	emu_gpr_set(x->cpu, R_RDX, 32, x->cpu->xcr0 >> 32);
	return EMUL_OK;
}

// x87 always; AVX needs SSE; the three AVX-512 parts go together and need AVX (SDM 1 13.3).
static bool xcr0_valid(struct emu *x, u64 v)
{
	u32 offered[4] = {0};
	u64 avx512 = v & 0xe0;

	x->p->cpuid(x->ctx, 0xd, 0, offered);
	if (v & ~((u64)offered[0] | (u64)offered[3] << 32 | 3))
		return false;
	if (!(v & 1) || ((v & 4) && !(v & 2)))
		return false;
	return !avx512 || (avx512 == 0xe0 && (v & 4));
}

enum emul_result emu_op_xsetbv(struct emu *x)
{
	u64 v = (u32)x->cpu->gpr[R_RAX] | x->cpu->gpr[R_RDX] << 32;

	if (!(x->cpu->cr4 & CR4_OSXSAVE))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	if ((u32)x->cpu->gpr[R_RCX] || !xcr0_valid(x, v))
		return emu_gp0(x);
	x->cpu->xcr0 = v;
	return EMUL_OK;
}

// PKRU lives in the machine; only its absence is emulated.
enum emul_result emu_op_pkru(struct emu *x)
{
	return x->cpu->cr4 & CR4_PKE ? EMUL_UNSUPPORTED : emu_ud(x);
}

enum emul_result emu_op_gp(struct emu *x)
{
	return emu_gp0(x);
}

enum emul_result emu_op_vmcall(struct emu *x)
{
	if (!x->p->hypercall || cpu_cpl(x->cpu))
		return emu_op_ud(x);
	x->cpu->gpr[R_RAX] = x->p->hypercall(x->ctx);
	return EMUL_OK;
}

enum emul_result emu_op_ud(struct emu *x)
{
	return emu_ud(x);
}
