// SPDX-License-Identifier: MIT
// A VM that resets has a life after the other: the same VM, the same memory, cleared, and its kernel from the start. Counters go on.
#ifndef VMM_LIVES_H
#define VMM_LIVES_H

#include "vmm/vm.h"

// The VM has ended and starts again: it runs as far as anybody can see, and its CPU calls restart_clear() until that is true, then
// restart_boot(). No CPU has it loaded in all three.
void restart_begin(struct vm *vm);
bool restart_clear(struct vm *vm); // at most RESTART_PIECE pages; true: all are
void restart_boot(struct vm *vm); // with vms_lock. It may end once more, for good

#define RESTART_PIECE 256 // about a millisecond under QEMU

// Counters of all its lives. After vm_free() as well.
struct bt_stats lives_bt_stats(const struct vm *vm);
struct shadow_stats lives_shadow_stats(const struct vm *vm); // `tables`: now
u64 lives_calls(const struct vm *vm, unsigned nr); // of a hypercall
u64 lives_instructions(const struct vm *vm);
// Before translator and shadow are taken away.
void lives_end(struct vm *vm);

#endif
