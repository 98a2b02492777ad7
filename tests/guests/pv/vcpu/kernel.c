// SPDX-License-Identifier: MIT
// vcpu_op: what is told of a vCPU, where the guest wants it, and vCPUs that are not there.
#include "tests/guests/pv/harness/pv.h"

static void test_vcpu(void)
{
	struct vcpu_runstate_info r = {.state = 77};
	struct vcpu_register_runstate_memory_area a = {0};
	struct vcpu_register_vcpu_info info = {.mfn = mfn_of((void *)start_info->pt_base)};
	struct vcpu_runstate_info *area = (struct vcpu_runstate_info *)page(1);
	struct vcpu_set_periodic_timer p = {.period_ns = 1};
	u64 *odd = page(2);

	check(CALL(vcpu_op, VCPUOP_is_up, 0) == 1 && CALL(vcpu_op, VCPUOP_is_up, 1) < 0, "is up", 0);
	check(!CALL(vcpu_op, VCPUOP_up, 0) && CALL(vcpu_op, VCPUOP_up, 1) < 0 && CALL(vcpu_op, VCPUOP_down, 1) < 0,
	      "up", 0);
	check(!CALL(vcpu_op, VCPUOP_get_runstate_info, 0, &r) && r.state == RUNSTATE_running &&
		      r.time[RUNSTATE_running],
	      "run state", (u64)r.state);
	a.addr.p = (u64)area;
	area->state = 77;
	check(!CALL(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &a) && area->state == RUNSTATE_running,
	      "its area", (u64)area->state);
	a.addr.p = UNCANONICAL;
	check(CALL(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &a) < 0, "an area that is none", 0);
	a.addr.p = GATE_TRUST; // found out when it is written
	(void)CALL(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &a);
	a.addr.p = 0;
	(void)CALL(vcpu_op, VCPUOP_register_runstate_memory_area, 0, &a);
	check(CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "vcpu_info in a table", 0);
	for (u64 mfn = 0; mfn < 64; mfn++) {
		info.mfn = mfn;
		check(is_own(mfn) || CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "in a frame of others",
		      mfn);
	}
	info.mfn = mfn_of(odd);
	for (info.offset = 4096 - 63; info.offset < 8192; info.offset += 31)
		check(CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "over the end", info.offset);
	info.offset = 4;
	check(CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "within a word", 0);
	check(CALL(vcpu_op, VCPUOP_set_periodic_timer, 0, &p) < 0 && !CALL(vcpu_op, VCPUOP_stop_periodic_timer, 0),
	      "a period of 1 ns", 0);
	p.period_ns = ~0ull;
	check(CALL(vcpu_op, VCPUOP_set_periodic_timer, 0, &p) < 0, "a period without end", 0);
	check(CALL(vcpu_op, 99, 0, &p) < 0 && CALL(vcpu_op, VCPUOP_send_nmi, 0, 1) < 0, "operation", 0);
}

// vcpu_info in a page of the guest's: held while it is there, and events go by it. At the end, for it stays.
static void test_vcpu_info(void)
{
	u64 *at = page(3);
	struct vcpu_register_vcpu_info info = {.mfn = mfn_of(at), .offset = 512};
	struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};

	check(!CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info), "register", 0);
	check(CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "twice", 0);
	check(!remap(at, KERNEL_RO) && ext(MMUEXT_PIN_L1_TABLE, mfn_of(at), 0) < 0, "a table while it is there", 0);
	check(!remap(at, 0), "unmap", 0);
	r.extent_start.p = (void *)&info.mfn;
	check(!CALL(memory_op, XENMEM_decrease_reservation, &r), "given back while it is there", 0);
	check(!remap(at, KERNEL_RW) && ((struct vcpu_info *)(at + 64))->evtchn_upcall_pending, "all is looked at once",
	      0);
	check(CALL(xen_version, 0, 0) > 0, "and the guest goes on", 0);
}

const struct pv_case cases[] = {
	{"vcpu", test_vcpu, false},
	{"vcpu-info", test_vcpu_info, false},
	{0},
};
