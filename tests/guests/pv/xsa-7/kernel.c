// SPDX-License-Identifier: MIT
// XSA-7: Intel's SYSRET checks RIP while still in ring 0 and with the program's RSP, so that a return to an address that is none gave the
// program a fault in ring 0 on a stack of its choice. Here the kernel returns by both ways of iret, with events masked and not, to
// addresses that are none; and a program makes a system call with the last two bytes of the lower half. (QEMU's SYSRET faults in ring 3,
// as AMD's does: there the first part shows less than on a processor of Intel's.)
#include "tests/guests/pv/harness/pv.h"

static void test_sysret(void)
{
	static const u64 bad[] = {UNCANONICAL, 0xffff7fffffffffff, 1ull << 63, UNCANONICAL + 0x1000, 0x8000000000000};
	u64 *l3 = page(1), *l2 = page(2), *l1 = page(3);
	u8 *code = (u8 *)page(4);
	u64 root = mfn_of((void *)start_info->pt_base);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
			for (unsigned masked = 0; masked < 2; masked++)
				check(run_user((void *)bad[i], masked ? 0 : RFL_IF, flags) > 1, "it ran", bad[i]);
	code[4094] = 0x0f, code[4095] = 0x05;
	l1[511] = leaf(code, KERNEL_RO | PTE_U);
	l2[511] = leaf(l1, TABLE | PTE_U);
	l3[511] = leaf(l2, TABLE | PTE_U);
	check(!remap(l1, KERNEL_RO) && !remap(l2, KERNEL_RO) && !remap(l3, KERNEL_RO) &&
		      !store(root, 255, leaf(l3, TABLE | PTE_U)),
	      "map", 0);
	check(run_user((void *)(UNCANONICAL - 2), RFL_IF, 0) != 0, "SYSCALL at the end", 0);
	if (got.vector == CAME_SYSCALL)
		check(run_user((void *)got.rip, RFL_IF, IN_SYSCALL) > 1, "and back", got.rip);
	check(!store(root, 255, 0), "unmap", 0);
}

const struct pv_case cases[] = {
	{"xsa-7-sysret", test_sysret, false},
	{0},
};
