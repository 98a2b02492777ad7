// SPDX-License-Identifier: MIT
// Clearing memory takes a second for a GiB under QEMU, so it is done in pieces, each a turn of its own: others run in between, and
// what it costs is charged to the VM.
#include "vmm/lives.h"

#include "base/string.h"
#include "machine/mm/frames.h"
#include "vmm/pv.h"

_Static_assert(PV_CALLS == ARRAY_SIZE(((struct vm *)0)->past_calls), "one for each hypercall");

void restart_begin(struct vm *vm)
{
	vm->vcpu.cpu.halted = false;
	vm->vcpu.exit_tsc = 0; // what follows is not that exit's time
	vm->cleared = 0;
	vm->restarting = true;
	vm->end = END_NONE;
	vm->state = VM_RUNNING;
}

bool restart_clear(struct vm *vm)
{
	ppn_t end = MIN(vm->cleared + RESTART_PIECE, vm->ppn_limit);

	for (; vm->cleared < end; vm->cleared++)
		if (vm->p2m[vm->cleared] != MPN_NONE)
			memset(frame_ptr(vm->p2m[vm->cleared]), 0, PAGE_SIZE);
	return vm->cleared == vm->ppn_limit;
}

// ---- counters

// Both kinds of statistics are u64 counters and nothing else.
static void add_counters(void *sum, const void *more, size_t bytes)
{
	u64 *to = sum;
	const u64 *from = more;

	for (size_t i = 0; i < bytes / sizeof(u64); i++)
		to[i] += from[i];
}

struct bt_stats lives_bt_stats(const struct vm *vm)
{
	struct bt_stats sum = vm->past_bt;

	if (vm->bt)
		add_counters(&sum, bt_get_stats(vm->bt), sizeof(sum));
	return sum;
}

struct shadow_stats lives_shadow_stats(const struct vm *vm)
{
	struct shadow_stats sum = vm->past_shadow;

	if (vm->shadow)
		add_counters(&sum, shadow_get_stats(vm->shadow), sizeof(sum));
	return sum;
}

u64 lives_instructions(const struct vm *vm)
{
	return vm->past_counter + (vm->bt ? vm->vcpu.gate.page->counter[0] : 0);
}

u64 lives_calls(const struct vm *vm, unsigned nr)
{
	return vm->past_calls[nr] + (vm->pv ? vm->pv->guest.calls[nr] : 0);
}

static void keep_calls(struct vm *vm)
{
	for (unsigned nr = 0; nr < PV_CALLS; nr++)
		vm->past_calls[nr] = lives_calls(vm, nr);
	if (vm->pv)
		memset(vm->pv->guest.calls, 0, sizeof(vm->pv->guest.calls));
}

static void keep(struct vm *vm)
{
	keep_calls(vm);
	vm->past_bt = lives_bt_stats(vm);
	vm->past_shadow = lives_shadow_stats(vm);
	vm->past_shadow.tables = 0;
	vm->past_counter = lives_instructions(vm);
	vm->bt = NULL;
}

void lives_end(struct vm *vm)
{
	keep(vm);
	vm->last_shadow_tables = vm->shadow_tables;
	if (vm->shadow)
		shadow_destroy(vm->shadow);
	vm->shadow = NULL;
}

void restart_boot(struct vm *vm)
{
	char error[160];

	keep(vm);
	if (vm->shadow)
		shadow_destroy(vm->shadow);
	vm->shadow = NULL;
	if (vm_boot(vm, error, sizeof(error)))
		vm->restarting = false;
	else
		vm_end(vm, END_CRASH, 0, "restart: %s", error);
}
