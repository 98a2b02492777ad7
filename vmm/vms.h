// SPDX-License-Identifier: MIT
// The machine's VMs: the list of them, their life from start to end, and what commands do to one.
//
// vms_lock covers the list and the life of every struct vm on it: whoever holds it may follow pointers to VMs and read their
// counters, which run on meanwhile. Control methods run with it held. A CPU that runs a guest never takes it; so nothing may
// wait for a guest under it.
#ifndef VMM_VMS_H
#define VMM_VMS_H

#include "base/status.h"
#include "machine/cpu/spinlock.h"
#include "vmm/vm.h"

extern struct spinlock vms_lock;

// ---- with vms_lock held

// Those that run, and those that have ended, for the statistics; oldest first. NULL: from the beginning; NULL: no more.
struct vm *vms_next(const struct vm *vm);
// Not ended ones only, or preserved.
struct vm *vm_find(const char *name);
unsigned vms_living(void);
bool vms_all_over(void);    // none runs or is kept
unsigned vms_records(void); // with those that have ended
// The one that gets what is typed where no VM can be named: the oldest that runs. NULL: none.
struct vm *vms_input(void);
// A new VM (vm_create) comes onto the list and starts. ST_BUSY: there is one of that name; ST_NOMEM: too many. The caller
// keeps it then.
MUST_CHECK enum status vm_start(struct vm *vm);
// A VM of the machine's start that could not be created: for the statistics.
void vms_refused(const struct vm_config *config, const char *reason);
// What follows down to vm_set_share() is for VMs that are not preserved, but for vm_destroy().
// The VM does not run until unpaused. Takes effect soon, not at once. A second pause is none.
void vm_pause(struct vm *vm);
void vm_unpause(struct vm *vm);
// The guest sees its power button pressed, a paravirtual one control/shutdown in its store; what it does about it is its business.
void vm_power_button(struct vm *vm);
// Ends it, soon; vm_ended follows. One that is preserved is freed at once; who calls looks at vms_all_over() then.
void vm_destroy(struct vm *vm);
// weight 1 to TZ_WEIGHT_MAX; cap in percent of one CPU, 0: none.
void vm_set_share(struct vm *vm, u32 weight, u32 cap);
// "running", "blocked", "paused", "crashed", "ended" and so on, as in the statistics.
const char *vm_state_name(const struct vm *vm);

// ---- without it

// The VM has ended and no CPU has it loaded any more: it starts again, is preserved, or its end is told and its memory given
// back. The last one's end is the machine's: does not return then.
void vm_finish(struct vm *vm);
// While vm->restarting: a piece of what is to be done until it runs again. As vm_finish().
void vm_restart_on(struct vm *vm);

#endif
