// SPDX-License-Identifier: MIT
#include "tools/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/control.h"

#define TOKENS_MAX 65536
// A line longer than this is none of the hypervisor's.
#define LINE_MAX_BYTES (4u * TZ_CONTROL_REPLY_MAX)

struct channel_pending {
	struct channel_pending *next;
	u64 id;
	channel_reply_fn *fn;
	void *arg;
};

static const struct json_value absent = {NULL, 0};

void channel_init(struct channel *c, const int fd[CHANNEL_PORTS], channel_note_fn *note, void *arg)
{
	*c = (struct channel){.note = note, .note_arg = arg};
	for (unsigned i = 0; i < CHANNEL_PORTS; i++)
		c->fd[i] = fd[i];
	c->token = xalloc(TOKENS_MAX * sizeof(*c->token));
}

void channel_close(struct channel *c)
{
	struct channel_pending *p;

	for (unsigned i = 0; i < CHANNEL_PORTS; i++) {
		if (c->fd[i] >= 0)
			close(c->fd[i]);
		c->fd[i] = -1;
		bytes_free(&c->in[i]);
	}
	c->closed = true;
	while ((p = c->pending)) {
		c->pending = p->next;
		if (p->fn)
			p->fn(p->arg, absent, absent);
		free(p);
	}
	bytes_free(&c->out);
	free(c->token);
	c->token = NULL;
}

u64 channel_request(struct channel *c, const char *method, const char *params, size_t params_len, channel_reply_fn *fn,
		    void *arg)
{
	struct channel_pending *p;

	if (c->closed) {
		if (fn)
			fn(arg, absent, absent);
		return 0;
	}
	bytes_printf(&c->out, "{\"jsonrpc\":\"2.0\"");
	if (fn) {
		p = xalloc(sizeof(*p));
		*p = (struct channel_pending){.next = c->pending, .id = ++c->last_id, .fn = fn, .arg = arg};
		c->pending = p;
		bytes_printf(&c->out, ",\"id\":%llu", (unsigned long long)p->id);
	}
	bytes_printf(&c->out, ",\"method\":%s", method);
	if (params) {
		bytes_printf(&c->out, ",\"params\":");
		bytes_add(&c->out, params, params_len);
	}
	bytes_printf(&c->out, "}\n");
	return c->last_id;
}

void channel_forget(struct channel *c, void *arg)
{
	for (struct channel_pending *p = c->pending; p; p = p->next)
		if (p->arg == arg)
			p->fn = NULL;
}

short channel_events(const struct channel *c, unsigned port)
{
	return (short)(POLLIN | (c->ready && c->port == port && c->out.len ? POLLOUT : 0));
}

static void handle_reply(struct channel *c, struct json_value root)
{
	u64 id;

	if (!json_u64(json_member(root, "id"), &id))
		return;
	for (struct channel_pending **at = &c->pending; *at; at = &(*at)->next) {
		struct channel_pending *p = *at;

		if (p->id != id)
			continue;
		*at = p->next;
		if (p->fn)
			p->fn(p->arg, json_member(root, "result"), json_member(root, "error"));
		free(p);
		return;
	}
}

static void handle_line(struct channel *c, unsigned port, const char *line, size_t len)
{
	struct json_doc doc;
	char method[64];

	if (!json_parse(&doc, line, len, c->token, TOKENS_MAX))
		return; // noise before the hypervisor took the port over
	struct json_value root = json_root(&doc);

	if (json_string(json_member(root, "method"), method, sizeof(method)) < 0) {
		handle_reply(c, root);
		return;
	}
	if (!strcmp(method, TZ_N_READY)) {
		c->ready = true;
		c->port = port;
	}
	c->note(c->note_arg, method, json_member(root, "params"), line, len);
}

static void close_port(struct channel *c, unsigned port)
{
	close(c->fd[port]);
	c->fd[port] = -1;
	c->closed = true;
	for (unsigned i = 0; i < CHANNEL_PORTS; i++)
		c->closed &= c->fd[i] < 0;
}

void channel_read(struct channel *c, unsigned port)
{
	struct bytes *in = &c->in[port];
	char buf[65536];
	ssize_t n = read(c->fd[port], buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_port(c, port);
		return;
	}
	size_t seen = in->len, start = 0;

	bytes_add(in, buf, (size_t)n);
	for (char *nl; (nl = memchr(in->data + seen, '\n', in->len - seen)); seen = start) {
		size_t end = (size_t)(nl - in->data);

		handle_line(c, port, in->data + start, end - start);
		start = end + 1;
	}
	bytes_drop(in, start);
	if (in->len > LINE_MAX_BYTES)
		bytes_drop(in, in->len);
}

void channel_write(struct channel *c)
{
	if (!c->ready || !c->out.len || c->fd[c->port] < 0)
		return;
	ssize_t n = write(c->fd[c->port], c->out.data, c->out.len);

	if (n > 0)
		bytes_drop(&c->out, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		bytes_drop(&c->out, c->out.len); // its reader is gone; the read side will tell
}
