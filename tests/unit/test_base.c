// SPDX-License-Identifier: MIT
// Formatting against the host's printf, trace ring, and our string functions against the host's.
#include "base/fmt.h"
#include "base/trace.h"
// Ours under other names, beside libc's.
#define memcpy our_memcpy
#define memmove our_memmove
#define memset our_memset
#define memcmp our_memcmp
#define strlen our_strlen
#define strcmp our_strcmp
#define strncmp our_strncmp
#define strchr our_strchr
#include "base/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strcmp
#undef strncmp
#undef strchr

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SAME(...)                                                       \
	do {                                                            \
		char want_[200], got_[200];                             \
		int w_ = snprintf(want_, sizeof(want_), __VA_ARGS__),   \
		    g_ = fmt_snprintf(got_, sizeof(got_), __VA_ARGS__); \
		assert_string_equal(got_, want_);                       \
		assert_int_equal(g_, w_);                               \
	} while (0)

static void fmt_like_printf(void **state)
{
	SAME("plain");
	SAME("%d %i %u", -5, INT_MIN, UINT_MAX);
	SAME("%ld %lld %lu", LONG_MIN, LLONG_MAX, ULONG_MAX);
	SAME("%zu %zx", sizeof(long), (size_t)0xabc);
	SAME("[%8d][%-8d][%08d][%+d]", -42, -42, -42, 42);
	SAME("%x %X %#x %#X %#x", 0xbeef, 0xbeef, 0xbeef, 0xbeef, 0);
	SAME("[%016lx][%#18lx][%#018lx]", 0x1234abcdul, 0x1234abcdul, 0x1234abcdul);
	SAME("[%.5d][%8.5d][%.3x]", 42, -42, 0xfffff);
	SAME("[%s][%10s][%-10s][%.2s][%.*s]", "abc", "abc", "abc", "abc", 1, "abc");
	SAME("[%*d][%-*d]", 6, 1, 6, 1);
	SAME("%c%c%%", 'a', 'b');
	SAME("%p", (void *)0x1234);
}

static void fmt_truncates(void **state)
{
	const char *volatile null = NULL, *volatile lone = "50%"; // out of the compiler's sight
	char buf[8];

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(fmt_snprintf(buf, 5, "%s", "abcdefgh"), 8);
	assert_string_equal(buf, "abcd");
	assert_int_equal(buf[5], 'x');
	assert_int_equal(fmt_snprintf(NULL, 0, "%d", 12345), 5);
	assert_int_equal(fmt_snprintf(buf, sizeof(buf), "%s", null), 6);
	assert_string_equal(buf, "(null)");
	fmt_snprintf(buf, sizeof(buf), lone);
	assert_string_equal(buf, "50");
}

static void trace_ring(void **state)
{
	struct trace_record r, all[8];

	trace_mask = TRACE_TEST;
	trace(TEST, 1, 10, 20, 30, 40);
	trace(MMU, 2, 0, 0, 0, 0); // off
	assert_true(trace_get(0, &r));
	assert_int_equal(r.id, 1);
	assert_int_equal(r.arg[3], 40);
	assert_false(trace_get(1, &r));
	for (unsigned i = 0; i < TRACE_RECORDS + 5; i++)
		trace(TEST, 3, i, 0, 0, 0);
	assert_int_equal(trace_read(all, 8), 8);
	assert_int_equal(all[7].arg[0], TRACE_RECORDS + 4);
	assert_int_equal(all[0].arg[0], TRACE_RECORDS - 3);
	assert_true(trace_get(TRACE_RECORDS - 1, &r));
	assert_int_equal(r.arg[0], 5);
	assert_false(trace_get(TRACE_RECORDS, &r));
}

static void trace_masks(void **state)
{
	u32 m = 7;

	assert_true(trace_parse_mask("mmu,bt", &m));
	assert_int_equal(m, TRACE_MMU | TRACE_BT);
	assert_false(trace_parse_mask("mmu,nonsense", &m));
	assert_int_equal(m, TRACE_MMU | TRACE_BT);
	assert_true(trace_parse_mask("all", &m));
	assert_int_equal(m, TRACE_ALL);
	assert_true(trace_parse_mask("none", &m));
	assert_int_equal(m, 0);
	assert_string_equal(trace_category_name(TRACE_MMU_BIT), "mmu");
	assert_string_equal(trace_category_name(99), "?");
}

static void strings_like_libc(void **state)
{
	u8 ours[160], theirs[160];

	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned from = (unsigned)rand() % 70, to = (unsigned)rand() % 70, n = (unsigned)rand() % 80;

		for (unsigned i = 0; i < sizeof(ours); i++)
			ours[i] = theirs[i] = (u8)rand();
		assert_ptr_equal(our_memmove(ours + to, ours + from, n), ours + to);
		memmove(theirs + to, theirs + from, n);
		assert_memory_equal(ours, theirs, sizeof(ours));
		our_memset(ours + from, (int)round, n);
		memset(theirs + from, (int)round, n);
		assert_memory_equal(ours, theirs, sizeof(ours));
		our_memcpy(ours, theirs + 80, n);
		assert_int_equal(our_memcmp(ours, theirs + 80, n), 0);
		if (n) {
			ours[to % n] ^= 1;
			assert_int_equal(our_memcmp(ours, theirs + 80, n) < 0, memcmp(ours, theirs + 80, n) < 0);
		}
	}
	assert_int_equal(our_strlen("hello"), 5);
	assert_true(our_strcmp("a", "b") < 0 && our_strcmp("b", "a") > 0 && !our_strcmp("", ""));
	assert_true(our_strcmp("\x7f", "\x80") < 0);
	assert_true(!our_strncmp("abc", "abd", 2) && our_strncmp("abc", "abd", 3) < 0 && !our_strncmp("x", "y", 0));
	assert_string_equal(our_strchr("path/x", '/'), "/x");
	assert_null(our_strchr("path", '/'));
	assert_string_equal(our_strchr("path", 0), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fmt_like_printf), cmocka_unit_test(fmt_truncates),     cmocka_unit_test(trace_ring),
		cmocka_unit_test(trace_masks),     cmocka_unit_test(strings_like_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
