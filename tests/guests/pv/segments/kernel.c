// SPDX-License-Identifier: MIT
// set_segment_base and the selectors of programs.
#include "tests/guests/pv/harness/pv.h"

static void test_segment_bases(void)
{
	static const u64 there[1] = {0x123456789abcdef};
	u64 was;

	check(CALL(set_segment_base, 7, 0) < 0, "which", 0);
	for (unsigned sel = 0; sel < 0x10000; sel += 0x35)
		(void)CALL(set_segment_base, SEGBASE_GS_USER_SEL, sel);
	check(!CALL(set_segment_base, SEGBASE_GS_KERNEL, there), "kernel's", 0);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(was));
	check(was == there[0], "kernel's has no effect", was);
	check(!CALL(set_segment_base, SEGBASE_FS, there), "FS", 0);
	__asm__ volatile("mov %%fs:0, %0" : "=r"(was));
	check(was == there[0], "FS has no effect", was);
	check(!CALL(set_segment_base, SEGBASE_GS_USER, there), "program's", 0);
	check(!attempt(read_msr, 0xc0000102) && msr_value == (u64)there, "program's, by MSR", msr_value);
	for (unsigned rpl = 0; rpl < 4; rpl++) { // none, but for its RPL
		check(!CALL(set_segment_base, SEGBASE_GS_USER, there), "program's again", rpl);
		check(!CALL(set_segment_base, SEGBASE_GS_USER_SEL, rpl), "a null selector", rpl);
		check(!attempt(read_msr, 0xc0000102) && !msr_value, "program's base is 0", msr_value);
		__asm__ volatile("mov %%gs:0, %0" : "=r"(was));
		check(was == there[0], "kernel's stays", was);
	}
	for (unsigned which = SEGBASE_FS; which <= SEGBASE_GS_KERNEL; which++)
		check(CALL(set_segment_base, which, 1ull << 63) < 0, "an address that is none", which);
	for (unsigned which = SEGBASE_FS; which <= SEGBASE_GS_KERNEL; which++)
		check(!CALL(set_segment_base, which, 0), "none", which);
}

// A selector of a program's that is not there leaves GS null, as under Xen.
static void test_bad_gs(void)
{
	u16 gs = 0x1234;

	check(!CALL(set_segment_base, SEGBASE_GS_USER_SEL, 0xdff3), "selector that is none", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "programs run", 0);
	__asm__ volatile("mov %%gs, %0" : "=r"(gs));
	check(!(gs & ~3u), "GS is null", gs);
}

const struct pv_case cases[] = {
	{"segment-bases", test_segment_bases, false},
	{"bad-gs", test_bad_gs, false},
	{0},
};
