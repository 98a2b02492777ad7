// SPDX-License-Identifier: MIT
// Uploads: what was sent arrives, whatever is wrong changes nothing, nothing leaks; the hash against the library's.
// LINK: vmm/upload.c
#include "vmm/upload.h"
#include "base/xxh64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static unsigned allocated;
static bool no_memory;

static void *take(size_t size)
{
	if (no_memory)
		return NULL;
	allocated++;
	return malloc(size);
}

static void give(void *memory, size_t size)
{
	allocated--;
	free(memory);
}

static const struct upload_ports ports = {.alloc = take, .free = give};
static struct uploads uploads;

static int start(void **state)
{
	memset(&uploads, 0, sizeof(uploads));
	uploads.ports = &ports;
	no_memory = false;
	return 0;
}

static int stop(void **state)
{
	for (unsigned i = 0; i < UPLOADS; i++)
		if (uploads.upload[i].id)
			upload_drop(&uploads, &uploads.upload[i]);
	return allocated != 0;
}

static size_t encode(char *out, const unsigned char *in, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = 0;

	for (size_t i = 0; i < n; i += 3) {
		unsigned v = in[i] << 16 | (i + 1 < n ? in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);

		out[len++] = digits[v >> 18];
		out[len++] = digits[v >> 12 & 63];
		out[len++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
		out[len++] = i + 2 < n ? digits[v & 63] : '=';
	}
	return len;
}

static struct upload *begin(size_t size)
{
	u64 id;

	assert_int_equal(upload_begin(&uploads, size, 0, &id), ST_OK);
	return upload_find(&uploads, id);
}

static void pieces_of_any_size(void **state)
{
	unsigned char data[5000];
	char text[8000];

	srand(7);
	for (unsigned round = 0; round < 200; round++) {
		size_t size = 1 + (size_t)rand() % sizeof(data);
		struct upload *up = begin(size);

		for (size_t i = 0; i < size; i++)
			data[i] = (unsigned char)rand();
		for (size_t at = 0; at < size;) {
			size_t n = 1 + (size_t)rand() % (size - at);

			assert_false(upload_complete(up, xxh64(data, size, 0)));
			assert_int_equal(upload_data(up, at, text, encode(text, data + at, n), 0), ST_OK);
			at += n;
		}
		assert_memory_equal(up->data, data, size);
		assert_true(upload_complete(up, xxh64(data, size, 0)));
		assert_false(upload_complete(up, xxh64(data, size, 0) ^ 1));
		upload_drop(&uploads, up);
	}
}

// Each leaves the upload as it was, and the right piece is taken afterwards.
static void wrong_pieces(void **state)
{
	static const char *const bad[] = {"", "A", "AB", "ABC", "A===", "====", "AB=C", "AB\"C", "AB C", "AAAA=", "AAAAAA==AAAA", "\xff\xff\xff\xff"};
	struct upload *up = begin(6);

	assert_int_equal(upload_data(up, 0, "QUJD", 4, 0), ST_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(upload_data(up, 3, bad[i], strlen(bad[i]), 0), ST_INVALID);
	assert_int_equal(upload_data(up, 0, "QUJD", 4, 0), ST_INVALID); // again
	assert_int_equal(upload_data(up, 6, "QUJD", 4, 0), ST_INVALID); // not yet
	assert_int_equal(upload_data(up, ~0ull, "QUJD", 4, 0), ST_INVALID);
	assert_int_equal(upload_data(up, 3, "QUJDRA==", 8, 0), ST_INVALID); // one byte too many
	assert_int_equal(up->received, 3);
	assert_int_equal(upload_data(up, 3, "REVG", 4, 0), ST_OK);
	assert_memory_equal(up->data, "ABCDEF", 6);
	assert_int_equal(upload_data(up, 6, "QUJD", 4, 0), ST_INVALID); // full
}

static void bounds(void **state)
{
	u64 id, first = 0;

	assert_int_equal(upload_begin(&uploads, 0, 0, &id), ST_INVALID);
	assert_int_equal(upload_begin(&uploads, UPLOAD_SIZE_MAX + 1, 0, &id), ST_INVALID);
	no_memory = true;
	assert_int_equal(upload_begin(&uploads, 1, 0, &id), ST_NOMEM);
	no_memory = false;
	for (unsigned i = 0; i < UPLOADS; i++) {
		assert_int_equal(upload_begin(&uploads, 1, i, &id), ST_OK);
		first = first ? first : id;
	}
	assert_int_equal(upload_begin(&uploads, 1, 100, &id), ST_BUSY);
	assert_null(upload_find(&uploads, 0));
	assert_null(upload_find(&uploads, id + 1));
	// The first is given up by its client.
	assert_int_equal(upload_begin(&uploads, 1, UPLOAD_IDLE_NS, &id), ST_OK);
	assert_null(upload_find(&uploads, first));
	upload_expire(&uploads, 3 * UPLOAD_IDLE_NS);
	assert_int_equal(allocated, 0);
}

static void taken_memory_stays(void **state)
{
	struct upload *up = begin(3);
	void *data = up->data;

	upload_take(up);
	assert_int_equal(allocated, 1);
	assert_int_equal(up->id, 0);
	give(data, 3);
}

static void hash_like_the_library(void **state)
{
	unsigned char data[300];

	assert_true(xxh64("", 0, 0) == 0xef46db3751d8e999ull);
	assert_true(xxh64("abc", 3, 0) == 0x44bc2cf5ad770999ull);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + i / 13);
	for (size_t n = 0; n <= sizeof(data); n++) {
		assert_true(xxh64(data, n, 0) == XXH64(data, n, 0));
		assert_true(xxh64(data, n, n * 12345) == XXH64(data, n, n * 12345));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pieces_of_any_size, start, stop),
		cmocka_unit_test_setup_teardown(wrong_pieces, start, stop),
		cmocka_unit_test_setup_teardown(bounds, start, stop),
		cmocka_unit_test_setup_teardown(taken_memory_stays, start, stop),
		cmocka_unit_test(hash_like_the_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
