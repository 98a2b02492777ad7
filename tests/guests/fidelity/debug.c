// SPDX-License-Identifier: MIT
// Single steps, data and instruction breakpoints, debug registers.
#include "kernel.h"

static u64 steps[8], dr6s[8];
static volatile u64 target;

static bool record(struct frame *f)
{
	u64 n = traps - 1;

	if (f->vector != DB)
		return false;
	if (n < 8) {
		steps[n] = f->rip;
		dr6s[n] = caught_dr6;
	}
	asm volatile("mov %0, %%db6" ::"r"(0ull));
	if (!(caught_dr6 & 0x4000))
		f->rflags |= F_RF; // a breakpoint on an instruction: go on past it
	return true;
}

static void begin(void)
{
	for (unsigned i = 0; i < 8; i++)
		steps[i] = dr6s[i] = 0;
	asm volatile("mov %0, %%db6" ::"r"(0ull));
	traps = 0;
	hook = record;
}

static void set_breakpoint(u64 at, u64 control)
{
	asm volatile("mov %0, %%db0; mov %1, %%db7" ::"r"(at), "r"(0x400 | control));
}

asm(".globl step_code, step_end\n step_code: pushf\n orl $0x100, (%rsp)\n popf\n nop\n s1: mov $5, %eax\n s2: cpuid\n s3: pushf\n"
    "s4: andl $~0x100, (%rsp)\n s5: popf\n s6: nop\n ret\n"
    "user_step_code: pushf\n orl $0x100, (%rsp)\n popf\n nop\n u1: int $0x80\n"
    "break_code: nop\n b1: inc %rax\n nop\n ret\n");
extern u8 step_code[], s1[], s2[], s3[], s4[], s5[], s6[], user_step_code[], u1[], break_code[], b1[];

static void step(u64 unused)
{
	asm volatile("call step_code" ::: "rax", "rbx", "rcx", "rdx", "memory", "cc");
}

static void user_step(void)
{
	asm volatile("jmp user_step_code");
}

static void touch(u64 write)
{
	if (write)
		target = 1;
	else
		(void)target;
}

static void breaks(u64 unused)
{
	asm volatile("call break_code" ::: "rax", "cc");
}

static void registers(void)
{
	u64 v;

	asm volatile("mov %1, %%db6; mov %%db6, %0" : "=r"(v) : "r"(0ull));
	check("dr6: fixed bits", v == 0xffff0ff0);
	asm volatile("mov %1, %%db7; mov %%db7, %0" : "=r"(v) : "r"(0ull));
	check("dr7: fixed bit", v == 0x400);
	asm volatile("mov %1, %%db1; mov %%db1, %0" : "=r"(v) : "r"(0xffff888012345678ull));
	check("dr1", v == 0xffff888012345678ull);
}

void test_debug(void)
{
	registers();
	begin();
	guarded(step, 0);
	check("single steps in the kernel", traps == 6 && steps[0] == (u64)s1 && steps[1] == (u64)s2 && steps[2] == (u64)s3 &&
						    steps[3] == (u64)s4 && steps[4] == (u64)s5 && steps[5] == (u64)s6);
	check("single step: dr6", dr6s[0] == 0xffff4ff0);
	begin();
	in_user(user_step, USER_CS, 2);
	check("single step in user mode", steps[0] == (u64)u1 && dr6s[0] == 0xffff4ff0 && caught.vector == 0x80);
	begin();
	set_breakpoint((u64)&target, 1 | 0xd0000); // write, 4 bytes
	guarded(touch, 0);
	check("write breakpoint: not on a read", traps == 0);
	guarded(touch, 1);
	check("write breakpoint", traps == 1 && dr6s[0] == 0xffff0ff1);
	begin();
	set_breakpoint((u64)&target, 1 | 0xf0000);
	guarded(touch, 0);
	check("access breakpoint on a read", traps == 1 && dr6s[0] == 0xffff0ff1);
	begin();
	set_breakpoint((u64)b1, 1);
	guarded(breaks, 0);
	check("instruction breakpoint", traps == 1 && steps[0] == (u64)b1 && dr6s[0] == 0xffff0ff1);
	set_breakpoint(0, 0);
	begin();
	guarded(breaks, 0);
	check("no breakpoint any more", traps == 0);
	hook = 0;
}
