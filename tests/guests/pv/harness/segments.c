// SPDX-License-Identifier: MIT
// Instructions that use segments, gates and MSRs, for attempt().
#include "tests/guests/pv/harness/pv.h"

u64 msr_value;

void load_fs(u64 selector)
{
	__asm__ volatile("mov %w0, %%fs" : : "r"(selector));
}

void far_call(u64 selector)
{
	struct PACKED {
		u32 offset;
		u16 selector;
	} to = {0x1000, (u16)selector};

	__asm__ volatile("lcall *%0" : : "m"(to));
}

void int_at(u64 code)
{
	((void (*)(void))code)();
}

void read_msr(u64 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"((u32)msr));
	msr_value = (u64)hi << 32 | lo;
}

void write_msr(u64 msr)
{
	__asm__ volatile("wrmsr" : : "c"((u32)msr), "a"((u32)msr_value), "d"((u32)(msr_value >> 32)));
}
