// SPDX-License-Identifier: MIT
// memory_op: pages that come and go, what is told of them, and what a guest may not ask for.
#include "tests/guests/pv/harness/pv.h"

static s64 reservation(unsigned cmd, u64 *list, u64 n, unsigned order, unsigned mem_flags)
{
	struct xen_memory_reservation r = {.nr_extents = n,
					   .extent_order = order,
					   .mem_flags = mem_flags,
					   .domid = DOMID_SELF};

	r.extent_start.p = (void *)list;
	return CALL(memory_op, cmd, &r);
}

static void test_reservation(void)
{
	u64 *p = page(1), mfn = mfn_of(p), list[1] = {mfn};

	memset(p, 0x5a, PAGE_SIZE);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 0, "a page that is mapped goes", 0);
	check(!remap(p, 0), "unmap", 0);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 1, "a page goes", 0);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 0, "it goes twice", 0);
	check(CALL(update_va_mapping, p, mfn << PAGE_SHIFT | KERNEL_RW, 0) < 0, "it is still mapped", 0);
	for (unsigned order = 9; order < 64; order += 11)
		check(reservation(XENMEM_increase_reservation, list, 1, order, 0) <= 0, "large extents", order);
	list[0] = (u64)p >> PAGE_SHIFT;
	check(reservation(XENMEM_populate_physmap, list, 1, 0, 0) == 1, "a page comes", 0);
	((u64 *)start_info->mfn_list)[(u64)p >> PAGE_SHIFT] = list[0];
	p = (u64 *)((u64)p & ~PAGE_MASK);
	check(!remap(p, KERNEL_RW), "it can be mapped", list[0]);
	for (unsigned i = 0; i < 512; i++)
		if (!check(!p[i], "it is not empty", p[i]))
			break;
	check(reservation(XENMEM_increase_reservation, list, 1, 0, 0) == 0, "more than at the start", 0);
}

static s64 count(unsigned cmd, domid_t dom)
{
	return CALL(memory_op, cmd, &dom);
}

static void test_memory_op(void)
{
	struct xen_machphys_mapping m = {0};
	u64 map[8] = {0};
	struct xen_memory_map e820 = {.nr_entries = 3};
	u64 list[2] = {mfn_of(page(1)), mfn_of(page(2))};

	check(count(XENMEM_current_reservation, DOMID_SELF) == (s64)start_info->nr_pages &&
		      count(XENMEM_maximum_reservation, DOMID_SELF) >= (s64)start_info->nr_pages,
	      "pages", (u64)count(XENMEM_current_reservation, DOMID_SELF));
	check(count(XENMEM_current_reservation, 0) < 0 && count(XENMEM_maximum_reservation, 5) < 0 &&
		      count(XENMEM_maximum_gpfn, 5) < 0,
	      "of others", 0);
	check(!CALL(memory_op, XENMEM_machphys_mapping, &m) && m.v_start == MACH2PHYS_VIRT_START &&
		      (s64)m.max_mfn == CALL(memory_op, XENMEM_maximum_ram_page, 0),
	      "M2P", m.v_start);
	e820.buffer.p = (void *)map;
	check(!CALL(memory_op, XENMEM_memory_map, &e820) && e820.nr_entries == 1 &&
		      map[1] >= start_info->nr_pages << PAGE_SHIFT,
	      "map", e820.nr_entries);
	check(CALL(memory_op, XENMEM_machine_memory_map, &e820) < 0, "the machine's", 0);
	check(CALL(memory_op, XENMEM_add_to_physmap, list) < 0 && CALL(memory_op, XENMEM_remove_from_physmap, list) < 0,
	      "physmap", 0);
	check(CALL(memory_op, 63, list) < 0, "operation", 0);
	check(CALL(memory_op, XENMEM_exchange | 1 << 6, list) < 0, "one that went on where it cannot", 0);
	check(reservation(XENMEM_decrease_reservation, list, 1, 63, 0) == 0 &&
		      reservation(XENMEM_decrease_reservation, list, ~0ull, 0, 0) == 0,
	      "as much as there is", 0);
	for (u64 mfn = 0; mfn < 64; mfn++)
		check(is_own(mfn) || reservation(XENMEM_decrease_reservation, &mfn, 1, 0, 0) == 0, "a frame of others",
		      mfn);
	check(count(XENMEM_current_reservation, DOMID_SELF) == (s64)start_info->nr_pages, "none was lost", 0);
}

const struct pv_case cases[] = {
	{"reservation", test_reservation, false},
	{"memory-op", test_memory_op, false},
	{0},
};
