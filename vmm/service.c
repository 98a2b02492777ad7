// SPDX-License-Identifier: MIT
// The control channel's methods and the statistics that they report.
#include "vmm/service.h"

#include "abi/machine.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/string.h"
#include "base/trace.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/cpu.h"
#include "machine/io/serial.h"
#include "machine/io/virtio_console.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/com1.h"
#include "vmm/control.h"
#include "vmm/lockstep.h"
#include "vmm/pv.h"
#include "vmm/integrity.h"
#include "vmm/lives.h"
#include "vmm/log.h"
#include "vmm/methods.h"
#include "vmm/sched.h"
#include "vmm/version.h"
#include "vmm/vms.h"

struct control service_control;

static void control_send(void *ctx, const char *bytes, size_t n)
{
	if (virtio_console_present())
		virtio_console_write(bytes, n);
	else
		serial_write(SERIAL_COM2, bytes, n);
}

static size_t receive(char *buf, size_t size)
{
	int n;

	if (virtio_console_present())
		return virtio_console_read(buf, size);
	n = serial_read(SERIAL_COM2, buf, size);
	return n > 0 ? (size_t)n : 0;
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
#define OWN_COUNTERS 11

static struct stats_counter debug[HOT_REPORTED + OWN_COUNTERS + LOCKSTEP_COUNTERS + PV_CALLS];

// How often a paravirtual guest has made each hypercall.
static unsigned call_counters(const struct vm *vm, struct stats_counter *out)
{
	unsigned n = 0;

	for (unsigned nr = 0; nr < PV_CALLS; nr++)
		if (lives_calls(vm, nr))
			out[n++] = (struct stats_counter){pv_call_name(nr), lives_calls(vm, nr)};
	return n;
}

static unsigned debug_counters(const struct vm *vm)
{
	static char names[HOT_REPORTED][HOT_NAME];
	const struct bt_stats b = lives_bt_stats(vm);
	const struct shadow_stats m = lives_shadow_stats(vm);
	const struct vcpu *v = &vm->vcpu;
	const struct stats_counter own[OWN_COUNTERS] = {
		{"guest_instructions_translated", b.guest_instructions},
		{"kernel_instructions_executed", lives_instructions(vm)},
		{"stores_executed", v->fast_stores},
		{"links", b.links},
		{"shadow_prefetched", m.prefetched},
		{"shadow_unshadowed", m.unshadowed},
		{"shadow_rows", m.guesses},
		{"shadow_evictions", m.evictions},
		{"shadow_missed", m.missed},
		{"injected", v->injected},
		{"audits", v->audits},
	};
	unsigned n;

	hot_counters(v, debug, names, HOT_REPORTED, &n);
	memcpy(debug + n, own, sizeof(own));
	n += OWN_COUNTERS;
	n += call_counters(vm, debug + n);
	return n + lockstep_counters(debug + n);
}

static u32 shadow_tables(const struct vm *vm)
{
	return vm->freed ? vm->last_shadow_tables : vm->shadow_tables;
}

static void describe(struct vm *vm, struct stats_vm *out)
{
	struct vcpu_times times = vcpu_times(&vm->vcpu);
	static struct stats_exit exits[EXIT_REASONS];
	const struct bt_stats b = lives_bt_stats(vm);
	const struct vcpu *v = &vm->vcpu;

	for (unsigned i = 0; i < EXIT_REASONS; i++)
		exits[i] = (struct stats_exit){exit_reason_name((enum exit_reason)i), v->exits[i].count, v->exits[i].ns};
	*out = (struct stats_vm){
		.name = vm->config.name,
		.type = vm_type_name(vm->config.type),
		.state = vm_state_name(vm),
		.vcpus = 1,
		.cpu = {.run_ns = times.run_ns, .ready_ns = times.ready_ns, .stolen_ns = times.ready_ns},
		.exit = exits,
		.exits = EXIT_REASONS,
		.crossings = v->crossings,
		.translator = {.blocks = b.blocks, .bytes = b.bytes, .flushes = b.flushes, .smc_faults = b.smc_invalidations,
			       .instructions_emulated = v->emulated, .callouts = v->callouts},
		.mmu = {.shadow_pages = shadow_tables(vm), .hidden_faults = v->exits[EXIT_PAGE_FAULT_HIDDEN].count,
			.guest_faults = v->exits[EXIT_PAGE_FAULT_GUEST].count,
			.pte_writes = lives_shadow_stats(vm).pte_writes},
		.memory = {.configured = vm->config.memory, .resident = vm->ram_bytes, .target = vm->config.memory,
			   .overhead = vm->overhead_bytes + shadow_tables(vm) * PAGE_SIZE},
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
	struct stats_snapshot s = {
		.machine = {.cpus = cpu_count(),
			    .memory_bytes = f.total * PAGE_SIZE,
			    .hypervisor_bytes = vm_hypervisor_bytes(),
			    .free_bytes = f.free * PAGE_SIZE},
	};

	stats_begin(j, &s);
	for (struct vm *vm = vms_next(NULL); vm; vm = vms_next(vm)) {
		struct stats_vm one;

		describe(vm, &one);
		stats_write_vm(j, &one);
	}
	stats_end(j);
}

// ---- methods

int method_no_vm(struct control_request *req)
{
	req->error = "no VM of that name";
	return TZ_RPC_NO_VM;
}

int method_bad(struct control_request *req, const char *why)
{
	req->error = why;
	return TZ_RPC_INVALID_PARAMS;
}

int method_ended(struct control_request *req)
{
	req->error = "the VM has ended and is only kept: it can be looked at and destroyed";
	return TZ_RPC_STATE;
}

struct vm *method_vm(const struct control_request *req)
{
	char name[TZ_NAME_MAX + 1];

	return control_param_string(req, "vm", name, sizeof(name)) ? vm_find(name) : NULL;
}

bool method_number(const struct control_request *req, const char *name, u64 *out)
{
	char text[32];

	if (control_param_u64(req, name, out))
		return true;
	return control_param_string(req, name, text, sizeof(text)) && control_parse_number(text, out);
}

static int method_stats(void *ctx, struct control_request *req, struct json_out *result)
{
	snapshot(result);
	return 0;
}

static u64 vm_exits(const struct vm *vm)
{
	u64 n = 0;

	for (unsigned i = 0; i < EXIT_REASONS; i++)
		n += vm->vcpu.exits[i].count;
	return n;
}

static int method_list(void *ctx, struct control_request *req, struct json_out *result)
{
	json_array(result);
	for (struct vm *vm = vms_next(NULL); vm; vm = vms_next(vm)) {
		if (vm->freed)
			continue;
		json_object(result);
		json_kv_string(result, "name", vm->config.name);
		json_kv_u64(result, "id", vm->id);
		json_kv_string(result, "type", vm_type_name(vm->config.type));
		json_kv_u64(result, "memory", vm->config.memory);
		json_kv_u64(result, "vcpus", 1);
		json_kv_string(result, "state", vm_state_name(vm));
		json_kv_u64(result, "run_ns", vcpu_times(&vm->vcpu).run_ns);
		json_kv_u64(result, "resident", vm->ram_bytes);
		json_kv_u64(result, "overhead", vm->overhead_bytes + vm->shadow_tables * PAGE_SIZE);
		json_kv_u64(result, "exits", vm_exits(vm));
		json_kv_u64(result, "crossings", vm->vcpu.crossings);
		json_kv_u64(result, "weight", vm->config.cpu_weight);
		json_kv_u64(result, "cap", vm->config.cap);
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
	json_kv_u64(result, "time_ns", time_ns());
	json_kv_u64(result, "vms", vms_living());
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
	struct vm *vm = method_vm(req);

	if (!vm)
		return method_no_vm(req);
	vm_destroy(vm);
	json_put_bool(result, true);
	return 0;
}

static int method_pause(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = method_vm(req);

	if (!vm)
		return method_no_vm(req);
	if (vm->preserved)
		return method_ended(req);
	vm_pause(vm);
	json_put_bool(result, true);
	return 0;
}

static int method_unpause(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = method_vm(req);

	if (!vm)
		return method_no_vm(req);
	if (vm->preserved)
		return method_ended(req);
	vm_unpause(vm);
	json_put_bool(result, true);
	return 0;
}

// A parameter that may be left out; false: it is there and no number up to max.
static bool optional_number(const struct control_request *req, const char *name, u64 min, u64 max, u32 *out)
{
	u64 n;

	if (json_kind(json_member(req->params, name)) == JSON_ABSENT)
		return true;
	if (!control_param_u64(req, name, &n) || n < min || n > max)
		return false;
	*out = (u32)n;
	return true;
}

static int method_sched_credit(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = method_vm(req);
	u32 weight, cap;

	if (!vm)
		return method_no_vm(req);
	if (vm->preserved)
		return method_ended(req);
	weight = vm->config.cpu_weight;
	cap = vm->config.cap;
	if (!optional_number(req, "weight", 1, TZ_WEIGHT_MAX, &weight) || !optional_number(req, "cap", 0, TZ_CAP_MAX, &cap))
		return TZ_RPC_INVALID_PARAMS;
	vm_set_share(vm, weight, cap);
	json_object(result);
	json_kv_u64(result, "weight", weight);
	json_kv_u64(result, "cap", cap);
	json_object_end(result);
	return 0;
}

// Presses the power button: a guest that listens to it ends by itself.
static int method_shutdown(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = method_vm(req);

	if (!vm)
		return method_no_vm(req);
	if (vm->preserved)
		return method_ended(req);
	vm_power_button(vm);
	json_put_bool(result, true);
	return 0;
}

static int method_console_input(void *ctx, struct control_request *req, struct json_out *result)
{
	static char data[TZ_CONTROL_LINE_MAX];
	struct vm *vm = method_vm(req);
	long n = json_string(json_member(req->params, "data"), data, sizeof(data));

	if (!vm)
		return method_no_vm(req);
	if (vm->preserved)
		return method_ended(req);
	if (n < 0)
		return TZ_RPC_INVALID_PARAMS;
	json_put_u64(result, console_type(vm, (const u8 *)data, (unsigned)n));
	vcpu_kick(&vm->vcpu);
	return 0;
}

static void note_request(void *ctx)
{
	trace(CONTROL, TRACE_CONTROL_REQUEST, 0, 0, 0, 0);
}

static const struct control_method methods[] = {
	{"list", method_list},
	{"stats", method_stats},
	{"info", method_info},
	{"dmesg", method_dmesg},
	{"destroy", method_destroy},
	{"pause", method_pause},
	{"unpause", method_unpause},
	{"sched_credit", method_sched_credit},
	{"console_input", method_console_input},
	{"shutdown", method_shutdown},
	{"exits", method_sites},
	{"upload_begin", method_upload_begin},
	{"upload_data", method_upload_data},
	{"upload_abort", method_upload_abort},
	{"create", method_create},
	{"trace", method_trace},
	{"walk", method_walk},
};

// ---- service

static struct trace_place trace_here(void)
{
	const struct pcpu *c = this_cpu();
	const struct vcpu *v = c->vcpu;

	return (struct trace_place){.vm = v ? v->vm->id : 0, .cpu = (u16)c->id};
}

void service_init(void)
{
	static const struct control_ports port = {
		.send = control_send, .method = methods, .methods = ARRAY_SIZE(methods), .requested = note_request};

	trace_place = trace_here;
	control_init(&service_control, &port);
	control_ready(&service_control, TRAPEZE_VERSION);
}

void service_poll(void)
{
	char buf[1024];
	size_t n;

	while ((n = receive(buf, sizeof(buf))) > 0) {
		spin_lock(&vms_lock);
		control_receive(&service_control, buf, n);
		spin_unlock(&vms_lock);
	}
	spin_lock(&vms_lock);
	if (vms_all_over()) // a command has destroyed the last one that was kept; its reply is out
		service_shutdown();
	com1_poll(vms_input());
	service_expire_uploads(time_ns());
	spin_unlock(&vms_lock);
}

void service_console_out(struct vm *vm, const u8 *bytes, unsigned n)
{
	control_console_out(&service_control, vm->config.name, bytes, n);
	com1_console_out(vm->config.name, bytes, n);
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
	service_expire_uploads(~0ull); // what nobody will finish
	integrity_end(vms_records() * vm_record_frames());
	log_info("all VMs have ended");
	outb(TZ_DEBUG_EXIT_PORT, 0);
	acpi_poweroff();
	for (;;)
		hlt();
}
