// SPDX-License-Identifier: MIT
// The walk of guests that page without long mode against a plain model of SDM 3A 4.3 to 4.7: all combinations of rights at both
// levels for every access and mode, two levels and PAE, large pages, reserved bits, accessed and dirty bits, changes under the walk.
#include "core/mmu/shadow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGES 16
#define VA 0xc0403abcu // directory 769, table 3; PAE: 3, 2, 3
#define PSE36_BIT(n) BIT((n)-32 + 13)

static _Alignas(4096) u8 memory[PAGES][4096];
static u32 *race_entry;
static ppn_t race_page;
static int race_count;

static enum p2m_type fake_p2m(void *ctx, ppn_t ppn, mpn_t *mpn)
{
	*mpn = ppn;
	if (race_entry && ppn == race_page && race_count-- == 0) {
		*race_entry &= ~PTE_P;
		race_entry = NULL;
	}
	return ppn < PAGES ? P2M_RAM : P2M_NONE;
}

static void *fake_map(void *ctx, mpn_t mpn)
{
	assert_true(mpn < PAGES);
	return memory[mpn];
}

static const struct shadow_ports ports = {.p2m = fake_p2m, .map = fake_map};
static struct shadow *shadow;

static int setup(void **state)
{
	struct shadow_config c = {.ports = &ports, .ppn_limit = PAGES, .max_tables = 32, .phys_bits = 40};

	c.memory_size = shadow_memory_needed(c.ppn_limit, c.max_tables);
	c.memory = malloc(c.memory_size);
	shadow = shadow_create(&c);
	memset(memory, 0, sizeof(memory));
	race_entry = NULL;
	return 0;
}

static int teardown(void **state)
{
	free(shadow);
	return 0;
}

// Top of PAE in page 3, directory in page 2, table in page 1, the page is 9; a large page is at 0.
static u8 *place(bool pae, unsigned level)
{
	if (pae)
		return memory[level] + 8 * (level == 3 ? 3 : level == 2 ? 2 : 3);
	return memory[level] + 4 * (level == 2 ? 769 : 3);
}

static void put(bool pae, unsigned level, u64 v)
{
	memcpy(place(pae, level), &v, pae ? 8 : 4);
}

static u64 get(bool pae, unsigned level)
{
	u64 v = 0;

	memcpy(&v, place(pae, level), pae ? 8 : 4);
	return v;
}

static void build(bool pae, bool large, u64 directory, u64 table)
{
	if (pae)
		put(true, 3, 2 << 12 | PTE_P);
	put(pae, 2, directory | (large ? PTE_PS : 1 << 12));
	put(pae, 1, table | 9 << 12);
}

static struct mmu_mode mode_of(bool pae, unsigned bits)
{
	return (struct mmu_mode){.paging = pae ? PAGING_PAE : PAGING_32,
				 .pse = true,
				 .wp = bits & 1,
				 .nx = pae && (bits & 2),
				 .smep = bits & 4,
				 .smap = bits & 8,
				 .ac = bits & 16,
				 .cr3 = (pae ? 3 : 2) << 12};
}

// -1 for allowed, else the error code.
static int model(const u64 flags[2], unsigned levels, const struct mmu_mode *m, u32 err)
{
	bool w = true, u = true, nx = false, allowed;
	int code = (int)(err & (PF_W | PF_U)) | ((err & PF_I) && (m->nx || m->smep) ? 16 : 0);

	for (unsigned i = 0; i < levels; i++) {
		if (!(flags[i] & PTE_P))
			return code;
		if (flags[i] >> 63 && !m->nx)
			return code | 9;
		w = w && (flags[i] & PTE_W);
		u = u && (flags[i] & PTE_U);
		nx = nx || flags[i] >> 63;
	}
	if (err & PF_U)
		allowed = u && (!(err & PF_W) || w) && (!(err & PF_I) || !nx);
	else if (err & PF_I)
		allowed = !nx && !(u && m->smep);
	else
		allowed = !(u && m->smap && !m->ac) && (!(err & PF_W) || w || !m->wp);
	return allowed ? -1 : code | 1;
}

static u64 rights(unsigned bits)
{
	return (bits & 7) | (u64)(bits >> 3 & 1) << 63;
}

static void one(bool pae, bool large, unsigned bits, unsigned mode)
{
	static const u32 accesses[] = {0, PF_W, PF_I, PF_U, PF_U | PF_W, PF_U | PF_I};
	u64 flags[2] = {rights(bits & 15), rights(bits >> 4)};
	struct mmu_mode m = mode_of(pae, mode);

	for (unsigned i = 0; i < 6; i++) {
		struct guest_walk w;
		struct x86_fault f;
		int expected = model(flags, large ? 1 : 2, &m, accesses[i]);
		u64 want_a = expected < 0 ? PTE_A : 0, want_d = expected < 0 && (accesses[i] & PF_W) ? PTE_D : 0;

		build(pae, large, flags[0], flags[1]);
		assert_int_equal(guest_translate(shadow, &m, VA, accesses[i], true, &w, &f), expected < 0);
		if (expected < 0) {
			assert_int_equal(w.gpa, large ? (pae ? VA & 0x1fffff : VA & 0x3fffff) : 0x9abc);
			assert_int_equal(w.level, large ? 2 : 1);
		} else {
			assert_int_equal(f.vector, VEC_PF);
			assert_int_equal(f.error, expected);
			assert_int_equal(f.cr2, VA);
		}
		assert_int_equal(get(pae, 2) & (PTE_A | PTE_D), want_a | (large ? want_d : 0));
		assert_int_equal(get(pae, 1) & (PTE_A | PTE_D), large ? 0 : want_a | want_d);
		if (pae)
			assert_int_equal(get(true, 3), 2 << 12 | PTE_P);
	}
}

static void test_rights(void **state)
{
	for (unsigned mode = 0; mode < 32; mode++)
		for (unsigned bits = 0; bits < 256; bits++)
			for (unsigned large = 0; large < 2; large++) {
				if (!(bits & 0x88)) // no NX with two levels
					one(false, large, bits, mode);
				one(true, large, bits, mode);
			}
}

static int walk(bool pae, struct mmu_mode *m, struct guest_walk *w)
{
	struct x86_fault f = {0};

	return guest_translate(shadow, m, VA, 0, true, w, &f) ? -1 : (int)f.error;
}

static void test_reserved(void **state)
{
	struct mmu_mode m = mode_of(false, 3), p = mode_of(true, 3);
	struct guest_walk w;

	build(false, true, 7 | PSE36_BIT(33), 7); // bits 32 to 39 of the address
	assert_int_equal(walk(false, &m, &w), -1);
	assert_int_equal(w.gpa, (2ull << 32) | (VA & 0x3fffff));
	build(false, true, 7 | BIT(21), 7);
	assert_int_equal(walk(false, &m, &w), PF_P | PF_RSVD);
	m.pse = false; // PS is ignored then
	build(false, false, 7 | PTE_PS, 7);
	assert_int_equal(walk(false, &m, &w), -1);
	assert_int_equal(w.gpa, 0x9abc);
	for (unsigned bit = 40; bit < 63; bit++) {
		build(true, false, 7, 7 | BIT(bit));
		assert_int_equal(walk(true, &p, &w), PF_P | PF_RSVD);
		build(true, false, 7 | BIT(bit), 7);
		assert_int_equal(walk(true, &p, &w), PF_P | PF_RSVD);
	}
	for (unsigned bit = 13; bit < 21; bit++) {
		build(true, true, 7 | BIT(bit), 7);
		assert_int_equal(walk(true, &p, &w), PF_P | PF_RSVD);
	}
	build(true, false, 7, 7);
	put(true, 3, 0);
	assert_int_equal(walk(true, &p, &w), 0);
	put(true, 3, 2 << 12 | PTE_P | PTE_NX); // reserved in the top level whatever EFER says
	assert_int_equal(walk(true, &p, &w), PF_P | PF_RSVD);
}

static void test_no_memory(void **state)
{
	struct mmu_mode m = mode_of(false, 0), p = mode_of(true, 0), off = {.paging = PAGING_OFF};
	struct guest_walk w;
	struct x86_fault f;

	m.cr3 = p.cr3 = PAGES << 12;
	assert_false(guest_translate(shadow, &p, VA, 0, true, &w, &f));
	assert_int_equal(f.error, PF_P | PF_RSVD);
	build(false, false, 7, 7);
	assert_true(guest_translate(shadow, &off, 0x1ffffffffull, PF_U | PF_W, true, &w, &f));
	assert_int_equal(w.gpa, 0xffffffff);
	m.cr3 = 2 << 12;
	assert_true(guest_translate(shadow, &m, 0x500000000ull | VA, 0, false, &w, &f)); // addresses have 32 bits
	assert_int_equal(w.gpa, 0x9abc);
	assert_int_equal(get(false, 1) & PTE_A, 0); // set_ad was false
}

// An entry is taken away between its reading and the setting of A.
static void test_race(void **state)
{
	struct mmu_mode m = mode_of(false, 0);
	struct guest_walk w;
	struct x86_fault f;

	build(false, false, 7, 7);
	race_entry = (u32 *)place(false, 1);
	race_page = 1;
	race_count = 1;
	assert_false(guest_translate(shadow, &m, VA, PF_W, true, &w, &f));
	assert_int_equal(f.error, PF_W);
	assert_int_equal(get(false, 1), 9 << 12 | 6);
}

// A directory that is its own table.
static void test_recursive(void **state)
{
	struct mmu_mode m = mode_of(false, 0);
	struct guest_walk w;
	struct x86_fault f;

	put(false, 2, 2 << 12 | 3);
	assert_true(guest_translate(shadow, &m, 769u << 22 | 769 << 12 | 0x10, PF_W, true, &w, &f));
	assert_int_equal(w.gpa, 0x2010);
	assert_int_equal(get(false, 2), 2 << 12 | 3 | PTE_A | PTE_D);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rights, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recursive, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
