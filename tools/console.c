// SPDX-License-Identifier: MIT
// Consoles. One VM: its bytes go to stdout as they are. Several: whole lines with the VM's name before them; a line that
// does not end (a shell's prompt) is shown after a moment. Input goes to the hypervisor one small request at a time,
// and what it could not take yet is offered again: a guest that does not read its console loses nothing.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "abi/control.h"
#include "tools/session.h"

#define CTRL_RIGHT_BRACKET 0x1d
#define INPUT_RETRY_MS 20
#define PARTIAL_LINE_MS 200
#define LINE_SHOWN_MAX 4096

void console_init(struct session *s)
{
	struct console *c = &s->console;
	struct termios raw;

	c->input_open = true;
	if (!isatty(0) || tcgetattr(0, &c->saved))
		return;
	if (tcgetpgrp(0) != getpgrp()) {
		c->input_open = false; // in the background
		return;
	}
	c->tty = true;
	raw = c->saved;
	cfmakeraw(&raw);
	raw.c_oflag = c->saved.c_oflag; // our own messages keep their line ends
	tcsetattr(0, TCSADRAIN, &raw);
}

void console_restore(struct session *s)
{
	if (s->console.tty)
		tcsetattr(0, TCSANOW, &s->console.saved); // a terminal that is stopped would not drain
	s->console.tty = false;
}

void console_read_input(struct session *s)
{
	struct console *c = &s->console;
	char buf[4096];
	ssize_t n = read(0, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		c->input_open = false;
		return;
	}
	if (!c->tty) {
		bytes_add(&c->input, buf, (size_t)n);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (c->prompting)
			prompt_key(s, buf[i]);
		else if (buf[i] == CTRL_RIGHT_BRACKET)
			prompt_open(s);
		else
			bytes_add(&c->input, &buf[i], 1);
	}
}

static void input_taken(void *arg, struct json_value result, struct json_value error)
{
	struct session *s = arg;
	struct console *c = &s->console;
	u64 accepted = c->in_flight;

	if (json_kind(result) == JSON_NUMBER)
		json_u64(result, &accepted);
	if (accepted > c->in_flight)
		accepted = c->in_flight;
	if (!accepted)
		c->retry_ms = now_ms() + INPUT_RETRY_MS;
	bytes_drop(&c->input, accepted);
	c->in_flight = 0;
	if (c->next_vm) {
		c->vm = c->next_vm - 1;
		c->next_vm = 0;
	}
}

void console_pump(struct session *s)
{
	struct console *c = &s->console;
	char params[TZ_CONSOLE_CHUNK * 6 + TZ_NAME_MAX * 6 + 64];
	struct json_out j;

	if (!s->channel.ready || s->channel.closed || !c->input.len || c->in_flight || now_ms() < c->retry_ms)
		return;
	c->in_flight = MIN(c->input.len, (size_t)TZ_CONSOLE_CHUNK);
	json_init(&j, params, sizeof(params));
	json_object(&j);
	json_kv_string(&j, "vm", s->vm[c->vm].file->name);
	json_key(&j, "data");
	json_put_bytes(&j, c->input.data, c->in_flight);
	json_object_end(&j);
	channel_request(&s->channel, "\"console_input\"", params, j.len, input_taken, s);
	channel_write(&s->channel);
}

u64 console_wake_ms(const struct session *s)
{
	u64 at = s->console.input.len && !s->console.in_flight ? s->console.retry_ms : 0;

	for (unsigned i = 0; s->vms > 1 && i < s->vms; i++)
		if (s->vm[i].line.len && (!at || s->vm[i].line_ms + PARTIAL_LINE_MS < at))
			at = s->vm[i].line_ms + PARTIAL_LINE_MS;
	return at;
}

static void show_line(struct session *s, struct session_vm *vm, size_t n, bool ended)
{
	struct bytes out = {0};

	bytes_printf(&out, "%s| ", vm->file->name);
	bytes_add(&out, vm->line.data, n);
	if (!ended)
		bytes_add(&out, "\n", 1);
	outlet_add(&s->out, out.data, out.len);
	bytes_free(&out);
	bytes_drop(&vm->line, n);
}

void console_output(struct session *s, struct session_vm *vm, const void *bytes, size_t n)
{
	char *nl;

	if (s->vms == 1) {
		outlet_add(&s->out, bytes, n);
		return;
	}
	if (!vm->line.len)
		vm->line_ms = now_ms();
	bytes_add(&vm->line, bytes, n);
	while ((nl = memchr(vm->line.data, '\n', vm->line.len)))
		show_line(s, vm, (size_t)(nl - vm->line.data) + 1, true);
	if (vm->line.len > LINE_SHOWN_MAX)
		show_line(s, vm, vm->line.len, false);
}

void console_flush_vm(struct session *s, struct session_vm *vm)
{
	if (vm->line.len)
		show_line(s, vm, vm->line.len, false);
}

void console_flush(struct session *s, bool all)
{
	for (unsigned i = 0; s->vms > 1 && i < s->vms; i++)
		if (all || now_ms() >= s->vm[i].line_ms + PARTIAL_LINE_MS)
			console_flush_vm(s, &s->vm[i]);
}
