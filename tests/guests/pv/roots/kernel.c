// SPDX-License-Identifier: MIT
// Pairs of roots, kernel's and programs', that the gate changes between by itself; and a root without the kernel's code.
#include "tests/guests/pv/harness/pv.h"

static s64 bases(u64 kernel, u64 user)
{
	struct mmuext_op op[2] = {{.cmd = MMUEXT_NEW_BASEPTR}, {.cmd = MMUEXT_NEW_USER_BASEPTR}};

	op[0].arg1.mfn = kernel;
	op[1].arg1.mfn = user;
	return CALL(mmuext_op, op, 2, 0, DOMID_SELF);
}

// Pairs of roots that the gate comes to know, in use, and when they are tables no more.
static void test_pairs(void)
{
	u64 *root = (u64 *)start_info->pt_base, first = mfn_of(root), *kernel = page(1), *user = page(2);

	memcpy(kernel, root, PAGE_SIZE);
	for (unsigned slot = 256; slot <= 271; slot++)
		kernel[slot] = 0;
	check(!pin(kernel, 4) && !pin(user, 4), "pin", 0);
	for (unsigned i = 0; i < 8; i++)
		check(!bases(mfn_of(kernel), mfn_of(user)) && !bases(first, 0), "change", i);
	check(!bases(mfn_of(kernel), mfn_of(user)) && unpin(kernel) == 0 && remap(kernel, KERNEL_RW) < 0,
	      "writable while in use", 0);
	check(!bases(first, 0) && !remap(kernel, KERNEL_RW), "writable", 0);
	check(bases(mfn_of(kernel), mfn_of(user)) < 0, "no table any more", 0);
	check(!pin(kernel, 4), "pin again", 0);
	for (unsigned i = 0; i < 4; i++)
		check(!bases(mfn_of(kernel), mfn_of(user)) && !bases(first, 0), "change again", i);
	check(!unpin(user) && !remap(user, KERNEL_RW) && bases(mfn_of(kernel), mfn_of(user)) < 0, "user's no more", 0);
	check(!bases(first, first) && !unpin(kernel) && !remap(kernel, KERNEL_RW), "unpin; programs as before", 0);
}

// A root that does not have this code.
static void empty_root(void)
{
	u64 *l4 = page(1);

	(void)remap(l4, KERNEL_RO);
	(void)ext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0);
	(void)CALL(xen_version, 0, 0);
}

const struct pv_case cases[] = {
	{"pairs", test_pairs, false},
	{"empty-root", empty_root, true},
	{0},
};
