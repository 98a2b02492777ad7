// SPDX-License-Identifier: MIT
// trapeze sched-credit [-d VM [-w WEIGHT] [-c CAP]]: shares of the CPUs, as xl's.
#include <stdio.h>
#include <string.h>

#include "abi/bundle.h"
#include "tools/client.h"

enum { OPT_DOMAIN, OPT_WEIGHT, OPT_CAP };

static const struct client_option options[] = {
	{"domain", 'd', "VM", "this one"},
	{"weight", 'w', "WEIGHT", "its share against the others', 1 to 65535"},
	{"cap", 'c', "CAP", "limit in percent of one CPU, 0: none"},
};

struct credit {
	const char *vm;
	u64 weight, cap;
	bool set_weight, set_cap;
};

static bool take(void *ctx, unsigned which, const char *arg)
{
	struct credit *s = ctx;

	if (which == OPT_DOMAIN) {
		s->vm = arg;
		return true;
	}
	if (which == OPT_WEIGHT) {
		s->set_weight = true;
		return option_number("sched-credit", "--weight", arg, 1, TZ_WEIGHT_MAX, &s->weight);
	}
	s->set_cap = true;
	return option_number("sched-credit", "--cap", arg, 0, 6400, &s->cap);
}

static bool show(struct client *c, const char *vm)
{
	struct json_value list;
	bool found = !vm;
	char name[TZ_NAME_MAX + 1];

	if (!client_call(c, "list", NULL, &list))
		return false;
	for (unsigned i = 0; i < json_count(list) && !found; i++)
		found = json_string_is(json_member(json_at(list, i), "name"), vm);
	if (!found)
		return complain("no VM '%s'", vm);
	printf("%-33s %4s %6s %4s\n", "Name", "ID", "Weight", "Cap");
	for (unsigned i = 0; i < json_count(list); i++) {
		struct json_value v = json_at(list, i);

		client_string(v, "name", name, sizeof(name));
		if (!vm || !strcmp(vm, name))
			printf("%-33s %4llu %6llu %4llu\n", name, (unsigned long long)client_u64(v, "id"),
			       (unsigned long long)client_u64(v, "weight"), (unsigned long long)client_u64(v, "cap"));
	}
	return true;
}

static bool set(struct client *c, const struct credit *s, const char *vm)
{
	char params[TZ_NAME_MAX * 6 + 128];
	struct json_value result;
	struct json_out j;

	json_init(&j, params, sizeof(params));
	json_object(&j);
	json_kv_string(&j, "vm", vm);
	if (s->set_weight)
		json_kv_u64(&j, "weight", s->weight);
	if (s->set_cap)
		json_kv_u64(&j, "cap", s->cap);
	json_object_end(&j);
	if (j.overflow)
		return complain("no VM '%s'", vm);
	return client_call_params(c, "sched_credit", params, j.len, &result);
}

int cmd_sched_credit(const struct verb *v, int argc, char **argv)
{
	struct credit s = {0};
	struct client c;
	char buf[TZ_NAME_MAX + 1];
	int status = client_options_own(&c, v, argc, argv, options, ARRAY_SIZE(options), take, &s);

	if (status >= 0)
		return status;
	if (!s.vm && (s.set_weight || s.set_cap)) {
		complain("sched-credit: of which VM? Give --domain");
		return EXIT_USAGE;
	}
	const char *vm = s.vm ? client_vm(&c, s.vm, buf, sizeof(buf)) : NULL;
	bool ok = s.set_weight || s.set_cap ? set(&c, &s, vm) : show(&c, vm);

	client_free(&c);
	return ok ? EXIT_OK : EXIT_FAILED;
}
