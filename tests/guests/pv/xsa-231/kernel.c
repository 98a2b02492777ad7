// SPDX-License-Identifier: MIT
// XSA-231: the NUMA node that a guest asks memory from was used as an index without a look at it. Here pages are given back and asked for
// with every node that can be named, exactly or not: each comes, or is refused, and none is lost. A page that comes is empty.
#include "tests/guests/pv/harness/pv.h"

static s64 reservation(unsigned cmd, u64 *list, unsigned mem_flags)
{
	struct xen_memory_reservation r = {.nr_extents = 1, .mem_flags = mem_flags, .domid = DOMID_SELF};

	r.extent_start.p = (void *)list;
	return CALL(memory_op, cmd, &r);
}

static s64 pages_now(void)
{
	domid_t self = DOMID_SELF;

	return CALL(memory_op, XENMEM_current_reservation, &self);
}

static bool give_back(void *p)
{
	u64 list[1] = {mfn_of(p)};

	return check(!remap(p, 0) && reservation(XENMEM_decrease_reservation, list, 0) == 1, "a page goes", list[0]);
}

// False: refused.
static bool get(void *p, unsigned mem_flags)
{
	u64 list[1] = {(u64)p >> PAGE_SHIFT};
	s64 r = reservation(XENMEM_populate_physmap, list, mem_flags);

	check(r == 0 || r == 1, "how many came", (u64)r);
	if (r != 1)
		return false;
	((u64 *)start_info->mfn_list)[(u64)p >> PAGE_SHIFT] = list[0];
	return check(!remap(p, KERNEL_RW), "it can be mapped", list[0]);
}

static void check_empty(const u64 *p)
{
	for (unsigned i = 0; i < 512; i++)
		if (!check(!p[i], "it is not empty", p[i]))
			break;
}

static void test_nodes(void)
{
	u64 *p = page(1);
	s64 before = pages_now();

	check(before > 0, "how many there are", (u64)before);
	for (unsigned node = 0; node < 256; node++)
		for (unsigned exact = 0; exact < 2; exact++) {
			memset(p, 0x5a, PAGE_SIZE);
			if (!give_back(p))
				return;
			check(pages_now() == before - 1, "one less", node);
			if (!get(p, exact ? XENMEMF_exact_node(node) : XENMEMF_node(node)) &&
			    !check(get(p, 0), "any node", node))
				return;
			check_empty(p);
			check(pages_now() == before, "as many as before", node);
		}
}

static void test_reservation_node(void)
{
	u64 *p = page(1), list[1];

	if (!give_back(p))
		return;
	check(get(p, 0xff00), "a page comes, on node 254", 0);
	check_empty(p);
	for (unsigned node = 0; node < 256; node++)
		check(reservation(XENMEM_increase_reservation, list, XENMEMF_node(node)) == 0, "more than at the start",
		      node);
}

const struct pv_case cases[] = {
	{"xsa-231-nodes", test_nodes, false},
	{"xsa-231-reservation", test_reservation_node, false},
	{0},
};
