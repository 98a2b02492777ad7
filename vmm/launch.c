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

static struct bundle_vms descriptions; // large
static struct bundle bundle;

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
	const char *unsupported = vm_config_unsupported(config);
	struct vm *vm = unsupported ? NULL : vm_create(&bundle, config, error, sizeof(error));
	enum status st;

	if (!vm) {
		refused(config, unsupported ? unsupported : error);
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
	char wrong[64], reason[100];
	bool known = knobs_read(bi, wrong, sizeof(wrong));

	service_init();
	sched_start();
	if (!known) {
		fmt_snprintf(reason, sizeof(reason), "\"%s\" means nothing to the hypervisor", wrong);
		failed("command line", reason);
	} else if (bi->module_count == 0) {
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
