// SPDX-License-Identifier: MIT
// Which blocks depend on which guest page, by virtual and by physical number; invalidation and remapping.
//
// A bt_page is a pair (virtual page, physical page) that at least one block was made from. Its physical page is protected
// from the first pair to the last.
#include "core/bt/internal.h"

#include "base/string.h"

#define LOWER_HALF(vpn) (!((vpn) >> 51))

static u32 *vbucket(struct bt *bt, u64 vpn)
{
	return &bt->vhash[bt_hash64(vpn) & bt->page_mask];
}

static u32 *pbucket(struct bt *bt, ppn_t ppn)
{
	return &bt->phash[bt_hash64(ppn) & bt->page_mask];
}

void bt_pages_reset(struct bt *bt)
{
	bt->page_count = 0;
	bt->page_free = BT_NONE;
	bt->page_lower = 0;
	memset(bt->vhash, 0xff, (bt->page_mask + 1ull) * 4);
	memset(bt->phash, 0xff, (bt->page_mask + 1ull) * 4);
}

static bool has_physical(struct bt *bt, ppn_t ppn)
{
	u32 p;

	for (p = *pbucket(bt, ppn); p != BT_NONE; p = bt->page[p].pnext)
		if (bt->page[p].ppn == ppn)
			return true;
	return false;
}

static u32 new_page(struct bt *bt)
{
	u32 p = bt->page_free;

	if (p != BT_NONE)
		bt->page_free = bt->page[p].vnext;
	else if (bt->page_count < bt->page_cap)
		p = bt->page_count++;
	return p;
}

u32 bt_page_get(struct bt *bt, u64 guest_va, ppn_t ppn, bool *fresh)
{
	u64 vpn = guest_va >> PAGE_SHIFT;
	u32 p;

	*fresh = false;
	for (p = *vbucket(bt, vpn); p != BT_NONE; p = bt->page[p].vnext)
		if (bt->page[p].vpn == vpn && bt->page[p].ppn == ppn)
			return p;
	if (!has_physical(bt, ppn)) {
		*fresh = true;
		if (!bt->config.ports->protect(bt->config.ctx, ppn))
			return BT_NONE;
	}
	p = new_page(bt);
	assert(p != BT_NONE); // bt_translate made room
	bt->page[p] = (struct bt_page){.vpn = vpn, .ppn = ppn, .refs = BT_NONE, .used = true,
				       .vnext = *vbucket(bt, vpn), .pnext = *pbucket(bt, ppn)};
	*vbucket(bt, vpn) = p;
	*pbucket(bt, ppn) = p;
	bt->page_lower += LOWER_HALF(vpn);
	return p;
}

static void release(struct bt *bt, u32 page)
{
	struct bt_page *p = &bt->page[page];
	u32 *link;

	for (link = vbucket(bt, p->vpn); *link != page; link = &bt->page[*link].vnext)
		assert(*link != BT_NONE);
	*link = p->vnext;
	for (link = pbucket(bt, p->ppn); *link != page; link = &bt->page[*link].pnext)
		assert(*link != BT_NONE);
	*link = p->pnext;
	bt->page_lower -= LOWER_HALF(p->vpn);
	p->used = false;
	p->vnext = bt->page_free;
	bt->page_free = page;
	if (!has_physical(bt, p->ppn))
		bt->config.ports->unprotect(bt->config.ctx, p->ppn);
}

void bt_page_release_empty(struct bt *bt, u32 page)
{
	if (bt->page[page].used && bt->page[page].refs == BT_NONE)
		release(bt, page);
}

void bt_pages_release_all(struct bt *bt)
{
	for (u32 p = 0; p < bt->page_count; p++)
		if (bt->page[p].used)
			release(bt, p);
}

void bt_page_add(struct bt *bt, u32 block, unsigned index, u32 page, u64 grains)
{
	struct bt_page *p = &bt->page[page];

	bt->block[block].ref[index] = (struct bt_ref){.grains = grains, .page = page, .next = p->refs};
	p->refs = block * 2 + index;
	p->grains |= grains;
}

static void remove_ref(struct bt *bt, u32 ref)
{
	struct bt_ref *r = &bt->block[ref / 2].ref[ref & 1];
	struct bt_page *p = &bt->page[r->page];
	u32 *link = &p->refs;

	while (*link != ref) {
		assert(*link != BT_NONE);
		link = &bt->block[*link / 2].ref[*link & 1].next;
	}
	*link = r->next;
	p->grains = 0;
	for (u32 i = p->refs; i != BT_NONE; i = bt->block[i / 2].ref[i & 1].next)
		p->grains |= bt->block[i / 2].ref[i & 1].grains;
	bt_page_release_empty(bt, r->page);
	r->page = BT_NONE;
}

void bt_page_remove(struct bt *bt, u32 block)
{
	for (u32 i = 0; i < 2; i++)
		if (bt->block[block].ref[i].page != BT_NONE)
			remove_ref(bt, block * 2 + i);
}

// Drops the blocks of this page that were made from any of the grains.
static bool drop_grains(struct bt *bt, u32 page, u64 grains)
{
	bool any = false;
	u32 ref = bt->page[page].refs;

	while (ref != BT_NONE) {
		u32 block = ref / 2;
		u64 overlap = bt->block[block].ref[ref & 1].grains & grains;

		ref = bt->block[block].ref[ref & 1].next;
		if (!overlap)
			continue;
		if (ref != BT_NONE && ref / 2 == block) // both references of one block in one page
			ref = bt->block[block].ref[ref & 1].next;
		bt_drop(bt, block);
		any = true;
	}
	return any;
}

bool bt_invalidate(struct bt *bt, ppn_t ppn, unsigned offset, unsigned len)
{
	unsigned last;
	bool any = false;
	u64 grains;
	u32 p;

	if (!len || offset >= PAGE_SIZE)
		return false;
	last = MIN(offset + len - 1, (unsigned)PAGE_MASK) >> BT_GRAIN_SHIFT;
	grains = (~0ull >> (63 - last)) & (~0ull << (offset >> BT_GRAIN_SHIFT));
	p = *pbucket(bt, ppn);
	while (p != BT_NONE) {
		bool dropped = bt->page[p].ppn == ppn && (bt->page[p].grains & grains) && drop_grains(bt, p, grains);

		any |= dropped;
		p = dropped ? *pbucket(bt, ppn) : bt->page[p].pnext; // the chain may have changed
	}
	bt->stats.smc_invalidations += any;
	return any;
}

static bool stale(struct bt *bt, u32 page)
{
	u64 va = bt->page[page].vpn << PAGE_SHIFT;
	ppn_t ppn;
	u8 byte;

	return !bt->config.ports->fetch(bt->config.ctx, va, &byte, 1, &ppn) || ppn != bt->page[page].ppn;
}

void bt_remap(struct bt *bt, u64 guest_va)
{
	u64 vpn = guest_va >> PAGE_SHIFT;
	u32 p = *vbucket(bt, vpn);

	while (p != BT_NONE) {
		bool dropped = bt->page[p].vpn == vpn && stale(bt, p) && drop_grains(bt, p, ~0ull);

		p = dropped ? *vbucket(bt, vpn) : bt->page[p].vnext;
	}
}

void bt_remap_all(struct bt *bt)
{
	for (u32 p = 0; p < bt->page_count; p++)
		if (bt->page[p].used && stale(bt, p))
			drop_grains(bt, p, ~0ull);
}

void bt_remap_lower(struct bt *bt)
{
	for (u32 p = 0; bt->page_lower && p < bt->page_count; p++)
		if (bt->page[p].used && LOWER_HALF(bt->page[p].vpn))
			drop_grains(bt, p, ~0ull);
}

bool bt_has_lower(const struct bt *bt)
{
	return bt->page_lower;
}

void bt_audit_pages(const struct bt *bt)
{
	u32 refs = 0, expected = 0, lower = 0;

	for (u32 p = 0; p < bt->page_count; p++) {
		u64 grains = 0;

		if (!bt->page[p].used)
			continue;
		assert(bt->page[p].refs != BT_NONE);
		lower += LOWER_HALF(bt->page[p].vpn);
		for (u32 r = bt->page[p].refs; r != BT_NONE; r = bt->block[r / 2].ref[r & 1].next, refs++) {
			assert(bt->block[r / 2].ref[r & 1].page == p && !(bt->block[r / 2].flags & BT_BLOCK_DEAD));
			grains |= bt->block[r / 2].ref[r & 1].grains;
		}
		assert(grains == bt->page[p].grains);
	}
	for (u32 b = 0; b < bt->block_count; b++)
		expected += (bt->block[b].ref[0].page != BT_NONE) + (bt->block[b].ref[1].page != BT_NONE);
	assert(refs == expected && lower == bt->page_lower);
}
