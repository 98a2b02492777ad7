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

// The root in use follows the guest's: what is cleared there is not mapped any more.
static void test_level_4(void)
{
	u64 root = mfn_of((void *)start_info->pt_base), *l3 = page(3), *l2 = page(4), *l1 = page(5), *data = page(6);

	l1[0] = leaf(data, KERNEL_RW);
	l2[0] = leaf(l1, TABLE);
	l3[0] = leaf(l2, TABLE);
	check(!remap(l1, KERNEL_RO) && !remap(l2, KERNEL_RO) && !remap(l3, KERNEL_RO), "read-only", 0);
	for (unsigned slot = 5; slot < 512; slot += 275) { // in either half
		u64 va = slot < 256 ? (u64)slot << 39 : ~0ull << 48 | (u64)slot << 39;

		data[0] = 0;
		check(!store(root, slot, leaf(l3, TABLE)) && !attempt(poke, va) && data[0] == 0xdead, "mapped", slot);
		check(!store(root, slot, 0) && attempt(poke, va) == CAME(VEC_PF), "mapped after it is cleared", slot);
	}
}

// Programs' tables are the kernel's for a while, then their own by a pair that the gate has known: it is the hypervisor's to see.
static void test_back_from_shared(void)
{
	u64 kernel = mfn_of((void *)start_info->pt_base), *copy = page(1);
	void *code = (void *)user_syscall;

	memcpy(copy, (void *)start_info->pt_base, PAGE_SIZE);
	check(!pin(copy, 4) && !remap(code, KERNEL_RO & ~PTE_U), "a page without U", 0);
	check(!ext(MMUEXT_NEW_USER_BASEPTR, mfn_of(copy), 0) && run_user(code, RFL_IF, 0) == CAME(VEC_PF), "before", 0);
	check(!ext(MMUEXT_NEW_USER_BASEPTR, kernel, 0) && CALL(get_debugreg, 0) != 1, "shared", 0);
	check(!bases(kernel, mfn_of(copy)) && CALL(get_debugreg, 0) != 1, "its own again", 0);
	check(run_user(code, RFL_IF, 0) == CAME(VEC_PF), "a program runs a page without U", 0);
	check(!unpin(copy) && remap(copy, KERNEL_RW) < 0, "writable while in use", 0);
	check(!ext(MMUEXT_NEW_USER_BASEPTR, mfn_of(program_root), 0) && !remap(copy, KERNEL_RW) &&
		      !remap(code, KERNEL_RW),
	      "as before", 0);
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
	{"level-4", test_level_4, false},
	{"back-from-shared", test_back_from_shared, false},
	{"empty-root", empty_root, true},
	{0},
};
