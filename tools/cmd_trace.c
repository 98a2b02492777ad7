// SPDX-License-Identifier: MIT
// trapeze trace: the hypervisor's trace records with names for what is in them (abi/trace.h), and which categories are written.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "abi/trace.h"
#include "tools/client.h"

#define FETCH 256 // records in one request
#define FOLLOW_US 200000
#define PARAMS_MAX 2048

enum { OPT_LIST, OPT_SET, OPT_ENABLE, OPT_DISABLE, OPT_CATEGORIES, OPT_DOMAIN, OPT_NUMBER, OPT_FOLLOW, OPT_TIME, OPT_RAW };

static const struct client_option options[] = {
	{"list", 'l', NULL, "the categories, and whether they are written"},
	{"set", 's', "LIST", "write these categories from now on and no others (all, none)"},
	{"enable", 'e', "LIST", "write these too"},
	{"disable", 'x', "LIST", "write these no more"},
	{"categories", 'c', "LIST", "show only these"},
	{"domain", 'd', "VM", "show only what a CPU wrote that had this VM loaded"},
	{"last", 'n', "N", "of what is there, only the last N"},
	{"follow", 'f', NULL, "go on until interrupted"},
	{"time", 't', "SECONDS", "write the categories of --categories for so long, and show that"},
	{"raw", 'r', NULL, "numbers only: record TSC CPU VM category id a b c d"},
};

struct tracer {
	const char *set, *enable, *disable, *categories, *vm;
	bool list, follow, raw;
	u64 last, time_ms;
	u64 after; // number of the newest record that was fetched
	u64 shown, lost;
};

enum {
#define X(name, text, what) CATEGORY_##name,
	TRACE_CATEGORIES(X)
#undef X
};

static const struct event {
	unsigned category, id;
	const char *name, *arg[4];
} events[] = {
#define X(category, id, name, a, b, c, d) {CATEGORY_##category, id, name, {a, b, c, d}},
	TRACE_EVENTS(X)
#undef X
};

static const char *const categories[] = {
#define X(name, text, what) text,
	TRACE_CATEGORIES(X)
#undef X
};

static const char *const meanings[] = {
#define X(name, text, what) what,
	TRACE_CATEGORIES(X)
#undef X
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

static bool take(void *ctx, unsigned which, const char *arg)
{
	struct tracer *t = ctx;

	switch (which) {
	case OPT_LIST:
		t->list = true;
		return true;
	case OPT_SET:
		t->set = arg;
		return true;
	case OPT_ENABLE:
		t->enable = arg;
		return true;
	case OPT_DISABLE:
		t->disable = arg;
		return true;
	case OPT_CATEGORIES:
		t->categories = arg;
		return true;
	case OPT_DOMAIN:
		t->vm = arg;
		return true;
	case OPT_NUMBER:
		return option_number("trace", "--last", arg, 1, 1000000, &t->last);
	case OPT_FOLLOW:
		t->follow = true;
		return true;
	case OPT_TIME:
		return option_seconds("trace", "--time", arg, &t->time_ms);
	default:
		t->raw = true;
		return true;
	}
}

// ---- requests

// One call; `set`, `enable` and `disable` only where they are not NULL.
static bool call(struct client *c, const struct tracer *t, const char *set, const char *enable, const char *disable, u64 max,
		 struct json_value *result)
{
	char params[PARAMS_MAX];
	struct json_out j;

	json_init(&j, params, sizeof(params));
	json_object(&j);
	if (set)
		json_kv_string(&j, "set", set);
	if (enable)
		json_kv_string(&j, "enable", enable);
	if (disable)
		json_kv_string(&j, "disable", disable);
	if (t->categories)
		json_kv_string(&j, "categories", t->categories);
	if (t->vm)
		json_kv_string(&j, "vm", t->vm);
	json_kv_u64(&j, "after", t->after);
	json_kv_u64(&j, "max", max);
	json_object_end(&j);
	if (j.overflow)
		return complain("trace: the arguments are too long");
	return client_call_params(c, "trace", params, j.len, result);
}

// ---- records

static u64 number(struct json_value record, unsigned i)
{
	u64 n = 0;

	json_u64(json_at(record, i), &n);
	return n;
}

static void print_raw(struct json_value record)
{
	for (unsigned i = 0; i < 10; i++)
		printf("%s%llu", i ? " " : "", (unsigned long long)number(record, i));
	putchar('\n');
}

static const struct event *event_of(u64 category, u64 id)
{
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i].category == category && (events[i].id == id || events[i].id == TRACE_ID_ANY))
			return &events[i];
	return NULL;
}

static void print_args(const struct event *e, struct json_value record)
{
	static const char *const plain[4] = {"a", "b", "c", "d"};

	for (unsigned i = 0; i < 4; i++) {
		const char *name = e ? e->arg[i] : plain[i];
		size_t n = strlen(name);
		u64 value = number(record, 6 + i);

		if (n && name[n - 1] == '#')
			printf(" %.*s=%llu", (int)n - 1, name, (unsigned long long)value);
		else if (n)
			printf(" %s=%#llx", name, (unsigned long long)value);
	}
	putchar('\n');
}

// The name of the VM with this number; the number where it has none any more, "-" for none.
static const char *vm_name(struct json_value reply, u64 id, char *buf, size_t size)
{
	char key[24];

	snprintf(key, sizeof(key), "%llu", (unsigned long long)id);
	if (!id)
		return "-";
	if (json_string(json_member(json_member(reply, "vms"), key), buf, size) < 0)
		snprintf(buf, size, "%s", key);
	return buf;
}

static void print_record(struct json_value reply, struct json_value record)
{
	u64 tsc = client_u64(reply, "tsc"), khz = client_u64(reply, "tsc_khz"), then = number(record, 1), category = number(record, 4),
	    id = number(record, 5);
	double ns = (double)client_u64(reply, "time_ns") - (khz ? ((double)tsc - (double)then) * 1e6 / (double)khz : 0);
	const struct event *e = event_of(category, id);
	char vm[TZ_NAME_MAX + 1], what[64] = "";

	if (json_string(json_at(record, 10), what, sizeof(what)) < 0) {
		if (e && e->id != TRACE_ID_ANY)
			snprintf(what, sizeof(what), "%s", e->name);
		else
			snprintf(what, sizeof(what), "%s %llu", e ? e->name : "", (unsigned long long)id);
	}
	printf("%13.6f CPU%-2llu %-10s %-7s %-15s", ns / 1e9, (unsigned long long)number(record, 2),
	       vm_name(reply, number(record, 3), vm, sizeof(vm)), category < ARRAY_SIZE(categories) ? categories[category] : "?", what);
	print_args(e, record);
}

// Everything since t->after. False after a complaint.
static bool fetch(struct client *c, struct tracer *t)
{
	struct json_value reply, records;
	u64 before;

	do {
		if (!call(c, t, NULL, NULL, NULL, FETCH, &reply))
			return false;
		records = json_member(reply, "records");
		for (unsigned i = 0; i < json_count(records); i++) {
			if (t->raw)
				print_raw(json_at(records, i));
			else
				print_record(reply, json_at(records, i));
			t->shown++;
		}
		t->lost += client_u64(reply, "lost");
		before = t->after;
		t->after = client_u64(reply, "next");
	} while (t->after != before && t->after < client_u64(reply, "written") && !interrupted);
	if (fflush(stdout)) // nobody reads any more: as if interrupted, so that the categories are put back
		interrupted = 1;
	return true;
}

// ---- what is asked

static bool list(struct client *c, struct tracer *t)
{
	struct json_value reply;
	bool on = false;

	if (!call(c, t, NULL, NULL, NULL, 0, &reply))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(categories); i++)
		printf("%-8s %-3s  %s\n", categories[i],
		       json_bool(json_member(json_member(reply, "categories"), categories[i]), &on) && on ? "on" : "off", meanings[i]);
	return true;
}

// The list of categories that are on, as `set` takes it.
static void list_of(struct json_value reply, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "none");
	bool on;

	for (size_t i = 0; i < ARRAY_SIZE(categories); i++)
		if (json_bool(json_member(json_member(reply, "categories"), categories[i]), &on) && on)
			n += (size_t)snprintf(buf + n, size - n, ",%s", categories[i]);
}

static bool follow_until(struct client *c, struct tracer *t, u64 end_ms)
{
	while (!interrupted && (!end_ms || now_ms() < end_ms)) {
		usleep(FOLLOW_US);
		if (access(c->socket, F_OK)) // the machine has ended
			return true;
		if (!fetch(c, t))
			return false;
	}
	return true;
}

// Only what happens from now on, and for so long; then the categories are as they were.
static bool record_for(struct client *c, struct tracer *t)
{
	struct json_value reply;
	char old[256];
	bool ok;

	t->after = 0;
	if (!call(c, t, NULL, NULL, NULL, 0, &reply))
		return false;
	list_of(reply, old, sizeof(old));
	t->after = client_u64(reply, "written");
	if (!call(c, t, t->categories ? t->categories : "all", NULL, NULL, 0, &reply))
		return false;
	ok = follow_until(c, t, now_ms() + t->time_ms);
	return access(c->socket, F_OK) || (call(c, t, old, NULL, NULL, 0, &reply) && ok && fetch(c, t));
}

static bool show(struct client *c, struct tracer *t)
{
	struct json_value reply;

	if (t->set || t->enable || t->disable)
		return call(c, t, t->set, t->enable, t->disable, 0, &reply) && (!t->follow || follow_until(c, t, 0));
	if (t->last) {
		if (!call(c, t, NULL, NULL, NULL, 0, &reply))
			return false;
		u64 written = client_u64(reply, "written");

		t->after = written > t->last ? written - t->last : 0;
	}
	return fetch(c, t) && (!t->follow || follow_until(c, t, 0));
}

int cmd_trace(const struct verb *v, int argc, char **argv)
{
	struct tracer t = {0};
	struct client c;
	char name[TZ_NAME_MAX + 1];
	int status = client_options_own(&c, v, argc, argv, options, ARRAY_SIZE(options), take, &t);

	if (status >= 0)
		return status;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	if (t.vm)
		t.vm = client_vm(&c, t.vm, name, sizeof(name));
	bool ok = t.list ? list(&c, &t) : t.time_ms ? record_for(&c, &t) : show(&c, &t);

	if (ok && t.lost && (t.follow || t.time_ms))
		complain("trace: %llu records were overwritten before they could be read", (unsigned long long)t.lost);
	client_free(&c);
	return ok ? EXIT_OK : EXIT_FAILED;
}
