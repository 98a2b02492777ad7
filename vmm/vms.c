// SPDX-License-Identifier: MIT
// The list of VMs and their life. A VM that has ended is kept, without its memory, for the statistics; of those only the last
// TZ_VMS_MAX, and none once a new VM takes its name. One that is preserved keeps everything and runs nowhere.
#include "vmm/vms.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/string.h"
#include "machine/irq/time.h"
#include "vmm/control.h"
#include "vmm/lives.h"
#include "vmm/lockstep.h"
#include "vmm/sched.h"
#include "vmm/service.h"

struct spinlock vms_lock;
static struct vm *first;
static u32 last_id;

struct vm *vms_next(const struct vm *vm)
{
	return vm ? vm->next : first;
}

// What the VM file wants after an end; a command or a debug exit ends it for good, and so does a start that fails.
static enum vm_action action_after(const struct vm *vm)
{
	if (vm->restarting || vm->killed)
		return VM_DESTROY;
	switch (vm->end) {
	case END_POWER_OFF:
		return vm->config.on_poweroff;
	case END_RESET:
		return vm->config.on_reboot;
	case END_CRASH:
		return vm->config.on_crash;
	default:
		return VM_DESTROY;
	}
}

// It runs, or will in a moment: a restart is nothing that anybody but its kernel should see.
static bool lives(const struct vm *vm)
{
	return __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE) != VM_ENDED || (!vm->over && !vm->preserved && action_after(vm) == VM_RESTART);
}

struct vm *vm_find(const char *name)
{
	for (struct vm *vm = first; vm; vm = vm->next)
		if ((lives(vm) || vm->preserved) && !strcmp(vm->config.name, name))
			return vm;
	return NULL;
}

struct vm *vms_input(void)
{
	for (struct vm *vm = first; vm; vm = vm->next)
		if (lives(vm))
			return vm;
	return NULL;
}

unsigned vms_living(void)
{
	unsigned n = 0;

	for (struct vm *vm = first; vm; vm = vm->next)
		n += !vm->freed;
	return n;
}

unsigned vms_records(void)
{
	unsigned n = 0;

	for (struct vm *vm = first; vm; vm = vm->next)
		n++;
	return n;
}

static void unlink_vm(struct vm *vm)
{
	struct vm **at = &first;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	vm_forget(vm);
}

// Records of ended VMs that a new one makes void.
static void forget_old(const char *name)
{
	unsigned ended = 0;

	for (struct vm *vm = first; vm; vm = vm->next)
		ended += vm->freed;
	for (struct vm *vm = first, *next; vm; vm = next) {
		next = vm->next;
		if (!vm->freed || (strcmp(vm->config.name, name) != 0 && ended < TZ_VMS_MAX))
			continue;
		unlink_vm(vm);
		ended--;
	}
}

static void append(struct vm *vm)
{
	struct vm **at = &first;

	while (*at)
		at = &(*at)->next;
	*at = vm;
	vm->id = ++last_id;
}

void vms_refused(const struct vm_config *config, const char *reason)
{
	struct vm *vm = vm_record(config, reason);

	if (vm)
		append(vm);
}

enum status vm_start(struct vm *vm)
{
	for (const struct vm *other = first; other; other = other->next)
		if (!other->freed && !strcmp(other->config.name, vm->config.name))
			return ST_BUSY;
	if (vms_living() >= TZ_VMS_MAX)
		return ST_NOMEM;
	forget_old(vm->config.name);
	append(vm);
	trace(VM, TRACE_VM_STARTED, vm->id, vm->config.memory, 0, 0);
	log_info("%s: starting, %lu MiB", vm->config.name, (unsigned long)(vm->config.memory / MIB));
	vcpu_start(&vm->vcpu);
	return ST_OK;
}

void vm_pause(struct vm *vm)
{
	vm->paused = true;
	vcpu_kick(&vm->vcpu);
	trace(VM, TRACE_VM_PAUSED, vm->id, 0, 0, 0);
}

void vm_unpause(struct vm *vm)
{
	vm->paused = false;
	vcpu_kick(&vm->vcpu);
	trace(VM, TRACE_VM_UNPAUSED, vm->id, 0, 0, 0);
}

void vm_power_button(struct vm *vm)
{
	vm->power_button = true;
	vcpu_kick(&vm->vcpu);
}

// With the lock; no CPU has it loaded.
static void end_for_good(struct vm *vm)
{
	vm->over = true;
	vm->preserved = false;
	vm_free(vm);
	control_vm_ended(&service_control, vm->config.name, vm_end_name(vm->end), vm->end_reason, vm->end_value);
}

void vm_destroy(struct vm *vm)
{
	if (vm->preserved) {
		end_for_good(vm);
		return;
	}
	vm->killed = true;
	vcpu_kick(&vm->vcpu);
}

void vm_set_share(struct vm *vm, u32 weight, u32 cap)
{
	vm->config.cpu_weight = weight;
	vm->config.cap = cap;
	vcpu_share(&vm->vcpu, weight, cap);
}

const char *vm_state_name(const struct vm *vm)
{
	if (!lives(vm))
		return vm->end == END_CRASH ? "crashed" : vm->preserved ? "shutdown" : "ended";
	return vm->paused ? "paused" : vm->vcpu.cpu.halted ? "blocked" : "running";
}

bool vms_all_over(void)
{
	for (const struct vm *vm = first; vm; vm = vm->next)
		if (!vm->over)
			return false;
	return true;
}

// Under the lock: whoever looks at a VM finds it ended or running.
static bool starts_again(struct vm *vm)
{
	if (action_after(vm) != VM_RESTART)
		return false;
	control_vm_restarted(&service_control, vm->config.name, vm_end_name(vm->end), vm->end_reason);
	spin_lock(&vms_lock);
	restart_begin(vm);
	spin_unlock(&vms_lock);
	return true;
}

void vm_restart_on(struct vm *vm)
{
	if (vm->killed) {
		vm_end(vm, END_DESTROYED, 0, "destroyed by command");
	} else if (restart_clear(vm)) {
		spin_lock(&vms_lock);
		restart_boot(vm);
		spin_unlock(&vms_lock);
	}
	if (vm->state == VM_ENDED)
		vm_finish(vm);
}

void vm_finish(struct vm *vm)
{
	assert(vm->state == VM_ENDED);
	if (starts_again(vm))
		return;
	lockstep_log(vm->config.name);
	spin_lock(&vms_lock);
	vcpu_remove(&vm->vcpu);
	if (action_after(vm) == VM_PRESERVE) {
		vm->preserved = true;
		control_vm_preserved(&service_control, vm->config.name, vm_end_name(vm->end), vm->end_reason);
	} else {
		end_for_good(vm);
	}
	if (vms_all_over())
		service_shutdown();
	spin_unlock(&vms_lock);
}
