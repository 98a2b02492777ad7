// SPDX-License-Identifier: MIT
// What an unmodified guest sees of the CPU: CPUID by an allow-list (one table, a reason per bit) and MSRs by one table of
// ranges. Vendor, family, model and brand are the machine's own.
#ifndef CORE_X86_POLICY_H
#define CORE_X86_POLICY_H

#include "core/x86/cpu.h"

#define HYPERVISOR_SIGNATURE "TrapezeTrapz"
#define KVM_SIGNATURE "KVMKVMKVM\0\0\0"
#define HYPERVISOR_LEAF 0x40000000 // KVM's where it is offered, ours then at HYPERVISOR_LEAF_2
#define HYPERVISOR_LEAF_2 0x40000100
#define KVM_FEATURES 0x40000001
#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)

struct cpuid_policy_config {
	u32 apic_id;
	bool x2apic;       // LAPIC offers x2APIC mode
	bool tsc_deadline; // LAPIC offers the TSC deadline timer
	bool pcid;         // offer PCID and INVPCID, whether the machine has them or not
	bool kvm;          // the platform offers KVM's clock, silent EOI and stolen time
	u64 xcr0;          // XSAVE components the guest may use (0: no XSAVE); limited further by the machine's
	u64 arch_capabilities; // nonzero: leaf 7 shows MSR 0x10a with this value (Intel: spares guests needless page-table isolation)
};

// The machine's CPUID; out: eax ebx ecx edx.
typedef void (*cpuid_host_fn)(void *ctx, u32 leaf, u32 subleaf, u32 out[4]);

// Guest's view. cpu gives OSXSAVE (CR4), XCR0 and the APIC's enable bit.
void cpuid_policy(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx, u32 leaf, u32 subleaf,
		  const struct x86_cpu *cpu, u32 out[4]);
// Bits that the guest may set in CR4 and XCR0 under this policy.
u64 cpuid_policy_cr4(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx, const struct x86_cpu *cpu);
u64 cpuid_policy_xcr0(const struct cpuid_policy_config *c, cpuid_host_fn host, void *ctx);

// MSRs. The caller answers those that are not state of *cpu before it comes here: the LAPIC's (platform_rdmsr()), reads of
// the TSC, ARCH_CAPABILITIES where the configuration shows it. False: #GP(0). A write changes *cpu only when it is valid;
// side effects (EFER, FS and GS bases on the machine) are the caller's.
bool policy_rdmsr(const struct x86_cpu *cpu, u32 msr, u64 *value);
bool policy_wrmsr(struct x86_cpu *cpu, u32 msr, u64 value);

// For documentation and tests: every row as text. Returns false past the last row.
struct policy_row {
	u32 first, last; // leaf and subleaf, or MSR range
	unsigned reg, bit;
	const char *name, *action, *reason;
};
bool cpuid_policy_row(unsigned index, struct policy_row *row);
bool msr_policy_row(unsigned index, struct policy_row *row);

#endif
