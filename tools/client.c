// SPDX-License-Identifier: MIT
#include "tools/client.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TOKENS_MAX 65536
#define REPLY_SECONDS 30 // or $TRAPEZE_REPLY_SECONDS

#define OPTIONS_MAX 16

static void usage(FILE *to, const struct verb *v, const struct client_option *o, unsigned n)
{
	fprintf(to, "Usage: trapeze %s [options]%s%s\n%s.\n\n", v->name, *v->args ? " " : "", v->args, v->summary);
	for (unsigned i = 0; i < n; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o[i].letter ? '-' : ' ', o[i].letter ? o[i].letter : ' ',
			 o[i].letter ? ", " : "  ", o[i].name, o[i].arg ? " " : "", o[i].arg ? o[i].arg : "");
		fprintf(to, "  %-26s %s\n", left, o[i].does);
	}
	fprintf(to, "      %-22s %s\n      --help\n", "--control SOCKET", "of the running machine (default $TRAPEZE_CONTROL)");
}

// getopt's view of the common options and a verb's own: those have values from 1 on.
static void getopt_tables(const struct client_option *o, unsigned n, struct option *longs, char *shorts)
{
	*shorts++ = ':';
	for (unsigned i = 0; i < n; i++) {
		longs[i] = (struct option){o[i].name, o[i].arg ? required_argument : no_argument, NULL, (int)i + 1};
		if (o[i].letter) {
			*shorts++ = o[i].letter;
			if (o[i].arg)
				*shorts++ = ':';
		}
	}
	*shorts = 0;
	longs[n] = (struct option){"control", required_argument, NULL, 0x101};
	longs[n + 1] = (struct option){"help", no_argument, NULL, 0x102};
	longs[n + 2] = (struct option){NULL, 0, NULL, 0};
}

static int option_index(const struct client_option *o, unsigned n, int opt)
{
	if (opt >= 1 && opt <= (int)n)
		return opt - 1;
	for (unsigned i = 0; i < n; i++)
		if (o[i].letter && o[i].letter == opt)
			return (int)i;
	return -1;
}

int client_options_own(struct client *c, const struct verb *v, int argc, char **argv, const struct client_option *o, unsigned n,
		       bool (*take)(void *ctx, unsigned which, const char *arg), void *ctx)
{
	struct option longs[OPTIONS_MAX + 3];
	char shorts[2 * OPTIONS_MAX + 2];
	int opt;

	*c = (struct client){.socket = getenv("TRAPEZE_CONTROL")};
	getopt_tables(o, n, longs, shorts);
	optind = 1;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int which = option_index(o, n, opt);

		if (opt == 0x102) {
			usage(stdout, v, o, n);
			return EXIT_OK;
		}
		if (opt == 0x101) {
			c->socket = optarg;
		} else if (opt == '?' || opt == ':' || which < 0) {
			complain(opt == ':' ? "%s: option '%s' needs an argument" : "%s: unknown or ambiguous option '%s'", v->name,
				 argv[optind - 1]);
			usage(stderr, v, o, n);
			return EXIT_USAGE;
		} else if (!take(ctx, (unsigned)which, optarg)) {
			return EXIT_USAGE;
		}
	}
	c->arg = argv + optind;
	c->args = argc - optind;
	if (c->args < v->min_args || c->args > v->max_args) {
		complain("%s: %s", v->name, c->args < v->min_args ? "an argument is missing" : "too many arguments");
		usage(stderr, v, o, n);
		return EXIT_USAGE;
	}
	if (!c->socket || !*c->socket) {
		complain("%s: which machine? Give --control SOCKET or set TRAPEZE_CONTROL", v->name);
		return EXIT_USAGE;
	}
	return -1;
}

int client_options(struct client *c, const struct verb *v, int argc, char **argv)
{
	return client_options_own(c, v, argc, argv, NULL, 0, NULL, NULL);
}

bool option_number(const char *verb, const char *option, const char *text, u64 min, u64 max, u64 *out)
{
	char *end;

	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max)
		return complain("%s: %s: '%s' is not a number between %llu and %llu", verb, option, text, (unsigned long long)min,
				(unsigned long long)max);
	*out = n;
	return true;
}

bool option_seconds(const char *verb, const char *option, const char *text, u64 *ms)
{
	char *end;
	double s = strtod(text, &end);

	if (!((text[0] >= '0' && text[0] <= '9') || text[0] == '.') || *end || !(s > 0) || s > 1e6)
		return complain("%s: %s: '%s' is no number of seconds", verb, option, text);
	*ms = (u64)(s * 1000);
	if (!*ms)
		*ms = 1;
	return true;
}

static long reply_seconds(void)
{
	const char *text = getenv("TRAPEZE_REPLY_SECONDS");
	long n = text ? strtol(text, NULL, 10) : 0;

	return n > 0 && n < 1000000 ? n : REPLY_SECONDS;
}

bool client_no_reply(ssize_t n)
{
	if (!n)
		return complain("the machine ended or hung up before it answered");
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return complain("no reply from the machine for %ld s", reply_seconds());
	return complain("no reply from the machine: %s", strerror(errno));
}

bool client_send(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EPIPE)
			return true; // it may have answered and hung up: the reader will see
		if (sent <= 0)
			return client_no_reply(-1);
		data += sent, n -= (size_t)sent;
	}
	return true;
}

int client_connect(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = reply_seconds()};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path)) {
		complain("%s: too long for a socket", path);
		return -1;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); // of connecting, too
	}
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		complain("%s: %s", path, errno == EAGAIN ? "nobody answers" : strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static bool read_line(int fd, struct bytes *line)
{
	char buf[65536];

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n <= 0)
			return client_no_reply(n);
		bytes_add(line, buf, (size_t)n);
		char *nl = memchr(line->data, '\n', line->len);

		if (nl) {
			line->len = (size_t)(nl - line->data);
			return true;
		}
	}
}

static bool take_reply(struct client *c, struct json_value *result)
{
	char message[512] = "error";

	if (!c->token)
		c->token = xalloc(TOKENS_MAX * sizeof(*c->token));
	if (!json_parse(&c->doc, c->reply.data, c->reply.len, c->token, TOKENS_MAX))
		return complain("the machine's reply is no JSON");
	struct json_value root = json_root(&c->doc), error = json_member(root, "error");

	if (json_kind(error) != JSON_ABSENT) {
		json_string(json_member(error, "message"), message, sizeof(message));
		return complain("%s", message);
	}
	*result = json_member(root, "result");
	return true;
}

bool client_call_params(struct client *c, const char *method, const char *params, size_t n, struct json_value *result)
{
	struct bytes line = {0};
	int fd = client_connect(c->socket);
	char name[256];
	struct json_out j;

	if (fd < 0)
		return false;
	json_init(&j, name, sizeof(name));
	json_put_string(&j, method);
	bytes_printf(&line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":%.*s", (int)j.len, name);
	if (params) {
		bytes_printf(&line, ",\"params\":");
		bytes_add(&line, params, n);
	}
	bytes_printf(&line, "}\n");
	bytes_drop(&c->reply, c->reply.len);
	bool ok = client_send(fd, line.data, line.len) && read_line(fd, &c->reply);

	close(fd);
	bytes_free(&line);
	return ok && take_reply(c, result);
}

const char *client_vm(struct client *c, const char *arg, char *buf, size_t size)
{
	struct json_value list;
	char *end;
	unsigned long long id = strtoull(arg, &end, 10);

	if (arg[0] < '0' || arg[0] > '9' || *end || !client_call(c, "list", NULL, &list))
		return arg;
	for (unsigned i = 0; i < json_count(list); i++)
		if (json_string_is(json_member(json_at(list, i), "name"), arg))
			return arg;
	for (unsigned i = 0; i < json_count(list); i++)
		if (client_u64(json_at(list, i), "id") == id)
			return client_string(json_at(list, i), "name", buf, size);
	return arg;
}

bool client_call(struct client *c, const char *method, const char *vm, struct json_value *result)
{
	struct json_out j;
	bool ok;

	if (!vm)
		return client_call_params(c, method, NULL, 0, result);
	size_t room = strlen(vm) * 6 + 32;
	char *params = xalloc(room);

	json_init(&j, params, room);
	json_object(&j);
	json_kv_string(&j, "vm", vm);
	json_object_end(&j);
	ok = client_call_params(c, method, params, j.len, result);
	free(params);
	return ok;
}

void client_free(struct client *c)
{
	bytes_free(&c->reply);
	free(c->token);
}

u64 client_u64(struct json_value object, const char *key)
{
	u64 n = 0;

	json_u64(json_member(object, key), &n);
	return n;
}

const char *client_string(struct json_value object, const char *key, char *buf, size_t size)
{
	if (json_string(json_member(object, key), buf, size) < 0)
		buf[0] = 0;
	return buf;
}

// Re-indents JSON text; the value was checked when it was parsed.
void client_print_json(struct json_value v)
{
	size_t n;
	const char *p = json_raw(v, &n), *end = p + n;
	int depth = 0;
	bool quoted = false;

	for (; p < end; p++) {
		if (quoted) {
			putchar(*p);
			if (*p == '\\' && p + 1 < end)
				putchar(*++p);
			else if (*p == '"')
				quoted = false;
		} else if (*p == '"') {
			quoted = true;
			putchar(*p);
		} else if ((*p == '{' || *p == '[') && p + 1 < end && (p[1] == '}' || p[1] == ']')) {
			putchar(*p);
			putchar(*++p);
		} else if (*p == '{' || *p == '[') {
			printf("%c\n%*s", *p, 2 * ++depth, "");
		} else if (*p == '}' || *p == ']') {
			printf("\n%*s%c", 2 * --depth, "", *p);
		} else if (*p == ',') {
			printf(",\n%*s", 2 * depth, "");
		} else if (*p == ':') {
			fputs(": ", stdout);
		} else if (*p != ' ' && *p != '\t' && *p != '\r') {
			putchar(*p);
		}
	}
	putchar('\n');
}
