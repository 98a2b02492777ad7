// SPDX-License-Identifier: MIT
// Real-time clock. Running, the time is (base + time since base_ns) and the registers are computed when read; stopped (SET,
// or the divider in reset) it lies in the RAM bytes.
#include "core/platform/rtc.h"
#include "base/string.h"

enum {
	R_SEC = 0,
	R_SEC_ALARM,
	R_MIN,
	R_MIN_ALARM,
	R_HOUR,
	R_HOUR_ALARM,
	R_WEEKDAY,
	R_DAY,
	R_MONTH,
	R_YEAR,
	R_A,
	R_B,
	R_C,
	R_D,
	R_CENTURY = 0x32,
};

#define A_UIP 0x80
#define A_DIVIDER 0x70
#define A_DIVIDER_NORMAL 0x20
#define A_RATE 0x0f
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VALID 0x80
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0
#define UIP_NS 244000
#define PERIODIC_HZ 32768
#define SECONDS_PER_DAY 86400

struct civil {
	int year, month, day, weekday, hour, minute, second;
};

// Days since 1970-01-01 of a Gregorian date, and back (years counted from March, eras of 400 years).
static s64 days_from_civil(int year, int month, int day)
{
	int y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	int yoe = y - era * 400, doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return (s64)era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static struct civil civil_from_seconds(s64 seconds)
{
	s64 days = seconds / SECONDS_PER_DAY, rest = seconds % SECONDS_PER_DAY, z, era;
	int doe, yoe, doy, mp;
	struct civil c;

	if (rest < 0) {
		rest += SECONDS_PER_DAY;
		days--;
	}
	z = days + 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = (int)(z - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	c.day = doy - (153 * mp + 2) / 5 + 1;
	c.month = mp < 10 ? mp + 3 : mp - 9;
	c.year = (int)(era * 400) + yoe + (c.month <= 2);
	c.weekday = (int)(((days + 4) % 7 + 7) % 7) + 1; // 1 is Sunday
	c.hour = (int)(rest / 3600);
	c.minute = (int)(rest / 60 % 60);
	c.second = (int)(rest % 60);
	return c;
}

static u8 encode(const struct rtc *r, int value)
{
	return (u8)(r->ram[R_B] & B_BINARY ? value : value / 10 % 10 << 4 | value % 10);
}

static int decode(const struct rtc *r, u8 value)
{
	return r->ram[R_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static u8 encode_hour(const struct rtc *r, int hour)
{
	if (r->ram[R_B] & B_24H)
		return encode(r, hour);
	return (u8)(encode(r, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0));
}

static int decode_hour(const struct rtc *r, u8 value)
{
	if (r->ram[R_B] & B_24H)
		return decode(r, value);
	return decode(r, value & 0x7f) % 12 + (value & HOUR_PM ? 12 : 0);
}

static bool stopped(const struct rtc *r)
{
	return (r->ram[R_B] & B_SET) || (r->ram[R_A] & A_DIVIDER) > A_DIVIDER_NORMAL;
}

static s64 seconds_at(const struct rtc *r, u64 now)
{
	s64 past = (s64)(now >> 1) * 2 - r->base_ns; // now stays far below 2^63

	return r->base + (past < 0 ? -1 : past / (s64)NS_PER_SEC);
}

static void store_time(struct rtc *r, u64 now)
{
	struct civil c = civil_from_seconds(seconds_at(r, now));

	r->ram[R_SEC] = encode(r, c.second);
	r->ram[R_MIN] = encode(r, c.minute);
	r->ram[R_HOUR] = encode_hour(r, c.hour);
	r->ram[R_WEEKDAY] = encode(r, c.weekday);
	r->ram[R_DAY] = encode(r, c.day);
	r->ram[R_MONTH] = encode(r, c.month);
	r->ram[R_YEAR] = encode(r, c.year % 100);
	r->ram[R_CENTURY] = encode(r, c.year / 100);
}

// Starts the clock from the RAM bytes; out-of-range fields (the guest's fault) count on as they are.
static void load_time(struct rtc *r, s64 base_ns)
{
	int month = decode(r, r->ram[R_MONTH]);
	int year = decode(r, r->ram[R_CENTURY]) * 100 + decode(r, r->ram[R_YEAR]);

	month = month < 1 ? 1 : month > 12 ? 12 : month;
	r->base = days_from_civil(year, month, decode(r, r->ram[R_DAY])) * SECONDS_PER_DAY +
		  decode_hour(r, r->ram[R_HOUR]) * 3600 + decode(r, r->ram[R_MIN]) * 60 + decode(r, r->ram[R_SEC]);
	r->base_ns = base_ns;
	r->last = r->base;
}

void rtc_init(struct rtc *r, u64 wall_seconds)
{
	memset(r, 0, sizeof(*r));
	r->ram[R_A] = A_DIVIDER_NORMAL | 6;
	r->ram[R_B] = B_24H;
	r->ram[R_D] = D_VALID;
	r->base = (s64)(wall_seconds & 0xffffffffffff);
	r->last = r->base;
}

static unsigned periodic_shift(const struct rtc *r)
{
	unsigned rate = r->ram[R_A] & A_RATE;

	return rate <= 2 ? rate + 6 : rate - 1;
}

static bool periodic_on(const struct rtc *r)
{
	return (r->ram[R_A] & A_RATE) && (r->ram[R_A] & A_DIVIDER) == A_DIVIDER_NORMAL;
}

static bool alarm_matches(const struct rtc *r, s64 second)
{
	int day = (int)(((second % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY);
	const u8 *ram = r->ram;

	return (ram[R_SEC_ALARM] >= ALARM_ANY || ram[R_SEC_ALARM] == encode(r, day % 60)) &&
	       (ram[R_MIN_ALARM] >= ALARM_ANY || ram[R_MIN_ALARM] == encode(r, day / 60 % 60)) &&
	       (ram[R_HOUR_ALARM] >= ALARM_ANY || ram[R_HOUR_ALARM] == encode_hour(r, day / 3600));
}

static void update_irq(struct rtc *r)
{
	bool on = r->ram[R_C] & r->ram[R_B] & (C_PF | C_AF | C_UF);

	r->ram[R_C] = (u8)((r->ram[R_C] & ~C_IRQF) | (on ? C_IRQF : 0));
	irq_set(&r->irq, on);
}

void rtc_advance(struct rtc *r, u64 now)
{
	s64 second = seconds_at(r, now);
	u64 tick = clock_ticks(now, PERIODIC_HZ) >> periodic_shift(r);

	if (periodic_on(r) && tick != r->last_tick)
		r->ram[R_C] |= C_PF;
	r->last_tick = tick;
	if (!stopped(r) && second > r->last) {
		s64 from = MAX(r->last + 1, second - SECONDS_PER_DAY + 1); // one day shows every alarm time

		r->ram[R_C] |= C_UF;
		for (s64 s = from; s <= second && !(r->ram[R_C] & C_AF); s++)
			if (alarm_matches(r, s))
				r->ram[R_C] |= C_AF;
		r->last = second;
	}
	update_irq(r);
}

u64 rtc_next_event(const struct rtc *r, u64 now)
{
	u64 next = NEVER, tick;

	if (r->irq.level)
		return NEVER; // until register C is read nothing more can be seen
	if ((r->ram[R_B] & (B_AIE | B_UIE)) && !stopped(r))
		next = (u64)(r->base_ns + (seconds_at(r, now) - r->base + 1) * (s64)NS_PER_SEC);
	if ((r->ram[R_B] & B_PIE) && periodic_on(r)) {
		tick = clock_ticks(now, PERIODIC_HZ) >> periodic_shift(r);
		tick = clock_ns((tick + 1) << periodic_shift(r), PERIODIC_HZ);
		next = MIN(next, tick);
	}
	return next;
}

static bool is_time(u8 index)
{
	return index == R_CENTURY ||
	       (index <= R_YEAR && index != R_SEC_ALARM && index != R_MIN_ALARM && index != R_HOUR_ALARM);
}

u8 rtc_read(struct rtc *r, u64 now, u16 port)
{
	u8 value;
	s64 phase;

	if (!(port & 1))
		return 0xff; // the index register is write only
	rtc_advance(r, now);
	if (is_time(r->index) && !stopped(r))
		store_time(r, now);
	value = r->ram[r->index];
	if (r->index == R_A && !stopped(r)) {
		phase = ((s64)now - r->base_ns) % (s64)NS_PER_SEC;
		if (phase >= (s64)NS_PER_SEC - UIP_NS)
			value |= A_UIP;
	} else if (r->index == R_C) {
		r->ram[R_C] = 0;
		update_irq(r);
	}
	return value;
}

// Registers A and B decide whether the clock runs: carry the time over.
static void write_control(struct rtc *r, u64 now, u8 index, u8 value)
{
	bool was_stopped = stopped(r), divider_reset = (r->ram[R_A] & A_DIVIDER) > A_DIVIDER_NORMAL;
	s64 phase = ((s64)now - r->base_ns) % (s64)NS_PER_SEC;

	if (!was_stopped)
		store_time(r, now);
	r->ram[index] = value;
	if (was_stopped && !stopped(r))
		// Out of the divider's reset the first update comes half a second later; SET alone keeps the phase.
		load_time(r, divider_reset ? (s64)now - (s64)NS_PER_SEC / 2 : (s64)now - phase);
	r->last_tick = clock_ticks(now, PERIODIC_HZ) >> periodic_shift(r);
}

void rtc_write(struct rtc *r, u64 now, u16 port, u8 value)
{
	s64 phase;

	if (!(port & 1)) {
		r->index = value & 0x7f;
		return;
	}
	rtc_advance(r, now);
	if (r->index == R_A) {
		write_control(r, now, R_A, value & 0x7f);
	} else if (r->index == R_B) {
		write_control(r, now, R_B, value & B_SET ? value & ~B_UIE : value);
	} else if (is_time(r->index) && !stopped(r)) {
		phase = ((s64)now - r->base_ns) % (s64)NS_PER_SEC;
		store_time(r, now);
		r->ram[r->index] = value;
		load_time(r, (s64)now - phase);
	} else if (r->index != R_C && r->index != R_D) {
		r->ram[r->index] = value;
	}
	update_irq(r);
}
