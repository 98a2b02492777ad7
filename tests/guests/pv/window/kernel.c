// SPDX-License-Identifier: MIT
// The window: what the gate has for mmu_update, pages by their machine address that are no tables, and what is known of frames.
#include "tests/guests/pv/harness/pv.h"

static void test_window(void)
{
	u64 *a = page(1), mfn = mfn_of(a), at = PV_WINDOW_BASE + (mfn << PAGE_SHIFT);

	check(attempt(poke, PV_TYPES_BASE + mfn * 4) == CAME(VEC_PF) && attempt(poke, PV_TYPES_FRAMES) == CAME(VEC_PF),
	      "types are written", 0);
	for (u64 i = 0; i < 4; i++)
		check(!store(mfn, 3, 4 * i) && a[3] == 4 * i, "a page that is no table", a[3]);
	(void)attempt(poke, at + 8 * 4);
	check(a[4] == 0xdead || a[4] == 0, "by its machine address", a[4]);
	memset(a, 0, PAGE_SIZE);
	check(!pin(a, 1), "pin", 0);
	check(attempt(poke, at) == CAME(VEC_PF) && !a[0], "a table by its machine address", a[0]);
	for (u64 frame = 0; frame < 4096; frame++) // others'
		check(((u64 *)MACH2PHYS_VIRT_START)[frame] != ~0ull ||
			      attempt(peek, PV_WINDOW_BASE + (frame << PAGE_SHIFT)) == CAME(VEC_PF),
		      "a frame of others", frame);
	check(!unpin(a) && !remap(a, KERNEL_RW), "unpin", 0);
}

const struct pv_case cases[] = {
	{"window", test_window, false},
	{0},
};
