// SPDX-License-Identifier: MIT
// What the verbs that speak to a running machine share: their common options and one call over the control socket.
#ifndef TOOLS_CLIENT_H
#define TOOLS_CLIENT_H

#include <sys/types.h>

#include "base/json.h"
#include "tools/tool.h"

struct verb {
	const char *name, *args, *summary;
	int (*run)(const struct verb *v, int argc, char **argv);
	int min_args, max_args; // positional ones; run_verb() checks them
};

struct client {
	const char *socket;
	char **arg; // positional
	int args;
	struct bytes reply;
	struct json_doc doc;
	struct json_token *token;
};

// Options of a verb: --control SOCKET (default $TRAPEZE_CONTROL), --help. -1: go on, else the status to end with.
int client_options(struct client *c, const struct verb *v, int argc, char **argv);
// The same with options of its own, at most 16; `take` gets the number of one in `o` and its argument, and complains itself.
struct client_option {
	const char *name;
	char letter;      // 0: none
	const char *arg;  // its name in the help; NULL: takes none
	const char *does;
};
int client_options_own(struct client *c, const struct verb *v, int argc, char **argv, const struct client_option *o, unsigned n,
		       bool (*take)(void *ctx, unsigned which, const char *arg), void *ctx);
// Values of options; false after a complaint.
bool option_number(const char *verb, const char *option, const char *text, u64 min, u64 max, u64 *out);
bool option_seconds(const char *verb, const char *option, const char *text, u64 *ms);
// The name of the VM that `arg` means: a name, or a number of `list` that is no name.
const char *client_vm(struct client *c, const char *arg, char *buf, size_t size);
// A connection to the control socket, -1 after a complaint.
int client_connect(const char *path);
// All of it; false, after a complaint, when nothing is taken for as long as one waits for a reply.
bool client_send(int fd, const char *data, size_t n);
bool client_no_reply(ssize_t n); // complains: a recv() returned n
// Sends a request and waits for its reply. `vm` adds {"vm":...}; NULL: none. False after a complaint.
bool client_call(struct client *c, const char *method, const char *vm, struct json_value *result);
bool client_call_params(struct client *c, const char *method, const char *params, size_t n, struct json_value *result);
void client_free(struct client *c);
// Prints a JSON value readably, indented.
void client_print_json(struct json_value v);
// A member as a number (0 if there is none) or a string ("" if there is none).
u64 client_u64(struct json_value object, const char *key);
const char *client_string(struct json_value object, const char *key, char *buf, size_t size);

int cmd_run(const struct verb *v, int argc, char **argv);
int cmd_list(const struct verb *v, int argc, char **argv);
int cmd_info(const struct verb *v, int argc, char **argv);
int cmd_stats(const struct verb *v, int argc, char **argv);
int cmd_vm(const struct verb *v, int argc, char **argv); // destroy, pause, unpause
int cmd_shutdown(const struct verb *v, int argc, char **argv);
int cmd_sched_credit(const struct verb *v, int argc, char **argv);
int cmd_create(const struct verb *v, int argc, char **argv);
int cmd_top(const struct verb *v, int argc, char **argv);
int cmd_trace(const struct verb *v, int argc, char **argv);
int cmd_walk(const struct verb *v, int argc, char **argv);
int cmd_exits(const struct verb *v, int argc, char **argv);
int cmd_console(const struct verb *v, int argc, char **argv);
int cmd_dmesg(const struct verb *v, int argc, char **argv);
int cmd_call(const struct verb *v, int argc, char **argv);

#endif
