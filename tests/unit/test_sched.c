// SPDX-License-Identifier: MIT
// The scheduler in a simulated machine: shares, caps, wake-ups, spreading, and random operations with the audit.
#include "core/sched/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MS 1000000ull
#define SECOND 1000000000ull
#define MAX_VMS 16

// What a simulated vCPU does: computes `busy` ns, then sleeps `idle` ns; idle 0: computes all the time.
struct program {
	u64 busy, idle;
	u64 left; // of the present busy stretch
	bool stubborn; // `busy` is one piece: its CPU does not ask before, and chooses then
};

static struct sched s;
static struct sched_entity vm[MAX_VMS];
static struct program program[MAX_VMS];
static u64 now, wake_delay, wakes;

static unsigned index_of(const struct sched_entity *e)
{
	return (unsigned)(e - vm);
}

static int start(void **state)
{
	memset(program, 0, sizeof(program));
	now = SECOND;
	wake_delay = wakes = 0;
	return 0;
}

static void add(unsigned i, u32 weight, u32 cap, u64 busy, u64 idle)
{
	sched_entity_init(&vm[i], weight, cap);
	program[i] = (struct program){.busy = busy, .idle = idle, .left = busy};
	sched_add(&s, &vm[i], now);
}

// A CPU between two points of time: it asks when it has to, as the hypervisor's loop does.
struct sim_cpu {
	u64 at, ready_since;
	bool again;
};

static void run(u64 ns, unsigned cpus)
{
	const u64 step = MS / 10, end = now + ns;
	struct sim_cpu cpu[8] = {0};

	for (; now < end; now += step) {
		for (unsigned i = 0; i < cpus; i++) {
			struct sched_queue *q = &s.queue[i];
			struct sched_entity *e = q->current;
			u64 tell = 0;

			if (e && program[index_of(e)].idle) {
				struct program *p = &program[index_of(e)];

				p->left -= p->left < step ? p->left : step;
				if (!p->left) {
					p->left = p->busy;
					sched_block(&s, e, now + p->idle, now);
					e = NULL;
				}
			} else if (e && program[index_of(e)].stubborn) {
				struct program *p = &program[index_of(e)];

				p->left -= p->left < step ? p->left : step;
				if (p->left)
					continue;
				p->left = p->busy;
				e = NULL;
			}
			if (!e || cpu[i].again || now >= sched_look_at(&s, q)) {
				cpu[i].again = false;
				if (!e || sched_tick(&s, q, now, &tell))
					sched_choose(&s, q, now, &tell);
			}
			for (unsigned k = 0; k < cpus; k++)
				cpu[k].again |= tell >> k & 1;
		}
		assert_true(sched_audit(&s));
	}
	for (unsigned i = 0; i < MAX_VMS; i++)
		if (vm[i].state != SCHED_OFF)
			sched_account(&s, &vm[i], now);
}

static void assert_near(u64 got, u64 want, unsigned percent)
{
	u64 d = got > want ? got - want : want - got;

	if (d * 100 > want * percent)
		fail_msg("got %lu, wanted %lu within %u%%", (unsigned long)got, (unsigned long)want, percent);
}

static void test_weights(void **state)
{
	sched_init(&s, 1);
	add(0, 256, 0, MS, 0);
	add(1, 512, 0, MS, 0);
	add(2, 1024, 0, MS, 0);
	run(7 * SECOND, 1);
	assert_near(vm[0].run_ns, 1 * SECOND, 2);
	assert_near(vm[1].run_ns, 2 * SECOND, 2);
	assert_near(vm[2].run_ns, 4 * SECOND, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_near(vm[i].run_ns + vm[i].ready_ns, 7 * SECOND, 1);
}

static void test_extreme_weights(void **state)
{
	sched_init(&s, 1);
	add(0, 1, 0, MS, 0);
	add(1, 65535, 0, MS, 0);
	run(20 * SECOND, 1);
	assert_true(vm[0].run_ns < 100 * MS);
	assert_true(vm[1].run_ns > 19 * SECOND);
}

// Three that compute on two CPUs get two thirds of one each.
static void test_three_on_two(void **state)
{
	sched_init(&s, 2);
	for (unsigned i = 0; i < 3; i++)
		add(i, 256, 0, MS, 0);
	run(6 * SECOND, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_near(vm[i].run_ns, 4 * SECOND, 5);
}

// One whose turns are long, and that never asks between them, gets no more than its share for all that.
static void test_long_turns(void **state)
{
	for (u64 turn = 20 * MS; turn <= 320 * MS; turn *= 2) {
		sched_init(&s, 2);
		for (unsigned i = 0; i < 3; i++)
			add(i, 256, 0, turn, 0);
		program[0].stubborn = true;
		run(12 * SECOND, 2);
		for (unsigned i = 0; i < 3; i++)
			assert_near(vm[i].run_ns, 8 * SECOND, turn > SCHED_LAG_NS ? 25 : 10);
	}
}

// A share larger than a CPU: it gets a whole one, the others the rest.
static void test_infeasible(void **state)
{
	sched_init(&s, 2);
	add(0, 4096, 0, MS, 0);
	add(1, 256, 0, MS, 0);
	add(2, 256, 0, MS, 0);
	run(6 * SECOND, 2);
	assert_true(vm[0].run_ns > 5 * SECOND);
	assert_near(vm[1].run_ns, vm[2].run_ns, 10);
	assert_true(vm[1].run_ns + vm[2].run_ns > 5 * SECOND);
}

static void test_spread(void **state)
{
	sched_init(&s, 4);
	for (unsigned i = 0; i < 4; i++)
		add(i, 256, 0, MS, 0);
	run(SECOND, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_near(vm[i].run_ns, SECOND, 1);
		assert_int_equal(vm[i].migrations, 0);
	}
}

// Work that is left on one queue reaches a CPU that becomes idle.
static void test_idle_fetches(void **state)
{
	sched_init(&s, 2);
	add(0, 256, 0, MS, 0);
	add(1, 256, 0, 50 * MS, 10 * SECOND); // sleeps soon
	add(2, 256, 0, MS, 0);
	run(4 * SECOND, 2);
	assert_true(vm[0].run_ns > 3800 * MS);
	assert_true(vm[2].run_ns > 3800 * MS);
}

static void test_cap(void **state)
{
	sched_init(&s, 1);
	add(0, 256, 30, MS, 0);
	run(4 * SECOND, 1);
	assert_near(vm[0].run_ns, 1200 * MS, 5);
	add(1, 256, 0, MS, 0);
	run(4 * SECOND, 1);
	assert_near(vm[0].run_ns, 2400 * MS, 5);
	assert_near(vm[1].run_ns, 2800 * MS, 5);
	sched_set_share(&s, &vm[0], 256, 0, now);
	run(4 * SECOND, 1);
	assert_near(vm[0].run_ns, 4400 * MS, 5);
}

// One that mostly sleeps hardly waits beside three that compute, and all get what is theirs.
static void test_interactive(void **state)
{
	sched_init(&s, 1);
	for (unsigned i = 0; i < 3; i++)
		add(i, 256, 0, MS, 0);
	add(3, 256, 0, MS, 20 * MS);
	run(10 * SECOND, 1);
	assert_true(vm[3].wakes > 350);
	assert_true(vm[3].ready_ns / vm[3].wakes < 2 * MS);
	for (unsigned i = 0; i < 3; i++)
		assert_near(vm[i].run_ns, (10 * SECOND - vm[3].run_ns) / 3, 3);
}

// Sleeping saves nothing up: after a minute away it gets its share, not more.
static void test_no_saving(void **state)
{
	sched_init(&s, 1);
	add(0, 256, 0, MS, 0);
	add(1, 256, 0, MS / 10, 60 * SECOND);
	run(50 * SECOND, 1);
	program[1] = (struct program){.busy = MS, .left = MS};
	u64 before = vm[0].run_ns;

	assert_ptr_equal(sched_wake(&s, &vm[1], now), &s.queue[0]);
	assert_null(sched_wake(&s, &vm[1], now));
	run(4 * SECOND, 1);
	assert_near(vm[0].run_ns - before, 2 * SECOND, 5);
}

static void test_changed_weight(void **state)
{
	u64 first, second;

	sched_init(&s, 1);
	add(0, 256, 0, MS, 0);
	add(1, 256, 0, MS, 0);
	run(2 * SECOND, 1);
	sched_set_share(&s, &vm[1], 768, 0, now);
	first = vm[0].run_ns, second = vm[1].run_ns;
	run(4 * SECOND, 1);
	assert_near(vm[0].run_ns - first, SECOND, 4);
	assert_near(vm[1].run_ns - second, 3 * SECOND, 4);
}

// A woken one that is not bound goes where a CPU is idle; one whose registers are in a CPU stays there.
static void test_wake_placement(void **state)
{
	u64 tell = 0;

	sched_init(&s, 2);
	add(0, 256, 0, MS, 0);
	add(1, 256, 0, MS, 0);
	assert_ptr_equal(vm[0].queue, &s.queue[0]);
	assert_ptr_equal(vm[1].queue, &s.queue[1]);
	sched_choose(&s, &s.queue[0], now, &tell);
	sched_choose(&s, &s.queue[1], now, &tell);
	sched_remove(&s, &vm[1], now);
	assert_null(sched_choose(&s, &s.queue[1], now, &tell));
	add(2, 256, 0, MS, 0);
	assert_ptr_equal(vm[2].queue, &s.queue[1]);
	sched_remove(&s, &vm[2], now);
	sched_block(&s, &vm[0], now + 5 * MS, now);
	add(3, 256, 0, MS, 0);
	assert_ptr_equal(vm[3].queue, &s.queue[1]);
	assert_ptr_equal(sched_choose(&s, &s.queue[1], now, &tell), &vm[3]);
	assert_int_equal(sched_look_at(&s, &s.queue[0]), now + 5 * MS);
	now += 5 * MS;
	assert_ptr_equal(sched_choose(&s, &s.queue[0], now, &tell), &vm[0]);
	assert_int_equal(tell, 0);
}

static u64 seed = 88172645463325252ull;
static u64 random_below(u64 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void random_operation(unsigned cpus, u64 *tell)
{
	struct sched_entity *e = &vm[random_below(MAX_VMS)];
	struct sched_queue *q = &s.queue[random_below(cpus)];

	switch (random_below(8)) {
	case 0:
		if (e->state == SCHED_OFF)
			sched_add(&s, e, now);
		break;
	case 1:
		if (random_below(8) == 0)
			sched_remove(&s, e, now);
		break;
	case 2:
		if (e->state == SCHED_RUNNING)
			sched_block(&s, e, random_below(4) ? now + random_below(20 * MS) : SCHED_NEVER, now);
		break;
	case 3:
		sched_wake(&s, e, now);
		break;
	case 4:
		sched_set_share(&s, e, 1 + (u32)random_below(2000), random_below(3) ? 0 : (u32)random_below(101), now);
		break;
	case 5:
		if (q->current)
			sched_tick(&s, q, now, tell);
		break;
	default:
		sched_choose(&s, q, now, tell);
		break;
	}
}

static void test_random(void **state)
{
	const unsigned cpus = 5;
	u64 tell = 0, floor = 0, total = 0, begin = now;

	sched_init(&s, cpus);
	for (unsigned i = 0; i < MAX_VMS; i++)
		sched_entity_init(&vm[i], 256, 0);
	for (unsigned n = 0; n < 300000; n++) {
		now += random_below(2) ? random_below(3 * MS) : 0;
		random_operation(cpus, &tell);
		assert_true(sched_audit(&s));
		assert_true((s64)(s.floor - floor) >= 0);
		floor = s.floor;
		for (unsigned i = 0; i < cpus; i++)
			assert_true(sched_look_at(&s, &s.queue[i]) > 0);
	}
	for (unsigned i = 0; i < MAX_VMS; i++)
		total += vm[i].run_ns;
	assert_true(total <= cpus * (now - begin)); // no time is given twice
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_weights, start),	      cmocka_unit_test_setup(test_extreme_weights, start),
		cmocka_unit_test_setup(test_long_turns, start),
		cmocka_unit_test_setup(test_three_on_two, start),     cmocka_unit_test_setup(test_infeasible, start),
		cmocka_unit_test_setup(test_spread, start),	      cmocka_unit_test_setup(test_idle_fetches, start),
		cmocka_unit_test_setup(test_cap, start),	      cmocka_unit_test_setup(test_interactive, start),
		cmocka_unit_test_setup(test_no_saving, start),	      cmocka_unit_test_setup(test_changed_weight, start),
		cmocka_unit_test_setup(test_wake_placement, start),   cmocka_unit_test_setup(test_random, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
