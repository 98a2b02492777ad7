// SPDX-License-Identifier: MIT
// The event loop of a run. Everything that can happen is one of: bytes on a serial port or on QEMU's stderr, input, a
// client of the control socket, a signal, a time. The machine stops when its VMs have ended, or for a time-out, a
// signal or its own death; session_stop() plans the end, which leaves time for last words.
#include "tools/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "abi/control.h"

#define LOG_TAIL (64u << 10)
#define STATS_EVERY_MS 2000
#define STATS_WAIT_MS 2000  // for statistics at a time-out
#define REPORT_QUIET_MS 500 // a panic report is over when nothing came for this long
#define FINAL_WAIT_MS 5000  // for the final statistics after the last VM ended
#define EXIT_GRACE_MS 300   // for the machine to stop by itself
#define KILL_AFTER_MS 2000
#define UNREAD_WAIT_MS 3000 // for a reader of our output, once the machine has ended

// ---- ends ----

void session_stop(struct session *s, u64 in_ms)
{
	u64 at = now_ms() + in_ms;

	if (!s->stop_ms || at < s->stop_ms)
		s->stop_ms = at;
}

static void stop_with_stats(struct session *s)
{
	session_ask_stats(s);
	session_stop(s, STATS_WAIT_MS);
}

void session_interrupt(struct session *s, int sig)
{
	if (s->interrupted) {
		session_stop(s, 0);
		return;
	}
	s->interrupted = true;
	s->signal = sig;
	stop_with_stats(s);
}

static void enforce_times(struct session *s, u64 now)
{
	if (s->deadline_ms && now >= s->deadline_ms) {
		s->deadline_ms = 0;
		s->timed_out = true;
		stop_with_stats(s);
	}
	if (s->final_ms && now >= s->final_ms) {
		s->final_ms = 0;
		session_stop(s, 0);
	}
	if (s->stop_ms && now >= s->stop_ms && !s->kill_ms) {
		qemu_signal(&s->qemu, SIGTERM);
		s->kill_ms = now + KILL_AFTER_MS;
	}
	if (s->kill_ms && now >= s->kill_ms)
		qemu_signal(&s->qemu, SIGKILL);
	if (s->options->stats && !s->options->icount && s->channel.ready && !s->stop_ms && now >= s->next_stats_ms) {
		s->next_stats_ms = now + STATS_EVERY_MS;
		session_ask_stats(s);
	}
}

// ---- statistics ----

static void keep_stats(struct session *s, struct json_value v)
{
	size_t n;
	const char *raw = json_raw(v, &n);

	if (json_kind(v) != JSON_OBJECT)
		return;
	bytes_drop(&s->stats, s->stats.len);
	bytes_add(&s->stats, raw, n);
}

static void stats_arrived(void *arg, struct json_value result, struct json_value error)
{
	struct session *s = arg;

	s->stats_asked = false;
	keep_stats(s, result);
	if (s->timed_out || s->interrupted)
		session_stop(s, 0);
}

void session_ask_stats(struct session *s)
{
	if (s->stats_asked || !s->channel.ready)
		return;
	s->stats_asked = true;
	channel_request(&s->channel, "\"stats\"", NULL, 0, stats_arrived, s);
}

// ---- notifications ----

static void came_alive(struct session *s)
{
	if (!s->alive)
		qemu_loaded(&s->qemu);
	s->alive = true;
}

struct session_vm *session_find_vm(struct session *s, const char *name)
{
	for (unsigned i = 0; i < s->vms; i++)
		if (!strcmp(s->vm[i].file->name, name))
			return &s->vm[i];
	return NULL;
}

static struct session_vm *vm_of(struct session *s, struct json_value params)
{
	char name[TZ_NAME_MAX + 1];

	if (json_string(json_member(params, "vm"), name, sizeof(name)) < 0)
		return NULL;
	return session_find_vm(s, name);
}

static void note_console(struct session *s, struct json_value params)
{
	struct session_vm *vm = vm_of(s, params);
	struct json_value data = json_member(params, "data");
	size_t raw;

	json_raw(data, &raw);
	char *buf = xalloc(raw + 1);
	long n = json_string(data, buf, raw + 1);

	if (vm && n > 0)
		console_output(s, vm, buf, (size_t)n);
	free(buf);
}

static void vm_crashed(struct session *s, struct session_vm *vm, struct json_value params, const char *what_now)
{
	char reason[4096] = "";

	s->crashed = true;
	json_string(json_member(params, "reason"), reason, sizeof(reason));
	console_flush(s, true);
	complain("VM %s crashed: %s%s", vm->file->name, reason, what_now);
}

static bool all_ended(const struct session *s)
{
	for (unsigned i = 0; i < s->vms; i++)
		if (!s->vm[i].ended)
			return false;
	return true;
}

static void note_vm_ended(struct session *s, struct json_value params)
{
	struct session_vm *vm = vm_of(s, params);
	char how[32] = "";

	if (!vm)
		return;
	json_string(json_member(params, "how"), how, sizeof(how));
	if (!vm->ended && !vm->preserved && !strcmp(how, TZ_END_CRASH))
		vm_crashed(s, vm, params, "");
	vm->preserved = false;
	if (!strcmp(how, TZ_END_DEBUG_EXIT) && json_u64(json_member(params, "value"), &vm->value))
		vm->debug_exit = true;
	vm->ended = true;
	if (all_ended(s))
		s->final_ms = now_ms() + FINAL_WAIT_MS;
}

void session_forget_vm(struct session_vm *vm)
{
	bytes_free(&vm->line);
	if (vm->own)
		vm_file_free(vm->own);
	free(vm->own);
	*vm = (struct session_vm){0};
}

static bool gets_input(const struct session *s, unsigned vm)
{
	return vm == s->console.vm || vm + 1 == s->console.next_vm;
}

// Of one that came later and has ended, else a new one. At most TZ_VMS_MAX live, so there are never many.
static struct session_vm *place_for_vm(struct session *s)
{
	struct session_vm *more;

	for (unsigned i = 0; i < s->vms; i++)
		if (s->vm[i].own && s->vm[i].ended && !gets_input(s, i)) {
			console_flush_vm(s, &s->vm[i]);
			session_forget_vm(&s->vm[i]);
			return &s->vm[i];
		}
	more = xalloc((s->vms + 1) * sizeof(*more));
	memcpy(more, s->vm, s->vms * sizeof(*more));
	free(s->vm);
	s->vm = more;
	return &s->vm[s->vms++];
}

// By a client of the control socket. A name that comes back is the VM of that name.
static void note_vm_created(struct session *s, struct json_value params)
{
	struct session_vm *vm = vm_of(s, params);
	char name[TZ_NAME_MAX + 1];

	if (!vm) {
		if (json_string(json_member(params, "vm"), name, sizeof(name)) < 0)
			return;
		vm = place_for_vm(s);
		vm->own = xalloc(sizeof(*vm->own));
		vm->own->name = xstrdup(name);
		vm->own->type = "hvm";
		vm->file = vm->own;
	}
	vm->ended = vm->debug_exit = false;
	s->final_ms = 0;
}

// Restarts are the hypervisor's doing; one that follows a crash still counts as a crash.
static void note_vm_restarted(struct session *s, struct json_value params)
{
	struct session_vm *vm = vm_of(s, params);

	if (vm && json_string_is(json_member(params, "how"), TZ_END_CRASH))
		vm_crashed(s, vm, params, "");
}

static void note_vm_preserved(struct session *s, struct json_value params)
{
	struct session_vm *vm = vm_of(s, params);

	if (!vm)
		return;
	vm->preserved = true;
	if (json_string_is(json_member(params, "how"), TZ_END_CRASH))
		vm_crashed(s, vm, params, " (kept until it is destroyed)");
	else
		complain("VM %s has ended and is kept until it is destroyed", vm->file->name);
}

static void panicked(struct session *s)
{
	s->panicked = true;
	s->final_ms = 0;
	session_stop(s, REPORT_QUIET_MS);
}

static void note_panic(struct session *s, struct json_value params)
{
	char text[4096] = "";

	json_string(json_member(params, "text"), text, sizeof(text));
	if (!s->report.len)
		bytes_printf(&s->report, "%s\n", text);
	panicked(s);
}

static void on_note(void *arg, const char *method, struct json_value params, const char *line, size_t len)
{
	struct session *s = arg;

	came_alive(s);
	if (!strcmp(method, TZ_N_CONSOLE))
		note_console(s, params);
	else if (!strcmp(method, TZ_N_VM_ENDED))
		note_vm_ended(s, params);
	else if (!strcmp(method, TZ_N_VM_CREATED))
		note_vm_created(s, params);
	else if (!strcmp(method, TZ_N_VM_RESTARTED))
		note_vm_restarted(s, params);
	else if (!strcmp(method, TZ_N_VM_PRESERVED))
		note_vm_preserved(s, params);
	else if (!strcmp(method, TZ_N_PANIC))
		note_panic(s, params);
	else if (!strcmp(method, TZ_N_FINAL)) {
		keep_stats(s, params);
		s->finished = true;
		session_stop(s, EXIT_GRACE_MS);
	}
	relay_broadcast(s, method, line, len);
}

// ---- log and complaints ----

// The hypervisor's report begins with a line of its own; ordinary lines begin with the time.
static bool is_panic_line(const char *line)
{
	static const char head[] = "trapeze: panic: ";

	return !strncmp(line, head, sizeof(head) - 1);
}

static void log_line(struct session *s)
{
	if (!s->report.len && is_panic_line(s->log_line.data))
		panicked(s);
	if (s->panicked) {
		bytes_add(&s->report, s->log_line.data, s->log_line.len);
		s->stop_ms = 0;
		session_stop(s, REPORT_QUIET_MS);
	}
	if (s->options->verbose)
		complain_bytes(s->log_line.data, s->log_line.len);
	bytes_drop(&s->log_line, s->log_line.len);
}

static void take_log(struct session *s, const char *bytes, size_t n)
{
	came_alive(s);
	bytes_add(&s->log, bytes, n);
	if (s->log.len > LOG_TAIL)
		bytes_drop(&s->log, s->log.len - LOG_TAIL);
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\r')
			continue;
		bytes_add(&s->log_line, &bytes[i], 1);
		if (bytes[i] == '\n' || s->log_line.len >= 4096)
			log_line(s);
	}
}

static void take_complaint(struct session *s, const char *bytes, size_t n)
{
	if (s->kill_ms)
		return; // "terminating on signal": our own
	if (s->complaint.len < LOG_TAIL)
		bytes_add(&s->complaint, bytes, n);
	if (s->options->verbose)
		complain_bytes(bytes, n);
}

// Reads what is there; false at the end.
static bool drain(struct session *s, int fd, void (*take)(struct session *, const char *, size_t))
{
	char buf[16384];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n > 0)
			take(s, buf, (size_t)n);
		else
			return n < 0 && (errno == EAGAIN || errno == EINTR);
	}
}

// ---- loop ----

// One that is to stop us; 0: none.
static int next_signal(const struct session *s)
{
	struct signalfd_siginfo si;

	while (read(s->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		if (si.ssi_signo != SIGCHLD)
			return (int)si.ssi_signo;
	return 0;
}

static void take_signals(struct session *s)
{
	int sig;

	while ((sig = next_signal(s)))
		session_interrupt(s, sig);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void sooner(u64 *at, u64 other)
{
	if (other && (!*at || other < *at))
		*at = other;
}

static int poll_timeout(const struct session *s, u64 now)
{
	u64 at = 0;

	sooner(&at, s->deadline_ms);
	sooner(&at, s->final_ms);
	sooner(&at, s->kill_ms ? s->kill_ms : s->stop_ms);
	if (s->options->stats && !s->options->icount && s->channel.ready && !s->stop_ms)
		sooner(&at, s->next_stats_ms);
	sooner(&at, console_wake_ms(s));
	if (!at)
		return -1;
	return at <= now ? 0 : (int)MIN(at - now, (u64)60000);
}

enum { P_LOG, P_CONTROL, P_STDERR = P_CONTROL + CHANNEL_PORTS, P_SIGNAL, P_INPUT, P_OUT, P_ERR, P_RELAY };

static void loop_once(struct session *s)
{
	struct pollfd p[P_RELAY + RELAY_CLIENTS_MAX + 1];
	bool input = s->console.input_open && s->console.input.len < 65536;

	p[P_LOG] = (struct pollfd){.fd = s->qemu.log_fd, .events = POLLIN};
	for (unsigned i = 0; i < CHANNEL_PORTS; i++)
		p[P_CONTROL + i] = (struct pollfd){.fd = s->channel.fd[i], .events = channel_events(&s->channel, i)};
	p[P_STDERR] = (struct pollfd){.fd = s->qemu.stderr_fd, .events = POLLIN};
	p[P_SIGNAL] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	p[P_INPUT] = (struct pollfd){.fd = input ? 0 : -1, .events = POLLIN};
	p[P_OUT] = outlet_poll(&s->out);
	p[P_ERR] = outlet_poll(&s->err);
	unsigned relays = relay_poll_fds(s, p + P_RELAY);

	if (poll(p, P_RELAY + relays, poll_timeout(s, now_ms())) > 0) {
		for (unsigned i = 0; i < CHANNEL_PORTS; i++) {
			if (p[P_CONTROL + i].revents & POLLOUT)
				channel_write(&s->channel);
			if (p[P_CONTROL + i].revents & ~POLLOUT)
				channel_read(&s->channel, i);
		}
		if (p[P_LOG].revents && !drain(s, s->qemu.log_fd, take_log)) {
			close(s->qemu.log_fd);
			s->qemu.log_fd = -1;
		}
		if (p[P_STDERR].revents && !drain(s, s->qemu.stderr_fd, take_complaint)) {
			close(s->qemu.stderr_fd);
			s->qemu.stderr_fd = -1;
		}
		if (p[P_SIGNAL].revents)
			take_signals(s);
		if (p[P_INPUT].revents)
			console_read_input(s);
		if (p[P_OUT].revents)
			outlet_write(&s->out);
		if (p[P_ERR].revents)
			outlet_write(&s->err);
		relay_handle(s, p + P_RELAY, relays);
	}
	console_pump(s);
	console_flush(s, false);
	enforce_times(s, now_ms());
}

// What QEMU left in the pipes when it ended.
static void last_words(struct session *s)
{
	for (unsigned i = 0; i < CHANNEL_PORTS; i++)
		while (s->channel.fd[i] >= 0 && poll(&(struct pollfd){.fd = s->channel.fd[i], .events = POLLIN}, 1, 0) > 0)
			channel_read(&s->channel, i);
	if (s->qemu.log_fd >= 0)
		drain(s, s->qemu.log_fd, take_log);
	if (s->qemu.stderr_fd >= 0)
		drain(s, s->qemu.stderr_fd, take_complaint);
	if (s->log_line.len) {
		bytes_add(&s->log_line, "\n", 1);
		log_line(s);
	}
	console_flush(s, true);
}

// What is kept for stdout and stderr, as long as it is read; a signal ends that.
static void write_rest(struct session *s)
{
	u64 now = now_ms(), until = now + UNREAD_WAIT_MS;
	size_t left;

	while ((left = s->out.kept.len + s->err.kept.len) && now < until) {
		struct pollfd p[] = {outlet_poll(&s->out),
				     outlet_poll(&s->err),
				     {.fd = s->signal_fd, .events = POLLIN}};

		poll(p, ARRAY_SIZE(p), (int)(until - now));
		if (p[2].revents && next_signal(s))
			return;
		outlet_write(&s->out);
		outlet_write(&s->err);
		now = now_ms();
		if (s->out.kept.len + s->err.kept.len < left)
			until = now + UNREAD_WAIT_MS;
	}
}

static void close_outlets(struct session *s)
{
	write_rest(s);
	outlet_close(&s->out);
	if (s->out.lost)
		complain("standard output was not read: %llu bytes of console output lost",
			 (unsigned long long)s->out.lost);
	if (s->err.lost)
		complain("standard error was not read: %llu bytes lost", (unsigned long long)s->err.lost);
	complain_through(NULL);
	outlet_close(&s->err);
}

static void open_outlets(struct session *s)
{
	outlet_open(&s->out, 1);
	outlet_open(&s->err, 2);
	complain_through(&s->err);
}

int session_run(const struct run_options *o, const struct vm_file *vm, unsigned vms)
{
	struct session *s = xalloc(sizeof(*s));
	int status = EXIT_USAGE;

	s->options = o;
	s->vms = vms;
	s->vm = xalloc(vms * sizeof(*s->vm));
	s->relay.fd = -1;
	for (unsigned i = 0; i < vms; i++)
		s->vm[i].file = &vm[i];
	s->signal_fd = open_signals();
	open_outlets(s);
	if (!o->control || relay_open(s, o->control)) {
		status = o->stats && !stats_file_clear(o->stats) ? EXIT_USAGE : qemu_start(&s->qemu, o, vm, vms);
		if (status == EXIT_NO_QEMU && o->stats)
			stats_file_write(s);
		if (status == EXIT_OK) {
			if (o->timeout_ms)
				s->deadline_ms = now_ms() + o->timeout_ms;
			channel_init(&s->channel, (const int[]){s->qemu.control_fd, s->qemu.bulk_fd}, on_note, s);
			console_init(s);
			while (!qemu_ended(&s->qemu))
				loop_once(s);
			last_words(s);
			channel_close(&s->channel);
			console_restore(s);
			status = session_finish(s);
		}
		qemu_cleanup(&s->qemu);
	}
	relay_close(s);
	close_outlets(s);
	close(s->signal_fd);
	session_free(s);
	return status;
}
