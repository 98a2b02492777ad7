// SPDX-License-Identifier: MIT
// The run loop of a paravirtual vCPU and what happens at its exits. Its kernel runs in ring 1, its programs in ring 3, both as they
// are; what the gate does not serve (machine/gate/gate_pv.inc) comes here.
#include "vmm/pv.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/knobs.h"
#include "vmm/sched.h"
#include <xen/vcpu.h>

static struct pv_vm *pv_of(const struct vcpu *v)
{
	return v->vm->pv;
}

u64 pv_next_event(const struct vcpu *v)
{
	return pv_timer_next(&pv_of(v)->vcpu);
}

// ---- exceptions

static struct x86_fault fault_of(const struct vcpu_page *p)
{
	unsigned vector = (unsigned)p->vector & 0xff;

	return (struct x86_fault){
		.vector = (u8)vector, .has_error = vector_has_error_code(vector), .error = (u32)p->error, .cr2 = p->cr2};
}

static void page_fault(struct vcpu *v)
{
	struct pv_vcpu *pv = &pv_of(v)->vcpu;
	struct x86_fault fault = fault_of(v->gate.page);
	mpn_t table;
	unsigned slot;
	u64 entry;

	if (pv_of(v)->stored) { // it comes again, if it is one
		exit_is(v, EXIT_PAGE_FAULT_GUEST);
		return;
	}
	// A store of the kernel to a page table, which is never mapped writable.
	if ((fault.error & (PF_P | PF_W | PF_U)) == (PF_P | PF_W) && pv_leaf(pv, fault.cr2, &table, &slot, &entry) && (entry & PTE_P) &&
	    !(entry & PTE_W) && pv_is_table(pv, (entry & PTE_ADDR) >> PAGE_SHIFT)) {
		exit_is(v, EXIT_PAGE_WRITE);
		exit_count_site(v, EXIT_PAGE_WRITE, v->cpu.rip);
		pv->guest->frames.work = PV_WORK;
		if (!pv_work_left(pv)) // the store comes again
			return;
		if (pv_emulate_store(v, fault.cr2)) {
			if (vmm_knobs.pv_fast && v->vm->state != VM_ENDED)
				pv_loan_stored(pv, fault.cr2, v->gate.page->pv_returns);
			return;
		}
	}
	exit_is(v, EXIT_PAGE_FAULT_GUEST);
	exit_count_site(v, EXIT_PAGE_FAULT_GUEST, v->cpu.rip);
	if ((fault.error & (PF_P | PF_U)) == (PF_P | PF_U) && pv_share_user(pv, fault.cr2))
		return;
	trace(MMU, TRACE_MMU_GUEST, fault.cr2, fault.error, v->cpu.rip, 0);
	pv_exception(pv, &fault);
}

static void exception(struct vcpu *v)
{
	struct pv_vcpu *pv = &pv_of(v)->vcpu;
	struct x86_fault fault = fault_of(v->gate.page);

	if (fault.vector == VEC_UD && pv_emulate_cpuid(v)) {
		exit_is(v, EXIT_EMULATE);
		return;
	}
	if (fault.vector == VEC_GP && pv_kernel_mode(pv)) {
		exit_is(v, EXIT_EMULATE);
		exit_count_site(v, EXIT_EMULATE, v->cpu.rip);
		if (pv_emulate_privileged(v))
			return;
	}
	if (fault.vector == VEC_GP && !pv_kernel_mode(pv) && pv_emulate_user_io(v)) {
		exit_is(v, EXIT_EMULATE);
		return;
	}
	exit_is(v, EXIT_EXCEPTION);
	exit_count_site(v, EXIT_EXCEPTION, v->cpu.rip);
	if (fault.vector == VEC_GP && (fault.error & ERROR_IDT) && pv_emulate_int(v))
		return;
	trace(INJECT, TRACE_INJECT_EXCEPTION, fault.vector, fault.error, v->cpu.rip, fault.cr2);
	if (fault.vector == VEC_DB)
		debug_exception(v);
	if (fault.vector == VEC_NM) { // as Xen: the task has the FPU from here on
		v->cpu.cr0 &= ~(u64)CR0_TS;
		regs_control_out(v);
	}
	pv_exception(pv, &fault);
}

// ---- exits

static void after_hypercall(struct vcpu *v)
{
	struct pv_guest *g = &pv_of(v)->guest;

	v->cpu.halted = g->block;
	if (!g->block && !g->yield)
		return;
	v->attention = true;
	if (!g->block)
		vcpu_leave(v, LEAVE_TURN);
	g->block = g->yield = false;
}

static void hypercall(struct vcpu *v)
{
	struct pv_vm *pv = pv_of(v);
	u64 timer = pv_timer_next(&pv->vcpu);
	unsigned nr = (u32)v->cpu.gpr[R_RAX];
	struct vcpu_page *p = v->gate.page;

	pv->vcpu.has_given = nr == __HYPERVISOR_mmu_update && !pv->goes_on && p->pv_update_read;
	pv->vcpu.given[0] = p->pv_update[0];
	pv->vcpu.given[1] = p->pv_update[1];
	p->pv_update_read = 0;
	pv->goes_on = !pv_hypercall(&pv->vcpu);
	if (timer != pv_timer_next(&pv->vcpu))
		v->attention = true; // the machine's is to be armed
	if (pv->goes_on)
		v->attention = true; // others may have waited
	else
		after_hypercall(v);
	if (vmm_knobs.pv_fast && !pv->goes_on && v->vm->state != VM_ENDED)
		pv_loan_called(&pv->vcpu, nr, v->gate.page->pv_returns);
}

// SYSCALL does not say where it comes from; what was entered last does.
static void syscall_exit(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	bool user = p->pv_user, compat = p->error;

	p->cs = !user ? SEL_R1_CS : compat ? XEN_FLAT_CS32 : XEN_FLAT_CS64;
	p->ss = user ? XEN_FLAT_DS32 : SEL_R1_SS;
	regs_at_boundary(v);
	regs_segments_in(v);
	exit_is(v, user ? EXIT_SYSCALL : EXIT_HYPERCALL);
	if (user)
		pv_syscall(&pv_of(v)->vcpu, compat);
	else
		hypercall(v);
}

// The machine refused a frame: what the guest wanted to go on with.
static void gate_fault(struct vcpu *v)
{
	exit_is(v, EXIT_GATE_FAULT);
	pv_failsafe(&pv_of(v)->vcpu);
}

static void handle_exit(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	u64 vector = p->vector;

	if (exit_is_machine_interrupt(vector)) {
		exit_is(v, EXIT_INTERRUPT);
		exit_machine_interrupt(v, vector);
		return;
	}
	if (unlikely(v->vm->state == VM_ENDED)) // by what it had stored
		return;
	if (vector == GATE_SYSCALL_EXIT) {
		syscall_exit(v);
	} else {
		regs_at_boundary(v);
		regs_segments_in(v);
		if (unlikely(p->rflags & RFL_VM))
			vm_end(v->vm, END_CRASH, 0, "virtual-8086 code in long mode was run at %lx", p->rip);
		else if (vector == VEC_PF)
			page_fault(v);
		else if (vector & GATE_FAULT)
			gate_fault(v);
		else
			exception(v);
	}
	trace(EXIT, v->last_exit, v->cpu.rip, p->cr2, p->error, tsc_to_ns(rdtsc() - v->exit_tsc));
}

// ---- the loop

static void attend(struct vcpu *v)
{
	struct pv_vcpu *pv = &pv_of(v)->vcpu;
	u64 now = time_ns();

	v->attention = false;
	vcpu_service(now);
	if (unlikely(v->requests) && !vcpu_requests(v, now))
		return;
	console_pass_input(v);
	if (pv_of(v)->store_due)
		pv_vm_store(pv_of(v));
	if (pv_timer_next(pv) <= now)
		pv_timer_advance(pv);
	if (v->cpu.halted && pv_waits(pv)) {
		vcpu_leave(v, LEAVE_HALTED);
		return;
	}
	v->cpu.halted = false;
	if (sched_turn_ended(v, now)) {
		vcpu_leave(v, LEAVE_TURN);
		return;
	}
	vcpu_console_due(v, now);
	vcpu_arm_timer(v, now);
}

static void deliver(struct vcpu *v)
{
	struct pv_vm *pv = pv_of(v);

	if (likely(!pv_due(&pv->vcpu)))
		return;
	if (v->in_machine) {
		regs_at_boundary(v);
		regs_segments_in(v);
	}
	if (pv_deliver(&pv->vcpu))
		v->injected++;
}

// What the gate may do by itself, and where.
static void refresh_gate(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;
	struct pv_vcpu *pv = &pv_of(v)->vcpu;
	bool fast;

	if (unlikely(pv->info != pv_of(v)->info)) {
		pv_of(v)->info = pv->info;
		gate_map_info(&v->gate, ptr_mpn(pv->info));
		t->pv_reserved = pv->guest->frames.reserved;
	}
	// The iret that unmasks NMIs is to come here; frames with an I/O privilege level in them are made here.
	fast = vmm_knobs.pv_fast && !pv->nmi_masked && !(pv->guest->assists & BIT(VMASST_TYPE_architectural_iopl));
	t->pv_info = fast ? GATE_PV_INFO + ((u64)pv->info & PAGE_MASK) : 0;
	t->pv_syscall = fast ? pv->syscall.address : 0;
	t->pv_syscall_masks = pv->syscall.masks;
	t->pv_ports = pv->iopl > 0;
	t->pv_page_fault = fast && pv->user_root != pv->root ? pv->trap[VEC_PF].address : 0;
	t->pv_page_fault_masks = !!(pv->trap[VEC_PF].flags & PV_TRAP_MASKS);
	v->gate.page->pv_kernel_sp = pv->kernel_sp;
	v->gate.page->pv_user_table = pv->user_root != MPN_NONE;
	t->pv_lent_table = pv->guest->loan.table;
	v->gate.page->pv_lent = pv->guest->loan.table != MPN_NONE;
	if (fast)
		pv_roots_list(pv_of(v));
}

static void violation(void *ctx, const char *text)
{
	log_err("%s: audit: %s", ((struct vm *)ctx)->config.name, text);
}

// What a call that goes on has done is counted when it has ended.
static void audit(struct vcpu *v)
{
	if (pv_of(v)->goes_on)
		return;
	v->audits++;
	if (pv_vm_audit(v->vm, violation))
		panic("%s: audit at %lx", v->vm->config.name, v->gate.page->rip);
}

static void enter(struct vcpu *v)
{
	if (!v->in_machine) {
		v->gate.page->pv_user = !pv_kernel_mode(&pv_of(v)->vcpu);
		regs_to_machine(v, v->cpu.rip);
	}
	refresh_gate(v);
	v->crossings++;
	if (v->exit_tsc)
		v->exits[v->last_exit].ns += tsc_to_ns(rdtsc() - v->exit_tsc);
	trace(ENTRY, TRACE_ENTRY_ENTER, v->gate.page->rip, v->gate.page->cs, v->gate.trust->guest_cr3, 0);
	if (unlikely(v->machine_dr7))
		debug_enter(v);
	gate_enter(&v->gate);
	if (unlikely(v->machine_dr7))
		debug_leave();
	v->exit_tsc = rdtsc();
	pv_of(v)->vcpu.kernel_sp = v->gate.page->pv_kernel_sp; // the gate serves stack_switch
	pv_of(v)->stored = pv_loan_return(&pv_of(v)->vcpu); // before tables are given back
	pv_roots_after_exit(pv_of(v));
	if (unlikely(vmm_knobs.pv_audit) && v->crossings % vmm_knobs.pv_audit == 0)
		audit(v);
	handle_exit(v);
}

void pv_run(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct pv_vm *pv = pv_of(v);

	pv_runstate(&pv->vcpu, RUNSTATE_running, time_ns());
	while (vm->state != VM_ENDED) {
		if (v->attention || v->cpu.halted) {
			attend(v);
			if (v->leaving || vm->state == VM_ENDED)
				break;
		}
		if (pv->goes_on) {
			hypercall(v);
			continue;
		}
		deliver(v);
		if (vm->state != VM_ENDED && !v->cpu.halted && !v->attention && !v->leaving)
			enter(v);
		if (v->leaving)
			break;
	}
	(void)pv_loan_return(&pv->vcpu); // of one that was to be lent with the next entry: others look at its tables now
	pv_runstate(&pv->vcpu, v->leave == LEAVE_HALTED ? RUNSTATE_blocked : RUNSTATE_runnable, time_ns());
	if (vm->state == VM_ENDED)
		vm_console_flush(vm);
}
