// SPDX-License-Identifier: MIT
// A paravirtual guest as its hypercalls see it: what Xen's public headers promise, over direct paging (frames.h) and event channels
// (events.h). Pure: the machine is reached through pv_guest_ports.
//
// Registers are in struct x86_cpu, which the caller keeps up to date with the machine around each call; CPL 0 there is the guest's
// kernel (ring 1 on the machine). seg[GS].base is that of the mode it is in, kernel_gs_base that of the other one.
//
// Long work (validation, multicalls) stops when its budget is used up: pv_hypercall() returns false and is called again later, with
// nothing of the guest run in between.
#ifndef CORE_PV_GUEST_H
#define CORE_PV_GUEST_H

#include "core/pv/abi.h"
#include "core/pv/events.h"
#include "core/pv/frames.h"
#include "core/pv/grant.h"
#include "core/pv/loan.h"
#include "core/x86/cpu.h"
#include "core/x86/policy.h"

#define PV_DOM 1 // each guest's own number; of others there is PV_HOST alone
// What Xen answers to a call about that domain: 0 for itself, -EPERM for PV_HOST, else -ESRCH.
s64 pv_about(u64 dom);
#define PV_GDT_PAGES 14
#define PV_LDT_PAGES 16
#define PV_CALLS 64 // numbers of hypercalls below this are counted
#define PV_WATCHDOGS 2
#define PV_WORK 8192 // entries of page tables between two looks at the time
#define PV_WORK_MIN 8 // with less nothing goes on: a look at the list, at two elements, at an entry of each level

struct pv_trap {
	u64 address; // 0: none
	u8 flags;    // as in struct trap_info
};
#define PV_TRAP_RING 3  // in flags: the highest that may have it by INT n
#define PV_TRAP_MASKS 4 // ... events are masked on entry

struct pv_callback {
	u64 address; // 0: none
	bool masks;  // events are masked on entry
};

// The hypervisor's ends of event channels.
enum { PV_USER_CONSOLE, PV_USER_STORE };

struct pv_guest;
struct xencons_interface;

struct pv_vcpu {
	struct pv_guest *guest;
	struct x86_cpu *cpu;
	unsigned id;
	struct pv_callback event, failsafe, syscall, syscall32, sysenter; // an NMI goes to the trap table
	u64 kernel_sp;
	mpn_t root, user_root; // level-4 tables, each held as such; MPN_NONE: none
	mpn_t gdt[PV_GDT_PAGES];
	unsigned gdt_entries;
	mpn_t ldt[PV_LDT_PAGES]; // MPN_NONE: not mapped
	u64 ldt_base;
	unsigned ldt_entries;
	struct vcpu_info *info;
	mpn_t info_mpn; // held writable; MPN_NONE: it is in the shared page
	u64 runstate_area; // guest's address, 0: none
	u64 timer_ns, period_ns, period_at; // when VIRQ_TIMER is due; ~0: not
	bool polling;
	u64 poll_until;       // ~0: without end
	u16 poll_port[128];   // while it polls
	unsigned polls;
	bool registered;      // vcpu_info has its own place
	bool nmi_due, nmi_masked; // masked: from its delivery to the next iret
	// A hypercall that goes on.
	u64 progress, outer_progress;
	bool in_multicall;
	u64 given[2];    // what a list of one mmu_update says, if the caller has read it already
	bool has_given; // for the next hypercall alone
	u8 iopl;          // PHYSDEVOP_set_iopl, or by iret with VMASST_TYPE_architectural_iopl; the machine's own is 0
	u32 io_ports;     // ... set_iobitmap: how many are in it
	u64 io_bitmap;    // the kernel's address
	bool left; // by an iret in a multicall: RAX is set
	// Run states (vcpu.h): since when it is in the present one, and how long it was in each.
	int state;
	u64 state_ns, state_sum[4];
	struct pv_trap trap[256]; // last: what each call touches lies together
};

enum pv_end { PV_END_POWEROFF, PV_END_REBOOT, PV_END_CRASH };

struct pv_guest_ports {
	u64 (*now_ns)(void *ctx); // since the guest's start; a linear function of the TSC
	void (*console)(void *ctx, const char *bytes, unsigned n);
	// The vCPU runs on that level-4 table from now on.
	void (*load_root)(void *ctx, struct pv_vcpu *v, mpn_t root);
	// An entry of the descriptor table in use; the machine's copy is filtered. ldt_loaded: entries beyond are not there.
	void (*set_gdt)(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw);
	void (*set_ldt)(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw);
	void (*ldt_loaded)(void *ctx, struct pv_vcpu *v, unsigned entries);
	void (*task_switched)(void *ctx, struct pv_vcpu *v);           // cpu->cr0's TS has changed
	void (*debug_written)(void *ctx, struct pv_vcpu *v);
	void (*user_gs)(void *ctx, struct pv_vcpu *v, u16 selector);    // loads the selector into GS while user mode's base is in it
	void (*set_machphys)(void *ctx, mpn_t mpn, u64 pfn);           // what the guest reads there
	// A frame for a page that has none / back from one that has, by index of frames.h. MPN_NONE: none left.
	mpn_t (*populate)(void *ctx, ppn_t *index);
	void (*release)(void *ctx, ppn_t index);
	void (*end)(void *ctx, enum pv_end how, const char *reason);
	void (*log)(void *ctx, const char *text);
};

struct pv_guest {
	struct pv_grants grants;
	u64 failures[PV_CALLS];
	u8 unknown[PV_CALLS / 8 + 1]; // logged already; behind them one for all higher numbers
	struct pv_events events; // its arrays first
	// What each call touches lies together from here on, and just before.
	const struct pv_guest_ports *ports;
	void *ctx;
	struct pv_frames frames;
	struct pv_loan loan;
	struct shared_info *shared;
	mpn_t shared_mpn;
	struct pv_vcpu *vcpu; // [vcpus]
	unsigned vcpus;
	u64 pages, pages_max; // now and at most
	u64 machine_frames;    // numbers below
	u32 tsc_mul;
	s8 tsc_shift;
	u64 tsc_base;          // TSC when now_ns() was 0
	u64 wall_seconds;      // at that time
	struct xencons_interface *console; // the page of its ring
	u64 assists;
	u64 calls[PV_CALLS];
	u64 watchdog[PV_WATCHDOGS], watchdog_at; // when they run out, ~0: not set; the earliest
	unsigned budget;          // of work, for each piece of a call: PV_WORK, but in tests down to PV_WORK_MIN
	bool block, yield, over; // what the last hypercall wants of the scheduler
};

// All zero but for ports, ctx, frames, shared and shared_mpn, vcpu, vcpus, pages, machine_frames, tsc_*, wall_seconds.
void pv_guest_init(struct pv_guest *g, const struct pv_event_ports *events);

// SYSCALL in the guest's kernel: RAX and arguments as the ABI has them, RIP behind it. False: not done yet.
bool pv_hypercall(struct pv_vcpu *v) MUST_CHECK;

const char *pv_call_name(unsigned nr); // of one below PV_CALLS; NULL: there is none

// ---- memory.c: as the guest's kernel reaches it, through the tables in use. False: not mapped, or not so.
bool pv_read(struct pv_vcpu *v, u64 va, void *buf, u64 n) MUST_CHECK;
bool pv_write(struct pv_vcpu *v, u64 va, const void *buf, u64 n) MUST_CHECK;
// The entry that maps va at level 1 and the table it is in. False: there is no table.
bool pv_leaf(struct pv_vcpu *v, u64 va, mpn_t *table, unsigned *slot, u64 *entry) MUST_CHECK;
// May the machine write at va by the entries above level 1?
bool pv_tables_writable(struct pv_vcpu *v, u64 va) MUST_CHECK;
// A store to a page table that the guest has mapped read-only: 1 to 8 bytes, not over an entry's end. As pv_store().
enum status pv_table_store(struct pv_vcpu *v, u64 va, const void *bytes, unsigned n) MUST_CHECK;
// The same of a whole entry; *old: what was there.
enum status pv_table_exchange(struct pv_vcpu *v, u64 va, u64 value, u64 *old);
bool pv_is_table(struct pv_vcpu *v, mpn_t mpn);
// A program's fault. Under Xen all pages that a 64-bit guest maps are its programs', too, and a kernel that runs programs on its own
// tables (user_root is root) relies on it: U is added to the entries of an address in the lower half. False: it was there, or they are
// not shared.
bool pv_share_user(struct pv_vcpu *v, u64 va);

// The gate has done NEW_BASEPTR and NEW_USER_BASEPTR of two level-4 tables that are in use as such. (mmu.c)
void pv_bases_loaded(struct pv_vcpu *v, mpn_t kernel, mpn_t user);

// ---- traps.c
// The guest's handler of an exception runs next. No such handler, or no stack for it: the guest ends.
void pv_exception(struct pv_vcpu *v, const struct x86_fault *fault);
// INT n, which the machine refused: its own gates are not for guests. RIP is at the instruction, which is so long.
void pv_interrupt(struct pv_vcpu *v, u8 vector, unsigned bytes);
// SYSCALL in user mode. RIP is behind it.
void pv_syscall(struct pv_vcpu *v, bool compat);
// The machine refused the frame by which the guest wanted to go on.
void pv_failsafe(struct pv_vcpu *v);
// Is there something for pv_deliver()?
bool pv_due(const struct pv_vcpu *v);
// Enters the handler of an NMI or of events if one is due.
bool pv_deliver(struct pv_vcpu *v);
void pv_crash(struct pv_vcpu *v, const char *fmt, ...) PRINTF(2, 3);
static inline bool pv_kernel_mode(const struct pv_vcpu *v)
{
	return cpu_cpl(v->cpu) == 0;
}
// The kernel's own segments: of the first entry, and after each trap.
void pv_enter_kernel(struct pv_vcpu *v);

// ---- guest_audit.c: as pv_audit(), of all parts. What the caller holds, the shared page too, it has put into `count`.
unsigned pv_guest_audit(struct pv_guest *g, struct pv_count *count, void (*report)(void *ctx, const char *text), void *ctx);

// May the kernel have that in DR0 to 3, 6 or 7? By hypercall or by MOV, which is emulated. (calls.c)
bool pv_debugreg_allowed(const struct pv_vcpu *v, unsigned n, u64 value) MUST_CHECK;
// May the mode it is in use CLI and STI, and all ports? To the I/O privilege level a kernel is of ring 1; of ring 0 with
// VMASST_TYPE_architectural_iopl. (calls.c)
bool pv_iopl_allows(const struct pv_vcpu *v) MUST_CHECK;
// ... these ports, by level or by the kernel's map of them?
bool pv_port_allowed(struct pv_vcpu *v, u16 port, unsigned bytes) MUST_CHECK;

// ---- time.c
void pv_time_publish(struct pv_vcpu *v);     // where the guest has asked for it
u64 pv_timer_next(const struct pv_vcpu *v);  // when pv_timer_advance() is due, ~0: never
void pv_timer_advance(struct pv_vcpu *v);
void pv_runstate(struct pv_vcpu *v, int state, u64 now_ns); // RUNSTATE_*
// Blocked or polling, and nothing has come.
bool pv_waits(struct pv_vcpu *v);

// ---- console.c
void pv_console_drain(struct pv_guest *g); // the guest has rung
unsigned pv_console_input(struct pv_guest *g, const u8 *bytes, unsigned n); // how many were taken

// ---- cpuid.c: what its kernel is told
void pv_cpuid_policy(cpuid_host_fn host, void *ctx, u32 leaf, u32 subleaf, const struct x86_cpu *cpu, u32 out[4]);

// ---- hypercalls, one group each. Results are the ABI's.
#define PV_AGAIN ((s64)BIT(63)) // not done: call again
typedef s64 pv_call(struct pv_vcpu *v, const u64 *a);
pv_call pv_set_trap_table, pv_set_callbacks, pv_callback_op, pv_stack_switch, pv_iret, pv_nmi_op;
pv_call pv_set_gdt, pv_update_descriptor;
pv_call pv_mmu_update, pv_mmuext_op, pv_update_va_mapping, pv_update_va_mapping_otherdomain;
pv_call pv_memory_op;
pv_call pv_vcpu_op, pv_set_timer_op;
pv_call pv_event_channel_op;
pv_call pv_grant_table_op;
s64 pv_errno(enum status st);
bool pv_work_left(struct pv_vcpu *v); // before each piece of a call; false: PV_AGAIN
void pv_charge(struct pv_vcpu *v, unsigned work); // for what a piece does besides looking at entries
s64 pv_shut_down(struct pv_vcpu *v, u32 reason);
s64 pv_watchdog(struct pv_vcpu *v, u64 arg);
bool pv_descriptor_ok(u64 raw); // may the guest have it in its tables?
s64 pv_load_ldt(struct pv_vcpu *v, u64 base, u64 entries);

#endif
