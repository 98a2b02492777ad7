// SPDX-License-Identifier: MIT
// Pages of a paravirtual guest's that are no tables, by their machine address, writable: where the gate stores what mmu_update says of
// them without a crossing (Linux builds the tables of a new process so). The kernel could map each of these pages writable itself. One joins when
// such an update has come here for it, and leaves before it is used as a table or of descriptors (core/pv/frames.h, plain and claimed) or is
// given back. While a table is lent, its address leads to the copy.
//
// In the slot behind it the gate reads which frames are the guest's and of what type they are.
#include "vmm/pv.h"

#include "base/string.h"
#include "machine/mm/frames.h"
#include "vmm/knobs.h"

#define LEAF_FLAGS (PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX)

_Static_assert(offsetof(struct pv_frame, uses) == PV_FRAME_USES && offsetof(struct pv_frame, done) == PV_FRAME_DONE &&
		       offsetof(struct pv_frame, type) == PV_FRAME_TYPE && sizeof(struct pv_frame) == 1 << PV_FRAME_SHIFT &&
		       PV_WRITABLE == PV_FRAME_WRITABLE,
	       "the gate reads it");

// ---- the types

static bool map_types(struct pv_vm *pv, u64 number, mpn_t mpn)
{
	u64 *entry = pv_slot_entry(pv, pv->types_l3, number, true);

	if (entry)
		*entry = mpn << PAGE_SHIFT | PTE_P | PTE_A | PTE_NX;
	return entry;
}

bool pv_window_index(struct pv_vm *pv, mpn_t mpn)
{
	return map_types(pv, mpn >> PV_INDEX_SHIFT, ptr_mpn(pv->index[mpn >> PV_INDEX_SHIFT]));
}

static bool map_frames(struct pv_vm *pv)
{
	u64 pages = ROUND_UP(pv->vm->ppn_limit * sizeof(*pv->frame), PAGE_SIZE) >> PAGE_SHIFT;

	for (u64 i = 0; i < pages; i++)
		if (!map_types(pv, ((PV_TYPES_FRAMES - PV_TYPES_BASE) >> PAGE_SHIFT) + i, ptr_mpn(pv->frame) + i))
			return false;
	return true;
}

// ---- the window

bool pv_window_create(struct pv_vm *pv)
{
	void *window = pv_page_take(pv), *types = pv_page_take(pv);

	pv->window_l3 = window ? ptr_mpn(window) : MPN_NONE;
	pv->types_l3 = types ? ptr_mpn(types) : MPN_NONE;
	return window && types && map_frames(pv);
}

void pv_window_forget(struct pv_vm *pv)
{
	pv_slot_empty(pv, pv->window_l3);
}

void pv_window_free(struct pv_vm *pv)
{
	mpn_t *slot[] = {&pv->window_l3, &pv->types_l3};

	for (unsigned i = 0; i < ARRAY_SIZE(slot); i++) {
		if (*slot[i] == MPN_NONE)
			continue;
		pv_slot_empty(pv, *slot[i]);
		pv_page_give(pv, frame_ptr(*slot[i]));
		*slot[i] = MPN_NONE;
	}
}

void pv_window_add(struct pv_vm *pv, mpn_t mpn)
{
	u64 *entry = vmm_knobs.pv_fast ? pv_slot_entry(pv, pv->window_l3, mpn, true) : NULL;

	if (entry)
		*entry = mpn << PAGE_SHIFT | LEAF_FLAGS;
}

// The next entry into the guest is with an empty TLB.
void pv_window_remove(struct pv_vm *pv, mpn_t mpn)
{
	u64 *entry = pv_slot_entry(pv, pv->window_l3, mpn, false);

	if (entry)
		*entry = 0;
}

void pv_window_lend(struct pv_vm *pv, mpn_t table, mpn_t copy)
{
	u64 *entry = pv_slot_entry(pv, pv->window_l3, table, copy != MPN_NONE);

	if (entry)
		*entry = copy == MPN_NONE ? 0 : copy << PAGE_SHIFT | LEAF_FLAGS;
}

unsigned pv_window_audit(struct pv_vm *pv)
{
	unsigned wrong = 0;

	for (mpn_t mpn = 0; mpn < pv->index_end; mpn++) {
		const u64 *entry = pv_slot_entry(pv, pv->window_l3, mpn, false);

		if (!entry)
			mpn |= 511;
		else if (*entry)
			wrong += *entry != (mpn << PAGE_SHIFT | LEAF_FLAGS) || !pv_is_plain(&pv->guest.frames, mpn);
	}
	return wrong;
}
