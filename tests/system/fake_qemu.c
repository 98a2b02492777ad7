// SPDX-License-Identifier: MIT
// A stand-in for QEMU with a hypervisor in it, for tests of the host command: it reads the bundle and speaks the control
// channel with the hypervisor's own code. What it plays is in $FAKE_QEMU, see `scenes`; its arguments go to
// $FAKE_QEMU_ARGS, a line each, if that is set.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/bundle.h"
#include "vmm/control.h"

#define INPUT_AT_ONCE 7 // bytes of console input that are accepted in one request

static struct control control;
static struct bundle_vms vms;
static int log_fd = -1, control_fd = -1;
static bool mute_stats;
static u64 stats_calls;

static void fail(const char *what)
{
	fprintf(stderr, "fake-qemu: %s\n", what);
	exit(1);
}

static void send_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t w = write(fd, bytes, n);

		if (w <= 0)
			exit(0);
		bytes += w;
		n -= (size_t)w;
	}
}

static void log_text(const char *text)
{
	send_all(log_fd, text, strlen(text));
}

static void control_send(void *ctx, const char *bytes, size_t n)
{
	send_all(control_fd, bytes, n);
}

static const char *vm_name(void)
{
	return vms.vm[0].name;
}

static void snapshot(struct json_out *j)
{
	static const struct stats_exit exits[] = {{"page_fault", 3, 4000}};
	struct stats_vm vm = {.name = vm_name(),
			      .type = vm_type_name(vms.vm[0].type),
			      .state = "running",
			      .vcpus = 1,
			      .exit = exits,
			      .exits = 1,
			      .crossings = stats_calls};
	struct stats_snapshot s = {.machine = {.cpus = 2, .memory_bytes = 2ull << 30}, .vm = &vm, .vms = 1};

	vm.memory.configured = vms.vm[0].memory;
	stats_write(j, &s);
}

static void final(int status)
{
	static char buf[65536];
	struct json_out j;

	json_init(&j, buf, sizeof(buf));
	static const char head[] = "{\"jsonrpc\":\"2.0\",\"method\":\"final\",\"params\":";

	json_put_raw(&j, head, sizeof(head) - 1);
	j.comma = false;
	snapshot(&j);
	json_object_end(&j);
	send_all(control_fd, buf, j.len);
	send_all(control_fd, "\n", 1);
	exit(status);
}

static void end_vm(const char *how, const char *reason, u64 value)
{
	control_vm_ended(&control, vm_name(), how, reason, value);
	final(1);
}

// ---- methods ----

static bool known_vm(const struct control_request *req)
{
	char name[TZ_NAME_MAX + 1];

	return control_param_string(req, "vm", name, sizeof(name)) && !strcmp(name, vm_name());
}

static int m_stats(void *ctx, struct control_request *req, struct json_out *result)
{
	if (mute_stats)
		for (;;)
			pause();
	stats_calls++;
	snapshot(result);
	return 0;
}

static int m_list(void *ctx, struct control_request *req, struct json_out *result)
{
	json_array(result);
	json_object(result);
	json_kv_string(result, "name", vm_name());
	json_kv_u64(result, "id", 1);
	json_kv_u64(result, "weight", 256);
	json_kv_u64(result, "memory", vms.vm[0].memory);
	json_kv_u64(result, "vcpus", 1);
	json_kv_string(result, "state", "running");
	json_kv_u64(result, "run_ns", 1500000000);
	json_object_end(result);
	json_array_end(result);
	return 0;
}

static int m_info(void *ctx, struct control_request *req, struct json_out *result)
{
	json_object(result);
	json_kv_string(result, "version", "fake");
	json_kv_u64(result, "cpus", 2);
	json_object_end(result);
	return 0;
}

static int m_dmesg(void *ctx, struct control_request *req, struct json_out *result)
{
	json_object(result);
	json_kv_string(result, "text", "line one\nline two\n");
	json_object_end(result);
	return 0;
}

static bool destroyed;
static int m_destroy(void *ctx, struct control_request *req, struct json_out *result)
{
	if (!known_vm(req))
		return TZ_RPC_NO_VM;
	json_put_bool(result, true);
	destroyed = true;
	return 0;
}

// Input for VM b, which dies of it; c comes.
static void succession(const char *data, size_t n)
{
	static bool dead;

	control_console_out(&control, vm_name(), "b gets ", 7);
	control_console_out(&control, vm_name(), data, n);
	control_console_out(&control, vm_name(), "\n", 1);
	if (!dead) {
		control_vm_ended(&control, "b", TZ_END_POWEROFF, "ACPI", 0);
		control_vm_created(&control, "c", 3);
	}
	dead = true;
}

static bool quit;
static int m_console_input(void *ctx, struct control_request *req, struct json_out *result)
{
	char data[TZ_CONSOLE_CHUNK + 1];
	long n = json_string(json_member(req->params, "data"), data, sizeof(data));

	if (n > 0 && json_string_is(json_member(req->params, "vm"), "b")) {
		succession(data, (size_t)n);
		json_put_u64(result, (u64)n);
		return 0;
	}
	if (n < 0 || !known_vm(req))
		return TZ_RPC_INVALID_PARAMS;
	n = MIN(n, INPUT_AT_ONCE);
	control_console_out(&control, vm_name(), data, (size_t)n);
	quit = quit || memchr(data, '!', (size_t)n);
	json_put_u64(result, (u64)n);
	return 0;
}

// Replies of the methods whose client part is under test, as the hypervisor gives them.
static const struct {
	const char *method, *reply;
} canned[] = {
	{"pause", "true"},
	{"unpause", "true"},
	{"shutdown", "true"},
	{"sched_credit", "{\"weight\":512,\"cap\":0}"},
	{"exits", "{\"crossings\":9,\"lstar\":\"0xffffffff91000080\",\"reasons\":{\"emulate\":{\"count\":4,\"ns\":8000}},"
		  "\"sites\":[{\"reason\":\"emulate\",\"rip\":\"0xffffffff91000123\",\"instruction\":\"wrmsr\",\"count\":3}]}"},
	{"walk", "{\"address\":\"0x401000\",\"vpn\":\"0x401\",\"cr3\":\"0x1000\",\"paging\":true,\"wp\":true,\"gate\":false,"
		 "\"guest\":[{\"level\":4,\"slot\":0,\"ppn\":\"0x1\",\"mpn\":\"0x101\",\"entry\":\"0x2007\"},"
		 "{\"level\":3,\"slot\":0,\"ppn\":\"0x2\",\"mpn\":\"0x102\",\"entry\":\"0x3007\"},"
		 "{\"level\":2,\"slot\":2,\"ppn\":\"0x3\",\"mpn\":\"0x103\",\"entry\":\"0x80000000004000e7\"}],"
		 "\"shadow\":[{\"level\":1,\"slot\":1,\"mpn\":\"0x900\",\"entry\":\"0x8000000000501025\"}],"
		 "\"p2m\":{\"gpa\":\"0x401000\",\"ppn\":\"0x401\",\"mpn\":\"0x501\"}}"},
	{"trace", "{\"tsc\":2000000,\"tsc_khz\":1000000,\"time_ns\":5000000,\"categories\":{\"exit\":true,\"vm\":false},"
		  "\"vms\":{\"1\":\"a\"},\"records\":[[7,1000000,1,1,2,8,4096,0,0,77,0],[8,1000000,0,1,14,2,236,65535,0,0]],"
		  "\"lost\":0,\"next\":8,\"written\":8}"},
};

static int m_canned(void *ctx, struct control_request *req, struct json_out *result)
{
	if (json_kind(json_member(req->params, "vm")) != JSON_ABSENT && !known_vm(req))
		return TZ_RPC_NO_VM;
	for (size_t i = 0; i < ARRAY_SIZE(canned); i++)
		if (!strcmp(canned[i].method, req->method))
			json_put_raw(result, canned[i].reply, strlen(canned[i].reply));
	return 0;
}

static const struct control_method methods[] = {
	{"stats", m_stats},
	{"list", m_list},
	{"info", m_info},
	{"dmesg", m_dmesg},
	{"destroy", m_destroy},
	{"console_input", m_console_input},
	{"pause", m_canned},
	{"unpause", m_canned},
	{"shutdown", m_canned},
	{"sched_credit", m_canned},
	{"exits", m_canned},
	{"walk", m_canned},
	{"trace", m_canned},
};

static void serve(void)
{
	char buf[4096];
	ssize_t n;

	while (!destroyed && !quit && (n = read(control_fd, buf, sizeof(buf))) > 0)
		control_receive(&control, buf, (size_t)n);
	if (destroyed)
		end_vm(TZ_END_DESTROYED, "by command", 0);
	if (quit)
		end_vm(TZ_END_POWEROFF, "ACPI", 0);
}

// ---- scenes ----

static void every_byte(void)
{
	u8 all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (u8)i;
	control_console_out(&control, vm_name(), all, sizeof(all));
}

static void dump_config(void)
{
	const struct vm_config *vm = &vms.vm[0];
	char text[8192];
	int n = snprintf(text, sizeof(text), "%s %s %llu %llu %u %u [%s] %s %s %d %d %d %u %llu [%s]\n", vm->name,
			 vm_type_name(vm->type), (unsigned long long)vm->memory, (unsigned long long)vm->maxmem,
			 vm->cpu_weight, vm->cap, vm->cmdline, vm->kernel, vm->ramdisk, vm->on_poweroff, vm->on_reboot,
			 vm->on_crash, vm->mem_shares, (unsigned long long)vm->mem_min, vm->share_group);

	control_console_out(&control, vm_name(), text, (size_t)n);
}

static void serve_waiting(void)
{
	char buf[4096];
	ssize_t n;

	if (poll(&(struct pollfd){.fd = control_fd, .events = POLLIN}, 1, 0) <= 0)
		return;
	n = read(control_fd, buf, sizeof(buf));
	if (n > 0)
		control_receive(&control, buf, (size_t)n);
	if (n <= 0 || destroyed)
		end_vm(TZ_END_DESTROYED, "by command", 0);
}

// Numbered lines of 64 bytes, eight at a time; for ever, with as much log, if `lines` is 0.
static void flood(u64 lines)
{
	char text[8 * 64 + 1];
	size_t len = 0;

	for (u64 i = 0; !lines || i < lines; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "line %07llu %050d\n", (unsigned long long)i, 0);
		if (i % 8 != 7 && i + 1 != lines)
			continue;
		control_console_out(&control, vm_name(), text, len);
		if (!lines)
			log_text(text);
		serve_waiting();
		len = 0;
	}
}

// A hundred VMs come and go, one after the other, and number `crash` crashes. The first VM ends before the last of them comes; if
// that is to crash, it first outlives the wait for final statistics.
static void many(unsigned crash)
{
	char name[16], text[64];

	for (unsigned i = 1; i <= 100; i++) {
		if (i == 100)
			control_vm_ended(&control, vm_name(), TZ_END_POWEROFF, "ACPI", 0);
		snprintf(name, sizeof(name), "vm%u", i);
		control_vm_created(&control, name, i + 1);
		if (i == 100 && crash == 100)
			sleep(6);
		control_console_out(&control, name, text,
				    (size_t)snprintf(text, sizeof(text), "this is %s\nand no newline", name));
		control_vm_ended(&control, name, i == crash ? TZ_END_CRASH : TZ_END_POWEROFF, "triple fault", 0);
	}
	final(1);
}

static void play(const char *scene)
{
	if (!strcmp(scene, "fail"))
		fail("could not set up the machine");
	if (!strcmp(scene, "silent"))
		exit(0);
	log_text("[    0.000000] trapeze: hello from the log\r\n");
	if (!strcmp(scene, "reset"))
		exit(0);
	if (!strcmp(scene, "mute"))
		for (;;)
			pause();
	control_ready(&control, "fake");
	if (!strcmp(scene, "panic")) {
		log_text("trapeze: panic: assertion failed: 1 == 2\r\n  rip 1234\r\n  back-trace:\r\n");
		for (;;)
			pause();
	}
	if (!strcmp(scene, "panic_note")) {
		control_panic(&control, "out of marbles");
		for (;;)
			pause();
	}
	if (!strcmp(scene, "deaf")) {
		mute_stats = true;
		serve();
	}
	if (!strcmp(scene, "bytes"))
		every_byte();
	if (!strcmp(scene, "config"))
		dump_config();
	if (!strcmp(scene, "crash"))
		end_vm(TZ_END_CRASH, "triple fault at 0xdead", 0);
	if (!strcmp(scene, "guest_reset"))
		end_vm(TZ_END_RESET, "keyboard controller", 0);
	if (!strcmp(scene, "unfinished")) { // the VM ended, the final statistics never came
		control_vm_ended(&control, vm_name(), TZ_END_POWEROFF, "ACPI", 0);
		exit(1);
	}
	if (!strncmp(scene, "value ", 6))
		end_vm(TZ_END_DEBUG_EXIT, "wrote to port 0xf4", strtoull(scene + 6, NULL, 0));
	if (!strcmp(scene, "serve"))
		serve();
	if (!strncmp(scene, "flood ", 6))
		flood(strtoull(scene + 6, NULL, 0));
	if (!strcmp(scene, "crash_restart"))
		control_vm_restarted(&control, vm_name(), TZ_END_CRASH, "triple fault");
	if (!strcmp(scene, "created")) { // a second VM comes, crashes, comes again and outlives the first
		control_vm_created(&control, "b", 2);
		control_console_out(&control, "b", "here\n", 5);
		control_vm_ended(&control, "b", TZ_END_CRASH, "triple fault", 0);
		control_vm_created(&control, "b", 3);
		control_vm_ended(&control, vm_name(), TZ_END_POWEROFF, "ACPI", 0);
		sleep(1);
		control_console_out(&control, "b", "again\n", 6);
		control_vm_ended(&control, "b", TZ_END_POWEROFF, "ACPI", 0);
		final(1);
	}
	if (!strncmp(scene, "many ", 5))
		many((unsigned)atoi(scene + 5));
	if (!strcmp(scene, "heir")) {
		control_vm_created(&control, "b", 2);
		control_console_out(&control, "b", "here\n", 5);
		serve();
	}
	if (!strcmp(scene, "no_vm")) // it stops and never ran what it was given
		final(1);
	if (!strcmp(scene, "restart")) {
		control_vm_restarted(&control, vm_name(), TZ_END_RESET, "keyboard controller");
		control_console_out(&control, vm_name(), "again\n", 6);
	}
	end_vm(TZ_END_POWEROFF, "ACPI", 0);
}

// ---- start ----

static int chardev_fd(const char *arg, const char *id)
{
	char prefix[64];
	int n = snprintf(prefix, sizeof(prefix), "socket,id=%s,fd=", id);

	return strncmp(arg, prefix, (size_t)n) ? -1 : atoi(arg + n);
}

static void note_args(int argc, char **argv)
{
	const char *path = getenv("FAKE_QEMU_ARGS");
	FILE *f = path ? fopen(path, "w") : NULL;

	for (int i = 0; f && i < argc; i++)
		fprintf(f, "%s\n", argv[i]);
	if (f)
		fclose(f);
}

static void read_bundle(const char *path)
{
	static u8 data[64 << 20];
	int fd = open(path, O_RDONLY);
	size_t len = 0;
	struct bundle b;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, data + len, sizeof(data) - len)) > 0)
		len += (size_t)n;
	if (bundle_open(&b, data, len) != ST_OK)
		fail("no bundle");
	if (bundle_vms(&b, &vms) != ST_OK)
		fail(vms.error);
}

int main(int argc, char **argv)
{
	static const struct control_ports ports = {.send = control_send,
						   .method = methods,
						   .methods = ARRAY_SIZE(methods)};
	const char *scene = getenv("FAKE_QEMU"), *initrd = "";

	note_args(argc, argv);
	for (int i = 1; i + 1 < argc; i++) {
		if (!strcmp(argv[i], "-initrd"))
			initrd = argv[i + 1];
		if (chardev_fd(argv[i + 1], "log") >= 0)
			log_fd = chardev_fd(argv[i + 1], "log");
		if (chardev_fd(argv[i + 1], "control") >= 0)
			control_fd = chardev_fd(argv[i + 1], "control");
	}
	if (log_fd < 0 || control_fd < 0)
		fail("no serial ports");
	read_bundle(initrd);
	control_init(&control, &ports);
	play(scene ? scene : "poweroff");
	return 0;
}
