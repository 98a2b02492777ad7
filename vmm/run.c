// SPDX-License-Identifier: MIT
// The run loop of a vCPU: deliver what is due, choose how to run (natively in ring 3, translated in ring 1, emulated), enter the
// guest world, handle the exit. One CPU owns the vCPU while it is in here; interrupts are off.
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/lapic.h"
#include "machine/irq/time.h"
#include "vmm/check.h"
#include "vmm/lockstep.h"
#include "vmm/pv.h"
#include "vmm/sched.h"
#include "vmm/service.h"

// Console bytes wait for company, but not longer than this.
#define CONSOLE_DELAY_NS 2000000ull

// How long emulation may go on before devices and the control channel are looked at again.
#define EMULATE_BURST 64

static void devices_advance(struct vcpu *v, u64 now)
{
	struct platform *p = &v->vm->platform;

	if (platform_next_event(p, now) <= now)
		platform_advance(p, now);
}

static bool nmi_due(const struct vcpu *v)
{
	return platform_nmi_pending(&v->vm->platform) && !v->cpu.nmi_blocked;
}

static void deliver_nmi(struct vcpu *v)
{
	struct x86_fault event = {.vector = VEC_NMI};

	if (v->in_machine && gate_in_reflection(v->gate.page->rip)) { // ring 1's text there is the gate's: no place in the guest's code
		reflect_take_back(v);
		v->resume_raw = false;
	} else if (v->in_machine) {
		regs_from_machine(v, false);
		v->resume_raw = false;
	}
	if (v->cpu.interrupt_shadow)
		return;
	platform_take_nmi(&v->vm->platform);
	v->cpu.halted = false;
	vcpu_inject(v, &event, false, true);
}

// Brings the vCPU to architectural state and delivers an interrupt if it accepts one.
static void deliver(struct vcpu *v, u64 now)
{
	struct vcpu_page *page = v->gate.page;

	if (unlikely(nmi_due(v)))
		deliver_nmi(v);
	if (!platform_interrupt_pending(&v->vm->platform)) {
		page->pending = 0;
		return;
	}
	if (v->in_machine) {
		if (!(page->vif & RFL_IF)) {
			page->pending = 1;
			return;
		}
		regs_from_machine(v, false);
		v->resume_raw = false;
	}
	vcpu_deliver_interrupts(v, now);
	page->pending = platform_interrupt_pending(&v->vm->platform);
}

u64 vcpu_next_event(const struct vcpu *v, u64 now)
{
	return v->vm->pv ? pv_next_event(v) : platform_next_event(&v->vm->platform, now);
}

void vcpu_console_due(struct vcpu *v, u64 now)
{
	if (v->vm->console_used && now - v->vm->console_since >= CONSOLE_DELAY_NS)
		vm_console_flush(v->vm);
}

// Programming the timer costs an access to the LAPIC: only when the machine's would fire too late. One that fires too early
// is armed again then.
void vcpu_arm_timer(struct vcpu *v, u64 now)
{
	u64 period = v->vm->console_used ? CONSOLE_DELAY_NS : SERVICE_PERIOD_NS;
	u64 next = MIN(vcpu_next_event(v, now), sched_ask_again());

	next = MIN(MAX(next, now), now + period);
	if (v->armed_ns > now && v->armed_ns <= next)
		return;
	v->armed_ns = next;
	trace(TIMER, TRACE_TIMER_ARMED, next - now, 0, 0, 0);
	timer_arm(rdtsc() + ns_to_tsc(next - now));
}

// The first CPU has the control channel. Input interrupts it; looking costs port accesses, so not at every exit.
void vcpu_service(u64 now)
{
	static u64 last_ns;

	if (this_cpu()->id != 0 || now - last_ns < SERVICE_POLL_NS)
		return;
	last_ns = now;
	service_poll();
}

void vcpu_leave(struct vcpu *v, enum vcpu_leave why)
{
	vm_console_flush(v->vm);
	v->leave = why;
	v->leaving = true;
	v->attention = true;
	v->exit_tsc = 0; // what follows is not that exit's time
}

// What another CPU wants of this vCPU. False: it does not go on.
bool vcpu_requests(struct vcpu *v, u64 now)
{
	struct vm *vm = v->vm;

	v->requests = false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vm->power_button && vm->pv)
		pv_vm_power_button(vm->pv);
	else if (vm->power_button)
		platform_power_button(&vm->platform, now);
	vm->power_button = false;
	if (vm->killed)
		vm_end(vm, END_DESTROYED, 0, "destroyed by command");
	else if (vm->paused)
		vcpu_leave(v, LEAVE_PAUSED);
	return vm->state != VM_ENDED && !v->leaving;
}

// The translation cache is made anew when that pays. Not while the gate's own ring-1 code runs: its frame is not the guest's yet.
static void renew_translations(struct vcpu *v)
{
	struct bt *bt = v->vm->bt;

	if (!bt_wants_renewal(bt, v->crossings) || (v->in_machine && gate_in_reflection(v->gate.page->rip)))
		return;
	if (v->in_machine) {
		regs_from_machine(v, false);
		v->resume_raw = false;
	}
	bt_flush(bt);
}

// Time, devices, the control channel, interrupts. Most exits (page faults, links) need none of it: devices change only by what
// sets v->attention, and the machine's timer fires when one of them is due.
static void attend(struct vcpu *v)
{
	struct platform *p = &v->vm->platform;
	bool woken = v->cpu.halted;
	u64 now = time_ns();

	v->attention = false;
	lockstep_drop(v); // devices may write memory
	vcpu_service(now);
	if (unlikely(v->requests) && !vcpu_requests(v, now))
		return;
	platform_take_eoi(p);
	console_pass_input(v);
	devices_advance(v, now);
	if (v->cpu.halted && !(platform_interrupt_pending(p) && (v->cpu.rflags & RFL_IF)) && !nmi_due(v)) {
		vcpu_leave(v, LEAVE_HALTED);
		return;
	}
	if (sched_turn_ended(v, now)) {
		vcpu_leave(v, LEAVE_TURN);
		return;
	}
	if (woken || !lockstep_holds_interrupts(v))
		deliver(v, now);
	platform_offer_eoi(p);
	console_state(v);
	vcpu_console_due(v, now);
	renew_translations(v);
	vcpu_arm_timer(v, now);
}

// An interrupt waited for IF, and IF is set.
static bool interrupt_due(const struct vcpu *v)
{
	const struct vcpu_page *page = v->gate.page;

	return (page->pending && ((v->in_machine ? page->vif : v->cpu.rflags) & RFL_IF)) || unlikely(nmi_due(v));
}

// What translated code and the gate know nothing of: single steps, breakpoints on kernel code, IOPL, the end of an NMI's
// handler, and (the gate) a SYSCALL that leaves TF, DF, NT or AC as they are. The emulator runs the kernel then.
static bool is_special(const struct x86_cpu *c)
{
	return (c->rflags & RFL_IOPL) || c->nmi_blocked || (unlikely(c->dr[7] & 0xff) && emul_code_breakpoints(c));
}

static bool gate_serves(const struct x86_cpu *c)
{
	return !is_special(c) && !(c->dr[7] & 0xff);
}

#define SYSCALL_CLEARS (RFL_TF | RFL_DF | RFL_NT | RFL_AC)

static bool gate_serves_syscall(const struct x86_cpu *c)
{
	return (c->sfmask & SYSCALL_CLEARS) == SYSCALL_CLEARS;
}

static bool runs_translated(const struct x86_cpu *c)
{
	return cpu_cpl(c) == 0 && cpu_long_mode(c) && (c->cr0 & CR0_PG) && !(c->rflags & RFL_TF) && !is_special(c);
}

// Emulates until translated or user code can run. False: the VM ended, halted or is to be looked after first.
static bool prepare(struct vcpu *v)
{
	lockstep_forget(v);
	for (unsigned i = 0; i < EMULATE_BURST; i++) {
		struct x86_cpu *c = &v->cpu;
		u64 entry;

		if (v->vm->state == VM_ENDED || c->halted)
			return false;
		if (!c->interrupt_shadow && cpu_cpl(c) == 3 && cpu_lma(c) && (c->cr0 & CR0_PG)) {
			regs_to_machine(v, c->rip);
			return true;
		}
		if (!c->interrupt_shadow && runs_translated(c)) {
			entry = bt_entry(v->vm->bt, c->rip);
			if (entry) {
				lockstep_enter(v, entry);
				regs_to_machine(v, entry);
				return true;
			}
		}
		vcpu_emulate(v);
		// A device that was touched (an EOI, say) may want an interrupt before the next instruction.
		if (v->attention || ((c->rflags & RFL_IF) && v->gate.page->pending) || unlikely(nmi_due(v)))
			return false;
	}
	return false;
}

// Addresses of translated code that the gate keeps follow the cache.
static void refresh_cache_addresses(struct vcpu *v)
{
	u64 generation = bt_generation(v->vm->bt);

	if (unlikely(!gate_serves(&v->cpu))) {
		v->cache_generation = ~0ull;
		v->gate.trust->lstar_tc = v->gate.trust->reflect_handler = 0;
		return;
	}
	if (generation != v->cache_generation) {
		v->cache_generation = generation;
		v->gate.trust->lstar_tc = v->cpu.lstar ? bt_find(v->vm->bt, v->cpu.lstar) : 0;
		v->gate.trust->reflect_handler = v->reflect_rip ? bt_find(v->vm->bt, v->reflect_rip) : 0;
	}
	if (unlikely(!gate_serves_syscall(&v->cpu)))
		v->gate.trust->lstar_tc = 0;
}

static void enter(struct vcpu *v)
{
	v->resume_raw = false;
	refresh_cache_addresses(v);
	if (unlikely(!v->gate.trust->reflect_handler) && gate_in_reflection(v->gate.page->rip)) {
		reflect_take_back(v); // it has nowhere to jump to any more
		return;
	}
	roots_before_entry(v);
	v->crossings++;
#ifdef TRAPEZE_DEBUG
	check_entry(v);
#endif
	if (v->exit_tsc) // time in the hypervisor's world, charged to what caused it
		v->exits[v->last_exit].ns += tsc_to_ns(rdtsc() - v->exit_tsc);
	trace(ENTRY, TRACE_ENTRY_ENTER, v->gate.page->rip, v->gate.page->cs, v->gate.trust->guest_cr3, v->gate.page->pending);
	if (unlikely(v->vm->stress))
		check_stress(v);
	if (unlikely(v->machine_dr7))
		debug_enter(v);
	gate_enter(&v->gate);
	if (unlikely(v->machine_dr7))
		debug_leave();
	v->exit_tsc = rdtsc();
	roots_after_exit(v);
	console_after_exit(v);
	vcpu_handle_exit(v);
}

void vcpu_run(struct vcpu *v)
{
	struct vm *vm = v->vm;

	v->attention = true;
	v->leaving = false;
	v->armed_ns = 0; // the machine's timer may have been the idle loop's meanwhile, and be spent
	if (vm->pv) {
		pv_run(v);
		return;
	}
	platform_stolen(&vm->platform, v->entity.ready_ns); // fixed while this CPU runs it
	while (vm->state != VM_ENDED) {
		if (v->attention || v->cpu.halted || interrupt_due(v)) {
			attend(v);
			if (v->leaving || vm->state == VM_ENDED)
				break;
		}
		if (!v->in_machine && !prepare(v)) {
			v->attention = true; // a guest that is emulated for ever must not keep time and commands waiting
			continue;
		}
		if (!v->attention)
			enter(v);
	}
	if (vm->state == VM_ENDED)
		vm_console_flush(vm);
}
