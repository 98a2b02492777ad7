// SPDX-License-Identifier: MIT
// The store as a guest sees it, through the ring alone: each request and its errors, watches, transactions that conflict, limits, rings
// that make no sense; and random requests beside a simple model, with the audit.
#include "core/pv/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define DOM 1
#define HOME "/local/domain/1"

static struct pv_store store;
static struct xenstore_domain_interface ring;
static u32 last_id;
static struct xsd_sockmsg head;        // of the last message
static char body[XENSTORE_PAYLOAD_MAX + 1];
static char event[64][256];            // path and token of events that came, "path|token"
static unsigned events;

static int start(void **state)
{
	memset(&ring, 0, sizeof(ring));
	ring.req_cons = ring.req_prod = 0xfffffe00; // the indices will wrap
	ring.rsp_cons = ring.rsp_prod = 0xffffff80;
	pv_store_init(&store, &ring, DOM);
	assert_int_equal(pv_store_write(&store, "data", ""), ST_OK);
	assert_int_equal(pv_store_give(&store, "data"), ST_OK);
	events = 0;
	return 0;
}

static void run(void)
{
	for (unsigned i = 0; pv_store_run(&store) & PV_STORE_MORE; i++)
		assert_true(i < 100);
	assert_true(pv_store_audit(&store));
}

// ---- the guest's end of the ring

static void send_bytes(const void *bytes, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		for (unsigned k = 0; ring.req_prod - ring.req_cons == XENSTORE_RING_SIZE; k++) {
			run();
			assert_true(k < 3);
		}
		ring.req[MASK_XENSTORE_IDX(ring.req_prod++)] = ((const char *)bytes)[i];
	}
}

static void send(u32 type, u32 tx, const void *payload, u32 n)
{
	struct xsd_sockmsg m = {.type = type, .req_id = ++last_id, .tx_id = tx, .len = n};

	send_bytes(&m, sizeof(m));
	send_bytes(payload, n);
}

static bool receive_bytes(void *bytes, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if (ring.rsp_cons == ring.rsp_prod)
			run();
		if (ring.rsp_cons == ring.rsp_prod)
			return false;
		((char *)bytes)[i] = ring.rsp[MASK_XENSTORE_IDX(ring.rsp_cons++)];
	}
	return true;
}

// The next message, or false: there is none.
static bool receive(void)
{
	if (!receive_bytes(&head, sizeof(head)))
		return false;
	assert_true(head.len <= XENSTORE_PAYLOAD_MAX);
	assert_true(receive_bytes(body, head.len));
	body[head.len] = 0;
	return true;
}

static void keep_event(void)
{
	assert_true(!head.req_id && !head.tx_id && events < ARRAY_SIZE(event));
	assert_int_equal(strlen(body) + 1 + strlen(body + strlen(body) + 1) + 1, head.len);
	snprintf(event[events++], sizeof(event[0]), "%.120s|%.120s", body, body + strlen(body) + 1);
}

// The reply to a request; events that come before are kept. What the reply says, or the error's name.
static const char *talk(u32 type, u32 tx, const void *payload, u32 n)
{
	send(type, tx, payload, n);
	run();
	for (;;) {
		assert_true(receive());
		if (head.type != XS_WATCH_EVENT)
			break;
		keep_event();
	}
	assert_int_equal(head.req_id, last_id);
	assert_int_equal(head.tx_id, tx);
	assert_true(head.type == type || head.type == XS_ERROR);
	return body;
}

static void take_events(void)
{
	events = 0;
	while (receive())
		keep_event();
}

// With the NUL at its end.
static const char *ask(u32 type, u32 tx, const char *path)
{
	return talk(type, tx, path, (u32)strlen(path) + 1);
}

static const char *write_to(u32 tx, const char *path, const char *value)
{
	char payload[XENSTORE_PAYLOAD_MAX];

	return talk(XS_WRITE, tx, payload, (u32)snprintf(payload, sizeof(payload), "%s%c%s", path, 0, value));
}

static const char *two(u32 type, const char *one, const char *other)
{
	char payload[XENSTORE_PAYLOAD_MAX];

	return talk(type, 0, payload, (u32)snprintf(payload, sizeof(payload), "%s%c%s", one, 0, other) + 1);
}

static u32 begin(void)
{
	u32 id = (u32)strtoul(ask(XS_TRANSACTION_START, 0, ""), NULL, 10);

	assert_int_equal(head.type, XS_TRANSACTION_START);
	assert_true(id);
	return id;
}

#define is(text, want) assert_string_equal(text, want)

// ---- requests

static void test_values(void **state)
{
	is(write_to(0, "data/a/b", "value"), "OK");
	is(ask(XS_READ, 0, "data/a/b"), "value");
	assert_int_equal(head.len, 5); // no NUL
	is(ask(XS_READ, 0, HOME "/data/a/b"), "value");
	is(ask(XS_READ, 0, "data/a"), "");
	assert_int_equal(head.type, XS_READ);
	is(write_to(0, "data/a/b", "another, which is longer"), "OK");
	is(ask(XS_READ, 0, "data/a/b"), "another, which is longer");
	is(talk(XS_WRITE, 0, "data/bin\0\0\1\0", 12), "OK");
	talk(XS_READ, 0, "data/bin", 9);
	assert_true(head.len == 3 && !memcmp(body, "\0\1\0", 3));
	is(ask(XS_MKDIR, 0, "data/d/e"), "OK");
	is(ask(XS_MKDIR, 0, "data/a/b"), "OK"); // is there, and stays
	is(ask(XS_READ, 0, "data/a/b"), "another, which is longer");
	is(ask(XS_RM, 0, "data/a"), "OK");
	is(ask(XS_READ, 0, "data/a/b"), "ENOENT");
	is(ask(XS_RM, 0, "data/a"), "OK");
	is(ask(XS_RM, 0, "data/a/b"), "ENOENT"); // nothing above it
	is(ask(XS_RM, 0, "data"), "OK");         // its own
	is(ask(XS_READ, 0, "data"), "ENOENT");
}

static void test_directory(void **state)
{
	static const char names[] = "bin\0d\0d-e\0d0";

	for (const char *n = names; n < names + sizeof(names); n += strlen(n) + 1) {
		char path[64];

		snprintf(path, sizeof(path), "data/%s/below/it", n);
		is(write_to(0, path, ""), "OK");
	}
	ask(XS_DIRECTORY, 0, "data");
	assert_true(head.type == XS_DIRECTORY && head.len == sizeof(names) && !memcmp(body, names, sizeof(names)));
	ask(XS_DIRECTORY, 0, "data/d0/below/it");
	assert_true(head.type == XS_DIRECTORY && !head.len);
	is(ask(XS_DIRECTORY, 0, "data/none"), "ENOENT");
	is(ask(XS_DIRECTORY, 0, "/"), "EACCES");
	for (unsigned i = 0; i < 120; i++) {
		char path[64];

		snprintf(path, sizeof(path), "data/a-name-that-is-rather-long-as-they-go-%u", i);
		is(write_to(0, path, ""), "OK");
	}
	is(ask(XS_DIRECTORY, 0, "data"), "E2BIG");
}

// Names in pieces, from where the last piece ended.
static void test_directory_part(void **state)
{
	char path[64], first[24] = "", from[16];
	unsigned names = 0, pieces = 0;
	u32 offset = 0;
	bool over = false;

	for (unsigned i = 0; i < 120; i++) {
		snprintf(path, sizeof(path), "data/a-name-that-is-rather-long-as-they-go-%u", i);
		is(write_to(0, path, ""), "OK");
	}
	while (!over) {
		snprintf(from, sizeof(from), "%u", offset);
		two(XS_DIRECTORY_PART, "data", from);
		assert_int_equal(head.type, XS_DIRECTORY_PART);
		assert_true(pieces++ < 4);
		if (!offset)
			snprintf(first, sizeof(first), "%.20s", body);
		is(body, first);
		for (u32 at = (u32)strlen(body) + 1, n; at < head.len; at += n, offset += n) {
			n = (u32)strlen(body + at) + 1;
			over |= n == 1;
			names += n != 1;
		}
	}
	assert_true(names == 120 && pieces == 2);
	is(write_to(0, "data/one-more", ""), "OK");
	two(XS_DIRECTORY_PART, "data", "0");
	assert_string_not_equal(body, first);
	is(ask(XS_DIRECTORY_PART, 0, "data"), "EINVAL");
	is(two(XS_DIRECTORY_PART, "data/none", "0"), "ENOENT");
	two(XS_DIRECTORY_PART, "data", "99999999999999999999");
	assert_int_equal(head.len, strlen(body) + 2);
}

static void test_paths(void **state)
{
	static const char *const wrong[] = {"", "data/", "data//a", "//", "/local/", "da ta", "data/\xe9", "data.a", "@releaseDomain", "data:a"};
	static char path[XENSTORE_ABS_PATH_MAX + 2];

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		is(ask(XS_READ, 0, wrong[i]), "EINVAL");
		is(write_to(0, wrong[i], ""), "EINVAL");
		is(ask(XS_RM, 0, wrong[i]), "EINVAL");
	}
	is(talk(XS_READ, 0, "data", 4), "EINVAL"); // no end
	is(talk(XS_READ, 0, "data\0x", 7), "EINVAL");
	is(talk(XS_READ, 0, "", 0), "EINVAL");
	is(talk(XS_WRITE, 0, "data/a", 6), "EINVAL");
	memset(path, 'a', sizeof(path) - 1);
	path[XENSTORE_REL_PATH_MAX] = 0;
	is(ask(XS_READ, 0, path), "ENOENT");
	path[XENSTORE_REL_PATH_MAX] = 'a';
	path[XENSTORE_REL_PATH_MAX + 1] = 0;
	is(ask(XS_READ, 0, path), "EINVAL");
	path[XENSTORE_REL_PATH_MAX + 1] = 'a';
	path[0] = '/';
	path[XENSTORE_ABS_PATH_MAX] = 0;
	is(ask(XS_READ, 0, path), "EACCES");
	path[XENSTORE_ABS_PATH_MAX] = 'a';
	is(ask(XS_READ, 0, path), "EINVAL");
}

static void test_rights(void **state)
{
	assert_int_equal(pv_store_write(&store, "/secret/word", "x"), ST_OK);
	assert_int_equal(pv_store_write(&store, "memory/target", "77"), ST_OK);
	is(ask(XS_READ, 0, "memory/target"), "77");
	is(write_to(0, "memory/target", "99"), "EACCES");
	is(ask(XS_RM, 0, "memory/target"), "EACCES");
	is(ask(XS_MKDIR, 0, "memory/more"), "EACCES");
	is(ask(XS_RM, 0, "memory/none"), "EACCES");
	is(ask(XS_READ, 0, "memory/none"), "ENOENT");
	is(ask(XS_READ, 0, "/secret/word"), "EACCES");
	is(ask(XS_READ, 0, "/secret/none"), "EACCES"); // nor is it told what there is
	is(ask(XS_GET_PERMS, 0, "/secret"), "EACCES");
	is(ask(XS_RM, 0, "/"), "EACCES");
	is(ask(XS_GET_PERMS, 0, "@introduceDomain"), "EACCES");
	ask(XS_GET_PERMS, 0, "memory");
	assert_true(head.len == 6 && !memcmp(body, "n0\0r1", 6));
	ask(XS_GET_PERMS, 0, "data");
	assert_true(head.len == 3 && !memcmp(body, "n1", 3));
	is(talk(XS_SET_PERMS, 0, "data\0n1\0r0\0b3\0w65535", 21), "OK");
	ask(XS_GET_PERMS, 0, "data");
	assert_true(head.len == 16 && !memcmp(body, "n1\0r0\0b3\0w65535", 16));
	is(write_to(0, "data/child", ""), "OK"); // as above it
	ask(XS_GET_PERMS, 0, "data/child");
	assert_int_equal(head.len, 16);
	is(two(XS_SET_PERMS, "data", "n0"), "EPERM"); // the owner stays
	is(two(XS_SET_PERMS, "memory", "b1"), "EACCES");
	is(two(XS_SET_PERMS, "data/none", "n1"), "ENOENT");
	is(ask(XS_SET_PERMS, 0, "data"), "EINVAL");
	is(two(XS_SET_PERMS, "data", "x1"), "EINVAL");
	is(two(XS_SET_PERMS, "data", "n"), "EINVAL");
	is(two(XS_SET_PERMS, "data", ""), "EINVAL");
	is(two(XS_SET_PERMS, "data", "n65536"), "EINVAL");
	is(two(XS_SET_PERMS, "data", "n1x"), "EINVAL");
	is(talk(XS_SET_PERMS, 0, "data\0n1\0r2\0r3\0r4\0r5\0r6", 23), "ENOSPC");
	assert_int_equal(pv_store_show(&store, "/secret/word"), ST_OK);
	is(ask(XS_READ, 0, "/secret/word"), "x");
	is(write_to(0, "/secret/word", ""), "EACCES");
}

static void test_domains(void **state)
{
	static const u32 privileged[] = {XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_TARGET, XS_IS_DOMAIN_INTRODUCED};
	static const u32 unknown[] = {XS_WATCH_EVENT, XS_ERROR, 20, XS_TYPE_COUNT, XS_INVALID, ~0u};

	is(ask(XS_GET_DOMAIN_PATH, 0, "1"), HOME);
	assert_int_equal(head.len, sizeof(HOME));
	is(ask(XS_GET_DOMAIN_PATH, 0, "007"), "/local/domain/7");
	is(ask(XS_GET_DOMAIN_PATH, 0, "65536"), "EINVAL");
	is(ask(XS_GET_DOMAIN_PATH, 0, "x"), "EINVAL");
	is(talk(XS_GET_DOMAIN_PATH, 0, "1", 1), "EINVAL");
	for (unsigned i = 0; i < ARRAY_SIZE(privileged); i++)
		is(ask(privileged[i], 0, "1"), "EACCES");
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		is(ask(unknown[i], 0, "1"), "ENOSYS");
}

// ---- watches

static void one_event(const char *want)
{
	take_events();
	assert_int_equal(events, 1);
	is(event[0], want);
}

static void test_watches(void **state)
{
	is(two(XS_WATCH, "data/w", "t"), "OK");
	one_event("data/w|t"); // straight away, behind the reply, and although there is nothing
	is(two(XS_WATCH, "data/w", "t"), "EEXIST");
	is(two(XS_WATCH, HOME "/data/w", "t"), "EEXIST");
	is(two(XS_WATCH, HOME "/data/w", "u"), "OK");
	one_event(HOME "/data/w|u");
	is(two(XS_UNWATCH, "data/w", "u"), "OK");
	is(two(XS_UNWATCH, "data/w", "u"), "ENOENT");
	events = 0;
	is(write_to(0, "data/w", "1"), "OK");
	assert_int_equal(events, 1);
	is(event[0], "data/w|t");
	events = 0;
	is(write_to(0, "data/w/below/it", "1"), "OK");
	is(event[0], "data/w/below/it|t");
	events = 0;
	is(write_to(0, "data/wide", "1"), "OK");
	is(write_to(0, "data", "1"), "OK");
	is(ask(XS_MKDIR, 0, "data/w/below"), "OK"); // no change
	is(ask(XS_READ, 0, "data/w"), "1");
	assert_int_equal(events, 0);
	is(two(XS_SET_PERMS, "data/w", "b1"), "OK");
	assert_int_equal(events, 1);
	events = 0;
	is(ask(XS_RM, 0, "data/w"), "OK"); // one event for what was removed as one
	assert_int_equal(events, 1);
	is(event[0], "data/w|t");
	is(write_to(0, "data/w/x", ""), "OK");
	events = 0;
	is(ask(XS_RM, 0, "data"), "OK"); // from above: the watch's own path
	assert_int_equal(events, 1);
	is(event[0], "data/w|t");
	is(two(XS_WATCH, "@releaseDomain", "s"), "OK");
	one_event("@releaseDomain|s");
	is(ask(XS_WATCH, 0, "data/w"), "EINVAL");
	is(talk(XS_WATCH, 0, "data/w\0t\0" "1", 11), "EINVAL"); // a depth is not offered
	is(two(XS_WATCH, "data/", "t"), "EINVAL");
	is(ask(XS_UNWATCH, 0, "data/w"), "EINVAL");
	is(ask(XS_RESET_WATCHES, 0, ""), "OK");
	is(two(XS_UNWATCH, "data/w", "t"), "ENOENT");
}

// The hypervisor writes: told to who watches, and may know.
static void test_hypervisor(void **state)
{
	unsigned length;

	is(two(XS_WATCH, "control/shutdown", "c"), "OK");
	is(two(XS_WATCH, "/secret", "s"), "OK");
	take_events();
	assert_int_equal(pv_store_write(&store, "control/shutdown", "poweroff"), ST_OK);
	assert_int_equal(pv_store_write(&store, "/secret/word", "poweroff"), ST_OK);
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	one_event("control/shutdown|c");
	is(ask(XS_READ, 0, "control/shutdown"), "poweroff");
	assert_int_equal(pv_store_run(&store), 0);
	assert_int_equal(pv_store_write(&store, "no such/path", ""), ST_INVALID);
	assert_int_equal(pv_store_give(&store, "none"), ST_NOTFOUND);
	assert_int_equal(pv_store_give(&store, "none/"), ST_INVALID);
	assert_null(pv_store_read(&store, "none", &length));
	assert_memory_equal(pv_store_read(&store, "control/shutdown", &length), "poweroff", 8);
	assert_int_equal(length, 8);
}

static void watch_many(void)
{
	char token[16];

	for (unsigned i = 0; i < PV_STORE_WATCHES; i++) {
		snprintf(token, sizeof(token), "%u", i);
		is(two(XS_WATCH, "data/w", token), "OK");
		while (receive())
			;
	}
}

// So many events that they do not fit at once, while the guest reads nothing: each watch is told in the end, and requests wait.
static void test_many_events(void **state)
{
	char seen[PV_STORE_WATCHES] = {0};
	unsigned messages = 0, told = 0;

	watch_many();
	is(two(XS_WATCH, "data/w", "one too many"), "ENOSPC");
	for (unsigned i = 0; i < 16; i++)
		send(XS_WRITE, 0, "data/w/a-name-that-is-rather-long-as-they-go", 45);
	run();
	assert_int_equal(ring.rsp_prod - ring.rsp_cons, XENSTORE_RING_SIZE);
	while (receive()) {
		if (head.type == XS_WATCH_EVENT) {
			unsigned n = (unsigned)strtoul(body + strlen(body) + 1, NULL, 10);

			assert_true(n < PV_STORE_WATCHES && strncmp(body, "data/w", 6) == 0);
			told += seen[n] == 0;
			seen[n] = 1;
		}
		assert_true(messages++ < 16 * (PV_STORE_WATCHES + 1));
	}
	assert_int_equal(told, PV_STORE_WATCHES);
	assert_int_equal(ring.req_cons, ring.req_prod);
	assert_false(store.due);
}

// The longest that there can be: its event has just room.
static void test_long_watch(void **state)
{
	static char payload[XENSTORE_PAYLOAD_MAX];

	memset(payload, 'a', sizeof(payload));
	memcpy(payload, "data/w", 7);
	payload[sizeof(payload) - 1] = 0;
	is(talk(XS_WATCH, 0, payload, sizeof(payload)), "OK");
	assert_true(receive());
	assert_true(head.type == XS_WATCH_EVENT && head.len == sizeof(payload) && !memcmp(body, payload, sizeof(payload)));
	is(write_to(0, "data/w/below", ""), "OK"); // would be longer: told of the watch's path
	assert_true(receive());
	assert_true(head.type == XS_WATCH_EVENT && head.len == sizeof(payload) && !memcmp(body, payload, sizeof(payload)));
	assert_false(receive());
}

// ---- transactions

static void test_transactions(void **state)
{
	u32 x = begin(), y = begin();

	is(two(XS_WATCH, "data", "t"), "OK");
	one_event("data|t");
	events = 0;
	is(write_to(x, "data/x/y", "1"), "OK");
	is(ask(XS_READ, x, "data/x/y"), "1");
	is(ask(XS_READ, 0, "data/x/y"), "ENOENT");
	is(ask(XS_READ, y, "data/x/y"), "ENOENT");
	assert_int_equal(events, 0);
	is(ask(XS_TRANSACTION_END, x, "T"), "OK");
	assert_true(events >= 1); // what was made above it may be told, too
	is(event[events - 1], "data/x/y|t");
	is(ask(XS_READ, 0, "data/x/y"), "1");
	is(ask(XS_READ, y, "data/x/y"), "ENOENT"); // as it was
	is(ask(XS_TRANSACTION_END, y, "T"), "OK");  // it has written nothing
	is(ask(XS_TRANSACTION_END, y, "T"), "ENOENT");
	is(ask(XS_READ, x, "data"), "ENOENT");
	x = begin();
	is(ask(XS_RM, x, "data/x"), "OK");
	is(ask(XS_TRANSACTION_END, x, "F"), "OK");
	is(ask(XS_READ, 0, "data/x/y"), "1");
	x = begin();
	is(ask(XS_RM, x, "data/x"), "OK");
	is(ask(XS_MKDIR, x, "data/z"), "OK");
	events = 0;
	is(ask(XS_TRANSACTION_END, x, "T"), "OK");
	assert_int_equal(events, 2);
	is(event[0], "data/x|t");
	is(event[1], "data/z|t");
	is(ask(XS_READ, 0, "data/x/y"), "ENOENT");
}

static void test_conflicts(void **state)
{
	u32 x = begin(), y = begin();

	is(write_to(x, "data/x", "1"), "OK");
	is(write_to(y, "data/y", "1"), "OK");
	is(ask(XS_TRANSACTION_END, y, "T"), "OK");
	is(ask(XS_TRANSACTION_END, x, "T"), "EAGAIN");
	is(ask(XS_TRANSACTION_END, x, "T"), "ENOENT"); // over all the same
	is(ask(XS_READ, 0, "data/x"), "ENOENT");
	x = begin();
	is(write_to(x, "data/x", "1"), "OK");
	is(write_to(0, "data/z", "1"), "OK");
	is(ask(XS_TRANSACTION_END, x, "T"), "EAGAIN");
	x = begin();
	is(write_to(x, "data/x", "1"), "OK");
	assert_int_equal(pv_store_write(&store, "control/shutdown", "poweroff"), ST_OK);
	is(ask(XS_TRANSACTION_END, x, "T"), "EAGAIN");
	x = begin();
	is(write_to(x, "data/x", "1"), "OK");
	is(ask(XS_TRANSACTION_END, x, "T"), "OK");
	is(ask(XS_READ, 0, "data/x"), "1");
}

static void test_transaction_errors(void **state)
{
	u32 x = begin();

	is(ask(XS_TRANSACTION_START, x, ""), "EBUSY");
	is(ask(XS_TRANSACTION_END, x, "X"), "EINVAL");
	is(talk(XS_TRANSACTION_END, x, "T", 1), "EINVAL");
	is(ask(XS_TRANSACTION_END, 0, "T"), "ENOENT");
	is(ask(XS_TRANSACTION_END, x + 1, "T"), "ENOENT");
	is(write_to(x + 1, "data/x", "1"), "ENOENT");
	is(write_to(x, "memory", "1"), "EACCES");
	for (unsigned i = 1; i < PV_STORE_TRANSACTIONS; i++)
		begin();
	is(ask(XS_TRANSACTION_START, 0, ""), "ENOSPC");
	is(write_to(x, "data/x", "1"), "OK"); // in front of the others
	is(ask(XS_TRANSACTION_END, x, "F"), "OK");
	x = begin();
	is(ask(XS_RESET_WATCHES, x, ""), "OK");
	is(ask(XS_READ, x, "data"), "ENOENT");
	assert_int_equal(store.pool_used, 0);
}

// ---- limits

static void test_quota(void **state)
{
	static char value[PV_STORE_NODE];
	char path[64];
	unsigned n = 0;
	u32 used, x;

	memset(value, 'v', sizeof(value) - 1);
	is(write_to(0, "data/large", value), "ENOSPC"); // a node has its limit
	value[1900] = 0;
	for (;; n++) {
		snprintf(path, sizeof(path), "data/%u", n);
		if (strcmp(write_to(0, path, value), "OK") != 0)
			break;
	}
	is(body, "ENOSPC");
	assert_true(n > 8 && store.main.used <= PV_STORE_GUEST);
	used = store.main.used;
	value[500] = 0;
	is(write_to(0, "data/x/y/z", value), "OK");
	is(write_to(0, "data/x/y/z", "less"), "OK");
	is(write_to(0, "data/0", ""), "OK");
	assert_true(store.main.used < used);
	while (!strcmp(write_to(0, path, value), "OK"))
		snprintf(path, sizeof(path), "data/more/%u", n++);
	assert_int_equal(pv_store_write(&store, "control/shutdown", "poweroff"), ST_OK); // that still finds room
	x = begin();
	is(write_to(x, path, value), "ENOSPC");
	is(ask(XS_RM, x, "data/1"), "OK");
	is(write_to(x, path, value), "OK");
	for (n = 0; !strcmp(ask(XS_TRANSACTION_START, 0, ""), "ENOSPC") ? 0 : 1; n++) // by their size now
		;
	assert_true(n >= 2 && n < PV_STORE_TRANSACTIONS - 1);
	is(ask(XS_TRANSACTION_END, x, "T"), "OK");
	is(ask(XS_READ, 0, path), value);
	while (pv_store_write(&store, path, value) == ST_OK)
		snprintf(path, sizeof(path), "hypervisor/%u", n++);
	assert_true(store.main.used <= PV_STORE_TREE && store.main.used > PV_STORE_GUEST);
}

// ---- rings

static void test_byte_by_byte(void **state)
{
	static const char request[] = "\2\0\0\0\7\0\0\0\0\0\0\0\5\0\0\0data";

	is(write_to(0, "data", "slowly"), "OK");
	for (u32 i = 0; i < sizeof(request); i++) {
		assert_int_equal(ring.rsp_prod, ring.rsp_cons);
		send_bytes(request + i, 1);
		assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	}
	assert_true(receive());
	is(body, "slowly");
	assert_int_equal(head.req_id, 7);
}

static void expect_broken(u32 why)
{
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	assert_int_equal(ring.error, why);
	assert_int_equal(pv_store_run(&store), 0); // nothing more is looked at
	assert_int_equal(store.watches + store.pool_used, 0);
	ring.connection = XENSTORE_RECONNECT;
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	assert_true(!ring.connection && !ring.error && !ring.req_prod && !ring.req_cons && !ring.rsp_prod && !ring.rsp_cons);
	is(ask(XS_GET_DOMAIN_PATH, 0, "1"), HOME);
	assert_false(receive()); // the watch is gone
}

static void test_broken(void **state)
{
	is(two(XS_WATCH, "data/w", "t"), "OK");
	take_events();
	begin();
	ring.req_prod = ring.req_cons + XENSTORE_RING_SIZE + 1;
	expect_broken(XENSTORE_ERROR_RINGIDX);
	ring.req_prod = ring.req_cons - 1;
	expect_broken(XENSTORE_ERROR_RINGIDX);
	is(two(XS_WATCH, "data/w", "t"), "OK");
	ring.rsp_cons = ring.rsp_prod + 1;
	expect_broken(XENSTORE_ERROR_RINGIDX);
	ring.rsp_cons = ring.rsp_prod - XENSTORE_RING_SIZE - 1;
	expect_broken(XENSTORE_ERROR_RINGIDX);
	send(XS_READ, 0, "", 0);
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	assert_true(receive() && !strcmp(body, "EINVAL"));
	send_bytes(&(struct xsd_sockmsg){.type = XS_WRITE, .len = XENSTORE_PAYLOAD_MAX + 1}, sizeof(struct xsd_sockmsg));
	expect_broken(XENSTORE_ERROR_PROTO);
	send_bytes(&(struct xsd_sockmsg){.type = XS_WRITE, .len = ~0u}, sizeof(struct xsd_sockmsg));
	expect_broken(XENSTORE_ERROR_PROTO);
	send_bytes(&(struct xsd_sockmsg){.type = XS_WRITE, .len = 100}, sizeof(struct xsd_sockmsg));
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	ring.connection = XENSTORE_RECONNECT; // half a message is forgotten
	assert_int_equal(pv_store_run(&store), PV_STORE_RING);
	is(ask(XS_GET_DOMAIN_PATH, 0, "1"), HOME);
}

// A call does a bounded part of what the ring is full of, and says that there is more.
static void test_burst(void **state)
{
	for (unsigned i = 0; i < XENSTORE_RING_SIZE / sizeof(struct xsd_sockmsg); i++)
		send_bytes(&(struct xsd_sockmsg){.type = XS_READ, .req_id = i}, sizeof(struct xsd_sockmsg));
	assert_int_equal(pv_store_run(&store), PV_STORE_RING | PV_STORE_MORE);
	assert_true(ring.req_prod - ring.req_cons >= XENSTORE_RING_SIZE - 2 * PV_STORE_BURST * sizeof(struct xsd_sockmsg));
	for (unsigned i = 0; i < XENSTORE_RING_SIZE / sizeof(struct xsd_sockmsg); i++) {
		assert_true(receive());
		assert_int_equal(head.req_id, i);
	}
}

static void test_start(void **state)
{
	static const struct pv_store_start xl = {"a-guest", 262144, 524288, 2, 0x1234, 0x1235, 3, 4};

	memset(&ring, 0, sizeof(ring));
	pv_store_init(&store, &ring, DOM);
	assert_int_equal(pv_store_start(&store, &xl), ST_OK);
	is(ask(XS_READ, 0, "name"), "a-guest");
	is(ask(XS_READ, 0, "domid"), "1");
	is(ask(XS_READ, 0, "memory/target"), "262144");
	is(ask(XS_READ, 0, "memory/static-max"), "524288");
	is(ask(XS_READ, 0, "store/ring-ref"), "4660");
	is(ask(XS_READ, 0, "store/port"), "3");
	is(ask(XS_READ, 0, "console/ring-ref"), "4661");
	is(ask(XS_READ, 0, "console/port"), "4");
	is(ask(XS_READ, 0, "cpu/1/availability"), "online");
	is(ask(XS_READ, 0, "cpu/2/availability"), "ENOENT");
	ask(XS_DIRECTORY, 0, "device");
	assert_true(head.type == XS_DIRECTORY && !head.len);
	is(ask(XS_READ, 0, "vm"), "/vm/00000000-0000-0000-0000-000000000000");
	is(ask(XS_READ, 0, "/vm/00000000-0000-0000-0000-000000000000/uuid"), "00000000-0000-0000-0000-000000000000");
	is(write_to(0, "control/shutdown", ""), "OK");
	is(write_to(0, "control/feature-poweroff", "1"), "OK");
	is(write_to(0, "data/of/mine", "1"), "OK");
	is(write_to(0, "name", "other"), "EACCES");
	is(write_to(0, "mine", ""), "EACCES");
	assert_true(store.main.used < 4 * KIB);
}

// ---- random requests beside a model: nodes data/N/N of one digit each, in the store and in up to three transactions

#define MODEL 20 // 0 to 9: data/N; 10 to 19: data/N/0
#define OPEN 3

struct model {
	int value[MODEL]; // -1: not there
};

static struct model now, copy[OPEN];
static u32 id[OPEN];
static bool wrote[OPEN], stale[OPEN];
static u64 seed = 88172645463325252ull;

static u32 below(u32 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)((seed >> 17) % n);
}

static const char *model_path(unsigned node)
{
	static char path[16];

	snprintf(path, sizeof(path), node < 10 ? "data/%u" : "data/%u/0", node % 10);
	return path;
}

static void changed(int x)
{
	if (x >= 0)
		wrote[x] = true;
	else
		for (unsigned i = 0; i < OPEN; i++)
			stale[i] = true;
}

static void model_write(struct model *m, int x, unsigned node)
{
	char value[8];
	int v = (int)below(100);

	snprintf(value, sizeof(value), "%d", v);
	is(write_to(x < 0 ? 0 : id[x], model_path(node), value), "OK");
	if (m->value[node % 10] < 0)
		m->value[node % 10] = 1000; // empty
	m->value[node] = v;
	changed(x);
}

static void model_remove(struct model *m, int x, unsigned node)
{
	const char *said = ask(XS_RM, x < 0 ? 0 : id[x], model_path(node));

	if (node >= 10 && m->value[node - 10] < 0) {
		is(said, "ENOENT");
		return;
	}
	is(said, "OK");
	if (m->value[node] < 0)
		return;
	m->value[node] = -1;
	if (node < 10)
		m->value[node + 10] = -1;
	changed(x);
}

static void model_read(const struct model *m, int x, unsigned node)
{
	char value[8];

	snprintf(value, sizeof(value), "%d", m->value[node]);
	is(ask(XS_READ, x < 0 ? 0 : id[x], model_path(node)), m->value[node] < 0 ? "ENOENT" : m->value[node] == 1000 ? "" : value);
}

static void model_transaction(unsigned x, unsigned done[3])
{
	if (!id[x]) {
		id[x] = begin();
		copy[x] = now;
		wrote[x] = stale[x] = false;
		return;
	}
	if (below(4) == 0) {
		is(ask(XS_TRANSACTION_END, id[x], "F"), "OK");
		done[2]++;
	} else if (wrote[x] && stale[x]) {
		is(ask(XS_TRANSACTION_END, id[x], "T"), "EAGAIN");
		done[1]++;
	} else {
		is(ask(XS_TRANSACTION_END, id[x], "T"), "OK");
		done[0]++;
		if (wrote[x]) {
			now = copy[x];
			changed(-1);
		}
	}
	id[x] = 0;
}

static void test_random(void **state)
{
	unsigned done[3] = {0};

	for (unsigned i = 0; i < MODEL; i++)
		now.value[i] = -1;
	for (unsigned i = 0; i < 100000; i++) {
		int x = (int)below(OPEN + 1) - 1;
		struct model *m;
		unsigned node = below(MODEL);

		if (x >= 0 && !id[x])
			x = -1;
		m = x < 0 ? &now : &copy[x];
		switch (below(10)) {
		case 0: model_transaction(below(OPEN), done); break;
		case 1: model_remove(m, x, node); break;
		case 2:
			if (below(3) == 0)
				model_write(m, x, node);
			break;
		default: model_read(m, x, node);
		}
	}
	print_message("transactions: %u committed, %u in conflict, %u dropped\n", done[0], done[1], done[2]);
	assert_true(done[0] > 500 && done[1] > 500 && done[2] > 500);
}

// The audit can fail.
static void test_audit(void **state)
{
	u8 old;

	is(write_to(0, "data/a", "1"), "OK");
	is(two(XS_WATCH, "data", "t"), "OK");
	old = store.tree[0];
	store.tree[0] = (u8)(old + 8);
	assert_false(pv_store_audit(&store));
	store.tree[0] = old;
	assert_true(pv_store_audit(&store));
	store.pool_used = 8;
	assert_false(pv_store_audit(&store));
	store.pool_used = 0;
	store.watch[0] = (u8)(store.watch[0] - 8);
	assert_false(pv_store_audit(&store));
	store.watch[0] = (u8)(store.watch[0] + 8);
	store.tree[store.main.used - 6] = 'x'; // the path's end
	assert_false(pv_store_audit(&store));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_values, start),
		cmocka_unit_test_setup(test_directory, start),
		cmocka_unit_test_setup(test_directory_part, start),
		cmocka_unit_test_setup(test_paths, start),
		cmocka_unit_test_setup(test_rights, start),
		cmocka_unit_test_setup(test_domains, start),
		cmocka_unit_test_setup(test_watches, start),
		cmocka_unit_test_setup(test_hypervisor, start),
		cmocka_unit_test_setup(test_many_events, start),
		cmocka_unit_test_setup(test_long_watch, start),
		cmocka_unit_test_setup(test_transactions, start),
		cmocka_unit_test_setup(test_conflicts, start),
		cmocka_unit_test_setup(test_transaction_errors, start),
		cmocka_unit_test_setup(test_quota, start),
		cmocka_unit_test_setup(test_byte_by_byte, start),
		cmocka_unit_test_setup(test_broken, start),
		cmocka_unit_test_setup(test_burst, start),
		cmocka_unit_test_setup(test_start, start),
		cmocka_unit_test_setup(test_random, start),
		cmocka_unit_test_setup(test_audit, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
