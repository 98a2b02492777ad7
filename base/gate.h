// SPDX-License-Identifier: MIT
// Layout of the gate: the one PML4 slot that every address space of a vCPU shares with the hypervisor's own. What the
// gate's assembly, the translator and the hypervisor must agree on is here and only here.
//
//   slot 257, GiB 0   per-vCPU pages: read-only ones (IDT, GDT, TSS, trusted values, gate text), then writable ones
//   slot 257, GiB 1   translation cache of the VM: code (RX for ring 1, written by the hypervisor through its own map),
//                     link slots (R) and the indirect-jump table (R)
//
//   slot 260          the window: the shadow's own tables, read-only, by a root's entry that leads back to it. The leaf entry of
//                     an address is at WINDOW_BASE + (address >> 12) * 8. Guest address spaces only.
//
// Everything here is U=0: ring 0 and ring 1 see it, ring 3 does not. Ring 1 can write the vcpu_page and the stacks, so
// nothing that ring 0 reads back from them is trusted: no CR3, no stack pointer. Of a frame on the stacks it believes what the
// machine pushed since ring 1 last ran: while there is one it stores nothing to a guest's address in this slot (gate_pv.inc).
#ifndef BASE_GATE_H
#define BASE_GATE_H

#define GATE_SLOT 257
#define GATE_BASE 0xffff808000000000 // PML4 slot 257
#define PV_WINDOW_SLOT 258 // of paravirtual guests: vmm/pv_window.c
#define PV_WINDOW_BASE 0xffff810000000000
#define PV_TYPES_SLOT 259 // what the hypervisor knows of its frames, read-only: from the start u32 by frame number, 0 or index plus one,
#define PV_TYPES_BASE 0xffff818000000000
#define PV_TYPES_FRAMES (PV_TYPES_BASE + 0x4000000000) // struct pv_frame by index
#define WINDOW_SLOT 260
#define WINDOW_BASE 0xffff820000000000
// In a leaf entry of the window: the guest's own entry is present and forbids writing.
#define WINDOW_READ_ONLY 0x200
#define REFLECT_PATIENCE 64 // faults at one address that the gate reflects in a row

// GiB 0: per-vCPU.
#define GATE_TEXT (GATE_BASE + 0x000000)   // RX: entry stubs and exits (16 pages at most)
#define GATE_IDT (GATE_BASE + 0x010000)    // RO: 1 page
#define GATE_TSS (GATE_BASE + 0x011000)    // RO: 1 page
#define GATE_TRUST (GATE_BASE + 0x012000)  // RO: struct gate_trust
#define GATE_GDT (GATE_BASE + 0x020000)    // RO: 16 pages, 64 KiB: the guest's filtered copy, then ours
#define GATE_LDT (GATE_BASE + 0x030000)    // RO: 16 pages, filtered copy
#define GATE_VCPU (GATE_BASE + 0x100000)   // RW: struct vcpu_page, 1 page
#define GATE_STACK (GATE_BASE + 0x102000)  // RW: entry stack, 1 page, grows down from +0x1000
#define GATE_IST (GATE_BASE + 0x104000)    // RW: IST stacks, 1 page each: #DB, NMI, #DF, #MC
#define GATE_IST_COUNT 4
#define GATE_PV_INFO (GATE_BASE + 0x120000) // RW: the page of a paravirtual guest's that has its vcpu_info

// GiB 1: the VM's translation cache (sizes are configuration; these are the address-space limits).
#define GATE_TC (GATE_BASE + 0x40000000)   // RX: code, 256 MiB of addresses
#define GATE_TC_MAX 0x10000000
#define GATE_LINKS (GATE_BASE + 0x50000000) // R: link slots, u64 each, 64 MiB of addresses
#define GATE_LINKS_MAX 0x4000000
#define GATE_IBTC (GATE_BASE + 0x58000000) // R: indirect-jump table, IBTC_ENTRIES u64
#define IBTC_BITS 13                       // index: low 13 bits of the guest RIP
#define IBTC_ENTRIES (1 << IBTC_BITS)

// Our selectors in every GDT in use (RPL included). The guest's own indices stay the guest's.
#define SEL_HV_CS 0xf000 // ring 0, 64-bit code
#define SEL_HV_SS 0xf008 // ring 0 data
#define SEL_R1_CS 0xf011 // ring 1, 64-bit code, RPL 1
#define SEL_R1_SS 0xf019 // ring 1 data, RPL 1
#define SEL_TSS 0xf020   // 16 bytes
#define SEL_LDT 0xf030   // 16 bytes
// Xen's flat segments of ring 3, in a paravirtual guest's.
#define XEN_FLAT_CS32 0xe023
#define XEN_FLAT_DS32 0xe02b
#define XEN_FLAT_CS64 0xe033
#define XEN_IRET_KEEPS 0x254dd5 // flags that the iret hypercall takes from the frame: arithmetic ones, TF, DF, NT, RF, AC, ID
// What a SYSCALL that the gate does not serve reports as the CS and SS left: names for "ring 3", not in any table.
#define SEL_R3_SS 0xf043
#define SEL_R3_CS 0xf04b

// Software interrupt by which ring 1 leaves for the hypervisor (IDT DPL 1). The return RIP names the reason.
#define GATE_EXIT_VECTOR 0xf0
// Ring 1 asks the gate to load the root of guest CR3 vcpu_page.cr3_request; answered in vcpu_page.cr3_refused (DPL 1).
#define GATE_CR3_VECTOR 0xf1
#define GATE_CR3_MAP 16
#define GATE_PV_BASES 16

#ifndef __ASSEMBLER__
#include "base/types.h"

#define VCPU_SPILLS 8
#define UART_FAST_PORT 0x3f8
#define UART_FAST_IIR (UART_FAST_PORT + 2)
#define UART_FAST_LSR (UART_FAST_PORT + 5)
#define UART_FAST_MSR (UART_FAST_PORT + 6)
#define UART_BUFFER 256
#define RETURNS 256         // return cache: index is the low byte of the guest's return address
#define RETURNS_OFFSET 2048 // in the vcpu_page: aligned to its own size

// Written by translated code in ring 1 and by the hypervisor. A guest that corrupts it harms itself alone.
struct vcpu_page {
	u64 vif;                 // guest's RFLAGS.IF: 0 or 0x200
	u64 pending;             // nonzero: an event waits; translated code leaves at its next check
	u64 kernel_gs_base;      // guest's MSR_KERNEL_GS_BASE
	u64 spill[VCPU_SPILLS];  // registers that a template borrows
	u64 old_vif;             // vif before a template's commit, for roll-back
	u64 target;              // guest RIP of an indirect jump that missed
	u64 scratch[4];
	u64 frame[6];            // ring-1 built IRETQ frame: RIP CS RFLAGS RSP SS
	u64 lstar_tc;            // translated entry of the guest's LSTAR (a hint for ring 1; ring 0 uses gate_trust)
	u64 guest_cr2;           // what MOV from CR2 reads in translated code: follows x86_cpu.cr2
	u64 cr3_request;         // translated MOV to CR3: the value, for the gate
	u64 cr3_refused;         // the gate's answer: nonzero, the hypervisor has to do it
	u64 marker_cr2;          // address of the last fault that the gate reflected; ~0: none
	u32 guest_cs, guest_ss;  // selectors of the guest's kernel, RPL 0, while ring 1 runs
	u64 guest_cr3;           // what MOV from CR3 reads in translated code: follows x86_cpu.cr3, and the gate's loads
	u64 stack[32];           // small ring-1 stack for templates that need one (STAC, POPF); grows down from the end
	// Saved by the gate at an exit, loaded at an entry.
	u64 gpr[16];
	u64 vector, error, rip, cs, rflags, rsp, ss, cr2;
	u64 exits_gate;          // transitions that the gate served itself
	// Console output without an exit per byte: while uart_room is nonzero the UART at UART_FAST_PORT is in the plain state in
	// which a byte sent has no effect but leaving and, perhaps, the transmitter's interrupt; its line and modem status read
	// uart_lsr and uart_msr. Bytes go from the buffer's end down. IIR reads uart_iir, and uart_iir_read the next time; once a
	// byte was sent uart_iir_sent. If uart_event is not 0, a byte sent sets `pending`: the interrupt is the hypervisor's to raise.
	u64 uart_room;
	u64 uart_lsr;
	u8 uart_buffer[UART_BUFFER];
	u64 reflect[6];          // exception frame of a fault being reflected: error RIP CS RFLAGS RSP SS
	u8 popf_special[256];    // by bits 8 to 15 of a flags word: nonzero if POPF of it is the emulator's (TF, IOPL)
	u64 counter[16];         // debug counters written by translated code (block executions and the like)
	u64 uart_msr, uart_iir, uart_iir_read, uart_iir_sent, uart_event;
	u64 invlpg_exits; // 0: INVLPG of a lower-half address has nothing to do (no translated code there)
	u64 invlpg_va;    // translated INVLPG: its address
	// A paravirtual guest's: it was entered in user mode last; its kernel's stack for what comes from there.
	u64 pv_user, pv_kernel_sp;
	u64 pv_lent;      // it writes a copy of a page table (core/pv/loan.h): no way to user mode but by a crossing
	u64 pv_returns;    // how often the gate has gone back to user mode
	u64 pv_update[2], pv_update_read; // the mmu_update that the gate has read, if it has: one of a list of one
	u64 pv_user_table; // not 0: it has told of tables for its programs
	u64 marker_left;  // how many more at marker_cr2 the gate reflects before one is the hypervisor's
	// Where translated code goes on after a return: each call writes the cache address of its landing, which checks that the
	// return is its own; at first, and when that block is dropped, the common dispatch.
	u64 returns[RETURNS] __attribute__((aligned(RETURNS_OFFSET)));
};
#define POPF_SPECIAL(i) (((i) & 0x31) != 0)
_Static_assert(sizeof(struct vcpu_page) <= 4096, "vcpu_page is one page");
_Static_assert(offsetof(struct vcpu_page, returns) == RETURNS_OFFSET, "the return cache is the page's second half");

// Written by the hypervisor only; mapped read-only. All that ring 0 trusts.
struct gate_trust {
	u64 hv_cr3;
	u64 hv_stack;       // top of the hypervisor stack of this physical CPU
	u64 hv_entry;       // hypervisor's exit handler (address in the hypervisor world)
	u64 guest_cr3;      // shadow root in use
	u64 lstar_tc;       // translated entry of the guest's LSTAR, 0: cross
	u64 syscall_keep;   // RFLAGS bits that the guest's SFMASK keeps (arithmetic ones only)
	u64 syscall_vif;    // 0x200 if the guest's SFMASK leaves IF set, else 0
	u64 hv_trap;        // hypervisor's handler of its own traps
	// Page faults of ring 3 on a not-present marker, or by a store to what the guest has read-only, go to the guest's handler
	// without a crossing while reflect_handler, its translated entry, is not 0; reflect_rsp0 is the guest address of its TSS's RSP0, which ring 1 reads.
	u64 reflect_handler, reflect_rsp0;
	u64 exit_cr3;       // root that was loaded at the last exit: the gate may have changed it
	struct {
		u64 guest, root; // root 0: empty
	} cr3_map[GATE_CR3_MAP]; // guest CR3 values whose root the gate may load by itself
	u32 syscall_cs, syscall_ss; // what SYSCALL loads: vcpu_page.guest_cs and guest_ss
	u64 cr3_exits;              // not 0: a CR3 load is the hypervisor's, whatever the list says
	// A paravirtual guest's: where its vcpu_info is in the gate's slot; kernel addresses that programs' system calls and page faults go
	// to (0: cross), and whether events are masked then.
	u64 pv_info, pv_syscall, pv_syscall_masks, pv_page_fault, pv_page_fault_masks;
	u64 cr3_mask; // bits of vcpu_page.cr3_request that are compared with cr3_map: with PCIDs not the low 12 and not bit 63
	u64 pv_ports; // not 0: the kernel may use IN and OUT
	u64 pv_lent_table, pv_reserved; // frame number of the table that is lent, ~0: none; address bits that the machine has not
	struct {
		u64 kernel, user, root; // frame numbers of a paravirtual guest's level-4 tables (user 0: none), and what the gate may load for them; root 0: empty
	} pv_base[GATE_PV_BASES];
};
#endif
#endif
