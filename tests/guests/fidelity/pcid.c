// SPDX-License-Identifier: MIT
// PCIDs and INVPCID, where CPUID offers them: CR4.PCIDE, the bits of CR3, loads that flush nothing, every type of INVPCID (SDM 3A
// 4.10). Two address spaces differ in one page.
#include "kernel.h"

#define PCIDE (1ull << 17)
#define PGE (1ull << 7)
#define NOFLUSH (1ull << 63)
#define AT 0x8000000000ull
#define SWITCHES 2000

struct space {
	u64 root[512], pdpt[512], directory[512], table[512];
} __attribute__((aligned(4096)));

static struct space space[2];
static u64 data[4][512] __attribute__((aligned(4096)));
static volatile u64 *const seen = (volatile u64 *)AT;
static u64 descriptor[2];

static u64 cr3(void)
{
	u64 v;

	asm volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static void set_cr3(u64 v)
{
	asm volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}

static u64 cr4(void)
{
	u64 v;

	asm volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static void set_cr4(u64 v)
{
	asm volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}

static void invpcid(u64 type)
{
	asm volatile("invpcid %1, %0" ::"r"(type), "m"(descriptor) : "memory");
}

static bool refused(u64 type, u64 pcid, u64 linear)
{
	descriptor[0] = pcid;
	descriptor[1] = linear;
	return raises(invpcid, type, GP, 0);
}

static void flush(u64 type, u64 pcid, u64 linear)
{
	descriptor[0] = pcid;
	descriptor[1] = linear;
	invpcid(type);
}

static void make(struct space *s, const u64 *page)
{
	for (unsigned i = 0; i < 512; i++)
		s->root[i] = pml4[i];
	s->root[1] = (u64)s->pdpt | 3;
	s->pdpt[0] = (u64)s->directory | 3;
	s->directory[0] = (u64)s->table | 3;
	s->table[0] = (u64)page | 3;
}

static void control(void)
{
	u64 root = cr3();

	check("pcid: CR3 bit 63 without PCIDE: #GP", raises(set_cr3, root | NOFLUSH, GP, 0) && cr3() == root);
	check("pcid: INVPCID of a PCID without PCIDE: #GP", refused(0, 1, 0) && refused(1, 1, 0));
	set_cr3(root | 0x18);
	check("pcid: PCIDE with bits in CR3: #GP", raises(set_cr4, cr4() | PCIDE, GP, 0) && !(cr4() & PCIDE));
	set_cr3(root);
	set_cr4(cr4() | PCIDE);
	check("pcid: PCIDE", (cr4() & PCIDE) && cr3() == root);
	set_cr3(root | 5);
	check("pcid: CR3 has it", cr3() == (root | 5));
	set_cr3(root | 6 | NOFLUSH);
	check("pcid: bit 63 does not stay", cr3() == (root | 6));
	check("pcid: reserved bits of CR3: #GP", raises(set_cr3, root | 1ull << 62, GP, 0) && cr3() == (root | 6));
	check("pcid: INVPCID of no type: #GP", refused(4, 0, 0) && refused(~0ull, 0, 0));
	check("pcid: INVPCID with reserved bits: #GP", refused(0, 0x1000, 0) && refused(1, 1ull << 63, 0));
	check("pcid: INVPCID of no address: #GP", refused(0, 6, 1ull << 63));
	set_cr3(root);
}

// Each switch shows the other space's page; its PCID can be read. Interleaved with one space under two PCIDs.
static void switches(void)
{
	u64 a = (u64)space[0].root, b = (u64)space[1].root;
	bool good = true, same = true;

	make(&space[0], data[0]);
	make(&space[1], data[1]);
	set_cr4(cr4() | PGE);
	for (unsigned i = 0; i < SWITCHES; i++) {
		set_cr3(a | 1 | NOFLUSH);
		good &= seen[0] == 100;
		set_cr3(b | 2 | NOFLUSH);
		good &= seen[0] == 101;
		set_cr3(b | (3 + i % 6) | NOFLUSH);
		good &= seen[0] == 101;
		if (i % 64 == 0)
			same &= cr3() == (b | (3 + i % 6));
	}
	check("pcid: switches without a flush", good);
	check("pcid: the PCID follows them", same);
}

// The other space's page changes; what is flushed must be seen, after a switch that flushes nothing.
static void flushes(void)
{
	u64 a = (u64)space[0].root, b = (u64)space[1].root;
	bool good[5] = {true, true, true, true, true};

	for (unsigned i = 0; i < 64; i++) {
		unsigned kind = i % 5, page = 1 + i % 3;

		set_cr3(b | 2 | NOFLUSH);
		good[kind] &= seen[0] >= 101; // and is in the TLB
		set_cr3(a | 1 | NOFLUSH);
		space[1].table[0] = (u64)data[page] | 3 | (kind >= 2 ? 0x100 : 0); // global for those that flush such
		if (kind == 0)
			flush(0, 2, AT);
		else if (kind == 1)
			flush(1, 2, 0);
		else if (kind == 2)
			flush(2, 0, 0);
		else if (kind == 3)
			set_cr4(cr4() ^ PGE), set_cr4(cr4() ^ PGE);
		else
			flush(2, 0, 0);
		set_cr3(b | 2 | NOFLUSH);
		good[kind] &= seen[0] == 100 + page;
		space[1].table[0] = (u64)data[page] | 3;
		flush(2, 0, 0);
	}
	check("pcid: INVPCID of an address", good[0]);
	check("pcid: INVPCID of a PCID", good[1]);
	check("pcid: INVPCID of all, global pages too", good[2] && good[4]);
	check("pcid: CR4.PGE flushes all", good[3]);
	space[1].table[0] = (u64)data[3] | 3;
	flush(3, 0, 0);
	check("pcid: INVPCID of all but global pages", seen[0] == 103);
	set_cr4(cr4() & ~PGE);
}

void test_pcid(void)
{
	u64 root = cr3();

	if (!(cpuid(1).c & 1u << 17)) {
		check("pcid: not offered, not to be had", raises(set_cr4, cr4() | PCIDE, GP, 0) && raises(invpcid, 2, UD, 0));
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		data[i][0] = 100 + i;
	control();
	switches();
	flushes();
	set_cr3(root);
	set_cr4(cr4() & ~PCIDE);
	check("pcid: off", !(cr4() & PCIDE) && cr3() == root);
}
