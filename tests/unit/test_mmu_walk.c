// SPDX-License-Identifier: MIT
// The guest walk against a plain model of SDM 3A 4.5 to 4.7: every combination of rights at every level, every kind of
// access and mode; not-present and reserved entries at each level; accessed and dirty bits; concurrent changes.
#include "core/mmu/shadow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGES 16
#define ROM_PAGE 14 // and 15 is MMIO
#define VA 0xffff812345678abcull

static _Alignas(4096) u64 memory[PAGES][512];
static u64 *race_entry; // changed by the P2M port when it looks up race_page for the race_count-th time
static ppn_t race_page;
static int race_count;
static u64 race_value;

static enum p2m_type fake_p2m(void *ctx, ppn_t ppn, mpn_t *mpn)
{
	*mpn = ppn;
	if (race_entry && ppn == race_page && race_count-- == 0) {
		*race_entry = race_value;
		race_entry = NULL;
	}
	return ppn < ROM_PAGE ? P2M_RAM : ppn == ROM_PAGE ? P2M_ROM : ppn == ROM_PAGE + 1 ? P2M_MMIO : P2M_NONE;
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
	struct shadow_config c = {.ports = &ports, .ppn_limit = PAGES, .max_tables = 32};

	c.memory_size = shadow_memory_needed(c.ppn_limit, c.max_tables);
	c.memory = malloc(c.memory_size);
	shadow = shadow_create(&c);
	return 0;
}

static int teardown(void **state)
{
	free(shadow);
	return 0;
}

static unsigned slot_of(u64 va, unsigned level)
{
	return va >> (3 + 9 * level) & 511;
}

// Level-4 table in page 4, level 3 in page 3 and so on; the leaf at `leaf` leads to address 0 of its size, or to page 9.
static void build(unsigned leaf, const u64 flags[5])
{
	memset(memory, 0, sizeof(memory));
	for (unsigned level = 4; level >= leaf; level--) {
		u64 e = flags[level];

		if (level > leaf)
			e |= (u64)(level - 1) << 12;
		else if (level == 1)
			e |= 9ull << 12;
		else
			e |= PTE_PS;
		memory[level][slot_of(VA, level)] = e;
	}
}

// What the machine answers: -1 for allowed, else the error code.
static int model(unsigned leaf, const u64 flags[5], const struct mmu_mode *m, u32 err)
{
	bool all_w = true, all_u = true, any_nx = false;
	int code = (err & PF_W ? 2 : 0) + (err & PF_U ? 4 : 0) + ((err & PF_I) && (m->nx || m->smep) ? 16 : 0);

	for (unsigned level = 4; level >= leaf; level--) {
		if (!(flags[level] & 1))
			return code;
		if (!m->nx && flags[level] >> 63)
			return code + 8 + 1;
		all_w = all_w && (flags[level] & 2);
		all_u = all_u && (flags[level] & 4);
		any_nx = any_nx || flags[level] >> 63;
	}
	code++;
	switch (err) {
	case 0: // supervisor read
		return all_u && m->smap && !m->ac ? code : -1;
	case PF_W:
		if (all_u && m->smap && !m->ac)
			return code;
		return all_w || !m->wp ? -1 : code;
	case PF_I:
		return any_nx || (all_u && m->smep) ? code : -1;
	case PF_U:
		return all_u ? -1 : code;
	case PF_U | PF_W:
		return all_u && all_w ? -1 : code;
	case PF_U | PF_I:
		return all_u && !any_nx ? -1 : code;
	}
	abort();
}

static const u32 accesses[] = {0, PF_W, PF_I, PF_U, PF_U | PF_W, PF_U | PF_I};

static struct mmu_mode mode_of(unsigned bits)
{
	return (struct mmu_mode){.wp = bits & 1,
				 .nx = bits & 2,
				 .smep = bits & 4,
				 .smap = bits & 8,
				 .ac = bits & 16,
				 .cr3 = 4 << 12 | 0x18};
}

static void check(unsigned leaf, const u64 flags[5], const struct mmu_mode *m, u32 err)
{
	struct guest_walk w;
	struct x86_fault f = {0};
	int want = model(leaf, flags, m, err);
	bool ok = guest_translate(shadow, m, VA, err, false, &w, &f);

	if (ok != (want < 0) || (!ok && (f.vector != VEC_PF || !f.has_error || f.error != (u32)want || f.cr2 != VA)))
		fail_msg("leaf %u access %x: model %d, walk %d error %x", leaf, err, want, ok, f.error);
	if (ok) {
		u64 size = 1ull << (3 + 9 * leaf);

		assert_int_equal(w.level, leaf);
		assert_true(w.gpa == (leaf == 1 ? 0x9000 + (VA & 0xfff) : (VA & (size - 1))));
		assert_true(w.pte_gpa == (u64)leaf * 4096 + slot_of(VA, leaf) * 8);
	}
}

// Rights: W, U and NX in every combination at every level.
static void test_rights(void **state)
{
	for (unsigned leaf = 1; leaf <= 3; leaf++) {
		for (unsigned combo = 0; combo < 1u << (3 * (5 - leaf)); combo++) {
			u64 flags[5] = {0};

			for (unsigned level = 4; level >= leaf; level--) {
				unsigned bits = combo >> (3 * (level - leaf)) & 7;

				flags[level] = PTE_P | (bits & 1 ? PTE_W : 0) | (bits & 2 ? PTE_U : 0) |
					       (bits & 4 ? PTE_NX : 0);
			}
			build(leaf, flags);
			for (unsigned mode = 0; mode < 32; mode++) {
				struct mmu_mode m = mode_of(mode);

				for (unsigned a = 0; a < ARRAY_SIZE(accesses); a++)
					check(leaf, flags, &m, accesses[a]);
			}
		}
	}
}

static void test_not_present(void **state)
{
	for (unsigned leaf = 1; leaf <= 3; leaf++)
		for (unsigned level = 4; level >= leaf; level--)
			for (unsigned mode = 0; mode < 32; mode++) {
				u64 flags[5] = {0, 7, 7, 7, 7};
				struct mmu_mode m = mode_of(mode);

				flags[level] = PTE_NX | PTE_W; // other bits do not matter then
				build(leaf, flags);
				for (unsigned a = 0; a < ARRAY_SIZE(accesses); a++)
					check(leaf, flags, &m, accesses[a]);
			}
}

static void expect_reserved(const struct mmu_mode *m, u32 err, bool reserved)
{
	struct guest_walk w;
	struct x86_fault f;
	bool ok = guest_translate(shadow, m, VA, err, true, &w, &f);

	assert_int_equal(ok, !reserved);
	if (!ok)
		assert_int_equal(f.error, err | PF_P | PF_RSVD);
}

static void test_reserved_bits(void **state)
{
	struct mmu_mode m = mode_of(0x3);

	for (unsigned leaf = 1; leaf <= 3; leaf++)
		for (unsigned level = 4; level >= leaf; level--)
			for (unsigned bit = 7; bit < 63; bit++) {
				u64 flags[5] = {0, 7, 7, 7, 7};
				bool reserved = bit >= 40 && bit < 52;

				build(leaf, flags);
				if (bit == 7 && level != 4)
					continue;
				if (bit == 7 || (level == leaf && leaf == 2 && bit >= 13 && bit < 21) ||
				    (level == leaf && leaf == 3 && bit >= 13 && bit < 30))
					reserved = true;
				else if (bit >= 12 && bit < 40)
					continue; // an address bit
				memory[level][slot_of(VA, level)] |= 1ull << bit;
				expect_reserved(&m, PF_W | PF_U, reserved);
			}
}

static void test_accessed_dirty(void **state)
{
	for (unsigned leaf = 1; leaf <= 3; leaf++)
		for (unsigned a = 0; a < ARRAY_SIZE(accesses); a++) {
			u64 flags[5] = {0, 7, 7, 7, 7};
			struct mmu_mode m = mode_of(0x3);
			struct guest_walk w;
			struct x86_fault f;

			build(leaf, flags);
			assert_true(guest_translate(shadow, &m, VA, accesses[a], false, &w, &f));
			assert_false(memory[4][slot_of(VA, 4)] & PTE_A);
			assert_true(guest_translate(shadow, &m, VA, accesses[a], true, &w, &f));
			for (unsigned level = 4; level >= leaf; level--) {
				u64 e = memory[level][slot_of(VA, level)];

				assert_true(e & PTE_A);
				assert_int_equal(!!(e & PTE_D), level == leaf && (accesses[a] & PF_W));
				assert_true(w.entry[level] == e);
			}
			assert_true(w.pte == w.entry[leaf]);
		}
}

// A refused access sets nothing.
static void test_refused_sets_nothing(void **state)
{
	u64 flags[5] = {0, 5, 7, 7, 7};
	struct mmu_mode m = mode_of(0x3);
	struct guest_walk w;
	struct x86_fault f;

	build(1, flags);
	assert_false(guest_translate(shadow, &m, VA, PF_W | PF_U, true, &w, &f));
	for (unsigned level = 4; level >= 1; level--)
		assert_false(memory[level][slot_of(VA, level)] & (PTE_A | PTE_D));
}

// A level-4 table that points to itself: every level of the walk reads the same entry.
static void test_self_reference(void **state)
{
	u64 va = 0xffff000000000000ull | 510ull << 39 | 510ull << 30 | 510ull << 21 | 510ull << 12;
	struct mmu_mode m = mode_of(0x3);
	struct guest_walk w;
	struct x86_fault f;

	memset(memory, 0, sizeof(memory));
	memory[4][510] = 4 << 12 | 3;
	assert_true(guest_translate(shadow, &m, va, PF_W, true, &w, &f));
	assert_true(memory[4][510] == (4 << 12 | 3 | PTE_A | PTE_D));
	assert_true(w.gpa == 4 << 12);
	for (unsigned level = 1; level <= 4; level++)
		assert_true(w.entry[level] == memory[4][510]);
}

// Tables in read-only memory keep their bits; where there is no memory they read as all ones.
static void test_odd_tables(void **state)
{
	u64 flags[5] = {0, 7, 7, 7, 7};
	struct mmu_mode m = mode_of(0x3);
	struct guest_walk w;
	struct x86_fault f;

	build(1, flags);
	memcpy(memory[ROM_PAGE], memory[1], 4096);
	memory[2][slot_of(VA, 2)] = (u64)ROM_PAGE << 12 | 7;
	assert_true(guest_translate(shadow, &m, VA, PF_W, true, &w, &f));
	assert_false(w.pte & (PTE_A | PTE_D));
	for (u64 page = ROM_PAGE + 1; page < ROM_PAGE + 3; page++) {
		memory[2][slot_of(VA, 2)] = page << 12 | 7;
		expect_reserved(&m, PF_W, true);
	}
	m.cr3 = 0xabcde000;
	expect_reserved(&m, 0, true);
}

// The leaf changes between its reading and the setting of its bits: the walk starts anew and obeys the new entry.
static void test_changed_meanwhile(void **state)
{
	u64 flags[5] = {0, 7, 7, 7, 7};
	struct mmu_mode m = mode_of(0x3);
	struct guest_walk w;
	struct x86_fault f;

	build(1, flags);
	race_entry = &memory[1][slot_of(VA, 1)];
	race_page = 4;
	race_count = 1; // the second look-up of the root's page: before its accessed bit is set
	race_value = 8 << 12 | PTE_P | PTE_U;
	assert_false(guest_translate(shadow, &m, VA, PF_U | PF_W, true, &w, &f));
	assert_int_equal(f.error, PF_P | PF_U | PF_W);
	assert_true(memory[1][slot_of(VA, 1)] == (8 << 12 | PTE_P | PTE_U));
}

static void test_not_canonical(void **state)
{
	struct mmu_mode m = mode_of(0x3);
	struct guest_walk w;
	struct x86_fault f;

	assert_false(guest_translate(shadow, &m, 1ull << 47, 0, true, &w, &f));
	assert_int_equal(f.vector, VEC_GP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_not_present),
		cmocka_unit_test(test_reserved_bits),
		cmocka_unit_test(test_accessed_dirty),
		cmocka_unit_test(test_refused_sets_nothing),
		cmocka_unit_test(test_self_reference),
		cmocka_unit_test(test_odd_tables),
		cmocka_unit_test(test_changed_meanwhile),
		cmocka_unit_test(test_not_canonical),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
