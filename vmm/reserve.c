// SPDX-License-Identifier: MIT
// Invariant: `aside` is the sum, over all VMs, of what is missing to each one's reserve (vm->reserve - vm->shadow_tables, if that is
// more than 0). Only the CPU that has a VM counts its tables.
#include "vmm/reserve.h"

#include "base/assert.h"
#include "machine/cpu/smp.h"
#include "machine/mm/frames.h"

static u64 aside;

void reserve_begin(struct vm *vm, u32 frames)
{
	assert(!vm->reserve && !vm->shadow_tables);
	vm->reserve = frames;
	__atomic_add_fetch(&aside, frames, __ATOMIC_RELAXED);
}

void reserve_end(struct vm *vm)
{
	assert(!vm->shadow_tables);
	__atomic_sub_fetch(&aside, vm->reserve, __ATOMIC_RELAXED);
	vm->reserve = 0;
}

// Each CPU may be between asking and taking one frame.
u64 reserve_left(void)
{
	u64 kept = __atomic_load_n(&aside, __ATOMIC_RELAXED) + CPUS_MAX, free = frame_counts().free;

	return free > kept ? free - kept : 0;
}

bool reserve_room(u64 frames)
{
	return reserve_left() >= frames;
}

mpn_t reserve_alloc(struct vm *vm, bool needed)
{
	bool own = vm->shadow_tables < vm->reserve;
	mpn_t mpn;

	if ((!own && !reserve_room(1)) || (!needed && vm_hypervisor_bytes() >= vm_hypervisor_part()))
		return MPN_NONE;
	mpn = frame_alloc();
	if (mpn == MPN_NONE)
		return MPN_NONE;
	vm->shadow_tables++;
	if (own)
		__atomic_sub_fetch(&aside, 1, __ATOMIC_RELAXED);
	return mpn;
}

void reserve_free(struct vm *vm, mpn_t mpn)
{
	vm->shadow_tables--;
	if (vm->shadow_tables < vm->reserve)
		__atomic_add_fetch(&aside, 1, __ATOMIC_RELAXED);
	frame_free(mpn);
}
