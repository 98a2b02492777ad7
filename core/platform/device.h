// SPDX-License-Identifier: MIT
// What all devices of the virtual platform share: guest time in nanoseconds, counters derived from it, and interrupt
// lines as values that the platform carries from device to interrupt controller.
//
// Invariant: a counter is a pure function of `now`; nothing counts by being called.
#ifndef CORE_PLATFORM_DEVICE_H
#define CORE_PLATFORM_DEVICE_H

#include "base/types.h"

#define NS_PER_SEC 1000000000ull
#define NEVER (~0ull)

// Whole periods of a clock of hz that have passed at `now`. Exact for all of u64: no product exceeds it.
static inline u64 clock_ticks(u64 now, u32 hz)
{
	return now / NS_PER_SEC * hz + now % NS_PER_SEC * hz / NS_PER_SEC;
}

// First moment at which clock_ticks() is at least `ticks`.
static inline u64 clock_ns(u64 ticks, u32 hz)
{
	u64 seconds = ticks / hz;

	if (seconds >= NEVER / NS_PER_SEC - 1)
		return NEVER - 1;
	return seconds * NS_PER_SEC + (ticks % hz * NS_PER_SEC + hz - 1) / hz;
}

// An output line. `fell` remembers a low pulse between two looks, which an edge-triggered input must not miss.
struct irq_line {
	bool level;
	bool fell;
};

static inline void irq_set(struct irq_line *line, bool level)
{
	if (line->level && !level)
		line->fell = true;
	line->level = level;
}

#endif
