// SPDX-License-Identifier: MIT
// CPUID and MSR policy: the allow-list against this host's CPU and against one that has everything; MSR checks.
#include "core/x86/policy.h"

#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { EAX, EBX, ECX, EDX };

static void real_host(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	__cpuid_count(leaf, subleaf, out[EAX], out[EBX], out[ECX], out[EDX]);
}

// A CPU with every bit set.
static void full_host(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	memset(out, 0xff, 16);
	if (leaf == 0) {
		out[EAX] = 0x20;
		memcpy(&out[EBX], "AuthcAMDenti", 12);
	} else if (leaf == 0x80000000) {
		out[EAX] = 0x80000021;
	} else if (leaf == 1) {
		out[EAX] = 0x00800f12;
	} else if (leaf == 0xd && subleaf == 2) {
		out[EAX] = 256, out[EBX] = 576, out[ECX] = 0;
	}
}

static struct x86_cpu cpu;
static struct cpuid_policy_config config;

static int start(void **state)
{
	memset(&cpu, 0, sizeof(cpu));
	config = (struct cpuid_policy_config){0};
	cpu.apic_base = 0xfee00900;
	cpu.xcr0 = 1;
	cpu.pat = 0x0007040600070406;
	cpu.cr0 = CR0_PE | CR0_PG;
	cpu.efer = EFER_LME | EFER_LMA;
	return 0;
}

static void full(u32 leaf, u32 subleaf, u32 out[4])
{
	cpuid_policy(&config, full_host, NULL, leaf, subleaf, &cpu, out);
}

static void identity(void **state)
{
	u32 mine[4], host[4];

	for (u32 leaf = 0x80000002; leaf <= 0x80000004; leaf++) {
		cpuid_policy(&config, real_host, NULL, leaf, 0, &cpu, mine);
		real_host(NULL, leaf, 0, host);
		assert_memory_equal(mine, host, 16);
	}
	cpuid_policy(&config, real_host, NULL, 0, 0, &cpu, mine);
	real_host(NULL, 0, 0, host);
	assert_memory_equal(mine + 1, host + 1, 12);
	assert_true(mine[EAX] <= 0xd);
	cpuid_policy(&config, real_host, NULL, 1, 0, &cpu, mine);
	real_host(NULL, 1, 0, host);
	assert_int_equal(mine[EAX], host[EAX]);
	full(0x40000000, 0, mine);
	assert_int_equal(mine[EAX], 0x40000000);
	assert_memory_equal(mine + 1, HYPERVISOR_SIGNATURE, 12);
}

// KVM's leaves come first where they are offered; ours move up. No other leaf of the range says anything.
static void kvm_leaves(void **state)
{
	u32 out[4];

	full(KVM_FEATURES, 0, out);
	assert_int_equal(out[EAX], 0);
	config.kvm = true;
	full(HYPERVISOR_LEAF, 0, out);
	assert_int_equal(out[EAX], KVM_FEATURES);
	assert_memory_equal(out + 1, "KVMKVMKVM\0\0\0", 12);
	full(KVM_FEATURES, 0, out);
	assert_int_equal(out[EAX], BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(6) | BIT(24));
	assert_int_equal(out[EBX] | out[ECX] | out[EDX], 0);
	full(HYPERVISOR_LEAF_2, 0, out);
	assert_int_equal(out[EAX], HYPERVISOR_LEAF_2);
	assert_memory_equal(out + 1, HYPERVISOR_SIGNATURE, 12);
	for (u32 leaf = HYPERVISOR_LEAF + 2; leaf < HYPERVISOR_LEAF + 0x400; leaf++) {
		full(leaf, 0, out);
		if (leaf != HYPERVISOR_LEAF_2)
			assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	}
}

// Feature bits never exceed the machine's but for those that the virtual platform provides itself.
static void never_more_than_the_host(void **state)
{
	static const u32 leaves[][2] = {{1, 0}, {7, 0}, {7, 1}, {0x80000001, 0}, {0x80000007, 0}, {0xd, 1}};
	u32 mine[4], host[4];

	config.xcr0 = XCR0_AVX;
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		cpuid_policy(&config, real_host, NULL, leaves[i][0], leaves[i][1], &cpu, mine);
		real_host(NULL, leaves[i][0], leaves[i][1], host);
		if (leaves[i][0] == 1) {
			host[ECX] |= 1u << 31;
			host[EDX] |= 1u << 9;
		}
		host[EDX] |= leaves[i][0] == 0x80000007 ? 1u << 8 : 0;
		assert_int_equal(mine[ECX] & ~host[ECX], 0);
		assert_int_equal(mine[EDX] & ~host[EDX], 0);
		if (leaves[i][0] == 7)
			assert_int_equal(mine[EBX] & ~(host[EBX] | 2), 0);
	}
}

static void hidden(void **state)
{
	static const struct {
		u32 leaf, sub, reg, bit;
	} must[] = {
		{1, 0, ECX, 3},           {1, 0, ECX, 5},   {1, 0, ECX, 17},         {1, 0, ECX, 21},
		{1, 0, ECX, 24},          {1, 0, ECX, 26},  {1, 0, ECX, 28},         {1, 0, EDX, 28},
		{7, 0, EBX, 10},          {7, 0, EBX, 16},  {7, 0, ECX, 3},          {7, 0, ECX, 7},
		{7, 0, ECX, 16},          {7, 0, EDX, 20},  {7, 0, EDX, 26},         {7, 0, EDX, 29},
		{7, 1, EAX, 17},          {0xd, 1, EAX, 3}, {0x80000001, 0, ECX, 2}, {0x80000001, 0, ECX, 22},
		{0x80000008, 0, EBX, 12},
	};
	u32 out[4];

	for (unsigned i = 0; i < ARRAY_SIZE(must); i++) {
		full(must[i].leaf, must[i].sub, out);
		if (out[must[i].reg] >> must[i].bit & 1)
			fail_msg("leaf %x.%u register %u bit %u shows", must[i].leaf, must[i].sub, must[i].reg,
				 must[i].bit);
	}
	// Leaves that nobody allowed are zero.
	for (u32 leaf = 0; leaf < 0x40; leaf++) {
		full(leaf, 0, out);
		if (leaf > 7 || leaf == 3 || leaf == 5 || leaf == 6)
			assert_true(!(out[EAX] | out[EBX] | out[ECX] | out[EDX]));
	}
	full(0x8000001f, 0, out);
	assert_true(!(out[EAX] | out[EBX] | out[ECX] | out[EDX]));
}

static void one_cpu(void **state)
{
	u32 out[4];

	config.apic_id = 3;
	full(1, 0, out);
	assert_int_equal(out[EBX] >> 24, 3);
	assert_int_equal(out[EBX] >> 16 & 0xff, 1);
	full(4, 0, out);
	assert_int_equal(out[EAX] >> 14, 0);
	full(0x80000008, 0, out);
	assert_int_equal(out[ECX], 0);
	assert_int_equal(out[EAX] >> 8, 48);
}

static void guest_state_bits(void **state)
{
	u32 out[4];

	full(1, 0, out);
	assert_true(out[EDX] & BIT(9));
	assert_false(out[ECX] & BIT(27));
	cpu.apic_base = 0xfee00100;
	cpu.cr4 = CR4_OSXSAVE;
	config.xcr0 = XCR0_AVX;
	config.x2apic = config.tsc_deadline = true;
	config.arch_capabilities = 1;
	full(1, 0, out);
	assert_false(out[EDX] & BIT(9));
	assert_true(out[ECX] & BIT(27));
	assert_true((out[ECX] & BIT(21)) && (out[ECX] & BIT(24)) && (out[ECX] & BIT(28)));
	full(7, 0, out);
	assert_true(out[EDX] & BIT(29));
}

static void xsave(void **state)
{
	u32 out[4];

	full(0xd, 0, out);
	assert_true(!(out[EAX] | out[EBX] | out[ECX] | out[EDX]));
	assert_true(cpuid_policy_xcr0(&config, full_host, NULL) == 0);
	assert_false(cpuid_policy_cr4(&config, full_host, NULL, &cpu) & CR4_OSXSAVE);
	config.xcr0 = XCR0_AVX | BIT(5) | BIT(9);
	assert_true(cpuid_policy_xcr0(&config, full_host, NULL) == 7);
	full(0xd, 0, out);
	assert_int_equal(out[EAX], 7);
	assert_int_equal(out[EBX], 576);
	assert_int_equal(out[ECX], 832);
	cpu.xcr0 = 7;
	full(0xd, 0, out);
	assert_int_equal(out[EBX], 832);
	full(0xd, 1, out);
	assert_int_equal(out[EAX], 7);
	assert_int_equal(out[EBX], 832);
	full(0xd, 5, out);
	assert_true(!(out[EAX] | out[EBX] | out[ECX] | out[EDX]));
}

static void cr4_mask(void **state)
{
	u64 mask = cpuid_policy_cr4(&config, full_host, NULL, &cpu);

	assert_true(mask & CR4_SMEP && mask & CR4_SMAP && mask & CR4_FSGSBASE && mask & CR4_UMIP && mask & CR4_PGE);
	assert_false(mask & (CR4_PCIDE | CR4_LA57 | CR4_PKE | CR4_OSXSAVE | CR4_VME | BIT(13) | BIT(23)));
}

// PCID and INVPCID are the platform's own: both or none, whatever the machine has.
static void pcid(void **state)
{
	u32 out[4];

	for (unsigned on = 0; on < 2; on++) {
		config.pcid = on;
		full(1, 0, out);
		assert_int_equal(out[ECX] >> 17 & 1, on);
		full(7, 0, out);
		assert_int_equal(out[EBX] >> 10 & 1, on);
		assert_int_equal((cpuid_policy_cr4(&config, full_host, NULL, &cpu) & CR4_PCIDE) != 0, on);
	}
}

static void rows_are_explained(void **state)
{
	struct policy_row row, other;
	unsigned n = 0;

	for (; cpuid_policy_row(n, &row); n++) {
		assert_true(row.bit < 32 && row.reg < 4 && row.name[0] && row.reason[0]);
		for (unsigned i = 0; i < n; i++) {
			cpuid_policy_row(i, &other);
			assert_false(row.first == other.first && row.last == other.last && row.reg == other.reg &&
				     row.bit == other.bit);
		}
	}
	assert_true(n > 100);
	for (n = 0; msr_policy_row(n, &row); n++) {
		assert_true(row.first <= row.last && row.name[0] && row.reason[0]);
		if (n > 0) {
			msr_policy_row(n - 1, &other);
			assert_true(other.last < row.first); // sorted, disjoint
		}
	}
	assert_true(n > 30);
}

static u64 rd(u32 msr)
{
	u64 v = 0;

	assert_true(policy_rdmsr(&cpu, msr, &v));
	return v;
}

static void msr_state(void **state)
{
	static const u32 canonical[] = {MSR_LSTAR,   MSR_CSTAR,          MSR_FS_BASE,
					MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_SYSENTER_EIP};

	for (unsigned i = 0; i < ARRAY_SIZE(canonical); i++) {
		assert_true(policy_wrmsr(&cpu, canonical[i], 0xffff800000001000 + i));
		assert_true(rd(canonical[i]) == 0xffff800000001000 + i);
		assert_false(policy_wrmsr(&cpu, canonical[i], 0x8000000000000000));
		assert_true(rd(canonical[i]) == 0xffff800000001000 + i);
	}
	assert_true(cpu.seg[SEG_GS].base == 0xffff800000001003);
	assert_true(policy_wrmsr(&cpu, MSR_STAR, 0x0023001000000000));
	assert_true(rd(MSR_STAR) == 0x0023001000000000);
}

static void msr_efer(void **state)
{
	assert_true(policy_wrmsr(&cpu, MSR_EFER, EFER_SCE | EFER_LME | EFER_NXE)); // LMA cannot be written
	assert_true(rd(MSR_EFER) == (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
	assert_false(policy_wrmsr(&cpu, MSR_EFER, EFER_SCE));           // LME off under paging
	assert_false(policy_wrmsr(&cpu, MSR_EFER, EFER_LME | BIT(12))); // SVME
	assert_false(policy_wrmsr(&cpu, MSR_EFER, EFER_LME | BIT(14)));
	cpu.cr0 = CR0_PE;
	cpu.efer = 0;
	assert_true(policy_wrmsr(&cpu, MSR_EFER, EFER_LME));
	assert_true(cpu.efer == EFER_LME);
}

static void msr_pat_and_mtrr(void **state)
{
	assert_true(policy_wrmsr(&cpu, MSR_PAT, 0x0407050600070106));
	assert_false(policy_wrmsr(&cpu, MSR_PAT, 0x0407050600070206));
	assert_true(rd(MSR_PAT) == 0x0407050600070106);
	assert_true(policy_wrmsr(&cpu, 0x2ff, 0xc06));
	assert_false(policy_wrmsr(&cpu, 0x2ff, 0xc07));
	assert_false(policy_wrmsr(&cpu, 0x2ff, 0x1c06));
	assert_true(rd(0xfe) == 0x508);
	assert_false(policy_wrmsr(&cpu, 0xfe, 0));
	assert_true(policy_wrmsr(&cpu, 0x200, 0x1234) && rd(0x200) == 0);
	assert_true(rd(0x26f) == 0x0606060606060606);
}

// What Linux 6.1 reads without the safe accessors on AMD and Intel CPUs.
static void msr_quiet(void **state)
{
	static const u32 quiet[] = {0x8b,       0x17,       0xfe,       0x179,      0x17a,      0x1a0,      0x1d9,
				    0x200,      0x250,      0x2ff,      0x400,      0x427,      0xc0010010, 0xc0010015,
				    0xc001001a, 0xc001001d, 0xc001001f, 0xc0010055, 0xc0010058, 0xc0011029};
	static const u32 absent[] = {0x48,       0x49,       0x10a, 0x802,      0x6e0,     0xda0,
				     0xc0010008, 0xc0011020, 0x428, 0x4b564d00, 0x12345678};
	u64 v;

	for (unsigned i = 0; i < ARRAY_SIZE(quiet); i++)
		rd(quiet[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_false(policy_rdmsr(&cpu, absent[i], &v));
		assert_false(policy_wrmsr(&cpu, absent[i], 0));
	}
	assert_true(rd(0xc0010015) & BIT(24));
	assert_true(policy_wrmsr(&cpu, MSR_TSC, 5)); // ignored
}

static void msr_fuzz(void **state)
{
	struct policy_row row;
	u64 v;

	srand(1);
	for (unsigned i = 0; i < 200000; i++) {
		msr_policy_row((unsigned)rand() % 40, &row);
		v = (u64)rand() << (unsigned)rand() % 34;
		policy_wrmsr(&cpu, row.first + (unsigned)rand() % 20, v);
		policy_rdmsr(&cpu, row.first + (unsigned)rand() % 20, &v);
		assert_true(is_canonical(cpu.lstar) && is_canonical(cpu.kernel_gs_base));
		assert_true((cpu.efer & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(identity, start),
		cmocka_unit_test_setup(kvm_leaves, start),
		cmocka_unit_test_setup(pcid, start),
		cmocka_unit_test_setup(never_more_than_the_host, start),
		cmocka_unit_test_setup(hidden, start),
		cmocka_unit_test_setup(one_cpu, start),
		cmocka_unit_test_setup(guest_state_bits, start),
		cmocka_unit_test_setup(xsave, start),
		cmocka_unit_test_setup(cr4_mask, start),
		cmocka_unit_test_setup(rows_are_explained, start),
		cmocka_unit_test_setup(msr_state, start),
		cmocka_unit_test_setup(msr_efer, start),
		cmocka_unit_test_setup(msr_pat_and_mtrr, start),
		cmocka_unit_test_setup(msr_quiet, start),
		cmocka_unit_test_setup(msr_fuzz, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
