// SPDX-License-Identifier: MIT
#include "vmm/integrity.h"

#include "base/assert.h"
#include "base/log.h"
#include "machine/mm/frames.h"
#include "vmm/knobs.h"
#include "vmm/pv.h"

extern const char image_start[], image_rodata_end[];

static u64 image_sum, frames_free_before;
static unsigned vms_checked;

// FNV-1a by words: any change of the image shows.
static u64 sum_image(void)
{
	u64 h = 0xcbf29ce484222325;

	for (const u64 *p = (const u64 *)image_start; p < (const u64 *)image_rodata_end; p++)
		h = (h ^ *p) * 0x100000001b3;
	return h;
}

void integrity_start(void)
{
	if (!vmm_knobs.check)
		return;
	image_sum = sum_image();
	frames_free_before = frame_counts().free;
}

static void violation(void *ctx, const char *text)
{
	log_err("%s: audit: %s", ((struct vm *)ctx)->config.name, text);
}

static void log_stress(const struct vm *vm)
{
	u64 checks, reduced;

	if (!vm->stress)
		return;
	shadow_stress_counts(vm->stress, &checks, &reduced);
	log_info("%s: stress: %lu entries checked, %lu rights reduced by single flushes, each announced", vm->config.name, (unsigned long)checks,
		 (unsigned long)reduced);
}

void integrity_vm(struct vm *vm)
{
	unsigned n;

	log_stress(vm);

	if (!vmm_knobs.check || (!vm->shadow && !vm->pv) || vm->restarting) // then its memory is half cleared
		return;
	n = vm->pv ? pv_vm_audit(vm, violation) : shadow_audit(vm->shadow, violation, vm);
	if (n)
		panic("%s: %u violations in the %s", vm->config.name, n, vm->pv ? "counts of frames" : "shadow tables");
	if (!gate_intact(&vm->vcpu.gate))
		panic("%s: the gate's read-only pages have changed", vm->config.name);
	if (sum_image() != image_sum)
		panic("%s: the hypervisor's image has changed", vm->config.name);
	vms_checked++;
}

void integrity_end(unsigned records)
{
	u64 now = frame_counts().free + records;

	if (!vmm_knobs.check)
		return;
	if (now != frames_free_before)
		panic("%lu frames free before the first VM, %lu after the last", (unsigned long)frames_free_before,
		      (unsigned long)now);
	log_info("integrity: %u VMs checked, image as it was, %lu frames free as before", vms_checked,
		 (unsigned long)now);
}
