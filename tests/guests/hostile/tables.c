// SPDX-License-Identifier: MIT
// Attacks through descriptor tables: call gates, system descriptors, tables at odd places, the hypervisor's own selectors.
#include "tests/guests/hostile/hostile.h"

#define TABLE_AT (KDATA_AT + 0x40000)
#define LDT_AT (KDATA_AT + 0x60000)
#define CODE64 0x00af9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define P (1ull << 47)
#define DPL(n) ((u64)(n) << 45)

static u64 *const table = (u64 *)TABLE_AT;
static u64 *const ldt = (u64 *)LDT_AT;

// The harness's descriptors in a table of our own, 64 KiB.
static void own_gdt(void)
{
	struct table_register r;

	__asm__ volatile("sgdt %0" : "=m"(r));
	memset(table, 0, 0x10000);
	memcpy(table, (void *)r.base, MIN(r.limit + 1ull, 0x1000ull));
	lgdt(TABLE_AT, 0xffff);
}

static void own_ldt(unsigned limit)
{
	table[SEL_LDT_HERE / 8] = limit | (LDT_AT & 0xffffff) << 16 | 0x82ull << 40 | (LDT_AT >> 24 & 0xff) << 56;
	table[SEL_LDT_HERE / 8 + 1] = 0;
	__asm__ volatile("lldt %w0" : : "r"(SEL_LDT_HERE));
}

static u64 call_gate(u16 selector, u64 target, unsigned type, unsigned dpl)
{
	return (target & 0xffff) | (u64)selector << 16 | (u64)type << 40 | P | DPL(dpl) | (target >> 16 & 0xffff) << 48;
}

// far call [rip + ...] in ring 3 and in ring 0
static unsigned far_call(u16 selector, bool user)
{
	u8 code[16] = {0xff, 0x1d, 2, 0, 0, 0, 0x0f, 0x0b, 0, 0, 0, 0};
	struct context c = user ? user_context() : kernel_context();

	code[12] = (u8)selector;
	code[13] = (u8)(selector >> 8);
	put_code(c.rip, code, sizeof(code));
	return attack(&c);
}

static void call_gates(void)
{
	static const u16 targets[] = {SEL_KCODE, SEL_UCODE, 0xf000, 0xf008, 0xf011, 0xf003,
				      0xf020,    0xf030,    0,      0xe019, 0xfff8, 0xffff};

	own_gdt();
	own_ldt(0xffff);
	put_code(KCODE_AT + 0x800, "\x0f\x0b", 2); // UD2: the gate worked as the architecture says
	for (unsigned t = 0; t < ARRAY_SIZE(targets); t++)
		for (unsigned type = 0; type < 16; type++) {
			u64 to = type & 1 ? KCODE_AT + 0x800 : GATE_TEXT + 0x1000;

			ldt[0] = table[SEL_SPARE / 8] = call_gate(targets[t], to, type, 3);
			ldt[1] = table[SEL_SPARE / 8 + 1] = to >> 32;
			for (unsigned user = 0; user < 2; user++) {
				unsigned v = far_call(4 | (user ? 3 : 0), user);

				check(v == VECTOR(VEC_GP) || v == VECTOR(VEC_UD) || v == VECTOR(VEC_PF) ||
					      v == VECTOR(VEC_NP) || v == VECTOR(VEC_SS) || v == VECTOR(VEC_TS),
				      "call through an LDT entry", type << 16 | targets[t]);
				check(v != VECTOR(VEC_PF) || got.cr2 == to, "call gate that leads elsewhere", got.cr2);
				far_call(SEL_SPARE | (user ? 3 : 0), user);
			}
		}
}

// Selectors of every kind through IRET, as CS and SS, in frames for ring 3.
static void frame_selectors(void)
{
	own_gdt();
	own_ldt(0xffff);
	for (unsigned i = 0x1c00; i < 0x2000; i++)
		table[i] = (i & 1 ? CODE64 : DATA) | DPL(3);
	for (unsigned i = 0; i < 64; i++)
		ldt[i] = random64() | P;
	put_code(UCODE_AT, "\x0f\x0b", 2);
	for (unsigned i = 0; i < 1500; i++) {
		struct context c = user_context();
		u16 sel = (u16)(i & 1 ? 0xe000 + (random64() & 0x1fff) : random64() & 0x23f);

		if (i % 3 == 0)
			c.cs = sel;
		else if (i % 3 == 1)
			c.ss = sel;
		else
			c.cs = sel, c.ss = (u16)odd_value();
		if (i % 7 == 0)
			c.rip = odd_value();
		if (i % 11 == 0)
			c.rflags = random64();
		c.rflags &= ~0x20000ull; // VM: QEMU returns to virtual-8086 mode from long mode
		attack(&c);
	}
}

static void load_selector(u64 sel)
{
	__asm__ volatile("mov %w0, %%ds; mov %w0, %%es; mov %w0, %%fs; mov %w0, %%gs" : : "r"(sel));
}

static void query_selector(u64 sel)
{
	u64 a, b;

	__asm__ volatile("lar %w2, %w0; lsl %w2, %w1; verr %w2; verw %w2" : "=&r"(a), "=&r"(b) : "r"(sel) : "cc");
}

// Random descriptors, rewritten while they are loaded.
static void random_descriptors(void)
{
	own_gdt();
	own_ldt(0xffff);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned at = SEL_SPARE / 8 + (unsigned)(random64() & 15);
		u64 d = random64() | (i & 1 ? P : 0);

		table[at] = d;
		ldt[at] = ~d;
		attempt(load_selector, at * 8 | (random64() & 7));
		attempt(query_selector, at * 8 | (random64() & 7));
		if (i % 16 == 0) {
			attempt(load_selector, 0xf000 + (random64() & 0x3f));
			attempt(query_selector, 0xf000 + (random64() & 0x3f));
		}
	}
	load_selector(SEL_KDATA);
}

static void load_gdt(u64 base)
{
	lgdt(base, 0x7ff);
	load_selector(SEL_KDATA);
}

static void load_ldt_from(u64 sel)
{
	__asm__ volatile("lldt %w0" : : "r"(sel));
}

static void load_tr_from(u64 sel)
{
	__asm__ volatile("ltr %w0" : : "r"(sel));
}

// The GDT where it must not be. CS and SS are kept by their hidden parts; what a load from such a table does may fault only:
// but exceptions need CS from the GDT, so the table's fifth entry on is all that is asked for.
static void odd_ldts(void)
{
	own_gdt();
	for (unsigned i = 0; i < 600; i++) {
		u64 base = odd_value(), limit = random64() & 0xfffff;

		table[SEL_SPARE / 8] = (limit & 0xffff) | (base & 0xffffff) << 16 | 0x82ull << 40 |
				       (limit >> 16) << 48 | (random64() & 1) << 55 | (base >> 24 & 0xff) << 56;
		table[SEL_SPARE / 8 + 1] = i & 1 ? base >> 32 : random64();
		if (attempt(load_ldt_from, SEL_SPARE))
			continue;
		attempt(load_selector, 4 | (random64() & 0xfff8));
		attempt(query_selector, 4 | (random64() & 0xfff8));
	}
}

static void system_selectors(void)
{
	own_gdt();
	for (unsigned i = 0; i < 1000; i++) {
		table[SEL_SPARE / 8] = random64() | P;
		table[SEL_SPARE / 8 + 1] = i & 1 ? 0 : random64();
		attempt(load_ldt_from, i & 4 ? SEL_SPARE : random64());
		if (table[SEL_SPARE / 8] >> 40 & 0x10)
			attempt(load_tr_from, SEL_SPARE);
		attempt(load_tr_from, 0xf020);
		attempt(load_ldt_from, 0xf030);
	}
	__asm__ volatile("lldt %w0" : : "r"(0));
}

// A GDT at odd places: what is loaded from it faults or not, the harness's own table is put back by hand in between.
static void odd_gdts(void)
{
	struct table_register own;

	__asm__ volatile("sgdt %0" : "=m"(own));
	for (unsigned i = 0; i < 300; i++) {
		u64 base = odd_value();

		if ((u64)((s64)(base << 16) >> 16) != base)
			continue;
		lgdt(base, (u16)(random64() | 7));
		lgdt(own.base, own.limit);
	}
	own_gdt(); // across pages: 17 of them
	for (unsigned shift = 8; shift < 0x1000; shift += 0x1f8) {
		memmove((void *)(TABLE_AT + 0x18000 + shift), table, 0x800);
		load_gdt(TABLE_AT + 0x18000 + shift);
	}
}

const struct attack_case table_cases[] = {
	{"call-gates", call_gates, false},
	{"frame-selectors", frame_selectors, false},
	{"odd-ldts", odd_ldts, false},
	{"random-descriptors", random_descriptors, false},
	{"odd-gdts", odd_gdts, false},
	{"system-selectors", system_selectors, false},
	{0},
};
