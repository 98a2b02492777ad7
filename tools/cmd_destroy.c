// SPDX-License-Identifier: MIT
// trapeze destroy VM: ends a VM at once.
#include "tools/client.h"

int cmd_destroy(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value result;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = client_call(&c, "destroy", c.arg[0], &result) ? EXIT_OK : EXIT_FAILED;
	client_free(&c);
	return status;
}
