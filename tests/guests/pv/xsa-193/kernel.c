// SPDX-License-Identifier: MIT
// XSA-193: FS and GS bases that are no addresses were written with instructions that fault on them, in the hypervisor: set_segment_base and
// WRMSR by the guest's kernel ended the machine. Both are tried with each base; what is refused must change nothing.
#include "tests/guests/pv/harness/pv.h"

static const u64 bad_bases[] = {0x800000000000, 0xffff7fffffffffff, 1ull << 63, 0x7fffffffffffffff};

static void test_bases(void)
{
	for (unsigned msr = 0xc0000100; msr <= 0xc0000102; msr++) {
		u64 was;

		check(!attempt(read_msr, msr), "read", msr);
		was = msr_value;
		for (unsigned i = 0; i < ARRAY_SIZE(bad_bases); i++) {
			check(CALL(set_segment_base, msr - 0xc0000100, bad_bases[i]) < 0, "call", bad_bases[i]);
			msr_value = bad_bases[i];
			check(attempt(write_msr, msr) == CAME(VEC_GP), "MSR", msr);
		}
		check(!attempt(read_msr, msr) && msr_value == was, "it has changed", msr_value);
	}
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "programs run", 0);
}

const struct pv_case cases[] = {
	{"xsa-193-bases", test_bases, false},
	{0},
};
