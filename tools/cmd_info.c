// SPDX-License-Identifier: MIT
// trapeze info: the machine: one "key : value" a line, as xl info prints, and under xl's names what xl has names for.
#include <stdio.h>

#include "tools/client.h"

static void print_member(struct json_value key, struct json_value value)
{
	char name[128], text[1024];
	size_t n;
	const char *raw = json_raw(value, &n);

	if (json_string(key, name, sizeof(name)) < 0)
		return;
	if (json_string(value, text, sizeof(text)) >= 0)
		printf("%-24s: %s\n", name, text);
	else
		printf("%-24s: %.*s\n", name, (int)n, raw);
}

static void print_as_xl(struct json_value info)
{
	printf("%-24s: %s\n", "machine", "x86_64");
	printf("%-24s: %llu\n", "nr_cpus", (unsigned long long)client_u64(info, "cpus"));
	printf("%-24s: %.3f\n", "cpu_mhz", (double)client_u64(info, "tsc_khz") / 1e3);
	printf("%-24s: %llu\n", "total_memory", (unsigned long long)(client_u64(info, "memory_bytes") / MIB));
	printf("%-24s: %llu\n", "free_memory", (unsigned long long)(client_u64(info, "free_bytes") / MIB));
}

int cmd_info(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value info, key, value;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = EXIT_FAILED;
	if (client_call(&c, "info", NULL, &info)) {
		for (unsigned i = 0; json_member_at(info, i, &key, &value); i++)
			print_member(key, value);
		print_as_xl(info);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
