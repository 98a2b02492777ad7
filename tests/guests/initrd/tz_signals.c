// SPDX-License-Identifier: MIT
// Signals that the processor raises, with what the kernel says of them (address, code, instruction pointer), on the
// normal and on an alternate stack; timers; registers across a handler; single-step.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tz.h"

static sigjmp_buf back;
static volatile int last_signal, last_code;
static volatile uintptr_t last_address, last_rip, last_error, last_trap, last_stack;
static volatile int alarms, steps;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	last_signal = sig;
	last_code = info->si_code;
	last_address = (uintptr_t)info->si_addr;
	last_rip = c->uc_mcontext.gregs[REG_RIP];
	last_error = c->uc_mcontext.gregs[REG_ERR];
	last_trap = c->uc_mcontext.gregs[REG_TRAPNO];
	last_stack = (uintptr_t)&c;
	siglongjmp(back, 1);
}

// Runs the statement, which must raise SIG; leaves what was seen in last_*.
#define RAISES(sig, statement) (last_signal = 0, sigsetjmp(back, 1) ? last_signal == (sig) : (({ statement; }), false))

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER | flags};

	sigaction(sig, &action, NULL);
}

static void memory_faults(void)
{
	volatile char *guard = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char *nowhere = (volatile char *)0x123456789000;

	check("SEGV: unmapped read", RAISES(SIGSEGV, (void)*nowhere) && last_address == (uintptr_t)nowhere &&
					     last_code == SEGV_MAPERR && last_error == 4 && last_trap == 14);
	check("SEGV: unmapped write", RAISES(SIGSEGV, *nowhere = 1) && last_error == 6 && last_code == SEGV_MAPERR);
	check("SEGV: read-only write", RAISES(SIGSEGV, *guard = 1) && last_address == (uintptr_t)guard &&
					       last_code == SEGV_ACCERR && (last_error & 2));
	check("SEGV: kernel address", RAISES(SIGSEGV, (void)*(volatile char *)0xffffffff81000000ul));
	check("SEGV: Xen and gate slots", RAISES(SIGSEGV, (void)*(volatile char *)0xffff800000000000ul) &&
						  RAISES(SIGSEGV, (void)*(volatile char *)0xffff808000000000ul) &&
						  RAISES(SIGSEGV, *(volatile char *)0xffff808000001000ul = 1));
	check("SEGV: non-canonical",
	      RAISES(SIGSEGV, (void)*(volatile char *)0x8000000000000000ul) && last_code == SI_KERNEL);
	check("SEGV: jump to nowhere", RAISES(SIGSEGV, ((void (*)(void))0x1234000)()) && last_rip == 0x1234000);
}

static void processor_faults(void)
{
	volatile int zero = 0, one = 1;

	check("FPE: division by zero", RAISES(SIGFPE, one = one / zero) && last_code == FPE_INTDIV && last_trap == 0);
	check("ILL: ud2",
	      RAISES(SIGILL, asm volatile("ud2")) && last_code == ILL_ILLOPN && *(uint8_t *)last_rip == 0x0f);
	check("SEGV: cli", RAISES(SIGSEGV, asm volatile("cli")) && last_trap == 13 && *(uint8_t *)last_rip == 0xfa);
	check("SEGV: hlt", RAISES(SIGSEGV, asm volatile("hlt")) && *(uint8_t *)last_rip == 0xf4);
	check("SEGV: mov cr3", RAISES(SIGSEGV, asm volatile("mov %%cr3, %%rax" ::: "rax")));
	check("SEGV: in", RAISES(SIGSEGV, asm volatile("inb $0x80, %%al" ::: "rax")));
	check("SEGV: int 0x20", RAISES(SIGSEGV, asm volatile("int $0x20")) && last_trap == 13);
	check("TRAP: int3", RAISES(SIGTRAP, asm volatile("int3")) && last_trap == 3);
	check("SEGV: wrmsr", RAISES(SIGSEGV, asm volatile("wrmsr" ::"a"(0), "d"(0), "c"(0xc0000080))));
	check("SEGV: selector of the kernel's", RAISES(SIGSEGV, asm volatile("mov %0, %%ds" ::"r"(0x10))));
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)sig;
	(void)info;
	if (++steps == 20)
		c->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static void single_step(void)
{
	handle(SIGTRAP, on_step, 0);
	asm volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t.rept 40\n\tnop\n\t.endr" ::: "memory", "cc");
	check("TRAP: twenty single steps", steps == 20);
	steps = 0;
	asm volatile(
		"pushfq; orq $0x100, (%%rsp); popfq\n\tmov $39, %%eax\n\tsyscall\n\tsyscall\n\t.rept 40\n\tnop\n\t.endr" ::
			: "rax", "rcx", "r11", "memory", "cc");
	check("TRAP: single steps over system calls", steps == 20);
	handle(SIGTRAP, on_fault, 0);
}

static void alternate_stack(void)
{
	static char stack[65536];
	volatile char *volatile low = (volatile char *)8;
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};

	sigaltstack(&alternate, NULL);
	handle(SIGSEGV, on_fault, SA_ONSTACK);
	check("signal: alternate stack", RAISES(SIGSEGV, *low = 1) && last_stack >= (uintptr_t)stack &&
						 last_stack < (uintptr_t)stack + sizeof(stack));
	// A stack pointer that cannot be used: the kernel must still deliver, on the alternate stack.
	check("signal: bad stack pointer", RAISES(SIGSEGV, asm volatile("mov $0x1000, %%rsp\n\tpush %%rax" ::
										: "memory")));
}

static void on_alarm(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	alarms++;
}

// All general registers and flags must survive the timer signals that interrupt this loop.
static void registers_across_signals(void)
{
	struct itimerval every = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	uint64_t bad = 0;

	handle(SIGALRM, on_alarm, SA_RESTART);
	setitimer(ITIMER_REAL, &every, NULL);
	while (alarms < 50) {
		uint64_t wrong;

		asm volatile(
			"mov $0x1111, %%rax; mov $0x2222, %%rbx; mov $0x3333, %%rcx; mov $0x4444, %%rdx\n\t"
			"mov $0x8888, %%r8; mov $0x9999, %%r9; mov $0xaaaa, %%r10; mov $0xbbbb, %%r11\n\t"
			"mov $0xcccc, %%r12; mov $0xdddd, %%r13; mov $0xeeee, %%r14; mov $0xffff, %%r15; mov $20000, %%rsi\n\t"
			"stc; std\n"
			"1: lea -1(%%rsi), %%rsi; mov %%rsi, %%rdi; xchg %%rdi, %%rcx; jrcxz 2f; xchg %%rdi, %%rcx; jmp 1b\n"
			"2: xchg %%rdi, %%rcx; mov $1, %%edi; jnc 4f; pushfq; btq $10, (%%rsp); jnc 5f; add $8, %%rsp; cld\n\t"
			"add %%rbx, %%rax; add %%rcx, %%rax; add %%rdx, %%rax; add %%r8, %%rax; add %%r9, %%rax; add %%r10, %%rax\n\t"
			"add %%r11, %%rax; add %%r12, %%rax; add %%r13, %%rax; add %%r14, %%rax; add %%r15, %%rax\n\t"
			"cmp $0x6ccc6, %%rax; je 6f; jmp 4f\n"
			"5: add $8, %%rsp\n4: mov $2, %%edi\n6: cld; mov %%rdi, %0"
			: "=m"(wrong)
			:
			: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			  "r15", "memory", "cc");
		bad += wrong != 1;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	check("signal: registers and flags across 50 timer signals", bad == 0);
}

// The address of each fault must be its own, whatever interrupts the kernel on the way: every second page of a region is gone,
// the rest is written for the first time in between, and a timer runs.
static void fault_addresses(void)
{
	enum { PAGES = 512, ROUNDS = 8 };
	struct itimerval every = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	volatile unsigned wrong = 0;

	setitimer(ITIMER_REAL, &every, NULL);
	for (volatile unsigned round = 0; round < ROUNDS; round++) {
		char *volatile p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (unsigned i = 1; i < PAGES; i += 2)
			munmap(p + i * 4096, 4096);
		for (volatile unsigned i = 0; i < PAGES; i += 2) {
			volatile char *hole = p + (i + 1) * 4096 + i;

			p[i * 4096] = 1;
			wrong += !RAISES(SIGSEGV, *hole = 1) || last_address != (uintptr_t)hole || last_error != 6;
		}
		munmap(p, PAGES * 4096);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	check("SEGV: addresses of 2048 faults under a timer", wrong == 0);
}

static void killed_children(void)
{
	static const int signals[] = {SIGTERM, SIGKILL, SIGSEGV, SIGILL, SIGFPE};
	bool good = true;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			signal(signals[i], SIG_DFL);
			if (signals[i] == SIGSEGV)
				*(volatile char *)0 = 1;
			if (signals[i] == SIGILL)
				asm volatile("ud2");
			raise(signals[i]);
			_exit(0);
		}
		waitpid(pid, &status, 0);
		good = good && WIFSIGNALED(status) && WTERMSIG(status) == signals[i];
	}
	check("signal: children die of what they should", good);
}

int tz_signals(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	handle(SIGSEGV, on_fault, 0);
	handle(SIGBUS, on_fault, 0);
	handle(SIGFPE, on_fault, 0);
	handle(SIGILL, on_fault, 0);
	handle(SIGTRAP, on_fault, 0);
	memory_faults();
	processor_faults();
	single_step();
	alternate_stack();
	registers_across_signals();
	fault_addresses();
	killed_children();
	return 0;
}
