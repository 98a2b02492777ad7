// SPDX-License-Identifier: MIT
// A paravirtual guest's start: kernels made here, built into memory, looked at by the addresses that they are given, and their
// tables validated as any that a guest makes. Then kernels with wrong bytes.
#include "core/pv/build.h"
#include "core/pv/abi.h"
#include "core/pv/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/x86.h"

#define BASE 0xffffffff80000000ull
#define P2M 0x8000000000ull
#define FRAME_OFFSET 0x777 // a frame's number is its page's, and that
#define KERNEL_BYTES 0x6000
#define MEMORY_MAX (48 * MIB)

static u64 base = BASE;
static u8 file[0x8000];
static u64 file_size;
static u8 *memory;
static u64 pages;
static struct pv_image image;
static struct pv_build build;
static struct pv_frames frames;
static struct pv_frame *frame;

static void set(u64 at, u64 value, unsigned bytes)
{
	memcpy(file + at, &value, bytes);
}

static u64 notes_end;

static void note(u32 type, u64 value, unsigned bytes)
{
	set(notes_end, 4, 4);
	set(notes_end + 4, bytes, 4);
	set(notes_end + 8, type, 4);
	memcpy(file + notes_end + 12, "Xen", 4);
	set(notes_end + 16, value, bytes);
	notes_end += 16 + bytes;
}

static void header(unsigned n, u32 type, u64 offset, u64 pa, u64 in_file, u64 in_memory)
{
	u64 at = 64 + n * 56;

	set(at, type, 4);
	set(at + 8, offset, 8);
	set(at + 24, pa, 8);
	set(at + 32, in_file, 8);
	set(at + 40, in_memory, 8);
}

// Two segments, one with more memory than bytes, as Linux has them.
static void make_file(bool own_list, bool by_page)
{
	memset(file, 0, sizeof(file));
	memcpy(file, "\177ELF\2\1\1", 7);
	set(18, 62, 2);
	set(32, 64, 8);
	set(54, 56, 2);
	set(56, 3, 2);
	for (unsigned i = 0; i < KERNEL_BYTES; i++)
		file[0x1000 + i] = (u8)(i * 7 + i / 251);
	header(0, 1, 0x1000, 0x100000, 0x5000, 0x5000);
	header(1, 1, 0x6000, 0x200000, 0x1000, 0x3000);
	notes_end = 0x400;
	note(XEN_ELFNOTE_VIRT_BASE, base, 8);
	note(XEN_ELFNOTE_ENTRY, base + 0x100123, 8);
	note(XEN_ELFNOTE_HYPERCALL_PAGE, base + 0x102000, 8);
	if (own_list)
		note(XEN_ELFNOTE_INIT_P2M, P2M, 8);
	note(XEN_ELFNOTE_MOD_START_PFN, by_page, 4);
	header(2, 4, 0x400, 0, notes_end - 0x400, 0);
	file_size = 0x7000;
}

static void *map_page(void *ctx, ppn_t ppn)
{
	assert_true(ppn < pages);
	return memory + ppn * PAGE_SIZE;
}

static mpn_t to_mpn(void *ctx, ppn_t ppn)
{
	assert_true(ppn < pages);
	return ppn + FRAME_OFFSET;
}

static void *map_frame(void *ctx, mpn_t mpn)
{
	return map_page(ctx, mpn - FRAME_OFFSET);
}

static ppn_t to_ppn(mpn_t mpn)
{
	return mpn >= FRAME_OFFSET && mpn - FRAME_OFFSET < pages ? mpn - FRAME_OFFSET : PPN_NONE;
}

static const u32 *index_of(void *ctx, mpn_t mpn)
{
	static u32 index[FRAME_OFFSET + MEMORY_MAX / PAGE_SIZE + BIT(PV_INDEX_SHIFT)];

	for (mpn_t i = 0; i < ARRAY_SIZE(index); i++)
		index[i] = (u32)(to_ppn(i) + 1);
	return mpn < ARRAY_SIZE(index) - BIT(PV_INDEX_SHIFT) ? &index[mpn & ~(BIT(PV_INDEX_SHIFT) - 1)] : NULL;
}

static const struct pv_ports ports = {.map = map_frame, .index = index_of, .mpn = to_mpn};

static enum status start(u64 bytes, const void *ramdisk, u64 ramdisk_size)
{
	pages = bytes / PAGE_SIZE;
	memset(memory, 0, bytes);
	build = (struct pv_build){.image = file,
				  .image_size = file_size,
				  .parsed = &image,
				  .ramdisk = ramdisk,
				  .ramdisk_size = ramdisk_size,
				  .cmdline = "console=hvc0 x",
				  .pages = pages,
				  .map = map_page,
				  .mpn = to_mpn,
				  .shared_info = 0x12345,
				  .store_port = 1,
				  .console_port = 2};
	return pv_build(&build);
}

static void validate(void)
{
	struct pv_count *count = calloc(pages, sizeof(*count));

	memset(frame, 0, pages * sizeof(*frame));
	pv_frames_init(&frames, &ports, NULL, frame, pages, 40);
	frames.work = ~0u;
	assert_int_equal(pv_pin(&frames, to_mpn(NULL, build.root), PV_L4), ST_OK);
	assert_int_equal(pv_audit(&frames, count, NULL, NULL), 0);
	free(count);
}

// The page that an address is mapped to, and its leaf entry. PPN_NONE: not mapped.
static ppn_t walk(u64 va, u64 *leaf)
{
	ppn_t at = build.root;

	for (unsigned level = 4; level; level--) {
		*leaf = ((u64 *)map_page(NULL, at))[va >> (12 + 9 * (level - 1)) & 511];
		if (!(*leaf & PTE_P))
			return PPN_NONE;
		at = to_ppn((*leaf & PTE_ADDR) >> PAGE_SHIFT);
	}
	return at;
}

static void *at(u64 va)
{
	u64 leaf;
	ppn_t ppn = walk(va, &leaf);

	assert_true(ppn != PPN_NONE);
	return memory + ppn * PAGE_SIZE + (va & PAGE_MASK);
}

// Page 0 at the base, and so on; tables read-only, all else writable; the region ends as it should.
static void check_region(void)
{
	const struct start_info *info = at(build.start_info);
	u64 va, leaf, end = 0;

	for (va = base; walk(va, &leaf) != PPN_NONE; va += PAGE_SIZE) {
		bool table = va >= info->pt_base && va < info->pt_base + info->nr_pt_frames * PAGE_SIZE;

		assert_int_equal(walk(va, &leaf), (va - base) >> PAGE_SHIFT);
		assert_int_equal(leaf & (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX), table ? PTE_P | PTE_A | PTE_D : PTE_P | PTE_W | PTE_A | PTE_D);
		end = va + PAGE_SIZE;
	}
	assert_int_equal(end % (4 * MIB), 0);
	assert_true(end >= build.stack + 512 * KIB && end < build.stack + 512 * KIB + 4 * MIB + 4 * MIB);
	assert_int_equal(info->pt_base + info->nr_pt_frames * PAGE_SIZE, build.stack - PAGE_SIZE);
}

static void check_info(const void *ramdisk, u64 ramdisk_size)
{
	const struct start_info *info = at(build.start_info);

	assert_int_equal(memcmp(info->magic, "xen-3.0-x86_64", 15), 0);
	assert_int_equal(info->nr_pages, pages);
	assert_int_equal(info->shared_info, 0x12345000);
	assert_int_equal(info->store_mfn, to_mpn(NULL, build.store_page));
	assert_int_equal(info->console.domU.mfn, to_mpn(NULL, build.console_page));
	assert_int_equal(info->store_evtchn, 1);
	assert_int_equal(info->console.domU.evtchn, 2);
	assert_string_equal((const char *)info->cmd_line, "console=hvc0 x");
	assert_int_equal(info->pt_base, base + build.root * PAGE_SIZE);
	for (u64 i = 0; i < pages; i++)
		assert_int_equal(*(u64 *)at(info->mfn_list + i * 8), to_mpn(NULL, i));
	if (image.init_p2m)
		assert_int_equal(info->mfn_list, P2M);
	assert_int_equal(info->mod_len, ramdisk_size);
	for (u64 i = 0; i < ramdisk_size; i++)
		assert_int_equal(*(u8 *)(info->flags & SIF_MOD_START_PFN ? memory + info->mod_start * PAGE_SIZE + i : at(info->mod_start + i)),
				 ((const u8 *)ramdisk)[i]);
}

static void check_kernel(void)
{
	assert_int_equal(memcmp(at(base + 0x100000), file + 0x1000, 4096), 0);
	assert_int_equal(memcmp(at(base + 0x104000), file + 0x5000, 4096), 0);
	assert_int_equal(memcmp(at(base + 0x200000), file + 0x6000, 4096), 0);
	for (unsigned i = 0; i < 0x2000; i++)
		assert_int_equal(*(u8 *)at(base + 0x201000 + i), 0);
	assert_int_equal(image.entry, base + 0x100123);
	assert_int_equal(image.hypercall_page, base + 0x102000);
}

static void test_starts(void **state)
{
	static u8 ramdisk[10000];

	for (unsigned i = 0; i < sizeof(ramdisk); i++)
		ramdisk[i] = (u8)(i ^ i >> 8);
	static const u64 bases[] = {BASE, 0, 0x400000, 3 * P2M - 2 * MIB, BIT(47) - 512 * MIB, 0xffff880000000000, BASE};

	for (unsigned variant = 0; variant < 8 * ARRAY_SIZE(bases); variant++)
		for (u64 size = 8 * MIB; size <= MEMORY_MAX; size += 20 * MIB) {
			u64 ramdisk_size = variant & 4 ? sizeof(ramdisk) : 0;

			base = bases[variant / 8];
			make_file(variant & 1, variant & 2);
			assert_true(pv_image_parse(&image, file, file_size));
			assert_int_equal(start(size, ramdisk, ramdisk_size), ST_OK);
			validate();
			check_region();
			check_info(ramdisk, ramdisk_size);
			check_kernel();
		}
}

// Each size around what is needed: fits and is right, or does not, and nothing is written.
static void test_memory(void **state)
{
	unsigned fits = 0;

	make_file(true, true);
	assert_true(pv_image_parse(&image, file, file_size));
	for (u64 size = 3 * MIB; size < 5 * MIB; size += PAGE_SIZE) {
		enum status st = start(size, file, 5000);

		assert_true(st == ST_OK || (st == ST_NOMEM && strstr(build.error, "not enough memory")));
		if (st == ST_OK)
			fits++, validate();
		for (u64 i = 0; st != ST_OK && i < size; i += 8)
			assert_int_equal(*(u64 *)(memory + i), 0);
	}
	assert_true(fits > 10 && fits < 300);
}

static void test_refused(void **state)
{
	static const struct {
		u64 at, value;
		unsigned bytes;
	} bad[] = {
		{4, 1, 1},				 // 32-bit
		{18, 3, 2},				 // i386
		{32, 0x7ff0, 8},			 // headers behind the file
		{54, 32, 2},				 // ... of another size
		{56, 0, 2},				 // none
		{56, 0xffff, 2},			 // too many
		{64 + 8, 0x6fff, 8},			 // a segment cut short
		{64 + 8, ~0ull, 8},			 // ... behind the file
		{64 + 24, 0x80000000, 8},		 // ... too far away
		{64 + 24, ~0ull, 8},			 // ... below the base
		{64 + 24, 0x200000, 8},			 // ... over the other
		{64 + 40, 0x4fff, 8},			 // ... larger in the file
		{64 + 2 * 56 + 32, 0x10000, 8},		 // notes cut short
		{64 + 2 * 56, 6, 4},			 // no notes
		{0x400 + 4, 0xffffffff, 4},		 // a note without end
		{0x400 + 16, 0xffff800000000000, 8},	 // ... in the hypervisor's slots
		{0x400 + 16, BASE + 1, 8},		 // ... within a page
		{0x418 + 16, BASE, 8},			 // entry in no segment
		{0x430 + 16, BASE + 0x102008, 8},	 // hypercalls within a page
		{0x430 + 16, BASE + 0x105000, 8},	 // ... in no segment
		{0x448 + 16, P2M + 8, 8},		 // list within a page
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		make_file(true, true);
		assert_true(pv_image_parse(&image, file, file_size));
		set(bad[i].at, bad[i].value, bad[i].bytes);
		if (pv_image_parse(&image, file, file_size))
			fail_msg("case %u is taken", i);
		assert_non_null(image.wrong);
	}
	static const u64 bases[] = {BASE + 1, BIT(47) - 512 * MIB + PAGE_SIZE, BIT(47), 0xffff7ffffffff000, 0xffff800000000000, 0xffff87fffffff000, ~0ull << 29};

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		base = bases[i];
		make_file(false, false);
		assert_false(pv_image_parse(&image, file, file_size));
		assert_non_null(strstr(image.wrong, "base address"));
	}
	base = 3 * P2M - 2 * MIB; // the list in the slot where the region ends
	make_file(true, false);
	set(0x448 + 16, 3 * P2M, 8);
	assert_true(pv_image_parse(&image, file, file_size));
	assert_int_equal(start(MEMORY_MAX, NULL, 0), ST_INVALID);
	base = BASE;
	static const u64 lists[] = {BASE + 0x400000, 0xffff800000000000, 0xffff87fffffff000, 0x7ffffff000, 0x900000000000};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		make_file(true, true);
		set(0x448 + 16, lists[i], 8);
		assert_true(pv_image_parse(&image, file, file_size));
		assert_int_equal(start(MEMORY_MAX, NULL, 0), ST_INVALID);
	}
	make_file(true, true);
	assert_true(pv_image_parse(&image, file, file_size));
	char line[MAX_GUEST_CMDLINE + 1];

	memset(line, 'a', sizeof(line));
	line[MAX_GUEST_CMDLINE] = 0;
	build.cmdline = line;
	assert_int_equal(pv_build(&build), ST_INVALID);
}

// Notes may be left out by a kernel that is mapped from 0 on and entered where the file says, but not by one that is for PVH.
static void test_few_notes(void **state)
{
	u64 first = 0x400;

	base = 0;
	for (unsigned variant = 0; variant < 3; variant++) {
		make_file(false, false);
		set(24, 0x100456, 8);
		notes_end = first;
		if (variant < 2)
			note(XEN_ELFNOTE_XEN_VERSION, 0, 8);
		if (variant == 1)
			note(XEN_ELFNOTE_PHYS32_ENTRY, 0x100000, 8);
		header(2, 4, first, 0, notes_end - first, 0);
		assert_int_equal(pv_image_parse(&image, file, file_size), variant == 0);
		if (variant)
			continue;
		assert_int_equal(image.entry, 0x100456);
		assert_int_equal(image.virt_base, 0);
		assert_int_equal(start(8 * MIB, NULL, 0), ST_OK);
		validate();
		check_region();
	}
	base = BASE;
}

// Whatever the file says: an error, or a start that is fit.
static void test_random(void **state)
{
	u64 seed = 88172645463325252ull, taken = 0;

	for (unsigned n = 0; n < 20000; n++) {
		make_file(n & 1, n & 2);
		for (unsigned k = 0; k <= n % 3; k++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			file[(seed >> 20) % (seed & 1 ? 64 + 3 * 56 : 0x500)] ^= (u8)(seed >> 50);
		}
		file_size = n % 5 ? 0x7000 : seed % 0x7000;
		if (!pv_image_parse(&image, file, file_size))
			continue;
		taken++;
		if (start(8 * MIB, NULL, 0) == ST_OK && n % 16 == 0)
			validate();
	}
	print_message("taken: %lu\n", (unsigned long)taken);
	assert_true(taken > 1000 && taken < 19000);
}

static int allocate(void **state)
{
	memory = malloc(MEMORY_MAX);
	frame = calloc(MEMORY_MAX / PAGE_SIZE, sizeof(*frame));
	return !memory || !frame;
}

static int release(void **state)
{
	free(memory);
	free(frame);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_few_notes),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, allocate, release);
}
