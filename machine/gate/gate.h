// SPDX-License-Identifier: MIT
// The gate of one vCPU: the page tables of GATE_SLOT, descriptor tables, TSS, trusted page and vcpu_page; and the two world
// switches. Which parts ring 1 can write is said in base/gate.h.
#ifndef MACHINE_GATE_GATE_H
#define MACHINE_GATE_GATE_H

#include "base/gate.h"
#include "base/status.h"
#include "machine/gate/gate_offsets.h"

// Frames of a VM's translation cache, contiguous each; shared by the VM's vCPUs.
struct gate_cache {
	mpn_t code, links, ibtc;
	size_t code_pages, link_pages; // the IBTC's size is fixed
};

struct gate {
	mpn_t l3;                 // goes into slot GATE_SLOT of every root of the vCPU
	struct vcpu_page *page;   // hypervisor's view of the pages below (direct map)
	struct gate_trust *trust;
	u64 *gdt;                 // 8192 entries
	u64 *ldt;                 // 8192 entries
	u64 *tss;
	u8 *text;
	u64 *idt;
	u64 frames;               // taken for all of it
	bool pv;                  // of a paravirtual guest: SYSCALL and page faults are served for it
};

// On failure as well, gate_destroy() gives back what was taken. The cache's frames stay the caller's; NULL: there is no translated code.
enum status gate_create(struct gate *g, const struct gate_cache *cache) MUST_CHECK;
void gate_destroy(struct gate *g);

// Makes the gate current on this CPU: slot GATE_SLOT of the CPU's own root, GDTR, IDTR, TR, SYSCALL MSRs.
void gate_install(struct gate *g, u64 *cpu_root, u64 cpu_cr3);

// The pages that ring 1 can only read are as they were made, and the descriptor tables hold filtered entries only.
bool gate_intact(const struct gate *g);

// Guest's descriptor -> what ring 1 and ring 3 may load: code and data only, DPL 0 made 1, accessed set; else not present.
u64 gate_filter_descriptor(u64 raw);

// Sets the filtered entry `index` of the GDT in use; our own (from 0xe00 selectors up) are refused silently.
void gate_set_gdt(struct gate *g, unsigned index, u64 raw);
void gate_clear_gdt(struct gate *g);
// The flat ring-3 segments that Xen's PV interface promises beside the guest's own (FLAT_RING3_CS32, DS32, CS64).
void gate_set_flat_user(struct gate *g);
// The page that has a paravirtual guest's vcpu_info, at GATE_PV_INFO; MPN_NONE: none. The frame stays the caller's.
void gate_map_info(struct gate *g, mpn_t mpn);
// Guest's LDT: n entries are in g->ldt already filtered; 0: none.
void gate_load_ldt(struct gate *g, unsigned entries);

// The address is in the gate's ring-1 code that pushes the frame of a reflected page fault: vcpu_page.reflect has the frame,
// and the state that it describes is the guest's.
bool gate_in_reflection(u64 rip);

// Runs the guest from g->page until its next exit. Interrupts are off on both sides.
void gate_enter(struct gate *g);

#endif
