// SPDX-License-Identifier: MIT
#include "core/pv/build.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/string.h"
#include "base/x86.h"
#include "core/pv/abi.h"

#define TABLE_BITS 9
#define LOWER_END BIT(47)
#define REGION_ALIGN (4 * MIB)
#define REGION_PAD (512 * KIB)
#define LEAF (PTE_P | PTE_W | PTE_A | PTE_D)
#define TABLE (PTE_P | PTE_W | PTE_A | PTE_D)

// Where things lie, in the guest's pages.
struct plan {
	ppn_t ramdisk, list, info, store, console, tables, stack;
	u64 list_pages, table_count;
	u64 region;              // pages that are mapped from virt_base on
	u64 list_va;             // of the list
	ppn_t list_tables;       // of the list when it has a place of its own
	u64 list_table_count, end;
};

static u64 pages_of(u64 bytes)
{
	return ROUND_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
}

// Tables of levels 1 to 3 that map so many pages from va on.
static u64 tables_for(u64 va, u64 pages)
{
	u64 n = 0;

	for (unsigned level = 1; level <= 3; level++) {
		unsigned shift = PAGE_SHIFT + TABLE_BITS * level;

		n += ((va + (pages << PAGE_SHIFT) - 1) >> shift) - (va >> shift) + 1;
	}
	return n;
}

// From the kernel's base to the end of its half of the addresses.
static u64 room(u64 base)
{
	return (base < LOWER_END ? LOWER_END - base : -base) >> PAGE_SHIFT;
}

static void plan(const struct pv_build *b, struct plan *p)
{
	const struct pv_image *i = b->parsed;
	ppn_t at = pages_of(i->end - i->virt_base);
	bool by_page = i->module_by_page && b->ramdisk_size;
	u64 tables = 0;

	*p = (struct plan){.list_pages = pages_of(b->pages * sizeof(u64))};
	if (b->ramdisk_size && !by_page)
		p->ramdisk = at, at += pages_of(b->ramdisk_size);
	if (!i->init_p2m)
		p->list = at, at += p->list_pages;
	p->info = at++;
	p->store = at++;
	p->console = at++;
	p->tables = at;
	do { // more tables may need a larger region
		p->table_count = 1 + tables;
		p->stack = p->tables + p->table_count;
		p->region = (ROUND_UP(i->virt_base + ((p->stack + 1) << PAGE_SHIFT) + REGION_PAD, REGION_ALIGN) - i->virt_base) >> PAGE_SHIFT;
		if (p->region > room(i->virt_base)) // check() says so
			break;
		tables = tables_for(i->virt_base, p->region);
	} while (1 + tables > p->table_count);
	at = p->region;
	p->list_va = i->init_p2m ? i->init_p2m : i->virt_base + (p->list << PAGE_SHIFT);
	if (i->init_p2m) {
		p->list = at;
		p->list_tables = p->list + p->list_pages;
		p->list_table_count = tables_for(i->init_p2m, p->list_pages);
		at = p->list_tables + p->list_table_count;
	}
	if (by_page)
		p->ramdisk = at, at += pages_of(b->ramdisk_size);
	p->end = at;
}

// ---- page tables

struct tables {
	struct pv_build *b;
	ppn_t root, next;
};

static u64 *slot_of(struct tables *t, ppn_t table, u64 va, unsigned level)
{
	return (u64 *)t->b->map(t->b->ctx, table) + (va >> (PAGE_SHIFT + TABLE_BITS * (level - 1)) & 511);
}

static u64 entry_of(struct tables *t, ppn_t ppn, u64 flags)
{
	return t->b->mpn(t->b->ctx, ppn) << PAGE_SHIFT | flags;
}

// Pages from `first` on at va, whose level-4 slot has nothing yet. Those in [ro, ro_end) are read-only.
static void map_range(struct tables *t, u64 va, ppn_t first, u64 pages, ppn_t ro, ppn_t ro_end)
{
	ppn_t table[5] = {[4] = t->root};

	for (u64 i = 0; i < pages; i++, va += PAGE_SIZE) {
		for (unsigned level = 3; level >= 1; level--) {
			if (i && va & (BIT(PAGE_SHIFT + TABLE_BITS * level) - 1))
				continue;
			table[level] = t->next++;
			*slot_of(t, table[level + 1], va, level + 1) = entry_of(t, table[level], TABLE);
		}
		*slot_of(t, table[1], va, 1) = entry_of(t, first + i, first + i >= ro && first + i < ro_end ? LEAF & ~PTE_W : LEAF);
	}
}

static void build_tables(struct pv_build *b, const struct plan *p)
{
	struct tables t = {b, p->tables, p->tables + 1};

	map_range(&t, b->parsed->virt_base, 0, p->region, p->tables, p->tables + p->table_count);
	assert(t.next <= p->tables + p->table_count);
	if (!p->list_table_count)
		return;
	t.next = p->list_tables;
	map_range(&t, p->list_va, p->list, p->list_pages, 0, 0);
	assert(t.next == p->list_tables + p->list_table_count);
}

// ---- contents

static void put(struct pv_build *b, u64 at, const void *bytes, u64 n)
{
	const u8 *in = bytes;

	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (at & PAGE_MASK));

		memcpy((u8 *)b->map(b->ctx, at >> PAGE_SHIFT) + (at & PAGE_MASK), in, part);
		in += part, at += part, n -= part;
	}
}

static void build_info(struct pv_build *b, const struct plan *p)
{
	const struct pv_image *i = b->parsed;
	struct start_info *info = b->map(b->ctx, p->info);

	memcpy(info->magic, "xen-3.0-x86_64", sizeof("xen-3.0-x86_64"));
	info->nr_pages = b->pages;
	info->shared_info = b->shared_info << PAGE_SHIFT;
	info->flags = SIF_VIRT_P2M_4TOOLS;
	info->store_mfn = b->mpn(b->ctx, p->store);
	info->store_evtchn = b->store_port;
	info->console.domU.mfn = b->mpn(b->ctx, p->console);
	info->console.domU.evtchn = b->console_port;
	info->pt_base = i->virt_base + (p->tables << PAGE_SHIFT);
	info->nr_pt_frames = p->table_count;
	info->mfn_list = p->list_va;
	if (b->ramdisk_size) {
		info->flags |= i->module_by_page ? SIF_MOD_START_PFN : 0;
		info->mod_start = i->module_by_page ? p->ramdisk : i->virt_base + (p->ramdisk << PAGE_SHIFT);
		info->mod_len = b->ramdisk_size;
	}
	memcpy(info->cmd_line, b->cmdline, strlen(b->cmdline) + 1);
	if (i->init_p2m) {
		info->first_p2m_pfn = p->list;
		info->nr_p2m_frames = p->list_pages + p->list_table_count;
	}
}

static u64 slot4(u64 va)
{
	return va >> 39 & 511;
}

static enum status check(struct pv_build *b, const struct plan *p)
{
	const struct pv_image *i = b->parsed;
	u64 slot = slot4(i->init_p2m), last = slot4(i->init_p2m + (p->list_pages << PAGE_SHIFT) - 1);
	u64 kernel = slot4(i->virt_base), kernel_last = slot4(i->virt_base + (p->region << PAGE_SHIFT) - 1);

	if (strlen(b->cmdline) >= MAX_GUEST_CMDLINE) {
		fmt_snprintf(b->error, sizeof(b->error), "command line of %lu characters: %u fit", (unsigned long)strlen(b->cmdline),
			     MAX_GUEST_CMDLINE - 1);
		return ST_INVALID;
	}
	if (i->init_p2m && (slot != last || (slot >= kernel && slot <= kernel_last) || (slot >= 256 && slot <= 271) ||
			    (i->init_p2m >= LOWER_END && i->init_p2m < ~0ull << 47))) {
		fmt_snprintf(b->error, sizeof(b->error), "the kernel wants the list of its frames at 0x%lx, where it cannot be", (unsigned long)i->init_p2m);
		return ST_INVALID;
	}
	if (p->end > b->pages || p->region > room(i->virt_base)) {
		fmt_snprintf(b->error, sizeof(b->error), "not enough memory: kernel and ramdisk need %lu MiB, there are %lu",
			     (unsigned long)(ROUND_UP(p->end << PAGE_SHIFT, MIB) / MIB), (unsigned long)(b->pages >> (20 - PAGE_SHIFT)));
		return ST_NOMEM;
	}
	return ST_OK;
}

enum status pv_build(struct pv_build *b)
{
	const struct pv_image *i = b->parsed;
	struct plan p;
	enum status st;

	b->error[0] = 0;
	plan(b, &p);
	st = check(b, &p);
	if (st != ST_OK)
		return st;
	for (unsigned k = 0; k < i->pieces; k++)
		put(b, i->piece[k].va - i->virt_base, b->image + i->piece[k].file_offset, i->piece[k].file_bytes);
	if (b->ramdisk_size)
		put(b, p.ramdisk << PAGE_SHIFT, b->ramdisk, b->ramdisk_size);
	for (ppn_t n = 0; n < b->pages; n++)
		((u64 *)b->map(b->ctx, p.list + n / 512))[n % 512] = b->mpn(b->ctx, n);
	build_tables(b, &p);
	build_info(b, &p);
	b->root = p.tables;
	b->store_page = p.store;
	b->console_page = p.console;
	b->start_info = i->virt_base + (p.info << PAGE_SHIFT);
	b->stack = i->virt_base + ((p.stack + 1) << PAGE_SHIFT);
	return ST_OK;
}
