// SPDX-License-Identifier: MIT
// A guest kernel that attacks its hypervisor. Command line: `case=NAME` one case, `from=NAME` those from it on, `seeds=FIRST+COUNT` random code; nothing: all
// cases that a sound hypervisor survives together with this VM. Prints `case NAME` before and `ok NAME` or `bad NAME: ...` after
// each, and ends by the debug-exit port: 0, or the number of bad ones (at most 15).
#include "tests/guests/hostile/hostile.h"

#define COM1 0x3f8
#define EXIT_PORT 0xf4
#define LAPIC 0xfee00000ull
#define WATCHDOG_VECTOR 0xe0
#define CODE64 0x00af9b000000ffffull
#define CODE32 0x00cf9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define DPL3 (3ull << 45)

void kernel_main(const char *cmdline);
void unexpected(void);

static u64 gdt[16] __attribute__((aligned(4096)));
static u64 idt[512] __attribute__((aligned(4096)));
static u8 tss[0x68] __attribute__((aligned(256)));
static u64 random_state;
static unsigned bad;

void print(const char *s)
{
	for (; *s; s++)
		outb(COM1, (u8)*s);
}

void print_hex(u64 v)
{
	char buf[17], *p = buf + 16;

	*p = 0;
	do
		*--p = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	print(p);
}

void print_number(u64 v)
{
	char buf[21], *p = buf + 20;

	*p = 0;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	print(p);
}

// xorshift64*, after Marsaglia and Vigna.
u64 random64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

void seed_random(u64 seed)
{
	random_state = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	random64();
}

u64 gate_value(void)
{
	static const u64 base[] = {GATE_TEXT,
				   GATE_IDT,
				   GATE_TSS,
				   GATE_TRUST,
				   GATE_GDT,
				   GATE_LDT,
				   GATE_VCPU,
				   GATE_STACK,
				   GATE_IST,
				   GATE_TC,
				   GATE_LINKS,
				   GATE_IBTC,
				   GATE_BASE + 0x80000000,
				   GATE_BASE + 0x8000000000};
	u64 r = random64();

	return base[r % ARRAY_SIZE(base)] + ((r >> 32) & 0x1ff8) - ((r & 0x100) ? 8 : 0);
}

u64 odd_value(void)
{
	static const u64 odd[] = {
		0,
		1,
		7,
		0xfff,
		0x1000,
		~0ull,
		1ull << 47,
		(1ull << 47) - 8,
		0xffff800000000000,
		0xffff7ffffffffff8,
		0xf000,
		0xf011,
		0xf003,
		0xe019,
		0x7fffffff,
		0x80000000,
		0xffffffff80000000,
		0x8000000000000000,
		0xfee00000,
		0xfec00000,
		0xf0000,
		0xa0000,
		MEMORY_END,
		MEMORY_END - 8,
		0x10000000000,
		KDATA_AT,
		UDATA_AT,
		KCODE_AT,
		UCODE_AT,
		KSTACK_TOP,
		0xffff810000200000,
		0xffff818000000000,
		0xffff878000000000,
		0xffff880000000000,
		0xffff808000100000,
	};
	u64 r = random64();

	switch (r & 7) {
	case 0:
	case 1:
		return gate_value();
	case 2:
		return random64();
	default:
		return odd[(r >> 8) % ARRAY_SIZE(odd)];
	}
}

bool check(bool good, const char *what, u64 detail)
{
	if (good)
		return true;
	bad++;
	print("bad: ");
	print(what);
	print(" ");
	print_hex(detail);
	print(" (vector ");
	print_hex(got.vector);
	print(" error ");
	print_hex(got.error);
	print(" rip ");
	print_hex(got.rip);
	print(" cr2 ");
	print_hex(got.cr2);
	print(")\n");
	return false;
}

void unexpected(void)
{
	check(false, "an exception of the harness itself", 0);
	outb(EXIT_PORT, 15);
}

u64 *forged(unsigned n)
{
	u64 *t = (u64 *)(TABLES + n * 0x1000ull);

	t[0] = 0;
	return t;
}

void put_code(u64 at, const void *bytes, unsigned n)
{
	memcpy((void *)at, bytes, n);
}

static void set_gate(unsigned vector, u64 handler)
{
	u64 dpl = vector == 3 || vector == 4 || vector == 0x80 ? 3 : 0;

	idt[vector * 2] = (handler & 0xffff) | (u64)SEL_KCODE << 16 | 1ull << 32 | (0x8e00ull | dpl << 13) << 32 |
			  (handler & 0xffff0000) << 32;
	idt[vector * 2 + 1] = handler >> 32;
}

static void build_tables(void)
{
	u64 base = (u64)tss, rsp0 = RSP0_TOP, ist = IST_TOP;

	gdt[SEL_KCODE / 8] = CODE64;
	gdt[SEL_KDATA / 8] = DATA;
	gdt[SEL_UCODE32 / 8] = CODE32 | DPL3;
	gdt[SEL_UDATA / 8] = DATA | DPL3;
	gdt[SEL_UCODE / 8] = CODE64 | DPL3;
	gdt[SEL_TSS_HERE / 8] = 0x67 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS_HERE / 8 + 1] = base >> 32;
	gdt[SEL_LDT_HERE / 8] = gdt[SEL_LDT_HERE / 8 + 1] = 0;
	memset(tss, 0, sizeof(tss));
	memcpy(tss + 4, &rsp0, 8);
	memcpy(tss + 0x24, &ist, 8);
	tss[0x66] = 0x68; // no I/O bitmap
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, (u64)stubs + v * 16);
}

static volatile u32 *lapic(unsigned reg)
{
	return (volatile u32 *)(LAPIC + reg);
}

static void load_tables(void)
{
	build_tables();
	lgdt((u64)gdt, sizeof(gdt) - 1);
	lidt((u64)idt, sizeof(idt) - 1);
	__asm__ volatile("lldt %w0" : : "r"(0));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS_HERE));
}

void restore_machine(void)
{
	if (READ(cr4) != KERNEL_CR4)
		WRITE(cr4, KERNEL_CR4);
	WRITE(cr8, 0);
	if (rdmsr(MSR_EFER) != KERNEL_EFER)
		wrmsr(MSR_EFER, KERNEL_EFER);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	WRITE(dr7, 0x400);
	WRITE(dr6, 0xffff0ff0);
	load_tables();
	wrmsr(MSR_STAR, (u64)SEL_UCODE32 << 48 | (u64)SEL_KCODE << 32);
	wrmsr(MSR_LSTAR, (u64)syscall_stub);
	wrmsr(MSR_SFMASK, 0x47700);
	if ((rdmsr(MSR_APIC_BASE) & ~0x100ull) != (LAPIC | 0x800))
		(void)attempt((void (*)(u64))(u64)0, 0); // nothing can be done: the watchdog is gone
	*lapic(0xf0) = 0x1ff;
	*lapic(0x80) = 0;
	*lapic(0x3e0) = 3;
	*lapic(0x320) = WATCHDOG_VECTOR;
	*lapic(0x380) = 0;
	*lapic(0xb0) = 0;
}

struct context kernel_context(void)
{
	return (struct context){.rip = KCODE_AT,
				.cs = SEL_KCODE,
				.rflags = 0x2,
				.rsp = KSTACK_TOP,
				.ss = SEL_KDATA,
				.cr3 = (u64)boot_pml4};
}

struct context user_context(void)
{
	return (struct context){.rip = UCODE_AT,
				.cs = SEL_UCODE,
				.rflags = 0x2,
				.rsp = USTACK_TOP,
				.ss = SEL_UDATA,
				.cr3 = (u64)boot_pml4};
}

static void run_case(const struct attack_case *c)
{
	unsigned before = bad;

	print("case ");
	print(c->name);
	print("\n");
	seed_random(1);
	careful = false;
	c->run();
	restore_machine();
	print(bad == before ? "ok " : "failed ");
	print(c->name);
	print("\n");
}

static const struct attack_case *const lists[] = {memory_cases, table_cases, cpu_cases, flow_cases, fatal_cases};

static bool same_word(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return !*a && (!*b || *b == ' ');
}

// only: the one case to run; from: the first one.
static void run_cases(const char *only, const char *from)
{
	for (unsigned l = 0; l < ARRAY_SIZE(lists); l++)
		for (const struct attack_case *c = lists[l]; c->name; c++) {
			if (from && same_word(c->name, from))
				from = NULL;
			if (only ? same_word(c->name, only) : !c->fatal && !from)
				run_case(c);
		}
}

static const char *option(const char *cmdline, const char *key)
{
	unsigned n = (unsigned)strlen(key);

	for (const char *p = cmdline; *p; p++)
		if (!strncmp(p, key, n))
			return p + n;
	return NULL;
}

static u64 number(const char **p)
{
	u64 n = 0;

	while (**p >= '0' && **p <= '9')
		n = n * 10 + (u64)(*(*p)++ - '0');
	return n;
}

void kernel_main(const char *cmdline)
{
	const char *seeds = option(cmdline, "seeds="), *only = option(cmdline, "case=");
	volatile u64 *page = (u64 *)((u64)boot_pml4 + 0x2000 + 3 * 8);

	*page |= 7; // UPAGE belongs to ring 3
	boot_pml4[0] |= 4;
	((u64 *)((u64)boot_pml4 + 0x1000))[0] |= 4;
	load_tables();
	restore_machine();
	print("hostile kernel\n");
	if (seeds) {
		u64 first = number(&seeds);
		const char *w = option(cmdline, "watchdog=");

		if (w)
			watchdog = (u32)number(&w);

		seeds++;
		random_seeds(first, number(&seeds), !option(cmdline, "wild"));
	} else {
		run_cases(only, option(cmdline, "from="));
	}
	print("end\n");
	outb(EXIT_PORT, (u8)(bad < 15 ? bad : 15));
}
