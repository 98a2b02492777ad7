// SPDX-License-Identifier: MIT
// Options of `trapeze run`.
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "tools/tool.h"

#define OPTIONS_ARGS_MAX 64

struct run_options {
	unsigned cpus;
	u64 memory;     // bytes
	u64 timeout_ms; // 0: none
	const char *stats, *control;
	bool icount, verbose;
	unsigned gdb; // TCP port, 0: none
	const char *machine_arg[OPTIONS_ARGS_MAX];
	unsigned machine_args;
	const char *hv_arg[OPTIONS_ARGS_MAX]; // words of the hypervisor's own command line
	unsigned hv_args;
	char **vm_file;
	unsigned vm_files;
};

// EXIT_OK, or the status to end with; *done is set when there is nothing to run (--help).
int run_options_parse(struct run_options *o, int argc, char **argv, bool *done);

#endif
