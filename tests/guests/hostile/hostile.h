// SPDX-License-Identifier: MIT
// What the parts of the hostile kernel share.
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include "base/gate.h"
#include "base/string.h"
#include "base/types.h"
#include "base/x86.h"
#include "tests/guests/hostile/layout.h"

enum { RAX, RCX, RDX, RBX, RSP_UNUSED, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

// Layout known to entry.S.
struct context {
	u64 gpr[16], rip, cs, rflags, rsp, ss, cr3;
};
struct outcome {
	u64 rax, rcx, rdx, rbx, rsp_there, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error, rip, cs, rflags, rsp, ss, cr2;
};
extern volatile struct outcome got; // of the last attack or failed attempt

unsigned attack(const struct context *c);
unsigned attempt(void (*fn)(u64), u64 arg);
extern u8 stubs[], syscall_stub[];
extern u64 boot_pml4[512];

#define VECTOR(n) ((n) + 1u) // as attack() and attempt() return it

// kernel.c
void print(const char *s);
void print_hex(u64 v);
void print_number(u64 v);
void restore_machine(void);          // everything that an attack may have changed and that later ones rely on
struct context kernel_context(void); // at KCODE_AT, in the harness's address space
struct context user_context(void);   // at UCODE_AT
void put_code(u64 at, const void *bytes, unsigned n);
bool check(bool good, const char *what, u64 detail); // prints what is wrong
u64 *forged(unsigned n);                             // n-th page for page tables; its first entry is cleared
extern volatile u8 careful; // attacks may change CR3 and CR0, and have address spaces of their own
u64 random64(void);
void seed_random(u64 seed);
u64 odd_value(void); // an address or number that is likely to hurt
u64 gate_value(void);

struct attack_case {
	const char *name;
	void (*run)(void);
	bool fatal; // ends the VM: only when asked for by name
};
extern const struct attack_case memory_cases[], table_cases[], cpu_cases[], flow_cases[], fatal_cases[];

// random.c
extern u32 watchdog;
void random_seeds(u64 first, u64 count, bool calm);

// cpu.c: executes every instruction that the translator rewrites
void exercise(void);

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}

static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "d"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "d"(port));
	return v;
}

#define READ(reg)                                                  \
	({                                                         \
		u64 v_;                                            \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define WRITE(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((u64)(v)) : "memory")

struct PACKED table_register {
	u16 limit;
	u64 base;
};

static inline void lgdt(u64 base, u16 limit)
{
	struct table_register t = {limit, base};

	__asm__ volatile("lgdt %0" : : "m"(t));
}

static inline void lidt(u64 base, u16 limit)
{
	struct table_register t = {limit, base};

	__asm__ volatile("lidt %0" : : "m"(t));
}

static inline void invlpg(u64 va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

#endif
