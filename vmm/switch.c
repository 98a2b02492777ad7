// SPDX-License-Identifier: MIT
// Which vCPU a CPU has loaded. Loaded are: the gate (tables, system-call registers, the slot in this CPU's root), segment
// registers and their bases, FPU and SSE registers, control registers. The general registers are in the gate's page
// all the time. Entering a guest loads CR3 anew, which flushes the TLB (no global pages, no PCID): nothing of a CPU's TLB
// outlives a migration.
#include "vmm/sched.h"

#include "base/assert.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/segments.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"

#define CR0_HOME (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG)

// FXSAVE and FXRSTOR want CR0.TS and EM clear; guests have no XSAVE, so there is no more than that to save.
static void control_registers_home(void)
{
	write_cr0(CR0_HOME);
	write_cr4(cpu_features.cr4);
}

void vcpu_load(struct vcpu *v)
{
	struct pcpu *c = this_cpu();

	assert(!c->vcpu);
	c->vcpu = v;
	v->loaded_ns = time_ns();
	trace(SCHED, TRACE_SCHED_RUN, 0, 0, 0, 0);
	v->armed_ns = 0;
	gate_install(&v->gate, frame_ptr(c->root), c->root << PAGE_SHIFT);
	tables_reload_ldt(v);
	asm volatile("fxrstor64 %0" ::"m"(v->fpu));
	if (cpu_features.rdtscp)
		wrmsr(MSR_TSC_AUX, v->cpu.tsc_aux);
	regs_control_out(v);
	if (v->in_machine)
		regs_segments_out(v);
}

void vcpu_unload(struct vcpu *v)
{
	struct pcpu *c = this_cpu();

	assert(c->vcpu == v);
	trace(SCHED, TRACE_SCHED_STOP, time_ns() - v->loaded_ns, 0, 0, 0);
	c->vcpu = NULL;
	regs_segments_in(v);
	control_registers_home();
	asm volatile("fxsave64 %0" : "=m"(v->fpu));
	pcpu_install(c);
	write_segment(SEG_FS, 0); // or the next guest's equal selector would not be loaded
	write_segment(SEG_GS, 0);
	((u64 *)frame_ptr(c->root))[GATE_SLOT] = 0;
	write_cr3(c->root << PAGE_SHIFT);
}
