// SPDX-License-Identifier: MIT
// Runs the instructions of ops.S in 32-bit and 16-bit protected mode, virtual-8086 and real mode, and prints what they did.
#include "kernel.h"
#include "real.h"

struct op {
	const char *name;
	u32 undefined; // flags
	const u8 *code32, *code16, *end;
};
extern const struct op optable[];

#define ARITH 0x8d5u
#define CODE 0x8000u
#define DATA 0xa000u // in protected mode BUFFER_DS starts there

static struct {
	u8 below[4096];
	struct start s;
	u8 above[64];
} area;

static void go_area(u32 unused)
{
	go(&area.s);
}

static void data(void)
{
	u32 seed = 0x12345678, *at = (u32 *)DATA;

	for (unsigned i = 0; i < 1024; i++) {
		at[i] = seed;
		seed = seed * 1664525 + 1013904223;
	}
}

static u32 sum(void)
{
	u32 s = 0;

	for (const u32 *at = (const u32 *)DATA; at < (const u32 *)DATA + 1024; at++)
		s = (s << 5 | s >> 27) ^ *at;
	return s;
}

static const struct start first = {
	.edi = 0x120, .esi = 0x240, .ebp = 0x80, .ebx = 0x100, .edx = 0x89abcdef, .ecx = 5, .eax = 0x1357fedc};

static void result(const char *mode, const struct op *o, u32 stack)
{
	static char text[80];
	u32 v[11];
	unsigned n = 0;

	for (const char *c = o->name; *c; c++)
		text[n++] = *c;
	text[n++] = ',';
	text[n++] = ' ';
	for (const char *c = mode; *c; c++)
		text[n++] = *c;
	text[n] = 0;
	v[0] = caught.vector;
	v[1] = caught.eip;
	v[2] = caught.eflags & ~o->undefined & (ARITH | F_DF);
	v[3] = caught.eax, v[4] = caught.ebx, v[5] = caught.ecx, v[6] = caught.edx, v[7] = caught.esi,
	v[8] = caught.edi;
	v[9] = caught.ebp;
	v[10] = sum();
	(void)stack;
	value(text, v, 11);
}

static void copy(const u8 *from, const u8 *end)
{
	u8 *to = (u8 *)CODE;

	while (from < end)
		*to++ = *from++;
}

static void run(const struct op *o, const char *mode, const struct start *s)
{
	data();
	area.s = *s;
	caught.vector = ~0u;
	guarded(go_area, 0);
	result(mode, o, 0);
}

void test_ops(void)
{
	set_descriptor(BUFFER_DS, DATA, 0xffff, 0x0093);
	for (const struct op *o = optable; o->name; o++) {
		struct start s = first;

		set_descriptor(CODE32_BASED, CODE, 0xffff, 0x409b);
		set_descriptor(CODE16, CODE, 0xffff, 0x009b);
		s.cs = CODE32_BASED;
		s.eflags = 2;
		s.ds = s.es = BUFFER_DS;
		copy(o->code32, o->code16);
		run(o, "32 bits", &s);
		copy(o->code16, o->end);
		s.cs = CODE16;
		run(o, "16 bits", &s);
		s.cs = CODE >> 4;
		s.eflags = 2 | F_VM | F_IOPL;
		s.esp = 0x1000;
		s.ss = 0xb00;
		s.ds = s.es = s.fs = DATA >> 4;
		main_tss.io_map = 0xffff;
		run(o, "virtual-8086", &s);
		main_tss.io_map = 104;
		data();
		s.eflags = 2;
		s.ss = 0;
		real_run(&s);
		result("real", o, 0);
	}
}
