// SPDX-License-Identifier: MIT
// trapeze dmesg: the hypervisor's log.
#include <stdio.h>
#include <stdlib.h>

#include "tools/client.h"

int cmd_dmesg(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value result;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = EXIT_FAILED;
	if (client_call(&c, "dmesg", NULL, &result)) {
		struct json_value text = json_kind(result) == JSON_OBJECT ? json_member(result, "text") : result;
		char *buf = xalloc(c.reply.len + 1);
		long n = json_string(text, buf, c.reply.len + 1);

		fwrite(buf, 1, n > 0 ? (size_t)n : 0, stdout);
		free(buf);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
