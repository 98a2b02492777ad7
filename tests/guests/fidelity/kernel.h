// SPDX-License-Identifier: MIT
// A test kernel that looks at what a guest could tell its ring by. It runs on the bare machine and as a guest, prints
// `ok NAME` or `not ok NAME` for each check, and both must print the same.
#ifndef FIDELITY_KERNEL_H
#define FIDELITY_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#include "tests/guests/common/ports.h"

struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

enum { KERNEL_CS = 0x08, KERNEL_SS = 0x10, USER_CS32 = 0x1b, USER_SS = 0x23, USER_CS = 0x2b, KERNEL_CS32 = 0x30, ABSENT_CS = 0x38,
       READONLY_DS = 0x40, TSS = 0x48, CALL_GATE = 0x58, CONFORMING_CS = 0x68 };
enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC };
enum { F_TF = 0x100, F_IF = 0x200, F_DF = 0x400, F_IOPL = 0x3000, F_NT = 0x4000, F_RF = 0x10000, F_VM = 0x20000, F_AC = 0x40000,
       F_ID = 0x200000 };

struct tss {
	u32 reserved;
	u64 rsp[3], reserved2, ist[7], reserved3;
	u16 reserved4, io_map;
	u8 io[8193];
} __attribute__((packed));

extern u64 pml4[], pdpt[], directory[], gdt[];
extern u8 stack_top[], user_stack[], fault_stack[];
extern const struct __attribute__((packed)) { u16 limit; u64 base; } gdt_pointer;
extern struct tss tss;

// The last trap, with CR2 and DR6 at it. A hook that takes a trap returns true: the interrupted code goes on.
extern struct frame caught;
extern u64 caught_cr2, caught_dr6, traps;
extern bool (*hook)(struct frame *f);
u64 guarded(void (*code)(u64), u64 argument);
void iret_to(u64 rip, u64 cs, u64 rflags, u64 rsp, u64 ss);
void set_gate(unsigned vector, void *handler, unsigned dpl, unsigned ist, bool present);

void check(const char *name, bool good);
void note(const char *text, u64 value); // a comment line
// code raises this exception with this error code?
bool raises(void (*code)(u64), u64 argument, unsigned vector, u64 error);
// Runs code in ring 3 until it traps.
void in_user(void (*code)(void), u64 cs, u64 rflags);

void test_flags(void), test_segments(void), test_transfers(void), test_faults(void), test_debug(void), test_memory(void),
	test_interrupts(void), test_screen(void), test_x2apic(void), test_pcid(void);

static inline u64 flags(void)
{
	u64 f;

	asm volatile("pushf; pop %0" : "=r"(f));
	return f;
}

static inline void set_flags(u64 f)
{
	asm volatile("push %0; popf" ::"r"(f) : "cc", "memory");
}

struct cpuid {
	u32 a, b, c, d;
};

static inline struct cpuid cpuid(u32 leaf)
{
	struct cpuid r;

	asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

static inline u64 rdmsr(u32 msr)
{
	u32 a, d;

	asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
	return a | (u64)d << 32;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

#endif
