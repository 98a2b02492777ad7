// SPDX-License-Identifier: MIT
// set_trap_table and what goes by it: INT n of kernel and programs, exceptions without a handler, without a stack.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static void test_ints(void)
{
	u8 *code = (u8 *)page(1);

	for (unsigned v = 0; v < 256; v++) {
		unsigned came;

		code[0] = 0xcd, code[1] = (u8)v, code[2] = 0xc3;
		came = run_user(code, RFL_IF, 0);
		check(v == 3 || v == 4 || v == 0x80 ? came == CAME(v) : came == CAME(VEC_GP), "program's INT", v);
		came = attempt(int_at, (u64)code);
		if (v == GATE_EXIT_VECTOR ||
		    v == GATE_CR3_VECTOR) // the kernel's ring may have those: an exception, and nothing
			continue;
		check(v == 3 || v == 4 || v == 0x80 ? came == CAME(v) : came == CAME(VEC_GP), "kernel's INT", v);
	}
}

// What a table may say, and up to where it is taken when it may not.
static void test_table(void)
{
	struct trap_info *t = (struct trap_info *)(page(1) + 512) - 2; // up to a page that is not there

	check(!remap(page(2), 0), "no page behind it", 0);
	t[0] = traps[0x70];
	t[0].address = (u64)stubs + 0x71 * 16;
	t[1] = traps[0x72];
	check(CALL(set_trap_table, t) == -XEN_EFAULT, "without an end", 0);
	t[1].address = UNCANONICAL;
	check(CALL(set_trap_table, t) < 0, "an address that is none", 0);
	t[1].address = 0;
	check(!CALL(set_trap_table, t), "one entry", 0);
	t[0].address = traps[0x70].address;
	check(!CALL(set_trap_table, t), "as it was", 0);
}

// The vectors that a program may use are those whose entry says so.
static void test_rings(void)
{
	u8 *code = (u8 *)page(1);

	code[0] = 0xcd, code[1] = 0x90, code[2] = 0xc3;
	for (unsigned ring = 0; ring < 4; ring++) {
		struct trap_info t[2] = {traps[0x90]};

		t[0].flags = (u8)(ring | 4);
		check(!CALL(set_trap_table, t), "set", ring);
		check(run_user(code, RFL_IF, 0) == (ring == 3 ? CAME(0x90) : CAME(VEC_GP)), "program's INT", ring);
		check(attempt(int_at, (u64)code) == (ring ? CAME(0x90) : CAME(VEC_GP)), "kernel's INT", ring);
	}
	check(!CALL(set_trap_table, traps), "as it was", 0);
}

static void no_handler(void)
{
	(void)CALL(set_trap_table, 0);
	__asm__ volatile("ud2");
}

static void no_stack(void)
{
	__asm__ volatile("mov $0x123450, %esp; shl $20, %rsp; ud2");
}

const struct pv_case cases[] = {
	{"ints", test_ints, false},       {"trap-table", test_table, false}, {"trap-rings", test_rings, false},
	{"no-handler", no_handler, true}, {"no-stack", no_stack, true},      {0},
};
