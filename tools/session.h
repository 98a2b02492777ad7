// SPDX-License-Identifier: MIT
// One run of the machine: its channels, its consoles, its control socket, and how it ends. The parts (console, prompt,
// relay) are structs in here; each has its file.
#ifndef TOOLS_SESSION_H
#define TOOLS_SESSION_H

#include <poll.h>
#include <termios.h>

#include "abi/bundle.h"
#include "tools/channel.h"
#include "tools/options.h"
#include "tools/outlet.h"
#include "tools/qemu.h"
#include "tools/vmfile.h"

struct session_vm {
	const struct vm_file *file;
	struct vm_file *own; // `file`, of a VM that came later: no more than its name
	bool ended, debug_exit;
	bool preserved; // it has ended, which was told, and is kept
	u64 value;         // of a debug exit
	struct bytes line; // console output of an unfinished line, when there are several VMs
	u64 line_ms;       // when the oldest byte of it came
};

struct console {
	bool input_open, tty, prompting;
	struct termios saved;
	struct bytes input;   // for the first VM, not yet accepted
	size_t in_flight;     // bytes of it in a request
	u64 retry_ms;         // not before this
	struct bytes command; // line being typed at the prompt
	unsigned vm;          // that input goes to
	unsigned next_vm;     // 1 + where it goes once what is in flight has arrived; 0: no change
};

struct relay_client;
struct relay {
	int fd;
	const char *path;
	struct relay_client *client;
};

struct session {
	const struct run_options *options;
	struct session_vm *vm; // a VM file keeps its place; one that came later and has ended may lose it
	unsigned vms;
	bool crashed; // any that there ever was
	struct qemu qemu;
	struct channel channel;
	struct console console;
	struct outlet out, err; // standard output and error
	struct relay relay;
	int signal_fd;

	struct bytes log;       // tail of the hypervisor's log
	struct bytes log_line;  // unfinished line
	struct bytes report;    // what it said from its panic on
	struct bytes complaint; // of QEMU itself
	bool alive;             // a byte came from the hypervisor

	struct bytes stats; // latest statistics, JSON
	bool stats_asked;
	u64 next_stats_ms;

	bool panicked, finished, timed_out, interrupted;
	int signal;      // that interrupted us
	u64 deadline_ms; // of --timeout, 0: none
	u64 final_ms;    // when all VMs have ended: until then we wait for the final statistics, 0: one lives
	u64 stop_ms;     // when to end QEMU, 0: not yet
	u64 kill_ms;     // when to kill it after that
};

// Runs the machine to its end; the exit status.
int session_run(const struct run_options *o, const struct vm_file *vm, unsigned vms);
void session_stop(struct session *s, u64 in_ms); // end QEMU then, or earlier if that was already planned
void session_interrupt(struct session *s, int sig);
int session_finish(const struct session *s); // outcome.c: last words, statistics, exit status
void session_free(struct session *s);
struct session_vm *session_find_vm(struct session *s, const char *name);
void session_forget_vm(struct session_vm *vm); // frees what it has
void session_ask_stats(struct session *s);

// Console and prompt.
void console_init(struct session *s);
void console_restore(struct session *s);
void console_read_input(struct session *s);
void console_pump(struct session *s); // hands pending input on
void console_output(struct session *s, struct session_vm *vm, const void *bytes, size_t n);
void console_flush(struct session *s, bool all); // lines that wait for their end
void console_flush_vm(struct session *s, struct session_vm *vm);
u64 console_wake_ms(const struct session *s);    // next time that something is due, 0: never
void prompt_open(struct session *s);
void prompt_key(struct session *s, char key);

// Control socket.
#define RELAY_CLIENTS_MAX 32
bool relay_open(struct session *s, const char *path);
void relay_close(struct session *s);
unsigned relay_poll_fds(const struct session *s, struct pollfd *fds); // at most RELAY_CLIENTS_MAX + 1
void relay_handle(struct session *s, const struct pollfd *fds, unsigned n);
void relay_broadcast(struct session *s, const char *method, const char *line, size_t len);

// Statistics file.
bool stats_file_clear(const char *path); // of an earlier run's
bool stats_file_write(const struct session *s);

#endif
