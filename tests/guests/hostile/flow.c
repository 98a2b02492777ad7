// SPDX-License-Identifier: MIT
// Attacks through control flow: jumps to where no code is, stacks that point into the gate, frames inside it, code that
// writes itself.
#include "tests/guests/hostile/hostile.h"

static const u64 targets[] = {
	GATE_TEXT,
	GATE_TEXT + 0x10,
	GATE_TEXT + 0xe0,
	GATE_TEXT + 0xf00,
	GATE_TEXT + 0x1000,
	GATE_TEXT + 0x1040,
	GATE_TEXT + 0x1100,
	GATE_TEXT + 0x1200,
	GATE_TEXT + 0x1300,
	GATE_IDT,
	GATE_TRUST,
	GATE_GDT,
	GATE_VCPU,
	GATE_VCPU + 0x100,
	GATE_STACK,
	GATE_STACK + 0xff0,
	GATE_IST,
	GATE_TC,
	GATE_TC + 0x100,
	GATE_TC + 0x100000,
	GATE_TC + 0x80000,
	GATE_TC + 0x200000,
	GATE_TC + 0xfffff0,
	GATE_TC + 0x1000000,
	GATE_LINKS,
	GATE_IBTC,
	GATE_BASE + 0x60000000,
	0xffff810000200000,
	0xffff818000200000,
	0xffff880000000000,
	0x8000000000000000,
	0x800000000000,
	0xffff7fffffffffff,
	0x7fffffffffff,
	~0ull,
	0x10000000000,
};

// JMP, CALL, RET, IRET, far JMP and CALL to each, from both rings: what comes is what the guest's own tables say, nothing is there.
static void jumps(void)
{
	static const char *const code[] = {"\xff\xe0",         "\xff\xd0",     "\x50\xc3",     "\x50\xc2\x10\x00",
					   "\x51\x50\x48\xcb", "\x48\xff\x2f", "\x48\xff\x1f", "\xff\x27"};
	static const u8 lengths[] = {2, 2, 2, 4, 4, 3, 3, 2};

	for (unsigned t = 0; t < ARRAY_SIZE(targets); t++)
		for (unsigned k = 0; k < ARRAY_SIZE(code); k++)
			for (unsigned user = 0; user < 2; user++) {
				struct context c = user ? user_context() : kernel_context();
				u64 far = user ? UDATA_AT : KDATA_AT;
				bool canonical = (u64)((s64)(targets[t] << 16) >> 16) == targets[t];

				put_code(c.rip, code[k], lengths[k]);
				put_code(c.rip + lengths[k], "\x0f\x0b", 2);
				((u64 *)far)[0] = targets[t];
				((u64 *)far)[1] = c.cs;
				c.gpr[RAX] = targets[t];
				c.gpr[RCX] = c.cs;
				c.gpr[RDI] = far;
				attack(&c);
				if (canonical)
					check(got.vector == VEC_PF && got.cr2 == targets[t] && got.rip == targets[t] &&
						      got.error == (user ? 0x14u : 0x10u),
					      "jump to nothing", targets[t]);
				else
					check(got.vector == VEC_GP, "jump to an address that is not canonical",
					      targets[t]);
			}
}

// Every alignment of the cache, in small steps: INT of our exits may be anywhere.
static void cache_jumps(void)
{
	put_code(KCODE_AT, "\xff\xe0", 2);
	put_code(UCODE_AT, "\xff\xe0", 2);
	for (unsigned i = 0; i < 1200; i++) {
		struct context c = i & 1 ? user_context() : kernel_context();

		c.gpr[RAX] = GATE_TC + (i < 600 ? i : random64() & 0xffffff);
		attack(&c);
		check(got.vector == VEC_PF && got.cr2 == c.gpr[RAX], "jump into the cache", c.gpr[RAX]);
	}
}

// What lies in the writable pages of the gate is no code.
static void gate_code(void)
{
	static const u64 pages[] = {GATE_VCPU + 0x700, GATE_STACK, GATE_IST, GATE_IST + 0x1000};

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		struct context c = kernel_context();

		for (unsigned k = 0; k < 64; k++)
			((volatile u8 *)pages[i])[k] = "\xcd\xf0\x0f\x0b"[k & 3];
		put_code(KCODE_AT, "\xff\xe0", 2);
		c.gpr[RAX] = pages[i];
		attack(&c);
		check(got.vector == VEC_PF && got.cr2 == pages[i], "code in a page of the gate", pages[i]);
	}
}

static void set_ist(unsigned vector, bool own_stack)
{
	struct table_register r;
	u64 *idt;

	__asm__ volatile("sidt %0" : "=m"(r));
	idt = (u64 *)r.base;
	idt[vector * 2] = (idt[vector * 2] & ~(7ull << 32)) | (own_stack ? 1ull << 32 : 0);
}

static void set_rsp0(u64 v)
{
	struct table_register r;
	u64 *gdt, tss;

	__asm__ volatile("sgdt %0" : "=m"(r));
	gdt = (u64 *)r.base;
	tss = (gdt[SEL_TSS_HERE / 8] >> 16 & 0xffffff) | (gdt[SEL_TSS_HERE / 8] >> 56 & 0xff) << 24;
	memcpy((void *)(tss + 4), &v, 8);
}

static u64 odd_stack(void)
{
	u64 r = random64();

	switch (r & 3) {
	case 0:
		return GATE_VCPU + (r >> 8 & (RETURNS_OFFSET - 8)); // not the return cache: see the fatal cases
	case 1:
		return GATE_STACK + (r >> 8 & 0x1ff8);
	default:
		return odd_value() & ((r & 0x80) ? ~0ull : ~7ull);
	}
}

// RSP anywhere when an exception, an interrupt, or a system call comes, with and without a stack switch.
static void stacks(void)
{
	static const u8 code[][5] = {{0x0f, 0x0b, 0x90, 0x90, 0x90}, {0xcc, 0x90, 0x90, 0x90, 0x90},
				     {0x0f, 0x05, 0x90, 0x90, 0x90}, {0xcd, 0x80, 0x90, 0x90, 0x90},
				     {0x8b, 0x00, 0x90, 0x90, 0x90}, {0x50, 0x90, 0x90, 0x90, 0x90},
				     {0x9c, 0x9d, 0x90, 0x90, 0x90}, {0xe8, 0x00, 0x00, 0x00, 0x00},
				     {0xc8, 0x10, 0x00, 0x02, 0x90}, {0x48, 0xcf, 0x90, 0x90, 0x90},
				     {0x58, 0x5b, 0x90, 0x90, 0x90}, {0xc9, 0x90, 0x90, 0x90, 0x90},
				     {0xcf, 0x90, 0x90, 0x90, 0x90}, {0x48, 0xcb, 0x90, 0x90, 0x90},
				     {0x9d, 0x90, 0x90, 0x90, 0x90}};

	for (unsigned i = 0; i < 1500; i++) {
		struct context c = i & 1 ? user_context() : kernel_context();
		unsigned k = (unsigned)(random64() % ARRAY_SIZE(code));

		for (unsigned v = 0; v < 32; v++)
			if (v != VEC_DF)
				set_ist(v, i & 2);
		put_code(c.rip, code[k], 5);
		put_code(c.rip + 5, "\x0f\x0b", 2);
		c.rsp = odd_stack();
		c.gpr[RBP] = odd_stack();
		if (i & 4)
			set_rsp0(odd_stack());
		c.gpr[RAX] = odd_value();
		attack(&c);
		set_rsp0(RSP0_TOP);
	}
	for (unsigned v = 0; v < 32; v++)
		set_ist(v, true);
}

// System calls with a hostile RSP and RCX, and LSTAR where there is no code.
static void write_lstar(u64 v)
{
	wrmsr(MSR_LSTAR, v);
}

static void system_calls(void)
{
	put_code(UCODE_AT, "\x0f\x05\x0f\x0b", 4);
	for (unsigned i = 0; i < 800; i++) {
		struct context c = user_context();

		c.rsp = odd_value();
		c.gpr[RCX] = odd_value();
		c.gpr[R11] = random64();
		c.rflags = (random64() & 0x240cd5) | 2; // without TF: SFMASK may leave it
		if (i % 3 == 0)
			attempt(write_lstar, targets[random64() % ARRAY_SIZE(targets)]);
		if (i % 5 == 0)
			wrmsr(MSR_SFMASK, random64() & 0xffffffff & ~0x10000ull);
		attack(&c);
		if (i % 3)
			check(got.vector == 256 && got.rsp == c.rsp, "system call", got.rsp);
		wrmsr(MSR_LSTAR, (u64)syscall_stub);
		wrmsr(MSR_SFMASK, 0x47700);
	}
}

// Frames of all shapes for IRET, SYSRET and far RET, native sizes and odd ones.
static void frames(void)
{
	static const char *const code[] = {"\x48\xcf",     "\xcf",         "\x66\xcf", "\x48\xcb", "\xcb",
					   "\xca\x08\x00", "\x48\x0f\x07", "\x0f\x07", "\x0f\x35"};
	static const u16 selectors[] = {
		SEL_KCODE, SEL_KDATA,     SEL_UCODE,     SEL_UDATA,    SEL_UCODE32, 0,      1,      2,
		3,         SEL_KCODE | 1, SEL_KCODE | 2, SEL_TSS_HERE, 0xf000,      0xf008, 0xf011, 0xf019,
		0xf013,    0xf01b,        0xf020,        0xf030,       0xffff,      7,      4};

	for (unsigned i = 0; i < 2500; i++) {
		struct context c = i & 7 ? kernel_context() : user_context();
		u64 *f = (u64 *)(c.rsp - 128);
		unsigned k = (unsigned)(random64() % ARRAY_SIZE(code));

		put_code(c.rip, "\x90\x90\x90", 3);
		put_code(c.rip, code[k], k == 5 ? 3 : (unsigned)strlen(code[k]));
		put_code(c.rip + 3, "\x0f\x0b", 2);
		put_code(UCODE_AT + 0x100, "\x0f\x0b", 2);
		f[0] = random64() & 3 ? UCODE_AT + 0x100 : targets[random64() % ARRAY_SIZE(targets)];
		f[1] = selectors[random64() % ARRAY_SIZE(selectors)];
		f[2] = (random64() & 0x3c7fd7) & ~0x20000ull;
		f[3] = random64() & 1 ? USTACK_TOP : odd_value();
		f[4] = selectors[random64() % ARRAY_SIZE(selectors)];
		c.rsp = (u64)f;
		c.gpr[RCX] = f[0];
		c.gpr[RDX] = odd_value();
		c.gpr[R11] = f[2];
		attack(&c);
	}
}

// Code that changes itself: the next instruction, its own, through an alias, across a page's end.
static void self_modifying(void)
{
	u64 *pdpt = forged(0), *pd = forged(1), *pt = forged(2), alias = 306ull << 39 | 0xffff000000000000;
	struct context c = kernel_context();

	pdpt[0] = (u64)pd | 3;
	pd[0] = (u64)pt | 3;
	for (unsigned i = 0; i < 512; i++)
		pt[i] = (KPAGE + i * 4096ull) | 3;
	boot_pml4[306] = (u64)pdpt | 3;
	// mov byte [rdi], al; mov eax, imm8-patched; ud2 -- the store changes the immediate behind it
	for (unsigned i = 0; i < 800; i++) {
		u64 at = KCODE_AT + (i & 1 ? 0xffc : 0x100);

		put_code(at, "\x88\x1f\xb8\x55\0\0\0\x0f\x0b", 9);
		c.rip = at;
		c.gpr[RBX] = i & 0xff;
		c.gpr[RDI] = (i & 2 ? alias + (at - KPAGE) : at) + 3;
		attack(&c);
		check(got.vector == VEC_UD && got.rax == (i & 0xff), "self-modifying code", got.rax << 32 | i);
	}
	// a storm: rep movsb over the code that runs it
	for (unsigned i = 0; i < 200; i++) {
		put_code(KCODE_AT + 0x100, "\xf3\xa4\x0f\x0b", 4);
		for (unsigned k = 0; k < 4096; k++)
			((u8 *)KDATA_AT)[k] = 0x90;
		put_code(KDATA_AT + 0x140, "\x0f\x0b", 2);
		c.rip = KCODE_AT + 0x100;
		c.gpr[RSI] = KDATA_AT;
		c.gpr[RDI] = KCODE_AT + 0x100;
		c.gpr[RCX] = 0x200;
		attack(&c);
		check(got.vector == VEC_UD, "code overwritten while it runs", i);
	}
	boot_pml4[306] = 0;
	invlpg(alias);
}

static void invlpg_at(u64 va)
{
	invlpg(va);
}

static void flush_line(u64 va)
{
	__asm__ volatile("clflush (%0)" : : "r"(va) : "memory");
}

static void invalidate(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
		attempt(invlpg_at, targets[i]);
		attempt(flush_line, targets[i]);
	}
	for (unsigned i = 0; i < 2000; i++)
		attempt(invlpg_at, odd_value());
	exercise();
}

const struct attack_case flow_cases[] = {
	{"jumps", jumps, false},
	{"cache-jumps", cache_jumps, false},
	{"gate-code", gate_code, false},
	{"stacks", stacks, false},
	{"system-calls", system_calls, false},
	{"frames", frames, false},
	{"self-modifying", self_modifying, false},
	{"invalidate", invalidate, false},
	{0},
};
