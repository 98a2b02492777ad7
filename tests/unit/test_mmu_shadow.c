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
	print_message("seed %lu: %lu accesses (%lu TLB hits), %lu hidden, %lu guest, %lu emulated, %lu writes, %lu evictions, "
		      "%lu unshadowed, %lu prefetched\n", (unsigned long)seed, (unsigned long)x->accesses, (unsigned long)x->hits,
		      (unsigned long)st->hidden_faults, (unsigned long)st->guest_faults, (unsigned long)st->emulated,
		      (unsigned long)st->pte_writes, (unsigned long)st->evictions, (unsigned long)st->unshadowed,
		      (unsigned long)st->prefetched);
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

static void planted(u32 plant, unsigned steps)
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
	assert_int_equal(noticed, 5);
}

static void test_planted(void **state)
{
	planted(PLANT_SKIP_PROTECT, 5000);
	planted(PLANT_STALE_ENTRY, 5000);
	planted(PLANT_IGNORE_DIRTY, 5000);
	planted(PLANT_NO_FLUSH, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_eviction),
		cmocka_unit_test(test_random_short),
		cmocka_unit_test(test_planted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
