// SPDX-License-Identifier: MIT
// XSA-298: far calls of 32-bit guests' programs were emulated without a look at the limit of the local descriptor table: with no table at
// all, which was one at address 0, a program that could write there made its own gates into its kernel. Here there are descriptors at
// address 0 and none in the table, fewer in the table than in its page, and gates: to load and to call what is not there must fault.
#include "tests/guests/pv/harness/pv.h"

#define DATA3 0x00cff2000000ffff // of programs
#define CODE3 0x00affa000000ffff
#define DESCRIPTORS 12 // in the page

static u8 *user_load, *user_call; // mov %eax, %fs; far jump: then #UD

// Programs that use a selector.
static void write_programs(u8 *code)
{
	static const u8 load[] = {0xb8, 0, 0, 0, 0, 0x8e, 0xe0, 0x0f, 0x0b}, call[] = {0xff, 0x2c, 0x25, 0, 0, 0, 0};
	u32 pointer = (u32)(u64)code + 128, to = (u32)(u64)code + 256;

	user_load = code;
	user_call = code + 64;
	memcpy(user_load, load, sizeof(load));
	memcpy(user_call, call, sizeof(call));
	memcpy(user_call + 3, &pointer, sizeof(pointer));
	memcpy(code + 128, &to, sizeof(to));
	code[256] = 0x0f, code[257] = 0x0b;
}

static unsigned load_by_program(u16 selector)
{
	memcpy(user_load + 1, &selector, sizeof(selector));
	return run_user(user_load, RFL_IF, 0);
}

static unsigned jump_by_program(u16 selector)
{
	memcpy(user_call + 64 + 4, &selector, sizeof(selector));
	return run_user(user_call, RFL_IF, 0);
}

// How many entries of the table there are, of those in its page.
static void check_limit(unsigned entries)
{
	for (unsigned i = 1; i < DESCRIPTORS + 4; i++) {
		u16 sel = (u16)(i * 8 | 7);
		bool there = i < entries && i < DESCRIPTORS;

		check(load_by_program(sel) == (there ? CAME(VEC_UD) : CAME(VEC_GP)), "program's load", sel);
		check(jump_by_program(sel) == (there && i % 2 ? CAME(VEC_UD) : CAME(VEC_GP)), "program's jump", sel);
		if (!there) {
			check(attempt(load_fs, sel) == CAME(VEC_GP), "kernel's load", sel);
			check(attempt(far_call, sel & ~3u) == CAME(VEC_GP), "kernel's call", sel);
		}
	}
	load_fs(0);
}

static void test_limit(void)
{
	static const unsigned entries[] = {0, 1, 2, 5, DESCRIPTORS, 512, DESCRIPTORS, 5, 2, 0};
	u64 *ldt = page(1);

	write_programs((u8 *)page(2));
	for (unsigned i = 0; i < DESCRIPTORS; i++)
		ldt[i] = i % 2 ? CODE3 : DATA3;
	check(!remap(ldt, KERNEL_RO) && !map_at(NULL, leaf(ldt, KERNEL_RO | PTE_U)), "at address 0", 0);
	check(!ext(MMUEXT_SET_LDT, 0, 0), "none", 0);
	check_limit(0);
	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		check(!ext(MMUEXT_SET_LDT, i & 1 ? (u64)ldt : 0, entries[i]), "set", entries[i]);
		check_limit(entries[i]);
	}
	check(!ext(MMUEXT_SET_LDT, 0, 0) && !map_at(NULL, 0) && !remap(ldt, KERNEL_RW), "none again", 0);
}

// Gates and system descriptors in a page that was filled before it became the table's: each of them is not there.
static void test_gates(void)
{
	static const u64 wrong[] = {0x00cf8c000008ffff, 0x0000ee0000100000, 0x0000890000000067, 0x0000820000000fff,
				    0x0010ec000008e030};
	u64 *ldt = page(1);

	write_programs((u8 *)page(2));
	for (unsigned n = 0; n < ARRAY_SIZE(wrong); n++) {
		check(!remap(ldt, KERNEL_RW), "writable", n);
		ldt[1] = CODE3;
		ldt[2] = wrong[n];
		check(!remap(ldt, KERNEL_RO) && !map_at(NULL, leaf(ldt, KERNEL_RO | PTE_U)), "at address 0", n);
		for (unsigned at = 0; at < 2; at++) {
			(void)ext(MMUEXT_SET_LDT, at ? (u64)ldt : 0, 8);
			check(jump_by_program(2 * 8 | 7) == CAME(VEC_GP) && load_by_program(2 * 8 | 7) == CAME(VEC_GP),
			      "a gate", wrong[n]);
			check(attempt(far_call, 2 * 8 | 4) == CAME(VEC_GP), "by the kernel", wrong[n]);
			check(!ext(MMUEXT_SET_LDT, 0, 0), "none", 0);
		}
		check(!map_at(NULL, 0), "unmap", 0);
	}
	check(!remap(ldt, KERNEL_RW), "it can be written again", 0);
}

// Both tables, with entries behind their ends, gates and system descriptors in the local one.
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
	check(!attempt(load_fs, 0x10), "one of ours", 0);
	check(attempt(load_fs, 16 * 8) == CAME(VEC_GP), "behind the end", 0);
	check(attempt(load_fs, 1 * 8 | 4) == CAME(VEC_GP), "no local table", 0);
	check(!ext(MMUEXT_SET_LDT, (u64)ldt, 8), "local table", 0);
	for (unsigned sel = 0; sel < 0x80; sel += 8)
		check(attempt(load_fs, sel | 4 | 3) != 0 || sel == 0 || sel < 8 * 8, "load", sel);
	for (unsigned sel = 8; sel < 0x10000; sel += sel < 0xe000 ? 0x1008 : 8)
		check(attempt(far_call, sel | 4) != 0 &&
			      ((sel & ~7u) == (FLAT_KERNEL_CS64 & ~7u) || (sel & ~7u) == 0x18 || (sel & ~7u) == 8 ||
			       attempt(far_call, sel) != 0),
		      "far call", sel);
	check(ext(MMUEXT_SET_LDT, (u64)ldt + 8, 8) < 0 && ext(MMUEXT_SET_LDT, 0, 8193) < 0 &&
		      ext(MMUEXT_SET_LDT, 0x800000000000, 1) < 0,
	      "where", 0);
	load_fs(0);
	check(!ext(MMUEXT_SET_LDT, 0, 0) && !CALL(set_gdt, 0, 0), "none", 0);
	check(!remap(gdt, KERNEL_RW) && !remap(ldt, KERNEL_RW), "they can be written again", 0);
}

const struct pv_case cases[] = {
	{"xsa-298-descriptors", test_descriptors, false},
	{"xsa-298-limit", test_limit, false},
	{"xsa-298-gates", test_gates, false},
	{0},
};
