// SPDX-License-Identifier: MIT
// From the bundle that the machine was started with to running VMs, and the end of the machine.
#include "vmm/launch.h"

#include "abi/control.h"
#include "base/fmt.h"
#include "base/log.h"
#include "machine/boot/boot_info.h"
#include "machine/mm/frames.h"
#include "vmm/com1.h"
#include "vmm/control.h"
#include "vmm/integrity.h"
#include "vmm/knobs.h"
#include "vmm/sched.h"
#include "vmm/service.h"
#include "vmm/vms.h"

struct vmm_knobs vmm_knobs;
static struct bundle_vms descriptions; // large
static struct bundle bundle;

static u64 number_or(const struct boot_info *bi, const char *key, u64 unset)
{
	char text[24];
	u64 n = 0;

	if (!boot_option(bi, key, text, sizeof(text)))
		return unset;
	for (const char *p = text; *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (u64)(*p - '0');
	return n;
}

static u64 number(const struct boot_info *bi, const char *key)
{
	return number_or(bi, key, 0);
}

#ifdef TRAPEZE_DEBUG
#define COUNT_BY_DEFAULT 1
#else
#define COUNT_BY_DEFAULT 0
#endif

static void read_knobs(const struct boot_info *bi)
{
	vmm_knobs.block_limit = number(bi, "bt.limit");
	vmm_knobs.count_instructions = number_or(bi, "bt.count", COUNT_BY_DEFAULT);
	vmm_knobs.compare = number(bi, "bt.compare");
	vmm_knobs.compare_from = number(bi, "bt.compare_from");
	vmm_knobs.compare_user = number(bi, "bt.compare_user");
	vmm_knobs.plant = number(bi, "bt.plant");
	vmm_knobs.cache = number_or(bi, "bt.cache", KNOB_UNSET);
	vmm_knobs.check = number(bi, "check");
	vmm_knobs.stress = number(bi, "mmu.stress");
	vmm_knobs.audit = number(bi, "mmu.audit");
	vmm_knobs.no_markers = number_or(bi, "mmu.markers", 1) == 0;
	vmm_knobs.no_prefetch = number_or(bi, "mmu.prefetch", 1) == 0;
	vmm_knobs.no_rows = number_or(bi, "mmu.rows", 1) == 0;
	vmm_knobs.x2apic = number(bi, "cpu.x2apic");
	vmm_knobs.pcid = number(bi, "cpu.pcid");
}

static void failed(const char *name, const char *reason)
{
	log_err("%s: %s", name, reason);
	control_vm_ended(&service_control, name, TZ_END_CRASH, reason, 0);
}

static void refused(const struct vm_config *config, const char *reason)
{
	spin_lock(&vms_lock);
	vms_refused(config, reason);
	spin_unlock(&vms_lock);
	failed(config->name, reason);
}

static void start_vm(const struct vm_config *config)
{
	char error[200] = "";
	struct vm *vm = vm_create(&bundle, config, error, sizeof(error));
	enum status st;

	if (!vm) {
		refused(config, error);
		return;
	}
	spin_lock(&vms_lock);
	st = vm_start(vm);
	spin_unlock(&vms_lock);
	if (st == ST_OK)
		return;
	refused(config, st == ST_BUSY ? "there is a VM of that name" : "too many VMs");
	vm_free(vm);
	vm_forget(vm);
}

void vmm_launch(const struct boot_info *bi)
{
	read_knobs(bi);
	service_init();
	sched_start();
	if (bi->module_count == 0) {
		log_err("no bundle: start with `trapeze run VMFILE`, or give the loader a bundle as first module");
	} else if (bundle_open(&bundle, (const u8 *)frame_ptr(0) + bi->modules[0].start, bi->modules[0].len) != ST_OK) {
		failed("bundle", "the first module is not a bundle");
	} else if (bundle_vms(&bundle, &descriptions) != ST_OK) {
		failed("bundle", descriptions.error ? descriptions.error : "damaged");
	} else {
		com1_start(bi, descriptions.count);
		integrity_start();
		for (unsigned i = 0; i < descriptions.count; i++) {
			vm_expect(descriptions.count - i);
			start_vm(&descriptions.vm[i]);
		}
	}
	if (!vms_living())
		service_shutdown();
	sched_run_others();
	sched_run();
}
