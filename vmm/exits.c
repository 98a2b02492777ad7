// SPDX-License-Identifier: MIT
// What the hypervisor does at each exit. The machine state is raw (gate.page) when a handler starts; a handler that needs the
// architectural state calls regs_from_machine() first; one that changes nothing the guest can see sets resume_raw.
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/traps.h"
#include "machine/irq/time.h"
#include "vmm/check.h"
#include "vmm/lockstep.h"

static const char *const reason_names[EXIT_REASONS] = {
	[EXIT_PAGE_FAULT_HIDDEN] = "hidden_fault", [EXIT_PAGE_FAULT_GUEST] = "guest_fault",
	[EXIT_PAGE_WRITE] = "protected_write",	   [EXIT_MMIO] = "mmio",
	[EXIT_EXCEPTION] = "exception",		   [EXIT_INTERRUPT] = "interrupt",
	[EXIT_LINK] = "link",			   [EXIT_INDIRECT] = "indirect",
	[EXIT_EMULATE] = "emulate",		   [EXIT_PENDING] = "event_check",
	[EXIT_SYSCALL] = "syscall",		   [EXIT_GATE_FAULT] = "gate_fault",
	[EXIT_HYPERCALL] = "hypercall",
};

const char *exit_reason_name(enum exit_reason r)
{
	return reason_names[r];
}

// The mnemonic is that of the emulation just done.
void exit_count_site(struct vcpu *v, enum exit_reason reason, u64 rip)
{
	u16 mnemonic = reason == EXIT_EMULATE || reason == EXIT_PAGE_WRITE || reason == EXIT_MMIO ? v->emul.mnemonic : 0;
	struct hot_site *h = &v->hot[(rip ^ rip >> 10 ^ reason * 77) % HOT_SITES];

	if (h->rip == rip && h->reason == reason) {
		h->count++;
	} else if (h->count > 1) {
		h->count--;
	} else {
		*h = (struct hot_site){rip, (u16)reason, mnemonic, 1};
	}
}

void exit_is(struct vcpu *v, enum exit_reason reason)
{
	v->exits[reason].count++;
	v->last_exit = reason;
}

static struct x86_fault fault_of(unsigned vector, u64 error)
{
	return (struct x86_fault){.vector = (u8)vector, .has_error = vector_has_error_code(vector), .error = (u32)error};
}

// Runs one instruction in the emulator and delivers what it raises. False: the emulator does not know it; nothing has changed.
static bool emulate(struct vcpu *v)
{
	enum emul_result r;
	u64 rip = v->cpu.rip;

	assert(!v->in_machine);
	regs_segments_in(v);
	v->cpu.interrupt_shadow = false;
	r = emul_step(&v->emul);
	v->emulated++;
	trace(EMUL, v->emul.mnemonic, rip, r, cpu_cpl(&v->cpu), 0);
	if (r == EMUL_FAULT) {
		struct x86_fault fault = v->emul.fault;

		vcpu_inject(v, &fault, false, false);
	} else if (r != EMUL_UNSUPPORTED && unlikely(v->emul.trap)) {
		struct x86_fault debug = {.vector = VEC_DB};

		vcpu_inject(v, &debug, false, false);
	}
	return r != EMUL_UNSUPPORTED;
}

void vcpu_emulate(struct vcpu *v)
{
	if (!emulate(v)) {
		u8 bytes[15] = {0};
		struct x86_fault fault;

		(void)linear_access(v, v->cpu.rip, bytes, 8, EMUL_EXEC, &fault);
		vm_end(v->vm, END_CRASH, 0, "cannot emulate instruction %02x %02x %02x %02x %02x %02x %02x %02x at %lx", bytes[0], bytes[1],
		       bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], v->cpu.rip);
	}
}

// A store that the emulator does not know (FXSAVE, vector registers) met a protected frame: the frame is no page table and no
// code any more, so that the machine can do it. False: it stays protected for another reason.
static bool unprotect(struct vcpu *v, u64 gpa)
{
	struct vm *vm = v->vm;
	ppn_t ppn = gpa >> PAGE_SHIFT;

	bt_invalidate(vm->bt, ppn, 0, PAGE_SIZE);
	shadow_drop_frame(vm->shadow, ppn);
	return !shadow_is_table(vm->shadow, ppn) && !shadow_watched(vm->shadow, ppn);
}

// The same fault again and again means that filling the shadow does not help: better the end of this VM than endless.
static void watch_repeats(struct vcpu *v, u64 va)
{
	const struct vcpu_page *p = v->gate.page;

	if (v->same_fault_rip != p->rip || v->same_fault_va != va) {
		v->same_fault_rip = p->rip;
		v->same_fault_va = va;
		v->same_fault_count = 0;
	} else if (++v->same_fault_count == 64) {
		check_log_walk(v, va);
		vm_end(v->vm, END_CRASH, 0, "one hidden fault for ever: rip %lx va %lx error %lx", p->rip, va, p->error);
	}
}

static void page_fault(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	u64 va = p->cr2;
	struct mmu_mode m = vcpu_mmu_mode(v);
	struct guest_walk w;
	struct x86_fault fault;
	enum shadow_result result;

	m.ac = p->rflags & RFL_AC;
	if (p->marker_cr2 != v->marker_seen) { // the gate has reflected a fault since
		v->marker_seen = p->marker_cr2;
		shadow_used(v->vm->shadow);
	}
	shadow_hint(v->vm->shadow, p->guest_cr2, p->rip);
	result = shadow_fault(v->vm->shadow, &m, va, (u32)p->error, &w, &fault);
	if (result != SHADOW_FIXED && gate_in_reflection(p->rip)) {
		exit_is(v, EXIT_PAGE_FAULT_GUEST);
		reflect_take_back(v);
		return;
	}
	switch (result) {
	case SHADOW_FIXED:
		exit_is(v, EXIT_PAGE_FAULT_HIDDEN);
		trace(MMU, TRACE_MMU_HIDDEN, va, p->error, w.gpa, w.pte);
		watch_repeats(v, va);
		v->resume_raw = true;
		return;
	case SHADOW_INJECT:
		exit_is(v, EXIT_PAGE_FAULT_GUEST);
		regs_from_machine(v, true);
		exit_count_site(v, EXIT_PAGE_FAULT_GUEST, v->cpu.rip);
		trace(MMU, TRACE_MMU_GUEST, va, fault.error, v->cpu.rip, 0);
		if (saved_rpl(v) == 3)
			reflect_refresh(v);
		vcpu_inject(v, &fault, false, false);
		return;
	case SHADOW_EMULATE: {
		u64 rip;
		enum exit_reason why = w.present && !gpa_ram(v->vm, w.gpa) ? EXIT_MMIO : EXIT_PAGE_WRITE;

		exit_is(v, why);
		trace(MMU, TRACE_MMU_WRITE, va, w.gpa, p->rip, 0);
		if (why == EXIT_PAGE_WRITE && w.present && fast_store(v, w.gpa)) {
			v->fast_stores++;
			return;
		}
		regs_from_machine(v, true);
		rip = v->cpu.rip;
		if (why == EXIT_MMIO)
			vcpu_emulate(v);
		else if (emulate(v))
			; // done
		else if (!w.present) // one of our slots: nothing is there for the guest, whatever the instruction
			vcpu_inject(v, &fault, false, false);
		else if (shadow_slot_is_ours(va) || !unprotect(v, w.gpa))
			vm_end(v->vm, END_CRASH, 0, "cannot emulate the access at %lx to %lx", rip, va);
		exit_count_site(v, why, rip);
		return;
	}
	case SHADOW_NOMEM:
		vm_end(v->vm, END_CRASH, 0, "no memory for shadow page tables");
		return;
	}
}

static void translated_exit(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	struct bt_exit x = bt_exit_at(v->vm->bt, p->rip);
	u64 flushes = bt_get_stats(v->vm->bt)->flushes, entry;

	if (unlikely(x.kind == BT_EXIT_NONE)) {
		vm_end(v->vm, END_CRASH, 0, "untranslated kernel code was run: exit at %lx", p->rip);
		return;
	}
	// Exits leave exact state: only RIP is told by the exit itself.
	p->rip = x.kind == BT_EXIT_INDIRECT ? p->target : x.guest_rip;
	regs_at_boundary(v);
	lockstep_check(v);
	switch (x.kind) {
	case BT_EXIT_LINK:
		exit_is(v, EXIT_LINK);
		entry = bt_entry(v->vm->bt, v->cpu.rip);
		if (entry && flushes == bt_get_stats(v->vm->bt)->flushes)
			bt_link(v->vm->bt, x.slot, entry);
		trace(BT, TRACE_BT_LINK, v->cpu.rip, entry, 0, 0);
		break;
	case BT_EXIT_INDIRECT:
		exit_is(v, EXIT_INDIRECT);
		entry = bt_entry(v->vm->bt, v->cpu.rip);
		if (entry)
			bt_fill_ibtc(v->vm->bt, v->cpu.rip);
		trace(BT, TRACE_BT_INDIRECT, v->cpu.rip, entry, 0, 0);
		break;
	case BT_EXIT_EMULATE:
		exit_is(v, EXIT_EMULATE);
		v->callouts++;
		p->counter[0] -= x.counted;
		vcpu_emulate(v);
		exit_count_site(v, EXIT_EMULATE, x.guest_rip);
		break;
	case BT_EXIT_PENDING:
		exit_is(v, EXIT_PENDING);
		break;
	case BT_EXIT_NONE:
		break;
	}
}

// An exception other than a page fault. #GP and #UD may only be ours (ring 1 is not ring 0, UMIP, INT n under a filtered IDT):
// the emulator decides, and raises it again if it is the guest's.
static void exception(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	unsigned vector = (unsigned)p->vector;
	struct x86_fault fault = fault_of(vector, p->error);

	exit_is(v, EXIT_EXCEPTION);
	if (gate_in_reflection(p->rip)) {
		reflect_take_back(v);
		return;
	}
	regs_from_machine(v, true);
	exit_count_site(v, EXIT_EXCEPTION, v->cpu.rip);
	if (vector == VEC_GP || (vector == VEC_UD && cpu_cpl(&v->cpu) == 0)) {
		bool done;

		v->emul.sysenter_known = vector == VEC_GP; // its code segment is 0: what has no SYSENTER raises #UD
		done = emulate(v);
		v->emul.sysenter_known = false;
		if (!done)
			vcpu_inject(v, &fault, false, false);
		return;
	}
	if (vector == VEC_DB)
		debug_exception(v);
	vcpu_inject(v, &fault, vector == VEC_BP || vector == VEC_OF, false);
}

// The guest has not enabled SYSCALL. What the machine's has overwritten is lost: RCX, R11 and, if they are not the usual ones, the
// selectors.
static void syscall_refused(struct vcpu *v, bool compat)
{
	struct x86_cpu *c = &v->cpu;
	struct x86_fault ud = fault_of(VEC_UD, 0);
	u16 base = (u16)(c->star >> 48);

	tables_fill_segment(v, &c->seg[SEG_CS], (u16)((base + (compat ? 0 : 16)) | 3));
	tables_fill_segment(v, &c->seg[SEG_SS], (u16)((base + 8) | 3));
	c->seg[SEG_SS].attr = (c->seg[SEG_SS].attr | 3 << 5) & ~(u32)SEG_ATTR_UNUSABLE;
	c->rip -= 2;
	vcpu_inject(v, &ud, false, false);
}

// SYSCALL from ring 3 that the gate did not serve: RCX and R11 are already the guest's. From 32-bit code it goes to CSTAR.
static void syscall_exit(struct vcpu *v)
{
	struct x86_cpu *c = &v->cpu;
	struct vcpu_page *p = v->gate.page;
	u64 flags = p->rflags;
	bool compat = p->error;

	exit_is(v, EXIT_SYSCALL);
	regs_from_machine(v, true);
	if (!(c->efer & EFER_SCE)) {
		syscall_refused(v, compat);
		return;
	}
	c->rflags = ((flags & (RFL_ARITH | RFL_TF | RFL_DF | RFL_AC | RFL_ID | RFL_NT)) | (p->vif & RFL_IF) | (c->rflags & RFL_IOPL)) &
		    ~c->sfmask;
	c->rflags |= RFL_FIXED;
	c->rip = compat ? c->cstar : c->lstar;
	c->seg[SEG_SS].attr &= ~(3u << 5);
	c->seg[SEG_CS].attr = 3u << 5;
	c->seg[SEG_CS].selector = (c->star >> 32) & 0xfffc;
	c->seg[SEG_CS].attr = 0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G;
	c->seg[SEG_SS].selector = c->seg[SEG_CS].selector + 8;
	c->seg[SEG_SS].attr = 0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G;
	if (!compat)
		v->gate.trust->lstar_tc = bt_entry(v->vm->bt, c->lstar);
}

static void gate_fault(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;

	exit_is(v, EXIT_GATE_FAULT);
	if (saved_rpl(v) == 3) {
		// The machine refused the guest's user frame: what an IRET to it would have raised.
		struct x86_fault fault = fault_of((unsigned)(p->vector & 0xff), p->error);

		regs_from_machine(v, true);
		vcpu_inject(v, &fault, false, false);
		return;
	}
	vm_end(v->vm, END_CRASH, 0, "entering ring 1 failed: vector %lu, error %lx, gate %lx, RSP %lx, CR2 %lx; last frame: %lx, SS %lx, RSP %lx",
	       p->vector & 0xff, p->error, p->scratch[2], p->scratch[3], p->cr2, p->rip, p->ss, p->rsp);
}

bool exit_is_machine_interrupt(u64 vector)
{
	return vector == VEC_NMI || vector == VEC_MC || (vector >= 0x20 && vector < 0x100 && vector != GATE_EXIT_VECTOR);
}

void exit_machine_interrupt(struct vcpu *v, u64 vector)
{
	struct trap_frame f = {.vector = vector};

	trap_handle(&f);
	v->attention = true;
	if (vector == TIMER_VECTOR)
		v->armed_ns = 0; // and maybe a moment before its time, as nanoseconds are rounded
}

// Ring 1 is for translated code and the gate's reflection. A guest that has found a way to run something else there reaches
// nothing but its own memory by it, and ends; so does one that has got into virtual-8086 mode (gate.S).
static bool escaped(const struct vcpu *v)
{
	const struct vcpu_page *p = v->gate.page;

	if (unlikely(p->rflags & RFL_VM))
		return true;
	if (likely(saved_rpl(v) == 3))
		return false;
	return p->cs != SEL_R1_CS || !(bt_contains(v->vm->bt, p->rip) || gate_in_reflection(p->rip));
}

void vcpu_handle_exit(struct vcpu *v)
{
	u64 vector = v->gate.page->vector, rip = v->gate.page->rip, cr2 = v->gate.page->cr2, error = v->gate.page->error;

	if (unlikely(escaped(v))) {
		vm_end(v->vm, END_CRASH, 0, "%s at %lx, CS %lx",
		       v->gate.page->rflags & RFL_VM ? "virtual-8086 code in long mode was run" : "untranslated kernel code was run", rip,
		       v->gate.page->cs);
		if (exit_is_machine_interrupt(vector))
			exit_machine_interrupt(v, vector);
		return;
	}
	if (vector == VEC_PF) {
		page_fault(v);
	} else if (vector == GATE_EXIT_VECTOR && saved_rpl(v) == 1) {
		translated_exit(v);
	} else if (exit_is_machine_interrupt(vector)) {
		exit_is(v, EXIT_INTERRUPT);
		exit_machine_interrupt(v, vector);
		v->resume_raw = true;
	} else if (vector == GATE_SYSCALL_EXIT) {
		syscall_exit(v);
	} else if (vector & GATE_FAULT) {
		gate_fault(v);
	} else {
		exception(v);
	}
	trace(EXIT, v->last_exit, v->last_exit == EXIT_INTERRUPT || v->in_machine ? rip : v->cpu.rip, cr2, error,
	      tsc_to_ns(rdtsc() - v->exit_tsc));
	// A store to a page table in between may well have taken away what the fault before it filled in.
	if (v->last_exit != EXIT_PAGE_FAULT_HIDDEN && !exit_is_machine_interrupt(vector))
		v->same_fault_count = 0;
}
