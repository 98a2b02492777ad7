// SPDX-License-Identifier: MIT
// trapeze list [VM]: xl's columns.
#include <stdio.h>
#include <string.h>

#include "tools/client.h"

int cmd_list(const struct verb *v, int argc, char **argv)
{
	struct client c;
	struct json_value list;
	char name[256], state[64], wanted_name[256];
	bool found = false;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	status = EXIT_FAILED;
	const char *wanted = c.args ? client_vm(&c, c.arg[0], wanted_name, sizeof(wanted_name)) : NULL;

	if (client_call(&c, "list", NULL, &list)) {
		printf("%-40s %5s %5s %5s  %-10s %9s\n", "Name", "ID", "Mem", "VCPUs", "State", "Time(s)");
		for (unsigned i = 0; i < json_count(list); i++) {
			struct json_value vm = json_at(list, i);

			client_string(vm, "name", name, sizeof(name));
			if (c.args && strcmp(name, wanted))
				continue;
			found = true;
			printf("%-40s %5llu %5llu %5llu  %-10s %9.1f\n", name, (unsigned long long)client_u64(vm, "id"),
			       (unsigned long long)(client_u64(vm, "memory") / MIB),
			       (unsigned long long)client_u64(vm, "vcpus"),
			       client_string(vm, "state", state, sizeof(state)),
			       (double)client_u64(vm, "run_ns") / 1e9);
		}
		if (c.args && !found)
			complain("no such VM");
		else
			status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
