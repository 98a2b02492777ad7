// SPDX-License-Identifier: MIT
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/bundle.h"
#include "abi/machine.h"

static const char usage_text[] =
	"Usage: trapeze run [options] VMFILE...\n"
	"Boots the hypervisor in QEMU with these VMs and shows their consoles.\n"
	"\n"
	"  --cpus N            CPUs of the machine (default 2)\n"
	"  --memory SIZE       its memory, with suffix K, M, G or T; MiB without (default " TZ_MACHINE_MEMORY ")\n"
	"  --timeout SECONDS   then stop; exit status 124\n"
	"  --stats FILE        write the final statistics there, as JSON\n"
	"  --control SOCKET    serve the control channel on this Unix socket while the machine runs\n"
	"  --icount            QEMU's instruction-count clock, for repeatable runs\n"
	"  --machine-arg ARG   pass ARG to QEMU as it is (may be repeated)\n"
	"  --hv-arg WORD       add a word to the hypervisor's command line (may be repeated)\n"
	"  --gdb PORT          QEMU's gdb server on this TCP port\n"
	"  -v                  show the hypervisor's log on stderr\n"
	"  --version, --help\n"
	"\n"
	"Ctrl-] on a terminal opens a prompt. Exit status: 0 every VM ended as asked, 2 usage or a VM file that cannot\n"
	"run, 10 a VM crashed, 12 the hypervisor died, 14 QEMU did not start, 124 time-out, 130 interrupted;\n"
	"(v << 1) | 1 when a lone VM writes v to port 0xf4.\n";

enum {
	OPT_CPUS = 256,
	OPT_MEMORY,
	OPT_TIMEOUT,
	OPT_STATS,
	OPT_CONTROL,
	OPT_ICOUNT,
	OPT_MACHINE_ARG,
	OPT_HV_ARG,
	OPT_GDB,
	OPT_VERSION,
	OPT_HELP
};

static const struct option longs[] = {
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"stats", required_argument, NULL, OPT_STATS},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"icount", no_argument, NULL, OPT_ICOUNT},
	{"machine-arg", required_argument, NULL, OPT_MACHINE_ARG},
	{"hv-arg", required_argument, NULL, OPT_HV_ARG},
	{"gdb", required_argument, NULL, OPT_GDB},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static bool parse_number(const char *name, const char *text, u64 min, u64 max, u64 *out)
{
	char *end;

	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) || *end || errno || n < min || n > max)
		return complain("%s: '%s' is not a number between %llu and %llu", name, text, (unsigned long long)min,
				(unsigned long long)max);
	*out = n;
	return true;
}

static bool parse_size(const char *text, u64 *out)
{
	static const char suffixes[] = "KMGT";
	char *end;
	u64 unit = MIB;

	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	const char *suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;

	if (suffix) {
		unit = KIB << (10 * (suffix - suffixes));
		end++;
	}
	if (!isdigit((unsigned char)text[0]) || *end || errno || n > TZ_MEMORY_MAX / unit || n * unit < 32 * MIB)
		return complain("--memory: '%s' is no size between 32M and 1T", text);
	*out = n * unit;
	return true;
}

static bool parse_timeout(const char *text, u64 *ms)
{
	char *end;
	double s = strtod(text, &end);

	if (!(isdigit((unsigned char)text[0]) || text[0] == '.') || *end || !(s > 0) || s > 1e9)
		return complain("--timeout: '%s' is no number of seconds", text);
	*ms = (u64)(s * 1000);
	if (!*ms)
		*ms = 1;
	return true;
}

static bool add_arg(const char *name, const char **list, unsigned *count, const char *arg)
{
	if (*count == OPTIONS_ARGS_MAX)
		return complain("%s: given more than %d times", name, OPTIONS_ARGS_MAX);
	list[(*count)++] = arg;
	return true;
}

static bool take_option(struct run_options *o, int opt)
{
	u64 n;

	switch (opt) {
	case OPT_CPUS:
		if (!parse_number("--cpus", optarg, 1, 64, &n))
			return false;
		o->cpus = (unsigned)n;
		return true;
	case OPT_MEMORY:
		return parse_size(optarg, &o->memory);
	case OPT_TIMEOUT:
		return parse_timeout(optarg, &o->timeout_ms);
	case OPT_STATS:
		o->stats = optarg;
		return true;
	case OPT_CONTROL:
		o->control = optarg;
		return true;
	case OPT_ICOUNT:
		o->icount = true;
		return true;
	case OPT_MACHINE_ARG:
		return add_arg("--machine-arg", o->machine_arg, &o->machine_args, optarg);
	case OPT_HV_ARG:
		return add_arg("--hv-arg", o->hv_arg, &o->hv_args, optarg);
	case OPT_GDB:
		if (!parse_number("--gdb", optarg, 1, 65535, &n))
			return false;
		o->gdb = (unsigned)n;
		return true;
	case 'v':
		o->verbose = true;
		return true;
	default:
		return false;
	}
}

int run_options_parse(struct run_options *o, int argc, char **argv, bool *done)
{
	int opt;

	*o = (struct run_options){.cpus = TZ_MACHINE_CPUS};
	*done = false;
	parse_size(TZ_MACHINE_MEMORY, &o->memory);
	optind = 1;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":v", longs, NULL)) != -1) {
		if (opt == OPT_HELP || opt == OPT_VERSION) {
			fputs(opt == OPT_HELP ? usage_text : "trapeze " TRAPEZE_VERSION "\n", stdout);
			*done = true;
			return EXIT_OK;
		}
		if (opt == '?' || opt == ':') {
			complain(opt == '?' ? "run: unknown or ambiguous option '%s'"
					    : "run: option '%s' needs an argument",
				 argv[optind - 1]);
			fputs("Try 'trapeze run --help'.\n", stderr);
			return EXIT_USAGE;
		}
		if (!take_option(o, opt))
			return EXIT_USAGE;
	}
	o->vm_file = argv + optind;
	o->vm_files = (unsigned)(argc - optind);
	if (!o->vm_files) {
		complain("run: no VM file");
		fputs("Try 'trapeze run --help'.\n", stderr);
		return EXIT_USAGE;
	}
	return EXIT_OK;
}
