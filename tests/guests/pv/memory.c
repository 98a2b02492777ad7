// SPDX-License-Identifier: MIT
// Page tables and descriptors: what a guest may have, and each published way to have more.
#include "tests/guests/pv/pv.h"
#include <xen/errno.h>

#define SLOT(va, level) ((unsigned)((u64)(va) >> (12 + 9 * ((level)-1))) & 511)

static void poke(u64 at)
{
	*(volatile u64 *)at = 0xdead;
}

static void peek(u64 at)
{
	(void)*(volatile u64 *)at;
}

// A page as a table of that level, pinned; its contents are in place already.
static s64 pin(void *p, unsigned level)
{
	s64 r = remap(p, KERNEL_RO);

	return r ? r : ext(MMUEXT_PIN_L1_TABLE + level - 1, mfn_of(p), 0);
}

static s64 unpin(void *p)
{
	return ext(MMUEXT_UNPIN_TABLE, mfn_of(p), 0);
}

static void test_tables(void)
{
	u64 *l1 = page(1), *data = page(2);

	l1[3] = leaf(data, KERNEL_RW);
	check(ext(MMUEXT_PIN_L1_TABLE, mfn_of(l1), 0) < 0, "pinned while it can be written", 0);
	check(!pin(l1, 1), "pin", 0);
	check(pin(l1, 1) < 0 && ext(MMUEXT_PIN_L2_TABLE, mfn_of(l1), 0) < 0, "pinned twice", 0);
	check(remap(l1, KERNEL_RW) < 0, "a table can be mapped writable", 0);
	check(store(mfn_of(l1), 3, leaf(l1, KERNEL_RW)) < 0, "a table maps itself writable", 0);
	check(!store(mfn_of(l1), 3, leaf(l1, KERNEL_RO)) && !store(mfn_of(l1), 3, 0), "a table maps itself", 0);
	check(ext(MMUEXT_CLEAR_PAGE, mfn_of(l1), 0) < 0 && ext(MMUEXT_COPY_PAGE, mfn_of(l1), mfn_of(data)) < 0,
	      "a table is filled", 0);
	check(!unpin(l1) && unpin(l1) < 0, "unpin", 0);
	check(!remap(l1, KERNEL_RW), "it can be written again", 0);
	for (u64 mfn = 0; mfn < 64; mfn++) // somebody else's: the hypervisor's image is low
		check(store(mfn, 0, 0) < 0 && ext(MMUEXT_PIN_L1_TABLE, mfn, 0) < 0 &&
			      ext(MMUEXT_CLEAR_PAGE, mfn, 0) < 0 && ext(MMUEXT_COPY_PAGE, mfn_of(data), mfn) < 0 &&
			      CALL(update_va_mapping, data, mfn << PAGE_SHIFT | KERNEL_RO, 0) < 0,
		      "a frame of others", mfn);
	for (unsigned bit = 0; bit < 52; bit++)
		check(store(1ull << bit, 5, 0) < 0 || ((u64 *)MACH2PHYS_VIRT_START)[1ull << bit] < start_info->nr_pages,
		      "a frame that is none", bit);
}

// XSA-148: a level-2 entry that is a large page.
static void test_large(void)
{
	u64 *l2 = page(1), *l1 = page(2), *live = table_of(0x100000, 2);
	u64 mfn = (*table_of(0x100000, 3) & PTE_ADDR) >> PAGE_SHIFT, was = live[SLOT(0x100000, 2)];

	l2[0] = leaf(l1, KERNEL_RW | PTE_PS);
	check(pin(l2, 2) < 0, "pinned with a large page in it", 0);
	check(store(mfn, 100, leaf(l1, KERNEL_RW | PTE_PS)) < 0, "a new one", 0);
	check(store(mfn, SLOT(0x100000, 2), was | PTE_PS) < 0, "the bit alone", 0);
	(void)attempt(poke, (u64)&live[SLOT(0x100000, 2)]);
	check(live[SLOT(0x100000, 2)] == was, "by a store", live[SLOT(0x100000, 2)]);
	check(!remap(l2, KERNEL_RW) || pin(l2, 2) < 0, "it is lost", 0);
	for (unsigned level = 3; level <= 4; level++) {
		u64 *t = table_of(0x100000, level);

		mfn = level == 4 ? mfn_of(t) : (*table_of(0, 4) & PTE_ADDR) >> PAGE_SHIFT;
		check(store(mfn, SLOT(0x100000, level), t[SLOT(0x100000, level)] | PTE_PS) < 0, "a larger one", level);
	}
}

// XSA-182, 240: a level-4 table in itself, and with rights that come later; tables in each other.
static void test_linear(void)
{
	u64 *l4 = (u64 *)start_info->pt_base, root = mfn_of(l4);
	unsigned slot = 100;

	if (!store(root, slot, leaf(l4, PTE_P | PTE_U | PTE_A))) {
		check(store(root, slot, leaf(l4, PTE_P | PTE_U | PTE_A | PTE_W)) < 0, "it gets writable", 0);
		check(!store(root, slot, 0), "it goes", 0);
	}
	check(store(root, slot, leaf(l4, TABLE)) < 0 && !l4[slot], "writable at once", l4[slot]);
	for (unsigned level = 1; level <= 4; level++) {
		u64 *a = page(1), *b = page(2);

		a[1] = leaf(b, TABLE);
		b[1] = leaf(a, TABLE);
		check(level == 1 || pin(a, level) < 0, "two in each other",
		      level); // at level 1 the other is a page like any
		memset(page(1), 0, PAGE_SIZE);
		a[2] = leaf(a, TABLE);
		check(pin(a, level) < 0, "one in itself", level);
	}
}

// Slots that are the hypervisor's, and what is in them.
static void test_slots(void)
{
	u64 root = mfn_of((void *)start_info->pt_base), *l3 = page(1);

	check(!remap(l3, KERNEL_RO), "read-only", 0);
	for (unsigned slot = 256; slot <= 271; slot++)
		check(store(root, slot, leaf(l3, TABLE)) < 0, "slot", slot);
	check(attempt(poke, MACH2PHYS_VIRT_START) == CAME(VEC_PF), "M2P is written", 0);
	check(attempt(poke, GATE_TRUST) == CAME(VEC_PF) && attempt(poke, GATE_IDT) == CAME(VEC_PF) &&
		      attempt(poke, GATE_GDT) == CAME(VEC_PF) && attempt(poke, GATE_TSS) == CAME(VEC_PF) &&
		      attempt(poke, GATE_TEXT) == CAME(VEC_PF),
	      "gate is written", 0);
	check(attempt(peek, 0x100000) == 0, "own memory", 0);
}

// What the gate has for mmu_update: pages by their machine address, and what is known of them.
static void test_window(void)
{
	u64 *a = page(1), mfn = mfn_of(a), at = PV_WINDOW_BASE + (mfn << PAGE_SHIFT);

	check(attempt(poke, PV_TYPES_BASE + mfn * 4) == CAME(VEC_PF) && attempt(poke, PV_TYPES_FRAMES) == CAME(VEC_PF),
	      "types are written", 0);
	for (u64 i = 0; i < 4; i++)
		check(!store(mfn, 3, 4 * i) && a[3] == 4 * i, "a page that is no table", a[3]);
	(void)attempt(poke, at + 8 * 4);
	check(a[4] == 0xdead || a[4] == 0, "by its machine address", a[4]);
	memset(a, 0, PAGE_SIZE);
	check(!pin(a, 1), "pin", 0);
	check(attempt(poke, at) == CAME(VEC_PF) && !a[0], "a table by its machine address", a[0]);
	for (u64 frame = 0; frame < 4096; frame++) // others'
		check(((u64 *)MACH2PHYS_VIRT_START)[frame] != ~0ull ||
			      attempt(peek, PV_WINDOW_BASE + (frame << PAGE_SHIFT)) == CAME(VEC_PF),
		      "a frame of others", frame);
	check(!unpin(a) && !remap(a, KERNEL_RW), "unpin", 0);
}

// Rows of stores and of updates to one table, which the kernel is lent then.
static void test_rows(void)
{
	volatile u64 *a = page(1);
	u64 mfn = mfn_of((void *)a), value = leaf(page(3), KERNEL_RW), read_only[8];
	u64 itself = leaf((void *)a, KERNEL_RW), root = leaf((void *)start_info->pt_base, KERNEL_RW);

	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++)
		read_only[i] =
			leaf(page(4 + i), KERNEL_RO); // with hypercalls: none in what follows, they would end the row
	check(!pin((void *)a, 1), "pin", 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 40; i++)
			a[i] = i & 1 ? value : read_only[i % 8];
		for (unsigned i = 0; i < 40; i++)
			check(a[i] == (i & 1 ? value : read_only[i % 8]), "stored", i);
		for (unsigned i = 40; i < 80; i++)
			check(!store(mfn, i, value) && a[i] == value, "updated", i);
		// It is lent now: what is refused is refused all the same.
		check(store(mfn, 100, itself) < 0 && !a[100], "itself, writable", a[100]);
		for (unsigned i = 80; i < 84; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 100, root) < 0 && !a[100], "the root, writable", a[100]);
		for (unsigned i = 84; i < 88; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 101, 1ull << PAGE_SHIFT | KERNEL_RO) < 0 && !a[101], "a frame of others", a[101]);
		for (unsigned i = 88; i < 92; i++)
			check(!store(mfn, i, value), "updated again", i);
		check(store(mfn, 101, 1ull << 51 | KERNEL_RO) < 0 && !a[101], "reserved bits", a[101]);
		for (unsigned i = 0; i < 92; i++)
			a[i] = 0;
		check(!ext(MMUEXT_INVLPG_LOCAL, 0, 0), "flush", 0);
		for (unsigned i = 0; i < 110; i++)
			check(!a[i], "cleared", a[i]);
	}
	check(!unpin((void *)a) && !remap((void *)a, KERNEL_RW), "unpin", 0);
	check(!remap(page(3), KERNEL_RO) && !remap(page(3), KERNEL_RW), "what it held", 0);
}

static s64 bases(u64 kernel, u64 user)
{
	struct mmuext_op op[2] = {{.cmd = MMUEXT_NEW_BASEPTR}, {.cmd = MMUEXT_NEW_USER_BASEPTR}};

	op[0].arg1.mfn = kernel;
	op[1].arg1.mfn = user;
	return CALL(mmuext_op, op, 2, 0, DOMID_SELF);
}

// Pairs of roots that the gate comes to know, in use, and when they are tables no more.
static void test_pairs(void)
{
	u64 *root = (u64 *)start_info->pt_base, first = mfn_of(root), *kernel = page(1), *user = page(2);

	memcpy(kernel, root, PAGE_SIZE);
	for (unsigned slot = 256; slot <= 271; slot++)
		kernel[slot] = 0;
	check(!pin(kernel, 4) && !pin(user, 4), "pin", 0);
	for (unsigned i = 0; i < 8; i++)
		check(!bases(mfn_of(kernel), mfn_of(user)) && !bases(first, 0), "change", i);
	check(!bases(mfn_of(kernel), mfn_of(user)) && unpin(kernel) == 0 && remap(kernel, KERNEL_RW) < 0,
	      "writable while in use", 0);
	check(!bases(first, 0) && !remap(kernel, KERNEL_RW), "writable", 0);
	check(bases(mfn_of(kernel), mfn_of(user)) < 0, "no table any more", 0);
	check(!pin(kernel, 4), "pin again", 0);
	for (unsigned i = 0; i < 4; i++)
		check(!bases(mfn_of(kernel), mfn_of(user)) && !bases(first, 0), "change again", i);
	check(!unpin(user) && !remap(user, KERNEL_RW) && bases(mfn_of(kernel), mfn_of(user)) < 0, "user's no more", 0);
	check(!bases(first, first) && !unpin(kernel) && !remap(kernel, KERNEL_RW), "unpin; programs as before", 0);
}

// An entry that is refused, in a row of stores: too late for a fault.
void bad_row(void)
{
	volatile u64 *a = page(1);
	u64 itself = leaf((void *)a, KERNEL_RW);

	check(!pin((void *)a, 1), "pin", 0);
	for (unsigned i = 0; i < 10; i++)
		a[i] = i == 9 ? itself : 0;
	(void)unpin((void *)a);
	check(false, "a table maps itself writable", a[9]);
}

// XSA-286: what an entry of level 4 said is not what is used after it has changed.
static void test_stale(void)
{
	u64 *l3 = page(1), *l2 = page(2), *l1 = page(3), *other = page(4), *a = page(5), *b = page(6);
	u64 root = mfn_of((void *)start_info->pt_base);
	volatile u64 *at = (u64 *)(200ull << 39);

	a[0] = 1, b[0] = 2;
	l1[0] = leaf(a, KERNEL_RW);
	l2[0] = leaf(l1, TABLE);
	l3[0] = leaf(l2, TABLE);
	check(!remap(l1, KERNEL_RO) && !remap(l2, KERNEL_RO) && !remap(l3, KERNEL_RO) && !remap(other, KERNEL_RO),
	      "read-only", 0);
	check(!store(root, 200, leaf(l3, TABLE)) && at[0] == 1, "first", 0);
	check(!store(mfn_of(l1), 0, leaf(b, KERNEL_RW)) && at[0] == 2, "changed leaf", at[0]);
	check(!store(root, 200, leaf(other, TABLE)), "another table", 0);
	check(attempt(peek, (u64)at) == CAME(VEC_PF), "changed root", 0);
	check(!store(root, 200, 0), "none", 0);
	check(remap(l1, KERNEL_RW) == 0 && remap(l3, KERNEL_RW) == 0, "tables that nobody uses", 0);
	for (unsigned i = 0; i < 32; i++) // XSA-279: no addresses
		check(!ext(MMUEXT_INVLPG_LOCAL, 0x800000000000ull << (i & 15), 0) &&
			      !ext(MMUEXT_INVLPG_ALL, ~0ull << i, 0),
		      "INVLPG", i);
}

static void load(u64 selector)
{
	__asm__ volatile("mov %w0, %%fs" : : "r"(selector));
}

static void far_call(u64 selector)
{
	struct PACKED {
		u32 offset;
		u16 selector;
	} to = {0x1000, (u16)selector};

	__asm__ volatile("lcall *%0" : : "m"(to));
}

// XSA-298: tables without entries, entries behind the end; gates and system descriptors.
static void test_descriptors(void)
{
	static const u64 wrong[] = {0x00cf8c000008ffff, 0x0000ee0000100000, 0x0000890000000067, 0x0000820000000fff,
				    0x00208e0000080000};
	u64 *gdt = page(1), *ldt = page(2), list[1] = {mfn_of(gdt)};

	gdt[1] = 0x00affa000000ffff;
	gdt[2] = 0x00cf92000000ffff;
	gdt[3] = 0x00209a0000000000;
	memcpy(&ldt[1], wrong, sizeof(wrong));
	check(CALL(set_gdt, list, 14 * 512 + 1) < 0, "too many", 0);
	check(CALL(set_gdt, list, 512) < 0, "a table that can be written", 0);
	check(!remap(gdt, KERNEL_RO) && !remap(ldt, KERNEL_RO) && !CALL(set_gdt, list, 16), "set", 0);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		check(CALL(update_descriptor, mfn_of(gdt) << PAGE_SHIFT | 32, wrong[i]) < 0, "descriptor", wrong[i]);
	check(!attempt(load, 0x10), "one of ours", 0);
	check(attempt(load, 16 * 8) == CAME(VEC_GP), "behind the end", 0);
	check(attempt(load, 1 * 8 | 4) == CAME(VEC_GP), "no local table", 0);
	check(!ext(MMUEXT_SET_LDT, (u64)ldt, 8), "local table", 0);
	for (unsigned sel = 0; sel < 0x80; sel += 8)
		check(attempt(load, sel | 4 | 3) != 0 || sel == 0 || sel < 8 * 8, "load", sel);
	for (unsigned sel = 8; sel < 0x10000; sel += sel < 0xe000 ? 0x1008 : 8)
		check(attempt(far_call, sel | 4) != 0 &&
			      ((sel & ~7u) == (FLAT_KERNEL_CS64 & ~7u) || (sel & ~7u) == 0x18 || (sel & ~7u) == 8 ||
			       attempt(far_call, sel) != 0),
		      "far call", sel);
	check(ext(MMUEXT_SET_LDT, (u64)ldt + 8, 8) < 0 && ext(MMUEXT_SET_LDT, 0, 8193) < 0 &&
		      ext(MMUEXT_SET_LDT, 0x800000000000, 1) < 0,
	      "where", 0);
	load(0);
	check(!ext(MMUEXT_SET_LDT, 0, 0) && !CALL(set_gdt, 0, 0), "none", 0);
	check(!remap(gdt, KERNEL_RW) && !remap(ldt, KERNEL_RW), "they can be written again", 0);
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
void push_in_table(void)
{
	u64 *l1 = page(1);

	check(!pin(l1, 1), "pin", 0);
	__asm__ volatile("mov %0, %%rsp; push %1" : : "r"(&l1[9]), "r"(leaf(l1, KERNEL_RW)) : "memory");
}

// A far call there, with descriptors at 0 that are not the machine's.
void call_in_table(void)
{
	u64 *l1 = page(1);
	volatile u64 *at = page(2);

	check(!pin(l1, 1) && !CALL(update_va_mapping, 0, leaf(page(2), KERNEL_RW), UVMF_INVLPG | UVMF_LOCAL), "map", 0);
	for (unsigned i = 0; i < 512; i++)
		at[i] = 0x00af9b000000ffff;
	at[500] = (u64)0x10 << 32 | (u32)(u64)push_in_table;
	__asm__ volatile("mov %0, %%rsp; lcall *%1" : : "r"(&l1[9]), "m"(at[500]) : "memory");
}

const struct pv_case memory_cases[] = {
	{"tables", test_tables, false},
	{"xsa-148-large", test_large, false},
	{"xsa-182-linear", test_linear, false},
	{"slots", test_slots, false},
	{"window", test_window, false},
	{"rows", test_rows, false},
	{"pairs", test_pairs, false},
	{"xsa-279-286-stale", test_stale, false},
	{"xsa-298-descriptors", test_descriptors, false},
	{"odd-stores", test_odd_stores, false},
	{0},
};
