// SPDX-License-Identifier: MIT
// The dispatcher: a fault whose instruction is in the fix-up table continues there; any other exception in ring 0 is
// our bug and ends in the report; interrupts go to their handler.
#include "machine/cpu/traps.h"
#include "base/assert.h"
#include "base/gate.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/lapic.h"

struct ex_entry {
	s32 from, to; // relative to the fields themselves
};
extern const struct ex_entry ex_table_start[], ex_table_end[];

static struct {
	irq_handler fn;
	void *arg;
} handlers[256];

void irq_set_handler(unsigned vector, irq_handler fn, void *arg)
{
	assert(vector >= FIRST_IRQ_VECTOR && vector < 256);
	handlers[vector].arg = arg;
	__atomic_store_n(&handlers[vector].fn, fn, __ATOMIC_RELEASE);
}

static bool fix_up(struct trap_frame *f)
{
	for (const struct ex_entry *e = ex_table_start; e < ex_table_end; e++) {
		if ((u64)&e->from + e->from == f->rip) {
			f->rip = (u64)&e->to + e->to;
			return true;
		}
	}
	return false;
}

// In the translation cache ring 0 runs nothing but fpu_run()'s instruction.
static bool raised_by_fpu(struct trap_frame *f)
{
	extern const char fpu_run_raised[];

	if (f->rip < GATE_TC || f->rip >= GATE_TC + GATE_TC_MAX)
		return false;
	f->rax = f->vector;
	f->rip = (u64)fpu_run_raised;
	return true;
}

static void interrupt(struct trap_frame *f)
{
	struct pcpu *c = this_cpu();

	c->irq_count++;
	trace(IRQ, f->vector, f->rip, f->cs, f->rflags, 0);
	if (f->vector == SPURIOUS_VECTOR) {
		c->spurious_count++;
		return; // takes no EOI
	}
	lapic_eoi();
	if (handlers[f->vector].fn)
		handlers[f->vector].fn(f, handlers[f->vector].arg);
	else
		c->spurious_count++;
}

void trap_handle(struct trap_frame *f)
{
	if (f->vector >= FIRST_IRQ_VECTOR) {
		interrupt(f);
		return;
	}
	if (f->vector == VEC_NMI) {
		while (panic_in_progress())
			hlt();
		return; // nobody else sends one
	}
	trace(TRAP, f->vector, f->rip, f->error, read_cr2(), f->rsp);
	if (fix_up(f) || raised_by_fpu(f))
		return;
	trap_fatal(f);
}

const char *trap_name(unsigned vector)
{
	static const char *const names[] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",   "#TS",
		"#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};

	return vector < ARRAY_SIZE(names) ? names[vector] : "interrupt";
}

bool rdmsr_safe(u32 msr, u64 *value)
{
	u32 lo = 0, hi = 0, bad = 1;

	asm volatile("1: rdmsr\n"
		     "xorl %2, %2\n"
		     "2:\n" EX_TABLE(1b, 2b)
		     : "+a"(lo), "+d"(hi), "+r"(bad)
		     : "c"(msr)
		     : "memory");
	*value = (u64)hi << 32 | lo;
	return !bad;
}

bool wrmsr_safe(u32 msr, u64 value)
{
	u32 bad = 1;

	asm volatile("1: wrmsr\n"
		     "xorl %0, %0\n"
		     "2:\n" EX_TABLE(1b, 2b)
		     : "+r"(bad)
		     : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
		     : "memory");
	return !bad;
}

bool read_u64_safe(u64 va, u64 *value)
{
	u64 v = 0;
	u32 bad = 1;

	asm volatile("1: movq (%2), %0\n"
		     "xorl %1, %1\n"
		     "2:\n" EX_TABLE(1b, 2b)
		     : "+r"(v), "+r"(bad)
		     : "r"(va)
		     : "memory");
	*value = v;
	return !bad;
}
