// SPDX-License-Identifier: MIT
// Floating-point and vector state across context switches and signals: each process keeps its own values in all
// sixteen XMM registers, the x87 stack and MXCSR, and yields thousands of times.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tz.h"

enum { PROCESSES = 4, ROUNDS = 1500 };

static volatile int ticks;

static void on_tick(int sig)
{
	volatile double x = ticks;

	(void)sig;
	for (int i = 0; i < 10; i++)
		x = x * 1.5 + 0.25; // dirties the registers inside the handler
	ticks++;
}

// The yields must not pass through C code that may use the registers: a bare system call between load and store.
static bool hold(const uint8_t *values, uint32_t mxcsr, uint16_t control, int rounds)
{
	uint8_t seen[256];
	uint32_t mxcsr_seen;
	uint32_t mxcsr_usual = 0x1f80;
	uint16_t control_usual = 0x037f, control_seen;
	long left = rounds;

	asm volatile(
		"ldmxcsr %[mxcsr]; fldcw %[control]\n\t"
		"movdqu (%[in]), %%xmm0; movdqu 16(%[in]), %%xmm1; movdqu 32(%[in]), %%xmm2; movdqu 48(%[in]), %%xmm3\n\t"
		"movdqu 64(%[in]), %%xmm4; movdqu 80(%[in]), %%xmm5; movdqu 96(%[in]), %%xmm6; movdqu 112(%[in]), %%xmm7\n\t"
		"movdqu 128(%[in]), %%xmm8; movdqu 144(%[in]), %%xmm9; movdqu 160(%[in]), %%xmm10; movdqu 176(%[in]), %%xmm11\n\t"
		"movdqu 192(%[in]), %%xmm12; movdqu 208(%[in]), %%xmm13; movdqu 224(%[in]), %%xmm14; movdqu 240(%[in]), %%xmm15\n"
		"1: mov $24, %%eax; syscall; decq %[left]; jnz 1b\n\t" // sched_yield
		"movdqu %%xmm0, (%[out]); movdqu %%xmm1, 16(%[out]); movdqu %%xmm2, 32(%[out]); movdqu %%xmm3, 48(%[out])\n\t"
		"movdqu %%xmm4, 64(%[out]); movdqu %%xmm5, 80(%[out]); movdqu %%xmm6, 96(%[out]); movdqu %%xmm7, 112(%[out])\n\t"
		"movdqu %%xmm8, 128(%[out]); movdqu %%xmm9, 144(%[out]); movdqu %%xmm10, 160(%[out]); movdqu %%xmm11, 176(%[out])\n\t"
		"movdqu %%xmm12, 192(%[out]); movdqu %%xmm13, 208(%[out]); movdqu %%xmm14, 224(%[out]); movdqu %%xmm15, 240(%[out])\n\t"
		"stmxcsr %[mxcsr_seen]; fnstcw %[control_seen]; ldmxcsr %[mxcsr_usual]; fldcw %[control_usual]"
		: [left] "+r"(left), [mxcsr_seen] "=m"(mxcsr_seen), [control_seen] "=m"(control_seen), "=m"(seen)
		: [in] "r"(values), [out] "r"(seen), [mxcsr] "m"(mxcsr), [control] "m"(control),
		  [mxcsr_usual] "m"(mxcsr_usual), [control_usual] "m"(control_usual)
		: "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
		  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return !memcmp(seen, values, sizeof(seen)) && mxcsr_seen == mxcsr && control_seen == control;
}

static int worker(int id)
{
	uint8_t values[256];
	uint32_t mxcsr = 0x1f80 | (id & 3) << 13;
	uint16_t control = 0x037f | (id & 3) << 10;

	for (int i = 0; i < 256; i++)
		values[i] = i * 3 + id * 61 + 1;
	for (int i = 0; i < 4; i++)
		if (!hold(values, mxcsr, control, ROUNDS / 4))
			return 1;
	return 0;
}

static void across_switches(void)
{
	pid_t pid[PROCESSES];
	bool good = true;

	for (int i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(worker(i));
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		waitpid(pid[i], &status, 0);
		good = good && status == 0;
	}
	check("fpu: state across context switches", good);
}

static void across_signals(void)
{
	struct itimerval every = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	uint8_t values[256];
	bool good = true;

	for (int i = 0; i < 256; i++)
		values[i] = 255 - i;
	signal(SIGALRM, on_tick);
	setitimer(ITIMER_REAL, &every, NULL);
	while (ticks < 30)
		good = good && hold(values, 0x3f80, 0x0f7f, 100);
	setitimer(ITIMER_REAL, &off, NULL);
	check("fpu: state across signals", good);
}

static void arithmetic(void)
{
	double pi = 0;
	long double e = 1, term = 1;

	for (int i = 0; i < 2000000; i++)
		pi += (i & 1 ? -4.0 : 4.0) / (2 * i + 1);
	for (int i = 1; i < 30; i++) {
		term /= i;
		e += term;
	}
	check("fpu: pi", pi > 3.1415921 && pi < 3.1415922);
	check("fpu: e in extended precision", e > 2.718281828459045234L && e < 2.718281828459045236L);
}

int tz_fpu(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	across_switches();
	across_signals();
	arithmetic();
	return 0;
}
