// SPDX-License-Identifier: MIT
// Builds the world: see world.h. Pure; runs in the test kernel and on the host.
#include "tests/guests/sysinsn/world.h"

#include "base/string.h"

#define A_P 0x80u
#define A_S 0x10u
#define G_4K 8u
#define G_D 4u
#define G_L 2u

static void put(u8 *image, u64 at, u64 v)
{
	memcpy(image + (at - WORLD), &v, 8);
}

// limit: 20 bits; flags: G D L AVL.
static u64 descriptor(u64 base, u32 limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16 & 15) << 48 |
	       (u64)flags << 52 | (base >> 24 & 0xff) << 56;
}

static void slot(u8 *image, unsigned n, u64 v)
{
	put(image, W_GDT + n * 8, v);
}

static u64 flat(unsigned type, unsigned dpl, unsigned p)
{
	bool code = type & 8, down = !code && (type & 4);

	return descriptor(0, down ? 0x3ff : 0xfffff, p | A_S | dpl << 5 | type, G_4K | (code ? G_L : G_D));
}

static u64 small(unsigned type, unsigned dpl)
{
	if (type & 8)
		return descriptor(0, 0xfffff, A_P | A_S | dpl << 5 | type, G_4K | G_D);
	return descriptor(W_DATA, type & 4 ? 0x7f : 0xfff, A_P | A_S | dpl << 5 | type, G_D);
}

static void code_and_data(u8 *image)
{
	for (unsigned t = 0; t < 16; t++) {
		slot(image, T_FLAT0 + t, flat(t, 0, A_P));
		slot(image, T_FLAT3 + t, flat(t, 3, A_P));
		slot(image, T_SMALL0 + t, small(t, 0));
		slot(image, T_SMALL3 + t, small(t, 3));
		slot(image, T_ABSENT0 + t, flat(t, 0, 0));
		slot(image, T_ABSENT3 + t, flat(t, 3, 0));
	}
	for (unsigned t = 0; t < 8; t++) {
		slot(image, T_CODE16 + t, descriptor(0, 0xfffff, A_P | A_S | 3 << 5 | 8 | t, G_4K));
		slot(image, T_CODELD + t, descriptor(0, 0xfffff, A_P | A_S | 8 | t, G_4K | G_D | G_L));
	}
}

static void wide(u8 *image, unsigned n, u64 base, u32 limit, unsigned access)
{
	slot(image, n, descriptor(base, limit, access, 0));
	slot(image, n + 1, base >> 32);
}

// Gates lead to KCODE + 0x200 by the flat 64-bit code segment.
static void system_descriptors(u8 *image, unsigned first, unsigned dpl)
{
	for (unsigned t = 0; t < 16; t++) {
		unsigned access = A_P | dpl << 5 | t;
		bool gate = (t >= 4 && t <= 7) || t >= 12;

		if (gate) {
			slot(image, first + t * 2, world_gate_low(S_KCS, W_KCODE + 0x200, 0, access));
			slot(image, first + t * 2 + 1, 0);
		} else {
			wide(image, first + t * 2, t == 2 ? W_LDT : W_TSS2, t == 2 ? 0x2f : 0x67, access);
		}
	}
}

static void odd(u8 *image)
{
	wide(image, T_ODD, W_LDT, 0x2f, 2);
	wide(image, T_ODD + 2, W_TSS2, 0x67, 9);
	wide(image, T_ODD + 4, 0x123456789000, 0x67, A_P | 9);
	wide(image, T_ODD + 6, 0x8123456789abcdef, 0x2f, A_P | 2);
	slot(image, T_ODD + 8, flat(3, 1, A_P));
	slot(image, T_ODD + 9, flat(3, 2, A_P));
	slot(image, T_ODD + 10, flat(11, 1, A_P));
	slot(image, T_ODD + 11, flat(15, 1, A_P));
	wide(image, T_ODD + 12, 0x8123456789abcdef, 0x67, A_P | 9);
}

static void gdt(u8 *image)
{
	slot(image, S_KCS / 8, flat(11, 0, A_P));
	slot(image, S_KDS / 8, flat(3, 0, A_P));
	slot(image, S_UCS32 / 8, descriptor(0, 0xfffff, A_P | A_S | 3 << 5 | 11, G_4K | G_D));
	slot(image, S_UDS / 8, flat(3, 3, A_P));
	slot(image, S_UCS / 8, flat(11, 3, A_P));
	slot(image, S_KCS32 / 8, descriptor(0, 0xfffff, A_P | A_S | 11, G_4K | G_D));
	wide(image, S_TSS / 8, W_TSS, 0x68 + 0x2000, A_P | 11);
	wide(image, S_LDT / 8, W_LDT, 0x2f, A_P | 2);
	code_and_data(image);
	system_descriptors(image, T_SYS0, 0);
	system_descriptors(image, T_SYS3, 3);
	odd(image);
}

static void ldt(u8 *image)
{
	put(image, W_LDT + 8, flat(2, 3, A_P));
	put(image, W_LDT + 16, flat(10, 3, A_P));
	put(image, W_LDT + 24, flat(2, 0, A_P));
	put(image, W_LDT + 32, flat(2, 3, 0));
	put(image, W_LDT + 40, descriptor(W_LDT, 0x2f, A_P | 2, 0));
}

u64 world_gate_low(u16 selector, u64 offset, unsigned ist, unsigned access)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)access << 40 |
	       (offset >> 16 & 0xffff) << 48;
}

// Vectors 3, 4 and 0x80 on are open to ring 3; double fault and one more run on IST stacks; odd user vectors are trap gates.
static void idt(u8 *image)
{
	for (unsigned v = 0; v < 256; v++) {
		unsigned dpl = v == VEC_BP || v == VEC_OF || v >= 0x80 ? 3 : 0, ist = v == VEC_DF ? 1
										      : v == 0x90 ? 2
												  : 0;

		put(image, W_IDT + v * 16,
		    world_gate_low(S_KCS, world_stub(v), ist, A_P | dpl << 5 | 14 | (v > 0x20 && (v & 1))));
		put(image, W_IDT + v * 16 + 8, 0);
	}
}

static void tss(u8 *image)
{
	u8 *t = image + (W_TSS - WORLD);
	u16 map = 0x68;

	put(image, W_TSS + 4, W_RSP0 + 0xff8); // not 16-byte aligned
	put(image, W_TSS + 12, W_RSP0 + 0x800);
	put(image, W_TSS + 20, W_RSP0 + 0x400);
	put(image, W_TSS + 0x24, W_IST1 + 0x1000);
	put(image, W_TSS + 0x2c, W_IST2 + 0xff0);
	put(image, W_TSS + 0x34, W_IST3 + 0xc04);
	memcpy(t + 0x66, &map, 2);
	memset(t + map, 0xff, 0x2001);
	t[map + W_PORT / 8] = 0x00;     // eight ports open
	t[map + W_PORT / 8 + 2] = 0xf0; // four open, four closed
	t[map + W_PORT / 8 + 3] = 0x7f; // the last one open, and the first of the next eight
	t[map + W_PORT / 8 + 4] = 0xfe;
}

static void page(u8 *image, u64 at, u64 rights)
{
	put(image, W_PT + (at >> PAGE_SHIFT & 511) * 8, at | rights);
}

static void page_tables(u8 *image)
{
	const u64 s = PTE_P | PTE_A, w = PTE_W | PTE_D | PTE_NX, u = PTE_U;

	put(image, W_PML4, W_PDPT | PTE_P | PTE_W | PTE_U | PTE_A);
	put(image, W_PDPT, W_PD | PTE_P | PTE_W | PTE_U | PTE_A);
	put(image, W_PD + 8, 0x200000 | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
	put(image, W_PD + 16, W_PT | PTE_P | PTE_W | PTE_U | PTE_A);
	for (u64 at = WORLD; at < WORLD + W_SIZE; at += PAGE_SIZE)
		page(image, at, s | w);
	page(image, W_DATA, s | w | u);
	page(image, W_RODATA, s | u | PTE_NX);
	page(image, W_HOLE, 0);
	page(image, W_USTACK, s | w | u);
	page(image, W_STUBS, s);
	page(image, W_STUBS + PAGE_SIZE, s);
	page(image, W_KCODE, s);
	page(image, W_UCODE, s | u);
	put(image, W_PT + ((W_KCODE + W_CODE_ALIAS) >> PAGE_SHIFT & 511) * 8, W_KCODE | s | w);
	put(image, W_PT + ((W_UCODE + W_CODE_ALIAS) >> PAGE_SHIFT & 511) * 8, W_UCODE | s | w);
}

u64 world_pattern(u64 at)
{
	return at >= W_DATA && at < W_RESTORED_END ? 0x0101010101010101ull * (at >> 12 & 15) + 0x10 * (at & 0xff8) : 0;
}

void world_build(u8 *image)
{
	memset(image, 0, W_SIZE);
	page_tables(image);
	gdt(image);
	ldt(image);
	idt(image);
	tss(image);
	for (u64 at = W_DATA; at < W_RESTORED_END; at += 8)
		put(image, at, world_pattern(at));
	memset(image + (W_KCODE - WORLD), 0xcc, 2 * PAGE_SIZE);
}

u16 world_selector(unsigned i)
{
	static const u16 fixed[] = {0,     S_KCS,     S_KDS, S_UCS32,   S_UDS,  S_UCS, S_KCS32, 0x38,
				    S_TSS, S_TSS + 8, S_LDT, S_LDT + 8, 0x0c,   0x14,  0x1c,    0x24,
				    0x2c,  0x34,      0x04,  T_END * 8, 0xfff8, 0xfffc};

	_Static_assert(ARRAY_SIZE(fixed) == 22, "WORLD_SELECTORS");
	return i < ARRAY_SIZE(fixed) ? fixed[i] & 0xfffc : (u16)((T_FLAT0 + i - ARRAY_SIZE(fixed)) * 8);
}
