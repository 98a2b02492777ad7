// SPDX-License-Identifier: MIT
// Time: clocks never go back, sleeps last at least as long as asked, the time-stamp counter grows.
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#include "tz.h"

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int tz_time(int argc, char **argv)
{
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};
	uint64_t tsc = __rdtsc(), start, last;
	bool forward = true, enough = true;

	(void)argc;
	(void)argv;
	for (unsigned c = 0; c < sizeof(clocks) / sizeof(clocks[0]); c++) {
		last = now(clocks[c]);
		for (int i = 0; i < 5000; i++) {
			uint64_t t = now(clocks[c]);

			forward = forward && t >= last;
			last = t;
		}
	}
	check("time: clocks do not go back", forward);
	for (int i = 0; i < 20; i++) {
		start = now(CLOCK_MONOTONIC);
		poll(NULL, 0, 10);
		enough = enough && now(CLOCK_MONOTONIC) - start >= 9900000;
	}
	check("time: twenty sleeps of 10 ms", enough);
	check("time: the counter grew", __rdtsc() > tsc);
	return 0;
}
