// SPDX-License-Identifier: MIT
// Pages of a paravirtual guest's that are no tables, by their machine address, writable: where the gate stores what mmu_update says of
// them without a crossing (Linux builds the tables of a new process so). The kernel could map each of these pages writable itself. One joins when
// such an update has come here for it, and leaves before it is used as a table or of descriptors (core/pv/frames.h, plain and claimed) or is
// given back.
#include "vmm/pv.h"

#include "base/string.h"
#include "machine/mm/frames.h"
#include "vmm/knobs.h"

#define TABLE_FLAGS (PTE_P | PTE_W | PTE_A)
#define LEAF_FLAGS (PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX)

static u64 *below(u64 entry)
{
	return entry & PTE_P ? frame_ptr((entry & PTE_ADDR) >> PAGE_SHIFT) : NULL;
}

static unsigned slot_of(mpn_t mpn, unsigned level)
{
	return (unsigned)(mpn >> 9 * (level - 1)) & 511;
}

// The entry of a page; NULL: no table, and none is made or there is no memory for one.
static u64 *leaf(struct pv_vm *pv, mpn_t mpn, bool make)
{
	u64 *table = frame_ptr(pv->window_l3);

	for (unsigned level = 3; level > 1; level--) {
		u64 *entry = &table[slot_of(mpn, level)];

		if (!(*entry & PTE_P)) {
			void *page = make ? pv_page_take(pv) : NULL;

			if (!page)
				return NULL;
			*entry = ptr_mpn(page) << PAGE_SHIFT | TABLE_FLAGS;
		}
		table = below(*entry);
	}
	return &table[slot_of(mpn, 1)];
}

bool pv_window_create(struct pv_vm *pv)
{
	void *l3 = pv_page_take(pv);

	pv->window_l3 = l3 ? ptr_mpn(l3) : MPN_NONE;
	return l3;
}

void pv_window_forget(struct pv_vm *pv)
{
	u64 *l3 = frame_ptr(pv->window_l3);

	for (unsigned i = 0; i < 512; i++) {
		u64 *l2 = below(l3[i]);

		for (unsigned k = 0; l2 && k < 512; k++)
			if (l2[k])
				pv_page_give(pv, below(l2[k]));
		if (l2)
			pv_page_give(pv, l2);
		l3[i] = 0;
	}
}

void pv_window_free(struct pv_vm *pv)
{
	if (pv->window_l3 == MPN_NONE)
		return;
	pv_window_forget(pv);
	pv_page_give(pv, frame_ptr(pv->window_l3));
	pv->window_l3 = MPN_NONE;
}

void pv_window_add(struct pv_vm *pv, mpn_t mpn)
{
	u64 *entry = vmm_knobs.pv_fast ? leaf(pv, mpn, true) : NULL;

	if (entry)
		*entry = mpn << PAGE_SHIFT | LEAF_FLAGS;
}

// The next entry into the guest is with an empty TLB.
void pv_window_remove(struct pv_vm *pv, mpn_t mpn)
{
	u64 *entry = leaf(pv, mpn, false);

	if (entry)
		*entry = 0;
}

unsigned pv_window_audit(struct pv_vm *pv)
{
	unsigned wrong = 0;

	for (mpn_t mpn = 0; mpn < pv->index_end; mpn++) {
		const u64 *entry = leaf(pv, mpn, false);

		if (!entry)
			mpn |= 511;
		else if (*entry)
			wrong += *entry != (mpn << PAGE_SHIFT | LEAF_FLAGS) || !pv_is_plain(&pv->guest.frames, mpn);
	}
	return wrong;
}
