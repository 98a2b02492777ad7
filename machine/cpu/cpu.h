// SPDX-License-Identifier: MIT
// Per-CPU state, CPU features, descriptor tables of the hypervisor world. A CPU's stacks lie in one block aligned to
// its size with struct pcpu at the base (machine/mm/layout.h), so this_cpu() needs no GS: it works on every stack of
// ours, the IST ones too, whatever the guest left in GSBASE.
#ifndef MACHINE_CPU_CPU_H
#define MACHINE_CPU_CPU_H

#include "base/types.h"
#include "machine/cpu/asm.h"
#include "machine/mm/layout.h"

#define CPUS_MAX 64
#define GDT_BYTES 0x10000

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7]; // ist[0] is IST1
	u64 reserved2;
	u16 reserved3, iomap_base;
} PACKED;
enum { IST_DB = 1, IST_NMI, IST_DF, IST_MC };

struct pcpu {
	// For everyone; set once at start.
	struct pcpu *self;
	u32 id, apic_id;
	u64 stack_top; // of this CPU's stack in the hypervisor world
	mpn_t root;    // its own PML4 (slot 257 is its own)
	u64 *gdt;      // GDT_BYTES

	// For vmm/ and the gate to use as they like.
	void *vcpu;  // running vCPU
	void *sched; // run queue
	void *gate;  // per-CPU gate state
	u64 spare[8];

	// This CPU's own.
	u64 timer_deadline; // TSC, 0: not armed
	u64 irq_count, spurious_count;
	void (*volatile work)(void *); // smp_run()
	void *work_arg;
	volatile u32 online;
	struct tss tss;
};
_Static_assert(sizeof(struct pcpu) <= CPU_IST_OFFSET, "pcpu is one page");

static inline struct pcpu *this_cpu(void)
{
	u64 rsp;

	asm volatile("mov %%rsp, %0" : "=r"(rsp));
	return (struct pcpu *)((rsp - 1) & ~(u64)(CPU_BLOCK_SIZE - 1));
}

// Known CPUs; ids are 0 to cpu_count() - 1, the first CPU is 0.
unsigned cpu_count(void);
struct pcpu *cpu_get(unsigned id);

// What CPUID says, read once on the first CPU.
struct cpu_features {
	char vendor[13], brand[49];
	u32 max_leaf, max_ext_leaf;
	bool nx, xsave, avx, fsgsbase, umip, smep, smap, pcid, invpcid, rdtscp, tsc_deadline, x2apic, gbpages,
		invariant_tsc;
	u64 xcr0;       // what we enable, 0 without XSAVE
	u32 xsave_size; // bytes for that XCR0; 512 without XSAVE
	u64 cr4;        // the hypervisor world's CR4
};
extern struct cpu_features cpu_features;

void cpu_features_init(void);
// Control registers of the hypervisor world on this CPU.
void cpu_enable_features(void);

// Our descriptors (base/gate.h) into a GDT of GDT_BYTES; tss is the address that the TSS descriptor shall give.
void gdt_fill(u64 *gdt, u64 tss);
// Makes block's struct pcpu (zeroed memory, tables' addresses filled in here) ready; does not touch the CPU.
struct pcpu *pcpu_init(void *block, u32 id, u32 apic_id, u64 *gdt);
// Loads GDT, IDT, TR and selectors of this CPU for the hypervisor world; also after a guest's world was left.
void pcpu_install(struct pcpu *cpu);

#endif
