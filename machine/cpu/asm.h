// SPDX-License-Identifier: MIT
// One inline function per privileged instruction that C uses.
#ifndef MACHINE_CPU_ASM_H
#define MACHINE_CPU_ASM_H

#include "base/types.h"
#include "base/x86.h"

#define ACCESSORS(name)                                                  \
	static inline u64 read_##name(void)                              \
	{                                                                \
		u64 v;                                                   \
		asm volatile("mov %%" #name ", %0" : "=r"(v)::"memory"); \
		return v;                                                \
	}                                                                \
	static inline void write_##name(u64 v)                           \
	{                                                                \
		asm volatile("mov %0, %%" #name ::"r"(v) : "memory");    \
	}
ACCESSORS(cr0)
ACCESSORS(cr2)
ACCESSORS(cr3)
ACCESSORS(cr4)
ACCESSORS(dr0)
ACCESSORS(dr1)
ACCESSORS(dr2)
ACCESSORS(dr3)
ACCESSORS(dr6)
ACCESSORS(dr7)
#undef ACCESSORS

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

static inline void invlpg(u64 va)
{
	asm volatile("invlpg (%0)" ::"r"(va) : "memory");
}

struct descriptor_ptr {
	u16 limit;
	u64 base;
} PACKED;

static inline void lgdt(u64 base, u16 limit)
{
	struct descriptor_ptr p = {limit, base};

	asm volatile("lgdt %0" ::"m"(p) : "memory");
}

static inline void lidt(u64 base, u16 limit)
{
	struct descriptor_ptr p = {limit, base};

	asm volatile("lidt %0" ::"m"(p) : "memory");
}

static inline void lldt(u16 sel)
{
	asm volatile("lldt %0" ::"r"(sel) : "memory");
}

static inline void ltr(u16 sel)
{
	asm volatile("ltr %0" ::"r"(sel) : "memory");
}

static inline void xsetbv(u32 reg, u64 v)
{
	asm volatile("xsetbv" ::"c"(reg), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 xgetbv(u32 reg)
{
	u32 lo, hi;

	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(reg));
	return (u64)hi << 32 | lo;
}

static inline void cli(void)
{
	asm volatile("cli" ::: "memory");
}

static inline void sti(void)
{
	asm volatile("sti" ::: "memory");
}

// Interrupts on and halt as one unit: one that is pending wakes the halt.
static inline void sti_hlt(void)
{
	asm volatile("sti; hlt" ::: "memory");
}

static inline void hlt(void)
{
	asm volatile("hlt" ::: "memory");
}

static inline void cpu_relax(void)
{
	asm volatile("pause" ::: "memory");
}

static inline u64 read_flags(void)
{
	u64 f;

	asm volatile("pushfq; popq %0" : "=r"(f)::"memory");
	return f;
}

static inline u64 irq_save(void)
{
	u64 f = read_flags();

	cli();
	return f;
}

static inline void irq_restore(u64 flags)
{
	if (flags & RFL_IF)
		sti();
}

static inline u8 inb(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u16 inw(u16 port)
{
	u16 v;

	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u32 inl(u16 port)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void outb(u16 port, u8 v)
{
	asm volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void outw(u16 port, u16 v)
{
	asm volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 v)
{
	asm volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

#endif
