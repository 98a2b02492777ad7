// SPDX-License-Identifier: MIT
// A paravirtual VM's store on the machine: who is told when its ring has changed, and what commands say by it.
#include "vmm/pv.h"

#include "base/log.h"
#include "machine/mm/frames.h"

void pv_vm_store(struct pv_vm *pv)
{
	unsigned did = pv_store_run(pv->store);

	if (did & PV_STORE_RING)
		pv_event_raise(&pv->guest.events, PV_USER_STORE);
	pv->store_due = did & PV_STORE_MORE;
	if (pv->store_due)
		pv->vm->vcpu.attention = true; // others may have waited
}

bool pv_vm_store_start(struct pv_vm *pv, const struct pv_build *b)
{
	const struct vm *vm = pv->vm;
	const struct pv_store_start start = {
		.name = vm->config.name,
		.memory_kib = pv->guest.pages * (PAGE_SIZE / KIB),
		.maximum_kib = pv->guest.pages_max * (PAGE_SIZE / KIB),
		.vcpus = pv->guest.vcpus,
		.store_mpn = vm->p2m[b->store_page],
		.console_mpn = vm->p2m[b->console_page],
		.store_port = b->store_port,
		.console_port = b->console_port,
	};

	pv->store_due = false;
	pv_store_init(pv->store, frame_ptr(start.store_mpn), PV_DOM);
	return pv_store_start(pv->store, &start) == ST_OK;
}

void pv_vm_power_button(struct pv_vm *pv)
{
	if (pv_store_write(pv->store, "control/shutdown", "poweroff") == ST_OK)
		pv_vm_store(pv);
	else
		log_info("%s: no room in its store for control/shutdown", pv->vm->config.name);
}
