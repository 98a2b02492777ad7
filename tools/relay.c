// SPDX-License-Identifier: MIT
// The control socket: many clients, one channel. A client's request goes on with an id of ours, its reply comes back
// with the client's own; what is no valid request is answered here. Notifications reach those who subscribed:
//   {"method":"subscribe","params":{"events":["console","vm_ended"]}}    (no "events": all)
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "abi/control.h"
#include "tools/session.h"

#define TOKENS_MAX 4096
#define OUT_MAX (16u << 20) // a client that does not read is dropped

static const char *const events[] = {TZ_N_READY, TZ_N_CONSOLE, TZ_N_VM_CREATED, TZ_N_VM_ENDED, TZ_N_VM_RESTARTED,
				     TZ_N_VM_PRESERVED, TZ_N_PANIC, TZ_N_FINAL};

struct relay_client {
	struct relay_client *next;
	int fd; // -1: gone, kept for its outstanding requests
	bool too_long;
	struct bytes in, out;
	unsigned subscribed; // bit per event
	unsigned outstanding;
};

// Replies to a batch are gathered until all are there.
struct batch {
	struct bytes text;
	unsigned waiting;
};

struct relayed {
	struct relay_client *client;
	struct batch *batch;
	char *id; // JSON text
};

// ---- replies ----

static void batch_done(struct relay_client *c, struct batch *b)
{
	if (--b->waiting)
		return;
	if (b->text.len)
		bytes_printf(&c->out, "[%s]\n", b->text.data);
	bytes_free(&b->text);
	free(b);
}

static void emit(struct relay_client *c, struct batch *b, const char *id, const char *key, const char *raw, size_t n)
{
	struct bytes *to = b ? &b->text : &c->out;

	bytes_printf(to, "%s{\"jsonrpc\":\"2.0\",\"id\":%s,\"%s\":", b && to->len ? "," : "", id, key);
	bytes_add(to, raw, n);
	bytes_printf(to, b ? "}" : "}\n");
}

static void emit_error(struct relay_client *c, struct batch *b, const char *id, int code, const char *message)
{
	char *raw = xprintf("{\"code\":%d,\"message\":\"%s\"}", code, message);

	emit(c, b, id, "error", raw, strlen(raw));
	free(raw);
}

static void reply_arrived(void *arg, struct json_value result, struct json_value error)
{
	struct relayed *r = arg;
	size_t n;
	const char *raw = json_raw(error, &n);

	if (raw) {
		emit(r->client, r->batch, r->id, "error", raw, n);
	} else {
		raw = json_raw(result, &n);
		if (raw)
			emit(r->client, r->batch, r->id, "result", raw, n);
		else
			emit_error(r->client, r->batch, r->id, TZ_RPC_INTERNAL, "the machine ended");
	}
	if (r->batch)
		batch_done(r->client, r->batch);
	r->client->outstanding--;
	free(r->id);
	free(r);
}

// ---- requests ----

static bool subscription(struct json_value params, unsigned *mask)
{
	struct json_value list = json_member(params, "events");

	*mask = 0;
	if (json_kind(list) == JSON_ABSENT) {
		*mask = (1u << ARRAY_SIZE(events)) - 1;
		return true;
	}
	if (json_kind(list) != JSON_ARRAY)
		return false;
	for (unsigned i = 0; i < json_count(list); i++) {
		unsigned e = 0;

		while (e < ARRAY_SIZE(events) && !json_string_is(json_at(list, i), events[e]))
			e++;
		if (e == ARRAY_SIZE(events))
			return false;
		*mask |= 1u << e;
	}
	return true;
}

// True for the two methods that are ours.
static bool own_method(struct relay_client *c, struct batch *b, struct json_value root, const char *id)
{
	struct json_value method = json_member(root, "method");
	bool add = json_string_is(method, "subscribe");
	unsigned mask;

	if (!add && !json_string_is(method, "unsubscribe"))
		return false;
	if (!subscription(json_member(root, "params"), &mask)) {
		if (id)
			emit_error(c, b, id, TZ_RPC_INVALID_PARAMS, "events: a list of notification names");
		return true;
	}
	c->subscribed = add ? c->subscribed | mask : c->subscribed & ~mask;
	if (id)
		emit(c, b, id, "result", "true", 4);
	return true;
}

static bool request_ok(struct json_value root)
{
	enum json_kind params = json_kind(json_member(root, "params"));

	return json_string_is(json_member(root, "jsonrpc"), "2.0") &&
	       json_kind(json_member(root, "method")) == JSON_STRING &&
	       (params == JSON_ABSENT || params == JSON_OBJECT || params == JSON_ARRAY);
}

static char *id_text(struct json_value root)
{
	struct json_value id = json_member(root, "id");
	enum json_kind k = json_kind(id);
	size_t n;
	const char *raw = json_raw(id, &n);

	if (k != JSON_STRING && k != JSON_NUMBER && k != JSON_NULL)
		return NULL;
	return xprintf("%.*s", (int)n, raw);
}

static void handle_request(struct session *s, struct relay_client *c, struct batch *b, struct json_value root)
{
	bool notification = json_kind(root) == JSON_OBJECT && json_kind(json_member(root, "id")) == JSON_ABSENT;
	char *id = id_text(root);
	size_t method_len, params_len;
	const char *method = json_raw(json_member(root, "method"), &method_len);
	const char *params = json_raw(json_member(root, "params"), &params_len);

	if (!request_ok(root) || (!id && !notification)) {
		emit_error(c, b, id ? id : "null", TZ_RPC_INVALID_REQUEST, "invalid request");
	} else if (!own_method(c, b, root, id)) {
		struct relayed *r = NULL;
		char *name = xprintf("%.*s", (int)method_len, method);

		if (id) {
			r = xalloc(sizeof(*r));
			*r = (struct relayed){.client = c, .batch = b, .id = id};
			id = NULL;
			c->outstanding++;
			if (b)
				b->waiting++;
		}
		channel_request(&s->channel, name, params, params_len, r ? reply_arrived : NULL, r);
		free(name);
	}
	free(id);
}

static void handle_line(struct session *s, struct relay_client *c, const char *line, size_t len)
{
	struct json_token *token = xalloc(TOKENS_MAX * sizeof(*token));
	struct json_doc doc;

	if (!json_valid(line, len)) {
		emit_error(c, NULL, "null", TZ_RPC_PARSE, "parse error");
	} else if (!json_parse(&doc, line, len, token, TOKENS_MAX)) {
		emit_error(c, NULL, "null", TZ_RPC_INVALID_REQUEST, "too many values");
	} else {
		struct json_value root = json_root(&doc);

		if (json_kind(root) == JSON_ARRAY && json_count(root)) {
			struct batch *b = xalloc(sizeof(*b));

			b->waiting = 1; // ours, until all are on their way
			for (unsigned i = 0; i < json_count(root); i++)
				handle_request(s, c, b, json_at(root, i));
			batch_done(c, b);
		} else {
			handle_request(s, c, NULL, root);
		}
	}
	free(token);
}

static void take_bytes(struct session *s, struct relay_client *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != '\n') {
			if (c->in.len < TZ_CONTROL_LINE_MAX)
				bytes_add(&c->in, &bytes[i], 1);
			else
				c->too_long = true;
			continue;
		}
		if (c->too_long)
			emit_error(c, NULL, "null", TZ_RPC_INVALID_REQUEST, "line too long");
		else if (c->in.len && !(c->in.len == 1 && c->in.data[0] == '\r'))
			handle_line(s, c, c->in.data, c->in.len);
		bytes_drop(&c->in, c->in.len);
		c->too_long = false;
	}
}

// ---- sockets ----

static void hang_up(struct relay_client *c)
{
	close(c->fd);
	c->fd = -1;
	c->subscribed = 0;
}

static void flush(struct relay_client *c)
{
	if (c->fd < 0 || !c->out.len)
		return;
	ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		bytes_drop(&c->out, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		hang_up(c);
	if (c->out.len > OUT_MAX && c->fd >= 0)
		hang_up(c);
}

static void read_client(struct session *s, struct relay_client *c)
{
	char buf[65536];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0)
		take_bytes(s, c, buf, (size_t)n);
	else if (!n || (errno != EAGAIN && errno != EINTR))
		hang_up(c);
}

static void reap(struct relay *r)
{
	for (struct relay_client **at = &r->client; *at;) {
		struct relay_client *c = *at;

		if (c->fd >= 0 || c->outstanding) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		bytes_free(&c->in);
		bytes_free(&c->out);
		free(c);
	}
}

static unsigned connected(const struct relay *r)
{
	unsigned n = 0;

	for (const struct relay_client *c = r->client; c; c = c->next)
		n += c->fd >= 0;
	return n;
}

static void accept_client(struct relay *r)
{
	int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (connected(r) == RELAY_CLIENTS_MAX) {
		close(fd);
		return;
	}
	struct relay_client *c = xalloc(sizeof(*c));

	c->fd = fd;
	c->next = r->client;
	r->client = c;
}

unsigned relay_poll_fds(const struct session *s, struct pollfd *fds)
{
	unsigned n = 0;

	if (s->relay.fd < 0)
		return 0;
	fds[n++] = (struct pollfd){.fd = s->relay.fd, .events = POLLIN};
	for (const struct relay_client *c = s->relay.client; c; c = c->next)
		if (c->fd >= 0)
			fds[n++] = (struct pollfd){.fd = c->fd, .events = (short)(POLLIN | (c->out.len ? POLLOUT : 0))};
	return n;
}

void relay_handle(struct session *s, const struct pollfd *fds, unsigned n)
{
	if (!n)
		return;
	for (struct relay_client *c = s->relay.client; c; c = c->next)
		for (unsigned i = 1; i < n; i++)
			if (fds[i].fd == c->fd && (fds[i].revents & ~POLLOUT))
				read_client(s, c);
	if (fds[0].revents)
		accept_client(&s->relay);
	for (struct relay_client *c = s->relay.client; c; c = c->next)
		flush(c);
	reap(&s->relay);
}

void relay_broadcast(struct session *s, const char *method, const char *line, size_t len)
{
	unsigned e = 0;

	while (e < ARRAY_SIZE(events) && strcmp(events[e], method))
		e++;
	for (struct relay_client *c = s->relay.client; c && e < ARRAY_SIZE(events); c = c->next)
		if (c->subscribed & 1u << e) {
			bytes_add(&c->out, line, len);
			bytes_add(&c->out, "\n", 1);
		}
}

static bool in_use(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool used = fd >= 0 && !connect(fd, (const struct sockaddr *)a, sizeof(*a));

	if (fd >= 0)
		close(fd);
	return used;
}

bool relay_open(struct session *s, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if (!*path || strlen(path) >= sizeof(a.sun_path))
		return complain("--control: %s: name empty or too long for a socket", path);
	strcpy(a.sun_path, path);
	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode))
			return complain("--control: %s: exists and is no socket", path);
		if (in_use(&a))
			return complain("--control: %s: in use by another machine", path);
		unlink(path); // left over by one that died
	}
	s->relay.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(077);
	bool ok = s->relay.fd >= 0 && !bind(s->relay.fd, (struct sockaddr *)&a, sizeof(a)) && !listen(s->relay.fd, 8);

	umask(old);
	if (!ok)
		return complain("--control: %s: %s", path, strerror(errno));
	s->relay.path = path;
	return true;
}

void relay_close(struct session *s)
{
	if (s->relay.path)
		unlink(s->relay.path);
	if (s->relay.fd >= 0)
		close(s->relay.fd);
	s->relay.fd = -1;
	for (struct relay_client *c = s->relay.client; c; c = c->next) {
		flush(c);
		if (c->fd >= 0)
			hang_up(c);
	}
	reap(&s->relay);
}
