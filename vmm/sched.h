// SPDX-License-Identifier: MIT
// vCPUs on CPUs: core/sched/ decides, this file does. Every CPU runs sched_run(); a vCPU is started, stopped and woken from
// anywhere. One lock for all queues, never taken by an exit that has nothing to do with time or devices.
#ifndef VMM_SCHED_H
#define VMM_SCHED_H

#include "vmm/vm.h"

void sched_start(void);        // before all others
NORETURN void sched_run(void); // on each CPU, its life from then on
void sched_run_others(void);   // starts it on the other CPUs

void vcpu_start(struct vcpu *v);
// Something is to be looked at (attend() in run.c): wherever the vCPU is, asleep or paused, it will do so soon.
void vcpu_kick(struct vcpu *v);
// It has ended.
void vcpu_remove(struct vcpu *v);
void vcpu_share(struct vcpu *v, u32 weight, u32 cap);

// Within vcpu_run(), on the vCPU's CPU: has its turn ended? The time by which to ask again.
bool sched_turn_ended(struct vcpu *v, u64 now);
u64 sched_ask_again(void);

struct vcpu_times {
	u64 run_ns, ready_ns;
};
struct vcpu_times vcpu_times(struct vcpu *v);
// switch.c: the vCPU's registers into and out of this CPU.
void vcpu_load(struct vcpu *v);
void vcpu_unload(struct vcpu *v);

#endif
