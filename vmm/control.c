// SPDX-License-Identifier: MIT
// Hypervisor's side of the control channel. A request line is checked in this order: length, JSON, shape, method; the
// method itself checks its parameters. A batch (an array of requests) is answered by one array.
#include "vmm/control.h"

#include "abi/bundle.h"
#include "base/string.h"

// A VM name in a notification, every byte escaped.
#define NAME_ESCAPED (TZ_NAME_MAX * 6)

void control_init(struct control *c, const struct control_ports *port)
{
	c->port = *port;
	c->len = 0;
	c->too_long = false;
}

// ---- replies ----

static const char *error_text(int code)
{
	switch (code) {
	case TZ_RPC_PARSE:
		return "parse error";
	case TZ_RPC_INVALID_REQUEST:
		return "invalid request";
	case TZ_RPC_NO_METHOD:
		return "method not found";
	case TZ_RPC_INVALID_PARAMS:
		return "invalid params";
	case TZ_RPC_INTERNAL:
		return "internal error";
	case TZ_RPC_NO_VM:
		return "no such VM";
	case TZ_RPC_STATE:
		return "not possible in this state";
	case TZ_RPC_NO_MEMORY:
		return "out of resources";
	case TZ_RPC_UNSUPPORTED:
		return "not supported";
	default:
		return "error";
	}
}

static void reply_head(struct json_out *j, struct json_value id)
{
	size_t n;
	const char *raw = json_raw(id, &n);

	json_object(j);
	json_kv_string(j, "jsonrpc", "2.0");
	json_key(j, "id");
	json_put_raw(j, raw ? raw : "null", raw ? n : 4);
}

static void reply_error(struct json_out *j, struct json_value id, int code, const char *message)
{
	reply_head(j, id);
	json_key(j, "error");
	json_object(j);
	json_key(j, "code");
	json_put_s64(j, code);
	json_kv_string(j, "message", message ? message : error_text(code));
	json_object_end(j);
	json_object_end(j);
}

static const struct control_method *find_method(const struct control *c, struct json_value name)
{
	for (unsigned i = 0; i < c->port.methods; i++)
		if (json_string_is(name, c->port.method[i].name))
			return &c->port.method[i];
	return NULL;
}

// Space that an error reply needs after the reply that it replaces was rolled back, and the end of a batch.
#define TAIL_ROOM 512

// Runs one method and writes its reply, or rolls back to `j` as it was and writes the error.
static void run_method(struct control *c, const struct control_method *m, struct control_request *req,
		       struct json_value id, struct json_out *j)
{
	struct json_out before = *j;

	reply_head(j, id);
	json_key(j, "result");
	size_t start = j->len;

	if (c->port.requested)
		c->port.requested(c->port.ctx);
	int code = m->fn(c->port.ctx, req, j);

	if (!code && j->len == start)
		json_put_null(j);
	json_object_end(j);
	if (!code && (j->overflow || j->len > j->size - TAIL_ROOM)) {
		code = TZ_RPC_INTERNAL;
		req->error = "reply too long";
	}
	if (code || req->notification)
		*j = before;
	if (code && !req->notification)
		reply_error(j, id, code, req->error);
}

static bool id_ok(struct json_value id)
{
	enum json_kind k = json_kind(id);
	size_t n;

	json_raw(id, &n);
	return (k == JSON_ABSENT || k == JSON_STRING || k == JSON_NUMBER || k == JSON_NULL) && n <= 128;
}

static void handle_request(struct control *c, struct json_value v, struct json_out *j)
{
	struct json_value none = {NULL, 0}, id = json_member(v, "id"), params = json_member(v, "params");
	struct json_value method = json_member(v, "method");
	enum json_kind pk = json_kind(params);
	char name[64];

	if (json_kind(v) != JSON_OBJECT || !id_ok(id)) {
		reply_error(j, none, TZ_RPC_INVALID_REQUEST, NULL);
		return;
	}
	if (!json_string_is(json_member(v, "jsonrpc"), "2.0") || json_kind(method) != JSON_STRING ||
	    (pk != JSON_ABSENT && pk != JSON_OBJECT && pk != JSON_ARRAY)) {
		reply_error(j, id, TZ_RPC_INVALID_REQUEST, NULL);
		return;
	}
	const struct control_method *m = find_method(c, method);
	struct control_request req = {.params = params, .notification = json_kind(id) == JSON_ABSENT};

	if (!m) {
		if (!req.notification)
			reply_error(j, id, TZ_RPC_NO_METHOD, NULL);
		return;
	}
	req.method = json_string(method, name, sizeof(name)) >= 0 ? name : m->name;
	run_method(c, m, &req, id, j);
}

// Replies until the buffer is nearly full; what does not fit is answered with errors by being left out.
static void handle_batch(struct control *c, struct json_value batch, struct json_out *j)
{
	struct json_out before = *j;
	size_t start;

	json_array(j);
	start = j->len;
	for (unsigned i = 0; i < json_count(batch); i++) {
		if (j->size - j->len < 2 * TAIL_ROOM)
			break;
		handle_request(c, json_at(batch, i), j);
	}
	json_array_end(j);
	if (j->len == start + 1)
		*j = before; // notifications only: no reply
}

static void send_reply(struct control *c, struct json_out *j)
{
	if (!j->len)
		return;
	c->reply[j->len] = '\n';
	c->port.send(c->port.ctx, c->reply, j->len + 1);
}

static void handle_line(struct control *c)
{
	struct json_value none = {NULL, 0};
	struct json_doc doc;
	struct json_out j;

	json_init(&j, c->reply, sizeof(c->reply) - 1);
	if (c->too_long) {
		reply_error(&j, none, TZ_RPC_INVALID_REQUEST, "line too long");
	} else if (!json_valid(c->line, c->len)) {
		reply_error(&j, none, TZ_RPC_PARSE, NULL);
	} else if (!json_parse(&doc, c->line, c->len, c->token, CONTROL_TOKENS)) {
		reply_error(&j, none, TZ_RPC_INVALID_REQUEST, "too many values");
	} else {
		struct json_value root = json_root(&doc);

		if (json_kind(root) == JSON_ARRAY && json_count(root))
			handle_batch(c, root, &j);
		else
			handle_request(c, root, &j);
	}
	send_reply(c, &j);
}

void control_receive(struct control *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char ch = bytes[i];

		if (ch == '\n') {
			if (c->len && c->line[c->len - 1] == '\r')
				c->len--;
			if (c->len || c->too_long)
				handle_line(c);
			c->len = 0;
			c->too_long = false;
		} else if (c->len < sizeof(c->line)) {
			c->line[c->len++] = ch;
		} else {
			c->too_long = true;
		}
	}
}

bool control_param_string(const struct control_request *req, const char *name, char *buf, size_t size)
{
	long n = json_string(json_member(req->params, name), buf, size);

	return n >= 0 && strlen(buf) == (size_t)n;
}

bool control_param_u64(const struct control_request *req, const char *name, u64 *out)
{
	return json_u64(json_member(req->params, name), out);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

bool control_parse_number(const char *text, u64 *out)
{
	unsigned base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
	u64 n = 0;

	if (base == 16)
		text += 2;
	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned d = (unsigned)digit_of(*text);

		if (d >= base || __builtin_mul_overflow(n, (u64)base, &n) || __builtin_add_overflow(n, (u64)d, &n))
			return false;
	}
	*out = n;
	return true;
}

// ---- notifications ----

void control_note_begin(struct json_out *j, char *buf, size_t size, const char *method)
{
	json_init(j, buf, size);
	json_object(j);
	json_kv_string(j, "jsonrpc", "2.0");
	json_kv_string(j, "method", method);
	json_key(j, "params");
	json_object(j);
}

static void send_line(struct control *c, struct json_out *j)
{
	json_object_end(j);
	j->comma = false;
	json_put_raw(j, "\n", 1);
	if (!j->overflow)
		c->port.send(c->port.ctx, j->buf, j->len);
}

void control_note_send(struct control *c, struct json_out *j)
{
	json_object_end(j);
	send_line(c, j);
}

void control_ready(struct control *c, const char *version)
{
	char buf[256];
	struct json_out j;

	control_note_begin(&j, buf, sizeof(buf), TZ_N_READY);
	json_kv_string(&j, "version", version);
	control_note_send(c, &j);
}

void control_console_out(struct control *c, const char *vm, const void *bytes, size_t n)
{
	char buf[TZ_CONSOLE_CHUNK * 6 + NAME_ESCAPED + 128];
	const u8 *b = bytes;

	while (n) {
		size_t chunk = MIN(n, (size_t)TZ_CONSOLE_CHUNK);
		struct json_out j;

		control_note_begin(&j, buf, sizeof(buf), TZ_N_CONSOLE);
		json_kv_string(&j, "vm", vm);
		json_key(&j, "data");
		json_put_bytes(&j, b, chunk);
		control_note_send(c, &j);
		b += chunk;
		n -= chunk;
	}
}

// Texts for people are cut to this.
#define TEXT_MAX 512

static void kv_text(struct json_out *j, const char *key, const char *text)
{
	json_key(j, key);
	json_put_bytes(j, text ? text : "", text ? MIN(strlen(text), (size_t)TEXT_MAX) : 0);
}

void control_vm_created(struct control *c, const char *vm, u64 id)
{
	char buf[NAME_ESCAPED + 256];
	struct json_out j;

	control_note_begin(&j, buf, sizeof(buf), TZ_N_VM_CREATED);
	json_kv_string(&j, "vm", vm);
	json_kv_u64(&j, "id", id);
	control_note_send(c, &j);
}

void control_vm_ended(struct control *c, const char *vm, const char *how, const char *reason, u64 value)
{
	char buf[TEXT_MAX * 6 + NAME_ESCAPED + 256];
	struct json_out j;

	control_note_begin(&j, buf, sizeof(buf), TZ_N_VM_ENDED);
	json_kv_string(&j, "vm", vm);
	kv_text(&j, "reason", reason);
	json_kv_string(&j, "how", how);
	json_kv_u64(&j, "value", value);
	control_note_send(c, &j);
}

static void vm_note(struct control *c, const char *method, const char *vm, const char *how, const char *reason)
{
	char buf[TEXT_MAX * 6 + NAME_ESCAPED + 256];
	struct json_out j;

	control_note_begin(&j, buf, sizeof(buf), method);
	json_kv_string(&j, "vm", vm);
	kv_text(&j, "reason", reason);
	json_kv_string(&j, "how", how);
	control_note_send(c, &j);
}

void control_vm_restarted(struct control *c, const char *vm, const char *how, const char *reason)
{
	vm_note(c, TZ_N_VM_RESTARTED, vm, how, reason);
}

void control_vm_preserved(struct control *c, const char *vm, const char *how, const char *reason)
{
	vm_note(c, TZ_N_VM_PRESERVED, vm, how, reason);
}

void control_panic(struct control *c, const char *text)
{
	char buf[TEXT_MAX * 6 + 256];
	struct json_out j;

	control_note_begin(&j, buf, sizeof(buf), TZ_N_PANIC);
	kv_text(&j, "text", text);
	control_note_send(c, &j);
}

void control_final(struct control *c, const struct stats_snapshot *s)
{
	struct json_out j;

	json_init(&j, c->reply, sizeof(c->reply));
	json_object(&j);
	json_kv_string(&j, "jsonrpc", "2.0");
	json_kv_string(&j, "method", TZ_N_FINAL);
	json_key(&j, "params");
	stats_write(&j, s);
	send_line(c, &j);
}
