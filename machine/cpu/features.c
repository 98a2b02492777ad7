// SPDX-License-Identifier: MIT
// CPUID once, and the control registers that follow from it. Every bit is gated on CPUID; CR4.PGE, PCE, CET and FRED
// stay 0 in both worlds (design 2.1).
#include "base/string.h"
#include "machine/cpu/cpu.h"

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define CR0_BASE (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define CR4_BASE (CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT)

struct cpu_features cpu_features;

static bool bit(u32 word, unsigned n)
{
	return word >> n & 1;
}

static void read_names(struct cpu_features *f)
{
	struct cpuid_regs r = cpuid(0, 0);

	f->max_leaf = r.eax;
	memcpy(f->vendor, &r.ebx, 4);
	memcpy(f->vendor + 4, &r.edx, 4);
	memcpy(f->vendor + 8, &r.ecx, 4);
	f->max_ext_leaf = cpuid(0x80000000, 0).eax;
	for (unsigned i = 0; i < 3 && f->max_ext_leaf >= 0x80000004; i++) {
		r = cpuid(0x80000002 + i, 0);
		memcpy(f->brand + 16 * i, &r, 16);
	}
}

static u64 choose_cr4(const struct cpu_features *f)
{
	u64 cr4 = CR4_BASE;

	cr4 |= f->fsgsbase ? CR4_FSGSBASE : 0;
	cr4 |= f->umip ? CR4_UMIP : 0;
	cr4 |= f->smep ? CR4_SMEP : 0;
	cr4 |= f->smap ? CR4_SMAP : 0;
	cr4 |= f->xsave ? CR4_OSXSAVE : 0;
	return cr4;
}

void cpu_features_init(void)
{
	struct cpu_features *f = &cpu_features;
	struct cpuid_regs r;

	read_names(f);
	r = cpuid(1, 0);
	f->xsave = bit(r.ecx, 26);
	f->avx = f->xsave && bit(r.ecx, 28);
	f->pcid = bit(r.ecx, 17);
	f->x2apic = bit(r.ecx, 21);
	f->tsc_deadline = bit(r.ecx, 24);
	if (f->max_leaf >= 7) {
		r = cpuid(7, 0);
		f->fsgsbase = bit(r.ebx, 0);
		f->smep = bit(r.ebx, 7);
		f->invpcid = bit(r.ebx, 10);
		f->smap = bit(r.ebx, 20);
		f->umip = bit(r.ecx, 2);
	}
	if (f->max_ext_leaf >= 0x80000001) {
		r = cpuid(0x80000001, 0);
		f->nx = bit(r.edx, 20);
		f->gbpages = bit(r.edx, 26);
		f->rdtscp = bit(r.edx, 27);
	}
	if (f->max_ext_leaf >= 0x80000007)
		f->invariant_tsc = bit(cpuid(0x80000007, 0).edx, 8);
	f->cr4 = choose_cr4(f);
	f->xcr0 = f->xsave ? XCR0_X87 | XCR0_SSE | (f->avx ? XCR0_AVX : 0) : 0;
	f->xsave_size = 512;
}

void cpu_enable_features(void)
{
	struct cpu_features *f = &cpu_features;

	write_cr0(CR0_BASE);
	write_cr4(f->cr4);
	wrmsr(MSR_EFER, EFER_LME | EFER_LMA | EFER_SCE | (f->nx ? EFER_NXE : 0));
	if (f->xsave) {
		xsetbv(0, f->xcr0);
		f->xsave_size = cpuid(13, 0).ebx;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	write_dr7(0x400);
	asm volatile("fninit");
}
