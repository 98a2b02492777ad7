// SPDX-License-Identifier: MIT
// The control channel's methods and the statistics that they report.
#include "vmm/service.h"

#include "abi/machine.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/string.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/cpu.h"
#include "machine/io/serial.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/com1.h"
#include "vmm/control.h"
#include "vmm/lockstep.h"
#include "vmm/log.h"
#include "vmm/version.h"

struct control service_control;
static struct vm *the_vm; // one VM in this version

static void control_send(void *ctx, const char *bytes, size_t n)
{
	serial_write(SERIAL_COM2, bytes, n);
}

// ---- statistics

#define HOT_NAME 56

static void hot_counters(const struct vcpu *v, struct stats_counter *out, char (*names)[HOT_NAME], unsigned max, unsigned *n)
{
	u32 below = ~0u;

	*n = 0;
	while (*n < max) {
		const struct hot_site *best = NULL;

		for (unsigned i = 0; i < HOT_SITES; i++)
			if (v->hot[i].count < below && v->hot[i].count > 1 && (!best || v->hot[i].count > best->count))
				best = &v->hot[i];
		if (!best)
			return;
		fmt_snprintf(names[*n], HOT_NAME, "%s@%lx/%s", exit_reason_name((enum exit_reason)best->reason), best->rip,
			     best->mnemonic ? ZydisMnemonicGetString((ZydisMnemonic)best->mnemonic) : "");
		out[*n] = (struct stats_counter){names[*n], best->count};
		below = best->count;
		++*n;
	}
}

#define HOT_REPORTED 24
#define OWN_COUNTERS 8

static struct stats_counter debug[HOT_REPORTED + OWN_COUNTERS + LOCKSTEP_COUNTERS];

static unsigned debug_counters(const struct vm *vm)
{
	static char names[HOT_REPORTED][HOT_NAME];
	const struct bt_stats *b = bt_get_stats(vm->bt);
	const struct shadow_stats *m = shadow_get_stats(vm->shadow);
	const struct vcpu *v = &vm->vcpu;
	const struct stats_counter own[OWN_COUNTERS] = {
		{"guest_instructions_translated", b->guest_instructions},
		{"kernel_instructions_executed", v->gate.page->counter[0]},
		{"stores_executed", v->fast_stores},
		{"links", b->links},
		{"shadow_prefetched", m->prefetched},
		{"shadow_unshadowed", m->unshadowed},
		{"shadow_evictions", m->evictions},
		{"injected", v->injected},
	};
	unsigned n;

	hot_counters(v, debug, names, HOT_REPORTED, &n);
	memcpy(debug + n, own, sizeof(own));
	n += OWN_COUNTERS;
	return n + lockstep_counters(debug + n);
}

static void describe(const struct vm *vm, struct stats_vm *out)
{
	static struct stats_exit exits[EXIT_REASONS];
	const struct bt_stats *b = bt_get_stats(vm->bt);
	const struct vcpu *v = &vm->vcpu;

	for (unsigned i = 0; i < EXIT_REASONS; i++)
		exits[i] = (struct stats_exit){exit_reason_name((enum exit_reason)i), v->exits[i].count, v->exits[i].ns};
	*out = (struct stats_vm){
		.name = vm->config.name,
		.type = vm_type_name(vm->config.type),
		.state = vm->state == VM_ENDED ? (vm->end == END_CRASH ? "crashed" : "ended") : v->cpu.halted ? "blocked" : "running",
		.vcpus = 1,
		.cpu.run_ns = time_ns() - vm->created_ns - v->idle_ns,
		.exit = exits,
		.exits = EXIT_REASONS,
		.crossings = v->crossings,
		.translator = {.blocks = b->blocks, .bytes = b->bytes, .flushes = b->flushes, .smc_faults = b->smc_invalidations,
			       .instructions_emulated = v->emulated, .callouts = v->callouts},
		.mmu = {.shadow_pages = vm->shadow_tables, .hidden_faults = v->exits[EXIT_PAGE_FAULT_HIDDEN].count,
			.guest_faults = v->exits[EXIT_PAGE_FAULT_GUEST].count,
			.pte_writes = shadow_get_stats(vm->shadow)->pte_writes},
		.memory = {.configured = vm->config.memory, .resident = vm->ram_bytes, .target = vm->config.memory,
			   .overhead = vm->overhead_bytes + vm->shadow_tables * PAGE_SIZE},
		.debug = debug,
		.debugs = debug_counters(vm),
	};
	if (vm->state != VM_ENDED)
		return;
	out->end.how = vm_end_name(vm->end);
	out->end.reason = vm->end_reason;
	out->end.value = vm->end_value;
}

static void snapshot(struct json_out *j)
{
	struct frame_counts f = frame_counts();
	struct stats_vm vm;
	struct stats_snapshot s = {
		.machine = {.cpus = cpu_count(),
			    .memory_bytes = f.total * PAGE_SIZE,
			    .hypervisor_bytes = (f.total - f.free) * PAGE_SIZE - (the_vm ? the_vm->ram_bytes : 0),
			    .free_bytes = f.free * PAGE_SIZE},
		.vm = &vm,
		.vms = the_vm ? 1 : 0,
	};

	if (the_vm)
		describe(the_vm, &vm);
	stats_write(j, &s);
}

// ---- methods

static int no_vm(struct control_request *req)
{
	req->error = "no VM of that name";
	return TZ_RPC_NO_VM;
}

static struct vm *named_vm(const struct control_request *req)
{
	char name[TZ_NAME_MAX + 1];

	if (!control_param_string(req, "vm", name, sizeof(name)))
		return NULL;
	return the_vm && !strcmp(name, the_vm->config.name) ? the_vm : NULL;
}

static int method_stats(void *ctx, struct control_request *req, struct json_out *result)
{
	snapshot(result);
	return 0;
}

static int method_list(void *ctx, struct control_request *req, struct json_out *result)
{
	json_array(result);
	if (the_vm) {
		struct vcpu *v = &the_vm->vcpu;

		json_object(result);
		json_kv_string(result, "name", the_vm->config.name);
		json_kv_u64(result, "id", 1);
		json_kv_string(result, "type", vm_type_name(the_vm->config.type));
		json_kv_u64(result, "memory", the_vm->config.memory);
		json_kv_u64(result, "vcpus", 1);
		json_kv_string(result, "state", the_vm->state == VM_ENDED ? "ended" : v->cpu.halted ? "blocked" : "running");
		json_kv_u64(result, "run_ns", time_ns() - the_vm->created_ns - v->idle_ns);
		json_object_end(result);
	}
	json_array_end(result);
	return 0;
}

static int method_info(void *ctx, struct control_request *req, struct json_out *result)
{
	struct frame_counts f = frame_counts();

	json_object(result);
	json_kv_string(result, "version", TRAPEZE_VERSION);
	json_kv_u64(result, "cpus", cpu_count());
	json_kv_u64(result, "memory_bytes", f.total * PAGE_SIZE);
	json_kv_u64(result, "free_bytes", f.free * PAGE_SIZE);
	json_kv_u64(result, "tsc_khz", tsc_khz());
	json_kv_u64(result, "vms", the_vm ? 1 : 0);
	json_object_end(result);
	return 0;
}

static int method_dmesg(void *ctx, struct control_request *req, struct json_out *result)
{
	static char text[LOG_BYTES];
	u64 at = 0;
	size_t n = 0, more;

	while (n < sizeof(text) && (more = log_read(&at, text + n, sizeof(text) - n)))
		n += more;

	json_object(result);
	json_key(result, "text");
	json_put_bytes(result, text, n);
	json_object_end(result);
	return 0;
}

static int method_destroy(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = named_vm(req);

	if (!vm)
		return no_vm(req);
	vm_end(vm, END_DESTROYED, 0, "destroyed by command");
	json_put_bool(result, true);
	return 0;
}

static int method_console_input(void *ctx, struct control_request *req, struct json_out *result)
{
	static char data[TZ_CONTROL_LINE_MAX];
	struct vm *vm = named_vm(req);
	long n = json_string(json_member(req->params, "data"), data, sizeof(data));

	if (!vm)
		return no_vm(req);
	if (n < 0)
		return TZ_RPC_INVALID_PARAMS;
	json_put_u64(result, platform_console_input(&vm->platform, time_ns(), (const u8 *)data, (unsigned)n));
	return 0;
}

static const struct control_method methods[] = {
	{"list", method_list},	       {"stats", method_stats},	    {"info", method_info},
	{"dmesg", method_dmesg},       {"destroy", method_destroy}, {"console_input", method_console_input},
};

// ---- service

void service_init(struct vm *vm)
{
	static const struct control_ports port = {.send = control_send, .method = methods, .methods = ARRAY_SIZE(methods)};

	the_vm = vm;
	if (!vm) {
		control_init(&service_control, &port);
		control_ready(&service_control, TRAPEZE_VERSION);
	}
}

void service_poll(void)
{
	char buf[256];
	int n;

	while ((n = serial_read(SERIAL_COM2, buf, sizeof(buf))) > 0)
		control_receive(&service_control, buf, (size_t)n);
	com1_poll(the_vm);
}

void service_console_out(struct vm *vm, const u8 *bytes, unsigned n)
{
	control_console_out(&service_control, vm->config.name, bytes, n);
	com1_console_out(vm->config.name, bytes, n);
}

void service_vm_ended(struct vm *vm)
{
	control_vm_ended(&service_control, vm->config.name, vm_end_name(vm->end), vm->end_reason, vm->end_value);
}

static void snapshot_final(void)
{
	static char buf[TZ_CONTROL_REPLY_MAX];
	struct json_out j;

	json_init(&j, buf, sizeof(buf));
	json_object(&j);
	json_kv_string(&j, "jsonrpc", "2.0");
	json_kv_string(&j, "method", TZ_N_FINAL);
	json_key(&j, "params");
	snapshot(&j);
	json_object_end(&j);
	if (!j.overflow) {
		control_send(NULL, buf, j.len);
		control_send(NULL, "\n", 1);
	}
}

void service_shutdown(void)
{
	snapshot_final();
	com1_stop();
	log_info("all VMs have ended");
	outb(TZ_DEBUG_EXIT_PORT, 0);
	acpi_poweroff();
	for (;;)
		hlt();
}
