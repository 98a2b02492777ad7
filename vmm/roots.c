// SPDX-License-Identifier: MIT
// CR3 loads without a crossing: the gate keeps a read-only list of guest CR3 values and their shadow roots. Entries are true
// until their root is released; the gate does not use the list while a CR3 load has to do more than switch roots (guest
// without global pages, translated code in the lower half).
//
// With CR4.PCIDE a CR3 value's low 12 bits and bit 63 do not matter for the root: what holds for one PCID does for all, so that a
// load flushes nothing whether it asks for that or not. The list has table addresses then, and the PCID comes back in
// vcpu_page.guest_cr3, where a guest can corrupt it for itself.
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/string.h"
#include "vmm/knobs.h"
#include "machine/mm/frames.h"

#define CR3_PCID 0xfffull
#define CR3_NOFLUSH BIT(63)

static void clear(struct vcpu *v)
{
	memset(v->gate.trust->cr3_map, 0, sizeof(v->gate.trust->cr3_map));
	v->cr3_next = 0;
}

void roots_forget(struct vcpu *v)
{
	clear(v);
	v->root_generation = 0;
}

// One root has been released.
static void forget(struct vcpu *v, mpn_t gone)
{
	struct gate_trust *t = v->gate.trust;

	for (unsigned i = 0; i < GATE_CR3_MAP; i++)
		if (t->cr3_map[i].root == gone << PAGE_SHIFT)
			t->cr3_map[i].guest = t->cr3_map[i].root = 0;
}

static bool listed(const struct gate_trust *t, u64 cr3)
{
	for (unsigned i = 0; i < GATE_CR3_MAP; i++)
		if (t->cr3_map[i].root && t->cr3_map[i].guest == cr3)
			return true;
	return false;
}

static void other_root(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;

	for (unsigned i = 0; i < GATE_CR3_MAP; i++)
		if (t->cr3_map[i].root == t->exit_cr3) {
			v->cpu.cr3 = t->cr3_map[i].guest;
			vcpu_load_root(v);
			assert(t->guest_cr3 == t->exit_cr3);
			return;
		}
	panic("exit under CR3 %lx, entered under %lx", t->exit_cr3, t->guest_cr3);
}

// The gate may have loaded another root of its list, or the same one for another PCID.
void roots_after_exit(struct vcpu *v)
{
	const struct gate_trust *t = v->gate.trust;

	if (unlikely(t->exit_cr3 != t->guest_cr3))
		other_root(v);
	if (v->cpu.cr4 & CR4_PCIDE)
		v->cpu.cr3 = (v->cpu.cr3 & ~CR3_PCID) | (v->gate.page->guest_cr3 & CR3_PCID);
}

void roots_before_entry(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;
	u64 generation;
	mpn_t gone;
	bool plain = !bt_has_lower(v->vm->bt);
	u64 mask = v->cpu.cr4 & CR4_PCIDE ? ~(CR3_PCID | CR3_NOFLUSH) : ~0ull, cr3 = v->cpu.cr3 & mask;

	shadow_roots_gone(v->vm->shadow, &generation, &gone);
	v->gate.page->invlpg_exits = !plain;
	v->gate.page->guest_cr3 = v->cpu.cr3;
	if (t->cr3_mask != mask)
		clear(v);
	t->cr3_mask = mask;
	t->cr3_exits = !plain || !(v->cpu.cr4 & CR4_PGE) || vmm_knobs.audit; // each load is audited
	if (generation != v->root_generation) {
		if (generation == v->root_generation + 1)
			forget(v, gone);
		else
			clear(v);
		v->root_generation = generation;
	}
	if (listed(t, cr3))
		return;
	t->cr3_map[v->cr3_next % GATE_CR3_MAP].guest = cr3;
	t->cr3_map[v->cr3_next % GATE_CR3_MAP].root = t->guest_cr3;
	v->cr3_next++;
}
