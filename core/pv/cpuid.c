// SPDX-License-Identifier: MIT
// CPUID for a paravirtual kernel, which asks by a prefix of its own (Xen's arch-x86/cpuid.h): the policy of all guests, less what ring 1
// and the guest's own page tables cannot have, and Xen's leaves.
#include "core/pv/guest.h"

#include "base/string.h"

#define XEN_VERSION (4u << 16 | 17)
#define XEN_LAST_LEAF (HYPERVISOR_LEAF + 5)
#define MSR_HYPERCALL_PAGE 0x40000000
#define FEATURE_PRESERVE_AD 1
#define EXTENDED_FEATURES 0x80000001
#define PHYSICAL_ADDRESS 0x80000008

// Large pages, global pages, MTRRs; MONITOR, PCID, x2APIC, the LAPIC's timer; protections that are about ring 0.
static const struct {
	u32 leaf;
	u8 reg; // eax 0 ... edx 3
	u32 hidden;
} hidden[] = {
	{1, 3, 1u << 1 | 1u << 3 | 1u << 12 | 1u << 13 | 1u << 17},
	{1, 2, 1u << 3 | 1u << 17 | 1u << 21 | 1u << 24},
	{7, 1, 1u << 7 | 1u << 10 | 1u << 20},
	{7, 2, 1u << 2 | 1u << 3 | 1u << 4 | 1u << 7 | 1u << 16},
	{7, 3, 1u << 20},
	{EXTENDED_FEATURES, 3, 1u << 1 | 1u << 3 | 1u << 12 | 1u << 13 | 1u << 17 | 1u << 26},
};

static void xen_leaf(u32 leaf, u32 address_bits, u32 out[4])
{
	memset(out, 0, 4 * sizeof(*out));
	switch (leaf) {
	case HYPERVISOR_LEAF:
		out[0] = XEN_LAST_LEAF;
		memcpy(&out[1], "XenVMMXenVMM", 12);
		break;
	case HYPERVISOR_LEAF + 1:
		out[0] = XEN_VERSION;
		break;
	case HYPERVISOR_LEAF + 2:
		out[0] = 1;
		out[1] = MSR_HYPERCALL_PAGE;
		out[2] = FEATURE_PRESERVE_AD;
		break;
	case HYPERVISOR_LEAF + 5:
		out[0] = address_bits;
		break;
	default:
		break;
	}
}

void pv_cpuid_policy(cpuid_host_fn host, void *ctx, u32 leaf, u32 subleaf, const struct x86_cpu *cpu, u32 out[4])
{
	static const struct cpuid_policy_config config = {0};

	if (leaf >= HYPERVISOR_LEAF && leaf < EXTENDED_FEATURES - 1) {
		u32 width[4];

		cpuid_policy(&config, host, ctx, PHYSICAL_ADDRESS, 0, cpu, width);
		xen_leaf(leaf, width[0] & 0xff, out);
		return;
	}
	cpuid_policy(&config, host, ctx, leaf, subleaf, cpu, out);
	for (unsigned i = 0; i < ARRAY_SIZE(hidden); i++)
		if (hidden[i].leaf == leaf && (leaf != 7 || !subleaf))
			out[hidden[i].reg] &= ~hidden[i].hidden;
}
