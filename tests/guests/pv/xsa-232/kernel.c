// SPDX-License-Identifier: MIT
// XSA-232: GNTTABOP_cache_flush took a machine address, and used the grant table of whoever has that page: for pages that are of no guest
// there is none. Here it is asked for frames of the guest's own, of others, of nobody and beyond the machine's memory, before there
// is a table and after: it may be done for the guest's own only.
#include "tests/guests/pv/harness/pv.h"

static s64 flush(u64 bus, unsigned offset, unsigned length, unsigned op)
{
	struct gnttab_cache_flush c = {.offset = (u16)offset, .length = (u16)length, .op = op};

	c.a.dev_bus_addr = bus;
	return CALL(grant_table_op, GNTTABOP_cache_flush, &c, 1);
}

static void flush_all(void)
{
	u64 own = mfn_of(page(1)) << PAGE_SHIFT;

	for (unsigned op = 1; op < 4; op++) { // invalidate, clean, both
		check(!flush(own, 0, 64, op), "own page", op);
		check(flush(own, 4090, 64, op) < 0 && flush(own, 4096, 1, op) < 0 && flush(own, 0xffff, 0xffff, op) < 0,
		      "behind its end", op);
		for (u64 mfn = 0; mfn < 256; mfn++)
			check(is_own(mfn) || flush(mfn << PAGE_SHIFT, 0, 64, op) < 0, "a frame of others", mfn);
		for (unsigned bit = 12; bit < 64; bit++)
			check(flush(~0ull << bit, 0, 1, op) < 0 &&
				      (flush(1ull << bit, 0, 1, op) < 0 || is_own((1ull << bit) >> PAGE_SHIFT)),
			      "cache", bit);
	}
	check(flush(own, 0, 64, 4) < 0 && flush(own, 0, 64, GNTTAB_CACHE_SOURCE_GREF | GNTTAB_CACHE_CLEAN) < 0,
	      "what to do", 0);
}

static void test_cache_flush(void)
{
	flush_all();
	if (set_up_grants())
		flush_all();
}

const struct pv_case cases[] = {
	{"xsa-232-cache-flush", test_cache_flush, false},
	{0},
};
