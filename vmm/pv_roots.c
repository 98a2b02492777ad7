// SPDX-License-Identifier: MIT
// The roots that are loaded: each a copy of a guest's level-4 table with the M2P's slot and the gate's in it. The kernel's half has no U,
// whatever the tables below say, so user mode reaches none of it. Copies follow the guest's table (core/pv/frames.h, root_changed).
#include "vmm/pv.h"

#include "base/assert.h"
#include "base/string.h"
#include "machine/mm/frames.h"

#define SLOTS 512
#define M2P_SLOT PV_FIRST_OURS

static u64 entry_of(const struct pv_vm *pv, unsigned slot, u64 guest)
{
	if (slot == M2P_SLOT)
		return pv->m2p_l3 << PAGE_SHIFT | PTE_P | PTE_A;
	if (slot == GATE_SLOT)
		return pv->vm->vcpu.gate.l3 << PAGE_SHIFT | PTE_P | PTE_W | PTE_A;
	if (slot == PV_WINDOW_SLOT)
		return pv->window_l3 << PAGE_SHIFT | PTE_P | PTE_W | PTE_A;
	if (slot == PV_TYPES_SLOT)
		return pv->types_l3 << PAGE_SHIFT | PTE_P | PTE_A;
	if (slot >= PV_FIRST_OURS && slot <= PV_LAST_OURS)
		return 0;
	return slot < SLOTS / 2 ? guest : guest & ~(u64)PTE_U;
}

static void fill(struct pv_vm *pv, struct pv_root *r, ppn_t table)
{
	const u64 *from = frame_ptr(pv->vm->p2m[table]);
	u64 *to = frame_ptr(r->mpn);

	memcpy(to, from, SLOTS / 2 * sizeof(*to)); // as entry_of() would have them
	for (unsigned i = SLOTS / 2; i < SLOTS; i++)
		to[i] = i <= PV_LAST_OURS ? entry_of(pv, i, from[i]) : from[i] & ~(u64)PTE_U;
	r->table = table;
}

// All of it: the gate takes the first that has these numbers.
static void unlist(struct pv_vm *pv, unsigned i)
{
	memset(&pv->vm->vcpu.gate.trust->pv_base[i], 0, sizeof(pv->vm->vcpu.gate.trust->pv_base[i]));
}

static struct pv_root *root_of(struct pv_vm *pv, ppn_t table)
{
	for (unsigned i = 0; i < PV_ROOTS; i++)
		if (pv->root[i].table == table)
			return &pv->root[i];
	return NULL;
}

bool pv_roots_create(struct pv_vm *pv)
{
	for (unsigned i = 0; i < PV_ROOTS; i++) {
		void *page = pv_page_take(pv);

		pv->root[i] = (struct pv_root){PPN_NONE, page ? ptr_mpn(page) : MPN_NONE};
		if (!page)
			return false;
	}
	return true;
}

void pv_roots_free(struct pv_vm *pv)
{
	for (unsigned i = 0; i < PV_ROOTS; i++) {
		if (pv->root[i].mpn != MPN_NONE && pv->root[i].mpn)
			pv_page_give(pv, frame_ptr(pv->root[i].mpn));
		pv->root[i] = (struct pv_root){PPN_NONE, MPN_NONE};
	}
}

void pv_roots_load(struct pv_vm *pv, ppn_t table)
{
	struct gate_trust *t = pv->vm->vcpu.gate.trust;
	struct pv_root *r = root_of(pv, table);

	if (!r) {
		do // not the one in use
			r = &pv->root[pv->root_next++ % PV_ROOTS];
		while (r->mpn << PAGE_SHIFT == t->guest_cr3);
		fill(pv, r, table);
		unlist(pv, (unsigned)(r - pv->root));
	}
	pv->root_now = (unsigned)(r - pv->root);
	t->guest_cr3 = r->mpn << PAGE_SHIFT;
}

void pv_roots_changed(struct pv_vm *pv, ppn_t table, unsigned slot, u64 entry)
{
	struct pv_root *r = root_of(pv, table);

	if (r)
		((u64 *)frame_ptr(r->mpn))[slot] = entry_of(pv, slot, entry);
}

void pv_roots_gone(struct pv_vm *pv, ppn_t table)
{
	struct gate_trust *t = pv->vm->vcpu.gate.trust;
	mpn_t mpn = pv->vm->p2m[table];
	struct pv_root *r = root_of(pv, table);

	if (r)
		r->table = PPN_NONE;
	for (unsigned i = 0; i < PV_ROOTS; i++)
		if (t->pv_base[i].kernel == mpn || t->pv_base[i].user == mpn)
			unlist(pv, i);
}

// ---- the gate's list: element i is of root i

void pv_roots_forget(struct pv_vm *pv)
{
	for (unsigned i = 0; i < PV_ROOTS; i++) {
		pv->root[i].table = PPN_NONE;
		unlist(pv, i);
	}
}

// Programs with tables of their own, or none; what the gate does for them does not depend on which.
void pv_roots_list(struct pv_vm *pv)
{
	struct gate_trust *t = pv->vm->vcpu.gate.trust;
	const struct pv_vcpu *v = &pv->vcpu;
	unsigned i = pv->root_now;
	mpn_t user = v->user_root == MPN_NONE ? 0 : v->user_root;

	// With the kernel's tables for programs nothing may be listed that leads to this root: the gate would load it, and after the exit there would
	// be nothing by which to see it.
	if (user == v->root) {
		unlist(pv, i);
		return;
	}
	if (t->pv_base[i].root && t->pv_base[i].user == user && t->pv_base[i].kernel == v->root)
		return;
	t->pv_base[i].kernel = v->root;
	t->pv_base[i].user = user;
	t->pv_base[i].root = t->guest_cr3;
}

void pv_roots_after_exit(struct pv_vm *pv)
{
	const struct gate_trust *t = pv->vm->vcpu.gate.trust;

	if (likely(t->exit_cr3 == t->guest_cr3))
		return;
	for (unsigned i = 0; i < PV_ROOTS; i++)
		if (t->pv_base[i].root == t->exit_cr3) {
			pv_bases_loaded(&pv->vcpu, t->pv_base[i].kernel, t->pv_base[i].user);
			break;
		}
	assert(t->exit_cr3 == t->guest_cr3);
}

// Entries of a copy that are not as the guest's table would have them; what the machine sets aside.
static unsigned copy_differs(const struct pv_vm *pv, const struct pv_root *r)
{
	const u64 *table = frame_ptr(pv->vm->p2m[r->table]), *copy = frame_ptr(r->mpn);
	unsigned n = 0;

	for (unsigned slot = 0; slot < SLOTS; slot++)
		n += ((entry_of(pv, slot, table[slot]) ^ copy[slot]) & ~(u64)(PTE_A | PTE_D)) != 0;
	return n;
}

unsigned pv_roots_audit(struct pv_vm *pv)
{
	const struct gate_trust *t = pv->vm->vcpu.gate.trust;
	struct pv_frames *f = &pv->guest.frames;
	unsigned wrong = 0;

	for (unsigned i = 0; i < PV_ROOTS; i++)
		if (pv->root[i].table != PPN_NONE)
			wrong += copy_differs(pv, &pv->root[i]);
	for (unsigned i = 0; i < PV_ROOTS; i++)
		wrong += t->pv_base[i].root &&
			 (t->pv_base[i].root != pv->root[i].mpn << PAGE_SHIFT || pv->root[i].table == PPN_NONE ||
			  pv->vm->p2m[pv->root[i].table] != t->pv_base[i].kernel || !pv_is_type(f, t->pv_base[i].kernel, PV_L4) ||
			  (t->pv_base[i].user && !pv_is_type(f, t->pv_base[i].user, PV_L4)));
	return wrong;
}
