// SPDX-License-Identifier: MIT
// System instructions: the emulator against a machine (QEMU), case by case. The machine's side is the text that the test
// kernel in tests/guests/sysinsn printed; this program runs the same cases and compares whole outcomes. Differences that
// are QEMU's are listed in emul_system_quirks.c, each with its reason and a bound.
//
//   emul_system [--quiet] [--show N] [--group NAME] [--case N] [--plant N] [--guest] OUTPUT-OF-THE-KERNEL
//
// --guest: the kernel ran part of the cases (every 23rd), as a guest of the hypervisor. Its departures are listed in
// emul_system_guest.c; what runs natively has QEMU's besides.
#include "tests/diff/emul_system.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_QUIRKS 64
#define MAX_UNSUPPORTED 32

static struct cpuid_row cpuid_rows[16];
static struct {
	unsigned made, compared, skipped, unsupported, quirky, missing, wrong;
} counts[64];
static unsigned quirk_used[MAX_QUIRKS], guest_used[MAX_QUIRKS], skip_total;
static struct {
	const char *reason;
	unsigned n;
} skips[32];
static struct {
	bool quiet;
	unsigned show;
	const char *group;
	int index;
	struct system_run run;
} opt = {.show = 20, .index = -1};
static unsigned shown;

// " field=value field=value" in hex, over what o holds already.
static bool parse_fields(const char *p, struct outcome *o)
{
	while (*p == ' ') {
		char *end;
		unsigned long f = strtoul(p, &end, 16);

		if (f >= OUTCOME_COUNT || *end != '=')
			return false;
		o->f[f] = strtoull(end + 1, &end, 16);
		p = end;
	}
	return *p == '\n';
}

static bool parse_cpuid(const char *line)
{
	static unsigned n;
	struct outcome o = {0};
	char *end;

	if (n == ARRAY_SIZE(cpuid_rows))
		return false;
	cpuid_rows[n].leaf = (u32)strtoul(line, &end, 10);
	if (!parse_fields(end, &o))
		return false;
	cpuid_rows[n].out[0] = (u32)o.f[O_rax];
	cpuid_rows[n].out[1] = (u32)o.f[O_rbx];
	cpuid_rows[n].out[2] = (u32)o.f[O_rcx];
	cpuid_rows[n].out[3] = (u32)o.f[O_rdx];
	opt.run.cpuid_rows = ++n;
	return true;
}

static void show(unsigned g, unsigned i, const struct sys_case *c, const struct outcome *want,
		 const struct outcome *got)
{
	static const char *const entries[] = {"ring 0, 64-bit", "ring 3, 64-bit", "ring 3, 32-bit", "ring 0, 32-bit"};

	if (opt.quiet || shown++ >= opt.show)
		return;
	printf("%s %u (%s):", groups[g].name, i, entries[c->entry]);
	for (unsigned k = 0; k < c->length; k++)
		printf(" %02x", c->code[k]);
	printf("  rax %llx rcx %llx rdx %llx rbx %llx flags %llx\n", (unsigned long long)c->gpr[0],
	       (unsigned long long)c->gpr[1], (unsigned long long)c->gpr[2], (unsigned long long)c->gpr[3],
	       (unsigned long long)c->flags);
	for (unsigned f = 0; got && f < OUTCOME_COUNT; f++)
		if (want->f[f] != got->f[f])
			printf("    %-14s machine %llx, emulator %llx\n", outcome_name(f),
			       (unsigned long long)want->f[f], (unsigned long long)got->f[f]);
	if (!got)
		printf("    emulator: %s; machine: vector %llu\n", opt.run.lost, (unsigned long long)want->f[O_vector]);
}

static bool same(const struct outcome *a, const struct outcome *b)
{
	return !memcmp(a, b, sizeof(*a));
}

// Quirks in their order until nothing differs.
static void apply(const struct quirk *list, unsigned n, unsigned g, const struct sys_case *c, struct outcome *a,
		  struct outcome *b, bool *used)
{
	for (unsigned q = 0; q < n && !same(a, b); q++)
		used[q] = list[q].apply(groups[g].name, c, a, b);
}

static bool explained(unsigned g, const struct sys_case *c, const struct outcome *want, const struct outcome *got)
{
	struct outcome a = *want, b = *got;
	bool used[MAX_QUIRKS] = {false}, guest[MAX_QUIRKS] = {false}, beyond_rf = false;

	if (opt.run.guest)
		apply(guest_quirks, guest_quirk_count, g, c, &a, &b, guest);
	apply(quirks, quirk_count, g, c, &a, &b, used);
	if (!same(&a, &b))
		return false;
	for (unsigned q = 0; q < MAX_QUIRKS; q++) {
		quirk_used[q] += used[q];
		guest_used[q] += guest[q];
		beyond_rf |= guest[q] || (used[q] && q);
	}
	counts[g].quirky += beyond_rf; // RF, the first in the list, differs in most faults
	return true;
}

static void compare(unsigned g, unsigned i, const struct sys_case *c, const struct outcome *want)
{
	struct outcome got;

	switch (system_run(&opt.run, c, &got)) {
	case CASE_UNSUPPORTED:
		counts[g].unsupported++;
		return;
	case CASE_LOST:
		counts[g].wrong++;
		show(g, i, c, want, NULL);
		return;
	default:
		break;
	}
	counts[g].compared++;
	if (same(want, &got))
		return;
	if (explained(g, c, want, &got))
		return;
	counts[g].wrong++;
	show(g, i, c, want, &got);
}

static void skip(unsigned g, const char *reason)
{
	unsigned k = 0;

	counts[g].skipped++;
	skip_total++;
	while (k < ARRAY_SIZE(skips) - 1 && skips[k].reason && strcmp(skips[k].reason, reason))
		k++;
	skips[k].reason = reason;
	skips[k].n++;
}

// Cases come in order; those to be skipped have no line. False: the line is none that belongs here.
static bool case_line(const char *line, unsigned *g, unsigned *i)
{
	char *end;
	unsigned lg = (unsigned)strtoul(line, &end, 10), li = (unsigned)strtoul(end, &end, 10);
	struct sys_case c;
	struct outcome want;

	for (; *g < group_count; ++*g, *i = 0) {
		for (; *i < groups[*g].count; ++*i) {
			case_make(*g, *i, &c);
			counts[*g].made++;
			if (c.skip) {
				skip(*g, c.skip);
				continue;
			}
			if (*g != lg || *i != li) {
				if (!opt.run.guest)
					return false;
				continue;
			}
			outcome_baseline(&c, &want);
			if (!parse_fields(end, &want))
				return false;
			++*i;
			if ((!opt.group || !strcmp(opt.group, groups[*g].name)) &&
			    (opt.index < 0 || opt.index + 1 == (int)*i))
				compare(*g, *i - 1, &c, &want);
			return true;
		}
	}
	return false;
}

static void skip_rest(unsigned g, unsigned i)
{
	struct sys_case c;

	for (; g < group_count; g++, i = 0)
		for (; i < groups[g].count; i++) {
			case_make(g, i, &c);
			counts[g].made++;
			if (c.skip)
				skip(g, c.skip);
			else
				counts[g].missing += !opt.run.guest;
		}
}

static bool read_machine(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[4096];
	unsigned g = 0, i = 0;
	bool end = false, ok = f;

	while (ok && !end && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "cpuid ", 6))
			ok = parse_cpuid(line + 6);
		else if (!strcmp(line, "end\n"))
			end = true;
		else
			ok = case_line(line, &g, &i);
	}
	if (f)
		fclose(f);
	skip_rest(g, i);
	if (!ok || !end)
		printf("%s: the machine stopped at group %s, case %u\n", path,
		       g < group_count ? groups[g].name : "(end)", i);
	return ok && end;
}

static unsigned table(void)
{
	unsigned wrong = 0, compared = 0, made = 0, unsupported = 0;

	printf("%-16s %7s %9s %8s %12s %7s %7s\n", "group", "cases", "compared", "skipped", "unsupported", "quirk",
	       "wrong");
	for (unsigned g = 0; g < group_count; g++) {
		printf("%-16s %7u %9u %8u %12u %7u %7u\n", groups[g].name, counts[g].made, counts[g].compared,
		       counts[g].skipped, counts[g].unsupported, counts[g].quirky, counts[g].wrong + counts[g].missing);
		wrong += counts[g].wrong + counts[g].missing;
		compared += counts[g].compared;
		made += counts[g].made;
		unsupported += counts[g].unsupported;
	}
	printf("%-16s %7u %9u %8u %12u %7s %7u\n", "all", made, compared, skip_total, unsupported, "", wrong);
	return wrong;
}

static unsigned list_quirks(const char *title, const struct quirk *list, unsigned n, const unsigned *used, bool all)
{
	unsigned over = 0;

	printf("%s (cases, bound):\n", title);
	for (unsigned q = 0; q < n; q++) {
		bool beyond = all && used[q] > list[q].most;

		if (all || used[q])
			printf("  %5u %5u  %s: %s%s\n", used[q], list[q].most, list[q].name, list[q].reason,
			       beyond ? "  (beyond its bound)" : "");
		over += beyond;
	}
	return over;
}

static unsigned notes(void)
{
	unsigned over = 0;

	printf("\nskipped, not run on either side:\n");
	for (unsigned k = 0; k < ARRAY_SIZE(skips) && skips[k].reason; k++)
		printf("  %5u  %s\n", skips[k].n, skips[k].reason);
	if (opt.run.guest)
		over = list_quirks("differences that are the hypervisor's", guest_quirks, guest_quirk_count, guest_used,
				   true);
	return over +
	       list_quirks("differences that are the machine's", quirks, quirk_count, quirk_used, !opt.run.guest);
}

static const char *parse_options(int argc, char **argv)
{
	int k = 1;

	for (; k < argc - 1; k++) {
		if (!strcmp(argv[k], "--quiet"))
			opt.quiet = true;
		else if (!strcmp(argv[k], "--guest"))
			opt.run.guest = true;
		else if (!strcmp(argv[k], "--show"))
			opt.show = (unsigned)atoi(argv[++k]);
		else if (!strcmp(argv[k], "--group"))
			opt.group = argv[++k];
		else if (!strcmp(argv[k], "--case"))
			opt.index = atoi(argv[++k]);
		else if (!strcmp(argv[k], "--plant"))
			opt.run.plant = (unsigned)atoi(argv[++k]);
		else
			return NULL;
	}
	return k < argc ? argv[k] : NULL;
}

int main(int argc, char **argv)
{
	const char *path = parse_options(argc, argv);
	bool complete;
	unsigned wrong, over;

	if (!path) {
		fprintf(stderr,
			"usage: emul_system [--quiet] [--show N] [--group NAME] [--case N] [--plant N] [--guest] FILE\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	opt.run.cpuid = cpuid_rows;
	complete = read_machine(path);
	wrong = table();
	over = notes();
	return complete && !wrong && !over ? 0 : 1;
}
