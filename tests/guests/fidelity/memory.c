// SPDX-License-Identifier: MIT
// Accessed and dirty bits; code that changes under the CPU.
#include "kernel.h"

#define AT 0x50000000ull
#define A 0x20
#define D 0x40
static u64 table[512] __attribute__((aligned(4096))), lower[512] __attribute__((aligned(4096)));
static u8 page[8192] __attribute__((aligned(4096)));

static void map(u64 rights)
{
	pdpt[1] = (u64)table | 7;
	table[128] = (u64)lower | 7;
	lower[0] = (u64)page | rights;
	lower[1] = (u64)(page + 4096) | rights;
	asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static void read(u64 at)
{
	asm volatile("mov (%0), %%al" ::"r"(at) : "eax");
}

static void write(u64 at)
{
	asm volatile("movb $0x90, (%0)" ::"r"(at));
}

static void compare_exchange(u64 at)
{
	asm volatile("mov $1, %%al; lock cmpxchgb %%al, (%0)" ::"r"(at) : "eax", "cc", "memory");
}

static void call(u64 at)
{
	asm volatile("call *%0" ::"r"(at) : "rax", "memory", "cc");
}

static void bits(void)
{
	map(7);
	guarded(read, AT);
	check("read sets A alone", (lower[0] & (A | D)) == A && (table[128] & A) && (pdpt[1] & A));
	check("another page's bits stay", !(lower[1] & (A | D)));
	guarded(write, AT);
	check("write after read sets D", (lower[0] & (A | D)) == (A | D));
	map(7);
	guarded(write, AT);
	check("write sets A and D", (lower[0] & (A | D)) == (A | D) && !(table[128] & D));
	map(5);
	guarded(write, AT);
	check("refused write sets no D", caught.vector == PF && !(lower[0] & D));
	map(7);
	page[0] = 0xff;
	guarded(compare_exchange, AT);
	check("compare-exchange that fails sets D", (lower[0] & (A | D)) == (A | D));
	map(7);
	page[0] = 0xc3;
	guarded(call, AT);
	check("execution sets A alone", (lower[0] & (A | D)) == A);
	lower[0] &= ~(u64)(A | D);
	asm volatile("invlpg (%0)" ::"r"(AT) : "memory");
	guarded(read, AT);
	check("A comes again after invlpg", (lower[0] & (A | D)) == A);
}

static u64 result;

static void call_at(u64 at)
{
	asm volatile("call *%1" : "=a"(result) : "r"(at) : "memory", "cc");
}

// mov eax, imm32; ret
static void put_code(u8 *at, u32 v)
{
	at[0] = 0xb8;
	for (unsigned i = 0; i < 4; i++)
		at[1 + i] = (u8)(v >> 8 * i);
	at[5] = 0xc3;
}

static void run(const char *name, u8 *write_at, u64 run_at)
{
	bool good = true;

	for (u32 i = 1; i < 20; i++) {
		put_code(write_at, i);
		guarded(call_at, run_at);
		good &= result == i;
	}
	check(name, good);
}

// A store changes the instruction right behind it, in the block that runs.
static void next_instruction(void)
{
	bool good = true;
	u64 got;

	for (u32 i = 1; i < 20; i++) {
		asm volatile("movl %1, 1f + 1(%%rip)\n jmp 1f\n 1: mov $0, %%eax" : "=&a"(got) : "r"(i) : "memory");
		good &= got == i;
	}
	check("code changes the instruction behind it", good);
}

void test_memory(void)
{
	bits();
	map(7);
	run("code rewritten in place", page + 64, (u64)page + 64);
	run("code rewritten by another mapping", page + 64, AT + 64);
	run("code across a page boundary rewritten", page + 4094, (u64)page + 4094);
	run("the same by another mapping", page + 4094, AT + 4094);
	next_instruction();
}
