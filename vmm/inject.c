// SPDX-License-Identifier: MIT
// Delivers exceptions and interrupts to the guest through its own IDT (the emulator does the architecture's part), escalating
// double and triple faults (SDM 3A table 6-5).
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "machine/irq/time.h"

void vcpu_inject(struct vcpu *v, const struct x86_fault *fault, bool soft, bool external)
{
	struct x86_fault event = *fault;
	u64 rip = v->cpu.rip;

	assert(!v->in_machine);
	regs_segments_in(v);
	v->injected++;
	if (external)
		trace(INJECT, TRACE_INJECT_INTERRUPT, fault->vector, rip, 0, 0);
	else
		trace(INJECT, TRACE_INJECT_EXCEPTION, fault->vector, fault->error, rip, fault->cr2);
	for (;;) {
		struct x86_fault second;
		enum emul_result r;

		if (event.vector == VEC_PF && !external)
			v->cpu.cr2 = event.cr2;
		r = emul_deliver(&v->emul, &event, soft, external);
		if (r == EMUL_OK && likely(!v->emul.trap))
			return;
		if (r == EMUL_OK) { // the new task is to be looked at
			event = (struct x86_fault){.vector = VEC_DB};
			soft = external = false;
			continue;
		}
		if (r != EMUL_FAULT) {
			vm_end(v->vm, END_CRASH, 0, "exception %u at %lx cannot be delivered (mode not supported)", event.vector, rip);
			return;
		}
		second = v->emul.fault;
		switch (external ? EMUL_SERIAL : emul_escalate(event.vector, second.vector)) {
		case EMUL_SERIAL:
			event = second;
			break;
		case EMUL_DOUBLE:
			if (second.vector == VEC_PF)
				v->cpu.cr2 = second.cr2; // tells the guest's #DF handler of a stack overflow
			event = (struct x86_fault){.vector = VEC_DF, .has_error = true};
			break;
		case EMUL_TRIPLE:
			vm_end(v->vm, END_CRASH, 0, "triple fault: vector %u, then %u, at %lx, RSP %lx, CR2 %lx, CR3 %lx", fault->vector,
			       second.vector, rip, v->cpu.gpr[R_RSP], v->cpu.cr2, v->cpu.cr3);
			return;
		}
		soft = external = false;
	}
}

// True if something was delivered.
bool vcpu_deliver_interrupts(struct vcpu *v, u64 now)
{
	struct platform *p = &v->vm->platform;
	struct x86_fault event = {0};
	int vector;

	if (!platform_interrupt_pending(p) || !(v->cpu.rflags & RFL_IF) || v->cpu.interrupt_shadow)
		return false;
	vector = platform_acknowledge(p, now);
	if (vector < 0)
		return false;
	event.vector = (u8)vector;
	v->cpu.halted = false;
	vcpu_inject(v, &event, false, true);
	return true;
}
