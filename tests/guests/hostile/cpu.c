// SPDX-License-Identifier: MIT
// Attacks through the processor's registers: control, model-specific and debug registers, flags, ports, timers.
#include "tests/guests/hostile/hostile.h"

static volatile u64 sink;

// Every instruction that the translator rewrites, once: what was put into the gate's pages before is used by these. Whatever
// exception comes out is the guest's own business.
static void rewritten(u64 unused)
{
	u64 t;

	__asm__ volatile(
		"pushfq; popfq; cli; pushfq; popq %0; pushq $0x202; popfq; sti; nop; cli; pushfq; andq $~0x200, (%%rsp); popfq"
		: "=r"(t)
		:
		: "memory", "cc");
	sink = t;
	__asm__ volatile("mov %%cs, %0; mov %%ss, %0; push %%fs; popq %0" : "=r"(t));
	__asm__ volatile("mov %%cr2, %0" : "=r"(t));
	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(t) : : "memory");
	__asm__ volatile("lea 1f(%%rip), %0; jmp *%0; 1: lea 2f(%%rip), %0; call *%0; jmp 3f; 2: ret; 3:"
			 : "=r"(t)
			 :
			 : "memory");
	__asm__ volatile("mov %%rsp, %0; pushq %1; pushq %0; pushfq; pushq %2; lea 1f(%%rip), %0; pushq %0; iretq; 1:"
			 : "=&r"(t)
			 : "i"(SEL_KDATA), "i"(SEL_KCODE)
			 : "memory");
	(void)inb(0x3fd);
	outb(0x3fb, 3);
	__asm__ volatile("mov %0, %%ds" : : "r"(SEL_KDATA));
}

static void swap_bases(u64 unused)
{
	__asm__ volatile("swapgs; swapgs" : : : "memory");
}

static void to_user_and_back(u64 unused)
{
	struct context c = user_context();

	put_code(UCODE_AT, "\x0f\x05\x0f\x0b", 4); // SYSCALL; UD2
	attack(&c);
}

void exercise(void)
{
	attempt(rewritten, 0);
	attempt(swap_bases, 0);
	to_user_and_back(0);
}

static void write_cr0(u64 v)
{
	WRITE(cr0, v);
}

static void write_cr4(u64 v)
{
	WRITE(cr4, v);
}

// Combinations that leave 64-bit mode alone (the rest is in the fatal cases).
static void control_registers(void)
{
	careful = true;
	for (unsigned i = 0; i < 200; i++) {
		u64 r = random64();

		attempt(write_cr0, (KERNEL_CR0 ^ (r & 0x6005000e)) & ~(r >> 32 & 0x10020));
		if (i % 3 == 0)
			attempt(write_cr0, (random64() & ~1ull) | 0x80000000); // PG without PE
		if (i % 3 == 1)
			attempt(write_cr0, random64() << 32 | KERNEL_CR0);
		exercise();
		attempt(write_cr4, KERNEL_CR4 | (random64() & (i & 1 ? 0x3fffff : 0x7ff) & ~0x300000ull));
		exercise();
		WRITE(cr0, KERNEL_CR0);
		WRITE(cr4, KERNEL_CR4);
		if (i % 5 == 0)
			attempt(write_cr4, random64() & ~0x20ull);
	}
}

static void try_wrmsr_efer(u64 v)
{
	wrmsr(MSR_EFER, v);
}

static void efer(void)
{
	for (unsigned i = 0; i < 200; i++) {
		attempt(try_wrmsr_efer, random64());
		attempt(try_wrmsr_efer, KERNEL_EFER ^ (1ull << (random64() & 15)));
		exercise();
		wrmsr(MSR_EFER, KERNEL_EFER);
	}
}

static u32 msr_number;

static void read_msr(u64 unused)
{
	got.rax = rdmsr(msr_number);
}

static void write_msr(u64 v)
{
	wrmsr(msr_number, v);
}

// Not written: KVM's, which name memory to write to (a value of ours only), and the APIC's base, which only a reset brings back.
static bool dangerous_msr(u32 n)
{
	return n == MSR_APIC_BASE || n == MSR_EFER;
}

static void msr_range(u32 from, u32 to, unsigned values)
{
	for (msr_number = from; msr_number < to; msr_number++) {
		u64 old;
		bool kvm = msr_number >> 8 == 0x4b564d || msr_number == 0x11 || msr_number == 0x12;

		if (attempt(read_msr, 0))
			old = 0;
		else
			old = got.rax;
		if (dangerous_msr(msr_number))
			continue;
		for (unsigned i = 0; i < values; i++) {
			u64 v = i == 0 ? old : odd_value();

			if (kvm)
				v = (KDATA_AT + (v & 0xffc)) | (v & 1);
			if (attempt(write_msr, v) == 0)
				attempt(read_msr, 0);
		}
		attempt(write_msr, kvm ? 0 : old);
	}
}

static void msrs(void)
{
	static const u32 windows[][2] = {{0x0, 0x20},
					 {0x8b, 0x8c},
					 {0xc0, 0x100},
					 {0x170, 0x190},
					 {0x1a0, 0x200},
					 {0x200, 0x280},
					 {0x2f0, 0x310},
					 {0x380, 0x3a0},
					 {0x400, 0x420},
					 {0x480, 0x4a0},
					 {0x6e0, 0x6e1},
					 {0x800, 0x840},
					 {0xd90, 0xda8},
					 {0x40000000, 0x40000010},
					 {0x4b564d00, 0x4b564d10},
					 {0xc0000080, 0xc0000084},
					 {0xc0000100, 0xc0000104},
					 {0xc0010000, 0xc0010020},
					 {0xc0010110, 0xc0010120},
					 {0xfffffff0, 0xfffffff8}};

	for (unsigned i = 0; i < ARRAY_SIZE(windows); i++)
		msr_range(windows[i][0], windows[i][1], 3);
	for (unsigned i = 0; i < 500; i++) {
		u32 n = (u32)random64();

		if (!dangerous_msr(n))
			msr_range(n, n + 1, 1);
	}
	exercise();
}

#define WRITE_DR(n, v) __asm__ volatile("mov %0, %%dr" #n : : "r"((u64)(v)))

static void write_dr7(u64 v)
{
	WRITE_DR(7, v);
}

static void write_dr6(u64 v)
{
	WRITE_DR(6, v);
}

static void clear_debug(void)
{
	for (unsigned i = 0; i < 2; i++) // general detect may stop the first
		attempt(write_dr7, 0x400);
}

static void watched_store(u64 va)
{
	*(volatile u64 *)va = 1;
}

// Breakpoints on every part of the gate, on the hypervisor's own slots, on ports, with every condition and length; while system
// calls, faults and port accesses go through them. And one on our own memory, which must work.
static void debug_registers(void)
{
	WRITE_DR(0, KDATA_AT);
	WRITE_DR(7, 0x400 | 3 | 0xd0000);
	check(attempt(watched_store, KDATA_AT) == VECTOR(VEC_DB), "a breakpoint on the guest's own memory", 0);
	clear_debug();
	for (unsigned i = 0; i < 300; i++) {
		WRITE(cr4, KERNEL_CR4 | (i & 1 ? 8 : 0));
		WRITE_DR(0, i % 3 ? gate_value() : 0x3f8);
		WRITE_DR(1, i % 3 ? 0xffff810000000000 + (random64() & 0x77fffffffff) : 0x2f8);
		WRITE_DR(2, i % 3 ? GATE_TEXT + (random64() & 0x1fff) : 0x2fd);
		WRITE_DR(3, i & 1 ? random64() : 0xffff808000000000 - (random64() & 15));
		attempt(write_dr7, (random64() & 0xffff0000) | 0x4ff | (i % 7 ? 0 : 0x2000));
		exercise();
		(void)inb(0x40);
		clear_debug();
		WRITE_DR(3, 0);
	}
	attempt(write_dr7, ~0ull);
	attempt(write_dr6, ~0ull);
	attempt(write_dr6, 1ull << 32);
	clear_debug();
	WRITE(cr4, KERNEL_CR4);
}

static void load_flags(u64 v)
{
	__asm__ volatile("pushq %0; popfq; nop; nop; pushfq; popq %0" : "+r"(v) : : "memory", "cc");
	got.rax = v;
}

static void flags(void)
{
	for (unsigned i = 0; i < 1200; i++) {
		u64 v = random64() & 0x3f7fd5 & ~0x200ull;
		struct context c = i & 2 ? user_context() : kernel_context();
		static const char *const code[] = {"\x0f\x05\x0f\x0b",
						   "\xf1\x0f\x0b",
						   "\xcc\x0f\x0b",
						   "\x9c\x9d\x0f\x0b",
						   "\xcd\x80\x0f\x0b",
						   "\xcd\xf0\x0f\x0b",
						   "\xcd\xf1\x0f\x0b",
						   "\x48\xcf\x0f\x0b",
						   "\x8e\xd0\xcc\x0f\x0b",
						   "\x8e\xd0\x0f\x05\x0f\x0b",
						   "\x8e\xd0\xcd\xf0\x0f\x0b",
						   "\xcd\x02\x0f\x0b"};
		unsigned k = (unsigned)(random64() % ARRAY_SIZE(code));

		attempt(load_flags, v);
		put_code(c.rip, "\x90\x90\x90\x90\x90\x90\x0f\x0b", 8);
		put_code(c.rip, code[k], (unsigned)strlen(code[k]));
		c.rflags = v | 2;
		c.gpr[RAX] = c.ss;
		attack(&c);
	}
	__asm__ volatile("cld");
}

// MOV SS with a data breakpoint on its operand, then an entry into the kernel: the exception comes after that entry.
static void held_back(void)
{
	static const char *const entries[] = {"\x0f\x05", "\xcc\x90", "\xcd\x80", "\xcd\xf0", "\xcd\xf1",
					      "\xf1\x90", "\x0f\x0b", "\x8e\xd0", "\x0f\x34"};

	*(volatile u16 *)UDATA_AT = SEL_UDATA;
	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
		for (unsigned user = 0; user < 2; user++) {
			struct context c = user ? user_context() : kernel_context();

			*(volatile u16 *)UDATA_AT = (u16)c.ss;
			WRITE_DR(0, UDATA_AT);
			WRITE_DR(7, 0x400 | 3 | 0x70000); // reads and writes, 2 bytes
			put_code(c.rip, "\x8e\x17", 2);   // mov ss, [rdi]
			put_code(c.rip + 2, entries[i], 2);
			put_code(c.rip + 4, "\x0f\x0b", 2);
			c.gpr[RDI] = UDATA_AT;
			attack(&c);
			clear_debug();
		}
}

static void port_in(u64 port)
{
	u64 v;

	__asm__ volatile("inb %w1, %b0; inw %w1, %w0; inl %w1, %k0" : "=a"(v) : "d"(port));
	__asm__ volatile("insb" : : "D"(KDATA_AT), "d"(port) : "memory");
}

static void port_out(u64 port)
{
	u64 v = random64();

	__asm__ volatile("outb %b0, %w1; outw %w0, %w1; outl %k0, %w1" : : "a"(v), "d"(port));
}

// Ports that end the VM on purpose, or that carry this report.
static bool ending_port(unsigned p)
{
	return (p >= 0xf1 && p <= 0xf7) || (p >= 0x502 && p <= 0x505) || (p >= 0x3f5 && p <= 0x3ff) || (p >= 0x5fd && p <= 0x620) ||
	       (p >= 0x61 && p <= 0x64) || p == 0x92 || p == 0x8f || (p >= 0x90 && p <= 0x92) ||
	       (p >= 0xcf5 && p <= 0xcff) || p == 0xb2 || p == 0xaf || p == 0xb1 || p == 0xb0 ||
	       (p >= 0xb000 && p < 0xb100);
}

static void ports(void)
{
	struct context c = user_context();

	for (unsigned p = 0; p < 0x10000; p += p < 0x1000 ? 1 : 0x3d) {
		attempt(port_in, p);
		if (!ending_port(p))
			attempt(port_out, p);
	}
	put_code(UCODE_AT, "\xec\x0f\x0b", 3); // IN AL, DX
	for (unsigned i = 0; i < 500; i++) {
		c.gpr[RDX] = random64();
		c.rflags = 0x2 | (i & 1 ? 0x3000 : 0);
		attack(&c);
		if (!(i & 1))
			check(got.vector == VEC_GP, "ring 3 reads a port", c.gpr[RDX]);
	}
}

static void spin(u64 ticks)
{
	u64 until = rdtsc() + ticks;

	while (rdtsc() < until)
		;
}

#define LAPIC_REG(r) (*(volatile u32 *)(0xfee00000ull + (r)))

// Timers as fast as they can be asked for, interrupts to oneself, all while interrupts are taken.
static void storms(void)
{
	struct context c = user_context();

	c.rflags |= 0x200;
	put_code(UCODE_AT, "\xeb\xfe", 2); // JMP to itself
	for (unsigned i = 0; i < 40; i++) {
		LAPIC_REG(0x3e0) = 11;
		LAPIC_REG(0x320) = 0x200e0 | (i & 1 ? 0 : 0); // periodic
		LAPIC_REG(0x380) = 1 + (i & 3);
		outb(0x43, 0x34);
		outb(0x40, (u8)(1 + (i & 1)));
		outb(0x40, 0);
		if (i & 4)
			LAPIC_REG(0x300) = 0x400e1; // to itself
		attack(&c);
		LAPIC_REG(0xb0) = 0;
		check(got.vector >= 0x20, "no interrupt in a storm of them", got.vector);
	}
	LAPIC_REG(0x320) = 0x10000;
	LAPIC_REG(0x380) = 0;
	for (unsigned i = 0; i < 2000; i++)
		LAPIC_REG(0x300) = 0x40000 | (random64() & 0xff); // pending, never taken
	spin(1000000);
	for (unsigned i = 0; i < 300; i++)
		LAPIC_REG(0xb0) = 0;
}

static volatile u32 *mmio_at;

static void mmio_word(u64 v)
{
	*mmio_at = (u32)v;
	sink = *mmio_at;
}

static void mmio_wide(u64 v)
{
	__asm__ volatile(
		"movq %1, (%0); movq (%0), %1; movb %b1, 3(%0); xchgq %1, (%0); lock addl $1, (%0); pushq (%0); popq (%0)"
		: "+r"(mmio_at), "+r"(v)
		:
		: "memory", "cc");
	__asm__ volatile("rep stosb" : : "D"(mmio_at), "c"(64), "a"(v) : "memory");
}

// Device registers with odd sizes, alignments and values.
static void devices(void)
{
	static const u64 bases[] = {0xfee00000, 0xfec00000, 0xfed00000, 0xa0000, 0xfff00000};

	for (unsigned i = 0; i < 1500; i++) {
		u64 r = random64();
		u64 base = bases[r % ARRAY_SIZE(bases)];

		mmio_at = (volatile u32 *)(base + (r >> 8 & 0xff8) + (i % 5 ? 0 : r >> 20 & 7));
		if (base == 0xfee00000 && ((r >> 8 & 0xff8) & ~0xfu) == 0xf0)
			continue;
		attempt(i & 1 ? mmio_word : mmio_wide, random64());
	}
	for (unsigned pin = 0; pin < 24; pin++) { // all lines off again
		*(volatile u32 *)0xfec00000 = 0x10 + pin * 2;
		*(volatile u32 *)0xfec00010 = 0x10000;
	}
}

const struct attack_case cpu_cases[] = {
	{"control-registers", control_registers, false},
	{"efer", efer, false},
	{"msrs", msrs, false},
	{"debug-registers", debug_registers, false},
	{"flags", flags, false},
	{"held-back", held_back, false},
	{"ports", ports, false},
	{"storms", storms, false},
	{"devices", devices, false},
	{0},
};
