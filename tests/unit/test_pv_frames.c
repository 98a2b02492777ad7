// SPDX-License-Identifier: MIT
// Types and uses of frames: directed cases, and random operations with the audit and a walk of what the machine would reach after
// each. Budgets are small, so that validation and letting go stop and go on everywhere.
#include "core/pv/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/x86.h"

#define PAGES 48u
#define FOREIGN 7u // a machine frame that is nobody's
#define RW (PTE_P | PTE_W | PTE_U | PTE_A)
#define RO (PTE_P | PTE_U | PTE_A)

static u64 page[PAGES][512] __attribute__((aligned(4096)));
static struct pv_frame frame[PAGES];
static struct pv_count held[PAGES]; // by the test
static struct pv_frames f;
static u64 roots_changed, roots_gone;
static char said[200];

// Frames are not where pages are: 5 apart, from the top down.
static mpn_t mpn(ppn_t ppn)
{
	return 1000 - 5 * ppn;
}

static void *map(void *ctx, mpn_t m)
{
	assert_true(m <= 1000 && m > 1000 - 5 * PAGES && m % 5 == 0);
	return page[(1000 - m) / 5];
}

static ppn_t to_ppn(mpn_t m)
{
	return m <= 1000 && m > 1000 - 5 * PAGES && m % 5 == 0 ? (1000 - m) / 5 : PPN_NONE;
}

static const u32 *index_of(void *ctx, mpn_t m)
{
	static u32 index[BIT(PV_INDEX_SHIFT)];

	for (mpn_t i = 0; i < BIT(PV_INDEX_SHIFT); i++)
		index[i] = (u32)(to_ppn(i) + 1); // PPN_NONE is the last number
	return m < BIT(PV_INDEX_SHIFT) ? index : NULL;
}

static mpn_t to_mpn(void *ctx, ppn_t ppn)
{
	return mpn(ppn);
}

static void root_changed(void *ctx, ppn_t table, unsigned slot, u64 entry)
{
	assert_int_equal(page[table][slot], entry);
	roots_changed++;
}

static bool descriptors(void *ctx, const u64 *entry)
{
	return entry[0] == 0;
}

// A level-4 table without uses holds nothing to run on any more.
static void root_gone(void *ctx, ppn_t table)
{
	assert_int_equal(frame[table].uses, 0);
	roots_gone++;
}

// What the guest may store to without asking.
static bool window[PAGES];

static void plain(void *ctx, mpn_t m)
{
	window[to_ppn(m)] = true;
}

static void claimed(void *ctx, mpn_t m)
{
	window[to_ppn(m)] = false;
}

static const struct pv_ports ports = {.map = map,
				      .index = index_of,
				      .mpn = to_mpn,
				      .root_changed = root_changed,
				      .root_gone = root_gone,
				      .plain = plain,
				      .claimed = claimed,
				      .descriptors = descriptors};

static int start(void **state)
{
	memset(page, 0, sizeof(page));
	memset(frame, 0, sizeof(frame));
	memset(held, 0, sizeof(held));
	memset(window, 0, sizeof(window));
	roots_changed = roots_gone = 0;
	pv_frames_init(&f, &ports, NULL, frame, PAGES, 40);
	f.work = ~0u;
	return 0;
}

static void report(void *ctx, const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static unsigned wrong(void)
{
	struct pv_count count[PAGES];

	memcpy(count, held, sizeof(count));
	return pv_audit(&f, count, report, NULL);
}

static u64 to(ppn_t ppn, u64 flags)
{
	return mpn(ppn) << PAGE_SHIFT | flags;
}

// Pages 1 to 4 are tables of these levels, one under the other; 10 is data.
static void small_tree(void)
{
	page[4][0] = to(3, RW);
	page[3][1] = to(2, RW);
	page[2][2] = to(1, RW);
	page[1][3] = to(10, RW);
	page[1][4] = to(2, RO); // tables may be looked at
}

static void test_pin(void **state)
{
	small_tree();
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_OK);
	assert_int_equal(wrong(), 0);
	for (unsigned p = 1; p <= 4; p++)
		assert_int_equal(frame[p].type, p);
	assert_int_equal(frame[10].type, PV_WRITABLE);
	assert_int_equal(frame[2].refs, 2);
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_BUSY);
	assert_int_equal(pv_pin(&f, mpn(3), PV_L2), ST_BUSY);
	assert_int_equal(pv_pin(&f, mpn(2), PV_L2), ST_OK);
	assert_int_equal(roots_gone, 0);
	assert_int_equal(pv_unpin(&f, mpn(4)), ST_OK);
	assert_int_equal(roots_gone, 1);
	assert_true(pv_let_go(&f));
	assert_int_equal(wrong(), 0);
	assert_false(pv_in_use(&f, mpn(4)) || pv_in_use(&f, mpn(3)));
	assert_true(pv_in_use(&f, mpn(10)));
	assert_int_equal(pv_unpin(&f, mpn(4)), ST_BUSY);
	assert_int_equal(pv_unpin(&f, mpn(2)), ST_OK);
	assert_true(pv_let_go(&f));
	for (unsigned p = 0; p < PAGES; p++)
		assert_int_equal(frame[p].refs, 0);
	assert_int_equal(pv_pin(&f, FOREIGN, PV_L1), ST_RANGE);
	assert_int_equal(pv_unpin(&f, FOREIGN), ST_RANGE);
}

// What a table may not say, by itself or in the tree, when it is pinned and when it is stored.
static void refused(unsigned table, unsigned slot, u64 entry)
{
	start(NULL);
	small_tree();
	page[table][slot] = entry;
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_INVALID);
	assert_true(pv_let_go(&f));
	assert_int_equal(wrong(), 0);
	assert_int_equal(frame[10].refs, 0);
	page[table][slot] = 0;
	small_tree();
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_OK);
	assert_true(pv_store(&f, mpn(table), slot, entry, false) != ST_OK);
	assert_true(page[table][slot] != entry);
	assert_int_equal(wrong(), 0);
}

static void test_refused(void **state)
{
	for (unsigned p = 1; p <= 4; p++)
		refused(1, 9, to(p, RW)); // a table, writable: also the one that says so
	refused(4, 9, to(4, RW)); // linear page tables
	refused(3, 9, to(3, RO));
	refused(2, 9, to(2, RO));
	refused(2, 9, to(3, RO));
	refused(4, 9, to(2, RW));
	refused(4, 9, to(10, RW)); // of another type
	refused(1, 9, FOREIGN << PAGE_SHIFT | RO);
	refused(2, 9, FOREIGN << PAGE_SHIFT | RO);
	refused(2, 9, to(10, RW | PTE_PS));
	refused(3, 9, to(10, RW | PTE_PS));
	refused(1, 9, to(10, RW) | BIT(45));
	refused(4, PV_FIRST_OURS, to(3, RW));
	refused(4, PV_LAST_OURS, to(3, RW));
}

static void test_store(void **state)
{
	small_tree();
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_OK);
	assert_int_equal(pv_store(&f, mpn(1), 3, to(10, RO | PTE_G), false), ST_OK);
	assert_int_equal(page[1][3], to(10, RO)); // G is taken off
	assert_int_equal(frame[10].uses, 0);
	assert_int_equal(frame[10].refs, 1);
	page[1][3] |= PTE_D;
	assert_int_equal(pv_store(&f, mpn(1), 3, to(10, RW & ~PTE_A), true), ST_OK);
	assert_int_equal(page[1][3], to(10, RW | PTE_D));
	assert_int_equal(pv_store(&f, mpn(1), 3, to(11, RO & ~PTE_A), false), ST_OK);
	assert_int_equal(page[1][3], to(11, RO & ~PTE_A));
	assert_false(pv_in_use(&f, mpn(10)));
	assert_int_equal(pv_store(&f, mpn(1), 3, 0x5a5a5a5a5a5a5a5a & ~PTE_P, false), ST_OK); // absent ones say what they like
	assert_int_equal(wrong(), 0);
	assert_int_equal(pv_store(&f, mpn(4), 300, to(3, RW), false), ST_OK);
	assert_int_equal(pv_store(&f, mpn(4), 300, 0, false), ST_OK);
	assert_int_equal(roots_changed, 2);
	assert_int_equal(pv_store(&f, mpn(20), 511, 77, false), ST_OK); // no table
	assert_int_equal(page[20][511], 77);
	assert_int_equal(pv_store(&f, FOREIGN, 0, 1, false), ST_RANGE);
	assert_int_equal(wrong(), 0);
}

static void test_descriptors(void **state)
{
	page[21][0] = 1;
	assert_int_equal(pv_get_type(&f, mpn(21), PV_DESCRIPTORS), ST_INVALID);
	assert_int_equal(pv_get_type(&f, mpn(20), PV_DESCRIPTORS), ST_OK);
	assert_int_equal(pv_get_type(&f, mpn(20), PV_WRITABLE), ST_BUSY);
	assert_int_equal(pv_get_type(&f, mpn(20), PV_L1), ST_BUSY);
	assert_int_equal(pv_store(&f, mpn(20), 1, 1, false), ST_BUSY);
	page[1][0] = to(20, RW);
	assert_int_equal(pv_pin(&f, mpn(1), PV_L1), ST_INVALID);
	page[1][0] = to(20, RO);
	assert_int_equal(pv_pin(&f, mpn(1), PV_L1), ST_OK);
	pv_put_type(&f, mpn(20));
	assert_int_equal(pv_store(&f, mpn(20), 1, 1, false), ST_OK);
	assert_int_equal(wrong(), 0);
}

// A table that is let go bit by bit cannot be written, nor be another, before it holds nothing.
static void test_budget(void **state)
{
	unsigned calls = 0;
	enum status st;

	small_tree();
	do {
		f.work = 100;
		st = pv_pin(&f, mpn(4), PV_L4);
		assert_int_equal(wrong(), 0);
		calls++;
	} while (st == ST_AGAIN);
	assert_int_equal(st, ST_OK);
	assert_true(calls > 4 * 512 / 100 && calls < 4 * 512 / 100 + 5);
	assert_int_equal(pv_unpin(&f, mpn(4)), ST_OK);
	f.work = 10;
	assert_false(pv_let_go(&f));
	assert_int_equal(wrong(), 0);
	f.work = 10;
	assert_int_equal(pv_store(&f, mpn(4), 0, to(4, RW), false), ST_AGAIN);
	assert_int_equal(pv_get_type(&f, mpn(4), PV_WRITABLE), ST_AGAIN);
	assert_int_equal(page[4][0], to(3, RW));
	f.work = ~0u;
	assert_int_equal(pv_get_type(&f, mpn(4), PV_WRITABLE), ST_OK);
	assert_true(pv_let_go(&f));
	held[4] = (struct pv_count){1, 1};
	assert_int_equal(wrong(), 0);
}

static void test_counts_are_bounded(void **state)
{
	frame[10].refs = ~0u;
	assert_int_equal(pv_get(&f, mpn(10)), ST_BUSY);
	assert_int_equal(pv_get_type(&f, mpn(10), PV_WRITABLE), ST_BUSY);
}

// The audit and the walk below can fail.
static void test_planted(void **state)
{
	small_tree();
	assert_int_equal(pv_pin(&f, mpn(4), PV_L4), ST_OK);
	assert_int_equal(wrong(), 0);
	page[1][4] |= PTE_W;
	assert_true(wrong() > 0);
	page[1][4] &= ~PTE_W;
	frame[10].refs++;
	assert_true(wrong() > 0);
	frame[10].refs--;
	page[2][2] = 0;
	assert_true(wrong() > 0);
	page[2][2] = to(1, RW);
	page[3][300] = FOREIGN << PAGE_SHIFT | RO;
	assert_true(wrong() > 0);
	page[3][300] = 0;
	frame[20].flags |= PV_WAITING;
	assert_true(wrong() > 0);
	frame[20].flags = 0;
	assert_int_equal(wrong(), 0);
}

// ---- random

static u64 seed;

static u64 below(u64 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % n;
}

static u64 random_entry(void)
{
	u64 flags = below(8) ? (below(3) ? RW : RO) : below(4096);

	if (!below(6))
		return 0;
	if (!below(40))
		return FOREIGN << PAGE_SHIFT | flags;
	return to(below(PAGES), flags) | (below(30) ? 0 : PTE_NX) | (below(100) ? 0 : BIT(44));
}

static unsigned random_slot(void)
{
	static const unsigned slots[] = {0, 1, 2, 3, 255, 256, 271, 272, 511};

	return slots[below(ARRAY_SIZE(slots))];
}

// What the machine would do with a table in use: every store reaches a page that is writable, and nothing that is not the guest's.
static void reach(ppn_t table, unsigned level)
{
	for (unsigned slot = 0; slot < 512; slot++) {
		u64 e = page[table][slot];
		ppn_t p = to_ppn((e & PTE_ADDR) >> PAGE_SHIFT);

		if (!(e & PTE_P))
			continue;
		assert_true(p < PAGES);
		if (level > 1)
			reach(p, level - 1);
		else if (e & PTE_W)
			assert_true(frame[p].uses && frame[p].type == PV_WRITABLE);
	}
}

// A page that the guest could write: by a mapping, or by one that it had before.
static bool writable(ppn_t p)
{
	return frame[p].uses ? frame[p].type == PV_WRITABLE : !frame[p].done;
}

static void operation(u64 *done)
{
	ppn_t p = below(PAGES);
	enum pv_type type = (enum pv_type)(PV_L1 + below(6));
	enum status st;

	switch (below(8)) {
	case 0:
		st = pv_pin(&f, mpn(p), (enum pv_type)(PV_L1 + below(4)));
		break;
	case 1:
		st = pv_unpin(&f, mpn(p));
		break;
	case 2:
		st = pv_get_type(&f, mpn(p), type);
		if (st == ST_OK)
			held[p].refs++, held[p].uses++;
		break;
	case 3:
		st = ST_BUSY;
		if (held[p].uses) {
			pv_put_type(&f, mpn(p));
			held[p].refs--, held[p].uses--;
			st = ST_OK;
		}
		break;
	case 4:
		st = pv_get(&f, mpn(p));
		held[p].refs++;
		break;
	case 5:
		st = ST_BUSY;
		if (held[p].refs > held[p].uses) {
			pv_put(&f, mpn(p));
			held[p].refs--;
			st = ST_OK;
		}
		break;
	case 6:
		st = ST_BUSY;
		if (window[p] || writable(p)) { // by the guest itself
			page[p][random_slot()] = random_entry();
			st = ST_OK;
		}
		break;
	default:
		st = pv_store(&f, mpn(p), random_slot(), random_entry(), below(2));
	}
	done[st]++;
}

static void test_random(void **state)
{
	for (u64 s = 1; s <= 20; s++) {
		u64 done[ST_AGAIN + 1] = {0};

		start(NULL);
		seed = s * 0x9e3779b97f4a7c15ull;
		for (unsigned i = 0; i < 20000; i++) {
			f.work = below(4) ? (unsigned)below(3000) : (unsigned)below(30);
			operation(done);
			if (!below(3)) {
				f.work = (unsigned)below(2000);
				if (!pv_let_go(&f))
					done[ST_AGAIN]++;
			}
			if (i % 8 == 0 && wrong())
				fail_msg("seed %lu, step %u: %s", (unsigned long)s, i, said);
			for (ppn_t p = 0; p < PAGES; p++)
				assert_true(!window[p] || (writable(p) && pv_is_plain(&f, mpn(p))));
			for (ppn_t p = 0; i % 8 == 0 && p < PAGES; p++)
				if (frame[p].uses && frame[p].type <= PV_L4)
					reach(p, frame[p].type);
		}
		for (ppn_t p = 0; p < PAGES; p++) {
			if (frame[p].flags & PV_PINNED)
				assert_int_equal(pv_unpin(&f, mpn(p)), ST_OK);
			for (; held[p].uses; held[p].uses--, held[p].refs--)
				pv_put_type(&f, mpn(p));
			for (; held[p].refs; held[p].refs--)
				pv_put(&f, mpn(p));
		}
		f.work = ~0u;
		assert_true(pv_let_go(&f));
		// What was given up half-way goes when it is wanted otherwise.
		for (ppn_t p = 0; p < PAGES; p++)
			if (frame[p].done)
				assert_int_equal(pv_store(&f, mpn(p), 0, 0, false), ST_OK);
		assert_true(pv_let_go(&f));
		for (ppn_t p = 0; p < PAGES; p++)
			assert_true(!frame[p].refs && !frame[p].uses && !frame[p].done);
		if (s == 1)
			print_message("seed 1: ok %lu, busy %lu, invalid %lu, range %lu, again %lu\n", (unsigned long)done[ST_OK],
				      (unsigned long)done[ST_BUSY], (unsigned long)done[ST_INVALID], (unsigned long)done[ST_RANGE],
				      (unsigned long)done[ST_AGAIN]);
		assert_true(done[ST_OK] > 1000 && done[ST_BUSY] > 100 && done[ST_INVALID] > 100 && done[ST_AGAIN] > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pin, start),	 cmocka_unit_test_setup(test_refused, start),
		cmocka_unit_test_setup(test_store, start),	 cmocka_unit_test_setup(test_descriptors, start),
		cmocka_unit_test_setup(test_budget, start),	 cmocka_unit_test_setup(test_counts_are_bounded, start),
		cmocka_unit_test_setup(test_planted, start),	 cmocka_unit_test_setup(test_random, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
