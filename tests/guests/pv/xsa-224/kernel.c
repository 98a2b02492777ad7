// SPDX-License-Identifier: MIT
// XSA-224: a grant mapped for the device and for the host and taken away by two calls gave back more uses of its page than it had. A page
// that somebody could still write was free to become a page table. Here a page that the kernel has mapped writable, too, is
// granted, mapped and unmapped in every order, twice, and by wrong names: it must be in use until the kernel's own mapping is gone.
#include "tests/guests/pv/harness/pv.h"

static bool may_be_table(void *p)
{
	bool yes = !ext(MMUEXT_PIN_L1_TABLE, mfn_of(p), 0);

	if (yes)
		check(!unpin(p), "unpin", 0);
	return yes;
}

static void test_grant_counts(void)
{
	u64 *data = page(1), *at = page(2), *elsewhere = page(3), bus = mfn_of(data) << PAGE_SHIFT;
	u32 h = 0;

	if (!set_up_grants())
		return;
	for (unsigned order = 0; order < 4; order++) {
		u64 value = 2 * order + 2; // no present entry, if it were a table

		offer(10, data, 0);
		check(!remap(at, 0), "free address", 0);
		check(!grant_map(10, (u64)at, GNTMAP_host_map | GNTMAP_device_map, &h), "map", order);
		at[7] = value;
		check(data[7] == value, "it is the page", data[7]);
		check(grant_unmap(h, (u64)elsewhere, 0) != 0, "another address", order);
		check(grant_unmap(h + 1000, (u64)at, 0) != 0 && grant_unmap(~0u, (u64)at, 0) != 0, "another handle",
		      order);
		if (order == 1)
			check(!grant_unmap(h, 0, bus) && !grant_unmap(h, (u64)at, 0), "device first", order);
		else if (order == 3)
			check(!grant_unmap(h, (u64)at, 0) && !grant_unmap(h, 0, bus), "host first", order);
		else
			check(!grant_unmap(h, (u64)at, bus), "both", order);
		check(grant_unmap(h, (u64)at, 0) != 0 && grant_unmap(h, 0, bus) != 0, "twice", order);
		check(!(grant_table[10].flags & (GTF_reading | GTF_writing)), "in use after all",
		      grant_table[10].flags);
		grant_table[10].flags = 0;
		check(!may_be_table(data), "a table, and the kernel can write it", order);
	}
	check(!remap(data, KERNEL_RO) && may_be_table(data), "a use is left", 0);
}

// The uses of one mapping at a time: while any of them is there, the page is no table.
static void test_grant_device(void)
{
	u64 *data = page(1), *at = page(2), bus = mfn_of(data) << PAGE_SHIFT;
	u32 h = 0;

	if (!set_up_grants())
		return;
	offer(10, data, 0);
	check(!remap(at, 0) && !grant_map(10, (u64)at, GNTMAP_host_map | GNTMAP_device_map, &h), "map", 0);
	check(!remap(data, KERNEL_RO) && !may_be_table(data), "with both", 0);
	check(!grant_unmap(h, (u64)at, 0) && !may_be_table(data), "with the device's", 0);
	check(!grant_unmap(h, 0, bus) && may_be_table(data), "with none", 0);
	grant_table[10].flags = 0;
}

const struct pv_case cases[] = {
	{"xsa-224-grant-counts", test_grant_counts, false},
	{"xsa-224-grant-device", test_grant_device, false},
	{0},
};
