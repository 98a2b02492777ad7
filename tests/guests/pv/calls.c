// SPDX-License-Identifier: MIT
// Hypercalls about the machine and the VM: what each group answers, and what it does with wrong arguments.
#include "tests/guests/pv/pv.h"
#include <xen/errno.h>

// Addresses that are not the guest's to have written: the gate, the M2P, none at all.
static const u64 not_ours[] = {0,
			       GATE_VCPU,
			       GATE_TRUST,
			       GATE_STACK,
			       GATE_PV_INFO,
			       GATE_IDT,
			       MACH2PHYS_VIRT_START,
			       0x800000000000,
			       0x7ffffffff000,
			       ~0ull - 7};

static s64 version(u64 cmd, u64 arg)
{
	return CALL(xen_version, cmd, arg);
}

static void test_version(void)
{
	struct xen_feature_info f = {0};

	check(version(XENVER_version, 0) >> 16 == 4, "version", (u64)version(XENVER_version, 0));
	check(version(XENVER_pagesize, 0) == PAGE_SIZE, "page size", 0);
	check(!version(XENVER_get_features, (u64)&f) && f.submap >> XENFEAT_mmu_pt_update_preserve_ad & 1, "features",
	      f.submap);
	check(version(~0ull, 0) == -XEN_ENOSYS, "unknown command", 0);
	check(hypercall(63, 0, 0, 0, 0) == -XEN_ENOSYS && hypercall(~0ull, 0, 0, 0, 0) == -XEN_ENOSYS, "unknown call",
	      0);
}

// XSA-122: what is behind the end of a text was the hypervisor's stack.
static void test_version_texts(void)
{
	static const struct {
		u8 cmd;
		u16 size;
	} text[] = {{XENVER_extraversion, 16},
		    {XENVER_capabilities, 1024},
		    {XENVER_changeset, 64},
		    {XENVER_commandline, 1024},
		    {XENVER_guest_handle, 16}};
	u8 *to = (u8 *)page(1);

	for (unsigned i = 0; i < ARRAY_SIZE(text); i++) {
		memset(to, 0xa5, PAGE_SIZE);
		if (version(text[i].cmd, (u64)to) < 0)
			continue;
		for (u64 n = strlen((char *)to); n < text[i].size; n++)
			if (!check(!to[n], "a byte behind the text", text[i].cmd))
				break;
		check(to[text[i].size] == 0xa5, "more than the buffer is written", text[i].cmd);
	}
}

// XSA-212 and its like: results go where the guest's tables say that it may write, whatever the address.
static void test_results(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(not_ours); i++) {
		u64 at = not_ours[i];

		for (unsigned cmd = 0; cmd < 12; cmd++)
			if (at)
				check(cmd == XENVER_version || cmd == XENVER_pagesize || version(cmd, at) < 0,
				      "version", at);
		for (unsigned cmd = 0; cmd < 30; cmd++)
			if (cmd != XENMEM_maximum_ram_page && at)
				check(CALL(memory_op, cmd, at) <= 0, "memory", cmd);
		for (unsigned cmd = 0; cmd < 14; cmd++)
			if (at)
				check(CALL(event_channel_op, cmd, at) < 0, "events", at);
		if (at) {
			check(CALL(vcpu_op, VCPUOP_get_runstate_info, 0, at) < 0, "run state", at);
			check(CALL(sched_op, SCHEDOP_poll, at) < 0 && CALL(set_trap_table, at) < 0 &&
				      CALL(set_gdt, at, 8) < 0,
			      "arguments", at);
			check(CALL(console_io, CONSOLEIO_write, 8, at) < 0 && CALL(multicall, at, 1) < 0 &&
				      CALL(mmu_update, at, 1, 0, DOMID_SELF) < 0,
			      "lists", at);
		}
	}
}

static void test_exchange(void)
{
	u64 list[1] = {mfn_of(page(1))};

	for (unsigned i = 0; i < ARRAY_SIZE(not_ours); i++) {
		u64 done = not_ours[i] / 8;
		struct xen_memory_exchange x = {.in = {.nr_extents = done + 1, .domid = DOMID_SELF},
						.out = {.nr_extents = done + 1, .domid = DOMID_SELF},
						.nr_exchanged = done};

		x.in.extent_start.p = (void *)((u64)list - not_ours[i]);
		x.out.extent_start.p = (void *)not_ours[i];
		check(CALL(memory_op, XENMEM_exchange, &x) < 0, "exchange", not_ours[i]);
	}
}

static s64 reservation(unsigned cmd, u64 *list, u64 n, unsigned order, unsigned mem_flags)
{
	struct xen_memory_reservation r = {.nr_extents = n,
					   .extent_order = order,
					   .mem_flags = mem_flags,
					   .domid = DOMID_SELF};

	r.extent_start.p = (void *)list;
	return CALL(memory_op, cmd, &r);
}

// XSA-231: a node that is none; pages that come back are empty and not somebody's.
static void test_reservation(void)
{
	u64 *p = page(1), mfn = mfn_of(p), list[1] = {mfn};

	memset(p, 0x5a, PAGE_SIZE);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 0, "a page that is mapped goes", 0);
	check(!remap(p, 0), "unmap", 0);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 1, "a page goes", 0);
	check(reservation(XENMEM_decrease_reservation, list, 1, 0, 0) == 0, "it goes twice", 0);
	check(CALL(update_va_mapping, p, mfn << PAGE_SHIFT | KERNEL_RW, 0) < 0, "it is still mapped", 0);
	for (unsigned order = 9; order < 64; order += 11)
		check(reservation(XENMEM_increase_reservation, list, 1, order, 0) <= 0, "large extents", order);
	list[0] = (u64)p >> PAGE_SHIFT;
	check(reservation(XENMEM_populate_physmap, list, 1, 0, 0xff00) == 1, "a page comes, on node 254", 0);
	((u64 *)start_info->mfn_list)[(u64)p >> PAGE_SHIFT] = list[0];
	p = (u64 *)((u64)p & ~PAGE_MASK);
	check(!remap(p, KERNEL_RW), "it can be mapped", list[0]);
	for (unsigned i = 0; i < 512; i++)
		if (!check(!p[i], "it is not empty", p[i]))
			break;
	check(reservation(XENMEM_increase_reservation, list, 1, 0, 0) == 0, "more than at the start", 0);
}

static void test_timer(void)
{
	struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = 1};
	struct evtchn_bind_virq b = {.virq = VIRQ_TIMER};
	unsigned before = events;

	check(!CALL(event_channel_op, EVTCHNOP_bind_virq, &b), "bind", 0);
	shared()->evtchn_mask[0] &= ~BIT(b.port);
	check(!CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t), "set", 0);
	check(!CALL(sched_op, SCHEDOP_block), "block", 0);
	check(events > before && (shared()->evtchn_pending[0] >> b.port & 1), "nothing came", events);
	t.flags = VCPU_SSHOTTMR_future;
	check(CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t) == -XEN_ETIME, "what is past", 0);
	check(!CALL(set_timer_op, ~0ull >> 1) && !CALL(set_timer_op, 0), "old call", 0);
	check(!CALL(event_channel_op, EVTCHNOP_close, &b.port), "close", 0);
}

// XSA-296: a vCPU that is not there, or is; contexts of any kind.
static void test_vcpu(void)
{
	u64 *context = page(1);

	check(CALL(vcpu_op, VCPUOP_is_up, 0) == 1 && CALL(vcpu_op, VCPUOP_is_up, 1) < 0, "is up", 0);
	memset(context, 0xff, PAGE_SIZE);
	for (unsigned v = 0; v < 70; v++)
		check(CALL(vcpu_op, VCPUOP_initialise, v, context) < 0 &&
			      CALL(vcpu_op, VCPUOP_initialise, v, ~0ull - 4095) < 0,
		      "initialise", v);
	for (unsigned cmd = 0; cmd < 32; cmd++)
		check(CALL(vcpu_op, cmd, ~0u, context) < 0, "a vCPU without end", cmd);
}

static void test_multicall(void)
{
	struct multicall_entry *e = (struct multicall_entry *)(page(1) + 512) - 3; // up to a page that is not there

	e[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_multicall, .args = {(u64)e, 3}};
	e[2] = (struct multicall_entry){.op = 63};
	check(!remap(page(2), 0) && !CALL(multicall, e, 3), "it fails", 0);
	check(e[0].result == PAGE_SIZE && (s64)e[1].result < 0 && (s64)e[2].result == -XEN_ENOSYS, "results",
	      e[0].result);
	check(CALL(multicall, e, ~0u) < 0, "without end", 0);
}

static void rd(u64 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"((u32)msr));
}

static u64 msr_value;

static void wr(u64 msr)
{
	__asm__ volatile("wrmsr" : : "c"((u32)msr), "a"((u32)msr_value), "d"((u32)(msr_value >> 32)));
}

// XSA-193: bases that are no addresses; XSA-333: MISC_ENABLE.
static void test_bases(void)
{
	static const u64 bad[] = {0x800000000000, 0xffff7fffffffffff, 1ull << 63, 0x7fffffffffffffff};
	u64 was;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned which = 0; which < 3; which++)
			check(CALL(set_segment_base, which, bad[i]) < 0, "call", bad[i]);
		msr_value = bad[i];
		for (unsigned msr = 0xc0000100; msr <= 0xc0000102; msr++)
			check(attempt(wr, msr) == CAME(VEC_GP), "MSR", msr);
	}
	check(CALL(set_segment_base, 7, 0) < 0, "which", 0);
	for (unsigned sel = 0; sel < 0x10000; sel += 0x35)
		(void)CALL(set_segment_base, SEGBASE_GS_USER_SEL, sel);
	check(!CALL(set_segment_base, SEGBASE_GS_KERNEL, bad), "kernel's", 0);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(was));
	check(was == bad[0], "kernel's has no effect", was);
	(void)CALL(set_segment_base, SEGBASE_GS_KERNEL, 0);
	msr_value = ~0ull;
	for (unsigned msr = 0x1a0; msr < 0x1b0; msr++) {
		(void)attempt(rd, msr);
		(void)attempt(wr, msr);
	}
}

// MOV to a debug register is the hypervisor's to do: what the hypercall refuses, it refuses. Breakpoints at ports are for CR4.DE.
static void mov_dr7(u64 value)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(value));
}

static void mov_dr0(u64 value)
{
	__asm__ volatile("mov %0, %%dr0" : : "r"(value));
}

static void test_debug_registers(void)
{
	static const u64 bad[] = {0x20401, 0x2400, 0x200000400 | 1};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		check(CALL(set_debugreg, 7, bad[i]) < 0, "DR7 by hypercall", bad[i]);
		check(attempt(mov_dr7, bad[i]) == CAME(VEC_GP), "DR7 by MOV", bad[i]);
	}
	for (u64 at = HYPERVISOR_VIRT_START; at < HYPERVISOR_VIRT_END; at += 1ull << 40) {
		check(CALL(set_debugreg, 0, at) < 0, "DR0 by hypercall", at);
		check(attempt(mov_dr0, at) == CAME(VEC_GP), "DR0 by MOV", at);
	}
	check(CALL(get_debugreg, 7) == 0x400 && !CALL(get_debugreg, 0), "nothing is set", 0);
	check(!attempt(mov_dr0, (u64)bad) && CALL(get_debugreg, 0) == (s64)bad && !attempt(mov_dr0, 0), "what may be",
	      0);
}

static void test_rest(void)
{
	struct physdev_set_iopl iopl = {.iopl = 4};

	check(CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl) < 0 && CALL(physdev_op, 99, &iopl) < 0, "devices", 0);
	check(CALL(vm_assist, VMASST_CMD_enable, 63) < 0 && CALL(vm_assist, 9, 0) < 0, "assists", 0);
	check(CALL(set_debugreg, 8, 0) < 0 && CALL(set_debugreg, 7, 1ull << 32) < 0, "debug registers", 0);
	check(!CALL(set_debugreg, 0, &iopl) && CALL(get_debugreg, 0) == (s64)&iopl && !CALL(set_debugreg, 0, 0),
	      "what was set", 0);
	check(!CALL(fpu_taskswitch, 0), "FPU", 0);
	check(CALL(sched_op, SCHEDOP_shutdown, &(struct sched_shutdown){77}) < 0 && CALL(sched_op, 77, 0) < 0,
	      "scheduling", 0);
	check(!CALL(sched_op, SCHEDOP_yield), "yield", 0);
	check(CALL(nmi_op, 9, 0) < 0 && CALL(callback_op, 9, 0) < 0, "callbacks", 0);
}

const struct pv_case call_cases[] = {
	{"version", test_version, false},
	{"xsa-122-version-texts", test_version_texts, false},
	{"xsa-212-results", test_results, false},
	{"xsa-212-exchange", test_exchange, false},
	{"xsa-231-reservation", test_reservation, false},
	{"timer", test_timer, false},
	{"xsa-296-vcpu", test_vcpu, false},
	{"multicall", test_multicall, false},
	{"xsa-193-333-bases", test_bases, false},
	{"debug-registers", test_debug_registers, false},
	{"rest", test_rest, false},
	{0},
};
