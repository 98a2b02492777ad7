// SPDX-License-Identifier: MIT
// Exceptions: vectors, error codes, addresses.
#include "kernel.h"

static volatile u32 zero;

static void divide(u64 unused)
{
	asm volatile("xor %%edx, %%edx; mov $1, %%eax; divl %0" ::"m"(zero) : "eax", "edx", "cc");
}

static void undefined(u64 unused)
{
	asm volatile("ud2");
}

static void breakpoint(u64 unused)
{
	asm volatile("int3");
}

static void fpu(u64 unused)
{
	asm volatile("fninit");
}

static void read(u64 at)
{
	asm volatile("mov (%0), %%al" ::"r"(at) : "eax");
}

static void read_stack(u64 at)
{
	asm volatile("mov %0, %%rbp; mov (%%rbp), %%al" ::"r"(at) : "eax", "rbp");
}

static void write(u64 at)
{
	asm volatile("movb $0, (%0)" ::"r"(at));
}

static void jump(u64 at)
{
	asm volatile("jmp *%0" ::"r"(at));
}

static void write_cr0(u64 v)
{
	asm volatile("mov %0, %%cr0" ::"r"(v));
}

static void int_21(u64 unused)
{
	asm volatile("int $0x21");
}

static u64 user_at;

static void user_read(void)
{
	read(user_at);
	asm volatile("int $0x80");
}

static void user_write(void)
{
	write(user_at);
	asm volatile("int $0x80");
}

static void user_hlt(void)
{
	asm volatile("hlt");
}

static void user_int21(void)
{
	asm volatile("int $0x21");
}

static void user_int3(void)
{
	asm volatile("int3");
}

static bool page_fault(u64 at, u64 error)
{
	return caught.vector == PF && caught.error == error && caught_cr2 == at;
}

// 1 GiB to 2 GiB is not mapped; a page at 0x40000000 by its own table.
static u64 table[512] __attribute__((aligned(4096))), lower[512] __attribute__((aligned(4096))), page[512] __attribute__((aligned(4096)));
#define AT 0x40000000ull

static void map(u64 rights)
{
	pdpt[1] = (u64)table | 7;
	table[0] = (u64)lower | 7;
	lower[0] = (u64)page | rights;
	asm volatile("invlpg (%0)" ::"r"(AT) : "memory");
}

static void page_faults(void)
{
	check("read of what is not mapped", raises(read, 0x80000123, PF, 0) && caught_cr2 == 0x80000123);
	check("write of what is not mapped", raises(write, 0x80000123, PF, 2) && caught_cr2 == 0x80000123);
	check("jump to what is not mapped", raises(jump, 0x80000000, PF, 0) && caught_cr2 == 0x80000000 && caught.rip == 0x80000000);
	map(5);
	check("write of a read-only page", raises(write, AT + 8, PF, 3) && caught_cr2 == AT + 8);
	user_at = AT + 16;
	in_user(user_write, USER_CS, 2);
	check("user write of a read-only page", page_fault(AT + 16, 7));
	map(3);
	in_user(user_read, USER_CS, 2);
	check("user read of a kernel page", page_fault(AT + 16, 5));
	user_at = 0x80000000;
	in_user(user_write, USER_CS, 2);
	check("user write of what is not mapped", page_fault(0x80000000, 6));
	map(7 | 1ull << 51);
	check("reserved bit", raises(read, AT, PF, 9) || (caught.vector == PF && caught.error == 8));
	map(7 | 1ull << 63);
	check("NX is reserved while EFER.NXE is clear", raises(read, AT, PF, 9) || (caught.vector == PF && caught.error == 8));
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	check("jump into an NX page", raises(jump, AT, PF, 0x11) && caught_cr2 == AT);
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	map(7);
}

static void gates(void)
{
	set_gate(0x21, 0, 0, 0, false);
	check("int through an absent gate: #NP", raises(int_21, 0, NP, 0x21 * 8 + 2));
	in_user(user_int21, USER_CS, 2);
	check("user int through a kernel gate: #GP", caught.vector == GP && caught.error == 0x21 * 8 + 2);
	in_user(user_int3, USER_CS, 2);
	check("user int3", caught.vector == BP && caught.rip == (u64)user_int3 + 1);
}

void test_faults(void)
{
	u64 cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	check("#DE", raises(divide, 0, DE, 0));
	check("#UD", raises(undefined, 0, UD, 0));
	check("#BP", raises(breakpoint, 0, BP, 0));
	write_cr0(cr0 | 8);
	check("#NM by CR0.TS", raises(fpu, 0, NM, 0));
	asm volatile("clts");
	check("read beyond the canonical range: #GP(0)", raises(read, 1ull << 47, GP, 0));
	check("stack beyond the canonical range: #SS(0)", raises(read_stack, 1ull << 47, SS, 0));
	in_user(user_hlt, USER_CS, 2);
	check("user hlt: #GP(0)", caught.vector == GP && caught.error == 0 && caught.rip == (u64)user_hlt);
	page_faults();
	gates();
}
