// SPDX-License-Identifier: MIT
// One static program with all of the guest's compiled checks, `tz PART [ARGUMENT]`: one copy of the C library in the
// initrd instead of seven. Also built for the host, whose `tz gen` gives the hash that the guest must find.
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tz.h"

// Writes N bytes of a fixed pseudo-random stream (xorshift64) to standard output.
int tz_gen(int argc, char **argv)
{
	unsigned long left = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;
	unsigned long state = 0x9e3779b97f4a7c15ul;
	unsigned long block[1024];

	while (left) {
		size_t bytes = left < sizeof(block) ? left : sizeof(block);

		for (size_t i = 0; i < 1024; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			block[i] = state;
		}
		if (fwrite(block, 1, bytes, stdout) != bytes)
			return 1;
		left -= bytes;
	}
	return fflush(stdout) ? 1 : 0;
}

// N first touches of anonymous pages.
int tz_faults(int argc, char **argv)
{
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;
	volatile char *p = mmap(NULL, n << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < n; i++)
		p[i << 12] = 1;
	return 0;
}

// N times 16 pages mapped, touched and unmapped, beside one that stays.
int tz_maps(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	volatile char *stays = mmap(NULL, 64 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stays == MAP_FAILED)
		return 1;
	while (n--) {
		stays[0] = 1;
		volatile char *p = mmap(NULL, 16 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return 1;
		for (size_t i = 0; i < 16; i++)
			p[i << 12] = 1;
		munmap((void *)p, 16 << 12);
	}
	return 0;
}

// N times a page in use made read-only and writable again, written each time.
int tz_protects(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	volatile char *p = mmap(NULL, 16 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	p[0] = 1;
	while (n--) {
		mprotect((void *)p, 4096, PROT_READ);
		mprotect((void *)p, 4096, PROT_READ | PROT_WRITE);
		p[0] = 1;
	}
	return 0;
}

// N switches between two processes that yield to each other.
int tz_switches(int argc, char **argv)
{
	struct sched_param first = {.sched_priority = 1};
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;
	pid_t pid;

	if (sched_setscheduler(0, SCHED_FIFO, &first))
		return 1;
	pid = fork();
	for (unsigned long i = 0; i < n / 2; i++)
		sched_yield();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return 0;
}

#define RING_PAGES 64

static void touch(volatile char *p)
{
	for (unsigned i = 0; i < RING_PAGES; i++)
		p[i << 12]++;
}

// N processes that take turns, ROUNDS times, each with 64 pages of its own to write in its turn. Says how long a turn is.
int tz_ring(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 2, rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 100;
	volatile char *p = mmap(NULL, RING_PAGES << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int first[2], in, out[2];
	struct timespec a, b;
	char token = 0;

	if (p == MAP_FAILED || pipe(first))
		return 1;
	in = first[0];
	for (unsigned long i = 0; i + 1 < n; i++) {
		if (pipe(out))
			return 1;
		if (!fork()) {
			close(first[1]);
			close(out[0]);
			while (read(in, &token, 1) == 1) {
				touch(p);
				if (write(out[1], &token, 1) != 1)
					break;
			}
			_exit(0);
		}
		close(out[1]);
		close(in);
		in = out[0];
	}
	for (unsigned long i = 0; i < rounds; i++) {
		if (i == rounds / 10)
			clock_gettime(CLOCK_MONOTONIC, &a);
		if (write(first[1], &token, 1) != 1 || read(in, &token, 1) != 1)
			return 1;
		touch(p);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	close(first[1]);
	while (wait(NULL) > 0)
		;
	printf("TZ-RING %lu processes: %.0f ns a turn\n", n,
	       ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)(n * (rounds - rounds / 10)));
	return 0;
}

// N forks of a child that ends at once.
int tz_forks(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;

	for (unsigned long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return 0;
}

// N null system calls and nothing else: the counting tests compare the crossings of two values of N.
int tz_syscalls(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000;

	for (unsigned long i = 0; i < n; i++)
		syscall(SYS_getppid);
	return 0;
}

// N million rounds of nothing, without the kernel: what the timer alone costs.
int tz_spin(int argc, char **argv)
{
	unsigned long n = (argc > 1 ? strtoul(argv[1], NULL, 0) : 100) * 1000000;

	while (n--)
		__asm__ volatile("");
	return 0;
}

// Says so after each piece of work of about a hundredth of a second, for ever: lines count what this guest was given.
int tz_count(int argc __attribute__((unused)), char **argv __attribute__((unused)))
{
	static const char line[] = "TZ-COUNT\n";

	for (;;) {
		for (unsigned long n = 10000000; n--;)
			__asm__ volatile("");
		if (write(1, line, sizeof(line) - 1) < 0)
			return 1;
	}
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} parts[] = {
	{"gen", tz_gen},     {"mmap", tz_mmap},         {"threads", tz_threads}, {"signals", tz_signals},
	{"fpu", tz_fpu},     {"syscalls", tz_syscalls}, {"faults", tz_faults},   {"switches", tz_switches},
	{"forks", tz_forks}, {"ring", tz_ring},         {"spin", tz_spin},         {"time", tz_time},
	{"count", tz_count}, {"maps", tz_maps},         {"protects", tz_protects},
};

// An instruction that does nothing but for an emulator that looks for it: tests/system/count_plugin.c.
static void mark(void)
{
	__asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .ascii \"MARK\"");
}

static int run(size_t part, int argc, char **argv)
{
	int status;

	mark();
	status = parts[part].run(argc, argv);
	mark();
	return status;
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!strcmp(argv[1], parts[i].name))
			return run(i, argc - 1, argv + 1);
	fprintf(stderr, "usage: tz gen|mmap|threads|signals|fpu|time|syscalls|faults|maps|protects|switches|forks|ring|spin|count [N]\n");
	return 2;
}
