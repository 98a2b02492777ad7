// SPDX-License-Identifier: MIT
// What a run came to: its exit status, the last words on stderr, the statistics file.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/session.h"

#define TAIL_LINES 40

// Start of the last lines of a text.
static const char *tail(const struct bytes *b)
{
	const char *p = b->data + b->len;
	unsigned lines = 0;

	while (p > b->data && !(p[-1] == '\n' && p != b->data + b->len && ++lines == TAIL_LINES))
		p--;
	return p;
}

// It ended without its VMs having ended and without anyone asking it to.
static bool hypervisor_died(const struct session *s)
{
	if (s->panicked)
		return true;
	if (s->timed_out || s->interrupted)
		return false;
	for (unsigned i = 0; i < s->vms; i++)
		if (!s->vm[i].ended)
			return true;
	return false;
}

static bool never_started(const struct session *s)
{
	int w = s->qemu.wait_status;

	return !s->alive && !s->timed_out && !s->interrupted && !(WIFEXITED(w) && !WEXITSTATUS(w));
}

static int report_no_qemu(const struct session *s)
{
	int w = s->qemu.wait_status;

	if (s->complaint.len && !s->options->verbose)
		complain_bytes(s->complaint.data, s->complaint.len);
	if (WIFSIGNALED(w))
		complain("QEMU did not start: killed by signal %d", WTERMSIG(w));
	else
		complain("QEMU did not start: exit status %d", WEXITSTATUS(w));
	return EXIT_NO_QEMU;
}

static int report_death(const struct session *s)
{
	if (s->panicked) {
		complain("the hypervisor died:");
		if (s->report.len && !s->options->verbose)
			complain_bytes(s->report.data, s->report.len);
		return EXIT_HYPERVISOR_DIED;
	}
	if (s->finished)
		complain("the hypervisor stopped before its VMs had ended; the end of its log:");
	else
		complain("the hypervisor died without a report (the machine %s); the end of its log:",
			 WIFSIGNALED(s->qemu.wait_status) ? "was killed" : "was reset or stopped");
	if (s->complaint.len && !s->options->verbose)
		complain_bytes(s->complaint.data, s->complaint.len);
	if (s->log.len && !s->options->verbose) {
		const char *from = tail(&s->log);

		complain_bytes(from, (size_t)(s->log.data + s->log.len - from));
	}
	return EXIT_HYPERVISOR_DIED;
}

// The worst wins: 12, 10, then why we stopped it, then the guest's own word.
static int exit_status(const struct session *s)
{
	if (never_started(s))
		return report_no_qemu(s);
	if (hypervisor_died(s))
		return report_death(s);
	if (s->crashed)
		return EXIT_VM_CRASHED;
	if (s->interrupted)
		return s->signal == SIGINT ? EXIT_INTERRUPTED : 128 + s->signal;
	if (s->timed_out) {
		complain("time-out");
		return EXIT_TIMEOUT;
	}
	if (s->vms == 1 && s->vm[0].debug_exit)
		return (int)((s->vm[0].value << 1 | 1) & 0xff);
	return EXIT_OK;
}

int session_finish(const struct session *s)
{
	int status = exit_status(s);

	if (s->options->stats && !stats_file_write(s) && status == EXIT_OK)
		status = EXIT_FAILED;
	return status;
}

void session_free(struct session *s)
{
	for (unsigned i = 0; i < s->vms; i++)
		session_forget_vm(&s->vm[i]);
	free(s->vm);
	bytes_free(&s->log);
	bytes_free(&s->log_line);
	bytes_free(&s->report);
	bytes_free(&s->complaint);
	bytes_free(&s->stats);
	bytes_free(&s->console.input);
	bytes_free(&s->console.command);
	free(s);
}
