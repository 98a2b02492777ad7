// SPDX-License-Identifier: MIT
// Both engines side by side (bt.compare=N): each block about to run translated is run in the emulator first, on a copy of the
// vCPU and an overlay of memory, and what the machine made of it is compared at the block's exit. See docs/design/debugging.md.
#ifndef VMM_LOCKSTEP_H
#define VMM_LOCKSTEP_H

#include "vmm/stats.h"
#include "vmm/vm.h"

#define LOCKSTEP_COUNTERS 6

// Only the first VM takes part.
// Are there blocks left to compare? The translator must not link blocks then.
bool lockstep_wanted(void);
// The vCPU is architectural and about to be entered somehow: whatever was recorded is void. Begins and ends the mode.
void lockstep_forget(struct vcpu *v);
// The block at cache address `entry` is entered next, with v->cpu's state.
void lockstep_enter(struct vcpu *v, u64 entry);
// v->cpu has the state in which translated code left by an exit of its own. Panics when it differs.
void lockstep_check(struct vcpu *v);
// Memory may have changed, or the vCPU left the block in another way.
void lockstep_drop(struct vcpu *v);
// A due interrupt is to wait, so that the guest gets on with something else than its timer.
bool lockstep_holds_interrupts(const struct vcpu *v);
// For the statistics; returns how many, 0 when the knob is off.
unsigned lockstep_counters(struct stats_counter *c);
void lockstep_log(const char *name);

#endif
