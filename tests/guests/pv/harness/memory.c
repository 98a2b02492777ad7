// SPDX-License-Identifier: MIT
// A test kernel's memory: pages, what maps them, and tables.
#include "tests/guests/pv/harness/pv.h"

static u64 pages[PAGES][512] __attribute__((aligned(4096)));

// Addresses that are not the guest's to have written: none, the gate, the M2P, no addresses at all.
const u64 not_ours[NOT_OURS] = {0,
				GATE_VCPU,
				GATE_TRUST,
				GATE_STACK,
				GATE_PV_INFO,
				GATE_IDT,
				MACH2PHYS_VIRT_START,
				0x800000000000,
				0x7ffffffff000,
				~0ull - 7};

u64 mfn_of(const void *p)
{
	return ((u64 *)start_info->mfn_list)[(u64)p >> PAGE_SHIFT];
}

u64 leaf(const void *p, u64 flags)
{
	return mfn_of(p) << PAGE_SHIFT | flags;
}

s64 remap(const void *p, u64 flags)
{
	return map_at((void *)((u64)p & ~PAGE_MASK), flags ? leaf(p, flags) : 0);
}

u64 *page(unsigned n)
{
	if (remap(pages[n], KERNEL_RW))
		check(false, "a page is still in use", n);
	else
		memset(pages[n], 0, PAGE_SIZE);
	return pages[n];
}

s64 store(u64 mfn, unsigned slot, u64 value)
{
	struct mmu_update u = {mfn << PAGE_SHIFT | slot * 8u, value};

	return CALL(mmu_update, &u, 1, 0, DOMID_SELF);
}

s64 ext(unsigned cmd, u64 arg1, u64 arg2)
{
	struct mmuext_op op = {.cmd = cmd};

	op.arg1.mfn = arg1;
	memcpy(&op.arg2, &arg2, sizeof(arg2));
	return CALL(mmuext_op, &op, 1, 0, DOMID_SELF);
}

// The first tables are mapped, and frames of the image are by their page.
u64 *table_of(u64 va, unsigned level)
{
	u64 *t = (u64 *)start_info->pt_base;

	for (unsigned l = 4; l > level; l--) {
		u64 frame = (t[va >> (12 + 9 * (l - 1)) & 511] & PTE_ADDR) >> PAGE_SHIFT;

		t = (u64 *)(((u64 *)MACH2PHYS_VIRT_START)[frame] << PAGE_SHIFT);
	}
	return t;
}

s64 map_at(const void *p, u64 entry)
{
	return CALL(update_va_mapping, p, entry, UVMF_INVLPG | UVMF_LOCAL);
}

// A page as a table of that level, pinned; its contents are in place already.
s64 pin(void *p, unsigned level)
{
	s64 r = remap(p, KERNEL_RO);

	return r ? r : ext(MMUEXT_PIN_L1_TABLE + level - 1, mfn_of(p), 0);
}

s64 unpin(void *p)
{
	return ext(MMUEXT_UNPIN_TABLE, mfn_of(p), 0);
}

bool is_own(u64 mfn)
{
	return ((u64 *)MACH2PHYS_VIRT_START)[mfn] < start_info->nr_pages;
}

void poke(u64 at)
{
	*(volatile u64 *)at = 0xdead;
}

void peek(u64 at)
{
	(void)*(volatile u64 *)at;
}
