// SPDX-License-Identifier: MIT
// The emulator: executes one instruction of a guest against ports for memory, devices and machine registers. It is the
// reference the translator is tested against and serves whatever the translator does not copy: MMIO, page-table
// writes, system instructions, real and protected mode.
//
// Rule: on a fault nothing has changed (RIP stays at the instruction) but the completed iterations of a REP string
// instruction. Memory is written before registers are; every memory access goes through the ports with the linear address.
#ifndef CORE_EMUL_EMUL_H
#define CORE_EMUL_EMUL_H

#include "core/x86/cpu.h"

enum emul_result {
	EMUL_OK,          // done, RIP advanced
	EMUL_FAULT,       // e->fault is to be delivered; state as before the instruction (but see e->switched)
	EMUL_HALT,        // HLT done, RIP advanced, cpu->halted set
	EMUL_RETRY,       // a port asked for the instruction to be run again from its start (REP string: progress kept)
	EMUL_UNSUPPORTED, // not in the covered set: nothing changed
};

// Access kinds for the memory ports.
enum {
	EMUL_READ = 0,
	EMUL_WRITE = 1,
	EMUL_EXEC = 2,
	EMUL_RMW = 4,        // read part of a read-modify-write: fault as a write (SDM: write access)
	EMUL_SUPERVISOR = 8, // implicit supervisor access (descriptor tables, TSS): CPL is ignored
};

// All ports return EMUL_OK, or EMUL_FAULT with *fault filled, or EMUL_RETRY.
struct emul_ports {
	// Linear memory, len 1..64, may cross a page. Permission by `user` (CPL 3 and not SUPERVISOR).
	enum emul_result (*read)(void *ctx, u64 linear, void *buf, unsigned len, unsigned kind,
				 struct x86_fault *fault);
	enum emul_result (*write)(void *ctx, u64 linear, const void *buf, unsigned len, unsigned kind,
				  struct x86_fault *fault);
	// Atomic compare-exchange of 1, 2, 4, 8 or 16 bytes: *old holds the expected value, and gets what was there; *done tells.
	enum emul_result (*cmpxchg)(void *ctx, u64 linear, void *old, const void *new_, unsigned len, bool *done,
				    struct x86_fault *fault);
	// Up to 15 instruction bytes at linear; *got may be short at a page that faults, then the emulator decides.
	enum emul_result (*fetch)(void *ctx, u64 linear, void *buf, unsigned len, unsigned *got,
				  struct x86_fault *fault);

	enum emul_result (*in)(void *ctx, u16 port, unsigned len, u32 *value);
	enum emul_result (*out)(void *ctx, u16 port, unsigned len, u32 value);
	enum emul_result (*rdmsr)(void *ctx, u32 msr, u64 *value, struct x86_fault *fault);
	enum emul_result (*wrmsr)(void *ctx, u32 msr, u64 value, struct x86_fault *fault);
	void (*cpuid)(void *ctx, u32 leaf, u32 subleaf, u32 out[4]); // eax ebx ecx edx
	u64 (*rdtsc)(void *ctx);
	// VMCALL and VMMCALL in ring 0: the hypercall's result for RAX. May be NULL: then they are undefined.
	u64 (*hypercall)(void *ctx);
	// Called after the new value passed the architectural checks and was stored in cpu: side effects (shadow, TLB).
	void (*cr_written)(void *ctx, unsigned cr, u64 old);
	bool (*dr_allowed)(void *ctx, unsigned dr, u64 value); // of a MOV that the processor would do; else #GP. May be NULL
	void (*dr_written)(void *ctx, unsigned dr);
	void (*table_loaded)(void *ctx, unsigned which); // 0 GDT 1 IDT 2 LDT 3 TR
	void (*segment_loaded)(void *ctx, unsigned seg);
	void (*invlpg)(void *ctx, u64 linear);
	// FPU, MMX and SSE registers live in the machine while a guest runs. May be NULL: then such instructions are unsupported.
	void (*get_xmm)(void *ctx, unsigned reg, u8 out[16]);
	void (*set_xmm)(void *ctx, unsigned reg, const u8 in[16]);
	// Has the machine execute one FPU, MMX or SSE instruction in 64-bit mode, its memory operand at [RAX] = operand, its general
	// register RCX = *gpr, others untouched. *gpr and *flags go in and out. EMUL_FAULT: what it raised. May be NULL, as above.
	enum emul_result (*native)(void *ctx, const u8 *code, unsigned len, void *operand, u64 *gpr, u64 *flags,
				   struct x86_fault *fault);
};

struct emul {
	struct x86_cpu *cpu;
	const struct emul_ports *ports;
	void *ctx;
	bool sysenter_known; // the machine has SYSENTER in this mode, whatever its vendor forbids (QEMU's does, in compatibility mode)
	// Outputs.
	struct x86_fault fault;
	u8 length;     // of the instruction last decoded
	u16 mnemonic;  // ZydisMnemonic of it
	u64 count;     // instructions completed
	u32 trap;      // not 0: a debug trap, already in DR6, is to be delivered after the instruction just completed
	u32 held;      // hits that MOV SS put off
	bool switched; // a task switch has taken place: a fault after it is the new task's
};

// Executes the instruction at cpu->rip. Honours cpu->efer/cr0/CS for the mode.
enum emul_result emul_step(struct emul *e);

// May an instruction of the half of the address space that RIP is in be at a breakpoint? Who runs code by other means asks.
bool emul_code_breakpoints(const struct x86_cpu *cpu);

// Delivers exception or interrupt `vector` through the guest's IDT (gates, stack switch, IST, TSS, frames: SDM 3A 6.12-6.14).
// soft: INT n / INT3 / INTO (DPL check, return RIP already advanced by caller). EMUL_FAULT: a fault during delivery is in e->fault.
// e->trap: as after an instruction (the T bit of a task).
enum emul_result emul_deliver(struct emul *e, const struct x86_fault *event, bool soft, bool external);

// What to deliver when `second` occurs during the delivery of `first` (both exceptions; SDM 3A table 6-5).
enum emul_escalation {
	EMUL_SERIAL, // deliver the second; the first comes again by itself
	EMUL_DOUBLE, // #DF with error code 0
	EMUL_TRIPLE, // shutdown
};
enum emul_escalation emul_escalate(unsigned first, unsigned second);

#endif
