// SPDX-License-Identifier: MIT
// trapeze create VMFILE: a new VM on a running machine. Its kernel and RAM disk go over the control channel, as a bundle in pieces,
// some of them on their way at a time; the hypervisor starts it when the hash of all is ours.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "base/xxh64.h"
#include "tools/archive.h"
#include "tools/client.h"
#include "tools/vmfile.h"

#define ON_THEIR_WAY 4

enum { OPT_PAUSED, OPT_QUIET };

static const struct client_option options[] = {
	{"paused", 'p', NULL, "the VM stays paused until it is unpaused"},
	{"quiet", 'q', NULL, "say nothing"},
};

struct create {
	bool paused, quiet;
};

static bool take(void *ctx, unsigned which, const char *arg)
{
	struct create *c = ctx;

	c->paused |= which == OPT_PAUSED;
	c->quiet |= which == OPT_QUIET;
	return true;
}

static bool make_bundle(const struct vm_file *vm, struct bytes *out)
{
	const char *tmp = getenv("TMPDIR");
	char *folder = xprintf("%s/trapeze-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	bool ok = false;

	if (!mkdtemp(folder)) {
		complain("%s: %s", folder, strerror(errno));
	} else {
		char *path = xprintf("%s/bundle", folder);
		int err = 0;

		ok = archive_write(path, vm, 1);
		if (ok && (err = read_file(path, out)) != 0)
			ok = complain("%s: %s", path, strerror(err));
		unlink(path);
		rmdir(folder);
		free(path);
	}
	free(folder);
	return ok;
}

static void add_base64(struct bytes *out, const u8 *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		size_t left = MIN(n - i, (size_t)3);
		u32 v = (u32)p[i] << 16 | (left > 1 ? (u32)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
		char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
				left > 2 ? digits[v & 63] : '='};

		bytes_add(out, four, 4);
	}
}

// ---- a connection with several requests on their way

struct wire {
	int fd;
	struct bytes in;
	struct json_doc doc;
	struct json_token token[256];
};

static bool next_reply(struct wire *w, struct json_value *result)
{
	char message[512] = "error", buf[4096], *nl;
	static struct bytes line;

	while (!(nl = w->in.len ? memchr(w->in.data, '\n', w->in.len) : NULL)) {
		ssize_t n = read(w->fd, buf, sizeof(buf));

		if (n <= 0)
			return client_no_reply(n);
		bytes_add(&w->in, buf, (size_t)n);
	}
	bytes_drop(&line, line.len);
	bytes_add(&line, w->in.data, (size_t)(nl - w->in.data));
	bytes_drop(&w->in, (size_t)(nl - w->in.data) + 1);
	if (!json_parse(&w->doc, line.data, line.len, w->token, ARRAY_SIZE(w->token)))
		return complain("the machine's reply is no JSON");
	struct json_value root = json_root(&w->doc), error = json_member(root, "error");

	if (json_kind(error) != JSON_ABSENT) {
		json_string(json_member(error, "message"), message, sizeof(message));
		return complain("create: %s", message);
	}
	*result = json_member(root, "result");
	return true;
}

static bool send_piece(struct wire *w, u64 id, const struct bytes *bundle, size_t offset, size_t n)
{
	struct bytes line = {0};

	bytes_printf(&line,
		     "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"upload_data\",\"params\":{\"upload\":%llu,\"offset\":%zu,\"data\":\"",
		     (unsigned long long)id, offset);
	add_base64(&line, (const u8 *)bundle->data + offset, n);
	bytes_printf(&line, "\"}}\n");
	bool ok = client_send(w->fd, line.data, line.len);

	bytes_free(&line);
	return ok;
}

static bool send_pieces(struct wire *w, u64 id, size_t chunk, const struct bytes *bundle)
{
	struct json_value result;
	size_t sent = 0, answered = 0;

	while (answered < bundle->len) {
		if (sent < bundle->len && sent - answered < ON_THEIR_WAY * chunk) {
			size_t n = MIN(chunk, bundle->len - sent);

			if (!send_piece(w, id, bundle, sent, n))
				return false;
			sent += n;
			continue;
		}
		if (!next_reply(w, &result))
			return false;
		answered += MIN(chunk, bundle->len - answered);
	}
	return true;
}

static bool upload(struct client *c, const struct bytes *bundle, u64 *id)
{
	char params[64];
	struct json_value v;
	size_t chunk;

	snprintf(params, sizeof(params), "{\"size\":%zu}", bundle->len);
	if (!client_call_params(c, "upload_begin", params, strlen(params), &v))
		return false;
	*id = client_u64(v, "upload");
	chunk = client_u64(v, "chunk");
	if (!chunk)
		return complain("create: the machine takes no uploads");
	struct wire *w = xalloc(sizeof(*w));

	w->fd = client_connect(c->socket);
	bool ok = w->fd >= 0 && send_pieces(w, *id, chunk, bundle);

	if (w->fd >= 0)
		close(w->fd);
	bytes_free(&w->in);
	free(w);
	return ok;
}

static bool create(struct client *c, const struct create *how, const struct vm_file *vm)
{
	struct bytes bundle = {0};
	struct json_value result;
	char params[128];
	u64 id = 0, start = now_ms();
	bool ok = make_bundle(vm, &bundle) && upload(c, &bundle, &id);

	if (ok) {
		u64 ms = now_ms() - start;

		snprintf(params, sizeof(params), "{\"upload\":%llu,\"xxh64\":\"0x%llx\",\"paused\":%s}", (unsigned long long)id,
			 (unsigned long long)xxh64(bundle.data, bundle.len, 0), how->paused ? "true" : "false");
		ok = client_call_params(c, "create", params, strlen(params), &result);
		if (ok && !how->quiet)
			printf("%s: created, number %llu (%zu KiB sent in %llu.%llu s)\n", vm->name,
			       (unsigned long long)client_u64(result, "id"), bundle.len / 1024, (unsigned long long)ms / 1000,
			       (unsigned long long)ms / 100 % 10);
	} else if (id) { // what is there of it is of no use
		snprintf(params, sizeof(params), "{\"upload\":%llu}", (unsigned long long)id);
		client_call_params(c, "upload_abort", params, strlen(params), &result);
	}
	bytes_free(&bundle);
	return ok;
}

int cmd_create(const struct verb *v, int argc, char **argv)
{
	struct create how = {0};
	struct client c;
	struct vm_file vm = {0};
	struct json_value info;
	int status = client_options_own(&c, v, argc, argv, options, ARRAY_SIZE(options), take, &how);

	if (status >= 0)
		return status;
	status = EXIT_USAGE;
	if (!client_call(&c, "info", NULL, &info))
		status = EXIT_FAILED;
	else if (vm_file_load(&vm, c.arg[0], client_u64(info, "memory_bytes")))
		status = create(&c, &how, &vm) ? EXIT_OK : EXIT_FAILED;
	vm_file_free(&vm);
	client_free(&c);
	return status;
}
