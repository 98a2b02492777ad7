// SPDX-License-Identifier: MIT
// The VGA's registers: what is kept, what is fixed, which ports answer; through the platform's dispatch.
#include "core/platform/platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct platform p;
static const struct platform_ports ports;

static int start(void **state)
{
	struct platform_config c = {.ports = &ports, .mem_low = 16 * MIB};

	platform_init(&p, &c);
	return 0;
}

static void out(u16 port, u8 value)
{
	platform_out(&p, 0, port, 1, value);
}

static u8 in(u16 port)
{
	return (u8)platform_in(&p, 0, port, 1);
}

static u8 get(u16 port, u8 index)
{
	out(port, index);
	return in(port + 1);
}

static void put(u16 port, u8 index, u8 value)
{
	platform_out(&p, 0, port, 2, index | (u32)value << 8); // as drivers do
}

static void indexed_registers(void **state)
{
	put(0x3d4, 0x0e, 0x12);
	put(0x3d4, 0x0f, 0x34);
	assert_int_equal(get(0x3d4, 0x0e), 0x12);
	assert_int_equal(get(0x3d4, 0x0f), 0x34);
	put(0x3c4, 2, 0xff);
	assert_int_equal(get(0x3c4, 2), 0x0f); // four planes
	put(0x3ce, 8, 0xa5);
	assert_int_equal(get(0x3ce, 8), 0xa5);
	// Beyond the last one: nothing, and nothing is overwritten.
	put(0x3d4, 0x3f, 0xff);
	assert_int_equal(get(0x3d4, 0x3f), 0);
	put(0x3c4, 7, 0xff);
	assert_int_equal(get(0x3c4, 7), 0);
	put(0x3ce, 15, 0xff);
	assert_int_equal(get(0x3ce, 15), 0);
	assert_int_equal(p.unknown_in + p.unknown_out, 0);
}

static void crtc_protection(void **state)
{
	assert_int_equal(get(0x3d4, 0), 0x5f);
	put(0x3d4, 0, 0x11);
	assert_int_equal(get(0x3d4, 0), 0x5f);
	put(0x3d4, 7, 0x00); // line compare's bit 8 is free
	assert_int_equal(get(0x3d4, 7), 0x0f);
	put(0x3d4, 0x11, 0x0e);
	put(0x3d4, 0, 0x11);
	assert_int_equal(get(0x3d4, 0), 0x11);
}

static void colour_or_mono(void **state)
{
	assert_int_equal(in(0x3cc), 0x67);
	assert_int_equal(get(0x3b4, 0x0a), 0xff);
	out(0x3c2, 0x66);
	assert_int_equal(get(0x3d4, 0x0a), 0xff);
	assert_int_equal(get(0x3b4, 0x0a), 0x0d);
	assert_int_not_equal(in(0x3ba), 0xff);
}

static void attribute_controller(void **state)
{
	in(0x3da);
	out(0x3c0, 0x01), out(0x3c0, 0x3f); // the palette is free while it is not shown
	out(0x3c0, 0x21), out(0x3c0, 0x00);
	assert_int_equal(in(0x3c0), 0x21);
	assert_int_equal(in(0x3c1), 0x3f);
	out(0x3c0, 0x32);
	in(0x3da); // and what follows is an index again
	out(0x3c0, 0x31);
	assert_int_equal(in(0x3c0), 0x31);
	out(0x3c0, 0xaa);
	assert_int_equal(in(0x3c1), 0xaa);
	out(0x3c0, 0x1f), out(0x3c0, 0xff); // there is none
	assert_int_equal(in(0x3c1), 0);
}

static void palette(void **state)
{
	static const u8 brown[] = {42, 21, 0}, white[] = {63, 63, 63};

	out(0x3c7, 0x14);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(in(0x3c9), brown[i]);
	out(0x3c7, 0x3f);
	assert_int_equal(in(0x3c7), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(in(0x3c9), white[i]);
	out(0x3c8, 255);
	assert_int_equal(in(0x3c7), 0);
	out(0x3c9, 0xff), out(0x3c9, 2), out(0x3c9, 3), out(0x3c9, 4); // six bits; wraps to colour 0
	out(0x3c7, 255);
	assert_int_equal(in(0x3c9), 0x3f);
	assert_int_equal(in(0x3c9), 2);
	assert_int_equal(in(0x3c9), 3);
	assert_int_equal(in(0x3c9), 4);
	assert_int_equal(in(0x3c8), 0);
}

// A frame of 14.27 ms: 400 lines shown, then blank, two lines of retrace in it.
static void timing(void **state)
{
	unsigned retrace = 0, blank = 0, steps = 10000;

	for (unsigned i = 0; i < steps; i++) {
		u8 status = (u8)platform_in(&p, 449ull * 31778 * i / steps, 0x3da, 1);

		retrace += (status & 8) != 0;
		blank += (status & 1) != 0;
		assert_true(!(status & 8) || (status & 1));
	}
	assert_in_range(retrace, steps * 2 / 449 - 2, steps * 2 / 449 + 2);
	assert_in_range(blank, steps * 25 / 100, steps * 32 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(indexed_registers, start), cmocka_unit_test_setup(crtc_protection, start),
		cmocka_unit_test_setup(colour_or_mono, start),    cmocka_unit_test_setup(attribute_controller, start),
		cmocka_unit_test_setup(palette, start),           cmocka_unit_test_setup(timing, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
