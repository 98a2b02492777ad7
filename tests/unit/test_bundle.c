// SPDX-License-Identifier: MIT
// LINK: vmm/bundle.c
// The bundle reader: good archives, damaged ones, VM descriptions at their limits.
#include "vmm/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- a writer of archives, independent of the command's ----

struct archive {
	u8 data[65536];
	size_t len;
};

static void add(struct archive *a, const char *name, const void *data, size_t n)
{
	size_t names = strlen(name) + 1;

	a->len += (size_t)sprintf((char *)a->data + a->len,
				  "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", 1, 0100644, 0, 0, 1,
				  0, n, 0, 0, 0, 0, names, 0);
	memcpy(a->data + a->len, name, names);
	a->len = ROUND_UP(a->len + names, (size_t)4);
	memcpy(a->data + a->len, data, n);
	a->len = ROUND_UP(a->len + n, (size_t)4);
}

static void finish(struct archive *a)
{
	add(a, "TRAILER!!!", "", 0);
}

static struct bundle_vms vms;

// The archive in memory of exactly its size, so that a sanitizer sees every step beyond it.
static enum status parse(const struct archive *a)
{
	u8 *exact = malloc(a->len);
	struct bundle b;

	memcpy(exact, a->data, a->len);
	enum status st = bundle_open(&b, exact, a->len);

	if (st == ST_OK)
		st = bundle_vms(&b, &vms);
	free(exact);
	return st;
}

static enum status parse_json(const char *json)
{
	struct archive *a = calloc(1, sizeof(*a));

	add(a, "vms.json", json, strlen(json));
	add(a, "files/0", "kernel", 6);
	add(a, "files/1", "ram", 3);
	finish(a);
	enum status st = parse(a);

	free(a);
	return st;
}

// ---- archive ----

static void finds_files(void **state)
{
	struct archive *a = calloc(1, sizeof(*a));
	struct bundle b;
	struct bundle_file f;

	for (unsigned n = 0; n < 9; n++) {
		char name[16];

		sprintf(name, "f%.*s", (int)n, "xxxxxxxxx");
		add(a, name, "0123456789", n);
	}
	finish(a);
	assert_int_equal(bundle_open(&b, a->data, a->len), ST_OK);
	assert_int_equal(bundle_find(&b, "fxxxx", &f), ST_OK);
	assert_int_equal(f.size, 4);
	assert_memory_equal(f.data, "0123", 4);
	assert_int_equal(bundle_find(&b, "fx", &f), ST_OK);
	assert_int_equal(f.size, 1);
	assert_int_equal(bundle_find(&b, "f", &f), ST_OK);
	assert_int_equal(f.size, 0);
	assert_int_equal(bundle_find(&b, "g", &f), ST_NOTFOUND);
	assert_int_equal(bundle_find(&b, "", &f), ST_NOTFOUND);
	free(a);
}

// Cut anywhere, an archive is refused or the file is there whole; never more is read than is there.
static void cut_anywhere(void **state)
{
	struct archive *a = calloc(1, sizeof(*a));

	add(a, "one", "12345", 5);
	add(a, "two", "67", 2);
	finish(a);
	for (size_t len = 0; len < a->len; len++) {
		u8 *exact = malloc(len ? len : 1);
		struct bundle b;
		struct bundle_file f;

		memcpy(exact, a->data, len);
		if (bundle_open(&b, exact, len) == ST_OK) {
			enum status st = bundle_find(&b, "two", &f);

			assert_true(st == ST_INVALID || (st == ST_OK && f.size == 2 && !memcmp(f.data, "67", 2)));
			assert_true(bundle_find(&b, "three", &f) != ST_OK);
		}
		free(exact);
	}
	free(a);
}

static void bad_headers(void **state)
{
	struct archive *a = calloc(1, sizeof(*a));
	struct bundle b;
	struct bundle_file f;

	assert_int_equal(bundle_open(&b, "070707", 6), ST_INVALID);
	assert_int_equal(bundle_open(&b, NULL, 0), ST_INVALID);
	add(a, "one", "12345", 5);
	finish(a);
	for (unsigned at = 54; at < 62; at++) { // file size: not hexadecimal, then far too large
		u8 old = a->data[at];

		a->data[at] = 'g';
		assert_int_equal(bundle_open(&b, a->data, a->len), ST_OK);
		assert_int_equal(bundle_find(&b, "one", &f), ST_INVALID);
		a->data[at] = at < 58 ? 'f' : old;
		if (at < 58)
			assert_int_equal(bundle_find(&b, "one", &f), ST_INVALID);
		a->data[at] = old;
	}
	a->data[101] = '0'; // name size 0
	assert_int_equal(bundle_find(&b, "one", &f), ST_INVALID);
	a->data[101] = '3'; // name without its NUL
	assert_int_equal(bundle_find(&b, "one", &f), ST_INVALID);
	free(a);
}

// ---- descriptions ----

static void reads_everything(void **state)
{
	const char *json =
		"[{\"name\":\"a\",\"type\":\"pv\",\"memory\":67108864,\"maxmem\":134217728,\"vcpus\":2,"
		"\"cpu_weight\":512,\"cap\":50,\"cmdline\":\"x \\\"y\\\" \\u00e4\",\"kernel\":\"files/0\","
		"\"ramdisk\":\"files/1\",\"on_poweroff\":\"restart\",\"on_reboot\":\"destroy\","
		"\"on_crash\":\"preserve\",\"tz_mem_shares\":5,\"tz_mem_min\":4096,\"tz_share\":\"g\",\"new\":[1,{}]}]";

	assert_int_equal(parse_json(json), ST_OK);
	assert_int_equal(vms.count, 1);
	const struct vm_config *vm = &vms.vm[0];

	assert_string_equal(vm->name, "a");
	assert_int_equal(vm->type, VM_PV);
	assert_int_equal(vm->memory, 64 * MIB);
	assert_int_equal(vm->maxmem, 128 * MIB);
	assert_int_equal(vm->vcpus, 2);
	assert_int_equal(vm->cpu_weight, 512);
	assert_int_equal(vm->cap, 50);
	assert_string_equal(vm->cmdline, "x \"y\" \xe4");
	assert_string_equal(vm->kernel, "files/0");
	assert_string_equal(vm->ramdisk, "files/1");
	assert_int_equal(vm->on_poweroff, VM_RESTART);
	assert_int_equal(vm->on_reboot, VM_DESTROY);
	assert_int_equal(vm->on_crash, VM_PRESERVE);
	assert_int_equal(vm->mem_shares, 5);
	assert_int_equal(vm->mem_min, 4096);
	assert_string_equal(vm->share_group, "g");
	assert_non_null(strstr(vm_config_unsupported(vm), "virtual CPU"));
}

static void defaults(void **state)
{
	assert_int_equal(parse_json("[{\"name\":\"a\",\"kernel\":\"files/0\"}]"), ST_OK);
	const struct vm_config *vm = &vms.vm[0];

	assert_int_equal(vm->type, VM_HVM);
	assert_int_equal(vm->memory, TZ_MEMORY_DEFAULT);
	assert_int_equal(vm->maxmem, TZ_MEMORY_DEFAULT);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->on_reboot, VM_RESTART);
	assert_int_equal(vm->on_crash, VM_DESTROY);
	assert_string_equal(vm->ramdisk, "");
	assert_string_equal(vm->share_group, "");
	assert_null(vm_config_unsupported(vm));
	assert_int_equal(parse_json("[{\"name\":\"a\",\"kernel\":\"files/0\",\"type\":\"pv\"}]"), ST_OK);
	assert_null(vm_config_unsupported(vm));
}

static void wrong_descriptions(void **state)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"[1]",
		"[{}]",
		"[{\"name\":\"a\"}]",
		"[{\"kernel\":\"files/0\"}]",
		"[{\"name\":\"\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a b\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a|b\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"../b\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a\\u0007\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"cap\":6401}]",
		"[{\"name\":\"a\\u0000b\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a\\u0100\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/9\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"ramdisk\":\"files/9\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\"},{\"name\":\"a\",\"kernel\":\"files/0\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"memory\":1}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"memory\":-1}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"memory\":1e9}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"memory\":99999999999999999999999}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"memory\":\"67108864\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"maxmem\":4194304}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"vcpus\":0}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"type\":\"x\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"on_crash\":true}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\",\"tz_share\":\"0123456789012345678901234567890123\"}]",
		"[{\"name\":\"a\",\"kernel\":\"files/0\"}",
		"[{\"name\":\"a\",\"kernel\":\"files/0\"}] x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (parse_json(bad[i]) == ST_OK)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(vms.error);
	}
}

static void limits(void **state)
{
	char *json = malloc(1 << 16);

	for (int count = TZ_VMS_MAX; count <= TZ_VMS_MAX + 1; count++) {
		size_t n = (size_t)sprintf(json, "[");

		for (int i = 0; i < count; i++)
			n += (size_t)sprintf(json + n, "%s{\"name\":\"vm%d\",\"kernel\":\"files/0\"}", i ? "," : "", i);
		sprintf(json + n, "]");
		assert_int_equal(parse_json(json), count == TZ_VMS_MAX ? ST_OK : ST_INVALID);
	}
	for (int len = TZ_CMDLINE_MAX; len <= TZ_CMDLINE_MAX + 1; len++) {
		sprintf(json, "[{\"name\":\"a\",\"kernel\":\"files/0\",\"cmdline\":\"%0*d\"}]", len, 0);
		assert_int_equal(parse_json(json), len == TZ_CMDLINE_MAX ? ST_OK : ST_INVALID);
	}
	free(json);
}

static void no_descriptions(void **state)
{
	struct archive *a = calloc(1, sizeof(*a));

	add(a, "files/0", "k", 1);
	finish(a);
	assert_int_equal(parse(a), ST_INVALID);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_files), cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(bad_headers), cmocka_unit_test(reads_everything),
		cmocka_unit_test(defaults),    cmocka_unit_test(wrong_descriptions),
		cmocka_unit_test(limits),      cmocka_unit_test(no_descriptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
