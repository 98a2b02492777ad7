// SPDX-License-Identifier: MIT
// What the tests of hypercalls have in common: one machine, calls with their arguments, and the audit after each.
#ifndef TESTS_UNIT_PV_TEST_H
#define TESTS_UNIT_PV_TEST_H

#include "tests/unit/pv_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct machine m;

static int start(void **state)
{
	machine_start(&m);
	m.audits = true;
	return 0;
}

static int end(void **state)
{
	assert_true(machine_end(&m));
	return 0;
}

static void settled(int line, s64 got, s64 want)
{
	if (got != want)
		fail_msg("line %d: %ld, should be %ld (%s)", line, (long)got, (long)want, m.said);
	if (machine_audit(&m))
		fail_msg("line %d: %s", line, m.wrong);
}
#define IS(call, want) settled(__LINE__, call, want)

// With these arguments at ARGS.
static inline u64 args(const void *bytes, size_t n)
{
	memcpy(m_args(&m), bytes, n);
	return ARGS;
}
#define WITH(...) args(&(__VA_ARGS__), sizeof(__VA_ARGS__))

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

#endif
