// SPDX-License-Identifier: MIT
// MC146818 real-time clock with 128 bytes of CMOS memory behind ports 0x70 and 0x71 (Motorola data sheet).
#ifndef CORE_PLATFORM_RTC_H
#define CORE_PLATFORM_RTC_H

#include "core/platform/device.h"

struct rtc {
	u8 index;
	u8 ram[128];   // time registers are valid here only while the clock is stopped
	s64 base;      // seconds since 1970 at base_ns
	s64 base_ns;   // when that second began (may precede 0)
	s64 last;      // second up to which updates were seen
	u64 last_tick; // periodic interrupts seen
	struct irq_line irq;
};

void rtc_init(struct rtc *r, u64 wall_seconds);
u8 rtc_read(struct rtc *r, u64 now, u16 port);
void rtc_write(struct rtc *r, u64 now, u16 port, u8 value);
void rtc_advance(struct rtc *r, u64 now);
u64 rtc_next_event(const struct rtc *r, u64 now);

#endif
