// SPDX-License-Identifier: MIT
#ifndef VMM_CHECK_H
#define VMM_CHECK_H

#include "vmm/vm.h"

// Panics when the guest world cannot be entered with what gate.page and the trusted page hold.
void check_entry(const struct vcpu *v);
// Stress mode: rights that the shadow has lost since the last entry without a flush panic.
void check_stress(struct vcpu *v);
// Logs guest and shadow entries of every level.
void check_log_walk(const struct vcpu *v, u64 va);

#endif
