// SPDX-License-Identifier: MIT
// CR3 loads without a crossing: the gate keeps a read-only list of guest CR3 values and their shadow roots. Entries are true
// until their root is released; the gate does not use the list while a CR3 load has to do more than switch roots (out-of-sync tables,
// guest without global pages, translated code in the lower half).
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/string.h"
#include "machine/mm/frames.h"

static void clear(struct vcpu *v)
{
	memset(v->gate.trust->cr3_map, 0, sizeof(v->gate.trust->cr3_map));
	v->cr3_next = 0;
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

// The gate may have loaded another root of its list.
void roots_after_exit(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;

	if (likely(t->exit_cr3 == t->guest_cr3))
		return;
	for (unsigned i = 0; i < GATE_CR3_MAP; i++)
		if (t->cr3_map[i].root == t->exit_cr3) {
			v->cpu.cr3 = t->cr3_map[i].guest;
			vcpu_load_root(v);
			assert(t->guest_cr3 == t->exit_cr3);
			return;
		}
	panic("exit under CR3 %lx, entered under %lx", t->exit_cr3, t->guest_cr3);
}

void roots_before_entry(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;
	u64 generation;
	mpn_t gone;
	bool plain = shadow_roots_stand(v->vm->shadow, &generation, &gone) && !bt_has_lower(v->vm->bt);

	v->gate.page->invlpg_exits = !plain;
	v->gate.page->guest_cr3 = v->cpu.cr3;
	t->cr3_exits = !plain || !(v->cpu.cr4 & CR4_PGE);
	if (generation != v->root_generation) {
		if (generation == v->root_generation + 1)
			forget(v, gone);
		else
			clear(v);
		v->root_generation = generation;
	}
	if (listed(t, v->cpu.cr3))
		return;
	t->cr3_map[v->cr3_next % GATE_CR3_MAP].guest = v->cpu.cr3;
	t->cr3_map[v->cr3_next % GATE_CR3_MAP].root = t->guest_cr3;
	v->cr3_next++;
}
