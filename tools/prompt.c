// SPDX-License-Identifier: MIT
// The prompt that Ctrl-] opens on a terminal: a command a line, a table of commands. Consoles go on meanwhile.
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/session.h"

struct command {
	const char *name, *args, *does;
	void (*run)(struct session *s, const char *arg);
};

static void say(struct session *s, const char *fmt, ...) PRINTF(2, 3);
static void say(struct session *s, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0) {
		outlet_add(&s->out, text, strlen(text));
		free(text);
	}
	va_end(ap);
}

static void show_reply(void *arg, struct json_value result, struct json_value error)
{
	struct session *s = arg;
	char message[512];
	size_t n;
	const char *raw = json_raw(result, &n);

	if (json_string(json_member(error, "message"), message, sizeof(message)) >= 0)
		say(s, "%s\r\n", message);
	else if (raw)
		say(s, "%.*s\r\n", (int)n, raw);
}

static struct session_vm *named(struct session *s, const char *arg)
{
	struct session_vm *vm = *arg ? session_find_vm(s, arg) : &s->vm[s->console.vm];

	if (!vm)
		say(s, "no VM '%s'\r\n", arg);
	return vm;
}

static void list_reply(void *arg, struct json_value result, struct json_value error)
{
	struct session *s = arg;

	for (unsigned i = 0; i < json_count(result); i++) {
		struct json_value v = json_at(result, i);
		char name[TZ_NAME_MAX + 1] = "", state[32] = "";
		u64 id = 0, ns = 0;

		json_string(json_member(v, "name"), name, sizeof(name));
		json_string(json_member(v, "state"), state, sizeof(state));
		json_u64(json_member(v, "id"), &id);
		json_u64(json_member(v, "run_ns"), &ns);
		say(s, "%c %-24s %4llu %-8s %9.1f s\r\n", strcmp(name, s->vm[s->console.vm].file->name) ? ' ' : '*',
		    name, (unsigned long long)id, state, (double)ns / 1e9);
	}
}

static void run_list(struct session *s, const char *arg)
{
	channel_request(&s->channel, "\"list\"", NULL, 0, list_reply, s);
}

static void run_switch(struct session *s, const char *arg)
{
	struct session_vm *vm = session_find_vm(s, arg);

	if (!vm)
		say(s, "no VM '%s'\r\n", arg);
	else if (vm->ended)
		say(s, "VM '%s' has ended\r\n", arg);
	else if (s->console.in_flight)
		s->console.next_vm = (unsigned)(vm - s->vm) + 1; // once what is on its way has arrived
	else
		s->console.vm = (unsigned)(vm - s->vm);
}

// A method that does one thing to one VM.
static void ask(struct session *s, const char *method, const char *arg)
{
	struct session_vm *vm = named(s, arg);
	char params[TZ_NAME_MAX * 6 + 32];
	struct json_out j;

	if (!vm)
		return;
	json_init(&j, params, sizeof(params));
	json_object(&j);
	json_kv_string(&j, "vm", vm->file->name);
	json_object_end(&j);
	channel_request(&s->channel, method, params, j.len, show_reply, s);
}

static void run_destroy(struct session *s, const char *arg)
{
	ask(s, "\"destroy\"", arg);
}

static void run_shutdown(struct session *s, const char *arg)
{
	ask(s, "\"shutdown\"", arg);
}

static void run_pause(struct session *s, const char *arg)
{
	ask(s, "\"pause\"", arg);
}

static void run_unpause(struct session *s, const char *arg)
{
	ask(s, "\"unpause\"", arg);
}

static void run_stats(struct session *s, const char *arg)
{
	channel_request(&s->channel, "\"stats\"", NULL, 0, show_reply, s);
}

static void run_quit(struct session *s, const char *arg)
{
	session_interrupt(s, SIGINT);
}

static void run_help(struct session *s, const char *arg);

static const struct command commands[] = {
	{"help", "", "this list", run_help},
	{"list", "", "the VMs; * gets the input", run_list},
	{"switch", "VM", "input goes to that VM", run_switch},
	{"pause", "[VM]", "stop running a VM", run_pause},
	{"unpause", "[VM]", "run it on", run_unpause},
	{"shutdown", "[VM]", "press a VM's power button", run_shutdown},
	{"destroy", "[VM]", "end a VM at once", run_destroy},
	{"stats", "", "statistics, as JSON", run_stats},
	{"quit", "", "stop the machine", run_quit},
};

static void run_help(struct session *s, const char *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		say(s, "%-8s %-6s %s\r\n", commands[i].name, commands[i].args, commands[i].does);
	say(s, "[VM] left out: the one that gets the input. An empty line returns to the console; Ctrl-] sends Ctrl-].\r\n");
}

void prompt_open(struct session *s)
{
	s->console.prompting = true;
	bytes_drop(&s->console.command, s->console.command.len);
	say(s, "\r\ntrapeze> ");
}

static void run_line(struct session *s, char *line)
{
	size_t word = strcspn(line, " ");
	char *arg = line + word;

	arg += strspn(arg, " ");
	line[word] = 0;
	if (!*line)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(line, commands[i].name)) {
			commands[i].run(s, arg);
			return;
		}
	say(s, "'%s'? Try help.\r\n", line);
}

void prompt_key(struct session *s, char key)
{
	struct bytes *line = &s->console.command;

	if (key == '\r' || key == '\n') {
		say(s, "\r\n");
		s->console.prompting = false;
		if (line->len)
			run_line(s, line->data);
	} else if (key == 0x1d) {
		s->console.prompting = false;
		say(s, "\r\n");
		bytes_add(&s->console.input, &key, 1);
	} else if (key == 0x03 || key == 0x1b) {
		s->console.prompting = false;
		say(s, "\r\n");
	} else if ((key == 0x7f || key == '\b') && line->len) {
		line->data[--line->len] = 0;
		say(s, "\b \b");
	} else if (key >= ' ' && key < 0x7f && line->len < 256) {
		bytes_add(line, &key, 1);
		say(s, "%c", key);
	}
}
