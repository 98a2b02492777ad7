// SPDX-License-Identifier: MIT
#include "tools/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/machine.h"
#include "tools/archive.h"

#define ARGS_MAX (OPTIONS_ARGS_MAX + 64)
// Room for a burst of log or console bytes while we are busy: QEMU drops what a serial port cannot pass on.
#define SOCKET_ROOM (1 << 20)

struct args {
	char *v[ARGS_MAX + 1];
	unsigned n;
};

static void arg(struct args *a, const char *fmt, ...) PRINTF(2, 3);
static void arg(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->n < ARGS_MAX && vasprintf(&a->v[a->n], fmt, ap) >= 0)
		a->n++;
	va_end(ap);
}

// $TRAPEZE_ELF, or trapeze.elf beside the command.
static char *hypervisor_path(void)
{
	const char *env = getenv("TRAPEZE_ELF");
	char self[4096];
	ssize_t n;

	if (env && *env)
		return xstrdup(env);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = 0;
	return path_beside(self, "trapeze.elf");
}

static char *join(const char *const *word, unsigned n)
{
	struct bytes b = {0};

	bytes_add(&b, "", 0);
	for (unsigned i = 0; i < n; i++)
		bytes_printf(&b, "%s%s", i ? " " : "", word[i]);
	return b.data;
}

// The child's ends of the sockets, in the order of struct qemu's.
enum { LOG, CONTROL, BULK, PORTS };

static void build_args(struct args *a, const struct run_options *o, const char *elf, const char *dir, const int fd[PORTS])
{
	char *append = join(o->hv_arg, o->hv_args);

	arg(a, "qemu-system-x86_64");
	arg(a, "-machine"), arg(a, "pc");
	arg(a, "-accel"), arg(a, "tcg");
	arg(a, "-cpu"), arg(a, "%s", TZ_CPU_MODEL);
	arg(a, "-smp"), arg(a, "%u", o->cpus);
	arg(a, "-m"), arg(a, "%lluK", (unsigned long long)(o->memory / KIB));
	arg(a, "-nodefaults"), arg(a, "-no-user-config"), arg(a, "-no-reboot");
	arg(a, "-display"), arg(a, "none");
	arg(a, "-chardev"), arg(a, "socket,id=log,fd=%d", fd[LOG]);
	arg(a, "-serial"), arg(a, "chardev:log");
	arg(a, "-chardev"), arg(a, "socket,id=control,fd=%d", fd[CONTROL]);
	arg(a, "-serial"), arg(a, "chardev:control");
	arg(a, "-chardev"), arg(a, "socket,id=bulk,fd=%d", fd[BULK]);
	arg(a, "-device"), arg(a, "virtio-serial-pci,max_ports=1,ioeventfd=off,vectors=0");
	arg(a, "-device"), arg(a, "virtconsole,chardev=bulk");
	arg(a, "-device"), arg(a, "isa-debug-exit,iobase=%#x,iosize=4", TZ_DEBUG_EXIT_PORT);
	arg(a, "-kernel"), arg(a, "%s", elf);
	arg(a, "-initrd"), arg(a, "%s/bundle", dir);
	if (*append)
		arg(a, "-append"), arg(a, "%s", append);
	if (o->icount) { // and the same time of day and the same RDRAND each time
		arg(a, "-icount"), arg(a, "shift=0,sleep=off");
		arg(a, "-rtc"), arg(a, "base=2020-01-01,clock=vm");
		arg(a, "-seed"), arg(a, "1");
	}
	if (o->gdb)
		arg(a, "-gdb"), arg(a, "tcp::%u", o->gdb);
	for (unsigned i = 0; i < o->machine_args; i++)
		arg(a, "%s", o->machine_arg[i]);
	free(append);
}

// A socket pair whose second end QEMU inherits.
static bool serial_pair(int fd[2])
{
	int room = SOCKET_ROOM;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		return complain("socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	return true;
}

static bool serial_pairs(int ours[PORTS], int theirs[PORTS])
{
	for (int i = 0; i < PORTS; i++) {
		int pair[2];

		if (!serial_pair(pair))
			return false;
		ours[i] = pair[0];
		theirs[i] = pair[1];
	}
	return true;
}

// In the child. The pipe closes by itself when exec works; else it carries errno.
static void exec_qemu(pid_t command, const struct args *a, const int port_fd[PORTS], int stderr_fd, int fail_fd)
{
	const char *program = getenv("TRAPEZE_QEMU");
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != command)
		_exit(127); // it was killed before that
	setpgid(0, 0); // the terminal's Ctrl-C is ours to handle
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, 0);
	dup2(null, 1);
	dup2(stderr_fd, 2);
	for (int i = 0; i < PORTS; i++)
		fcntl(port_fd[i], F_SETFD, 0);
	execvp(program && *program ? program : a->v[0], a->v);
	int err = errno;

	write_all(fail_fd, &err, sizeof(err));
	_exit(127);
}

static int spawn(struct qemu *q, const struct args *a, const int port_fd[PORTS])
{
	int errors[2], failed[2], err = 0;

	if (pipe2(errors, O_CLOEXEC) || pipe2(failed, O_CLOEXEC))
		return errno;
	pid_t command = getpid();

	q->pid = fork();
	if (!q->pid)
		exec_qemu(command, a, port_fd, errors[1], failed[1]);
	if (q->pid < 0) {
		err = errno;
		q->pid = 0;
	}
	close(errors[1]);
	close(failed[1]);
	q->stderr_fd = errors[0];
	fcntl(q->stderr_fd, F_SETFL, O_NONBLOCK);
	if (q->pid && read(failed[0], &err, sizeof(err)) == (ssize_t)sizeof(err)) {
		waitpid(q->pid, &q->wait_status, 0);
		q->pid = 0;
	}
	close(failed[0]);
	return err;
}

static bool make_folder(struct qemu *q)
{
	const char *tmp = getenv("TMPDIR");

	q->dir = xprintf("%s/trapeze-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (mkdtemp(q->dir))
		return true;
	complain("%s: %s", q->dir, strerror(errno));
	free(q->dir);
	q->dir = NULL;
	return false;
}

int qemu_start(struct qemu *q, const struct run_options *o, const struct vm_file *vm, unsigned vms)
{
	struct args a = {.n = 0};
	int ours[PORTS] = {-1, -1, -1}, theirs[PORTS] = {-1, -1, -1};
	char *elf = hypervisor_path();
	int status = EXIT_NO_QEMU;

	*q = (struct qemu){.log_fd = -1, .control_fd = -1, .bulk_fd = -1, .stderr_fd = -1};
	if (access(elf, R_OK)) {
		complain("%s: %s", elf, strerror(errno));
		free(elf);
		return EXIT_NO_QEMU;
	}
	char *bundle = make_folder(q) ? xprintf("%s/bundle", q->dir) : NULL;

	if (bundle && archive_write(bundle, vm, vms) && serial_pairs(ours, theirs)) {
		q->log_fd = ours[LOG];
		q->control_fd = ours[CONTROL];
		q->bulk_fd = ours[BULK];
		build_args(&a, o, elf, q->dir, theirs);
		int err = spawn(q, &a, theirs);

		for (int i = 0; i < PORTS; i++)
			close(theirs[i]);
		if (err)
			complain("cannot start %s: %s", a.v[0], strerror(err));
		else
			status = EXIT_OK;
	}
	for (unsigned i = 0; i < a.n; i++)
		free(a.v[i]);
	free(bundle);
	free(elf);
	return status;
}

bool qemu_ended(struct qemu *q)
{
	if (q->pid && waitpid(q->pid, &q->wait_status, WNOHANG) == q->pid)
		q->pid = 0;
	return !q->pid;
}

void qemu_signal(struct qemu *q, int sig)
{
	if (q->pid)
		kill(q->pid, sig);
}

void qemu_loaded(struct qemu *q)
{
	if (!q->dir)
		return;
	char *bundle = xprintf("%s/bundle", q->dir);

	unlink(bundle);
	rmdir(q->dir);
	free(bundle);
	free(q->dir);
	q->dir = NULL;
}

void qemu_cleanup(struct qemu *q)
{
	if (q->pid) {
		kill(q->pid, SIGKILL);
		waitpid(q->pid, &q->wait_status, 0);
		q->pid = 0;
	}
	if (q->log_fd >= 0)
		close(q->log_fd);
	if (q->stderr_fd >= 0)
		close(q->stderr_fd);
	qemu_loaded(q);
}
