// SPDX-License-Identifier: MIT
// Shadow paging: directed tests of what the run loop relies on, then the randomised exerciser (mmu_exercise.h) with audit,
// with eviction, with failing allocation, and with planted faults that it must notice.
#include "core/mmu/shadow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/mmu_exercise.h"

static u64 xorshift(void *ctx)
{
	u64 *s = ctx;

	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull >> 3;
}

// Runs until something fails; audits every step at first, later every 32nd.
static struct exercise *run(u64 *seed, u32 max_tables, u32 plant, unsigned steps)
{
	struct exercise *x = ex_create(xorshift, seed, max_tables);

	x->shadow->plant = plant;
	for (unsigned i = 0; i < steps && !x->failures; i++) {
		ex_step(x);
		if (i < 2000 || i % 32 == 0)
			ex_audit(x);
	}
	return x;
}

static void exercise(u64 seed, u32 max_tables, unsigned steps)
{
	u64 state = seed;
	struct exercise *x = run(&state, max_tables, 0, steps);
	const struct shadow_stats *st = shadow_get_stats(x->shadow);

	if (x->failures)
		fail_msg("seed %lu, step %lu: %s", (unsigned long)seed, (unsigned long)x->steps, x->first);
	print_message(
		"seed %lu: %lu accesses (%lu TLB hits), %lu hidden, %lu guest, %lu emulated, %lu writes, %lu evictions, "
		"%lu unshadowed, %lu prefetched, %lu guesses\n",
		(unsigned long)seed, (unsigned long)x->accesses, (unsigned long)x->hits,
		(unsigned long)st->hidden_faults, (unsigned long)st->guest_faults, (unsigned long)st->emulated,
		(unsigned long)st->pte_writes, (unsigned long)st->evictions, (unsigned long)st->unshadowed,
		(unsigned long)st->prefetched, (unsigned long)st->guesses);
	assert_true(st->hidden_faults > steps / 100 && st->guest_faults && st->emulated && st->pte_writes);
	assert_true(ex_destroy(x));
}

static void test_random(void **state)
{
	exercise(1, 200, 50000);
}

static void test_random_eviction(void **state)
{
	exercise(2, MIN_TABLES, 40000);
	exercise(3, 64, 40000);
}

static void test_random_short(void **state)
{
	for (u64 seed = 10; seed < 30; seed++)
		exercise(seed, seed & 1 ? 128 : 40, 1000);
}

static void planted(u32 plant, unsigned steps, unsigned least)
{
	unsigned noticed = 0;

	for (u64 seed = 100; seed < 105; seed++) {
		u64 state = seed;
		struct exercise *x = run(&state, 200, plant, steps);

		noticed += !!x->failures;
		x->shadow->plant = 0;
		free(x->memory);
		free(x->guest);
		free(x->pool);
		free(x);
	}
	print_message("planted %u: noticed %u times of 5\n", plant, noticed);
	assert_true(noticed >= least);
}

static void test_planted(void **state)
{
	planted(PLANT_SKIP_PROTECT, 5000, 5);
	planted(PLANT_STALE_ENTRY, 5000, 5);
	planted(PLANT_IGNORE_DIRTY, 5000, 5);
	planted(PLANT_NO_FLUSH, 20000, 5);
	planted(PLANT_READ_ONLY, 5000, 5);
}

// Directed tests: one small guest laid out as Linux does. User code and data at USER, a direct map of the first 2 MiB by a
// large page at DIRECT, both with A and D set; the kernel half of both processes is the same level-3 table.
#define USER 0x400000ull
#define DIRECT 0xffff888000000000ull
#define P_ROOT 100u
#define P_L3 101u
#define P_L2 102u
#define P_L1 103u
#define P_KERNEL_L3 104u
#define P_KERNEL_L2 105u
#define P_ROOT2 106u
#define P_DATA 200u
#define FULL (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define KERNEL (PTE_P | PTE_W | PTE_A | PTE_D)

static u64 seed;

static void put(struct exercise *x, ppn_t table, u64 va, unsigned level, u64 entry)
{
	ex_page(x, table)[va_slot(va, level)] = entry;
}

// The store of a guest's kernel to one of its page tables.
static void set_pte(struct exercise *x, ppn_t table, unsigned slot, u64 entry)
{
	ex_store(x, table << 12 | slot * 8, &entry, 8);
}

static struct exercise *linux_guest_of(u32 max_tables)
{
	struct exercise *x;

	seed = 7;
	x = ex_create(xorshift, &seed, max_tables);
	for (unsigned p = 0; p < 2; p++) {
		put(x, p ? P_ROOT2 : P_ROOT, USER, 4, (p ? P_L3 + 10 : P_L3) << 12 | FULL);
		put(x, p ? P_ROOT2 : P_ROOT, DIRECT, 4, P_KERNEL_L3 << 12 | KERNEL);
	}
	put(x, P_L3, USER, 3, P_L2 << 12 | FULL);
	put(x, P_L2, USER, 2, P_L1 << 12 | FULL);
	for (unsigned i = 0; i < 32; i++)
		put(x, P_L1, USER + i * PAGE_SIZE, 1, (P_DATA + i) << 12 | FULL);
	put(x, P_KERNEL_L3, DIRECT, 3, P_KERNEL_L2 << 12 | KERNEL);
	put(x, P_KERNEL_L2, DIRECT, 2, KERNEL | PTE_PS);
	ex_load(x, P_ROOT << 12);
	return x;
}

static struct exercise *linux_guest(void)
{
	return linux_guest_of(64);
}

static enum shadow_result fault(struct exercise *x, u64 va, u32 err)
{
	struct guest_walk w;
	struct x86_fault f;

	return shadow_fault(x->shadow, &x->mode, va, err, &w, &f);
}

static bool reaches(struct exercise *x, u64 va, u32 err)
{
	u64 e = ex_walk_shadow(x, va);

	return e && ex_rights_allow(x, e, err);
}

static void finish(struct exercise *x)
{
	ex_audit(x);
	if (x->failures)
		fail_msg("%s", x->first);
	assert_true(ex_destroy(x));
}

static void test_prefetch(void **state)
{
	struct exercise *x = linux_guest();

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	for (unsigned i = 0; i < 32; i++)
		assert_true(reaches(x, USER + i * PAGE_SIZE, PF_U | PF_W));
	assert_false(reaches(x, USER + 32 * PAGE_SIZE, PF_U));
	// Page tables inside the large page are not writable by it.
	assert_int_equal(fault(x, DIRECT + P_DATA * PAGE_SIZE, PF_W), SHADOW_FIXED);
	assert_int_equal(fault(x, DIRECT, 0), SHADOW_FIXED);
	assert_true(reaches(x, DIRECT + P_L1 * PAGE_SIZE, 0));
	assert_false(reaches(x, DIRECT + P_L1 * PAGE_SIZE, PF_W));
	assert_int_equal(fault(x, DIRECT + P_L1 * PAGE_SIZE, PF_W), SHADOW_EMULATE);
	finish(x);
}

// A clean page is mapped read-only until its first write, which sets D; neighbours follow their own bits.
static void test_dirty_tracking(void **state)
{
	struct exercise *x = linux_guest();

	put(x, P_L1, USER, 1, P_DATA << 12 | PTE_P | PTE_W | PTE_U);
	put(x, P_L1, USER + PAGE_SIZE, 1, (P_DATA + 1) << 12 | PTE_P | PTE_W | PTE_U);
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_true(reaches(x, USER, PF_U));
	assert_false(reaches(x, USER, PF_U | PF_W));
	assert_false(reaches(x, USER + PAGE_SIZE, PF_U)); // A is clear
	assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_FIXED);
	assert_true(reaches(x, USER, PF_U | PF_W));
	assert_true(ex_page(x, P_L1)[va_slot(USER, 1)] & PTE_D);
	finish(x);
}

// Demand paging: the guest's fault, its store of the entry, and no third crossing.
static void test_fill_on_write(void **state)
{
	struct exercise *x = linux_guest();
	u64 hidden;

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	hidden = shadow_get_stats(x->shadow)->hidden_faults;
	for (unsigned i = 40; i < 80; i++) {
		assert_int_equal(fault(x, USER + i * PAGE_SIZE, PF_U | PF_W), SHADOW_INJECT);
		set_pte(x, P_L1, va_slot(USER, 1) + i, (P_DATA + i) << 12 | FULL);
		assert_true(reaches(x, USER + i * PAGE_SIZE, PF_U | PF_W));
	}
	assert_true(shadow_get_stats(x->shadow)->hidden_faults == hidden);
	finish(x);
}

// fork() takes the write right entry by entry: after a few writes the table is let go, and its frame is writable at once.
static void test_flood_unshadows(void **state)
{
	struct exercise *x = linux_guest();
	unsigned i;

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_int_equal(fault(x, DIRECT + P_L1 * PAGE_SIZE, 0), SHADOW_FIXED);
	for (i = 0; i < 32 && shadow_is_table(x->shadow, P_L1); i++)
		set_pte(x, P_L1, va_slot(USER, 1) + i, (P_DATA + i) << 12 | (FULL & ~PTE_W));
	assert_in_range(i, 2, 16);
	assert_true(reaches(x, DIRECT + P_L1 * PAGE_SIZE, PF_W));
	assert_false(reaches(x, USER, PF_U));
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_false(reaches(x, USER, PF_U | PF_W));
	assert_false(reaches(x, DIRECT + P_L1 * PAGE_SIZE, PF_W));
	finish(x);
}

// The guest's kernel removes an entry, by the instruction at `site`.
static void remove_at(struct exercise *x, unsigned slot, u64 site)
{
	shadow_hint(x->shadow, 0, site);
	set_pte(x, P_L1, va_slot(USER, 1) + slot, 0);
}

// All that a test of rows needs mapped, after rows were removed by `site`: how many until the first removal lets the table go.
static unsigned learn(struct exercise *x, u64 site)
{
	unsigned rows;

	for (rows = 0; rows < 8; rows++) {
		for (unsigned i = 0; i < 4; i++)
			put(x, P_L1, USER + i * PAGE_SIZE, 1, (P_DATA + i) << 12 | FULL);
		shadow_flush_all(x->shadow);
		ex_load(x, P_ROOT << 12);
		assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
		remove_at(x, 0, site);
		if (!shadow_is_table(x->shadow, P_L1))
			break;
		remove_at(x, 1, site);
		assert_true(shadow_is_table(x->shadow, P_L1));
	}
	return rows;
}

// What was a row several times is taken for one at its first store, by that instruction alone, and no more once that was wrong.
static void test_row_of_removals(void **state)
{
	struct exercise *x = linux_guest();

	assert_in_range(learn(x, 7), 2, 6);
	put(x, P_L1, USER + PAGE_SIZE, 1, 0); // the row goes on, unseen
	for (unsigned right = 0; right < 2; right++) {
		assert_int_equal(fault(x, USER + 3 * PAGE_SIZE, PF_U), SHADOW_FIXED);
		remove_at(x, 3, 9); // another instruction
		assert_true(shadow_is_table(x->shadow, P_L1));
		shadow_used(x->shadow);
		remove_at(x, 2, 7);
		assert_false(shadow_is_table(x->shadow, P_L1));
		put(x, P_L1, USER + 2 * PAGE_SIZE, 1, (P_DATA + 2) << 12 | FULL);
		put(x, P_L1, USER + 3 * PAGE_SIZE, 1, (P_DATA + 3) << 12 | FULL);
		put(x, P_L1, USER + (4 + right) * PAGE_SIZE, 1, 0);
	}
	// Alone: the entry behind it is still there when the table comes back.
	for (unsigned wrong = 0; wrong < 3; wrong++) {
		assert_int_equal(fault(x, USER + 10 * PAGE_SIZE, PF_U), SHADOW_FIXED);
		remove_at(x, 10, 7);
		assert_int_equal(shadow_is_table(x->shadow, P_L1), wrong > 0);
		set_pte(x, P_L1, va_slot(USER, 1) + 10, (P_DATA + 10) << 12 | FULL);
	}
	finish(x);
}

static void test_rows_off(void **state)
{
	struct exercise *x = linux_guest();
	struct shadow_knobs k = shadow_get_knobs(x->shadow);

	k.rows = false;
	shadow_tune(x->shadow, &k);
	assert_int_equal(learn(x, 7), 8);
	finish(x);
}

// A file's pages around a fault: the table is let go at the first that is not the fault's own.
static void test_row_of_fills(void **state)
{
	struct exercise *x = linux_guest();

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_int_equal(fault(x, USER + 40 * PAGE_SIZE, PF_U), SHADOW_INJECT);
	shadow_hint(x->shadow, USER + 40 * PAGE_SIZE, 1);
	set_pte(x, P_L1, va_slot(USER, 1) + 40, (P_DATA + 40) << 12 | FULL);
	assert_true(shadow_is_table(x->shadow, P_L1));
	shadow_hint(x->shadow, USER + BIT(21), 1); // a fault elsewhere
	set_pte(x, P_L1, va_slot(USER, 1) + 60, (P_DATA + 60) << 12 | FULL);
	assert_true(shadow_is_table(x->shadow, P_L1));
	shadow_hint(x->shadow, USER + 42 * PAGE_SIZE, 1);
	set_pte(x, P_L1, va_slot(USER, 1) + 41, (P_DATA + 41) << 12 | FULL);
	assert_false(shadow_is_table(x->shadow, P_L1));
	for (unsigned i = 42; i < 56; i++)
		put(x, P_L1, USER + i * PAGE_SIZE, 1, (P_DATA + i) << 12 | FULL);
	assert_int_equal(fault(x, USER + 45 * PAGE_SIZE, PF_U), SHADOW_FIXED);
	for (unsigned i = 40; i < 56; i++)
		assert_true(reaches(x, USER + i * PAGE_SIZE, PF_U | PF_W));
	// Once a fault: what populates page after page without one keeps the table.
	for (unsigned i = 80; i < 84; i++)
		set_pte(x, P_L1, va_slot(USER, 1) + i, (P_DATA + i) << 12 | FULL);
	assert_true(shadow_is_table(x->shadow, P_L1));
	shadow_used(x->shadow);
	set_pte(x, P_L1, va_slot(USER, 1) + 84, (P_DATA + 84) << 12 | FULL);
	assert_false(shadow_is_table(x->shadow, P_L1));
	assert_int_equal(fault(x, USER + 84 * PAGE_SIZE, PF_U), SHADOW_FIXED);
	// The table has its markers again.
	assert_int_equal(x->marked, 0);
	assert_false(reaches(x, USER + 70 * PAGE_SIZE, PF_U));
	assert_int_equal(x->marked, 1);
	finish(x);
}

// A program that catches its faults where nothing is mapped near: at the second the table is shadowed, and the gate can tell.
static void test_fault_brings_table(void **state)
{
	struct exercise *x = linux_guest();

	for (unsigned i = 0; i < 32; i++)
		put(x, P_L1, USER + i * PAGE_SIZE, 1, 0);
	assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_INJECT);
	assert_false(reaches(x, USER, PF_U));
	assert_int_equal(x->marked, 0);
	assert_int_equal(fault(x, USER + 3 * PAGE_SIZE, PF_U | PF_W), SHADOW_INJECT);
	assert_false(reaches(x, USER, PF_U));
	assert_int_equal(x->marked, 1);
	set_pte(x, P_L1, va_slot(USER, 1), P_DATA << 12 | FULL);
	assert_true(reaches(x, USER, PF_U | PF_W));
	// Nor for stores to read-only pages; and for a table that is shadowed, but not below this root.
	shadow_flush_all(x->shadow);
	ex_load(x, P_ROOT << 12);
	put(x, P_L1, USER, 1, P_DATA << 12 | (FULL & ~PTE_W));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_INJECT);
	assert_true(reaches(x, USER, PF_U));
	put(x, P_ROOT2, USER, 4, 0);
	ex_load(x, P_ROOT2 << 12);
	set_pte(x, P_ROOT2, va_slot(USER, 4), P_L3 << 12 | FULL);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_INJECT);
	assert_true(reaches(x, USER, PF_U));
	ex_load(x, P_ROOT << 12);
	// Not by paths that the machine has not set A along.
	shadow_flush_all(x->shadow);
	ex_load(x, P_ROOT << 12);
	put(x, P_L2, USER, 2, P_L1 << 12 | (FULL & ~PTE_A));
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(fault(x, USER + i * PAGE_SIZE, PF_U), SHADOW_INJECT);
	assert_false(shadow_is_table(x->shadow, P_L1));
	finish(x);
}

// What the gate reads in the window: which present pages the guest has read-only. Not those that are so for our sake, and not the
// pieces of a large page.
static void test_read_only_told(void **state)
{
	struct exercise *x = linux_guest();
	u64 *leaf;

	put(x, P_L1, USER + PAGE_SIZE, 1, (P_DATA + 1) << 12 | (FULL & ~PTE_W));
	put(x, P_L1, USER + 2 * PAGE_SIZE, 1, (P_DATA + 2) << 12 | (FULL & ~PTE_D));
	put(x, P_L1, USER + 3 * PAGE_SIZE, 1, P_L2 << 12 | FULL);
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	leaf = table_find(x->shadow, P_L1, 1, false)->entry;
	for (unsigned i = 0; i < 32; i++) {
		assert_true(entry_live(leaf[va_slot(USER, 1) + i]));
		assert_int_equal(!!(leaf[va_slot(USER, 1) + i] & ENTRY_READ_ONLY), i == 1);
	}
	assert_int_equal(fault(x, USER + PAGE_SIZE, PF_U | PF_W), SHADOW_INJECT);
	set_pte(x, P_L1, va_slot(USER, 1) + 1, (P_DATA + 1) << 12 | FULL);
	assert_true(reaches(x, USER + PAGE_SIZE, PF_U | PF_W));
	assert_false(leaf[va_slot(USER, 1) + 1] & ENTRY_READ_ONLY);
	set_pte(x, P_KERNEL_L2, 0, (KERNEL & ~PTE_W) | PTE_PS);
	assert_int_equal(fault(x, DIRECT, 0), SHADOW_FIXED);
	assert_false(table_find(x->shadow, 0, 1, true)->entry[0] & ENTRY_READ_ONLY);
	finish(x);
}

// Every root leads back to itself there, without the right to write; what the guest puts there does not count.
static void test_window(void **state)
{
	struct exercise *x = linux_guest();
	const u64 *root = x->pool + (x->root - EX_SHADOW) * SLOTS;

	assert_true(root[WINDOW_SLOT] == (x->root << 12 | PTE_P | PTE_A | PTE_NX));
	set_pte(x, P_ROOT, WINDOW_SLOT, P_L3 << 12 | FULL);
	assert_int_equal(fault(x, WINDOW_BASE + USER, PF_U), SHADOW_EMULATE);
	ex_load(x, P_ROOT2 << 12);
	ex_load(x, P_ROOT << 12);
	root = x->pool + (x->root - EX_SHADOW) * SLOTS;
	assert_true(root[WINDOW_SLOT] == (x->root << 12 | PTE_P | PTE_A | PTE_NX));
	finish(x);
}

// mprotect of one page again and again, unused: not a crossing each for ever.
static void test_same_entry_unshadows(void **state)
{
	struct exercise *x = linux_guest();
	unsigned i;

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	for (i = 0; i < 64 && shadow_is_table(x->shadow, P_L1); i++)
		set_pte(x, P_L1, va_slot(USER, 1), i & 1 ? P_DATA << 12 | FULL : 0);
	assert_in_range(i, 8, 32);
	finish(x);
}

static void test_clearing_unshadows(void **state)
{
	struct exercise *x = linux_guest();
	static const u64 zeroes[512];

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	ex_store(x, P_L1 << 12, zeroes, sizeof(zeroes));
	assert_false(shadow_is_table(x->shadow, P_L1));
	assert_int_equal(fault(x, USER, PF_U), SHADOW_INJECT);
	finish(x);
}

// A page table that is freed: its parent's entry goes first, then the frame is data.
static void test_freed_table(void **state)
{
	struct exercise *x = linux_guest();

	assert_int_equal(fault(x, DIRECT, PF_W), SHADOW_FIXED);
	assert_int_equal(fault(x, DIRECT + P_L1 * PAGE_SIZE, PF_W), SHADOW_FIXED);
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_false(reaches(x, DIRECT + P_L1 * PAGE_SIZE, PF_W));
	set_pte(x, P_L2, va_slot(USER, 2), 0);
	assert_false(shadow_is_table(x->shadow, P_L1));
	assert_true(reaches(x, DIRECT + P_L1 * PAGE_SIZE, PF_W));
	finish(x);
}

// A walk through a large page is remembered only while no table on its way changes.
static void test_walk_memo(void **state)
{
	struct exercise *x = linux_guest();
	u64 va = DIRECT + P_L1 * PAGE_SIZE;
	struct guest_walk w;
	struct x86_fault f;

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	assert_int_equal(fault(x, DIRECT, 0), SHADOW_FIXED);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(shadow_fault(x->shadow, &x->mode, va + 8, PF_P | PF_W, &w, &f), SHADOW_EMULATE);
		assert_int_equal(w.gpa, (P_L1 << 12) + 8);
		assert_int_equal(w.level, i ? 0 : 2); // the second time without a walk
		w.level = 0;
	}
	// The large page becomes read-only: a true fault from now on.
	set_pte(x, P_KERNEL_L2, 0, PTE_P | PTE_A | PTE_D | PTE_PS);
	assert_int_equal(shadow_fault(x->shadow, &x->mode, va, PF_P | PF_W, &w, &f), SHADOW_INJECT);
	set_pte(x, P_KERNEL_L2, 0, KERNEL | PTE_PS);
	assert_int_equal(fault(x, DIRECT, 0), SHADOW_FIXED);
	assert_int_equal(shadow_fault(x->shadow, &x->mode, va, PF_P | PF_W, &w, &f), SHADOW_EMULATE);
	// Once the tables are no longer shadowed their writes go unseen: nothing may be remembered.
	shadow_flush_all(x->shadow);
	put(x, P_KERNEL_L2, DIRECT, 2, PTE_P | PTE_A | PTE_D | PTE_PS);
	assert_int_equal(shadow_fault(x->shadow, &x->mode, va, PF_P | PF_W, &w, &f), SHADOW_INJECT);
	put(x, P_KERNEL_L2, DIRECT, 2, KERNEL | PTE_PS);
	finish(x);
}

static void test_roots(void **state)
{
	struct exercise *x = linux_guest();
	const struct shadow_stats *st = shadow_get_stats(x->shadow);
	u64 before;

	assert_int_equal(fault(x, DIRECT, PF_W), SHADOW_FIXED);
	before = st->tables;
	ex_load(x, P_ROOT2 << 12);
	assert_true(reaches(x, DIRECT, PF_W)); // without a fault: the kernel's half is shared
	assert_int_equal(st->tables, before + 1);
	assert_int_equal(fault(x, DIRECT + P_ROOT2 * PAGE_SIZE, PF_W), SHADOW_EMULATE);
	assert_true(shadow_is_table(x->shadow, P_ROOT));
	// The first process is dead and its root is written: no page table any more, and no emulation.
	assert_int_equal(fault(x, DIRECT + P_ROOT * PAGE_SIZE, PF_W), SHADOW_FIXED);
	assert_false(shadow_is_table(x->shadow, P_ROOT));
	assert_true(reaches(x, DIRECT, PF_W));
	// Nothing that the guest writes to the root in use shows in the gate's slot.
	set_pte(x, P_ROOT2, GATE_SLOT, P_L3 << 12 | FULL);
	assert_int_equal(fault(x, GATE_BASE, 0), SHADOW_EMULATE);
	assert_int_equal(fault(x, GATE_BASE + USER, PF_U), SHADOW_EMULATE);
	finish(x);
}

static void test_watch(void **state)
{
	struct exercise *x = linux_guest();

	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	shadow_watch(x->shadow, P_DATA, WATCH_CODE);
	shadow_watch(x->shadow, P_DATA, WATCH_GDT);
	assert_int_equal(shadow_watched(x->shadow, P_DATA), WATCH_CODE | WATCH_GDT);
	assert_false(reaches(x, USER, PF_U | PF_W));
	assert_true(reaches(x, USER, PF_U));
	assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_EMULATE);
	shadow_unwatch(x->shadow, P_DATA, WATCH_GDT);
	assert_false(reaches(x, USER, PF_U | PF_W));
	shadow_unwatch(x->shadow, P_DATA, WATCH_CODE);
	assert_true(reaches(x, USER, PF_U | PF_W));
	shadow_drop_frame(x->shadow, P_DATA);
	assert_false(reaches(x, USER, PF_U));
	finish(x);
}

static void test_no_memory(void **state)
{
	struct exercise *x = linux_guest();
	mpn_t root;

	x->alloc_fails = true;
	assert_int_equal(fault(x, USER, PF_U), SHADOW_NOMEM);
	assert_int_equal(shadow_load(x->shadow, 999ull << 32, &root), ST_RANGE);
	x->alloc_fails = false;
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	// No more frames: the other process is evicted, then this one's own tables.
	ex_load(x, P_ROOT2 << 12);
	x->alloc_fails = true;
	assert_int_equal(fault(x, DIRECT, 0), SHADOW_FIXED);
	assert_false(shadow_is_table(x->shadow, P_ROOT));
	finish(x);
}

// Processes that ran once and sleep give their tables back when memory is short; those that take turns get what they need.
static void test_budget(void **state)
{
	const ppn_t roots = 300;
	struct exercise *x = linux_guest_of(200);
	const struct shadow_stats *st = shadow_get_stats(x->shadow);
	u64 evictions;

	x->budget = 2 * 20; // a table has two pages
	for (unsigned i = 0; i < 150; i++)
		ex_load(x, (roots + i) << 12);
	assert_true(st->evictions > 120 && st->tables <= 25);
	assert_int_equal(st->missed, 0);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 60; i++)
			ex_load(x, (roots + i) << 12);
	assert_true(st->missed > 0 && st->tables >= 60);
	evictions = st->evictions;
	for (unsigned i = 0; i < 60; i++)
		ex_load(x, (roots + i) << 12);
	assert_int_equal(st->evictions, evictions);
	ex_audit(x);
	finish(x);
}

// CR0.WP clear: a supervisor's write to a read-only page is the emulator's.
static void test_write_protect_off(void **state)
{
	struct exercise *x = linux_guest();

	put(x, P_L1, USER, 1, P_DATA << 12 | (FULL & ~PTE_W));
	x->mode.wp = false;
	assert_int_equal(fault(x, USER, PF_W), SHADOW_EMULATE);
	assert_int_equal(fault(x, USER, PF_U | PF_W), SHADOW_INJECT);
	finish(x);
}

// The stress mode: a right that goes must have been announced, whoever takes it.
static void count_unflushed(void *ctx, u64 va, u64 old, u64 now)
{
	*(u64 *)ctx = va;
}

static unsigned stressed_store(u32 plant, ppn_t table, unsigned level, u64 entry, u64 *at)
{
	struct exercise *x = linux_guest();
	unsigned bad;

	x->stress = calloc(1, shadow_stress_size());
	assert_int_equal(fault(x, USER, PF_U), SHADOW_FIXED);
	shadow_stress_begin(x->shadow, x->stress);
	x->shadow->plant = plant;
	set_pte(x, table, va_slot(USER + PAGE_SIZE, level), entry);
	*at = 0;
	bad = shadow_stress_check(x->shadow, x->stress, count_unflushed, at);
	free(x->stress);
	x->stress = NULL;
	assert_true(ex_destroy(x));
	return bad;
}

static void test_stress(void **state)
{
	u64 pte = (P_DATA + 1) << 12 | FULL, at;

	assert_int_equal(stressed_store(0, P_L1, 1, 0, &at), 0);
	assert_int_equal(stressed_store(0, P_L1, 1, pte & ~(u64)PTE_W, &at), 0);
	assert_int_equal(stressed_store(0, P_L2, 2, 0, &at), 0);
	assert_int_equal(stressed_store(PLANT_NO_FLUSH, P_L1, 1, 0, &at), 1);
	assert_int_equal(at, USER + PAGE_SIZE);
	assert_int_equal(stressed_store(PLANT_NO_FLUSH, P_L1, 1, pte & ~(u64)PTE_W, &at), 1);
	assert_int_equal(stressed_store(PLANT_NO_FLUSH, P_L1, 1, pte ^ 1u << 12, &at), 1); // another frame
	assert_true(stressed_store(PLANT_NO_FLUSH, P_L2, 2, 0, &at)); // it, and the leaves of the table that it freed
	assert_int_equal(stressed_store(PLANT_NO_FLUSH, P_L1, 1, pte, &at), 0); // as it was
}

// The exerciser under the stress mode: no step may take a right silently, and a shadow that forgets flushes is noticed.
static unsigned stressed_steps(u32 plant, unsigned steps, u64 *reduced)
{
	u64 state = 11, at = 0, checks;
	struct exercise *x = ex_create(xorshift, &state, 200);
	unsigned bad = 0;

	x->stress = calloc(1, shadow_stress_size());
	x->shadow->plant = plant;
	for (unsigned i = 0; i < steps && !bad; i++) {
		shadow_stress_begin(x->shadow, x->stress);
		ex_step(x);
		bad = shadow_stress_check(x->shadow, x->stress, count_unflushed, &at);
	}
	shadow_stress_counts(x->stress, &checks, reduced);
	free(x->stress);
	x->stress = NULL;
	(void)ex_destroy(x);
	return bad;
}

static void test_stress_random(void **state)
{
	u64 reduced;

	assert_int_equal(stressed_steps(0, 5000, &reduced), 0);
	print_message("%lu rights reduced by single flushes\n", (unsigned long)reduced);
	assert_true(reduced > 20);
	assert_true(stressed_steps(PLANT_NO_FLUSH, 5000, &reduced));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefetch),
		cmocka_unit_test(test_dirty_tracking),
		cmocka_unit_test(test_fill_on_write),
		cmocka_unit_test(test_flood_unshadows),
		cmocka_unit_test(test_row_of_removals),
		cmocka_unit_test(test_rows_off),
		cmocka_unit_test(test_row_of_fills),
		cmocka_unit_test(test_same_entry_unshadows),
		cmocka_unit_test(test_fault_brings_table),
		cmocka_unit_test(test_read_only_told),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_clearing_unshadows),
		cmocka_unit_test(test_freed_table),
		cmocka_unit_test(test_walk_memo),
		cmocka_unit_test(test_roots),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_write_protect_off),
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_stress_random),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_eviction),
		cmocka_unit_test(test_random_short),
		cmocka_unit_test(test_planted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
