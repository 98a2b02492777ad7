// SPDX-License-Identifier: MIT
// XSA-339: SYSENTER by a program with NT set was given to its kernel as an exception, by code that could give it twice: the second time with
// the kernel's own handler as the place where it came. Here it is tried with and without: one exception comes, at the program's
// SYSENTER. Then system calls with each flag, none of which may be the kernel's.
#include "tests/guests/pv/harness/pv.h"

static void test_sysenter(void)
{
	for (unsigned nt = 0; nt < 2; nt++) {
		check(run_user(user_sysenter, RFL_IF | (nt ? RFL_NT : 0), 0) > 1, "SYSENTER", nt);
		check((got.cs & 3) == 3 && got.rip >= (u64)user_sysenter && got.rip < (u64)user_sysenter + 16,
		      "where it came", got.cs);
	}
	for (u64 bit = 1; bit <= 1ull << 21; bit <<= 1)
		for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
			check(run_user(user_syscall, bit | RFL_IF, flags) > 1 && !(got.rflags & (RFL_IOPL | RFL_VM)),
			      "flag", bit);
}

const struct pv_case cases[] = {
	{"xsa-339-sysenter", test_sysenter, false},
	{0},
};
