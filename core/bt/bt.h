// SPDX-License-Identifier: MIT
// The binary translator: guest kernel code (CPL 0, 64-bit mode) becomes code for ring 1. See docs/design/translator.md.
//
// Invariants
//  - Nothing outside core/bt sees a cache RIP except as an opaque value; bt_recover() turns one into guest state.
//  - Translated code touches guest memory only where the guest instruction does, in its order, with its operands; it
//    reads and writes our own data only RIP-relative in the gate's slot (base/gate.h), never the guest's stack.
//  - Guest flags are live in RFLAGS, guest registers in the machine's registers, at every instruction boundary. Real IF is
//    always 1; the guest's IF is vcpu_page.vif.
//  - Blocks are linked by writing look-up tables and link slots; the first jump through a slot is patched to lead straight to its
//    target, and back when that is dropped. Sound while no vCPU runs in the cache meanwhile (there is one per VM).
#ifndef CORE_BT_BT_H
#define CORE_BT_BT_H

#include "base/gate.h"
#include "core/x86/cpu.h"
#include "core/x86/insn.h"

struct bt;

// What the hypervisor must do when translated code executed INT GATE_EXIT_VECTOR.
enum bt_exit_kind {
	BT_EXIT_NONE,     // that RIP is no exit of ours
	BT_EXIT_LINK,     // direct successor not translated: state is at `guest_rip` (the successor); bt_link(slot) afterwards
	BT_EXIT_INDIRECT, // indirect target (in recovered cpu->rip) not in the IBTC: state is at the target; bt_fill_ibtc()
	BT_EXIT_EMULATE,  // emulate the one instruction at guest_rip, then continue after it
	BT_EXIT_PENDING,  // an event check fired: deliver at guest_rip if the guest's IF allows, continue there
};

struct bt_exit {
	enum bt_exit_kind kind;
	u64 guest_rip;
	u32 slot; // BT_EXIT_LINK
	bool counted; // the instruction to emulate is in vcpu_page.counter[0] already: take it out
};

struct bt_ports {
	// Guest code bytes at guest_rip: up to len (<= 4096, never past a page's end); returns how many could be read (0: page
	// fault, not executable). *page gets the guest-physical page number that they came from.
	unsigned (*fetch)(void *ctx, u64 guest_rip, void *buf, unsigned len, ppn_t *page);
	// A block now depends on `page`: write-protect it; called before its bytes are fetched for good. False: cannot (MMIO).
	bool (*protect)(void *ctx, ppn_t page);
	// Last block of `page` is gone: protection may be lifted.
	void (*unprotect)(void *ctx, ppn_t page);
	// Instruction lengths etc. come from core/x86; fatal conditions by assert.
};

struct bt_config {
	u8 *code;          // hypervisor's writable mapping of GATE_TC
	size_t code_size;
	u64 *links;        // hypervisor's writable mapping of GATE_LINKS
	size_t link_count;
	u64 *ibtc;         // hypervisor's writable mapping of GATE_IBTC (IBTC_ENTRIES)
	u64 *returns;      // hypervisor's mapping of vcpu_page.returns; NULL: returns take the IBTC, and calls end blocks
	void *meta;        // memory for block descriptors, hash tables and instruction maps
	size_t meta_size;
	u64 code_base, links_base, ibtc_base, vcpu_base; // addresses as translated code sees them (GATE_TC ... GATE_VCPU)
	const struct bt_ports *ports;
	void *ctx;
	// Policy and knobs.
	u64 block_limit;   // translate only the first N blocks (0: no limit); past it bt_translate returns 0: emulate (bisecting)
	bool count_instructions; // each translated guest instruction adds 1 to vcpu_page.counter[0]; exact at every boundary
	u16 guest_ss;           // what SYSCALL loads (RPL 0): good for an IRETQ to the kernel without a look at the descriptor
	u16 user_cs, user_ss;   // what SYSRETQ loads (from the guest's STAR, RPL 3); 0: SYSRET is emulated
	bool cr2_in_page;       // the caller keeps vcpu_page.guest_cr2 current: MOV from CR2 needs no exit
	bool invlpg_in_page;    // the caller keeps vcpu_page.invlpg_exits current: most INVLPGs need no exit
	bool cr3_by_gate;       // GATE_CR3_VECTOR is served: MOV to CR3 asks it first, MOV from CR3 reads vcpu_page.guest_cr3
	bool uart_in_page;      // the caller drains vcpu_page.uart_buffer: console bytes need no exit each
	bool lone_blocks;       // no block leads to another: each ends in an exit (comparing with the emulator)
	bool all_quiet;         // tests only: every store is one of bt_quiet_site()
	unsigned plant;         // tests only: break one template or rule (BT_PLANT_*), 0: none
};

struct bt_stats {
	u64 blocks, bytes, guest_instructions, flushes, smc_invalidations, links, ibtc_fills, copied, rewritten, callouts, ahead;
};

// Deliberate mistakes that the tests must find.
enum { BT_PLANT_NONE, BT_PLANT_FLAGS, BT_PLANT_PUSHF, BT_PLANT_SPILL, BT_PLANT_COMMIT, BT_PLANT_RIPREL, BT_PLANT_VIF,
       BT_PLANT_SECOND, BT_PLANT_RETURN, BT_PLANT_COUNT };

// Lays itself out in config->meta. Returns NULL if the memory is too small.
struct bt *bt_create(const struct bt_config *config);

// Address to resume translated code for the guest RIP (CPL 0), translating when needed. 0: cannot be translated here (no bytes,
// unknown instruction, block_limit): emulate one instruction instead. May flush the whole cache when full.
u64 bt_entry(struct bt *bt, u64 guest_rip);
// Only looks.
u64 bt_find(const struct bt *bt, u64 guest_rip);

// Which exit ended in INT GATE_EXIT_VECTOR with this saved RIP (the address after the INT).
struct bt_exit bt_exit_at(const struct bt *bt, u64 cache_rip);
// Makes the exit's slot lead to `entry` (from bt_entry) from now on.
void bt_link(struct bt *bt, u32 slot, u64 entry);
// Puts the indirect entry of the block at guest_rip into the IBTC.
void bt_fill_ibtc(struct bt *bt, u64 guest_rip);

// Is the address inside the cache?
bool bt_contains(const struct bt *bt, u64 cache_rip);
// Is it inside code of ours, so that bt_recover() can say what it means?
bool bt_knows(const struct bt *bt, u64 cache_rip);

// Exact guest state from machine state: in `cpu` the caller has put gpr[] and rflags as the machine had them and rip = the
// cache RIP at which an exception, interrupt or exit came; `page` is the vCPU's page. On return gpr, rsp, rip and rflags
// (with IF from vif, IOPL 0) are the guest's at an instruction boundary: before the instruction (rolled back) or after
// it (rolled forward). *finish says that the instruction at rip has to be emulated to its end before anything is
// delivered (past its commit point: IRET, SYSRET); for a *fault* the state is always that before the instruction.
// Sets cpu->interrupt_shadow when the instruction at rip follows an STI: emulate that one before an interrupt is delivered.
// Restores vif and kernel_gs_base in the page where it rolls back. `rip` may be that of the INT of an exit or the one after it.
void bt_recover(const struct bt *bt, struct x86_cpu *cpu, struct vcpu_page *page, bool is_fault, bool *finish);

// The store at guest_rip keeps faulting on a protected page with the value that is there already: from its next translation on it
// is done only if it changes something. The caller drops the block (bt_invalidate). False: known already, or too many.
bool bt_quiet_site(struct bt *bt, u64 guest_rip);

// Guest memory [page*4096+offset, +len) is about to change or changed, by whatever alias or device: drop what overlaps
// (64-byte grain). Returns true if any block went. The caller must not resume at an old cache address afterwards but use bt_entry.
bool bt_invalidate(struct bt *bt, ppn_t page, unsigned offset, unsigned len);
// The guest's mapping of this virtual page may have changed (INVLPG, remap): drop blocks whose page is no longer `page`.
void bt_remap(struct bt *bt, u64 guest_va);
void bt_remap_all(struct bt *bt);      // re-verify every code page (flush of global entries)
void bt_remap_lower(struct bt *bt);    // drop blocks of the lower half (CR3 load)
bool bt_has_lower(const struct bt *bt); // there are such blocks: CR3 loads must come to bt_remap_lower
void bt_flush(struct bt *bt);
// Blocks lie in the cache in the order in which they first ran, so after much new code those in use lie far apart, each page of
// them a miss after a world switch. True when new code has ceased to come and a flush is worth its cost: those in use are then made
// again side by side. To be asked now and then; work: any rising count of what the guest does (crossings).
bool bt_wants_renewal(struct bt *bt, u64 work);

// Changes whenever a block went away (flush, invalidation): addresses kept elsewhere (lstar_tc) must be asked for again.
u64 bt_generation(const struct bt *bt);
// The guest wrote STAR: blocks that hold them as constants go (a flush, if anything changed).
void bt_set_selectors(struct bt *bt, u16 guest_ss, u16 user_cs, u16 user_ss);

// Changes config.lone_blocks (a flush, if it changes).
void bt_set_lone(struct bt *bt, bool lone);
// The guest code that the block at this cache address was made from.
void bt_extent(const struct bt *bt, u64 cache_rip, u64 *guest_rip, u32 *len);

const struct bt_stats *bt_get_stats(const struct bt *bt);
// Recomputes indexes and checks invariants; panics when one is broken.
void bt_audit(const struct bt *bt);

#endif
