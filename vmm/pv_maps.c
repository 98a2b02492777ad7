// SPDX-License-Identifier: MIT
// Machine frame to guest's page, twice: `index` is ours alone, and what all checks go by; the guest's table (M2P) is mapped read-only at
// the start of slot 256, and says what the guest has been told or has told us.
//
// The M2P covers all of the machine's frames; where none is the guest's, one page of ~0 serves all.
#include "vmm/pv.h"

#include "base/assert.h"
#include "base/string.h"
#include "machine/mm/frames.h"
#include "vmm/reserve.h"

#define M2P_SHIFT 9
#define M2P_FLAGS (PTE_P | PTE_A | PTE_NX)
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_A)

void *pv_page_take(struct pv_vm *pv)
{
	mpn_t mpn = reserve_room(1) ? frame_alloc() : MPN_NONE;

	if (mpn == MPN_NONE)
		return NULL;
	pv->own_frames++;
	pv->vm->frames_held++;
	pv->vm->overhead_bytes += PAGE_SIZE;
	return frame_ptr(mpn);
}

void pv_page_give(struct pv_vm *pv, void *page)
{
	pv->own_frames--;
	pv->vm->frames_held--;
	pv->vm->overhead_bytes -= PAGE_SIZE;
	frame_free(ptr_mpn(page));
}

// ---- what a level-4 slot of the hypervisor's has in it

static u64 *below(u64 entry)
{
	return entry & PTE_P ? frame_ptr((entry & PTE_ADDR) >> PAGE_SHIFT) : NULL;
}

u64 *pv_slot_entry(struct pv_vm *pv, mpn_t l3, u64 number, bool make)
{
	u64 *table = frame_ptr(l3);

	for (unsigned level = 3; level > 1; level--) {
		u64 *entry = &table[number >> 9 * (level - 1) & 511];

		if (!(*entry & PTE_P)) {
			void *page = make ? pv_page_take(pv) : NULL;

			if (!page)
				return NULL;
			*entry = ptr_mpn(page) << PAGE_SHIFT | TABLE_FLAGS;
		}
		table = below(*entry);
	}
	return &table[number & 511];
}

void pv_slot_empty(struct pv_vm *pv, mpn_t at)
{
	u64 *l3 = frame_ptr(at);

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

// ---- the M2P

// The entry that maps the page of the M2P that has `mpn`; NULL: no table.
static u64 *m2p_entry(struct pv_vm *pv, mpn_t mpn)
{
	return pv_slot_entry(pv, pv->m2p_l3, mpn >> M2P_SHIFT, false);
}

// All of the machine, by the page that knows nothing.
static bool create_m2p(struct pv_vm *pv, mpn_t limit)
{
	void *l3 = pv_page_take(pv), *unknown = pv_page_take(pv);

	if (l3)
		pv->m2p_l3 = ptr_mpn(l3);
	if (unknown)
		pv->unknown = ptr_mpn(unknown);
	if (!l3 || !unknown)
		return false;
	memset(unknown, 0xff, PAGE_SIZE);
	for (mpn_t mpn = 0; mpn < limit; mpn += BIT(M2P_SHIFT)) {
		u64 *entry = pv_slot_entry(pv, pv->m2p_l3, mpn >> M2P_SHIFT, true);

		if (!entry)
			return false;
		*entry = pv->unknown << PAGE_SHIFT | M2P_FLAGS;
	}
	return true;
}

bool pv_maps_create(struct pv_vm *pv)
{
	pv->m2p_l3 = pv->unknown = MPN_NONE;
	return create_m2p(pv, frame_limit());
}

static void free_m2p(struct pv_vm *pv)
{
	for (mpn_t mpn = 0; mpn < pv->index_end; mpn += BIT(M2P_SHIFT)) {
		const u64 *entry = m2p_entry(pv, mpn);
		void *page = entry ? below(*entry) : NULL;

		if (page && ptr_mpn(page) != pv->unknown)
			pv_page_give(pv, page);
	}
	pv_slot_empty(pv, pv->m2p_l3);
	pv_page_give(pv, frame_ptr(pv->m2p_l3));
}

void pv_maps_free(struct pv_vm *pv)
{
	if (pv->m2p_l3 != MPN_NONE)
		free_m2p(pv);
	if (pv->unknown != MPN_NONE)
		pv_page_give(pv, frame_ptr(pv->unknown));
	for (u64 i = 0; pv->index && i << PV_INDEX_SHIFT < pv->index_end; i++)
		if (pv->index[i])
			pv_page_give(pv, pv->index[i]);
	pv->m2p_l3 = pv->unknown = MPN_NONE;
	pv->index = NULL;
}

// The guest's own page of the M2P in place of the common one.
static bool own_m2p_page(struct pv_vm *pv, mpn_t mpn)
{
	u64 *entry = m2p_entry(pv, mpn);
	void *page;

	assert(entry);
	if ((*entry & PTE_ADDR) >> PAGE_SHIFT != pv->unknown)
		return true;
	page = pv_page_take(pv);
	if (!page)
		return false;
	memset(page, 0xff, PAGE_SIZE);
	*entry = ptr_mpn(page) << PAGE_SHIFT | M2P_FLAGS;
	return true;
}

bool pv_maps_set(struct pv_vm *pv, mpn_t mpn, ppn_t page)
{
	u32 **at = &pv->index[mpn >> PV_INDEX_SHIFT];
	bool is_new = !*at;

	if (is_new)
		*at = pv_page_take(pv);
	if (!*at || (is_new && !pv_window_index(pv, mpn)) || !own_m2p_page(pv, mpn))
		return false;
	(*at)[mpn & (BIT(PV_INDEX_SHIFT) - 1)] = (u32)page + 1;
	return true;
}

void pv_maps_clear(struct pv_vm *pv, mpn_t mpn)
{
	pv->index[mpn >> PV_INDEX_SHIFT][mpn & (BIT(PV_INDEX_SHIFT) - 1)] = 0;
	pv_maps_tell(pv, mpn, ~0ull);
	pv_window_remove(pv, mpn);
}

void pv_maps_tell(struct pv_vm *pv, mpn_t mpn, u64 pfn)
{
	u64 *entry = m2p_entry(pv, mpn);

	((u64 *)below(*entry))[mpn & (BIT(M2P_SHIFT) - 1)] = pfn;
}
