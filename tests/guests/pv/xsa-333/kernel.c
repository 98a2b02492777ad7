// SPDX-License-Identifier: MIT
// XSA-333: accesses to MSR_MISC_ENABLE, which not every processor has, were passed on without being ready for their fault, which ended the
// machine. Here it and the MSRs about it are read and written by the kernel, with each bit: an access is refused or harmless. What is
// written may be kept for the guest, and has no effect: not on CPUID, which some of its bits change, and not on NX.
#include "tests/guests/pv/harness/pv.h"

#define MISC_ENABLE 0x1a0

static u32 cpuid_sum(void)
{
	static const u32 leaves[] = {0, 1, 7, 0x80000000, 0x80000001};
	u32 sum = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		u32 a = leaves[i], b, c = 0, d;

		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		sum = sum * 31 + a;
		sum = sum * 31 + (leaves[i] == 1 ? 0 : b); // of 1 it tells which CPU this is
		sum = sum * 31 + c;
		sum = sum * 31 + d;
	}
	return sum;
}

static void run_at(u64 code)
{
	((void (*)(void))code)();
}

static void test_misc_enable(void)
{
	u32 cpuid = cpuid_sum();
	u8 *code = (u8 *)page(1);

	code[0] = 0xc3;
	check(!map_at(code, leaf(code, KERNEL_RW | PTE_NX)) && attempt(run_at, (u64)code) == CAME(VEC_PF), "NX", 0);
	for (unsigned msr = MISC_ENABLE - 8; msr < MISC_ENABLE + 16; msr++) {
		unsigned came = attempt(read_msr, msr);
		u64 was = msr_value;

		check(!came || came == CAME(VEC_GP), "read", msr);
		for (unsigned bit = 0; bit <= 64; bit++) {
			u64 value = bit == 64 ? ~0ull : was ^ BIT(bit);
			unsigned wrote;

			msr_value = value;
			wrote = attempt(write_msr, msr);
			check(!wrote || wrote == CAME(VEC_GP), "write", msr);
			check(attempt(read_msr, msr) == came && (came || msr_value == was || msr_value == value),
			      "neither what was there nor what was written", msr_value);
			check(cpuid_sum() == cpuid, "CPUID has changed", bit);
			check(attempt(run_at, (u64)code) == CAME(VEC_PF), "NX has no effect any more", bit);
		}
		msr_value = was;
		(void)attempt(write_msr, msr);
	}
}

const struct pv_case cases[] = {
	{"xsa-333-misc-enable", test_misc_enable, false},
	{0},
};
