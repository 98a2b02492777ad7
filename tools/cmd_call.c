// SPDX-License-Identifier: MIT
// trapeze call METHOD [PARAMS]: any method of the control channel; PARAMS is JSON.
#include <string.h>

#include "tools/client.h"

int cmd_call(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value result;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	const char *params = c.args > 1 ? c.arg[1] : NULL;

	if (params && (!json_valid(params, strlen(params)) || strchr(params, '\n'))) {
		complain("call: the parameters are no JSON on one line");
		return EXIT_USAGE;
	}
	status = EXIT_FAILED;
	if (client_call_params(&c, c.arg[0], params, params ? strlen(params) : 0, &result)) {
		client_print_json(result);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
