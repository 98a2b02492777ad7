// SPDX-License-Identifier: MIT
// set_gdt and update_descriptor: pages of descriptors, and what one may say.
#include "tests/guests/pv/harness/pv.h"

static void test_gdt(void)
{
	static const u64 wrong[] = {0x00cf8c000008ffff, 0x0000ee0000100000, 0x0000890000000067, 0x0000820000000fff};
	u64 *gdt = page(1), *rw = page(2), list[1] = {mfn_of(gdt)}, at = mfn_of(gdt) << PAGE_SHIFT;

	gdt[2] = 0x00cf92000000ffff;
	check(CALL(set_gdt, list, 14 * 512 + 1) < 0 && CALL(set_gdt, list, ~0u) < 0, "too many", 0);
	check(CALL(set_gdt, list, 512) < 0, "a table that can be written", 0);
	check(CALL(set_gdt, UNCANONICAL, 16) < 0, "a list that is none", 0);
	check(!remap(gdt, KERNEL_RO) && !CALL(set_gdt, list, 16), "set", 0);
	check(remap(gdt, KERNEL_RW) < 0 && store(mfn_of(gdt), 3, 0) < 0 && ext(MMUEXT_CLEAR_PAGE, mfn_of(gdt), 0) < 0 &&
		      ext(MMUEXT_PIN_L1_TABLE, mfn_of(gdt), 0) < 0,
	      "written past the call", 0);
	check(!attempt(load_fs, 2 * 8) && attempt(load_fs, 3 * 8) == CAME(VEC_GP), "what is in it", 0);
	check(!CALL(update_descriptor, at | 24, 0x00cf92000000ffff) && !attempt(load_fs, 3 * 8), "one more", 0);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		check(CALL(update_descriptor, at | 32, wrong[i]) < 0 && !gdt[4], "a descriptor that may not be",
		      wrong[i]);
		check(CALL(update_descriptor, mfn_of(rw) << PAGE_SHIFT, wrong[i]) < 0 && !rw[0], "and in any page",
		      wrong[i]);
	}
	check(CALL(update_descriptor, at | 4, 0) < 0, "within one", 0);
	check(CALL(update_descriptor, mfn_of((void *)start_info->pt_base) << PAGE_SHIFT | 8, 0) < 0, "in a page table",
	      0);
	for (u64 mfn = 0; mfn < 64; mfn++)
		check(is_own(mfn) || (CALL(update_descriptor, mfn << PAGE_SHIFT, 0) < 0 && CALL(set_gdt, &mfn, 8) < 0),
		      "a frame of others", mfn);
	check(attempt(load_fs, 16 * 8) == CAME(VEC_GP), "behind the end", 0);
	load_fs(0);
	check(!CALL(set_gdt, 0, 0) && attempt(load_fs, 2 * 8) == CAME(VEC_GP), "none", 0);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) { // a page that has one already
		check(!remap(gdt, KERNEL_RW), "writable", i);
		gdt[i & 1 ? 5 : 511] = wrong[i];
		check(!remap(gdt, KERNEL_RO) && CALL(set_gdt, list, 16) < 0, "in the page", wrong[i]);
		check(!remap(gdt, KERNEL_RW), "writable again", i);
		gdt[i & 1 ? 5 : 511] = 0;
		check(!remap(gdt, KERNEL_RO) && !CALL(set_gdt, list, 16) && !CALL(set_gdt, 0, 0), "not any more", i);
	}
	check(!remap(gdt, KERNEL_RW), "it can be written again", 0);
}

const struct pv_case cases[] = {
	{"descriptors", test_gdt, false},
	{0},
};
