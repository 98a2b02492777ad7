// SPDX-License-Identifier: MIT
// mmuext_op: tables pinned and let go, pages filled, and what is refused.
#include "tests/guests/pv/harness/pv.h"

static void test_tables(void)
{
	u64 *l1 = page(1), *data = page(2);

	l1[3] = leaf(data, KERNEL_RW);
	check(ext(MMUEXT_PIN_L1_TABLE, mfn_of(l1), 0) < 0, "pinned while it can be written", 0);
	check(!pin(l1, 1), "pin", 0);
	check(pin(l1, 1) < 0 && ext(MMUEXT_PIN_L2_TABLE, mfn_of(l1), 0) < 0, "pinned twice", 0);
	check(remap(l1, KERNEL_RW) < 0, "a table can be mapped writable", 0);
	check(store(mfn_of(l1), 3, leaf(l1, KERNEL_RW)) < 0, "a table maps itself writable", 0);
	check(!store(mfn_of(l1), 3, leaf(l1, KERNEL_RO)) && !store(mfn_of(l1), 3, 0), "a table maps itself", 0);
	check(ext(MMUEXT_CLEAR_PAGE, mfn_of(l1), 0) < 0 && ext(MMUEXT_COPY_PAGE, mfn_of(l1), mfn_of(data)) < 0,
	      "a table is filled", 0);
	check(!unpin(l1) && unpin(l1) < 0, "unpin", 0);
	check(!remap(l1, KERNEL_RW), "it can be written again", 0);
	for (u64 mfn = 0; mfn < 64; mfn++) // somebody else's: the hypervisor's image is low
		check(store(mfn, 0, 0) < 0 && ext(MMUEXT_PIN_L1_TABLE, mfn, 0) < 0 &&
			      ext(MMUEXT_CLEAR_PAGE, mfn, 0) < 0 && ext(MMUEXT_COPY_PAGE, mfn_of(data), mfn) < 0 &&
			      CALL(update_va_mapping, data, mfn << PAGE_SHIFT | KERNEL_RO, 0) < 0,
		      "a frame of others", mfn);
	for (unsigned bit = 0; bit < 52; bit++)
		check(store(1ull << bit, 5, 0) < 0 || is_own(1ull << bit), "a frame that is none", bit);
}

static void test_mmuext(void)
{
	u64 *a = page(1), *b = page(2), mfn = mfn_of(a), root = mfn_of((void *)start_info->pt_base);

	check(ext(99, 0, 0) < 0 && CALL(mmuext_op, GATE_TRUST, 1, 0, DOMID_SELF) < 0, "command", 0);
	for (unsigned cmd = MMUEXT_PIN_L1_TABLE; cmd <= MMUEXT_UNMARK_SUPER; cmd++) {
		struct mmuext_op op = {.cmd = cmd};

		op.arg1.mfn = mfn;
		check(CALL(mmuext_op, &op, 1, 0, 5) < 0 && CALL(mmuext_op, &op, 1, 0, DOMID_IO) < 0, "of others", cmd);
	}
	a[0] = 5, b[0] = 6;
	check(!ext(MMUEXT_COPY_PAGE, mfn, mfn_of(b)) && a[0] == 6, "copy", a[0]);
	check(!ext(MMUEXT_CLEAR_PAGE, mfn, 0) && !a[0], "clear", a[0]);
	check(ext(MMUEXT_CLEAR_PAGE, root, 0) < 0 && ext(MMUEXT_COPY_PAGE, root, mfn) < 0, "the root", 0);
	check(ext(MMUEXT_NEW_BASEPTR, mfn, 0) < 0 && ext(MMUEXT_NEW_USER_BASEPTR, mfn, 0) < 0,
	      "a root that can be written", 0);
	check(ext(MMUEXT_NEW_BASEPTR, 0, 0) < 0 && ext(MMUEXT_NEW_BASEPTR, ~0ull, 0) < 0 &&
		      ext(MMUEXT_NEW_USER_BASEPTR, ~0ull, 0) < 0,
	      "a root that is none", 0);
	check(ext(MMUEXT_MARK_SUPER, mfn & ~511ull, 0) < 0 && ext(MMUEXT_FLUSH_CACHE, 0, 0) < 0, "for who has devices",
	      0);
	check(ext(MMUEXT_TLB_FLUSH_MULTI, 0, UNCANONICAL) < 0 && !ext(MMUEXT_TLB_FLUSH_ALL, 0, 0), "flush", 0);
	for (unsigned level = 2; level <= 4; level++) {
		a[7] = leaf(b, TABLE); // which can be written
		check(pin(a, level) < 0, "a table with a page that can be written", level);
		check(!remap(a, KERNEL_RW), "it is none", level);
	}
	a[7] = 0;
}

const struct pv_case cases[] = {
	{"tables", test_tables, false},
	{"mmuext", test_mmuext, false},
	{0},
};
