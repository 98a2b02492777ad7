// SPDX-License-Identifier: MIT
// CPUID and MSR policy. Parts: the bit table and its evaluation; the leaves that are more than bits; the MSR table and
// its evaluation.
//
// Invariants
//  - A feature bit that no row names is hidden. PASS rows show the machine's bit, never more.
//  - An MSR that no row names faults. No MSR of the machine is read on a guest's behalf except the TSC.
#include "core/x86/policy.h"
#include "base/string.h"

enum { EAX, EBX, ECX, EDX };
enum action { HIDE, PASS, SET };
enum need { ALWAYS, XSAVE, AVX, X2APIC, DEADLINE, ARCHCAP, LAPIC_ON, OSXSAVE_ON, KVM, PCIDS };

struct cpuid_bit {
	u32 leaf;
	u8 subleaf, reg, bit, action, need;
	const char *name, *reason;
};

#define L7 7
#define EXT 0x80000001
static const char user[] = "runs natively in every ring";
static const char spec[] =
	"speculation controls cost an exit per kernel entry; software mitigations (retpolines) work here";
static const char virt[] = "no nested virtualization";
static const char unmet[] = "state is not saved per guest";
static const char amd_copy[] = "AMD's copy of leaf 1";

static const struct cpuid_bit bits[] = {
	{1, 0, ECX, 0, PASS, ALWAYS, "SSE3", user},
	{1, 0, ECX, 1, PASS, ALWAYS, "PCLMULQDQ", user},
	{1, 0, ECX, 2, HIDE, ALWAYS, "DTES64", "no debug store"},
	{1, 0, ECX, 3, HIDE, ALWAYS, "MONITOR", "a guest that waits in MWAIT would keep the CPU; HLT exits"},
	{1, 0, ECX, 5, HIDE, ALWAYS, "VMX", virt},
	{1, 0, ECX, 7, HIDE, ALWAYS, "EST", "frequency belongs to the machine"},
	{1, 0, ECX, 9, PASS, ALWAYS, "SSSE3", user},
	{1, 0, ECX, 12, PASS, AVX, "FMA", user},
	{1, 0, ECX, 13, PASS, ALWAYS, "CX16", user},
	{1, 0, ECX, 15, HIDE, ALWAYS, "PDCM", "no performance counters"},
	{1, 0, ECX, 17, SET, PCIDS, "PCID", "virtual, by configuration: shadow roots outlive CR3 loads in any case"},
	{1, 0, ECX, 19, PASS, ALWAYS, "SSE4.1", user},
	{1, 0, ECX, 20, PASS, ALWAYS, "SSE4.2", user},
	{1, 0, ECX, 21, SET, X2APIC, "X2APIC", "the virtual LAPIC's, by configuration"},
	{1, 0, ECX, 22, PASS, ALWAYS, "MOVBE", user},
	{1, 0, ECX, 23, PASS, ALWAYS, "POPCNT", user},
	{1, 0, ECX, 24, SET, DEADLINE, "TSC_DEADLINE", "the virtual LAPIC's, by configuration"},
	{1, 0, ECX, 25, PASS, ALWAYS, "AES", user},
	{1, 0, ECX, 26, PASS, XSAVE, "XSAVE", "by configuration: components are saved per guest"},
	{1, 0, ECX, 27, SET, OSXSAVE_ON, "OSXSAVE", "the guest's CR4.OSXSAVE"},
	{1, 0, ECX, 28, PASS, AVX, "AVX", user},
	{1, 0, ECX, 29, PASS, AVX, "F16C", user},
	{1, 0, ECX, 30, PASS, ALWAYS, "RDRAND", user},
	{1, 0, ECX, 31, SET, ALWAYS, "HYPERVISOR",
	 "so that a guest trusts no firmware quirks and finds leaf 0x40000000"},

	{1, 0, EDX, 0, PASS, ALWAYS, "FPU", user},
	{1, 0, EDX, 1, HIDE, ALWAYS, "VME", "no virtual-8086 mode under long mode"},
	{1, 0, EDX, 2, PASS, ALWAYS, "DE", "CR4.DE is virtual"},
	{1, 0, EDX, 3, PASS, ALWAYS, "PSE", "large pages are shadowed"},
	{1, 0, EDX, 4, PASS, ALWAYS, "TSC", "native in both rings"},
	{1, 0, EDX, 5, PASS, ALWAYS, "MSR", "by the table below"},
	{1, 0, EDX, 6, PASS, ALWAYS, "PAE", "needed for long mode"},
	{1, 0, EDX, 7, PASS, ALWAYS, "MCE", "banks that never report"},
	{1, 0, EDX, 8, PASS, ALWAYS, "CX8", user},
	{1, 0, EDX, 9, SET, LAPIC_ON, "APIC", "the virtual LAPIC, while APIC_BASE enables it"},
	{1, 0, EDX, 11, HIDE, ALWAYS, "SEP", "SYSENTER would bypass the gate: its code segment is 0"},
	{1, 0, EDX, 12, PASS, ALWAYS, "MTRR", "fixed answers: write-back by default"},
	{1, 0, EDX, 13, PASS, ALWAYS, "PGE", "CR4.PGE is virtual; shadow entries carry no G"},
	{1, 0, EDX, 14, PASS, ALWAYS, "MCA", "banks that never report"},
	{1, 0, EDX, 15, PASS, ALWAYS, "CMOV", user},
	{1, 0, EDX, 16, PASS, ALWAYS, "PAT", "the MSR is virtual"},
	{1, 0, EDX, 17, PASS, ALWAYS, "PSE36", "as the machine walks"},
	{1, 0, EDX, 19, PASS, ALWAYS, "CLFSH", user},
	{1, 0, EDX, 21, HIDE, ALWAYS, "DS", "no debug store"},
	{1, 0, EDX, 22, HIDE, ALWAYS, "ACPI", "no thermal control"},
	{1, 0, EDX, 23, PASS, ALWAYS, "MMX", user},
	{1, 0, EDX, 24, PASS, ALWAYS, "FXSR", user},
	{1, 0, EDX, 25, PASS, ALWAYS, "SSE", user},
	{1, 0, EDX, 26, PASS, ALWAYS, "SSE2", user},
	{1, 0, EDX, 27, PASS, ALWAYS, "SS", "self-snoop: a property of the machine's caches"},
	{1, 0, EDX, 28, HIDE, ALWAYS, "HTT", "one CPU, one core"},

	{L7, 0, EBX, 0, PASS, ALWAYS, "FSGSBASE", "base writes are translated in ring 1, native in ring 3"},
	{L7, 0, EBX, 1, SET, ALWAYS, "TSC_ADJUST",
	 "reads 0: with it Linux trusts the TSC without a watchdog on lost ticks"},
	{L7, 0, EBX, 3, PASS, ALWAYS, "BMI1", user},
	{L7, 0, EBX, 4, HIDE, ALWAYS, "HLE", "transactions abort at exits"},
	{L7, 0, EBX, 5, PASS, AVX, "AVX2", user},
	{L7, 0, EBX, 7, PASS, ALWAYS, "SMEP", "shadow pages by role, the machine's SMEP binds ring 1"},
	{L7, 0, EBX, 8, PASS, ALWAYS, "BMI2", user},
	{L7, 0, EBX, 9, PASS, ALWAYS, "ERMS", user},
	{L7, 0, EBX, 10, SET, PCIDS, "INVPCID", "emulated; goes with PCID"},
	{L7, 0, EBX, 11, HIDE, ALWAYS, "RTM", "transactions abort at exits"},
	{L7, 0, EBX, 16, HIDE, ALWAYS, "AVX512F", unmet},
	{L7, 0, EBX, 18, PASS, ALWAYS, "RDSEED", user},
	{L7, 0, EBX, 19, PASS, ALWAYS, "ADX", user},
	{L7, 0, EBX, 20, PASS, ALWAYS, "SMAP", "STAC and CLAC are translated, the machine's SMAP binds ring 1"},
	{L7, 0, EBX, 23, PASS, ALWAYS, "CLFLUSHOPT", user},
	{L7, 0, EBX, 24, PASS, ALWAYS, "CLWB", user},
	{L7, 0, EBX, 25, HIDE, ALWAYS, "PT", "no processor trace"},
	{L7, 0, EBX, 29, PASS, ALWAYS, "SHA", user},
	{L7, 0, ECX, 2, PASS, ALWAYS, "UMIP", "on in the machine, so that ring 3 traps"},
	{L7, 0, ECX, 3, HIDE, ALWAYS, "PKU", "PKRU is not switched"},
	{L7, 0, ECX, 7, HIDE, ALWAYS, "SHSTK", "CR4.CET stays 0"},
	{L7, 0, ECX, 8, PASS, ALWAYS, "GFNI", user},
	{L7, 0, ECX, 9, PASS, AVX, "VAES", user},
	{L7, 0, ECX, 10, PASS, AVX, "VPCLMULQDQ", user},
	{L7, 0, ECX, 16, HIDE, ALWAYS, "LA57", "four levels are shadowed"},
	{L7, 0, ECX, 22, PASS, ALWAYS, "RDPID", "the machine's TSC_AUX is the guest's while it runs"},
	{L7, 0, ECX, 31, HIDE, ALWAYS, "PKS", "no supervisor keys"},
	{L7, 0, EDX, 4, PASS, ALWAYS, "FSRM", user},
	{L7, 0, EDX, 10, HIDE, ALWAYS, "MD_CLEAR", "the hypervisor's own exits decide; VERW in the guest is harmless"},
	{L7, 0, EDX, 20, HIDE, ALWAYS, "IBT", "CR4.CET stays 0"},
	{L7, 0, EDX, 26, HIDE, ALWAYS, "SPEC_CTRL", spec},
	{L7, 0, EDX, 27, HIDE, ALWAYS, "STIBP", spec},
	{L7, 0, EDX, 29, PASS, ARCHCAP, "ARCH_CAPABILITIES", "only to say what the CPU is not vulnerable to"},
	{L7, 0, EDX, 31, HIDE, ALWAYS, "SSBD", spec},
	{L7, 1, EAX, 17, HIDE, ALWAYS, "FRED", "events go through the gate's IDT"},

	{0xd, 1, EAX, 0, PASS, XSAVE, "XSAVEOPT", user},
	{0xd, 1, EAX, 1, PASS, XSAVE, "XSAVEC", user},
	{0xd, 1, EAX, 2, PASS, XSAVE, "XGETBV1", "reads the machine's XINUSE, which is the guest's"},
	{0xd, 1, EAX, 3, HIDE, ALWAYS, "XSAVES", "privileged and needs IA32_XSS"},

	{KVM_FEATURES, 0, EAX, 0, SET, KVM, "KVM_CLOCKSOURCE", "the clock by its old MSRs"},
	{KVM_FEATURES, 0, EAX, 1, SET, KVM, "KVM_NOP_IO_DELAY", "devices here need no pause: spares an exit per delay"},
	{KVM_FEATURES, 0, EAX, 2, HIDE, ALWAYS, "KVM_MMU_OP", "obsolete"},
	{KVM_FEATURES, 0, EAX, 3, SET, KVM, "KVM_CLOCKSOURCE2",
	 "tells the TSC's frequency: no calibration against timers"},
	{KVM_FEATURES, 0, EAX, 4, HIDE, ALWAYS, "KVM_ASYNC_PF", "nothing is paged out behind the guest's back"},
	{KVM_FEATURES, 0, EAX, 5, SET, KVM, "KVM_STEAL_TIME", "what the VM waits for a CPU is no process's time"},
	{KVM_FEATURES, 0, EAX, 6, SET, KVM, "KVM_PV_EOI", "the end of most interrupts without an exit"},
	{KVM_FEATURES, 0, EAX, 7, HIDE, ALWAYS, "KVM_PV_UNHALT", "one CPU: no lock holder to wait for"},
	{KVM_FEATURES, 0, EAX, 9, HIDE, ALWAYS, "KVM_PV_TLB_FLUSH", "one CPU"},
	{KVM_FEATURES, 0, EAX, 11, HIDE, ALWAYS, "KVM_PV_SEND_IPI", "one CPU"},
	{KVM_FEATURES, 0, EAX, 12, HIDE, ALWAYS, "KVM_POLL_CONTROL", "HLT does not poll here"},
	{KVM_FEATURES, 0, EAX, 15, HIDE, ALWAYS, "KVM_MSI_EXT_DEST_ID", "no MSI"},
	{KVM_FEATURES, 0, EAX, 24, SET, KVM, "KVM_CLOCKSOURCE_STABLE", "one TSC, which all VMs share, never stopped"},

	{EXT, 0, ECX, 0, PASS, ALWAYS, "LAHF_LM", user},
	{EXT, 0, ECX, 1, HIDE, ALWAYS, "CMP_LEGACY", "one CPU, one core"},
	{EXT, 0, ECX, 2, HIDE, ALWAYS, "SVM", virt},
	{EXT, 0, ECX, 5, PASS, ALWAYS, "ABM", user},
	{EXT, 0, ECX, 6, PASS, ALWAYS, "SSE4A", user},
	{EXT, 0, ECX, 7, PASS, ALWAYS, "MISALIGNSSE", user},
	{EXT, 0, ECX, 8, PASS, ALWAYS, "3DNOWPREFETCH", user},
	{EXT, 0, ECX, 9, HIDE, ALWAYS, "OSVW", "errata are the hypervisor's business"},
	{EXT, 0, ECX, 11, PASS, AVX, "XOP", user},
	{EXT, 0, ECX, 16, PASS, AVX, "FMA4", user},
	{EXT, 0, ECX, 21, PASS, ALWAYS, "TBM", user},
	{EXT, 0, ECX, 22, HIDE, ALWAYS, "TOPOEXT", "one CPU, one core"},
	{EXT, 0, ECX, 23, HIDE, ALWAYS, "PERFCTR_CORE", "no performance counters"},
	{EXT, 0, ECX, 29, HIDE, ALWAYS, "MWAITX", "as MONITOR"},
	{EXT, 0, EDX, 0, PASS, ALWAYS, "FPU", amd_copy},
	{EXT, 0, EDX, 2, PASS, ALWAYS, "DE", amd_copy},
	{EXT, 0, EDX, 3, PASS, ALWAYS, "PSE", amd_copy},
	{EXT, 0, EDX, 4, PASS, ALWAYS, "TSC", amd_copy},
	{EXT, 0, EDX, 5, PASS, ALWAYS, "MSR", amd_copy},
	{EXT, 0, EDX, 6, PASS, ALWAYS, "PAE", amd_copy},
	{EXT, 0, EDX, 7, PASS, ALWAYS, "MCE", amd_copy},
	{EXT, 0, EDX, 8, PASS, ALWAYS, "CX8", amd_copy},
	{EXT, 0, EDX, 9, PASS, LAPIC_ON, "APIC", amd_copy},
	{EXT, 0, EDX, 11, PASS, ALWAYS, "SYSCALL", "lands in the gate"},
	{EXT, 0, EDX, 12, PASS, ALWAYS, "MTRR", amd_copy},
	{EXT, 0, EDX, 13, PASS, ALWAYS, "PGE", amd_copy},
	{EXT, 0, EDX, 14, PASS, ALWAYS, "MCA", amd_copy},
	{EXT, 0, EDX, 15, PASS, ALWAYS, "CMOV", amd_copy},
	{EXT, 0, EDX, 16, PASS, ALWAYS, "PAT", amd_copy},
	{EXT, 0, EDX, 17, PASS, ALWAYS, "PSE36", amd_copy},
	{EXT, 0, EDX, 20, PASS, ALWAYS, "NX", "EFER.NXE is virtual, shadow pages by role"},
	{EXT, 0, EDX, 22, PASS, ALWAYS, "MMXEXT", user},
	{EXT, 0, EDX, 23, PASS, ALWAYS, "MMX", amd_copy},
	{EXT, 0, EDX, 24, PASS, ALWAYS, "FXSR", amd_copy},
	{EXT, 0, EDX, 25, HIDE, ALWAYS, "FXSR_OPT", "EFER.FFXSR stays 0"},
	{EXT, 0, EDX, 26, PASS, ALWAYS, "PDPE1GB", "shadowed by smaller pages"},
	{EXT, 0, EDX, 27, PASS, ALWAYS, "RDTSCP", "the machine's TSC_AUX is the guest's while it runs"},
	{EXT, 0, EDX, 29, PASS, ALWAYS, "LM", "what this is for"},
	{EXT, 0, EDX, 30, PASS, ALWAYS, "3DNOWEXT", user},
	{EXT, 0, EDX, 31, PASS, ALWAYS, "3DNOW", user},

	{0x80000007, 0, EDX, 8, SET, ALWAYS, "INVARIANT_TSC", "the hypervisor keeps its own time by this TSC"},
	{0x80000008, 0, EBX, 0, HIDE, ALWAYS, "CLZERO", "a store that the emulator does not know"},
	{0x80000008, 0, EBX, 2, PASS, XSAVE, "XSAVEERPTR", user},
	{0x80000008, 0, EBX, 12, HIDE, ALWAYS, "IBPB", spec},
};

// --- CPUID ---

#define BASIC_MAX 0xd
#define EXTENDED_LEAF 0x80000000
#define EXTENDED_MAX 0x80000008
#define XSAVE_LEGACY_SIZE 576
#define XCR0_KNOWN (XCR0_X87 | XCR0_SSE | XCR0_AVX)
#define LINEAR_BITS 48

struct view {
	const struct cpuid_policy_config *c;
	cpuid_host_fn host;
	void *ctx;
	const struct x86_cpu *cpu;
};

static void ask(const struct view *v, u32 leaf, u32 subleaf, u32 out[4])
{
	u32 max[4];

	memset(out, 0, 4 * sizeof(*out));
	v->host(v->ctx, leaf & EXTENDED_LEAF, 0, max);
	if (leaf <= max[EAX])
		v->host(v->ctx, leaf, subleaf, out);
}

static u64 allowed_xcr0(const struct view *v)
{
	u32 leaf1[4], leafd[4];

	ask(v, 1, 0, leaf1);
	if (!v->c->xcr0 || !(leaf1[ECX] & BIT(26)))
		return 0;
	ask(v, 0xd, 0, leafd);
	return (v->c->xcr0 | XCR0_X87 | XCR0_SSE) & XCR0_KNOWN & leafd[EAX];
}

static bool met(const struct view *v, enum need need)
{
	switch (need) {
	case ALWAYS:
		return true;
	case XSAVE:
		return allowed_xcr0(v) != 0;
	case AVX:
		return allowed_xcr0(v) & XCR0_AVX;
	case X2APIC:
		return v->c->x2apic;
	case DEADLINE:
		return v->c->tsc_deadline;
	case ARCHCAP:
		return v->c->arch_capabilities != 0;
	case LAPIC_ON:
		return v->cpu->apic_base & BIT(11);
	case KVM:
		return v->c->kvm;
	case PCIDS:
		return v->c->pcid;
	case OSXSAVE_ON:
		return v->cpu->cr4 & CR4_OSXSAVE;
	}
	return false;
}

static void feature_bits(const struct view *v, u32 leaf, u32 subleaf, u32 out[4])
{
	u32 host[4];

	ask(v, leaf, subleaf, host);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		const struct cpuid_bit *b = &bits[i];
		u32 bit = 1u << b->bit;

		if (b->leaf != leaf || b->subleaf != subleaf || b->action == HIDE)
			continue;
		if ((b->action == SET || (host[b->reg] & bit)) && met(v, b->need))
			out[b->reg] |= bit;
	}
}

static void leaf_1(const struct view *v, u32 out[4])
{
	u32 host[4];

	ask(v, 1, 0, host);
	feature_bits(v, 1, 0, out);
	out[EAX] = host[EAX];
	out[EBX] = (host[EBX] & 0xff00) | 1 << 16 | v->c->apic_id << 24; // CLFLUSH size, one logical CPU
}

// Intel's cache leaf: caches as they are, shared by one CPU.
static void leaf_4(const struct view *v, u32 subleaf, u32 out[4])
{
	ask(v, 4, subleaf, out);
	out[EAX] &= 0x3fff;
}

// Size of an XSAVE area that holds `components`; compacted: without gaps.
static u32 xsave_size(const struct view *v, u64 components, bool compacted)
{
	u32 size = XSAVE_LEGACY_SIZE, part[4];

	for (unsigned i = 2; i < 63; i++) {
		if (!(components & BIT(i)))
			continue;
		ask(v, 0xd, i, part);
		if (compacted)
			size = (part[ECX] & 2 ? ROUND_UP(size, 64u) : size) + part[EAX];
		else
			size = MAX(size, part[EBX] + part[EAX]);
	}
	return size;
}

static void leaf_d(const struct view *v, u32 subleaf, u32 out[4])
{
	u64 allowed = allowed_xcr0(v);

	if (!allowed)
		return;
	if (subleaf == 0) {
		out[EAX] = (u32)allowed;
		out[EDX] = (u32)(allowed >> 32);
		out[EBX] = xsave_size(v, v->cpu->xcr0 & allowed, false);
		out[ECX] = xsave_size(v, allowed, false);
	} else if (subleaf == 1) {
		feature_bits(v, 0xd, 1, out);
		out[EBX] = out[EAX] & 2 ? xsave_size(v, v->cpu->xcr0 & allowed, true) : 0;
	} else if (subleaf < 63 && (allowed & BIT(subleaf))) {
		ask(v, 0xd, subleaf, out);
	}
}

static void extended(const struct view *v, u32 leaf, u32 out[4])
{
	u32 host[4];

	ask(v, leaf, 0, host);
	switch (leaf) {
	case EXTENDED_LEAF:
		memcpy(out, host, sizeof(host));
		out[EAX] = MIN(host[EAX], EXTENDED_MAX);
		break;
	case EXT:
		feature_bits(v, leaf, 0, out);
		out[EAX] = host[EAX];
		break;
	case 0x80000002 ... 0x80000006: // brand, caches and TLBs
		memcpy(out, host, sizeof(host));
		break;
	case 0x80000007:
		feature_bits(v, leaf, 0, out);
		break;
	case 0x80000008:
		feature_bits(v, leaf, 0, out);
		out[EAX] = (host[EAX] & 0xff) | LINEAR_BITS << 8;
		break;
	}
}

static void signature(u32 max, const char *text, u32 out[4])
{
	out[EAX] = max;
	memcpy(&out[EBX], text, 12);
}

// Linux looks for KVM at each multiple of 0x100 from 0x40000000 on.
static void hypervisor(const struct view *v, u32 leaf, u32 out[4])
{
	u32 ours = v->c->kvm ? HYPERVISOR_LEAF_2 : HYPERVISOR_LEAF;

	if (leaf == ours)
		signature(ours, HYPERVISOR_SIGNATURE, out);
	else if (leaf == HYPERVISOR_LEAF)
		signature(KVM_FEATURES, KVM_SIGNATURE, out);
	else if (leaf == KVM_FEATURES)
		feature_bits(v, leaf, 0, out);
}

static void basic(const struct view *v, u32 leaf, u32 subleaf, u32 out[4])
{
	switch (leaf) {
	case 0:
		v->host(v->ctx, 0, 0, out);
		out[EAX] = MIN(out[EAX], BASIC_MAX);
		break;
	case 1:
		leaf_1(v, out);
		break;
	case 2: // Intel's cache descriptors
		ask(v, 2, 0, out);
		break;
	case 4:
		leaf_4(v, subleaf, out);
		break;
	case 7:
		if (subleaf == 0)
			feature_bits(v, 7, 0, out);
		break;
	case 0xd:
		leaf_d(v, subleaf, out);
		break;
	}
}

void cpuid_policy(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx, u32 leaf, u32 subleaf,
		  const struct x86_cpu *cpu, u32 out[4])
{
	struct view v = {.c = c, .host = host, .ctx = ctx, .cpu = cpu};
	u32 max[4];

	memset(out, 0, 4 * sizeof(*out));
	if (leaf >= HYPERVISOR_LEAF && leaf < EXTENDED_LEAF) {
		hypervisor(&v, leaf, out);
	} else if (leaf >= EXTENDED_LEAF) {
		extended(&v, leaf, out);
	} else if (leaf <= BASIC_MAX) {
		host(ctx, 0, 0, max);
		if (leaf <= max[EAX])
			basic(&v, leaf, subleaf, out);
	}
}

u64 cpuid_policy_xcr0(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx)
{
	struct view v = {.c = c, .host = host, .ctx = ctx};

	return allowed_xcr0(&v);
}

u64 cpuid_policy_cr4(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx, const struct x86_cpu *cpu)
{
	static const struct {
		u32 leaf;
		u8 reg, bit;
		u64 cr4;
	} gates[] = {
		{1, EDX, 2, CR4_DE},        {1, EDX, 3, CR4_PSE},         {1, EDX, 4, CR4_TSD},
		{1, EDX, 6, CR4_PAE},       {1, EDX, 7, CR4_MCE},         {1, EDX, 13, CR4_PGE},
		{1, EDX, 24, CR4_OSFXSR},   {1, EDX, 25, CR4_OSXMMEXCPT}, {1, ECX, 26, CR4_OSXSAVE},
		{L7, EBX, 0, CR4_FSGSBASE}, {L7, EBX, 7, CR4_SMEP},       {L7, EBX, 20, CR4_SMAP},
		{L7, ECX, 2, CR4_UMIP},     {1, ECX, 17, CR4_PCIDE},
	};
	u64 mask = CR4_PCE; // virtual: RDPMC faults all the same
	u32 out[4];

	for (unsigned i = 0; i < ARRAY_SIZE(gates); i++) {
		cpuid_policy(c, host, ctx, gates[i].leaf, 0, cpu, out);
		if (out[gates[i].reg] >> gates[i].bit & 1)
			mask |= gates[i].cr4;
	}
	return mask;
}

// --- MSRs ---

enum msr_kind {
	FAULT,    // #GP; rows of this kind only explain
	STATE,    // in struct x86_cpu, checked
	CONSTANT, // reads as the row's value, writes are ignored
	READONLY, // reads as the row's value, writes fault
	CALLER,   // answered before it comes here; #GP when not
	CLOCK,    // reads are the caller's, writes are ignored
};

struct msr_row {
	u32 first, last;
	enum msr_kind kind;
	u64 value;
	const char *name, *reason;
};

#define MSR_MTRR_DEF_TYPE 0x2ff
#define MSR_MISC_ENABLE 0x1a0
#define MSR_MC0_CTL 0x400
#define WB_EACH 0x0606060606060606ull
#define MTRR_CAPS 0x508 // 8 variable ranges, fixed ranges, write-combining: as QEMU's
#define HWCR_TSC_FREQ_SEL BIT(24)
#define UCODE_REVISION 0x0000000101000065ull // AMD reads the low half, Intel the high one
#define MCG_CAP_BANKS 10
#define MCG_CTL_P BIT(8)
#define LFENCE_SERIALIZES BIT(1)

static const char quiet[] = "Linux reads or sets it unchecked: silence as on a machine without it";

static const struct msr_row msrs[] = {
	{0x0, 0x1, CONSTANT, 0, "P5_MC_ADDR, P5_MC_TYPE", quiet},
	{0x10, 0x10, CLOCK, 0, "TSC", "native; it cannot be set without shifting every guest's"},
	{0x11, 0x12, CALLER, 0, "KVM_WALL_CLOCK, KVM_SYSTEM_TIME", "the platform's clock, by configuration"},
	{0x17, 0x17, READONLY, 0, "PLATFORM_ID", quiet},
	{0x1b, 0x1b, CALLER, 0, "APIC_BASE", "the virtual LAPIC's"},
	{0x3a, 0x3a, READONLY, 1, "FEATURE_CONTROL", "locked, everything off: no VMX"},
	{0x3b, 0x3b, CONSTANT, 0, "TSC_ADJUST", "the TSC is the machine's and cannot be shifted"},
	{0x48, 0x49, FAULT, 0, "SPEC_CTRL, PRED_CMD", "hidden in CPUID"},
	{0x8b, 0x8b, CONSTANT, UCODE_REVISION, "PATCH_LEVEL", "a revision; Linux clears it before it reads it (Intel)"},
	{0xfe, 0xfe, READONLY, MTRR_CAPS, "MTRRCAP", "as QEMU's"},
	{0x10a, 0x10a, CALLER, 0, "ARCH_CAPABILITIES", "by configuration"},
	{0x174, 0x176, STATE, 0, "SYSENTER_*", "kept, without effect: SEP is hidden"},
	{0x179, 0x179, READONLY, MCG_CTL_P | MCG_CAP_BANKS, "MCG_CAP", "ten banks, as QEMU's"},
	{0x17a, 0x17a, CONSTANT, 0, "MCG_STATUS", "never a machine check"},
	{0x17b, 0x17b, CONSTANT, ~0ull, "MCG_CTL", "all banks on"},
	{0x1a0, 0x1a0, STATE, 1, "MISC_ENABLE", "kept, without effect; fast strings at reset, no MONITOR"},
	{0x1d9, 0x1d9, CONSTANT, 0, "DEBUGCTL", "no branch records, no block step"},
	{0x1db, 0x1de, READONLY, 0, "LASTBRANCH*", "no branch records"},
	{0x200, 0x20f, CONSTANT, 0, "MTRR_PHYS*", "no variable range in use; caching is the machine's"},
	{0x250, 0x250, CONSTANT, WB_EACH, "MTRR_FIX64K", "RAM"},
	{0x258, 0x258, CONSTANT, WB_EACH, "MTRR_FIX16K_80000", "RAM"},
	{0x259, 0x259, CONSTANT, 0, "MTRR_FIX16K_A0000", "the VGA hole is uncached"},
	{0x268, 0x26f, CONSTANT, WB_EACH, "MTRR_FIX4K", "firmware tables in RAM"},
	{0x277, 0x277, STATE, 0, "PAT", "virtual; types are checked"},
	{0x2ff, 0x2ff, STATE, 0, "MTRR_DEF_TYPE", "write-back by default"},
	{0x400, 0x400 + 4 * MCG_CAP_BANKS - 1, STATE, 0, "MCi_*", "kept; banks that never report"},
	{0x6e0, 0x6e0, CALLER, 0, "TSC_DEADLINE", "the virtual LAPIC's, by configuration"},
	{0x800, 0x8ff, CALLER, 0, "x2APIC", "the virtual LAPIC's, by configuration"},
	{0xda0, 0xda0, FAULT, 0, "XSS", "XSAVES is hidden"},
	{0x4b564d00, 0x4b564d01, CALLER, 0, "KVM_WALL_CLOCK_NEW, KVM_SYSTEM_TIME_NEW",
	 "the platform's clock, by configuration"},
	{0x4b564d03, 0x4b564d03, CALLER, 0, "KVM_STEAL_TIME", "the scheduler's account, by configuration"},
	{0x4b564d04, 0x4b564d04, CALLER, 0, "KVM_PV_EOI_EN", "the virtual LAPIC's, by configuration"},
	{0xc0000080, 0xc0000084, STATE, 0, "EFER STAR LSTAR CSTAR SFMASK", "the guest's system call entry"},
	{0xc0000100, 0xc0000103, STATE, 0, "FS_BASE GS_BASE KERNEL_GS_BASE TSC_AUX", "the guest's"},
	{0xc0010000, 0xc0010007, CONSTANT, 0, "K7 performance counters", "AMD has them without a CPUID bit: they never count"},
	{0xc0010010, 0xc0010010, CONSTANT, 0, "SYSCFG", quiet},
	{0xc0010015, 0xc0010015, CONSTANT, HWCR_TSC_FREQ_SEL, "HWCR", "the TSC counts at the P0 frequency"},
	{0xc0010016, 0xc001001a, CONSTANT, 0, "IORR*, TOP_MEM", quiet},
	{0xc001001d, 0xc001001d, CONSTANT, 0, "TOP_MEM2", quiet},
	{0xc001001f, 0xc001001f, CONSTANT, 0, "NB_CFG", quiet},
	{0xc0010055, 0xc0010055, CONSTANT, 0, "INT_PENDING_MSG", quiet},
	{0xc0010058, 0xc0010058, CONSTANT, 0, "MMIO_CONF_BASE", "no memory-mapped configuration space"},
	{0xc0010114, 0xc0010114, READONLY, BIT(4), "VM_CR", "SVM disabled"},
	{0xc0011020, 0xc0011020, FAULT, 0, "LS_CFG", "else Linux would switch SSBD by it"},
	{0xc0011022, 0xc0011023, CONSTANT, 0, "DC_CFG, BU_CFG", quiet},
	{0xc0011029, 0xc0011029, CONSTANT, LFENCE_SERIALIZES, "DE_CFG", "LFENCE serializes, so that Linux prefers it"},
};

static const struct msr_row *find(u32 msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msr >= msrs[i].first && msr <= msrs[i].last)
			return &msrs[i];
	return NULL;
}

// Where a STATE MSR lives, or NULL.
static u64 *state_slot(struct x86_cpu *cpu, u32 msr)
{
	if (msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + ARRAY_SIZE(cpu->mce))
		return &cpu->mce[msr - MSR_MC0_CTL];
	switch (msr) {
	case MSR_MISC_ENABLE:
		return &cpu->misc_enable;
	case MSR_SYSENTER_CS:
		return &cpu->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &cpu->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &cpu->sysenter_eip;
	case MSR_PAT:
		return &cpu->pat;
	case MSR_MTRR_DEF_TYPE:
		return &cpu->mtrr_def;
	case MSR_EFER:
		return &cpu->efer;
	case MSR_STAR:
		return &cpu->star;
	case MSR_LSTAR:
		return &cpu->lstar;
	case MSR_CSTAR:
		return &cpu->cstar;
	case MSR_SFMASK:
		return &cpu->sfmask;
	case MSR_FS_BASE:
		return &cpu->seg[SEG_FS].base;
	case MSR_GS_BASE:
		return &cpu->seg[SEG_GS].base;
	case MSR_KERNEL_GS_BASE:
		return &cpu->kernel_gs_base;
	case MSR_TSC_AUX:
		return &cpu->tsc_aux;
	}
	return NULL;
}

bool policy_rdmsr(const struct x86_cpu *cpu, u32 msr, u64 *value)
{
	const struct msr_row *row = find(msr);

	if (!row)
		return false;
	switch (row->kind) {
	case STATE:
		*value = *state_slot((struct x86_cpu *)cpu, msr);
		return true;
	case CONSTANT:
	case READONLY:
		*value = row->value;
		return true;
	case CALLER:
	case CLOCK:
	case FAULT:
		break;
	}
	return false;
}

// Memory types 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, and in the PAT 7 UC-.
static bool memory_type(u8 type, bool pat)
{
	return type <= 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool valid_pat(u64 value)
{
	for (unsigned i = 0; i < 8; i++)
		if (!memory_type((u8)(value >> i * 8), true))
			return false;
	return true;
}

// EFER: LMA follows LME and paging, never a write; LME is fixed while paging is on.
static bool new_efer(const struct x86_cpu *cpu, u64 *value)
{
	if (*value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return false;
	if ((cpu->cr0 & CR0_PG) && ((*value ^ cpu->efer) & EFER_LME))
		return false;
	*value = (*value & ~EFER_LMA) | (cpu->efer & EFER_LMA);
	return true;
}

// A bank's CTL is all or nothing (Linux leaves bit 10 or bit 0 out on some AMD CPUs), its STATUS can only be cleared.
static bool valid_bank(unsigned reg, u64 value)
{
	if (reg == 0)
		return value == 0 || (value | BIT(10) | 1) == ~0ull;
	return reg != 1 || value == 0;
}

// Checks a STATE write and brings it into the form that is stored.
static bool acceptable(const struct x86_cpu *cpu, u32 msr, u64 *value)
{
	if (msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + ARRAY_SIZE(cpu->mce))
		return valid_bank(msr & 3, *value);
	switch (msr) {
	case MSR_EFER:
		return new_efer(cpu, value);
	case MSR_PAT:
		return valid_pat(*value);
	case MSR_MTRR_DEF_TYPE:
		return !(*value & ~0xcffull) && memory_type((u8)*value, false);
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP:
		return is_canonical(*value);
	case MSR_SFMASK:
	case MSR_SYSENTER_CS:
	case MSR_TSC_AUX:
		*value &= 0xffffffff;
		return true;
	}
	return true;
}

bool policy_wrmsr(struct x86_cpu *cpu, u32 msr, u64 value)
{
	const struct msr_row *row = find(msr);

	if (!row)
		return false;
	switch (row->kind) {
	case STATE:
		if (!acceptable(cpu, msr, &value))
			return false;
		*state_slot(cpu, msr) = value;
		return true;
	case CONSTANT:
	case CLOCK:
		return true;
	case READONLY:
	case CALLER:
	case FAULT:
		break;
	}
	return false;
}

bool cpuid_policy_row(unsigned index, struct policy_row *row)
{
	static const char *const actions[] = {"hide", "pass", "set"};
	const struct cpuid_bit *b;

	if (index >= ARRAY_SIZE(bits))
		return false;
	b = &bits[index];
	*row = (struct policy_row){b->leaf, b->subleaf, b->reg, b->bit, b->name, actions[b->action], b->reason};
	return true;
}

bool msr_policy_row(unsigned index, struct policy_row *row)
{
	static const char *const kinds[] = {"fault", "state", "constant", "read-only", "caller", "clock"};
	const struct msr_row *m;

	if (index >= ARRAY_SIZE(msrs))
		return false;
	m = &msrs[index];
	*row = (struct policy_row){m->first, m->last, 0, 0, m->name, kinds[m->kind], m->reason};
	return true;
}
