// SPDX-License-Identifier: MIT
// trapeze stats: the statistics, JSON, indented.
#include "tools/client.h"

int cmd_stats(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value stats;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = EXIT_FAILED;
	if (client_call(&c, "stats", NULL, &stats)) {
		client_print_json(stats);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
