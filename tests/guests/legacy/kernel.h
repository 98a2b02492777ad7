// SPDX-License-Identifier: MIT
// A 32-bit test kernel for what 64-bit kernels do not use: paging of two levels and PAE, hardware task switches, virtual-8086 mode,
// 16-bit protected mode, real mode, call gates and segments with limits. It runs on the bare machine and as a guest, prints `ok
// NAME` or `not ok NAME` for each check and `= NAME VALUES` for what is only compared; both machines must print the same.
#ifndef LEGACY_KERNEL_H
#define LEGACY_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#include "tests/guests/common/ports.h"

// What a trap leaves; from esp on only if it came from another ring, from es on only out of virtual-8086 mode.
struct frame {
	u32 trap_es, trap_ds, edi, esi, ebp, trap_esp, ebx, edx, ecx, eax;
	u32 vector, error, eip, cs, eflags, esp, ss, es, ds, fs, gs;
};

// What go() starts: registers, then the frame of an IRET.
struct start {
	u32 edi, esi, ebp, unused, ebx, edx, ecx, eax;
	u32 eip, cs, eflags, esp, ss, es, ds, fs, gs;
};

enum {
	KERNEL_CS = 0x08,
	KERNEL_DS = 0x10,
	USER_CS = 0x1b,
	USER_DS = 0x23,
	MAIN_TSS = 0x28,
	OTHER_TSS = 0x30,
	TASK_GATE = 0x38,
	CODE16 = 0x40,    // base as set
	BUFFER_DS = 0x48, // data of 64 KiB at buffer
	TSS16 = 0x50,
	CALL_GATE = 0x58,
	CONFORMING = 0x60,
	LDT = 0x68,
	SCRATCH = 0x70,
	REAL_CS = 0x78, // 64 KiB at 0, 16 bits
	REAL_DS = 0x80,
	CODE32_BASED = 0x88, // like CODE16, 32 bits
	USER_CS16 = 0x93,    // 64 KiB at buffer
	STACK16 = 0x98,      // 64 KiB at 0, 16-bit stack
	GDT_ENTRIES = 20,
};
enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC };
enum {
	F_CF = 1,
	F_TF = 0x100,
	F_IF = 0x200,
	F_DF = 0x400,
	F_IOPL = 0x3000,
	F_NT = 0x4000,
	F_RF = 0x10000,
	F_VM = 0x20000,
	F_AC = 0x40000
};

struct tss {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss,
		ds, fs, gs, ldt;
	u16 t, io_map;
	u8 io[8193];
} __attribute__((packed));

extern u64 gdt[];
extern struct tss main_tss, other_tss;
extern u8 buffer[65536], user_stack[], trap_stack[];

extern struct frame caught;
extern u32 caught_cr2, caught_dr6, caught_tr, traps;
extern bool (*hook)(struct frame *f);         // true: taken, go on
u32 guarded(void (*code)(u32), u32 argument); // 1: a trap ended it
void go(const struct start *s);               // does not come back but by a trap
void set_gate(unsigned vector, u16 sel, void *handler, unsigned type, unsigned dpl);
void set_descriptor(u16 sel, u32 base, u32 limit, u32 attr); // attr: bits 40 to 55, as 0xc09b
void reset_tasks(void);
u64 *idt_of(void);
extern u8 stubs[];

void check(const char *name, bool good);
void value(const char *name, const u32 *values, unsigned count);
bool raises(void (*code)(u32), u32 argument, unsigned vector, u32 error);
// Runs code at ring 3 until it traps.
void in_user(void (*code)(void), u32 eflags);

void enter_pae(void);
void test_paging(void), test_tasks(void), test_v86(void), test_segments(void), test_ops(void), test_real(void),
	test_mmio(void);

static inline u32 read_cr0(void)
{
	u32 v;

	asm volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static inline u32 read_cr4(void)
{
	u32 v;

	asm volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static inline void write_cr0(u32 v)
{
	asm volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}

static inline void write_cr3(u32 v)
{
	asm volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}

static inline void write_cr4(u32 v)
{
	asm volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}

#endif
