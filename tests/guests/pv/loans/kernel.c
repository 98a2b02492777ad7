// SPDX-License-Identifier: MIT
// Page tables that the kernel is lent while it writes them in rows, by stores or mmu_update.
#include "tests/guests/pv/harness/pv.h"

static void test_rows(void)
{
	volatile u64 *a = page(1);
	u64 mfn = mfn_of((void *)a), value = leaf(page(3), KERNEL_RW), read_only[8];
	u64 itself = leaf((void *)a, KERNEL_RW), root = leaf((void *)start_info->pt_base, KERNEL_RW);

	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++)
		read_only[i] =
			leaf(page(4 + i), KERNEL_RO); // with hypercalls: none in what follows, they would end the row
	check(!pin((void *)a, 1), "pin", 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 40; i++)
			a[i] = i & 1 ? value : read_only[i % 8];
		for (unsigned i = 0; i < 40; i++)
			check(a[i] == (i & 1 ? value : read_only[i % 8]), "stored", i);
		for (unsigned i = 40; i < 80; i++)
			check(!store(mfn, i, value) && a[i] == value, "updated", i);
		// It is lent now: what is refused is refused all the same.
		check(store(mfn, 100, itself) < 0 && !a[100], "itself, writable", a[100]);
		for (unsigned i = 80; i < 84; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 100, root) < 0 && !a[100], "the root, writable", a[100]);
		for (unsigned i = 84; i < 88; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 101, 1ull << PAGE_SHIFT | KERNEL_RO) < 0 && !a[101], "a frame of others", a[101]);
		for (unsigned i = 88; i < 92; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 101, 1ull << 51 | KERNEL_RO) < 0 && !a[101], "reserved bits", a[101]);
		for (unsigned i = 0; i < 92; i++)
			a[i] = 0;
		check(!ext(MMUEXT_INVLPG_LOCAL, 0, 0), "flush", 0);
		for (unsigned i = 0; i < 110; i++)
			check(!a[i], "cleared", a[i]);
	}
	check(!unpin((void *)a) && !remap((void *)a, KERNEL_RW), "unpin", 0);
	check(!remap(page(3), KERNEL_RO) && !remap(page(3), KERNEL_RW), "what it held", 0);
}

// An entry that is refused, in a row of stores: too late for a fault.
static void bad_row(void)
{
	volatile u64 *a = page(1);
	u64 itself = leaf((void *)a, KERNEL_RW);

	check(!pin((void *)a, 1), "pin", 0);
	for (unsigned i = 0; i < 10; i++)
		a[i] = i == 9 ? itself : 0;
	(void)unpin((void *)a);
	check(false, "a table maps itself writable", a[9]);
}

const struct pv_case cases[] = {
	{"rows", test_rows, false},
	{"bad-row", bad_row, true},
	{0},
};
