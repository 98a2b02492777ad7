// SPDX-License-Identifier: MIT
// Four-level tables out of frames. The direct map uses 2M pages where a whole one is RAM of one kind, 4K pages at edges
// and where the image lies: the image's text and constants are read-only through the direct map as well.
#include "machine/mm/paging.h"
#include "base/assert.h"
#include "base/gate.h"
#include "base/string.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/spinlock.h"

#define LARGE (2 * MIB)
#define TABLE_RIGHTS (PTE_P | PTE_W | PTE_A)
#define LEAF_SET (PTE_P | PTE_A | PTE_D)

extern const char image_start[], image_text_end[], image_rodata[], image_rodata_end[], image_data[], image_end[];

static u64 *root;
static struct spinlock lock;

static u64 usable_rights(u64 rights)
{
	return cpu_features.nx ? rights : rights & ~PTE_NX;
}

static unsigned slot(u64 va, unsigned level)
{
	return va >> (PAGE_SHIFT + 9 * (level - 1)) & 511;
}

static u64 *table_of(u64 entry)
{
	return frame_ptr((entry & PTE_ADDR) >> PAGE_SHIFT);
}

// Entry for va at `level` (1: 4K, 2: 2M), making tables when asked to. NULL: none, or a large page is in the way.
static u64 *entry_at(u64 *top, u64 va, unsigned level, bool make)
{
	u64 *t = top;

	for (unsigned l = 4; l > level; l--) {
		u64 *e = &t[slot(va, l)];

		if (!(*e & PTE_P)) {
			mpn_t f = make ? frame_alloc() : MPN_NONE;

			if (f == MPN_NONE)
				return NULL;
			*e = f << PAGE_SHIFT | TABLE_RIGHTS;
		} else if (l < 4 && *e & PTE_PS) {
			return NULL;
		}
		t = table_of(*e);
	}
	return &t[slot(va, level)];
}

enum status mm_map_page(u64 *top, u64 va, mpn_t mpn, u64 rights)
{
	u64 flags = spin_lock_irqsave(&lock);
	u64 *e = entry_at(top, va, 1, true);
	u64 old = e ? *e : 0;

	if (e)
		*e = mpn << PAGE_SHIFT | LEAF_SET | usable_rights(rights);
	spin_unlock_irqrestore(&lock, flags);
	if (old & PTE_P)
		invlpg(va);
	return e ? ST_OK : ST_NOMEM;
}

mpn_t mm_unmap_page(u64 *top, u64 va)
{
	u64 flags = spin_lock_irqsave(&lock);
	u64 *e = entry_at(top, va, 1, false);
	u64 old = e ? *e : 0;

	if (e)
		*e = 0;
	spin_unlock_irqrestore(&lock, flags);
	if (!(old & PTE_P))
		return MPN_NONE;
	invlpg(va);
	return (old & PTE_ADDR) >> PAGE_SHIFT;
}

u64 mm_lookup(const u64 *top, u64 va)
{
	const u64 *t = top;

	for (unsigned l = 4;; l--) {
		u64 e = t[slot(va, l)];

		if (!(e & PTE_P))
			return 0;
		if (l == 1 || (l < 4 && e & PTE_PS))
			return e;
		t = table_of(e);
	}
}

mpn_t mm_root_mpn(void)
{
	return ptr_mpn(root);
}

u64 *mm_root(void)
{
	return root;
}

mpn_t mm_new_root(void)
{
	mpn_t f = frame_alloc();

	if (f == MPN_NONE)
		return MPN_NONE;
	memcpy(frame_ptr(f), root, PAGE_SIZE);
	((u64 *)frame_ptr(f))[GATE_SLOT] = 0;
	return f;
}

volatile void *map_io(u64 phys, u64 size)
{
	u64 from = ROUND_DOWN(phys, PAGE_SIZE), to = ROUND_UP(phys + size, PAGE_SIZE);

	if (!size || phys >= SLOT_SIZE || size > SLOT_SIZE - phys)
		return NULL;
	for (u64 p = from; p < to; p += PAGE_SIZE)
		if (!mm_lookup(root, IO_BASE + p) && mm_map_page(root, IO_BASE + p, p >> PAGE_SHIFT, MAP_IO) != ST_OK)
			return NULL;
	return (volatile void *)(IO_BASE + phys);
}

static void must_map(u64 va, u64 phys, u64 rights)
{
	if (mm_map_page(root, va, phys >> PAGE_SHIFT, rights) != ST_OK)
		panic("paging: no memory for the hypervisor's tables");
}

// Rights of an image page through its own address; the guard page has none.
static bool image_rights(u64 va, u64 *rights)
{
	extern char boot_cpu_block[];

	if (va == (u64)boot_cpu_block + CPU_GUARD_OFFSET)
		return false;
	*rights = va < (u64)image_text_end ? MAP_RX : va < (u64)image_data ? MAP_RO : MAP_RW;
	return true;
}

static void map_image(void)
{
	u64 rights;

	for (u64 va = (u64)image_start; va < (u64)image_end; va += PAGE_SIZE)
		if (image_rights(va, &rights))
			must_map(va, va - IMAGE_OFFSET, rights);
}

static bool near_image(u64 phys, u64 size)
{
	return phys < (u64)image_end - IMAGE_OFFSET && phys + size > IMAGE_PHYS;
}

static void map_direct_page(u64 phys)
{
	u64 alias = IMAGE_OFFSET + phys;
	bool constant = alias >= (u64)image_start && alias < (u64)image_data;

	must_map(DIRECT_BASE + phys, phys, constant ? MAP_RO : MAP_RW);
}

static void map_direct_large(u64 phys)
{
	u64 *e = entry_at(root, DIRECT_BASE + phys, 2, true);

	if (!e)
		panic("paging: no memory for the direct map");
	assert(!*e);
	*e = phys | LEAF_SET | PTE_PS | usable_rights(MAP_RW);
}

// Nothing else lives in the 2M page: no table for 4K pages has been made there.
static bool large_is_free(u64 phys)
{
	return !mm_lookup(root, DIRECT_BASE + phys) && !*entry_at(root, DIRECT_BASE + phys, 2, true);
}

static void map_range(const struct boot_range *r)
{
	u64 at = ROUND_UP(r->base, PAGE_SIZE), end = MIN(ROUND_DOWN(r->base + r->len, PAGE_SIZE), SLOT_SIZE);

	while (at < end) {
		if (!(at % LARGE) && end - at >= LARGE && !near_image(at, LARGE) && large_is_free(at)) {
			map_direct_large(at);
			at += LARGE;
		} else {
			if (!mm_lookup(root, DIRECT_BASE + at))
				map_direct_page(at);
			at += PAGE_SIZE;
		}
	}
}

// The PML4 entries of our slots, before a root is copied.
static void make_slots(void)
{
	static const u64 bases[] = {IMAGE_OFFSET, DIRECT_BASE, IO_BASE, CPU_BASE};

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
		if (!entry_at(root, bases[i], 3, true))
			panic("paging: no memory");
}

void mm_init(const struct boot_info *bi)
{
	mpn_t f = frame_alloc();

	if (f == MPN_NONE)
		panic("paging: no memory");
	root = frame_ptr(f);
	make_slots();
	map_image();
	for (u32 i = 0; i < bi->range_count; i++)
		if (bi->ranges[i].type == RANGE_USABLE)
			map_range(&bi->ranges[i]);
	write_cr3(f << PAGE_SHIFT);
	this_cpu()->root = f;
}
