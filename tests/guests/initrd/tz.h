// SPDX-License-Identifier: MIT
// What the parts of the `tz` program share: how a check reports.
#ifndef TZ_H
#define TZ_H
#include <stdbool.h>
#include <stdio.h>

static inline void check(const char *name, bool good)
{
	printf("%s %s\n", good ? "TZ-OK" : "TZ-FAIL", name);
	fflush(stdout);
}

int tz_gen(int argc, char **argv);
int tz_mmap(int argc, char **argv);
int tz_threads(int argc, char **argv);
int tz_signals(int argc, char **argv);
int tz_fpu(int argc, char **argv);
int tz_time(int argc, char **argv);
int tz_faults(int argc, char **argv);
int tz_switches(int argc, char **argv);
int tz_forks(int argc, char **argv);
int tz_ring(int argc, char **argv);
int tz_syscalls(int argc, char **argv);
int tz_maps(int argc, char **argv);
int tz_protects(int argc, char **argv);
int tz_count(int argc, char **argv);
#endif
