// SPDX-License-Identifier: MIT
// trapeze exits VM: why a VM's guest left for the hypervisor, and from which of its addresses most; with the kernel's System.map by
// name. The slide of a kernel that placed itself at random is found by its system-call entry, which the hypervisor knows.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/bundle.h"
#include "tools/client.h"

#define ENTRY_SYMBOL "entry_SYSCALL_64"

enum { OPT_NUMBER, OPT_SYMBOLS, OPT_SLIDE };

static const struct client_option options[] = {
	{"number", 'n', "N", "of addresses (default 20)"},
	{"symbols", 's', "System.map", "names for the kernel's addresses"},
	{"slide", 0, "HEX", "where the kernel runs, less where it was linked (default: found)"},
};

struct symbol {
	u64 address;
	const char *name;
};

struct exits {
	u64 number, slide;
	bool slide_given;
	const char *map_file;
	struct bytes map;
	struct symbol *symbol;
	size_t symbols;
};

static bool take(void *ctx, unsigned which, const char *arg)
{
	struct exits *x = ctx;
	char *end;

	if (which == OPT_NUMBER)
		return option_number("exits", "--number", arg, 1, 256, &x->number);
	if (which == OPT_SYMBOLS) {
		x->map_file = arg;
		return true;
	}
	x->slide = strtoull(arg, &end, 16);
	x->slide_given = true;
	return (*arg && !*end) || complain("exits: --slide: '%s' is no hexadecimal number", arg);
}

// ---- symbols

static int by_address(const void *a, const void *b)
{
	u64 x = ((const struct symbol *)a)->address, y = ((const struct symbol *)b)->address;

	return (x > y) - (x < y);
}

// Lines "ADDRESS TYPE NAME"; others are skipped.
static bool read_symbols(struct exits *x)
{
	int err = read_file(x->map_file, &x->map);
	size_t lines = 1;

	if (err)
		return complain("exits: %s: %s", x->map_file, strerror(err));
	for (size_t i = 0; i < x->map.len; i++)
		lines += x->map.data[i] == '\n';
	x->symbol = xalloc(lines * sizeof(*x->symbol));
	for (char *line = strtok(x->map.data, "\n"); line; line = strtok(NULL, "\n")) {
		char *end;
		u64 address = strtoull(line, &end, 16);

		if (end != line && end[0] == ' ' && strchr("tTwW", end[1]) && end[2] == ' ' && end[3])
			x->symbol[x->symbols++] = (struct symbol){address, end + 3};
	}
	qsort(x->symbol, x->symbols, sizeof(*x->symbol), by_address);
	return x->symbols || complain("exits: %s: no symbols in it", x->map_file);
}

static void find_slide(struct exits *x, u64 lstar)
{
	for (size_t i = 0; i < x->symbols && !x->slide_given && lstar; i++)
		if (!strcmp(x->symbol[i].name, ENTRY_SYMBOL)) {
			x->slide = lstar - x->symbol[i].address;
			return;
		}
}

static const char *name_of(const struct exits *x, u64 rip, char *buf, size_t size)
{
	u64 linked = rip - x->slide;
	size_t low = 0, high = x->symbols;

	buf[0] = 0;
	if (!x->symbols || linked < x->symbol[0].address || !(rip >> 63))
		return buf;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (x->symbol[mid].address <= linked)
			low = mid;
		else
			high = mid;
	}
	snprintf(buf, size, "%s+%#llx", x->symbol[low].name, (unsigned long long)(linked - x->symbol[low].address));
	return buf;
}

// ---- tables

static u64 hex(struct json_value object, const char *key)
{
	char text[32];

	return strtoull(client_string(object, key, text, sizeof(text)), NULL, 16);
}

static void reasons(struct json_value v)
{
	struct json_value name, value;
	u64 all = 0;

	for (unsigned i = 0; json_member_at(v, i, &name, &value); i++)
		all += client_u64(value, "count");
	printf("%-16s %12s %6s %12s %10s\n", "REASON", "COUNT", "%", "TIME(ms)", "EACH(us)");
	for (unsigned i = 0; json_member_at(v, i, &name, &value); i++) {
		u64 count = client_u64(value, "count"), ns = client_u64(value, "ns");
		char text[64];

		if (!count)
			continue;
		json_string(name, text, sizeof(text));
		printf("%-16s %12llu %6.1f %12.1f %10.1f\n", text, (unsigned long long)count, 100.0 * (double)count / (double)all,
		       (double)ns / 1e6, (double)ns / 1e3 / (double)count);
	}
}

static void sites(const struct exits *x, struct json_value v)
{
	char reason[64], instruction[32], name[128];

	printf("\n%-18s %12s %-16s %-12s %s\n", "ADDRESS", "COUNT", "REASON", "INSTRUCTION", x->symbols ? "SYMBOL" : "");
	for (unsigned i = 0; i < json_count(v); i++) {
		struct json_value s = json_at(v, i);
		u64 rip = hex(s, "rip");

		printf("%#018llx %12llu %-16s %-12s %s\n", (unsigned long long)rip, (unsigned long long)client_u64(s, "count"),
		       client_string(s, "reason", reason, sizeof(reason)),
		       client_string(s, "instruction", instruction, sizeof(instruction)), name_of(x, rip, name, sizeof(name)));
	}
}

static bool show(struct client *c, struct exits *x)
{
	char name[TZ_NAME_MAX + 1], params[TZ_NAME_MAX * 6 + 64];
	struct json_value v;
	struct json_out j;

	json_init(&j, params, sizeof(params));
	json_object(&j);
	json_kv_string(&j, "vm", client_vm(c, c->arg[0], name, sizeof(name)));
	json_kv_u64(&j, "max", x->number);
	json_object_end(&j);
	if (j.overflow)
		return complain("no VM of that name");
	if (!client_call_params(c, "exits", params, j.len, &v))
		return false;
	find_slide(x, hex(v, "lstar"));
	reasons(json_member(v, "reasons"));
	sites(x, json_member(v, "sites"));
	return true;
}

int cmd_exits(const struct verb *v, int argc, char **argv)
{
	struct exits x = {.number = 20};
	struct client c;
	int status = client_options_own(&c, v, argc, argv, options, ARRAY_SIZE(options), take, &x);

	if (status >= 0)
		return status;
	if (x.map_file && !read_symbols(&x))
		status = EXIT_USAGE;
	else
		status = show(&c, &x) ? EXIT_OK : EXIT_FAILED;
	free(x.symbol);
	bytes_free(&x.map);
	client_free(&c);
	return status;
}
