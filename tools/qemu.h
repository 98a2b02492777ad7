// SPDX-License-Identifier: MIT
// The machine: a QEMU process with two serial ports as sockets, and a private folder for what it is started with.
#ifndef TOOLS_QEMU_H
#define TOOLS_QEMU_H

#include <sys/types.h>

#include "tools/options.h"
#include "tools/vmfile.h"

struct qemu {
	pid_t pid;       // 0: not running
	int log_fd;      // COM1: the hypervisor's log
	int control_fd;  // COM2: the control channel, unless
	int bulk_fd;     // the virtio console has it
	int stderr_fd;   // QEMU's own complaints
	char *dir;       // private folder, removed by qemu_cleanup()
	int wait_status; // of waitpid(), once it ended
};

// EXIT_OK, EXIT_USAGE or EXIT_NO_QEMU, after a complaint.
int qemu_start(struct qemu *q, const struct run_options *o, const struct vm_file *vm, unsigned vms);
// Collects the process if it has ended; true then.
bool qemu_ended(struct qemu *q);
void qemu_signal(struct qemu *q, int sig);
// It runs, so what it was started with is read: the folder goes already, lest it stays if we are killed.
void qemu_loaded(struct qemu *q);
// Ends it if need be and removes the folder.
void qemu_cleanup(struct qemu *q);

#endif
