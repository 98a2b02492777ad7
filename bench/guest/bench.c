// SPDX-License-Identifier: MIT
// The benchmark guest: what an operating system does often, one row each, by the guest's own monotonic clock.
// Prints `BENCH row ns n` per row: the median over batches of the time of one operation, and how many were done.
// A batch repeats the operation until it takes some 20 ms, so that the clock's cost does not matter.
// By the environment (the kernel hands it over from its command line): bench_rows=NAME,NAME only those rows, bench_longer=N batches
// that take N times as long, bench_batches=N at most so many of them.
// A mark (see tests/system/count_plugin.c) is executed at the beginning, before each row's first batch and after each batch, so that who counts
// the machine's instructions can tell how many there were per operation.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lz.h"
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

static void mark(void)
{
	__asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .ascii \"MARK\"");
}

// Another process that wakes every millisecond. QEMU resizes its TLB only when it is flushed, by how full it finds it: a process that
// nobody interrupts keeps the small one that it began with, whatever it touches, until it is done (docs/benchmarks.md). Computing
// rows warm up beside this one, so that on every machine they are measured with a TLB of the size that they need.
static pid_t start_waker(void)
{
	pid_t pid = fork();

	while (!pid)
		usleep(1000);
	return pid;
}

struct row {
	const char *name;
	operation run;
	unsigned batches;
	uint64_t batch_ns; // 0: a batch is one operation, and warms up beside a waker
};

static uint64_t warm_up(const struct row *r, uint64_t batch_ns)
{
	uint64_t times = 1, took;

	if (!batch_ns) {
		pid_t waker = start_waker();

		r->run(1);
		kill(waker, SIGKILL);
		waitpid(waker, NULL, 0);
		return 1;
	}
	r->run(1); // the first time costs more than any other
	for (;;) { // finds out how many make a batch
		uint64_t start = now();

		r->run(times);
		took = now() - start;
		if (took >= batch_ns / 4)
			break;
		times *= took < batch_ns / 64 ? 8 : 2;
	}
	return took < batch_ns ? times * batch_ns / took : times;
}

static void measure(const struct row *r, uint64_t longer, unsigned batches)
{
	double sample[BATCHES];
	uint64_t times = warm_up(r, r->batch_ns * longer), total = 0;

	mark();
	for (unsigned i = 0; i < batches; i++) {
		uint64_t start = now(), units = r->run(times);

		sample[i] = (double)(now() - start) / units;
		total += units;
		mark();
	}
	qsort(sample, batches, sizeof(sample[0]), ascending);
	printf("BENCH %s %.0f %lu\n", r->name, sample[batches / 2], (unsigned long)total);
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

static void run_program(const char *path, char *const argv[])
{
	static char *const none[] = {NULL};
	int status;
	pid_t pid = fork();

	if (!pid) {
		execve(path, argv, none);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	if (status)
		die("exec");
}

static uint64_t fork_exec(uint64_t times)
{
	static char *const argv[] = {"tiny", NULL};

	for (uint64_t i = 0; i < times; i++)
		run_program("/bin/tiny", argv);
	return times;
}

static uint64_t shell(uint64_t times)
{
	static char *const argv[] = {"sh", "-c", "/bin/tiny", NULL};

	for (uint64_t i = 0; i < times; i++)
		run_program("/bin/sh", argv);
	return times;
}

// One byte to another process and one back.
// Making the other side costs many turns: that many at least share it, or the row would measure fork.
enum { TURNS = 500 };

// `in` and `out` are the two ends' descriptors: [0] the parent's, [1] the child's.
static uint64_t ping_pong(const int in[2], const int out[2], uint64_t times)
{
	char c = 'x';
	pid_t pid;

	times *= TURNS;
	pid = fork();
	for (uint64_t i = 0; i < times; i++) {
		if (!pid && (read(in[1], &c, 1) != 1 || write(out[1], &c, 1) != 1))
			_exit(1);
		if (pid && (write(out[0], &c, 1) != 1 || read(in[0], &c, 1) != 1))
			die("ping-pong");
	}
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		if (out[i] != in[i])
			close(out[i]);
	}
	return times;
}

static uint64_t pipe_latency(uint64_t times)
{
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		die("pipe");
	return ping_pong((int[]){back[0], there[0]}, (int[]){there[1], back[1]}, times);
}

static uint64_t socket_unix(uint64_t times)
{
	int end[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, end))
		die("socketpair");
	return ping_pong(end, end, times);
}

// The same through TCP on the loopback interface.
static uint64_t socket_tcp(uint64_t times)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int server = socket(AF_INET, SOCK_STREAM, 0), on = 1, end[2];

	if (bind(server, (void *)&at, sizeof(at)) || listen(server, 1) || getsockname(server, (void *)&at, &size))
		die("listen");
	end[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(end[0], (void *)&at, sizeof(at)))
		die("connect");
	end[1] = accept(server, NULL, NULL);
	close(server);
	for (int i = 0; i < 2; i++)
		if (setsockopt(end[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
			die("TCP_NODELAY");
	return ping_pong(end, end, times);
}

static void loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		die("lo");
	close(fd);
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

static sigjmp_buf caught_all;
static uint64_t to_catch;

static void on_fault(int sig)
{
	(void)sig;
	if (!--to_catch)
		siglongjmp(caught_all, 1);
}

// A store to a page without the right to, its SIGSEGV handled; the handler returns to the store, which faults again.
static uint64_t fault_protection(uint64_t times)
{
	static char *page;

	if (!page && (page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == MAP_FAILED)
		die("mmap");
	to_catch = times;
	signal(SIGSEGV, on_fault);
	if (!sigsetjmp(caught_all, 1)) {
		*(volatile char *)page = 1;
		die("a store to a read-only page");
	}
	signal(SIGSEGV, SIG_DFL);
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
	enum { LINE = 64, LINES = REGION / LINE, ROUNDS = 16 };
	static uint32_t order[LINES];
	static void **chain;
	uint32_t x = 1;
	void **p;

	if (!chain) {
		chain = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (chain == MAP_FAILED)
			die("mmap");
		for (int i = 0; i < LINES; i++)
			order[i] = i;
		for (int i = LINES - 1; i > 0; i--) {
			uint32_t k, t;

			x = x * 1664525 + 1013904223;
			k = (uint64_t)x * (i + 1) >> 32;
			t = order[i];
			order[i] = order[k];
			order[k] = t;
		}
		for (int i = 0; i < LINES; i++)
			chain[(size_t)order[i] * (LINE / sizeof(*chain))] =
				chain + (size_t)order[(i + 1) % LINES] * (LINE / sizeof(*chain));
	}
	p = chain;
	for (uint64_t i = 0; i < times * ROUNDS * LINES; i++)
		p = *(void *volatile *)p; // or the compiler leaves the loop out
	return times * ROUNDS * LINES;
}

// Compresses 1 MiB of text, expands it and compares.
static uint64_t compress_text(uint64_t times)
{
	enum { SIZE = 1 << 20 };
	static uint8_t *text, *packed, *again;

	if (!text) {
		text = malloc(SIZE);
		packed = malloc(LZ_BOUND(SIZE));
		again = malloc(SIZE);
		if (!text || !packed || !again)
			die("malloc");
		lz_text(text, SIZE);
	}
	for (uint64_t i = 0; i < times; i++) {
		size_t size = lz_compress(text, SIZE, packed);

		memset(again, 0, SIZE);
		if (size > SIZE * 3 / 4 || lz_expand(packed, size, again, SIZE) != SIZE || memcmp(again, text, SIZE)) {
			puts("compression: wrong result");
			exit(1);
		}
	}
	return times;
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
	loopback_up();
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

static uint64_t number_or(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t n = text ? strtoull(text, NULL, 10) : 0;

	return n ? n : otherwise;
}

int main(void)
{
	static const struct row rows[] = {
		{"null-call", null_call, BATCHES, BATCH_NS},
		{"read-zero", read_zero, BATCHES, BATCH_NS},
		{"write-null", write_null, BATCHES, BATCH_NS},
		{"stat", stat_call, BATCHES, BATCH_NS},
		{"open-close", open_close, BATCHES, BATCH_NS},
		{"clock-read", clock_read, BATCHES, BATCH_NS},
		{"fault-anonymous", fault_anonymous, BATCHES, BATCH_NS},
		{"fault-file", fault_file, BATCHES, BATCH_NS},
		{"fault-protection", fault_protection, BATCHES, BATCH_NS},
		{"mprotect-pair", mprotect_pair, BATCHES, BATCH_NS},
		{"mmap-munmap", mmap_munmap, BATCHES, BATCH_NS},
		{"fork-exit", fork_exit, BATCHES, BATCH_NS},
		{"fork-exec", fork_exec, BATCHES, 2 * BATCH_NS},
		{"sh", shell, BATCHES, 2 * BATCH_NS},
		{"pipe-latency", pipe_latency, BATCHES, 2 * BATCH_NS},
		{"socket-unix", socket_unix, BATCHES, 2 * BATCH_NS},
		{"socket-tcp", socket_tcp, BATCHES, 2 * BATCH_NS},
		{"context-switch", context_switch, BATCHES, 2 * BATCH_NS},
		{"futex-ping-pong", futex_ping_pong, BATCHES, BATCH_NS},
		{"signal", signal_deliver, BATCHES, BATCH_NS},
		{"sha256-64MB", hash, 3, 0},
		{"qsort", sort, 5, 0},
		{"matmul", matmul, 5, 0},
		{"pointer-chase", pointer_chase, 5, 0},
		{"lz-1MB", compress_text, 5, 0},
	};

	uint64_t longer = number_or("bench_longer", 1), most = number_or("bench_batches", BATCHES);

	mark();
	prepare();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (wanted(rows[i].name))
			measure(&rows[i], longer, rows[i].batches < most ? rows[i].batches : most);
	puts("BENCH-DONE");
	return 0;
}
