// SPDX-License-Identifier: MIT
// update_va_mapping: the entry that maps an address.
#include "tests/guests/pv/harness/pv.h"

static void test_va_mapping(void)
{
	u64 *at = page(1), *data = page(2), *l1 = page(3), rw = leaf(data, KERNEL_RW);

	data[0] = 7;
	check(!map_at(at, rw) && at[0] == 7, "map", at[0]);
	for (u64 mask = 0; mask < 4; mask++) // no flush, of the TLB, of one address
		check(CALL(update_va_mapping, at, rw, mask | UVMF_LOCAL) == 0 || mask == 3, "flush", mask);
	check(CALL(update_va_mapping, at, rw, UVMF_TLB_FLUSH | UVMF_MULTI | GATE_TRUST) < 0 || at[0] == 7,
	      "a mask elsewhere", 0);
	check(CALL(update_va_mapping_otherdomain, at, 0, 0, 5) < 0 &&
		      CALL(update_va_mapping_otherdomain, at, 0, 0, DOMID_IO) < 0,
	      "others", 0);
	check(!CALL(update_va_mapping_otherdomain, at, rw, 0, DOMID_SELF), "itself", 0);
	for (unsigned i = 1; i < NOT_OURS; i++)
		check(CALL(update_va_mapping, not_ours[i], rw, 0) < 0, "an address that is not the guest's",
		      not_ours[i]);
	check(CALL(update_va_mapping, 0x6000000000, rw, 0) < 0, "no table", 0);
	for (unsigned bit = 48; bit < 64; bit++) // the same entries, if nobody looks
		check(CALL(update_va_mapping, (u64)at | 1ull << bit, 0, 0) < 0, "an address that is none", bit);
	for (u64 mfn = 0; mfn < 64; mfn++)
		check(is_own(mfn) || map_at(at, mfn << PAGE_SHIFT | KERNEL_RO) < 0, "a frame of others", mfn);
	for (unsigned bit = 36; bit < 52; bit++)
		check(map_at(at, rw | 1ull << bit) < 0, "a frame that is none", bit);
	check(!pin(l1, 1) && map_at(at, leaf(l1, KERNEL_RW)) < 0 && at[0] == 7, "a table, writable", at[0]);
	check(!map_at(at, leaf(l1, KERNEL_RO)) && !at[0], "read-only", at[0]);
	check(!map_at(at, 0) && attempt(peek, (u64)at) == CAME(VEC_PF), "nothing", 0);
	check(!unpin(l1) && !remap(l1, KERNEL_RW), "unpin", 0);
}

const struct pv_case cases[] = {
	{"va-mapping", test_va_mapping, false},
	{0},
};
