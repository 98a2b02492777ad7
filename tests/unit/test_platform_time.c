// SPDX-License-Identifier: MIT
// Timers of the virtual platform: the PIT against a model that counts tick by tick, RTC against libc's calendar, PM timer.
#include "core/platform/platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define WALL 1700000000 // 2023-11-14 22:13:20 UTC, a Tuesday

static struct platform p;
static struct platform_ports ports;

static void start_at(u64 wall)
{
	struct platform_config c = {.ports = &ports, .mem_low = 256 * MIB, .wall_seconds = wall};

	platform_init(&p, &c);
}

static int start(void **state)
{
	start_at(WALL);
	return 0;
}

static void out(u64 now, u16 port, u8 value)
{
	platform_out(&p, now, port, 1, value);
}

static u8 in(u64 now, u16 port)
{
	return (u8)platform_in(&p, now, port, 1);
}

static u64 random64(void)
{
	return (u64)rand() << 42 ^ (u64)rand() << 21 ^ (u64)rand();
}

static void conversions(void **state)
{
	static const u32 hz[] = {PIT_HZ, PM_TIMER_HZ, 32768, 1, 999999999};

	srand(1);
	for (unsigned i = 0; i < 100000; i++) {
		u32 f = hz[i % ARRAY_SIZE(hz)];
		u64 now = random64() >> rand() % 62, ticks = clock_ticks(now, f), ns;

		assert_true(ticks == (u64)((u128)now * f / NS_PER_SEC));
		ns = clock_ns(ticks, f);
		if (ns < NEVER - 1) {
			assert_true(ns <= now);
			assert_true(clock_ticks(ns, f) == ticks);
			assert_true(ns == 0 || ticks == 0 || clock_ticks(ns - 1, f) == ticks - 1);
		}
	}
}

// One channel of an 8254, one tick at a time.
struct model {
	unsigned mode;
	u32 reload, count, phase;
	bool out, done;
	unsigned edges;
};

static void model_start(struct model *m, unsigned mode, u32 reload)
{
	*m = (struct model){.mode = mode, .reload = reload, .count = reload, .out = mode != 0};
}

static void model_tick(struct model *m)
{
	bool before = m->out;

	switch (m->mode) {
	case 0:
		m->count = (m->count - 1) & 0xffff;
		if (!m->count)
			m->done = true;
		m->out = m->done;
		break;
	case 4:
		m->count = (m->count - 1) & 0xffff;
		m->out = m->done || m->count != 0;
		if (!m->count)
			m->done = true;
		break;
	case 2:
		m->out = true;
		if (m->count == 1)
			m->count = m->reload;
		else
			m->count--;
		if (m->count == 1)
			m->out = false;
		break;
	case 3:
		m->phase = (m->phase + 1) % m->reload;
		m->out = m->phase < (m->reload + 1) / 2;
		m->count = m->reload - 2 * m->phase % m->reload;
		break;
	}
	m->edges += !before && m->out;
}

static u16 latched(u64 now, unsigned channel)
{
	u16 low;

	out(now, 0x43, (u8)(channel << 6));
	low = in(now, (u16)(0x40 + channel));
	return (u16)(low | in(now, (u16)(0x40 + channel)) << 8);
}

static void program(u64 now, unsigned channel, unsigned mode, u32 reload)
{
	out(now, 0x43, (u8)(channel << 6 | 3 << 4 | mode << 1));
	out(now, (u16)(0x40 + channel), (u8)reload);
	out(now, (u16)(0x40 + channel), (u8)(reload >> 8));
}

static void pit_counts(void **state)
{
	static const unsigned modes[] = {0, 2, 3, 4};

	srand(2);
	for (unsigned round = 0; round < 200; round++) {
		unsigned mode = modes[round % 4], channel = round & 8 ? 2 : 0;
		u32 reload = rand() % 4 ? 2 + (u32)rand() % 3000 : 2 + (u32)rand() % 65534;
		u64 tick, begin = (u64)rand() << 8;
		struct model m;

		out(clock_ns(begin, PIT_HZ), 0x61, 1);
		program(clock_ns(begin, PIT_HZ), channel, mode, reload);
		model_start(&m, mode, reload);
		tick = begin;
		for (unsigned look = 0; look < 20; look++) {
			u64 until = tick + (u64)rand() % (reload + 10), now;

			for (; tick < until; tick++)
				model_tick(&m);
			now = clock_ns(tick, PIT_HZ);
			assert_int_equal(latched(now, channel), m.count & 0xffff);
			assert_int_equal(pit_out(&p.pit, now, channel), m.out);
			if (channel == 2)
				assert_int_equal(in(now, 0x61) >> 5 & 1, m.out);
		}
	}
}

// Interrupts of channel 0 follow platform_next_event() and are as many as the model's rising edges.
static void pit_edges(void **state)
{
	static const unsigned modes[] = {0, 2, 3, 4};

	srand(3);
	for (unsigned round = 0; round < 60; round++) {
		u32 reload = 2 + (u32)rand() % 2000, length = (u32)rand() % 20000;
		u64 tick = 0, begin = (u64)rand() << 4, next;
		unsigned fired = 0;
		struct model m;

		start(NULL);
		out(0, 0x21, 0xff);
		program(clock_ns(begin, PIT_HZ), 0, modes[round % 4], reload);
		model_start(&m, modes[round % 4], reload);
		for (tick = 0; tick < length; tick++)
			model_tick(&m);
		p.pic.chip[0].irr = 0;
		while ((next = pit_next_event(&p.pit)) <= clock_ns(begin + length, PIT_HZ)) {
			platform_advance(&p, next - 1);
			assert_false(p.pic.chip[0].irr & 1);
			platform_advance(&p, next);
			fired += p.pic.chip[0].irr & 1;
			p.pic.chip[0].irr = 0;
		}
		assert_int_equal(fired, m.edges);
	}
}

// What Linux's quick_pit_calibrate() does: the high byte falls every 256 ticks.
static void pit_calibration(void **state)
{
	u64 now = 12345678;

	out(now, 0x61, 1);
	out(now, 0x43, 0xb0);
	out(now, 0x42, 0xff);
	out(now, 0x42, 0xff);
	for (unsigned expect = 0xff; expect > 0x80; expect--) {
		u64 first = now + clock_ns((0xff - expect) * 256ull + 200, PIT_HZ);

		in(first, 0x42);
		assert_int_equal(in(first, 0x42), expect);
	}
	assert_int_equal(in(now, 0x61) & 0x20, 0);
	assert_int_equal(in(now + clock_ns(0x10000, PIT_HZ), 0x61) & 0x20, 0x20);
}

static u64 at(u64 tick)
{
	return clock_ns(tick, PIT_HZ);
}

static void pit_gate(void **state)
{
	program(0, 2, 0, 0xffff); // gate low: does not count
	assert_int_equal(latched(at(5000), 2), 0xffff);
	out(at(5000), 0x61, 1);
	assert_int_equal(latched(at(6000), 2), 0xffff - 1000);
	out(at(6000), 0x61, 0);
	assert_int_equal(latched(at(9000), 2), 0xffff - 1000);
	out(at(9000), 0x61, 1);
	assert_int_equal(latched(at(10000), 2), 0xffff - 2000);
	// Mode 1: a rising gate starts the pulse, again restarts it.
	out(at(10000), 0x61, 0);
	program(at(10000), 2, 1, 1000);
	assert_true(pit_out(&p.pit, at(11000), 2));
	out(at(11000), 0x61, 1);
	assert_false(pit_out(&p.pit, at(11500), 2));
	out(at(11500), 0x61, 0);
	out(at(11600), 0x61, 1);
	assert_false(pit_out(&p.pit, at(12599), 2));
	assert_true(pit_out(&p.pit, at(12600), 2));
}

static void pit_access_modes(void **state)
{
	out(0, 0x43, 0x14); // channel 0, low byte only, mode 2
	out(0, 0x40, 100);
	assert_int_equal(in(0, 0x40), 100);
	assert_int_equal(in(0, 0x40), 100);
	out(0, 0x43, 0x24); // high byte only
	out(0, 0x40, 2);
	assert_int_equal(in(0, 0x40), 2);
	assert_int_equal(p.pit.channel[0].reload, 512);
	out(0, 0x43, 0x35); // BCD, mode 2
	out(0, 0x40, 0x34);
	out(0, 0x40, 0x12);
	assert_int_equal(p.pit.channel[0].reload, 1234);
	assert_int_equal(latched(clock_ns(200, PIT_HZ), 0), 0x1034);
	// Read-back: status first, then the count.
	program(0, 0, 2, 0x4321);
	out(0, 0x43, 0xc2);
	assert_int_equal(in(0, 0x40), 0x80 | 0x34);
	assert_int_equal(in(0, 0x40), 0x21);
	assert_int_equal(in(0, 0x40), 0x43);
	out(0, 0x43, 0x34);
	out(0, 0x43, 0xe2); // status only: null count, nothing loaded
	assert_int_equal(in(0, 0x40), 0x80 | 0x40 | 0x34);
}

// --- RTC ---

static u8 cmos(u64 now, u8 index)
{
	out(now, 0x70, index);
	return in(now, 0x71);
}

static void set_cmos(u64 now, u8 index, u8 value)
{
	out(now, 0x70, index);
	out(now, 0x71, value);
}

static int bcd(u8 v)
{
	return (v >> 4) * 10 + (v & 15);
}

static void check_time(u64 now, time_t expect)
{
	struct tm tm;

	gmtime_r(&expect, &tm);
	assert_int_equal(bcd(cmos(now, 0)), tm.tm_sec);
	assert_int_equal(bcd(cmos(now, 2)), tm.tm_min);
	assert_int_equal(bcd(cmos(now, 4)), tm.tm_hour);
	assert_int_equal(bcd(cmos(now, 6)), tm.tm_wday + 1);
	assert_int_equal(bcd(cmos(now, 7)), tm.tm_mday);
	assert_int_equal(bcd(cmos(now, 8)), tm.tm_mon + 1);
	assert_int_equal(bcd(cmos(now, 0x32)) * 100 + bcd(cmos(now, 9)), tm.tm_year + 1900);
}

static void rtc_calendar(void **state)
{
	srand(4);
	for (unsigned i = 0; i < 2000; i++) {
		u64 wall = (u64)rand() * 2 % 7258118400, after = random64() % 1000000000;

		start_at(wall);
		check_time(after * NS_PER_SEC + 999, (time_t)(wall + after));
	}
}

static void rtc_formats(void **state)
{
	set_cmos(0, 0xb, 0x06); // binary
	assert_int_equal(cmos(0, 4), 22);
	assert_int_equal(cmos(0, 2), 13);
	set_cmos(0, 0xb, 0x00); // BCD, 12 hours
	assert_int_equal(cmos(0, 4), 0x80 | 0x10);
	assert_int_equal(cmos(0, 0xd), 0x80);
	set_cmos(0, 0x50, 0xa5);
	assert_int_equal(cmos(0, 0x50), 0xa5);
}

static void rtc_set(void **state)
{
	u64 s = NS_PER_SEC;

	set_cmos(s, 0xb, 0x82); // SET: stopped
	set_cmos(s, 0, 0x58), set_cmos(s, 2, 0x59), set_cmos(s, 4, 0x23);
	set_cmos(s, 7, 0x28), set_cmos(s, 8, 0x02), set_cmos(s, 9, 0x24), set_cmos(s, 0x32, 0x20);
	assert_int_equal(cmos(9 * s, 0), 0x58);
	set_cmos(9 * s, 0xb, 0x02);
	check_time(9 * s, 1709164798); // 2024-02-28 23:59:58
	check_time(11 * s, 1709164800);
	// A write to the running clock.
	set_cmos(12 * s, 0, 0x30);
	check_time(12 * s, 1709164830);
	// Nonsense is the guest's: no crash.
	set_cmos(12 * s, 8, 0xff), set_cmos(12 * s, 7, 0xff), set_cmos(12 * s, 4, 0xff);
	cmos(13 * s, 8);
}

static void rtc_update_flag(void **state)
{
	u64 s = NS_PER_SEC;

	assert_int_equal(cmos(s / 2, 0xa), 0x26);
	assert_int_equal(cmos(s - 100000, 0xa), 0xa6);
	assert_int_equal(cmos(s, 0xa), 0x26);
	assert_int_equal(cmos(s, 0xc), 0x50); // an update, and periodic ticks
	assert_int_equal(cmos(s, 0xc), 0);
	// The divider's reset delays the first update by half a second.
	set_cmos(2 * s, 0xa, 0x76);
	set_cmos(3 * s, 0xa, 0x26);
	assert_int_equal(bcd(cmos(3 * s + s / 2 - 1, 0)), 22);
	assert_int_equal(bcd(cmos(3 * s + s / 2, 0)), 23);
}

static void rtc_interrupts(void **state)
{
	u64 s = NS_PER_SEC, now = 0, next;
	unsigned n = 0;

	out(0, 0xa1, 0), out(0, 0x21, 0);
	set_cmos(0, 0xb, 0x42); // periodic, 1024 Hz
	for (; (next = platform_next_event(&p, now)) <= s; n++) {
		platform_advance(&p, next - 1);
		assert_false(p.rtc.irq.level);
		now = next;
		platform_advance(&p, now);
		assert_true(p.rtc.irq.level);
		assert_int_equal(cmos(now, 0xc) & 0xc0, 0xc0);
		assert_false(p.rtc.irq.level);
	}
	assert_int_equal(n, 1024);
	set_cmos(s, 0xb, 0x12); // every second
	cmos(s, 0xc);
	assert_true(platform_next_event(&p, s) == 2 * s);
	platform_advance(&p, 2 * s);
	assert_int_equal(cmos(2 * s, 0xc) & 0x90, 0x90);
	set_cmos(2 * s, 1, 0x25), set_cmos(2 * s, 3, 0x13), set_cmos(2 * s, 5, 0xff);
	set_cmos(2 * s, 0xb, 0x22); // alarm at any hour, :13:25
	cmos(2 * s, 0xc);
	platform_advance(&p, 5 * s - 1);
	assert_false(p.rtc.irq.level);
	platform_advance(&p, 5 * s);
	assert_int_equal(cmos(5 * s, 0xc) & 0xa0, 0xa0);
}

static void pm_timer(void **state)
{
	u64 half = clock_ns(1 << 23, PM_TIMER_HZ);

	srand(5);
	for (unsigned i = 0; i < 10000; i++) {
		u64 now = random64() >> 4;

		assert_int_equal(platform_in(&p, now, PM_TIMER, 4),
				 (u32)((u128)now * PM_TIMER_HZ / NS_PER_SEC) & 0xffffff);
	}
	start(NULL);
	platform_out(&p, 0, PM_EVENT + 2, 2, 1);
	assert_true(platform_next_event(&p, 0) == half);
	platform_advance(&p, half - 1);
	assert_false(p.pm.irq.level);
	platform_advance(&p, half);
	assert_true(p.pm.irq.level);
	assert_int_equal(platform_in(&p, half, PM_EVENT, 2), 1);
	platform_out(&p, half, PM_EVENT, 2, 1);
	assert_false(p.pm.irq.level);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversions),
		cmocka_unit_test_setup(pit_counts, start),
		cmocka_unit_test_setup(pit_edges, start),
		cmocka_unit_test_setup(pit_calibration, start),
		cmocka_unit_test_setup(pit_gate, start),
		cmocka_unit_test_setup(pit_access_modes, start),
		cmocka_unit_test(rtc_calendar),
		cmocka_unit_test_setup(rtc_formats, start),
		cmocka_unit_test_setup(rtc_set, start),
		cmocka_unit_test_setup(rtc_update_flag, start),
		cmocka_unit_test_setup(rtc_interrupts, start),
		cmocka_unit_test_setup(pm_timer, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
