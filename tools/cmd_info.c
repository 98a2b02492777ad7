// SPDX-License-Identifier: MIT
// trapeze info: the machine: one "key : value" a line, as xl info prints.
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
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
