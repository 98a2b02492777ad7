// SPDX-License-Identifier: MIT
// Debug builds: before each entry, walk the root that is about to be loaded for everything the machine will touch before the
// guest's first instruction. A hole there is a silent triple fault otherwise.
#include "vmm/check.h"
#include "vmm/knobs.h"

#include "base/assert.h"
#include "base/log.h"
#include "machine/mm/frames.h"

static u64 leaf(u64 root, u64 va)
{
	u64 entry = root;

	for (int shift = 39; shift >= 12; shift -= 9) {
		const u64 *table = frame_ptr((entry & PTE_ADDR) >> PAGE_SHIFT);

		entry = table[(va >> shift) & 511];
		if (!(entry & PTE_P))
			return 0;
	}
	return entry;
}

static void need(u64 root, u64 va, u64 must, u64 must_not, const char *what)
{
	u64 e = leaf(root, va);

	if (!(e & PTE_P) || (e & must) != must || (e & must_not))
		panic("entry check: %s at %lx maps to %lx under root %lx", what, va, e, root);
}

// The gate loads what its list says: roots that are there, of this VM's shadow.
static void check_roots(const struct vcpu *v)
{
	const struct gate_trust *t = v->gate.trust;

	for (unsigned i = 0; i < GATE_CR3_MAP; i++)
		if (t->cr3_map[i].root && t->cr3_map[i].root >> PAGE_SHIFT != shadow_root(v->vm->shadow, t->cr3_map[i].guest))
			panic("entry check: the gate would load root %lx for CR3 %lx", t->cr3_map[i].root, t->cr3_map[i].guest);
}

void check_entry(const struct vcpu *v)
{
	u64 root = v->gate.trust->guest_cr3;
	const struct vcpu_page *p = v->gate.page;

	check_roots(v);

	need(root, GATE_TEXT, 0, PTE_W | PTE_U | PTE_NX, "gate text");
	need(root, GATE_IDT, PTE_NX, PTE_W | PTE_U, "IDT");
	need(root, GATE_GDT, PTE_NX, PTE_W | PTE_U, "GDT");
	need(root, GATE_GDT + SEL_R1_CS, PTE_NX, PTE_W | PTE_U, "GDT, ours");
	need(root, GATE_TSS, PTE_NX, PTE_W | PTE_U, "TSS");
	need(root, GATE_TRUST, PTE_NX, PTE_W | PTE_U, "trusted page");
	need(root, GATE_VCPU, PTE_NX | PTE_W, PTE_U, "vCPU page");
	need(root, GATE_STACK, PTE_NX | PTE_W, PTE_U, "entry stack");
	for (unsigned i = 0; i < GATE_IST_COUNT; i++)
		need(root, GATE_IST + i * PAGE_SIZE, PTE_NX | PTE_W, PTE_U, "IST stack");
	if ((p->cs & 3) == 1) {
		need(root, p->rip, 0, PTE_W | PTE_U | PTE_NX, "translated code");
		if (p->cs != SEL_R1_CS || p->ss != SEL_R1_SS)
			panic("entry check: ring 1 with CS %lx SS %lx", p->cs, p->ss);
	} else if ((p->cs & 3) != 3) {
		panic("entry check: CS %lx", p->cs);
	}
}

void check_log_walk(const struct vcpu *v, u64 va)
{
	u64 shadow = v->gate.trust->guest_cr3, guest = v->cpu.cr3;

	log_info("walk of %lx: CR3 %lx, shadow root %lx", va, guest, shadow);
	for (int shift = 39, level = 4; shift >= 12; shift -= 9, level--) {
		const u64 *g = gpa_ram(v->vm, guest & PTE_ADDR), *s = frame_ptr((shadow & PTE_ADDR) >> PAGE_SHIFT);
		unsigned index = (va >> shift) & 511;

		guest = g && guest ? g[index] : 0;
		shadow = shadow ? s[index] : 0;
		log_info("  level %d index %u: guest %lx shadow %lx", level, index, guest, shadow);
		if (!(guest & PTE_P) || (guest & PTE_PS))
			guest = 0;
		if (!(shadow & PTE_P))
			shadow = 0;
	}
}

static void unflushed(void *ctx, u64 va, u64 old, u64 now)
{
	log_err("%s: shadow entry for %lx went from %lx to %lx without a flush", ((struct vm *)ctx)->config.name, va, old, now);
}

// Copying what is reachable is slow: mmu.stress=N looks at the crossing after every Nth entry.
void check_stress(struct vcpu *v)
{
	struct vm *vm = v->vm;
	unsigned n = v->stress_armed ? shadow_stress_check(vm->shadow, vm->stress, unflushed, vm) : 0;

	if (n)
		panic("%u rights reduced without a flush, seen before entry at %lx", n, v->gate.page->rip);
	v->stress_armed = v->crossings % vmm_knobs.stress == 0;
	if (v->stress_armed)
		shadow_stress_begin(vm->shadow, vm->stress);
}
