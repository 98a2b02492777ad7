// SPDX-License-Identifier: MIT
#include "tests/guests/pv/fuzz/fuzz.h"

u64 pool[POOL], seed, kernel_l1;
static u64 root, l3, l2, l1; // the frames of the tables by which the arena is mapped
static u64 *l1_at;

u64 random64(void)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed >> 8;
}

u64 below(u64 n)
{
	return random64() % n;
}

bool rarely(void)
{
	return below(12) == 0;
}

void arena_set_up(void)
{
	const u64 *p2m = (u64 *)start_info->mfn_list;
	u64 *l2_at = page(1);

	l1_at = page(2);
	for (unsigned i = 0; i < POOL; i++)
		pool[i] = p2m[start_info->nr_pages - POOL + i];
	root = mfn_of((void *)start_info->pt_base);
	l3 = mfn_of(table_of(0, 3));
	kernel_l1 = mfn_of(table_of(IMAGE_START, 1)); // calls change what the M2P says of such
	l2 = mfn_of(l2_at);
	l1 = mfn_of(l1_at);
	l2_at[0] = leaf(l1_at, TABLE);
	check(!remap(l1_at, KERNEL_RO) && !remap(l2_at, KERNEL_RO) && !store(l3, 1, leaf(l2_at, TABLE)), "arena", 0);
	for (unsigned i = 0; i < 20; i++)
		arena_plant();
}

static const u64 *bad_frames(void)
{
	static u64 bad[10] = {0, 1, 0x100, 0x7ffff, 1ull << 24, 1ull << 40, ~0ull};

	bad[7] = l1, bad[8] = l2, bad[9] = root;
	return bad;
}

u64 pool_frame(void)
{
	u64 mfn = pool[below(30) ? PLANTED + below(below(3) ? BALLOON / 2 : POOL - PLANTED) : below(PLANTED)];

	return below(40) && mfn != GONE ? mfn : bad_frames()[below(10)];
}

u64 any_frame(void)
{
	return rarely() ? ((u64 *)start_info->mfn_list)[below(start_info->nr_pages - POOL)] : pool_frame();
}

u64 arena_va(void)
{
	static const u64 odd[] = {0,          UNCANONICAL, MACH2PHYS_VIRT_START, GATE_VCPU,  GATE_STACK,
				  GATE_TRUST, ~0ull,       ~0ull - 4095,         1ull << 63, 0x7000000000};

	return rarely() ? odd[below(ARRAY_SIZE(odd))]
			: ARENA + below(SLOTS) * PAGE_SIZE + (rarely() ? below(PAGE_SIZE) : 0);
}

static bool in_pool(u64 mfn)
{
	for (unsigned i = 0; i < POOL; i++)
		if (pool[i] == mfn)
			return true;
	return false;
}

u64 entry(void)
{
	u64 mfn = any_frame(), flags = rarely() ? below(4096) : below(2) ? KERNEL_RW : KERNEL_RO;

	if (below(4) == 0)
		return 0;
	if (below(100) == 0)
		flags |= 1ull << (52 + below(12));
	if (!in_pool(mfn) && mfn != l1 && mfn != l2 && mfn != root)
		flags &= ~PTE_W; // some are the kernel's
	return (mfn << PAGE_SHIFT & ~(1ull << 63)) | flags;
}

u64 entry_address(void)
{
	u64 mfn;

	switch (below(8)) {
	case 0:
		return l3 << PAGE_SHIFT | (2 + below(510)) * 8;
	case 1:
		return l2 << PAGE_SHIFT | (1 + below(511)) * 8;
	case 2:
		return root << PAGE_SHIFT | (rarely() ? 256 + below(256) : 1 + below(255)) * 8;
	case 3:
		return pool[below(PLANTED)] << PAGE_SHIFT | below(512) * 8;
	case 4:
		mfn = pool_frame();
		if (mfn != root && mfn != l2) // with entries by which the kernel lives
			return mfn << PAGE_SHIFT | (below(PAGE_SIZE) & ~(rarely() ? 0ull : 7ull));
		// fall through
	default:
		return l1 << PAGE_SHIFT | below(SLOTS) * 8;
	}
}

void arena_plant(void)
{
	unsigned level = 1 + (unsigned)below(PLANTED);
	u64 *t = (u64 *)WORKSHOP;

	if (map_at(t, pool[level - 1] << PAGE_SHIFT | KERNEL_RW))
		return;
	memset(t, 0, PAGE_SIZE);
	for (unsigned i = 0; i < 8; i++)
		t[below(256)] = level == 1 ? pool[PLANTED + below(20)] << PAGE_SHIFT | KERNEL_RW
					   : pool[level - 2] << PAGE_SHIFT | TABLE;
	check(!map_at(t, 0), "workshop", 0);
}

// What is left may be held by entries of each other's.
void arena_clear(void)
{
	static struct mmu_update u[256];
	struct mmu_update *end;

	for (unsigned slot = 0; slot < 512; slot += ARRAY_SIZE(u)) {
		for (end = u; end < u + ARRAY_SIZE(u); end++)
			*end = (struct mmu_update){l1 << PAGE_SHIFT | (slot + (u64)(end - u)) * 8, 0};
		check(!CALL(mmu_update, u, ARRAY_SIZE(u), 0, DOMID_SELF), "clear", slot);
	}
	for (unsigned slot = 1; slot < 512; slot++) {
		check(!store(l2, slot, 0), "clear level 2", slot);
		check(slot < 2 || !store(l3, slot, 0), "clear level 3", slot);
		if (slot < 256 || slot > 271)
			(void)store(root, slot, 0);
	}
	for (unsigned i = 0; i < POOL; i++)
		if (pool[i] != GONE)
			(void)ext(MMUEXT_UNPIN_TABLE, pool[i], 0);
}

static void write_entry(u64 at)
{
	*(volatile u64 *)at = entry();
}

// In a row of stores one that is refused ends the VM (case bad-row).
static void write_good_entry(u64 at)
{
	u64 mfn = pool[below(BALLOON)];

	*(volatile u64 *)at = below(3) ? mfn << PAGE_SHIFT | KERNEL_RO | below(16) << 52 : 0;
}

void own_hands(void)
{
	if (below(2)) // a table that is mapped read-only
		for (u64 slot = below(SLOTS), end = slot + 1 + below(12); slot < end; slot++)
			check(!attempt(write_good_entry, (u64)&l1_at[slot]), "direct store", slot);
	else
		(void)attempt(write_entry, ARENA + below(SLOTS) * PAGE_SIZE + below(512) * 8);
}
