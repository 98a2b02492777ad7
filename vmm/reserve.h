// SPDX-License-Identifier: MIT
// Frames for shadow tables. They come one by one while a VM runs, so a VM that comes later must leave enough: each VM has a
// number of frames set aside at its creation, which nothing else may take, and takes more only of what is set aside for nobody.
// A VM without a frame to be had evicts tables of its own.
#ifndef VMM_RESERVE_H
#define VMM_RESERVE_H

#include "vmm/vm.h"

// From here on `frames` belong to the VM's shadow tables. They need not be there yet: ask reserve_room().
void reserve_begin(struct vm *vm, u32 frames);
void reserve_end(struct vm *vm); // its tables are freed
u64 reserve_left(void); // frames that are free and set aside for nobody
bool reserve_room(u64 frames);
// MPN_NONE: none for this VM now. Beyond its reserve only of what is set aside for nobody; when the hypervisor has its part of the
// machine (vm_hypervisor_part), only what is needed.
mpn_t reserve_alloc(struct vm *vm, bool needed);
void reserve_free(struct vm *vm, mpn_t mpn);

#endif
