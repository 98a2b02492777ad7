// SPDX-License-Identifier: MIT
// Verbs that do one thing to one VM: destroy, pause, unpause (the method has the verb's name), and shutdown.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "tools/client.h"

#define WAIT_POLL_US 200000
#define GONE_POLLS 40 // for a socket that answers no more to be removed

static bool call(struct client *c, const char *method, const char *arg)
{
	char name[TZ_NAME_MAX + 1];
	struct json_value result;

	return client_call(c, method, client_vm(c, arg, name, sizeof(name)), &result);
}

// ---- shutdown

enum { SHUTDOWN_WAIT, SHUTDOWN_ALL, SHUTDOWN_FALLBACK };

static const struct client_option shutdown_options[] = {
	{"wait", 'w', NULL, "until it has ended"},
	{"all", 'a', NULL, "every VM"},
	{"fallback", 'F', NULL, "by the power button; always so (xl has it)"},
};

struct shutdown {
	bool wait, all;
};

static bool take_shutdown(void *ctx, unsigned which, const char *arg)
{
	struct shutdown *s = ctx;

	s->wait |= which == SHUTDOWN_WAIT;
	s->all |= which == SHUTDOWN_ALL;
	return true;
}

// How many VMs of this name (NULL: of any) live; -1 after a complaint.
static int living(struct client *c, const char *name)
{
	struct json_value list;
	int n = 0;

	if (!client_call(c, "list", NULL, &list))
		return -1;
	for (unsigned i = 0; i < json_count(list); i++) {
		char state[32];

		client_string(json_at(list, i), "state", state, sizeof(state));
		if (name && !json_string_is(json_member(json_at(list, i), "name"), name))
			continue;
		n += strcmp(state, "ended") != 0 && strcmp(state, "crashed") != 0 && strcmp(state, "shutdown") != 0;
	}
	return n;
}

static bool shutdown_all(struct client *c)
{
	char names[TZ_VMS_MAX][TZ_NAME_MAX + 1];
	struct json_value list, result;
	unsigned n;
	bool ok = true;

	if (!client_call(c, "list", NULL, &list))
		return false;
	n = MIN(json_count(list), (unsigned)TZ_VMS_MAX);
	for (unsigned i = 0; i < n; i++)
		client_string(json_at(list, i), "name", names[i], sizeof(names[i]));
	for (unsigned i = 0; i < n; i++)
		ok &= client_call(c, "shutdown", names[i], &result);
	return ok;
}

// A machine that answers no more is about to end, or is not there for another reason.
static bool gone(const struct client *c)
{
	for (unsigned i = 0; i < GONE_POLLS; i++) {
		if (access(c->socket, F_OK))
			return true;
		usleep(WAIT_POLL_US);
	}
	return false;
}

// The machine that has no VM left goes away; that is an end too.
static bool wait_for_end(struct client *c, const char *name)
{
	for (;;) {
		if (access(c->socket, F_OK))
			return true;
		int n = living(c, name);

		if (n <= 0)
			return n == 0 || gone(c);
		usleep(WAIT_POLL_US);
	}
}

// A VM that has been destroyed is gone when this returns: its name and memory are free.
int cmd_vm(const struct verb *v, int argc, char **argv)
{
	struct client c;
	char buf[TZ_NAME_MAX + 1];
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	const char *name = client_vm(&c, c.arg[0], buf, sizeof(buf));
	bool ok = call(&c, v->name, name) && (strcmp(v->name, "destroy") != 0 || wait_for_end(&c, name));

	client_free(&c);
	return ok ? EXIT_OK : EXIT_FAILED;
}

int cmd_shutdown(const struct verb *v, int argc, char **argv)
{
	struct shutdown s = {0};
	struct client c;
	char buf[TZ_NAME_MAX + 1];
	int status = client_options_own(&c, v, argc, argv, shutdown_options, ARRAY_SIZE(shutdown_options), take_shutdown, &s);

	if (status >= 0)
		return status;
	if (s.all == (c.args > 0)) {
		complain("shutdown: %s", s.all ? "--all and a VM" : "which VM? Give one, or --all");
		return EXIT_USAGE;
	}
	const char *name = s.all ? NULL : client_vm(&c, c.arg[0], buf, sizeof(buf));
	bool ok = s.all ? shutdown_all(&c) : call(&c, "shutdown", name);

	if (ok && s.wait)
		ok = wait_for_end(&c, name);
	client_free(&c);
	return ok ? EXIT_OK : EXIT_FAILED;
}
