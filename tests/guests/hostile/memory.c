// SPDX-License-Identifier: MIT
// Attacks on memory: every canonical range, the gate's pages, forged page tables of all shapes.
#include "tests/guests/hostile/hostile.h"

#define RW 0x3ull
#define RWU 0x7ull
#define DATA_FRAME (TABLES + 0x100000) // a frame of ours that forged tables lead to
#define MARK 0x1122334455667788ull
#define GATE_PAGES 512 // the first 2 MiB of the slot have all per-vCPU pages

static void read_at(u64 va)
{
	got.rax = *(volatile u64 *)va;
}

static void write_at(u64 va)
{
	*(volatile u64 *)va = ~MARK;
}

static void call_at(u64 va)
{
	((void (*)(void))va)();
}

static u64 slot_address(unsigned slot, u64 offset)
{
	u64 va = (u64)slot << 39 | offset;

	return (u64)((s64)(va << 16) >> 16);
}

// Tables that lead from one slot of the root to DATA_FRAME, whatever the lower indexes.
static u64 forge_path(u64 rights, u64 leaf, unsigned entries)
{
	u64 *pdpt = forged(0), *pd = forged(1), *pt = forged(2);

	for (unsigned i = 0; i < entries; i++) {
		pdpt[i] = (u64)pd | rights;
		pd[i] = (u64)pt | rights;
		pt[i] = leaf;
	}
	return (u64)pdpt | rights;
}

// All 512 slots: without a mapping every access faults (but for the gate's pages, which ring 0 of a guest can see); with one of
// ours every access reaches our frame and nothing else.
static void all_slots(void)
{
	u64 path = forge_path(RW, DATA_FRAME | RW, 512);
	volatile u64 *frame = (u64 *)DATA_FRAME;

	for (unsigned slot = 1; slot < 512; slot++) {
		u64 offset = slot == GATE_SLOT ? 0x80000000 : random64() & 0x7fffff000, va = slot_address(slot, offset);

		got.cr2 = 0;
		check(attempt(read_at, va) == VECTOR(VEC_PF) && got.cr2 == va && got.error == 0, "read of nothing", va);
		check(attempt(write_at, va) == VECTOR(VEC_PF) && got.cr2 == va && got.error == 2, "write to nothing",
		      va);
		boot_pml4[slot] = path;
		frame[0] = MARK;
		check(!attempt(read_at, va) && got.rax == MARK, "read through a forged slot", va);
		check(!attempt(write_at, va) && frame[0] == ~MARK, "write through a forged slot", va);
		boot_pml4[slot] = 0;
		invlpg(va);
	}
}

// Frames that are not ours: beyond memory, devices, ROM. Whatever is read must be no frame of somebody else's, which another
// VM's check tells; here only that the machine goes on.
static void foreign_frames(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		u64 frame =
			i & 1 ? random64() & 0xfffffff000 : (MEMORY_END + (random64() & 0xffffff000)) & 0xfffffff000;
		u64 large = (i & 6) == 6 ? 0x80 : 0, va = slot_address(300, 0);

		if (frame < MEMORY_END || (frame & ~0xfffull) == 0xfee00000 || (large && frame < 0x40000000))
			continue;
		boot_pml4[300] = forge_path(RW, frame | RW, 1);
		if (large)
			((u64 *)TABLES)[0] = (frame & ~0x3fffffffull) | RW | large;
		invlpg(va);
		attempt(read_at, va);
		if (frame >> 20 != 0xfee && frame >> 20 != 0xfec)
			attempt(write_at, va + 8);
		attempt(call_at, va);
	}
	boot_pml4[300] = 0;
}

// Reserved bits, odd entries at all levels.
static void odd_entries(void)
{
	for (unsigned i = 0; i < 1500; i++) {
		u64 *pdpt = forged(0), *pd = forged(1), *pt = forged(2);
		u64 r = random64(), noise = random64() & random64() & ~0x000ffffffffff000ull, va = slot_address(301, 0);

		pdpt[0] = (u64)pd | RW | ((r & 7) == 1 ? noise : 0);
		pd[0] = (u64)pt | RW | ((r & 7) == 2 ? noise : 0);
		pt[0] = DATA_FRAME | RW | ((r & 7) == 3 ? noise : 0);
		boot_pml4[301] = (u64)pdpt | RW | ((r & 7) == 4 ? noise : 0);
		if ((r & 7) == 5)
			((u64 *)(TABLES + (r >> 8 & 1) * 4096))[0] = odd_value() | (r >> 16 & 0xff);
		if ((r & 7) == 6)
			pt[0] = random64();
		invlpg(va);
		attempt(read_at, va);
		if ((r & 7) >= 5)
			continue;
		put_code(DATA_FRAME, "\x0f\x0b", 2);
		if (!(noise & 0x80)) // a large page would lead elsewhere
			attempt(call_at, va);
		attempt(write_at, va);
	}
	boot_pml4[301] = 0;
}

// A slot that leads back to the root, a table that is its own child at every level, and entries written through them.
static void self_maps(void)
{
	for (unsigned slot = 1; slot < 512; slot += slot == 255 || slot == 256 ? 1 : 6) {
		u64 va = slot_address(slot, (u64)slot << 30 | (u64)slot << 21 | (u64)slot << 12);

		if (slot >= 300 && slot < 312) // used below
			continue;
		boot_pml4[slot] = (u64)boot_pml4 | RW;
		invlpg(va);
		check(!attempt(read_at, va + slot * 8), "read of the root through itself", va);
		for (unsigned i = 0; i < 8; i++) {
			volatile u64 *alias = (u64 *)(va + (302 + i) * 8);

			if (slot != GATE_SLOT)
				*alias = i & 1 ? odd_value() | 1 : (u64)boot_pml4 | RW;
			attempt(read_at, slot_address(302 + i, random64() & 0x7ffffff000));
			if (slot != GATE_SLOT)
				*alias = 0;
		}
		boot_pml4[slot] = 0;
		invlpg(va);
	}
	for (unsigned i = 0; i < 40; i++) {
		u64 *t = forged(0), *u = forged(1);

		for (unsigned k = 0; k < 512; k++) {
			t[k] = (u64)(random64() & 1 ? t : u) | RW | (random64() & 0x40);
			u[k] = (u64)(random64() & 1 ? t : u) | RW;
		}
		boot_pml4[303] = (u64)t | RW;
		boot_pml4[304] = (u64)u | RW;
		invlpg(slot_address(303, 0));
		invlpg(slot_address(304, 0));
		for (unsigned k = 0; k < 40; k++) {
			u64 va = slot_address(303 + (k & 1), random64() & 0x7ffffffff8);

			attempt(read_at, va);
			attempt(write_at, va);
		}
	}
	boot_pml4[303] = boot_pml4[304] = 0;
}

// Page tables in device memory, in ROM and where there is no memory.
static void odd_tables(void)
{
	static const u64 places[] = {0xfee00000, 0xfec00000, 0xf0000,    0xff000,     0xa0000,
				     0xb8000,    MEMORY_END, 0xfffff000, 0x100000000, 0xff00000000};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		for (unsigned level = 1; level <= 3; level++) {
			u64 *pdpt = forged(0), *pd = forged(1);

			pdpt[0] = (level == 2 ? places[i] : (u64)pd) | RW;
			pd[0] = places[i] | RW;
			boot_pml4[305] = (level == 3 ? places[i] : (u64)pdpt) | RW;
			invlpg(slot_address(305, 0));
			invlpg(slot_address(305, 0x10));
			attempt(read_at, slot_address(305, 0));
			attempt(write_at, slot_address(305, 0x10));
			attempt(call_at, slot_address(305, 0));
		}
	boot_pml4[305] = 0;
}

// Every page of the gate that can be written gets garbage of several kinds; the machine goes on, and so does the guest.
static void gate_pages(void)
{
	static volatile u64 seen;

	for (unsigned i = 0; i < GATE_PAGES; i++) {
		u64 va = GATE_BASE + i * 4096ull;

		if (!attempt(read_at, va))
			seen++;
		attempt(read_at, va + 4088);
		attempt(call_at, va);
	}
	check(seen > 0, "no page of the gate is where the test looks for it", 0);
	for (u64 va = GATE_TC; va < GATE_TC + 0x1000000; va += 0x9f000) {
		attempt(read_at, va);
		check(attempt(write_at, va) == VECTOR(VEC_PF), "write to the translation cache", va);
	}
	check(attempt(write_at, GATE_TRUST) == VECTOR(VEC_PF), "write to the trusted page", 0);
	check(attempt(write_at, GATE_IDT) == VECTOR(VEC_PF), "write to the IDT in use", 0);
	check(attempt(write_at, GATE_GDT + SEL_HV_CS) == VECTOR(VEC_PF), "write to the GDT in use", 0);
	check(attempt(write_at, GATE_TSS + 4) == VECTOR(VEC_PF), "write to the TSS in use", 0);
	check(attempt(write_at, GATE_TEXT) == VECTOR(VEC_PF), "write to the gate's text", 0);
	check(attempt(write_at, GATE_LINKS) == VECTOR(VEC_PF), "write to the links", 0);
	check(attempt(write_at, GATE_IBTC) == VECTOR(VEC_PF), "write to the look-up table", 0);
}

// The window on the shadow's tables, at every depth: the root itself, tables of each level, entries of our own addresses. Nothing of
// it can be written or executed, by us or by user code, also where our own tables say otherwise.
static void window_pages(void)
{
	static const u64 at[] = {0, TABLES, DATA_FRAME, GATE_BASE, 0xffff888000000000};
	static volatile u64 seen;
	u64 path = forge_path(RW | 4, DATA_FRAME | RW | 4, 512), va;

	for (unsigned round = 0; round < 2; round++) {
		boot_pml4[WINDOW_SLOT] = round ? path : 0;
		invlpg(WINDOW_BASE);
		for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
			va = at[i];
			for (unsigned depth = 0; depth < 4; depth++) {
				va = WINDOW_BASE | (va >> 9 & 0x7ffffffff8);
				seen += !attempt(read_at, va);
				if (!round) {
					check(attempt(write_at, va) == VECTOR(VEC_PF), "write to the window", va);
					check(attempt(call_at, va) == VECTOR(VEC_PF), "call into the window", va);
				} else {
					attempt(write_at, va); // to our frame, if to anything
				}
			}
		}
	}
	boot_pml4[WINDOW_SLOT] = 0;
	invlpg(WINDOW_BASE);
	check(seen > 0, "the window is not where the test looks for it", 0);
}

static void fill(u64 va, u64 bytes, u64 value)
{
	__asm__ volatile("rep stosq" : "+D"(va) : "c"(bytes / 8), "a"(value) : "memory");
}

// Not the return cache, the vCPU page's second half: addresses in there are jumped to, see the fatal cases.
static void garbage(u64 value)
{
	static const struct {
		u64 at, bytes;
	} writable[] = {{GATE_VCPU, RETURNS_OFFSET}, {GATE_STACK, 4096}, {GATE_IST, GATE_IST_COUNT * 4096}};

	for (unsigned i = 0; i < ARRAY_SIZE(writable); i++) {
		if (value != 1) {
			fill(writable[i].at, writable[i].bytes, value);
			continue;
		}
		for (u64 k = 0; k < writable[i].bytes; k += 8)
			*(volatile u64 *)(writable[i].at + k) = odd_value();
	}
}

static void gate_garbage(void)
{
	static const u64 values[] = {0,
				     ~0ull,
				     0xf011,
				     0xf000,
				     0x8000000000000000,
				     GATE_VCPU,
				     GATE_TC,
				     0x4141414141414141,
				     0xffff7fff00000000};

	for (unsigned round = 0; round < 6; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
			garbage(values[i]);
			exercise();
		}
	for (unsigned i = 0; i < 100; i++) {
		garbage(1);
		exercise();
	}
	print("\n"); // garbage in the page may be bytes for the console: they get a line of their own
}

// One field of the vCPU's page at a time.
static void gate_fields(void)
{
	for (u64 at = GATE_VCPU; at < GATE_VCPU + RETURNS_OFFSET; at += 8)
		for (unsigned i = 0; i < 3; i++) {
			*(volatile u64 *)at = odd_value();
			exercise();
		}
	print("\n"); // as above
}

const struct attack_case memory_cases[] = {
	{"all-slots", all_slots, false},
	{"foreign-frames", foreign_frames, false},
	{"odd-entries", odd_entries, false},
	{"self-maps", self_maps, false},
	{"odd-tables", odd_tables, false},
	{"gate-pages", gate_pages, false},
	{"window", window_pages, false},
	{"gate-garbage", gate_garbage, false},
	{"gate-fields", gate_fields, false},
	{0},
};
