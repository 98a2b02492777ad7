// SPDX-License-Identifier: MIT
// physdev_op: ports, for programs; a guest has no devices.
#include "tests/guests/pv/harness/pv.h"

// A program's ports: by level, and by the kernel's map.
static void test_user_ports(void)
{
	struct physdev_set_iopl iopl = {3};
	struct physdev_set_iobitmap map = {.nr_ports = 0x68};
	u8 *bits = (u8 *)page(1);

	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP) && run_user(user_out, RFL_IF, 0) == CAME(VEC_GP),
	      "not asked for", 0);
	check(!CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl), "level 3", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_UD) && run_user(user_out, RFL_IF, 0) == CAME(VEC_UD), "by level",
	      got.vector);
	iopl.iopl = 0;
	check(!CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl), "level 0", 0);
	memset(bits, 0xff, PAGE_SIZE);
	set_xen_guest_handle(map.bitmap, bits);
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "map", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP), "a bit that is set", got.vector);
	bits[0x61 / 8] &= (u8)~BIT(0x61 % 8);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_UD), "by the map", got.vector);
	map.nr_ports = 0x61;
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "shorter", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP), "beyond its end", got.vector);
	map.nr_ports = 0;
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "none", 0);
}

static void test_physdev(void)
{
	struct physdev_set_iopl iopl = {.iopl = 4};
	struct physdev_set_iobitmap map = {.nr_ports = 65537};

	check(CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl) < 0 && CALL(physdev_op, 99, &iopl) < 0, "devices", 0);
	check(CALL(physdev_op, PHYSDEVOP_set_iopl, UNCANONICAL) < 0, "argument", 0);
	check(CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map) < 0, "more ports than there are", 0);
	map.nr_ports = 65536;
	set_xen_guest_handle(map.bitmap, (u8 *)GATE_TRUST); // a map that is not the guest's to read may deny all
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "a map elsewhere", 0);
	set_xen_guest_handle(map.bitmap, (u8 *)UNCANONICAL);
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map) && run_user(user_in, RFL_IF, 0) == CAME(VEC_GP),
	      "a map that is none", got.vector);
	map.nr_ports = 0;
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "none", 0);
	for (unsigned op = 0; op < 40; op++)
		if (op != PHYSDEVOP_set_iopl && op != PHYSDEVOP_set_iobitmap)
			check(CALL(physdev_op, op, page(1)) < 0, "operation", op);
}

const struct pv_case cases[] = {
	{"user-ports", test_user_ports, false},
	{"physdev", test_physdev, false},
	{0},
};
