// SPDX-License-Identifier: MIT
// The host command: `trapeze VERB ...`. A verb is a row here and a file cmd_VERB.c.
#include <stdio.h>
#include <string.h>

#include "tools/client.h"

static const struct verb verbs[] = {
	{"run", "[options] VMFILE...", "Boot the hypervisor in QEMU with these VMs", cmd_run, 0, 0},
	{"list", "[VM]", "List the VMs of a running machine", cmd_list, 0, 1},
	{"info", "", "Show what the machine is and has left", cmd_info, 0, 0},
	{"stats", "", "Print the statistics as JSON", cmd_stats, 0, 0},
	{"create", "VMFILE", "Start a new VM", cmd_create, 1, 1},
	{"top", "", "Show what the VMs cost, again each second", cmd_top, 0, 0},
	{"destroy", "VM", "End a VM at once", cmd_vm, 1, 1},
	{"shutdown", "[VM]", "Press a VM's power button: a guest that listens ends by itself", cmd_shutdown, 0, 1},
	{"pause", "VM", "Stop running a VM until it is unpaused", cmd_vm, 1, 1},
	{"unpause", "VM", "Run a paused VM on", cmd_vm, 1, 1},
	{"sched-credit", "", "Show or set the VMs' shares of the CPUs", cmd_sched_credit, 0, 0},
	{"console", "VM", "Show a VM's console here; Ctrl-] leaves", cmd_console, 1, 1},
	{"exits", "VM", "Show a VM's exits by reason and by guest address", cmd_exits, 1, 1},
	{"trace", "", "Show the hypervisor's trace records, choose their categories", cmd_trace, 0, 0},
	{"walk", "VM ADDRESS", "Show each step of an address: guest tables, P2M, shadow", cmd_walk, 2, 2},
	{"dmesg", "", "Print the hypervisor's log", cmd_dmesg, 0, 0},
	{"call", "METHOD [PARAMS]", "Call any method of the control channel; PARAMS is JSON", cmd_call, 1, 2},
};

static void usage(FILE *to)
{
	fputs("Usage: trapeze VERB [options] ...\n\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(to, "  %-13s%-17s%s\n", verbs[i].name, verbs[i].args, verbs[i].summary);
	fputs("\n'trapeze VERB --help' tells more. 'trapeze --version' prints the version.\n", to);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		usage(stdout);
		return EXIT_OK;
	}
	if (!strcmp(name, "--version") || !strcmp(name, "version")) {
		puts("trapeze " TRAPEZE_VERSION);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(name, verbs[i].name))
			return verbs[i].run(&verbs[i], argc - 1, argv + 1);
	if (*name)
		complain("unknown verb '%s'", name);
	usage(stderr);
	return EXIT_USAGE;
}
