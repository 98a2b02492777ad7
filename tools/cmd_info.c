// SPDX-License-Identifier: MIT
// trapeze info: the machine: one "key : value" a line, as xl info prints.
#include <stdio.h>
#include <string.h>

#include "tools/client.h"

static void print_member(struct json_value object, const char *key)
{
	struct json_value v = json_member(object, key);
	char text[512];
	size_t n;

	if (json_kind(v) == JSON_ABSENT)
		return;
	const char *raw = json_raw(v, &n);

	if (json_string(v, text, sizeof(text)) >= 0)
		printf("%-24s: %s\n", key, text);
	else
		printf("%-24s: %.*s\n", key, (int)n, raw);
}

int cmd_info(const struct verb *v, int argc, char **argv)
{
	static const char *const keys[] = { "version",	    "cpu_model",  "nr_cpus",	"total_memory", "free_memory",
					    "hypervisor_bytes", "vms", "uptime_ns", "command_line" };
	struct client c;
	struct json_value info;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = EXIT_FAILED;
	if (client_call(&c, "info", NULL, &info)) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			print_member(info, keys[i]);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
