// SPDX-License-Identifier: MIT
// mmu_update and stores of the kernel to its tables: commands, whose tables, how far a list went; and instructions that store to a table in
// odd ways. Kernels whose stack is in a table end.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>

static s64 update(u64 ptr, u64 value, u64 dom)
{
	struct mmu_update u = {ptr, value};

	return CALL(mmu_update, &u, 1, 0, dom);
}

static void test_mmu_update(void)
{
	u64 *l1 = page(1), *data = page(2), *m2p = (u64 *)MACH2PHYS_VIRT_START;
	u64 at = mfn_of(l1) << PAGE_SHIFT, entry = leaf(data, PTE_P | PTE_W), mfn = mfn_of(data);

	check(!pin(l1, 1), "pin", 0);
	for (unsigned cmd = 4; cmd < 8; cmd++)
		check(update(at | cmd, entry, DOMID_SELF) < 0 && !l1[0], "command", cmd);
	for (unsigned i = 0; i < 4; i++) {
		static const u16 doms[] = {5, DOMID_IO, DOMID_XEN, 0x7fff};

		check(update(at, entry, doms[i]) < 0 && update(at, entry, (doms[i] + 1ull) << 16 | DOMID_SELF) < 0 &&
			      !l1[0],
		      "whose", doms[i]);
	}
	check(!update(at, entry | PTE_A | PTE_D, DOMID_SELF) &&
		      !update(at | MMU_PT_UPDATE_PRESERVE_AD, entry, DOMID_SELF),
	      "store", 0);
	check((l1[0] & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "A and D are kept", l1[0]);
	check(!update(at, entry, DOMID_SELF) && !(l1[0] & (PTE_A | PTE_D)), "or not", l1[0]);
	check(!update(mfn << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 77, DOMID_SELF) && m2p[mfn] == 77, "M2P", m2p[mfn]);
	check(update(at + 8, entry, DOMID_SELF) == 0 && update(at + 16, leaf(l1, KERNEL_RW), DOMID_SELF) < 0,
	      "and checks do not go by it", 0);
	check(!update(mfn << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, (u64)data >> PAGE_SHIFT, DOMID_SELF), "as it was", 0);
	for (u64 other = 0; other < 64; other++)
		check(is_own(other) || (update(other << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0, DOMID_SELF) < 0 &&
					update(other << PAGE_SHIFT, 0, DOMID_SELF) < 0),
		      "a frame of others", other);
	check(!unpin(l1) && !remap(l1, KERNEL_RW), "unpin", 0);
}

static void test_done(void)
{
	u64 *l1 = page(1), at = mfn_of(l1) << PAGE_SHIFT, entry = leaf(page(2), KERNEL_RO);
	struct mmu_update *u = (struct mmu_update *)(page(3) + 512) - 4; // up to a page that is not there
	u32 done = 77;

	check(!pin(l1, 1) && !remap(page(4), 0), "pin", 0);
	for (unsigned i = 0; i < 4; i++)
		u[i] = (struct mmu_update){at + i * 8, entry};
	check(CALL(mmu_update, u, 5, &done, DOMID_SELF) == -XEN_EFAULT && done == 4, "beyond the list", done);
	check(CALL(mmu_update, u, ~0u, &done, DOMID_SELF) < 0 && done == 4, "without end", done);
	u[2].val = leaf(l1, KERNEL_RW);
	check(CALL(mmu_update, u, 4, &done, DOMID_SELF) < 0 && done == 2, "up to one that may not be", done);
	check(!CALL(mmu_update, u, 2, GATE_TRUST, DOMID_SELF), "told where it cannot be", 0);
	check(!unpin(l1) && !remap(l1, KERNEL_RW), "unpin", 0);
}

// Instructions whose operand is a page table: what is stored is checked, whatever stores it.
static u64 emulated_at;
static unsigned emulated;

static void odd_store(u64 at)
{
	switch (emulated) {
	case 0:
		__asm__ volatile("sgdt (%0)" : : "r"(at) : "memory");
		break;
	case 1:
		__asm__ volatile("fxsave (%0)" : : "r"(at & ~15ull) : "memory");
		break;
	case 2:
		__asm__ volatile("xchg %1, (%0)" : : "r"(at), "r"(emulated_at) : "memory");
		break;
	case 3:
		__asm__ volatile("lock cmpxchg16b (%0)"
				 :
				 : "r"(at & ~15ull), "a"(0ull), "d"(0ull), "b"(emulated_at), "c"(emulated_at)
				 : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsq" : : "D"(at), "S"(&emulated_at), "c"(1ull) : "memory");
		break;
	case 5:
		__asm__ volatile("mov %1, (%0)" : : "r"(at + 4), "r"(emulated_at) : "memory");
		break;
	case 6:
		__asm__ volatile("lock orq %1, (%0)" : : "r"(at), "r"(emulated_at) : "memory");
		break;
	default:
		__asm__ volatile("pushq %1; popq (%0)" : : "r"(at), "r"(emulated_at) : "memory");
	}
}

static void test_odd_stores(void)
{
	u64 *l1 = page(1), mfn = mfn_of(l1);

	check(!pin(l1, 1), "pin", 0);
	for (emulated = 0; emulated < 8; emulated++)
		for (unsigned slot = 2; slot < 512; slot += 254) {
			emulated_at = leaf(l1, KERNEL_RW); // a table that can be written
			(void)attempt(odd_store, (u64)&l1[slot]);
			for (unsigned i = 0; i < 512; i++)
				if (!check((l1[i] & (PTE_P | PTE_W)) != (PTE_P | PTE_W) ||
						   (l1[i] & PTE_ADDR) >> PAGE_SHIFT != mfn,
					   "a writable table by", emulated))
					break;
		}
	check(!unpin(l1) && !remap(l1, KERNEL_RW), "unpin", 0);
}

// The stack in a table: what is pushed is refused, and so is the frame of the fault.
static void push_in_table(void)
{
	u64 *l1 = page(1);

	check(!pin(l1, 1), "pin", 0);
	__asm__ volatile("mov %0, %%rsp; push %1" : : "r"(&l1[9]), "r"(leaf(l1, KERNEL_RW)) : "memory");
}

// A far call there, with descriptors at 0 that are not the machine's.
static void call_in_table(void)
{
	u64 *l1 = page(1);
	volatile u64 *at = page(2);

	check(!pin(l1, 1) && !CALL(update_va_mapping, 0, leaf(page(2), KERNEL_RW), UVMF_INVLPG | UVMF_LOCAL), "map", 0);
	for (unsigned i = 0; i < 512; i++)
		at[i] = 0x00af9b000000ffff;
	at[500] = (u64)0x10 << 32 | (u32)(u64)push_in_table;
	__asm__ volatile("mov %0, %%rsp; lcall *%1" : : "r"(&l1[9]), "m"(at[500]) : "memory");
}

const struct pv_case cases[] = {
	{"mmu-update", test_mmu_update, false}, {"mmu-update-done", test_done, false},
	{"odd-stores", test_odd_stores, false}, {"push-in-table", push_in_table, true},
	{"call-in-table", call_in_table, true}, {0},
};
