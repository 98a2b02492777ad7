// SPDX-License-Identifier: MIT
// Shadow paging: guest VPN -> PPN by the guest's tables, PPN -> MPN by the P2M, VPN -> MPN by the shadow that the
// machine walks. See docs/design/mmu.md. Shadows are for long mode (4 levels); guests that run unpaged or page with fewer
// levels are the emulator's, and only walked.
//
// Invariants
//  - A guest frame that is shadowed as a page table is never writable through any shadow entry.
//  - A shadow entry is never more permissive than the guest's tables together are; writable only if the guest's D is set, present
//    only if its A is set (the walk sets both, as the machine would).
//  - No G bit, U as the guest's. Slot GATE_SLOT of every root is the vCPU's gate and nothing else, WINDOW_SLOT a read-only way back to
//    the root.
#ifndef CORE_MMU_SHADOW_H
#define CORE_MMU_SHADOW_H

#include "base/status.h"
#include "base/types.h"
#include "core/x86/cpu.h"

struct shadow;

// What a frame of guest-physical memory is.
enum p2m_type { P2M_NONE, P2M_RAM, P2M_ROM, P2M_MMIO };

struct shadow_ports {
	// Guest-physical page -> machine page and type. P2M_NONE and P2M_MMIO have no frame.
	enum p2m_type (*p2m)(void *ctx, ppn_t ppn, mpn_t *mpn);
	// Pointer by which this code may read and write a machine frame (guest table or shadow table). A shadow table's is kept.
	void *(*map)(void *ctx, mpn_t mpn);
	// One zeroed machine frame (a shadow table takes two); MPN_NONE when the VM's budget is used up (then we evict). needed: what
	// was evicted for want of memory is used again.
	mpn_t (*alloc)(void *ctx, bool needed);
	void (*free)(void *ctx, mpn_t mpn);
	// A right that the machine may have cached was reduced: va, or everything when va == ~0. Recorded for the next entry.
	void (*flush)(void *ctx, u64 va);
};

struct shadow_config {
	const struct shadow_ports *ports;
	void *ctx;
	u64 ppn_limit;      // guest-physical pages (exclusive), sizes the frame records
	void *memory;       // for frame records, reverse map and descriptors
	size_t memory_size; // shadow_memory_needed()
	u32 max_tables;     // shadow tables at most
	mpn_t gate_l3;      // what slot GATE_SLOT of each root points to
	bool markers;       // not-present leaves of the guest may carry a reserved bit: the caller tells such faults (the machine
			    // has fewer than 52 physical address bits)
	u8 phys_bits;       // width of guest-physical addresses (CPUID 80000008h); 0: 40
};

size_t shadow_memory_needed(u64 ppn_limit, u32 max_tables);
struct shadow *shadow_create(const struct shadow_config *config);
void shadow_destroy(struct shadow *s);

// Long mode's four levels; PAE's three and two levels of 32-bit entries without it; none.
enum mmu_paging { PAGING_LONG, PAGING_PAE, PAGING_32, PAGING_OFF };

// Guest control-register context that the walk obeys.
struct mmu_mode {
	enum mmu_paging paging;
	bool wp, nx, smep, smap;
	bool pse; // large pages of two levels
	bool ac;  // RFLAGS.AC at the access (SMAP override)
	u64 cr3; // guest's
};

struct guest_walk {
	bool present;
	unsigned level;          // 1: 4K leaf, 2: 2M (4M with two levels), 3: 1G
	u64 gpa;                 // of the address asked for
	u64 pte;                 // leaf entry, after A/D were set
	u64 pte_gpa;             // where the leaf entry is
	bool writable, user, nx; // combined rights
	u64 entry[5];            // entries by level (4..1), 0 when not reached
	u64 entry_gpa[5];
};

// Pure guest walk (SDM 3A 4.5, 4.6). err: PF_W, PF_U, PF_I of the access. On failure fills *fault (#PF with the guest's
// error code and cr2) and returns false. set_ad: set accessed and dirty bits as the machine does.
bool guest_translate(struct shadow *s, const struct mmu_mode *m, u64 va, u32 err, bool set_ad, struct guest_walk *w,
		     struct x86_fault *fault);

enum shadow_result {
	SHADOW_FIXED,  // hidden fault: the shadow has been filled, run on
	SHADOW_INJECT, // true guest fault in *fault
	SHADOW_EMULATE, // MMIO, a write to a write-protected frame, or one of our slots: emulate the instruction. w->present and w->gpa tell
			// where, the rest of w may be missing
	SHADOW_NOMEM, // not even after eviction
};

// Before shadow_fault(): the address of the guest's last own fault, and something that tells the instruction that faults now from
// others. Only for guesses about what the guest is going to store next.
void shadow_hint(struct shadow *s, u64 fault_va, u64 site);

// A page fault came from the machine in the current root. error: the machine's code (P ignored when RSVD, TCG quirk).
enum shadow_result shadow_fault(struct shadow *s, const struct mmu_mode *m, u64 va, u32 error, struct guest_walk *w,
				struct x86_fault *fault);

// Root for the guest's cr3 (created when needed): the machine frame to load. The root is current until the next call.
enum status shadow_load(struct shadow *s, u64 guest_cr3, mpn_t *root) MUST_CHECK;
// Only looks: MPN_NONE if that CR3 has none.
mpn_t shadow_root(struct shadow *s, u64 guest_cr3);
// *generation changes when a root is released: addresses of roots kept elsewhere are void then, or if it changed by one that of
// *last_gone alone.
void shadow_roots_gone(const struct shadow *s, u64 *generation, mpn_t *last_gone);
// EFER.NXE changed: everything is dropped, the current root stays and is empty. Changes of CR0.WP, CR4.SMEP and SMAP need none
// of this: no shadow entry depends on them.
void shadow_flush_all(struct shadow *s);

// Guest memory was written at gpa by the hypervisor on whoever's behalf (emulator, device, loader): updates or drops what is
// derived from it. Call after the bytes are in place; old bytes are not needed.
void shadow_written(struct shadow *s, u64 gpa, unsigned len);

// One of the slots that every root has for us: not filled by what the guest maps there, faults there are emulated.
bool shadow_slot_is_ours(u64 va);

// The guest took a fault of its own that the hypervisor did not see (the gate reflected it): tables are written for it, not torn down.
void shadow_used(struct shadow *s);

// Write protection for others' sake: code (translator), descriptor tables. A bit for each reason, so watching twice is
// watching once.
enum shadow_watch { WATCH_CODE = 1, WATCH_GDT = 2, WATCH_LDT = 4, WATCH_REFLECT = 8 };
void shadow_watch(struct shadow *s, ppn_t ppn, enum shadow_watch why);
void shadow_unwatch(struct shadow *s, ppn_t ppn, enum shadow_watch why);
unsigned shadow_watched(const struct shadow *s, ppn_t ppn); // bits
bool shadow_is_table(const struct shadow *s, ppn_t ppn);

// The P2M entry of ppn changed or goes away: drop every mapping.
void shadow_drop_frame(struct shadow *s, ppn_t ppn);

// Prefetch per hidden fault: entries of the same guest table (A set), pieces of the same large page; 0: none. A table that
// faults again gets all. flood: writes in a row, with no use between, after which a level-1 guest table is unshadowed (sixteen times as
// many for the higher ones); one to the same entry as the last counts a quarter.
struct shadow_knobs {
	u32 flood, leaf_run, direct_run;
	bool rows; // guess that a write is the first of a row, and unshadow the table at once
};
void shadow_tune(struct shadow *s, const struct shadow_knobs *knobs);
struct shadow_knobs shadow_get_knobs(const struct shadow *s);

struct shadow_stats {
	u64 tables, hidden_faults, guest_faults, emulated, pte_writes, evictions, missed, prefetched, unshadowed, guesses, roots_built;
};
const struct shadow_stats *shadow_get_stats(const struct shadow *s);

// Stress mode (shadow_stress.c), in memory of the caller's, shadow_stress_size() bytes, zeroed: `begin` before each entry of the
// guest, `flushed` for what the flush port is told, `check` before the next entry: entries that lost a right without a flush are
// reported and counted. Not to be called when the machine's TLB was flushed otherwise in between.
#define SHADOW_STRESS_FLUSHES 256
size_t shadow_stress_size(void);
void shadow_stress_begin(struct shadow *s, void *memory);
void shadow_stress_flushed(void *memory, u64 va);
unsigned shadow_stress_check(struct shadow *s, void *memory, void (*report)(void *ctx, u64 va, u64 old, u64 now), void *ctx);
void shadow_stress_counts(const void *memory, u64 *checks, u64 *reduced);

// Recomputes everything from the guest's tables and the P2M. Returns the number of violations; each is described through
// report (may be NULL).
unsigned shadow_audit(struct shadow *s, void (*report)(void *ctx, const char *text), void *ctx);

#endif
