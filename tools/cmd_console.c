// SPDX-License-Identifier: MIT
// trapeze console VM: the VM's console on this terminal, over the control socket; Ctrl-] leaves. The console of
// `trapeze run` goes on beside it. Input is sent a piece at a time and what was not taken is sent again.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "abi/control.h"
#include "tools/client.h"

#define CTRL_RIGHT_BRACKET 0x1d
#define TOKENS_MAX 1024
#define RETRY_MS 20

struct viewer {
	const char *vm;
	int fd;
	bool input_open, tty, done;
	struct termios saved;
	struct bytes line, input;
	size_t in_flight;
	u64 retry_ms;
	int status;
	struct json_token token[TOKENS_MAX];
};

static void raw_terminal(struct viewer *v)
{
	struct termios raw;

	v->tty = isatty(0) && !tcgetattr(0, &v->saved);
	if (!v->tty)
		return;
	raw = v->saved;
	cfmakeraw(&raw);
	raw.c_oflag = v->saved.c_oflag;
	tcsetattr(0, TCSADRAIN, &raw);
}

static bool send_line(struct viewer *v, const char *text)
{
	return write_all(v->fd, text, strlen(text));
}

static void send_input(struct viewer *v)
{
	char text[TZ_CONSOLE_CHUNK * 6 + TZ_NAME_MAX * 6 + 128];
	struct json_out j;

	if (!v->input.len || v->in_flight || now_ms() < v->retry_ms)
		return;
	v->in_flight = MIN(v->input.len, (size_t)TZ_CONSOLE_CHUNK);
	json_init(&j, text, sizeof(text) - 2);
	json_object(&j);
	json_kv_string(&j, "jsonrpc", "2.0");
	json_kv_u64(&j, "id", 2);
	json_kv_string(&j, "method", "console_input");
	json_key(&j, "params");
	json_object(&j);
	json_kv_string(&j, "vm", v->vm);
	json_key(&j, "data");
	json_put_bytes(&j, v->input.data, v->in_flight);
	json_object_end(&j);
	json_object_end(&j);
	text[j.len] = '\n';
	write_all(v->fd, text, j.len + 1);
}

static void take_input(struct viewer *v)
{
	char buf[4096];
	ssize_t n = read(0, buf, sizeof(buf));
	char *leave = n > 0 && v->tty ? memchr(buf, CTRL_RIGHT_BRACKET, (size_t)n) : NULL;

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		v->input_open = false;
	if (leave) {
		n = leave - buf;
		v->done = true;
	}
	if (n > 0)
		bytes_add(&v->input, buf, (size_t)n);
}

static void show(struct viewer *v, struct json_value params)
{
	char data[TZ_CONSOLE_CHUNK + 1];
	long n = json_string(json_member(params, "data"), data, sizeof(data));

	if (n > 0 && json_string_is(json_member(params, "vm"), v->vm))
		write_all(1, data, (size_t)n);
}

static void take_reply(struct viewer *v, struct json_value root)
{
	struct json_value error = json_member(root, "error");
	char message[256] = "error";
	u64 accepted = v->in_flight;

	if (json_kind(error) != JSON_ABSENT) {
		json_string(json_member(error, "message"), message, sizeof(message));
		complain("%s", message);
		v->status = EXIT_FAILED;
		v->done = true;
		return;
	}
	if (!json_u64(json_member(root, "result"), &accepted) || accepted > v->in_flight)
		accepted = v->in_flight;
	if (!accepted)
		v->retry_ms = now_ms() + RETRY_MS;
	bytes_drop(&v->input, accepted);
	v->in_flight = 0;
}

static void take_message(struct viewer *v, const char *line, size_t len)
{
	struct json_doc doc;

	if (!json_parse(&doc, line, len, v->token, TOKENS_MAX))
		return;
	struct json_value root = json_root(&doc), method = json_member(root, "method");
	u64 id;

	if (json_string_is(method, TZ_N_CONSOLE))
		show(v, json_member(root, "params"));
	else if (json_string_is(method, TZ_N_VM_ENDED))
		v->done = v->done || json_string_is(json_member(json_member(root, "params"), "vm"), v->vm);
	else if (json_u64(json_member(root, "id"), &id) && id == 2)
		take_reply(v, root);
}

static void take_bytes(struct viewer *v)
{
	char buf[65536], *nl;
	ssize_t n = read(v->fd, buf, sizeof(buf));

	if (n <= 0) {
		v->done = true;
		return;
	}
	bytes_add(&v->line, buf, (size_t)n);
	while ((nl = memchr(v->line.data, '\n', v->line.len))) {
		take_message(v, v->line.data, (size_t)(nl - v->line.data));
		bytes_drop(&v->line, (size_t)(nl - v->line.data) + 1);
	}
}

static void view(struct viewer *v)
{
	raw_terminal(v);
	while (!v->done) {
		struct pollfd p[2] = {{.fd = v->fd, .events = POLLIN},
				      {.fd = v->input_open && v->input.len < 65536 ? 0 : -1, .events = POLLIN}};

		if (poll(p, 2, v->input.len && !v->in_flight ? RETRY_MS : -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents)
			take_bytes(v);
		if (p[1].revents)
			take_input(v);
		send_input(v);
	}
	if (v->tty)
		tcsetattr(0, TCSADRAIN, &v->saved);
}

static bool vm_exists(struct client *c, const char *name)
{
	struct json_value list;

	if (!client_call(c, "list", NULL, &list))
		return false;
	for (unsigned i = 0; i < json_count(list); i++)
		if (json_string_is(json_member(json_at(list, i), "name"), name))
			return true;
	return complain("no such VM");
}

int cmd_console(const struct verb *verb, int argc, char **argv)
{
	struct client c;
	char name[TZ_NAME_MAX + 1];
	int status = client_options(&c, verb, argc, argv);

	if (status >= 0)
		return status;
	struct viewer *v = xalloc(sizeof(*v));

	*v = (struct viewer){.vm = client_vm(&c, c.arg[0], name, sizeof(name)), .input_open = true, .fd = -1, .status = EXIT_FAILED};
	if (vm_exists(&c, v->vm) && (v->fd = client_connect(c.socket)) >= 0) {
		v->status = EXIT_OK;
		if (send_line(
			    v,
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"" TZ_N_CONSOLE
			    "\",\"" TZ_N_VM_ENDED "\"]}}\n"))
			view(v);
		close(v->fd);
	}
	status = v->status;
	bytes_free(&v->line);
	bytes_free(&v->input);
	free(v);
	client_free(&c);
	return status;
}
