// SPDX-License-Identifier: MIT
// trapeze top: what the VMs cost, as a table that is drawn again each second; with --batch one table after the other, as xentop
// and procps's top have it. Rates are those since the table before, in the first since the VM's start.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "tools/client.h"

enum { OPT_BATCH, OPT_NUMBER, OPT_DELAY };

static const struct client_option options[] = {
	{"batch", 'b', NULL, "print one table after the other"},
	{"iterations", 'n', "N", "end after N tables"},
	{"delay", 'd', "SECONDS", "between two tables (default 1)"},
};

struct row {
	char name[TZ_NAME_MAX + 1], state[16];
	u64 id, vcpus, run_ns, memory, resident, overhead, exits, crossings;
};

struct sample {
	u64 time_ns, cpus, memory, free;
	unsigned rows;
	struct row row[TZ_VMS_MAX];
};

struct top {
	bool batch, tty;
	u64 tables, delay_ms;
	struct termios saved;
	struct sample sample[2];
};

static bool take(void *ctx, unsigned which, const char *arg)
{
	struct top *t = ctx;

	if (which == OPT_NUMBER)
		return option_number("top", "--iterations", arg, 1, 1000000000, &t->tables);
	if (which == OPT_DELAY)
		return option_seconds("top", "--delay", arg, &t->delay_ms);
	t->batch = true;
	return true;
}

static bool take_sample(struct client *c, struct sample *s)
{
	struct json_value v;

	if (!client_call(c, "info", NULL, &v))
		return false;
	s->time_ns = client_u64(v, "time_ns");
	s->cpus = client_u64(v, "cpus");
	s->memory = client_u64(v, "memory_bytes");
	s->free = client_u64(v, "free_bytes");
	if (!client_call(c, "list", NULL, &v))
		return false;
	s->rows = MIN(json_count(v), (unsigned)TZ_VMS_MAX);
	for (unsigned i = 0; i < s->rows; i++) {
		struct json_value vm = json_at(v, i);
		struct row *r = &s->row[i];

		client_string(vm, "name", r->name, sizeof(r->name));
		client_string(vm, "state", r->state, sizeof(r->state));
		r->id = client_u64(vm, "id");
		r->vcpus = client_u64(vm, "vcpus");
		r->run_ns = client_u64(vm, "run_ns");
		r->memory = client_u64(vm, "memory");
		r->resident = client_u64(vm, "resident");
		r->overhead = client_u64(vm, "overhead");
		r->exits = client_u64(vm, "exits");
		r->crossings = client_u64(vm, "crossings");
	}
	return true;
}

static const struct row *find(const struct sample *s, u64 id)
{
	for (unsigned i = 0; i < s->rows; i++)
		if (s->row[i].id == id)
			return &s->row[i];
	return NULL;
}

// Per second; a counter that went back (the VM restarted) counts from 0.
static double rate(u64 now, u64 before, double seconds)
{
	return seconds > 0 ? (double)(now >= before ? now - before : now) / seconds : 0;
}

static void print_row(const struct row *r, const struct sample *now, const struct sample *before)
{
	static const struct row none;
	const struct row *old = before ? find(before, r->id) : NULL;
	double seconds = (double)(now->time_ns - (old ? before->time_ns : 0)) / 1e9;

	if (!old)
		old = &none;
	printf("%-16s %-8s %10.1f %6.1f %10llu %6.1f %5llu %9.0f %9.0f %11llu\n", r->name, r->state, (double)r->run_ns / 1e9,
	       rate(r->run_ns, old->run_ns, seconds) / 1e7, (unsigned long long)(r->resident / KIB),
	       now->memory ? 100.0 * (double)r->resident / (double)now->memory : 0, (unsigned long long)r->vcpus,
	       rate(r->exits, old->exits, seconds), rate(r->crossings, old->crossings, seconds),
	       (unsigned long long)(r->overhead / KIB));
}

static void print_table(const struct top *t, const struct sample *now, const struct sample *before)
{
	unsigned running = 0, blocked = 0, paused = 0;
	time_t wall = time(NULL);
	char clock[16];
	u64 vms = 0;

	for (unsigned i = 0; i < now->rows; i++) {
		running += !strcmp(now->row[i].state, "running");
		blocked += !strcmp(now->row[i].state, "blocked");
		paused += !strcmp(now->row[i].state, "paused");
		vms += now->row[i].resident;
	}
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&wall));
	if (t->tty)
		fputs("\033[H\033[J", stdout);
	printf("trapeze top - %s   up %.0f s\n", clock, (double)now->time_ns / 1e9);
	printf("%u VMs: %u running, %u blocked, %u paused   CPUs: %llu\n", now->rows, running, blocked, paused,
	       (unsigned long long)now->cpus);
	printf("Mem: %lluk total, %lluk of VMs, %lluk of the hypervisor, %lluk free\n", (unsigned long long)(now->memory / KIB),
	       (unsigned long long)(vms / KIB), (unsigned long long)((now->memory - MIN(now->memory, now->free + vms)) / KIB),
	       (unsigned long long)(now->free / KIB));
	printf("%-16s %-8s %10s %6s %10s %6s %5s %9s %9s %11s\n", "NAME", "STATE", "CPU(sec)", "CPU(%)", "MEM(k)", "MEM(%)",
	       "VCPUS", "EXITS/s", "CROSS/s", "OVERHEAD(k)");
	for (unsigned i = 0; i < now->rows; i++)
		print_row(&now->row[i], now, before);
	if (!t->tty)
		putchar('\n');
	fflush(stdout);
}

// Waits for the next table; false when q or Ctrl-C was typed.
static bool wait_next(const struct top *t)
{
	u64 end = now_ms() + t->delay_ms, now;

	while ((now = now_ms()) < end) {
		struct pollfd p = {.fd = t->tty ? 0 : -1, .events = POLLIN};
		char key;

		if (poll(&p, 1, (int)MIN(end - now, (u64)1000)) > 0 && read(0, &key, 1) == 1 && (key == 'q' || key == 3))
			return false;
	}
	return true;
}

static void terminal(struct top *t, bool on)
{
	struct termios raw;

	if (on && !t->batch && isatty(0) && isatty(1) && !tcgetattr(0, &t->saved)) {
		t->tty = true;
		raw = t->saved;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
		tcsetattr(0, TCSANOW, &raw);
	} else if (!on && t->tty) {
		tcsetattr(0, TCSANOW, &t->saved);
	}
}

static bool show_tables(struct top *t, struct client *c)
{
	for (u64 n = 0; !t->tables || n < t->tables; n++) {
		struct sample *now = &t->sample[n & 1];

		if (n && (!wait_next(t) || access(c->socket, F_OK)))
			return true; // had enough, or the machine has ended
		if (!take_sample(c, now))
			return false;
		print_table(t, now, n ? &t->sample[!(n & 1)] : NULL);
	}
	return true;
}

int cmd_top(const struct verb *v, int argc, char **argv)
{
	struct top *t = xalloc(sizeof(*t));
	struct client c;

	t->delay_ms = 1000;
	int status = client_options_own(&c, v, argc, argv, options, ARRAY_SIZE(options), take, t);

	if (status < 0) {
		terminal(t, true);
		status = show_tables(t, &c) ? EXIT_OK : EXIT_FAILED;
		terminal(t, false);
		client_free(&c);
	}
	free(t);
	return status;
}
