// SPDX-License-Identifier: MIT
// The benchmark guest: what an operating system does often, one row each, by the guest's own monotonic clock.
// Prints `BENCH row ns n` per row: the median over batches of the time of one operation, and how many were done.
// A batch repeats the operation until it takes some 20 ms, so that the clock's cost does not matter.
// With bench_rows=NAME,NAME in the environment (the kernel hands it over from its command line) only those rows,
// with bench_longer=N batches that take N times as long.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sha256.h"

enum { PAGE = 4096, REGION = 4 << 20, BATCHES = 15, BATCH_NS = 20000000 };

static int zero_fd, null_fd, file_fd;
static uint8_t *region;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

// An operation does its work `times` times and returns how many units of the row's kind that was.
typedef uint64_t (*operation)(uint64_t times);

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void row(const char *name, operation run, unsigned batches, uint64_t batch_ns)
{
	double sample[BATCHES];
	uint64_t times = 1, took, units, total = 0;

	if (batch_ns)
		run(1); // the first time costs more than any other
	for (;;) {      // warms up, and finds out how many make a batch
		uint64_t start = now();

		run(times);
		took = now() - start;
		if (took >= batch_ns / 4 || !batch_ns)
			break;
		times *= took < batch_ns / 64 ? 8 : 2;
	}
	if (batch_ns && took < batch_ns)
		times = times * batch_ns / took;
	for (unsigned i = 0; i < batches; i++) {
		uint64_t start = now();

		units = run(times);
		sample[i] = (double)(now() - start) / units;
		total += units;
	}
	qsort(sample, batches, sizeof(sample[0]), ascending);
	printf("BENCH %s %.0f %lu\n", name, sample[batches / 2], (unsigned long)total);
	fflush(stdout);
}

static uint64_t null_call(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		syscall(SYS_getppid);
	return times;
}

static uint64_t stat_call(uint64_t times)
{
	struct stat s;

	for (uint64_t i = 0; i < times; i++)
		if (stat("/tmp/bench-file", &s))
			die("stat");
	return times;
}

static uint64_t open_close(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		close(open("/tmp/bench-file", O_RDONLY));
	return times;
}

static uint64_t read_zero(uint64_t times)
{
	char c;

	for (uint64_t i = 0; i < times; i++)
		if (read(zero_fd, &c, 1) != 1)
			die("read");
	return times;
}

static uint64_t write_null(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		if (write(null_fd, "x", 1) != 1)
			die("write");
	return times;
}

static uint64_t touch(int flags, int fd, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		volatile char *p = mmap(NULL, REGION, PROT_READ | PROT_WRITE, flags, fd, 0);

		if (p == MAP_FAILED)
			die("mmap");
		for (size_t at = 0; at < REGION; at += PAGE)
			p[at] = 1;
		munmap((void *)p, REGION);
	}
	return times * (REGION / PAGE);
}

static uint64_t fault_anonymous(uint64_t times)
{
	return touch(MAP_PRIVATE | MAP_ANONYMOUS, -1, times);
}

static uint64_t fault_file(uint64_t times)
{
	return touch(MAP_PRIVATE, file_fd, times);
}

static uint64_t mprotect_pair(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		mprotect(region, PAGE, PROT_READ);
		mprotect(region, PAGE, PROT_READ | PROT_WRITE);
	}
	return times;
}

// Maps, touches and unmaps 64 KiB.
static uint64_t mmap_munmap(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		volatile char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (size_t at = 0; at < 16 * PAGE; at += PAGE)
			p[at] = 1;
		munmap((void *)p, 16 * PAGE);
	}
	return times;
}

static uint64_t fork_exit(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return times;
}

static uint64_t fork_exec(uint64_t times)
{
	static char *const argv[] = {"tiny", NULL};

	for (uint64_t i = 0; i < times; i++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			execve("/bin/tiny", argv, argv + 1);
			_exit(127);
		}
		waitpid(pid, &status, 0);
		if (status)
			die("exec");
	}
	return times;
}

// One byte to another process and one back.
// Making the other side costs many turns: that many at least share it, or the row would measure fork.
enum { TURNS = 500 };

static uint64_t pipe_latency(uint64_t times)
{
	int there[2], back[2];
	char c = 'x';
	pid_t pid;

	times *= TURNS;
	if (pipe(there) || pipe(back))
		die("pipe");
	pid = fork();
	for (uint64_t i = 0; i < times; i++) {
		if (!pid && (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1))
			_exit(1);
		if (pid && (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1))
			die("pipe");
	}
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	return times;
}

// Two processes yield to each other on one CPU: a unit is one switch. First-in-first-out scheduling, because the fair
// scheduler lets the one that yields go on when it pleases.
static uint64_t context_switch(uint64_t times)
{
	struct sched_param first = {.sched_priority = 1}, none = {.sched_priority = 0};
	pid_t pid;

	times *= TURNS;
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		die("sched_setscheduler");
	pid = fork();
	for (uint64_t i = 0; i < times; i++)
		sched_yield();
	if (!pid)
		_exit(0);
	sched_setscheduler(0, SCHED_OTHER, &none);
	waitpid(pid, NULL, 0);
	return 2 * times;
}

// Otherwise the kernel takes 5% of each second away from first-in-first-out processes.
static void no_throttling(void)
{
	int fd = open("/proc/sys/kernel/sched_rt_runtime_us", O_WRONLY);

	if (fd >= 0 && write(fd, "-1", 2) != 2)
		die("sched_rt_runtime_us");
	close(fd);
}

static atomic_int turn;

static void take_turns(int me, uint64_t times)
{
	for (uint64_t i = 0; i < times; i++) {
		while (atomic_load(&turn) != me)
			syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !me, NULL, NULL, 0);
		atomic_store(&turn, !me);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void *other_side(void *times)
{
	take_turns(1, *(uint64_t *)times);
	return NULL;
}

static uint64_t futex_ping_pong(uint64_t times)
{
	pthread_t thread;

	times *= TURNS;
	pthread_create(&thread, NULL, other_side, &times);
	take_turns(0, times);
	pthread_join(thread, NULL);
	return times;
}

static void nothing(int sig)
{
	(void)sig;
}

static uint64_t signal_deliver(uint64_t times)
{
	pid_t me = getpid();

	for (uint64_t i = 0; i < times; i++)
		kill(me, SIGUSR1);
	return times;
}

static uint64_t clock_read(uint64_t times)
{
	for (uint64_t i = 0; i < times; i++)
		now();
	return times;
}

// 64 MB in all, in pieces that stay in the cache.
static uint64_t hash(uint64_t times)
{
	uint8_t digest[32];

	for (uint64_t i = 0; i < times; i++)
		for (int part = 0; part < 16; part++)
			sha256(region, REGION, digest);
	return times;
}

static int compare_words(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint64_t sort(uint64_t times)
{
	enum { N = 200000 };
	uint32_t *word = (uint32_t *)region;

	for (uint64_t i = 0; i < times; i++) {
		uint32_t x = 1;

		for (int k = 0; k < N; k++)
			word[k] = x = x * 1664525 + 1013904223;
		qsort(word, N, sizeof(*word), compare_words);
	}
	return times;
}

static uint64_t matmul(uint64_t times)
{
	enum { N = 128 };
	double(*a)[N] = (void *)region, (*b)[N] = a + N, (*c)[N] = b + N;

	for (uint64_t t = 0; t < times; t++) {
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				a[i][k] = i + k;
				b[i][k] = i - k;
			}
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				double s = 0;

				for (int j = 0; j < N; j++)
					s += a[i][j] * b[j][k];
				c[i][k] = s;
			}
	}
	return times;
}

// A random cycle through 4 MiB, a pointer per cache line: a unit is one load.
static uint64_t pointer_chase(uint64_t times)
{
	enum { LINE = 64, LINES = REGION / LINE };
	static uint32_t order[LINES];
	uint32_t x = 1;
	void **p;

	for (int i = 0; i < LINES; i++)
		order[i] = i;
	for (int i = LINES - 1; i > 0; i--) {
		uint32_t k, t;

		x = x * 1664525 + 1013904223;
		k = x % (i + 1);
		t = order[i];
		order[i] = order[k];
		order[k] = t;
	}
	for (int i = 0; i < LINES; i++)
		*(void **)(region + (size_t)order[i] * LINE) = region + (size_t)order[(i + 1) % LINES] * LINE;
	p = (void **)region;
	for (uint64_t i = 0; i < times * LINES; i++)
		p = *p;
	*(void *volatile *)&p = p;
	return times * LINES;
}

static void prepare(void)
{
	zero_fd = open("/dev/zero", O_RDONLY);
	null_fd = open("/dev/null", O_WRONLY);
	file_fd = open("/tmp/bench-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zero_fd < 0 || null_fd < 0 || file_fd < 0 || region == MAP_FAILED)
		die("prepare");
	memset(region, 0x5a, REGION);
	if (write(file_fd, region, REGION) != REGION)
		die("write");
	signal(SIGUSR1, nothing);
	no_throttling();
}

static int wanted(const char *name)
{
	const char *list = getenv("bench_rows"), *at;
	size_t len = strlen(name);

	for (at = list; at && (at = strstr(at, name)); at += len)
		if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ','))
			return 1;
	return !list;
}

int main(void)
{
	static const struct {
		const char *name;
		operation run;
		unsigned batches;
		uint64_t batch_ns;
	} rows[] = {
		{"null-call", null_call, BATCHES, BATCH_NS},
		{"read-zero", read_zero, BATCHES, BATCH_NS},
		{"write-null", write_null, BATCHES, BATCH_NS},
		{"stat", stat_call, BATCHES, BATCH_NS},
		{"open-close", open_close, BATCHES, BATCH_NS},
		{"clock-read", clock_read, BATCHES, BATCH_NS},
		{"fault-anonymous", fault_anonymous, BATCHES, BATCH_NS},
		{"fault-file", fault_file, BATCHES, BATCH_NS},
		{"mprotect-pair", mprotect_pair, BATCHES, BATCH_NS},
		{"mmap-munmap", mmap_munmap, BATCHES, BATCH_NS},
		{"fork-exit", fork_exit, BATCHES, BATCH_NS},
		{"fork-exec", fork_exec, BATCHES, 2 * BATCH_NS},
		{"pipe-latency", pipe_latency, BATCHES, 2 * BATCH_NS},
		{"context-switch", context_switch, BATCHES, 2 * BATCH_NS},
		{"futex-ping-pong", futex_ping_pong, BATCHES, BATCH_NS},
		{"signal", signal_deliver, BATCHES, BATCH_NS},
		{"sha256-64MB", hash, 3, 0},
		{"qsort", sort, 5, 0},
		{"matmul", matmul, 5, 0},
		{"pointer-chase", pointer_chase, 5, 0},
	};

	const char *longer = getenv("bench_longer");
	uint64_t factor = longer ? strtoul(longer, NULL, 10) : 1;

	prepare();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (wanted(rows[i].name))
			row(rows[i].name, rows[i].run, rows[i].batches, rows[i].batch_ns * factor);
	puts("BENCH-DONE");
	return 0;
}
