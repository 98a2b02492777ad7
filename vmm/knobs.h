// SPDX-License-Identifier: MIT
// Debug knobs from the hypervisor's command line (docs/design/debugging.md).
#ifndef VMM_KNOBS_H
#define VMM_KNOBS_H

#include "base/types.h"

#define KNOB_UNSET (~0ull)

struct vmm_knobs {
	u64 block_limit;         // bt.limit=N: translate only the first N blocks, emulate the rest
	u64 count_instructions;  // bt.count=1: count kernel instructions executed in translated code; debug builds do by default
	u64 compare;             // bt.compare=N: run the first N blocks in the emulator too and compare
	u64 compare_from;        // bt.compare_from=M: after M entries that are not compared
	u64 compare_user;        // bt.compare_user=1: ... counted from the first use of ring 3
	u64 plant;               // bt.plant=K: a deliberate mistake of the translator (BT_PLANT_*), to see it found
	u64 cache;               // bt.cache=0..2: the size of each VM's translation cache, instead of by the machine's memory
	u64 check;               // check=1: integrity.h, at the end of each VM and of the machine
	u64 stress;              // mmu.stress=N: after every Nth entry, each right that the shadow takes away must have had its flush (shadow_stress.c)
	u64 audit;               // mmu.audit=1: audit the shadow at each CR3 load (none is the gate's then)
	u64 markers;             // mmu.markers=0: no guest fault is reflected by the gate
	u64 prefetch;            // mmu.prefetch=0: a hidden fault fills the one entry that it needs
	u64 rows;                // mmu.rows=0: no page table is let go at what may be the first of a row of stores
	u64 x2apic;              // cpu.x2apic=1: x2APIC mode is offered
	u64 pcid;                // cpu.pcid=1: PCID and INVPCID are offered
	u64 pv_audit;            // pv.audit=N: at every Nth exit of a paravirtual guest what is held of its frames is counted again
	u64 pv_fast;             // pv.fast=0: paravirtual guests cross at every system call, iret and page fault
};

extern struct vmm_knobs vmm_knobs;

struct boot_info;
// From the hypervisor's command line. False: a word of it is unknown or its value no number; a copy is in `wrong`.
bool knobs_read(const struct boot_info *bi, char *wrong, size_t size);

#endif
