// SPDX-License-Identifier: MIT
// Virtual machines, each with its virtual CPU (one for now): where core's pure parts meet the machine.
//
// A vCPU's state has two homes. While the guest runs, its general registers, flags, segment registers and FPU are the
// machine's; at an exit the general ones are in the gate's vcpu_page. regs.c moves them to and from struct x86_cpu, which
// holds the architectural truth whenever the emulator, injection or the control channel need it.
#ifndef VMM_VM_H
#define VMM_VM_H

#include "base/types.h"
#include "core/bt/bt.h"
#include "core/emul/emul.h"
#include "core/mmu/shadow.h"
#include "core/platform/platform.h"
#include "core/sched/sched.h"
#include "core/x86/cpu.h"
#include "machine/gate/gate.h"
#include "vmm/bundle.h"

// Reasons for leaving the guest world; names in exits.c, published in statistics.
enum exit_reason {
	EXIT_PAGE_FAULT_HIDDEN,
	EXIT_PAGE_FAULT_GUEST,
	EXIT_PAGE_WRITE, // write to a protected frame
	EXIT_MMIO,
	EXIT_EXCEPTION,
	EXIT_INTERRUPT, // the machine's timer or a device of ours
	EXIT_LINK,
	EXIT_INDIRECT,
	EXIT_EMULATE,
	EXIT_PENDING,
	EXIT_SYSCALL,
	EXIT_GATE_FAULT,
	EXIT_HYPERCALL,
	EXIT_REASONS,
};

struct exit_counter {
	u64 count, ns;
};

// A small table of the guest addresses that leave most often.
#define HOT_SITES 1024
struct hot_site {
	u64 rip;
	u16 reason;
	u16 mnemonic; // ZydisMnemonic of what was emulated there, 0: nothing
	u32 count;
};

// Stores to pages of translated code, by page (gmem.c).
#define CODE_PAGES 256
#define CODE_PATIENCE 4u
#define CODE_PATIENCE_MAX 1024u
struct code_page {
	ppn_t ppn;
	u32 writes, patience;
};

// Pages of a descriptor table in use: at most 64 KiB, anywhere.
#define TABLE_PAGES 17
struct watched_table {
	u64 va[TABLE_PAGES];
	ppn_t ppn[TABLE_PAGES];
	unsigned count;
};

struct vm;

// Why vcpu_run() came back.
enum vcpu_leave { LEAVE_TURN, LEAVE_HALTED, LEAVE_PAUSED };

struct vcpu {
	struct vm *vm;
	struct sched_entity entity; // sched.c
	volatile bool requests;     // of other CPUs: something is to be looked at
	bool leaving;
	enum vcpu_leave leave;
	u64 loaded_ns; // when its CPU loaded it
	u64 halted_ns; // when it went to sleep, 0: it did not
	u8 fpu[512] __attribute__((aligned(16))); // while no CPU has it loaded
	struct x86_cpu cpu;
	struct emul emul;
	struct gate gate;
	bool in_machine;    // general registers are in gate.page (raw exit state), not in cpu
	bool segments_live; // segment registers and bases in cpu equal the machine's
	bool resume_raw;    // nothing changed: run on at the saved machine state
	u64 cache_generation, root_generation;
	u64 reflect_rip; // guest's page-fault handler if faults may be reflected, else 0
	u64 audits;      // mmu.audit=1
	u64 marker_seen; // gate.page's marker_cr2 at the last page fault
	u32 reflect_wait;
	struct watched_table gdt_pages, ldt_pages;
	u64 machine_dr7;   // the guest's without what is not for the machine; 0: no breakpoint is on
	bool attention;    // time, devices or interrupts are to be looked at before the next entry
	bool console_open; // translated code may put console bytes into gate.page
	u8 console_iir;    // IIR as gate.page was last given it
	unsigned cr3_next; // where the gate's list of roots gets its next entry
	struct exit_counter exits[EXIT_REASONS];
	u64 crossings, emulated, callouts, injected;
	bool stress_armed; // the stress mode compares at the next entry
	u64 fast_stores; // executed by fast_store(), not in emulated
	enum exit_reason last_exit;
	u64 exit_tsc; // when the last exit arrived in the hypervisor world, 0: accounted or none
	u64 armed_ns; // when the machine's timer will fire for us; 0: not armed
	u64 same_fault_rip, same_fault_va;
	unsigned same_fault_count;
	struct hot_site hot[HOT_SITES]; // last: what each exit touches lies together
};

enum vm_state { VM_RUNNING, VM_ENDED };

// Memory taken in one piece for as long as the VM lives.
#define VM_BLOCKS 12
struct vm_block {
	mpn_t mpn;
	u64 frames;
};
enum vm_end { END_NONE, END_POWER_OFF, END_RESET, END_CRASH, END_DESTROYED, END_DEBUG_EXIT };

#define CONSOLE_BATCH 1024
#define CONSOLE_INPUT 1024 // power of two

// What was typed, from the CPU that has the control channel to the one that has the vCPU.
struct console_input {
	u32 head, tail; // free running; head is the writer's, tail the reader's
	u8 bytes[CONSOLE_INPUT];
};

struct vm {
	struct vm *next; // vms.c
	u32 id;          // from 1, never used again
	struct vm_config config;
	const struct bundle *bundle; // kernel and ramdisk; stands as long as the machine, or is own_bundle
	struct bundle own_bundle;    // of a VM that was created later, in memory that is the VM's
	bool freed;           // its memory is given back; what follows the end is for the statistics
	bool over;                    // ended for good
	bool preserved;               // ended, and kept as it is until a command destroys it
	struct console_input input;
	enum vm_end end;
	u32 end_value;
	char end_reason[200];

	struct vm_block block[VM_BLOCKS];
	unsigned blocks;
	u64 frames_held; // of every kind

	u32 shadow_tables, shadow_table_limit;
	u32 reserve; // reserve.h
	struct gate_cache cache;
	void *shadow_memory, *translator_memory;
	size_t shadow_memory_size, translator_memory_size;
	struct code_page code_pages[CODE_PAGES];
	u8 console[CONSOLE_BATCH];
	// lives.h
	bool restarting;
	ppn_t cleared; // all pages below are
	struct bt_stats past_bt;
	struct shadow_stats past_shadow;
	u64 past_counter;
	u64 past_calls[64]; // of hypercalls, by number
	u32 last_shadow_tables; // once it is freed
	struct platform platform;

	// What each exit touches, of the vCPU too, lies together from here on.
	enum vm_state state __attribute__((aligned(PAGE_SIZE)));
	volatile bool paused, killed, power_button; // by command
	unsigned console_used;
	u64 console_since; // when the first of the console's bytes came
	mpn_t *p2m;        // by ppn; MPN_NONE: no RAM there
	ppn_t ppn_limit;
	u64 ram_bytes, low_bytes, overhead_bytes;
	struct pv_vm *pv; // pv.h; NULL: an unmodified guest, and then the next two are there
	struct shadow *shadow;
	struct bt *bt;
	void *stress; // memory of the stress mode, NULL: off
	struct vcpu vcpu;
};

// vm.c
// NULL: the machine is too small, or the kernel cannot be loaded; `error` says why and nothing is kept. The bundle stays.
struct vm *vm_create(const struct bundle *bundle, const struct vm_config *config, char *error, size_t error_size);
// So many are about to be created, this one included: each is to leave the others their part of the hypervisor's memory.
void vm_expect(unsigned vms);
u64 vm_hypervisor_bytes(void); // all of the machine that is in use, without the guests' RAM
u64 vm_hypervisor_part(void); // what that is to stay below as long as the VMs can do with it
// From cleared memory, all taken, to the kernel's entry. False: `error` says why not.
bool vm_boot(struct vm *vm, char *error, size_t error_size) MUST_CHECK;
// The memory of the bundle that it was created from, whole frames, is the VM's from now on, and freed with it.
void vm_keep_bundle(struct vm *vm, const struct bundle *bundle);
// Gives back all memory of a VM that no CPU has loaded; the struct stays, for the statistics, until vm_forget().
void vm_free(struct vm *vm);
void vm_forget(struct vm *vm);
// What the statistics tell of a VM that could not be created; it has ended and is freed. NULL: no memory even for that.
struct vm *vm_record(const struct vm_config *config, const char *reason);
unsigned vm_record_frames(void); // what is kept of a VM that has been freed
void vm_end(struct vm *vm, enum vm_end how, u32 value, const char *fmt, ...) PRINTF(4, 5);
void vm_console_flush(struct vm *vm);
const char *vm_end_name(enum vm_end how);

// Parts of a VM's creation, for pv_create.c. What they take is given back by vm_free().
void *vm_take(struct vm *vm, size_t bytes); // whole frames, zeroed; NULL: none left
bool vm_fill_p2m(struct vm *vm, u64 base, u64 bytes); // frames for pages that have none
void vm_drop_page(struct vm *vm, ppn_t ppn);
bool vm_create_p2m(struct vm *vm, u64 bytes); // of ppn_limit pages, none there; for so many bytes frames are left
unsigned vm_physical_bits(void); // width of the machine's addresses
bool vm_create_gate(struct vm *vm, const struct gate_cache *cache);
void vm_too_large(const struct vm *vm, u64 frames_left, char *error, size_t size);
void vm_console_put(struct vm *vm, const u8 *bytes, unsigned n);

// gmem.c: guest-physical and guest-linear memory. The one helper by which the hypervisor writes guest memory.
bool gpa_read(struct vm *vm, u64 gpa, void *buf, unsigned len);
bool gpa_write(struct vm *vm, u64 gpa, const void *buf, unsigned len);
void *gpa_ram(struct vm *vm, u64 gpa); // pointer to RAM, NULL elsewhere; valid up to the page's end
struct mmu_mode vcpu_mmu_mode(const struct vcpu *v);
enum emul_result linear_access(struct vcpu *v, u64 linear, void *buf, unsigned len, unsigned kind, struct x86_fault *fault);

// ports.c
extern const struct emul_ports vmm_emul_ports;
extern const struct shadow_ports vmm_shadow_ports;
extern const struct bt_ports vmm_bt_ports;
// Emulator's ports that are the same for each kind of guest.
enum emul_result vmm_msr_result(bool ok, struct x86_fault *fault); // false: #GP
u64 vmm_host_rdtsc(void *ctx);
void vcpu_load_root(struct vcpu *v);

// reflect.c
void reflect_forget(struct vcpu *v);
void reflect_refresh(struct vcpu *v);
void reflect_take_back(struct vcpu *v);

// fast_store.c
bool fast_store(struct vcpu *v, u64 gpa);

// console.c: console bytes that wait in gate.page
void console_after_exit(struct vcpu *v);
void console_state(struct vcpu *v); // after the UART may have changed
// Typed bytes: from any CPU, returns how many were taken; and on to the UART as far as it takes them.
unsigned console_type(struct vm *vm, const u8 *bytes, unsigned n);
void console_pass_input(struct vcpu *v);

// roots.c: which CR3 loads the gate may do by itself, and whether INVLPG needs an exit
void roots_forget(struct vcpu *v); // the shadow is a new one
void roots_after_exit(struct vcpu *v);
void roots_before_entry(struct vcpu *v);

// tables.c: descriptor tables in use
void tables_load_gdt(struct vcpu *v);
void tables_load_ldt(struct vcpu *v);
void tables_reload_ldt(struct vcpu *v); // the same one, on this CPU
void tables_written(struct vcpu *v, u64 gpa, unsigned len);
void tables_fill_segment(struct vcpu *v, struct x86_segment *seg, u16 selector);

// regs.c
void regs_from_machine(struct vcpu *v, bool is_fault); // general registers and, lazily, segments
void regs_at_boundary(struct vcpu *v);                 // the same after an exit that has put the guest's RIP into the page
void regs_segments_in(struct vcpu *v);
void regs_segments_out(struct vcpu *v);
void regs_to_machine(struct vcpu *v, u64 machine_rip);
void regs_control_out(struct vcpu *v); // CR0, CR4, XCR0 of the machine from the guest's
static inline unsigned saved_rpl(const struct vcpu *v)
{
	return v->gate.page->cs & 3;
}

// debug.c: the machine's debug registers are the guest's only while it runs; enter and leave while machine_dr7 is not 0
void debug_exception(struct vcpu *v); // #DB came: the guest's DR6
void debug_written(struct vcpu *v);
void debug_enter(const struct vcpu *v);
void debug_leave(void);

// inject.c
void vcpu_inject(struct vcpu *v, const struct x86_fault *fault, bool soft, bool external);
bool vcpu_deliver_interrupts(struct vcpu *v, u64 now);

// exits.c
void vcpu_handle_exit(struct vcpu *v);
void vcpu_emulate(struct vcpu *v);
const char *exit_reason_name(enum exit_reason r);

// run.c: until the VM has ended, or for the reason in v->leave. The vCPU is loaded (switch.c).
void vcpu_run(struct vcpu *v);
// Parts of the loop that both kinds of guests have.
u64 vcpu_next_event(const struct vcpu *v, u64 now); // when its devices or timers want the CPU
void vcpu_service(u64 now);
void vcpu_arm_timer(struct vcpu *v, u64 now);
void vcpu_leave(struct vcpu *v, enum vcpu_leave why);
bool vcpu_requests(struct vcpu *v, u64 now); // false: it does not go on
void vcpu_console_due(struct vcpu *v, u64 now);

// exits.c
bool exit_is_machine_interrupt(u64 vector);
void exit_machine_interrupt(struct vcpu *v, u64 vector);
void exit_is(struct vcpu *v, enum exit_reason reason);
void exit_count_site(struct vcpu *v, enum exit_reason reason, u64 rip);

#endif
