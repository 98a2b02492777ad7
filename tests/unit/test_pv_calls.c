// SPDX-License-Identifier: MIT
// Every hypercall of the paravirtual interface but traps and grants: what each operation does, each error that Xen's headers and Xen
// 4.17 have for it, and calls that go on in pieces. After each call the audit agrees.
#include "tests/unit/pv_test.h"

#include <xen/errno.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

// ---- version, console

static void test_version(void **state)
{
	static const unsigned texts[] = {XENVER_extraversion,	XENVER_compile_info, XENVER_capabilities, XENVER_changeset,
					 XENVER_platform_parameters, XENVER_guest_handle, XENVER_commandline};
	struct xen_feature_info f = {0};

	IS(CALL(&m, xen_version, XENVER_version, 0), 4 << 16 | 17);
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		IS(CALL(&m, xen_version, texts[i], ARGS), 0);
		IS(CALL(&m, xen_version, texts[i], UNMAPPED), -XEN_EFAULT);
		IS(CALL(&m, xen_version, texts[i], m_va(M_L4)), -XEN_EFAULT);
	}
	IS(CALL(&m, xen_version, XENVER_capabilities, ARGS), 0);
	assert_string_equal(m_args(&m), "xen-3.0-x86_64 ");
	IS(CALL(&m, xen_version, XENVER_get_features, WITH(f)), 0);
	memcpy(&f, m_args(&m), sizeof(f));
	assert_true(f.submap & 1u << XENFEAT_mmu_pt_update_preserve_ad && f.submap & 1u << XENFEAT_gnttab_map_avail_bits);
	f.submap_idx = 1;
	IS(CALL(&m, xen_version, XENVER_get_features, WITH(f)), -XEN_EINVAL);
	IS(CALL(&m, xen_version, XENVER_get_features, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, xen_version, XENVER_pagesize, 0), PAGE_SIZE);
	IS(CALL(&m, xen_version, XENVER_pagesize, ARGS), -XEN_EINVAL);
	IS(CALL(&m, xen_version, 99, 0), -XEN_ENOSYS);
	IS(machine_call(&m, 47, (u64[5]){0}), -XEN_ENOSYS);
	assert_non_null(strstr(m.said, "hypercall 47"));
	IS(machine_call(&m, 4000, (u64[5]){0}), -XEN_ENOSYS);
	assert_non_null(strstr(m.said, "hypercall 4000"));
	m.said[0] = 0;
	IS(machine_call(&m, 4001, (u64[5]){0}), -XEN_ENOSYS);
	assert_null(strstr(m.said, "4001")); // of the higher numbers one is told of
}

static void test_console(void **state)
{
	IS(CALL(&m, console_io, CONSOLEIO_write, 5000, m_va(M_DATA)), 0);
	assert_int_equal(m.console_bytes, 5000);
	IS(CALL(&m, console_io, CONSOLEIO_write, 5000, m_va(M_LIMIT - 1)), -XEN_EFAULT);
	IS(CALL(&m, console_io, CONSOLEIO_read, 10, ARGS), 0);
	IS(CALL(&m, console_io, 9, 0, 0), -XEN_ENOSYS);
	m.guest.budget = 300;
	m.console_bytes = 0;
	IS(CALL(&m, console_io, CONSOLEIO_write, 20000, m_va(M_DATA)), 0);
	assert_int_equal(m.console_bytes, 20000);
	assert_true(m.pieces > 30);
}

// ---- scheduling

static void test_sched(void **state)
{
	struct vcpu_info *info = m.vcpu.info;

	IS(CALL(&m, sched_op, SCHEDOP_yield, 0), 0);
	assert_true(m.guest.yield);
	info->evtchn_upcall_mask = 1;
	IS(CALL(&m, sched_op, SCHEDOP_block, 0), 0);
	assert_true(m.guest.block && !info->evtchn_upcall_mask && pv_waits(&m.vcpu));
	info->evtchn_upcall_pending = 1;
	assert_false(pv_waits(&m.vcpu));
	IS(CALL(&m, sched_op, SCHEDOP_block, 0), 0);
	assert_false(m.guest.block);
	IS(CALL(&m, sched_op, SCHEDOP_shutdown_code, ARGS), 0);
	IS(CALL(&m, sched_op, SCHEDOP_shutdown_code, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, sched_op, SCHEDOP_shutdown, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, sched_op, SCHEDOP_shutdown, WITH((struct sched_shutdown){SHUTDOWN_suspend})), -XEN_EINVAL);
	IS(CALL(&m, sched_op, SCHEDOP_shutdown, WITH((struct sched_shutdown){77})), -XEN_EINVAL);
	IS(CALL(&m, sched_op, SCHEDOP_remote_shutdown, ARGS), -XEN_ENOSYS);
	assert_int_equal(m.ended, 0);
}

static s64 watchdog(u32 id, u32 timeout)
{
	return CALL(&m, sched_op, SCHEDOP_watchdog, WITH((struct sched_watchdog){id, timeout}));
}

static void test_watchdog(void **state)
{
	u64 start = m.now, second = 1000000000;

	IS(CALL(&m, sched_op, SCHEDOP_watchdog, UNMAPPED), -XEN_EFAULT);
	IS(watchdog(0, 0), -XEN_EINVAL);
	IS(watchdog(1, 5), -XEN_EINVAL); // it is not set
	IS(watchdog(PV_WATCHDOGS + 1, 5), -XEN_EINVAL);
	IS(pv_timer_next(&m.vcpu), ~0ull);
	IS(watchdog(0, 30), 1);
	IS(watchdog(0, 20), 2);
	IS(watchdog(0, 10), -XEN_ENOSPC);
	IS(pv_timer_next(&m.vcpu), start + 20 * second);
	m.now += 10 * second;
	IS(watchdog(2, 40), 0);
	IS(pv_timer_next(&m.vcpu), start + 30 * second);
	IS(watchdog(1, 0), 0);
	IS(watchdog(1, 0), -XEN_EINVAL);
	IS(pv_timer_next(&m.vcpu), start + 50 * second);
	m.now = start + 50 * second - 1;
	pv_timer_advance(&m.vcpu);
	assert_int_equal(m.ended, 0);
	m.now++;
	pv_timer_advance(&m.vcpu);
	assert_true(m.ended == 1 && m.how == PV_END_CRASH && m.guest.over);
	pv_timer_advance(&m.vcpu);
	assert_int_equal(m.ended, 1);
}

static void test_shutdown(void **state)
{
	static const struct {
		unsigned reason;
		enum pv_end how;
	} ends[] = {{SHUTDOWN_poweroff, PV_END_POWEROFF},
		    {SHUTDOWN_reboot, PV_END_REBOOT},
		    {SHUTDOWN_crash, PV_END_CRASH},
		    {SHUTDOWN_watchdog, PV_END_CRASH}};

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		(void)CALL(&m, sched_op, SCHEDOP_shutdown, WITH((struct sched_shutdown){ends[i].reason}));
		assert_true(m.ended == i + 1 && m.how == ends[i].how && m.guest.over);
		m.guest.over = false;
	}
}

static s64 poll(const u32 *ports, unsigned n, u64 timeout)
{
	struct sched_poll p = {.nr_ports = n, .timeout = timeout};

	p.ports.p = (void *)m_va(M_LIST);
	memcpy(m_page(&m, M_LIST), ports, n * sizeof(*ports));
	return CALL(&m, sched_op, SCHEDOP_poll, WITH(p));
}

static void test_poll(void **state)
{
	static const u32 many[129], ports[] = {3, 70};

	m.vcpu.info->evtchn_upcall_mask = 1;
	IS(poll(many, 129, 0), -XEN_EINVAL);
	IS(poll((u32[]){PV_PORTS}, 1, 0), -XEN_EINVAL);
	IS(CALL(&m, sched_op, SCHEDOP_poll, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, sched_op, SCHEDOP_poll, WITH((struct sched_poll){.nr_ports = 1})), -XEN_EFAULT);
	assert_false(m.vcpu.polling);
	IS(poll(ports, 2, 0), 0);
	assert_true(m.guest.block && pv_waits(&m.vcpu) && pv_timer_next(&m.vcpu) == ~0ull);
	m.guest.shared->evtchn_pending[0] = 1u << 4; // another
	assert_true(pv_waits(&m.vcpu));
	m.guest.shared->evtchn_pending[1] = 1u << 6;
	assert_false(pv_waits(&m.vcpu));
	IS(poll(ports, 2, 0), 0); // already there
	assert_false(m.guest.block);
	m.guest.shared->evtchn_pending[1] = 0;
	IS(poll(ports, 2, m.now + 1000), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), m.now + 1000);
	assert_true(pv_waits(&m.vcpu));
	m.now += 1000;
	assert_false(pv_waits(&m.vcpu));
	assert_int_equal(pv_timer_next(&m.vcpu), ~0ull);
	IS(poll(ports, 0, 0), 0); // for anything, masked or not
	assert_true(m.guest.block && pv_waits(&m.vcpu));
	m.vcpu.info->evtchn_upcall_pending = 1;
	assert_false(pv_waits(&m.vcpu));
}

// ---- event channels: what each does is test_pv_events.c's; here is how the arguments go in and out

static void test_events(void **state)
{
	static const unsigned copies[] = {EVTCHNOP_alloc_unbound, EVTCHNOP_bind_interdomain, EVTCHNOP_bind_virq, EVTCHNOP_bind_ipi,
					  EVTCHNOP_bind_vcpu,	  EVTCHNOP_close,	     EVTCHNOP_send,	 EVTCHNOP_status,
					  EVTCHNOP_unmask,	  EVTCHNOP_reset};
	struct evtchn_alloc_unbound *a = m_args(&m);
	struct evtchn_bind_interdomain *b = m_args(&m);
	u32 one, two;

	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++)
		IS(CALL(&m, event_channel_op, copies[i], UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, event_channel_op, EVTCHNOP_init_control, ARGS), -XEN_ENOSYS);
	IS(CALL(&m, event_channel_op, EVTCHNOP_alloc_unbound, WITH((struct evtchn_alloc_unbound){DOMID_SELF, DOMID_SELF, 0})), 0);
	one = a->port;
	IS(CALL(&m, event_channel_op, EVTCHNOP_alloc_unbound, WITH((struct evtchn_alloc_unbound){7, 0, 0})), -XEN_EPERM);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_interdomain, WITH((struct evtchn_bind_interdomain){DOMID_SELF, one, 0})), 0);
	two = b->local_port;
	assert_true(one && two && one != two);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_interdomain, WITH((struct evtchn_bind_interdomain){9, one, 0})), -XEN_ESRCH);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_interdomain,
		WITH((struct evtchn_bind_interdomain){PV_HOST, one, 0})),
	   -XEN_EINVAL);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_virq, WITH((struct evtchn_bind_virq){VIRQ_TIMER, 0, 0})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_virq, WITH((struct evtchn_bind_virq){VIRQ_TIMER, 0, 0})), -XEN_EEXIST);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_ipi, WITH((struct evtchn_bind_ipi){0, 0})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_ipi, WITH((struct evtchn_bind_ipi){1, 0})), -XEN_ENOENT);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_vcpu, WITH((struct evtchn_bind_vcpu){one, 0})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_send, WITH((struct evtchn_send){one})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_send, WITH((struct evtchn_send){900})), -XEN_EINVAL);
	assert_true(m.guest.shared->evtchn_pending[0] >> two & 1);
	IS(CALL(&m, event_channel_op, EVTCHNOP_status, WITH((struct evtchn_status){.dom = DOMID_SELF, .port = one})), 0);
	assert_int_equal(((struct evtchn_status *)m_args(&m))->u.interdomain.port, two);
	IS(CALL(&m, event_channel_op, EVTCHNOP_unmask, WITH((struct evtchn_unmask){two})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_close, WITH((struct evtchn_close){two})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_close, WITH((struct evtchn_close){two})), -XEN_EINVAL);
	IS(CALL(&m, event_channel_op, EVTCHNOP_reset, WITH((struct evtchn_reset){DOMID_SELF})), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_reset, WITH((struct evtchn_reset){3})), -XEN_EPERM);
	m.cpu.gpr[R_RSP] = m_va(M_STACK + 1);
	memset(m_page(&m, M_LIST), 0, PAGE_SIZE); // a result that cannot be written: the kernel sees it, the port is taken
	IS(CALL(&m, mmu_update, WITH((struct mmu_update){m_slot(&m, M_L1, M_LIST), m_entry(&m, M_LIST, M_RO)}), 1, 0, DOMID_SELF), 0);
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_ipi, m_va(M_LIST)), -XEN_EFAULT);
	assert_int_equal(m.guest.events.channel[1].state, PV_IPI);
}

// ---- what is small

static void test_registers(void **state)
{
	IS(CALL(&m, fpu_taskswitch, 1), 0);
	assert_true(m.cpu.cr0 & CR0_TS && m.switched == 1);
	IS(CALL(&m, fpu_taskswitch, 0), 0);
	assert_false(m.cpu.cr0 & CR0_TS);
	IS(CALL(&m, set_segment_base, SEGBASE_FS, 0x1111000), 0);
	IS(CALL(&m, set_segment_base, SEGBASE_GS_USER, 0x2222000), 0);
	IS(CALL(&m, set_segment_base, SEGBASE_GS_KERNEL, 0xffffffff83333000), 0);
	assert_true(m.cpu.seg[SEG_FS].base == 0x1111000 && m.cpu.kernel_gs_base == 0x2222000 && m.cpu.seg[SEG_GS].base == 0xffffffff83333000);
	IS(CALL(&m, set_segment_base, SEGBASE_GS_USER_SEL, 0x33), 0);
	assert_int_equal(m.user_gs, 0x33);
	for (unsigned which = SEGBASE_FS; which <= SEGBASE_GS_KERNEL; which++)
		IS(CALL(&m, set_segment_base, which, 1ull << 50), -XEN_EINVAL);
	IS(CALL(&m, set_segment_base, 9, 0), -XEN_EINVAL);
	IS(CALL(&m, vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);
	assert_int_equal(m.guest.assists, 1u << VMASST_TYPE_writable_pagetables);
	IS(CALL(&m, vm_assist, VMASST_CMD_disable, VMASST_TYPE_writable_pagetables), 0);
	assert_int_equal(m.guest.assists, 0);
	IS(CALL(&m, vm_assist, VMASST_CMD_enable, 31), -XEN_EINVAL);
	IS(CALL(&m, vm_assist, VMASST_CMD_enable, 64), -XEN_EINVAL);
	IS(CALL(&m, vm_assist, 7, VMASST_TYPE_writable_pagetables), -XEN_ENOSYS);
}

static void set_iopl(unsigned level)
{
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iopl, WITH((struct physdev_set_iopl){level})), 0);
}

static bool allowed(unsigned mode)
{
	bool ports, flag;

	m.cpu.seg[SEG_SS].attr = (m.cpu.seg[SEG_SS].attr & ~(3u << 5)) | mode << 5;
	flag = pv_iopl_allows(&m.vcpu);
	ports = pv_port_allowed(&m.vcpu, 0x80, 1) && pv_port_allowed(&m.vcpu, 0xffff, 4);
	assert_int_equal(flag, ports);
	m.cpu.seg[SEG_SS].attr &= ~(3u << 5);
	return ports;
}

// A kernel is of ring 1, unless it asks for its own; who uses ports and CLI is seen to by the level it has asked for.
static void test_iopl(void **state)
{
	assert_false(allowed(0) || allowed(3)); // from the start
	for (unsigned level = 0; level < 4; level++) {
		set_iopl(level);
		assert_true(allowed(0) == (level >= 1) && allowed(3) == (level == 3));
	}
	IS(CALL(&m, vm_assist, VMASST_CMD_enable, VMASST_TYPE_architectural_iopl), 0);
	for (unsigned level = 0; level < 4; level++) {
		set_iopl(level);
		assert_true(allowed(0) && allowed(3) == (level == 3));
	}
	IS(CALL(&m, vm_assist, VMASST_CMD_disable, VMASST_TYPE_architectural_iopl), 0);
	set_iopl(1);
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iopl, WITH((struct physdev_set_iopl){4})), -XEN_EINVAL);
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iopl, UNMAPPED), -XEN_EFAULT);
	assert_true(allowed(0) && !allowed(3)); // what was refused changes nothing
}

static void test_port_map(void **state)
{
	struct physdev_set_iobitmap map = {0};

	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iobitmap, WITH((struct physdev_set_iobitmap){.nr_ports = 65536})), 0);
	assert_false(pv_port_allowed(&m.vcpu, 0x80, 1)); // by no bitmap
	map.bitmap.p = (void *)m_va(M_DATA);
	map.nr_ports = 0x90;
	memset(m_page(&m, M_DATA), 0xff, PAGE_SIZE);
	((u8 *)m_page(&m, M_DATA))[0x80 / 8] = 0x3c; // ports 0x80, 0x81, 0x86 and 0x87
	((u8 *)m_page(&m, M_DATA))[0x88 / 8] = 0xfe; // and 0x88
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iobitmap, WITH(map)), 0);
	assert_true(pv_port_allowed(&m.vcpu, 0x80, 2) && pv_port_allowed(&m.vcpu, 0x87, 2) &&
		    pv_port_allowed(&m.vcpu, 0x86, 2));
	assert_false(pv_port_allowed(&m.vcpu, 0x81, 2) || pv_port_allowed(&m.vcpu, 0x80, 4) ||
		     pv_port_allowed(&m.vcpu, 0x87, 4));
	assert_false(pv_port_allowed(&m.vcpu, 0x7f, 2) || pv_port_allowed(&m.vcpu, 0x8f, 2) ||
		     pv_port_allowed(&m.vcpu, 0xffff, 4));
	((u8 *)m_page(&m, M_DATA))[0x88 / 8] = 0;
	assert_true(pv_port_allowed(&m.vcpu, 0x8f, 1));
	assert_false(pv_port_allowed(&m.vcpu, 0x8f, 2)); // beyond
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iobitmap, WITH((struct physdev_set_iobitmap){.nr_ports = 65537})), -XEN_EINVAL);
	IS(CALL(&m, physdev_op, PHYSDEVOP_set_iobitmap, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, physdev_op, PHYSDEVOP_pirq_eoi_gmfn_v2, ARGS), -XEN_ENOSYS);
}

static void test_debug_registers(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		IS(CALL(&m, set_debugreg, n, 0xffffffff81234000 + n), 0);
		IS(CALL(&m, get_debugreg, n), (s64)(0xffffffff81234000 + n));
		IS(CALL(&m, set_debugreg, n, 1ull << 50), -XEN_EPERM);
		IS(CALL(&m, set_debugreg, n, HYPERVISOR_VIRT_START + 8), -XEN_EPERM);
	}
	IS(CALL(&m, set_debugreg, 6, 0xffffffff), 0);
	IS(CALL(&m, get_debugreg, 6), 0xffffeffful);
	IS(CALL(&m, set_debugreg, 6, 1ull << 32), -XEN_EINVAL);
	IS(CALL(&m, set_debugreg, 7, 1ull << 32), -XEN_EINVAL);
	IS(CALL(&m, set_debugreg, 7, 1u << 13), -XEN_EPERM);
	IS(CALL(&m, set_debugreg, 7, 0x20001), 0); // an I/O port, with CR4.DE
	IS(CALL(&m, get_debugreg, 7), 0x20401);
	for (unsigned n = 4; n < 6; n++) {
		IS(CALL(&m, set_debugreg, n, 0), -XEN_ENODEV);
		IS(CALL(&m, get_debugreg, n), -XEN_ENODEV);
	}
	IS(CALL(&m, set_debugreg, 8, 0), -XEN_ENODEV);
	IS(CALL(&m, get_debugreg, 8), -XEN_ENODEV);
	m.cpu.cr4 &= ~(u64)CR4_DE;
	IS(CALL(&m, set_debugreg, 7, 0x20001), -XEN_EPERM);
	IS(CALL(&m, set_debugreg, 5, 1), 0); // other names
	IS(CALL(&m, get_debugreg, 7), 0x401);
	IS(CALL(&m, get_debugreg, 4), 0xffffeffful);
	m.cpu.dr[2] = (u64)PV_AGAIN; // by MOV: any value may be there
	IS(CALL(&m, get_debugreg, 2), PV_AGAIN);
	assert_int_equal(m.pieces, 1);
}

// ---- page tables

static s64 update(u64 ptr, u64 val)
{
	return CALL(&m, mmu_update, WITH((struct mmu_update){ptr, val}), 1, 0, DOMID_SELF);
}

static void test_mmu_update(void **state)
{
	u64 *leaf = &m_page(&m, M_L1)[400];

	IS(update(m_slot(&m, M_L1, 400), m_entry(&m, M_DATA, M_RW)), 0);
	assert_int_equal(*leaf, m_entry(&m, M_DATA, M_RW));
	IS(update(m_slot(&m, M_L1, 400) | MMU_PT_UPDATE_PRESERVE_AD, m_entry(&m, M_DATA, PTE_P)), 0);
	assert_int_equal(*leaf, m_entry(&m, M_DATA, M_RO | PTE_D));
	IS(update(m_slot(&m, M_L1, 400) | MMU_PT_UPDATE_NO_TRANSLATE, m_entry(&m, M_DATA, PTE_P | PTE_A)), 0);
	assert_int_equal(*leaf, m_entry(&m, M_DATA, M_RO));
	IS(update(m_slot(&m, M_L1, 400), 0), 0);
	IS(update(m_slot(&m, M_L1, 400), m_entry(&m, M_L4, M_RW)), -XEN_EBUSY);		   // a table, writable
	IS(update(m_slot(&m, M_L1, 400), m_entry(&m, M_L4, M_RO)), 0);
	IS(update(m_slot(&m, M_L1, 400), M_FOREIGN << PAGE_SHIFT | M_RO), -XEN_EINVAL);	   // nobody's
	IS(update(m_slot(&m, M_L1, 400), m_entry(&m, M_DATA, M_RO) | 1ull << 45), -XEN_EINVAL); // reserved
	IS(update(m_slot(&m, M_L2, 5), m_entry(&m, M_DATA, M_RW | PTE_PS)), -XEN_EINVAL);
	IS(update(m_slot(&m, M_L2, 5), m_entry(&m, M_L3, M_RW)), -XEN_EINVAL);
	IS(update(m_slot(&m, M_L4, PV_FIRST_OURS), m_entry(&m, M_L3, M_RW)), -XEN_EINVAL);
	IS(update(m_slot(&m, M_L4, 300), m_entry(&m, M_L3, M_RW)), 0); // at a second place
	IS(update(m_slot(&m, M_L4, 300), 0), 0);
	IS(update(m_slot(&m, M_DATA, 3), 0x1234), 0); // no table: 8 bytes
	assert_int_equal(m_page(&m, M_DATA)[3], 0x1234);
	IS(update(M_FOREIGN << PAGE_SHIFT, 0), -XEN_EINVAL);
	IS(update(~7ull, 0), -XEN_EINVAL);
	for (unsigned command = 4; command < 8; command++)
		IS(update(m_slot(&m, M_L1, 400) | command, 0), -XEN_ENOSYS);
	IS(update(m.p2m[M_DATA] << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x5555), 0);
	assert_int_equal(m.told[m.p2m[M_DATA]], 0x5555);
	IS(update(M_FOREIGN << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x5555), -XEN_EINVAL);
	IS(CALL(&m, mmu_update, ARGS, 1, 0, 7), -XEN_ESRCH);
	IS(CALL(&m, mmu_update, ARGS, 1, 0, 0), -XEN_EPERM);
	IS(CALL(&m, mmu_update, ARGS, 1, 0, 1u << 16 | DOMID_SELF), -XEN_EPERM);
	IS(CALL(&m, mmu_update, ARGS, 1, 0, 8u << 16 | DOMID_SELF), -XEN_ESRCH);
	IS(CALL(&m, mmu_update, ARGS, 0, 0, (PV_DOM + 1) << 16 | DOMID_SELF), 0);
	IS(CALL(&m, mmu_update, UNMAPPED, 1, 0, PV_DOM), -XEN_EFAULT);
}

// The count goes on over the pieces, and stops before the one that fails.
static void test_mmu_update_done(void **state)
{
	struct mmu_update *u = m_args(&m);
	u32 *done = (u32 *)m_page(&m, M_LIST);
	unsigned pieces;

	for (unsigned i = 0; i < 100; i++)
		u[i] = (struct mmu_update){m_slot(&m, M_L1, 350 + i), m_entry(&m, M_DATA + i % 7, M_RW)};
	m.guest.budget = 5;
	IS(CALL(&m, mmu_update, ARGS, 100, m_va(M_LIST), DOMID_SELF), 0);
	assert_true(*done == 100 && m.pieces > 20);
	pieces = m.pieces;
	u[77].val = M_FOREIGN << PAGE_SHIFT | M_RO;
	IS(CALL(&m, mmu_update, ARGS, 100, m_va(M_LIST), DOMID_SELF), -XEN_EINVAL);
	assert_true(*done == 77 && m.pieces < pieces);
	IS(CALL(&m, mmu_update, ARGS, 77, UNMAPPED, DOMID_SELF), 0); // cannot be told
	IS(CALL(&m, mmu_update, ARGS + PAGE_SIZE - 32, 100, m_va(M_LIST + 1), DOMID_SELF), -XEN_EINVAL);
}

static void test_update_va(void **state)
{
	u64 va = M_BASE + 400 * PAGE_SIZE;

	IS(CALL(&m, update_va_mapping, va, m_entry(&m, M_DATA, M_RW), UVMF_NONE), 0);
	assert_int_equal(m_page(&m, M_L1)[400], m_entry(&m, M_DATA, M_RW));
	IS(CALL(&m, update_va_mapping, va, m_entry(&m, M_DATA, M_RO), UVMF_TLB_FLUSH | UVMF_ALL), 0);
	IS(CALL(&m, update_va_mapping, va, m_entry(&m, M_DATA, M_RO), UVMF_INVLPG | UVMF_LOCAL), 0);
	IS(CALL(&m, update_va_mapping, va, 0, UVMF_INVLPG | m_va(M_DATA)), 0);
	IS(CALL(&m, update_va_mapping, va, 0, UVMF_INVLPG | UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, update_va_mapping, va, m_entry(&m, M_L2, M_RW), 0), -XEN_EBUSY);
	IS(CALL(&m, update_va_mapping, 0x1000, 0, 0), -XEN_EINVAL);
	IS(CALL(&m, update_va_mapping, 1ull << 60, 0, 0), -XEN_EINVAL);
	IS(CALL(&m, update_va_mapping_otherdomain, va, m_entry(&m, M_DATA, M_RO), 0, DOMID_SELF), 0);
	IS(CALL(&m, update_va_mapping_otherdomain, va, 0, 0, PV_DOM), 0);
	IS(CALL(&m, update_va_mapping_otherdomain, va, 0, 0, 5), -XEN_ESRCH);
	IS(CALL(&m, update_va_mapping_otherdomain, va, 0, 0, 0), -XEN_EPERM);
	IS(CALL(&m, update_va_mapping_otherdomain, 0x1000, 0, 0, PV_DOM), -XEN_EINVAL);
}

static s64 ext(unsigned cmd, u64 arg1, u64 arg2)
{
	return CALL(&m, mmuext_op, WITH((struct mmuext_op){.cmd = cmd, .arg1.mfn = arg1, .arg2.src_mfn = arg2}), 1, 0, DOMID_SELF);
}

static void test_pins(void **state)
{
	for (unsigned level = 0; level < 4; level++) {
		ppn_t table = (const ppn_t[]){M_USER_L1, M_USER_L2, M_USER_L3, M_USER_L4}[level];

		IS(ext(MMUEXT_PIN_L1_TABLE + level, m.p2m[table], 0), 0);
		IS(ext(MMUEXT_PIN_L1_TABLE + level, m.p2m[table], 0), -XEN_EINVAL); // already
		IS(ext(MMUEXT_PIN_L1_TABLE + (level + 1) % 4, m.p2m[table], 0), -XEN_EINVAL);
		IS(ext(MMUEXT_UNPIN_TABLE, m.p2m[table], 0), 0);
		IS(ext(MMUEXT_UNPIN_TABLE, m.p2m[table], 0), -XEN_EINVAL);
		IS(ext(MMUEXT_PIN_L1_TABLE + level, M_FOREIGN, 0), -XEN_EINVAL);
		IS(ext(MMUEXT_PIN_L1_TABLE + level, m.p2m[M_DATA], 0), -XEN_EINVAL); // writable
	}
	IS(ext(MMUEXT_UNPIN_TABLE, M_FOREIGN, 0), -XEN_EINVAL);
	m.guest.budget = 7;
	IS(ext(MMUEXT_PIN_L4_TABLE, m.p2m[M_USER_L4], 0), 0);
	assert_true(m.pieces > 4 * 512 / 7);
	IS(ext(MMUEXT_UNPIN_TABLE, m.p2m[M_USER_L4], 0), 0);
	IS(CALL(&m, xen_version, 0, 0), 4 << 16 | 17); // the next call finds it let go
	assert_true(m.pieces > 4 * 512 / 7);
	assert_int_equal(m.frame[M_USER_L4].done, 0);
	m_page(&m, M_USER_L1)[300] = M_FOREIGN << PAGE_SHIFT | M_RO;
	IS(ext(MMUEXT_PIN_L4_TABLE, m.p2m[M_USER_L4], 0), -XEN_EINVAL);
	IS(CALL(&m, xen_version, 0, 0), 4 << 16 | 17);
	assert_int_equal(m.frame[M_USER_L1].done, 0);
}

static void test_base_pointers(void **state)
{
	m_page(&m, M_USER_L4)[272] = m_entry(&m, M_L3, M_RW); // it is one for the kernel, too
	m.guest.budget = 50;
	IS(ext(MMUEXT_NEW_BASEPTR, m.p2m[M_USER_L4], 0), 0);
	assert_true(m.loaded == m.p2m[M_USER_L4] && m.vcpu.root == m.loaded);
	IS(ext(MMUEXT_NEW_BASEPTR, m.p2m[M_USER_L4], 0), 0);
	IS(ext(MMUEXT_NEW_BASEPTR, m.p2m[M_L3], 0), -XEN_EINVAL);
	IS(ext(MMUEXT_NEW_BASEPTR, m.p2m[M_DATA], 0), -XEN_EINVAL);
	IS(ext(MMUEXT_NEW_BASEPTR, M_FOREIGN, 0), -XEN_EINVAL);
	IS(ext(MMUEXT_NEW_BASEPTR, m.p2m[M_L4], 0), 0);
	IS(ext(MMUEXT_NEW_USER_BASEPTR, m.p2m[M_USER_L4], 0), 0);
	assert_int_equal(m.vcpu.user_root, m.p2m[M_USER_L4]);
	IS(ext(MMUEXT_NEW_USER_BASEPTR, m.p2m[M_USER_L4], 0), 0);
	IS(ext(MMUEXT_NEW_USER_BASEPTR, m.p2m[M_DATA], 0), -XEN_EINVAL);
	IS(ext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0);
	assert_int_equal(m.vcpu.user_root, MPN_NONE);
	assert_int_equal(m.seen_root_gone, 3);
	IS(ext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0);
}

static void test_mmuext(void **state)
{
	IS(ext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0), 0);
	IS(ext(MMUEXT_INVLPG_LOCAL, 0x1000, 0), 0);
	IS(ext(MMUEXT_TLB_FLUSH_ALL, 0, 0), 0);
	IS(ext(MMUEXT_INVLPG_ALL, 0x1000, 0), 0);
	IS(ext(MMUEXT_TLB_FLUSH_MULTI, 0, m_va(M_DATA)), 0);
	IS(ext(MMUEXT_TLB_FLUSH_MULTI, 0, UNMAPPED), -XEN_EINVAL);
	IS(ext(MMUEXT_INVLPG_MULTI, 0, m_va(M_DATA)), 0);
	IS(ext(MMUEXT_INVLPG_MULTI, 0, UNMAPPED), -XEN_EINVAL);
	IS(ext(MMUEXT_FLUSH_CACHE, 0, 0), -XEN_EACCES);
	IS(ext(MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0), -XEN_EINVAL);
	IS(ext(MMUEXT_MARK_SUPER, m.p2m[M_DATA], 0), -XEN_EOPNOTSUPP);
	IS(ext(MMUEXT_UNMARK_SUPER, m.p2m[M_DATA], 0), -XEN_EOPNOTSUPP);
	IS(ext(60, 0, 0), -XEN_ENOSYS);
	m_page(&m, M_DATA)[9] = 0x99;
	IS(ext(MMUEXT_COPY_PAGE, m.p2m[M_DATA + 1], m.p2m[M_DATA]), 0);
	assert_int_equal(m_page(&m, M_DATA + 1)[9], 0x99);
	IS(ext(MMUEXT_COPY_PAGE, m.p2m[M_DATA], m.p2m[M_DATA]), 0);
	IS(ext(MMUEXT_CLEAR_PAGE, m.p2m[M_DATA], 0), 0);
	assert_int_equal(m_page(&m, M_DATA)[9], 0);
	IS(ext(MMUEXT_COPY_PAGE, m.p2m[M_DATA], m.p2m[M_L1]), 0); // tables may be looked at
	IS(ext(MMUEXT_CLEAR_PAGE, m.p2m[M_L1], 0), -XEN_EINVAL);
	IS(ext(MMUEXT_COPY_PAGE, m.p2m[M_L1], m.p2m[M_L1]), -XEN_EINVAL);
	IS(ext(MMUEXT_COPY_PAGE, m.p2m[M_DATA], M_FOREIGN), -XEN_EINVAL);
	IS(ext(MMUEXT_COPY_PAGE, M_FOREIGN, m.p2m[M_DATA]), -XEN_EINVAL);
	IS(ext(MMUEXT_CLEAR_PAGE, M_FOREIGN, 0), -XEN_EINVAL);
	IS(CALL(&m, mmuext_op, ARGS, 1, 0, 3), -XEN_ESRCH);
	IS(CALL(&m, mmuext_op, ARGS, 1, 0, 0), -XEN_EPERM);
	IS(CALL(&m, mmuext_op, UNMAPPED, 1, 0, DOMID_SELF), -XEN_EFAULT);
}

// ---- descriptor tables

#define CODE 0x00affb000000ffffull
#define TSS 0x00008b000000ffffull

static void unmap_page(ppn_t page)
{
	IS(update(m_slot(&m, M_L1, (unsigned)page), m_entry(&m, page, M_RO)), 0);
}

static void test_gdt(void **state)
{
	u64 *list = m_args(&m);

	m_page(&m, M_GDT)[5] = CODE;
	list[0] = m.p2m[M_GDT];
	IS(CALL(&m, set_gdt, ARGS, 16), 0);
	assert_true(m.gdt[5] == CODE && m.vcpu.gdt_entries == 16 && m.frame[M_GDT].type == PV_DESCRIPTORS);
	IS(update(m_slot(&m, M_L1, M_GDT), m_entry(&m, M_GDT, M_RW)), -XEN_EBUSY);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 6), CODE), 0);
	assert_true(m.gdt[6] == CODE && m_page(&m, M_GDT)[6] == CODE);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 300), CODE), 0); // behind the limit
	assert_int_equal(m.gdt[300], 0);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 6), TSS), -XEN_EINVAL);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 6), TSS & ~(0xfull << 40)), 0); // harmless
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 6), TSS & ~(1ull << 47)), 0);	 // absent
	IS(CALL(&m, update_descriptor, m_slot(&m, M_GDT, 6) + 4, CODE), -XEN_EINVAL);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_L1, 6), CODE), -XEN_EINVAL);
	IS(CALL(&m, update_descriptor, M_FOREIGN << PAGE_SHIFT, CODE), -XEN_EINVAL);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_DATA, 6), CODE), 0); // where the guest may write, too
	assert_int_equal(m_page(&m, M_DATA)[6], CODE);
	IS(update(m_slot(&m, M_GDT, 6), CODE), -XEN_EINVAL); // not that way
	list[0] = m.p2m[M_DATA];
	IS(CALL(&m, set_gdt, ARGS, 16), -XEN_EINVAL);
	assert_int_equal(m.gdt[5], CODE);
	list[0] = m.p2m[M_LDT], list[1] = M_FOREIGN;
	IS(CALL(&m, set_gdt, ARGS, 513), -XEN_EINVAL);
	IS(CALL(&m, set_gdt, ARGS, FIRST_RESERVED_GDT_ENTRY + 1), -XEN_EINVAL);
	IS(CALL(&m, set_gdt, UNMAPPED, 1), -XEN_EFAULT);
	list[0] = m.p2m[M_LDT], list[1] = m.p2m[M_GDT];
	IS(CALL(&m, set_gdt, ARGS, 1024), 0);
	assert_true(m.gdt[512 + 5] == CODE && !m.gdt[5]);
	IS(CALL(&m, set_gdt, ARGS, 0), 0);
	assert_false(m.gdt[512 + 5] || m.frame[M_GDT].uses);
}

static void test_ldt(void **state)
{
	unmap_page(M_LIST);
	m_page(&m, M_LDT)[1] = CODE;
	m_page(&m, M_LIST)[2] = CODE;
	IS(ext(MMUEXT_SET_LDT, m_va(M_LDT), 512), 0);
	assert_true(m.ldt[1] == CODE && m.ldt_entries == 512 && m.frame[M_LDT].type == PV_DESCRIPTORS);
	IS(CALL(&m, update_descriptor, m_slot(&m, M_LDT, 3), CODE), 0);
	assert_int_equal(m.ldt[3], CODE);
	IS(ext(MMUEXT_SET_LDT, m_va(M_LIST), 3), 0);
	assert_true(!m.ldt[1] && m.ldt[2] == CODE && m.ldt_entries == 3 && !m.frame[M_LDT].uses);
	IS(ext(MMUEXT_SET_LDT, m_va(M_LDT) + 8, 512), -XEN_EINVAL);
	IS(ext(MMUEXT_SET_LDT, m_va(M_LDT), 8193), -XEN_EINVAL);
	IS(ext(MMUEXT_SET_LDT, 1ull << 52, 1), -XEN_EINVAL);
	assert_int_equal(m.ldt_entries, 3);
	IS(ext(MMUEXT_SET_LDT, m_va(M_DATA), 4), 0); // what is writable is not there
	assert_true(!m.ldt[2] && m.ldt_entries == 4 && m.vcpu.ldt[0] == MPN_NONE);
	IS(ext(MMUEXT_SET_LDT, 0, 0), 0);
	assert_int_equal(m.ldt_entries, 0);
}

// ---- memory

static s64 reservation(unsigned op, unsigned n, unsigned order, u64 list)
{
	struct xen_memory_reservation r = {.nr_extents = n, .extent_order = order, .domid = DOMID_SELF};

	r.extent_start.p = (void *)list;
	return CALL(&m, memory_op, op, WITH(r));
}

#define BALLOON 200u // pages from here on go

static void let_pages_go(unsigned n)
{
	u64 *list = m_page(&m, M_LIST);

	for (unsigned i = 0; i < n; i++) {
		IS(update(m_slot(&m, M_L1, BALLOON + i), 0), 0);
		list[i] = m.p2m[BALLOON + i];
	}
}

static void test_balloon(void **state)
{
	u64 *list = m_page(&m, M_LIST), first;

	list[0] = m.p2m[BALLOON];
	IS(reservation(XENMEM_decrease_reservation, 1, 0, m_va(M_LIST)), 0); // mapped yet
	let_pages_go(20);
	first = list[0];
	list[15] = M_FOREIGN;
	m.guest.budget = 3;
	IS(reservation(XENMEM_decrease_reservation, 20, 0, m_va(M_LIST)), 15);
	assert_true(m.pieces > 4 && m.guest.pages == M_PAGES - 15);
	IS(update(m_slot(&m, M_L1, 400), first << PAGE_SHIFT | M_RO), -XEN_EINVAL); // it is gone
	IS(CALL(&m, memory_op, XENMEM_current_reservation, WITH((domid_t){DOMID_SELF})), M_PAGES - 15);
	for (unsigned i = 0; i < 15; i++)
		list[i] = 5000 + i;
	IS(reservation(XENMEM_populate_physmap, 10, 0, m_va(M_LIST)), 10);
	for (unsigned i = 0; i < 10; i++) {
		assert_true(m_ppn(&m, list[i]) != PPN_NONE);
		assert_int_equal(m.told[list[i]], 5000 + i);
		IS(update(m_slot(&m, M_L1, 450 + i), list[i] << PAGE_SHIFT | M_RW), 0);
	}
	IS(CALL(&m, memory_op, XENMEM_populate_physmap | 12u << 6, ARGS), 12); // from there on: nothing is left to do
	m.populate_fails = true;
	IS(reservation(XENMEM_populate_physmap, 2, 0, m_va(M_LIST)), 0);
	m.populate_fails = false;
	IS(reservation(XENMEM_populate_physmap, 2, 0, UNMAPPED), 0);
	IS(reservation(XENMEM_increase_reservation, 2, 0, m_va(M_LIST)), 2);
	IS(reservation(XENMEM_increase_reservation, 1, 0, 0), 1); // without being told
	IS(reservation(XENMEM_increase_reservation, 1, 0, UNMAPPED), 0);
	assert_int_equal(m.guest.pages, M_PAGES - 2);
	IS(reservation(XENMEM_increase_reservation, 9, 0, m_va(M_LIST)), 2); // all that it may have
	IS(reservation(XENMEM_increase_reservation, 1, 2, m_va(M_LIST)), 0); // not contiguous
	IS(reservation(XENMEM_decrease_reservation, 1, 10, m_va(M_LIST)), 0);
	IS(reservation(XENMEM_decrease_reservation, ~0u, 0, m_va(M_LIST)), 0);
	IS(CALL(&m, memory_op, XENMEM_decrease_reservation, UNMAPPED), 0);
	IS(CALL(&m, memory_op, XENMEM_decrease_reservation, WITH((struct xen_memory_reservation){.domid = 4, .nr_extents = 1})), 0);
	list[0] = m.guest.shared_mpn;
	IS(reservation(XENMEM_decrease_reservation, 1, 0, m_va(M_LIST)), 0); // the hypervisor's
}

static s64 exchange(struct xen_memory_exchange x)
{
	x.in.domid = x.in.domid ? x.in.domid : DOMID_SELF;
	x.out.domid = x.out.domid ? x.out.domid : DOMID_SELF;
	x.in.extent_start.p = (void *)m_va(M_LIST);
	x.out.extent_start.p = (void *)(m_va(M_LIST) + 2048);
	return CALL(&m, memory_op, XENMEM_exchange, WITH(x));
}

static void test_exchange(void **state)
{
	struct xen_memory_exchange *x = m_args(&m);
	u64 *in = m_page(&m, M_LIST), *out = in + 256;

	let_pages_go(30);
	for (unsigned i = 0; i < 30; i++)
		out[i] = 7000 + i;
	m.guest.budget = 4;
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 20, .out.nr_extents = 20}), 0);
	assert_true(x->nr_exchanged == 20 && m.pieces > 4 && m.guest.pages == M_PAGES);
	for (unsigned i = 0; i < 20; i++)
		assert_true(m_ppn(&m, out[i]) != PPN_NONE && m.told[out[i]] == 7000 + i);
	in[3] = m.p2m[M_DATA]; // in use
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 20, .out.nr_extents = 20}), -XEN_EINVAL);
	assert_int_equal(x->nr_exchanged, 3);
	in[3] = M_FOREIGN;
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 20, .out.nr_extents = 20}), -XEN_EINVAL);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 20, .out.nr_extents = 20, .nr_exchanged = 20}), 0);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 20, .out.nr_extents = 20, .nr_exchanged = 21}), -XEN_EINVAL);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 2, .out.nr_extents = 3}), -XEN_EINVAL);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 4, .out = {.nr_extents = 1, .extent_order = 2}}), -XEN_ENOMEM);
	IS(exchange((struct xen_memory_exchange){.in = {.nr_extents = 4, .extent_order = 70}, .out.nr_extents = 1}), -XEN_EPERM);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 1, .out = {.nr_extents = 1, .mem_flags = 13}}), -XEN_ENOMEM);
	IS(exchange((struct xen_memory_exchange){.in.nr_extents = 1, .out = {.nr_extents = 1, .mem_flags = 32}}), 0);
	IS(exchange((struct xen_memory_exchange){.in = {.nr_extents = 1, .domid = 5}, .out = {.nr_extents = 1, .domid = 5}}), -XEN_ESRCH);
	IS(exchange((struct xen_memory_exchange){.in = {.nr_extents = 1, .domid = PV_DOM}, .out.nr_extents = 1}), -XEN_EINVAL);
	IS(CALL(&m, memory_op, XENMEM_exchange, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, memory_op, XENMEM_exchange | 1u << 6, ARGS), -XEN_EINVAL);
}

static void test_memory_told(void **state)
{
	static const unsigned domain_ops[] = {XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn};
	static const unsigned maps[] = {XENMEM_add_to_physmap, XENMEM_add_to_physmap_batch, XENMEM_remove_from_physmap};
	struct xen_memory_map map = {.nr_entries = 100};
	struct xen_machphys_mapping *mapping = m_args(&m);

	m.guest.shared->arch.max_pfn = 77;
	for (unsigned i = 0; i < ARRAY_SIZE(domain_ops); i++) {
		IS(CALL(&m, memory_op, domain_ops[i], WITH((domid_t){PV_DOM})), i == 2 ? 76 : M_PAGES);
		IS(CALL(&m, memory_op, domain_ops[i], WITH((domid_t){3})), -XEN_ESRCH);
		IS(CALL(&m, memory_op, domain_ops[i], WITH((domid_t){0})), -XEN_EPERM);
		IS(CALL(&m, memory_op, domain_ops[i], UNMAPPED), -XEN_EFAULT);
		IS(CALL(&m, memory_op, maps[i], WITH((domid_t){PV_DOM})), -XEN_EACCES);
		IS(CALL(&m, memory_op, maps[i], WITH((domid_t){3})), -XEN_ESRCH);
		IS(CALL(&m, memory_op, maps[i], UNMAPPED), -XEN_EFAULT);
	}
	IS(CALL(&m, memory_op, XENMEM_maximum_ram_page, 0), M_FRAMES - 1);
	map.buffer.p = (void *)m_va(M_DATA);
	IS(CALL(&m, memory_op, XENMEM_memory_map, WITH(map)), 0);
	assert_true(m_page(&m, M_DATA)[1] == M_PAGES * PAGE_SIZE && ((struct xen_memory_map *)m_args(&m))->nr_entries == 1);
	map.nr_entries = 0;
	IS(CALL(&m, memory_op, XENMEM_memory_map, WITH(map)), 0);
	map.nr_entries = 1, map.buffer.p = (void *)UNMAPPED;
	IS(CALL(&m, memory_op, XENMEM_memory_map, WITH(map)), -XEN_EFAULT);
	IS(CALL(&m, memory_op, XENMEM_memory_map, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, memory_op, XENMEM_machphys_mapping, ARGS), 0);
	assert_true(mapping->v_start == HYPERVISOR_VIRT_START && mapping->max_mfn == M_FRAMES - 1);
	IS(CALL(&m, memory_op, XENMEM_machphys_mapping, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, memory_op, XENMEM_machphys_mfn_list, WITH((struct xen_machphys_mfn_list){.max_extents = 5})), 0);
	IS(CALL(&m, memory_op, XENMEM_machphys_mfn_list, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, memory_op, XENMEM_machine_memory_map, ARGS), -XEN_EPERM);
	IS(CALL(&m, memory_op, XENMEM_get_vnumainfo, WITH((struct xen_vnuma_topology_info){.domid = DOMID_SELF})), -XEN_EOPNOTSUPP);
	IS(CALL(&m, memory_op, XENMEM_get_vnumainfo, WITH((struct xen_vnuma_topology_info){.domid = 3})), -XEN_ESRCH);
	IS(CALL(&m, memory_op, XENMEM_get_vnumainfo, WITH((struct xen_vnuma_topology_info){.pad = 3})), -XEN_EINVAL);
	IS(CALL(&m, memory_op, XENMEM_get_vnumainfo, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, memory_op, 60, 0), -XEN_ENOSYS);
}

// ---- vCPUs and time

static s64 vcpu(unsigned op, u64 arg)
{
	return CALL(&m, vcpu_op, op, 0, arg);
}

static void test_vcpu_info(void **state)
{
	struct vcpu_register_vcpu_info r = {.mfn = m.p2m[M_DATA], .offset = 64};
	struct vcpu_info *to = (struct vcpu_info *)((u8 *)m_page(&m, M_DATA) + 64);

	m.vcpu.info->arch.cr2 = 0x4321;
	r.offset = 65;
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), -XEN_ENXIO);
	r.offset = PAGE_SIZE - 8;
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), -XEN_ENXIO);
	r.offset = 64, r.mfn = m.p2m[M_L1];
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), -XEN_EINVAL);
	r.mfn = M_FOREIGN;
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), -XEN_EINVAL);
	IS(vcpu(VCPUOP_register_vcpu_info, UNMAPPED), -XEN_EFAULT);
	r.mfn = m.p2m[M_DATA];
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), 0);
	assert_true(m.vcpu.info == to && to->arch.cr2 == 0x4321 && to->evtchn_upcall_pending && to->evtchn_pending_sel == ~0ull);
	assert_int_equal(to->time.version, 2);
	IS(vcpu(VCPUOP_register_vcpu_info, WITH(r)), -XEN_EINVAL); // once
}

static void test_vcpu(void **state)
{
	struct vcpu_runstate_info *r = m_args(&m);

	IS(vcpu(VCPUOP_is_up, 0), 1);
	IS(CALL(&m, vcpu_op, VCPUOP_is_up, 1, 0), -XEN_ENOENT);
	IS(vcpu(VCPUOP_initialise, ARGS), -XEN_EEXIST);
	IS(vcpu(VCPUOP_up, 0), 0);
	IS(vcpu(VCPUOP_get_physid, ARGS), -XEN_EINVAL);
	IS(vcpu(50, 0), -XEN_ENOSYS);
	pv_runstate(&m.vcpu, RUNSTATE_running, m.now);
	m.now += 500;
	IS(vcpu(VCPUOP_get_runstate_info, ARGS), 0);
	assert_true(r->state == RUNSTATE_running && r->time[RUNSTATE_running] == 500);
	IS(vcpu(VCPUOP_get_runstate_info, UNMAPPED), -XEN_EFAULT);
	IS(vcpu(VCPUOP_register_runstate_memory_area, WITH((struct vcpu_register_runstate_memory_area){.addr.p = m_va(M_DATA)})), 0);
	m.now += 100;
	pv_runstate(&m.vcpu, RUNSTATE_blocked, m.now);
	assert_true(((struct vcpu_runstate_info *)m_page(&m, M_DATA))->state == RUNSTATE_blocked);
	assert_int_equal(((struct vcpu_runstate_info *)m_page(&m, M_DATA))->time[RUNSTATE_running], 600);
	IS(vcpu(VCPUOP_register_runstate_memory_area, WITH((struct vcpu_register_runstate_memory_area){.addr.p = 1ull << 50})), -XEN_EFAULT);
	IS(vcpu(VCPUOP_register_runstate_memory_area, UNMAPPED), -XEN_EFAULT);
	IS(vcpu(VCPUOP_register_vcpu_time_memory_area, WITH((struct vcpu_register_time_memory_area){.addr.p = m_va(M_DATA)})), 0);
	assert_int_equal(((struct vcpu_time_info *)m_page(&m, M_DATA))->version, 2);
	IS(vcpu(VCPUOP_register_vcpu_time_memory_area, WITH((struct vcpu_register_time_memory_area){.addr.p = UNMAPPED})), -XEN_EFAULT);
	IS(vcpu(VCPUOP_register_vcpu_time_memory_area, UNMAPPED), -XEN_EFAULT);
	assert_int_equal(m.ended, 0);
	(void)vcpu(VCPUOP_down, 0); // the last
	assert_true(m.ended == 1 && m.how == PV_END_POWEROFF);
}

static bool timer_fired(void)
{
	bool fired = m.guest.shared->evtchn_pending[0] & 2;

	m.guest.shared->evtchn_pending[0] = 0;
	return fired;
}

static void test_timers(void **state)
{
	IS(CALL(&m, event_channel_op, EVTCHNOP_bind_virq, WITH((struct evtchn_bind_virq){VIRQ_TIMER, 0, 0})), 0); // port 1
	IS(vcpu(VCPUOP_set_singleshot_timer, WITH((struct vcpu_set_singleshot_timer){m.now + 100, 0})), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), m.now + 100);
	m.now += 99;
	pv_timer_advance(&m.vcpu);
	assert_false(timer_fired());
	m.now += 1;
	pv_timer_advance(&m.vcpu);
	assert_true(timer_fired());
	assert_int_equal(pv_timer_next(&m.vcpu), ~0ull);
	IS(vcpu(VCPUOP_set_singleshot_timer, WITH((struct vcpu_set_singleshot_timer){m.now - 1, 0})), 0); // past: at once
	assert_true(pv_timer_next(&m.vcpu) <= m.now);
	IS(vcpu(VCPUOP_set_singleshot_timer, WITH((struct vcpu_set_singleshot_timer){m.now - 1, VCPU_SSHOTTMR_future})), -XEN_ETIME);
	IS(vcpu(VCPUOP_set_singleshot_timer, UNMAPPED), -XEN_EFAULT);
	IS(vcpu(VCPUOP_stop_singleshot_timer, 0), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), ~0ull);
	IS(CALL(&m, set_timer_op, m.now + 7), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), m.now + 7);
	IS(CALL(&m, set_timer_op, 0), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), ~0ull);
	IS(CALL(&m, set_timer_op, ~0ull - 5), 0); // it has counted over: soon
	assert_int_equal(pv_timer_next(&m.vcpu), m.now + 100000000);
	IS(CALL(&m, set_timer_op, m.now + (1ull << 50)), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), m.now + 100000000);
	IS(CALL(&m, set_timer_op, 0), 0);
	IS(vcpu(VCPUOP_set_periodic_timer, WITH((struct vcpu_set_periodic_timer){1000000})), 0);
	m.now += 3500000;
	pv_timer_advance(&m.vcpu);
	assert_true(timer_fired() && pv_timer_next(&m.vcpu) == m.now + 500000);
	IS(vcpu(VCPUOP_set_periodic_timer, WITH((struct vcpu_set_periodic_timer){999999})), -XEN_EINVAL);
	IS(vcpu(VCPUOP_set_periodic_timer, WITH((struct vcpu_set_periodic_timer){1ull << 63})), -XEN_EINVAL);
	IS(vcpu(VCPUOP_set_periodic_timer, UNMAPPED), -XEN_EFAULT);
	IS(vcpu(VCPUOP_stop_periodic_timer, 0), 0);
	assert_int_equal(pv_timer_next(&m.vcpu), ~0ull);
}

// ---- multicalls

static void test_multicall(void **state)
{
	struct multicall_entry *e = m_args(&m);
	struct mmu_update *u = (struct mmu_update *)m_page(&m, M_LIST);
	u64 leaves[] = {m_entry(&m, M_DATA, M_RW), m_entry(&m, M_DATA + 1, M_RO)};

	for (unsigned i = 0; i < 30; i++)
		u[i] = (struct mmu_update){m_slot(&m, M_L1, 400 + i), leaves[i & 1]};
	u[25].val = M_FOREIGN << PAGE_SHIFT | M_RO;
	memset(e, 0, PAGE_SIZE);
	e[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version};
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_mmu_update, .args = {m_va(M_LIST), 30, m_va(M_DATA + 5), DOMID_SELF}};
	e[2] = (struct multicall_entry){.op = 63};
	e[3] = (struct multicall_entry){.op = __HYPERVISOR_multicall, .args = {ARGS, 1}};
	e[4] = (struct multicall_entry){.op = 48};
	e[5] = (struct multicall_entry){.op = __HYPERVISOR_mmu_update, .args = {m_va(M_LIST), 25, m_va(M_DATA + 5) + 8, DOMID_SELF}};
	m.guest.budget = 4;
	IS(CALL(&m, multicall, ARGS, 6), 0);
	assert_true(m.pieces > 15);
	static const s64 results[] = {4 << 16 | 17, -XEN_EINVAL, -XEN_ENOSYS, -XEN_EINVAL, -XEN_ENOSYS, 0};

	for (unsigned i = 0; i < ARRAY_SIZE(results); i++)
		assert_int_equal((s64)e[i].result, results[i]);
	assert_int_equal(*(u32 *)m_page(&m, M_DATA + 5), 25);
	assert_int_equal(((u32 *)m_page(&m, M_DATA + 5))[2], 25);
	IS(CALL(&m, multicall, UNMAPPED, 1), -XEN_EFAULT);
	IS(CALL(&m, multicall, m_va(M_LDT), 1), -XEN_EFAULT); // read-only: the result has no place
	IS(CALL(&m, multicall, ARGS, 0), 0);
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_sched_op, .args = {SCHEDOP_shutdown, m_va(M_DATA + 6)}};
	e[2] = (struct multicall_entry){.op = __HYPERVISOR_fpu_taskswitch, .args = {1}};
	(void)CALL(&m, multicall, ARGS, 3);
	assert_true(m.ended == 1 && !m.switched); // nothing after its end
	IS(m.guest.calls[__HYPERVISOR_mmu_update], 2);
	assert_int_equal(m.guest.failures[__HYPERVISOR_mmu_update], 1);
}

// The kernel leaves: RAX is as it said, and what is behind is not run.
static void test_multicall_iret(void **state)
{
	struct multicall_entry *e = m_args(&m);
	struct iret_context i = {.rax = (u64)PV_AGAIN, .rip = M_BASE + 9, .cs = 0xe030, .rsp = 0x5550};

	memset(e, 0, PAGE_SIZE);
	e[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version};
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_iret};
	e[2] = (struct multicall_entry){.op = __HYPERVISOR_fpu_taskswitch, .args = {1}};
	m.cpu.gpr[R_RSP] = m_va(M_STACK) + 512;
	memcpy((u8 *)m_page(&m, M_STACK) + 512, &i, sizeof(i));
	IS(CALL(&m, multicall, ARGS, 3), PV_AGAIN);
	assert_true(m.pieces == 1 && m.cpu.rip == i.rip && !m.switched && e[0].result && !e[1].result);
	IS(CALL(&m, multicall, ARGS, 1), 0); // the next one begins anew
	IS(CALL(&m, xen_version, 0), 4 << 16 | 17);
}

// A tree that is pinned within a multicall, in the smallest pieces.
static void test_smallest_pieces(void **state)
{
	struct multicall_entry *e = m_args(&m);
	struct mmuext_op *op = (struct mmuext_op *)m_page(&m, M_LIST);

	op[0] = (struct mmuext_op){.cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = m.p2m[M_USER_L4]};
	op[1] = (struct mmuext_op){.cmd = MMUEXT_UNPIN_TABLE, .arg1.mfn = m.p2m[M_USER_L4]};
	op[2] = (struct mmuext_op){.cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = m.p2m[M_USER_L4]};
	e[0] = (struct multicall_entry){.op = __HYPERVISOR_mmuext_op, .args = {m_va(M_LIST), 3, 0, DOMID_SELF}};
	e[1] = (struct multicall_entry){.op = __HYPERVISOR_xen_version};
	m.guest.budget = PV_WORK_MIN;
	IS(CALL(&m, multicall, ARGS, 2), 0);
	assert_true(!e[0].result && !m_page(&m, M_USER_L4)[0]); // it is no table by then, and may be filled
}

// A store to a page table by the kernel itself, as the emulator makes it.
static void test_table_store(void **state)
{
	u64 value = m_entry(&m, M_DATA, M_RO), at = m_va(M_L1) + 400 * 8;

	m.guest.frames.work = ~0u;
	IS(pv_table_store(&m.vcpu, at, &value, 8), ST_OK);
	assert_int_equal(m_page(&m, M_L1)[400], value);
	IS(pv_table_store(&m.vcpu, at, (u8[]){(u8)(value | PTE_A | PTE_W)}, 1), ST_OK); // a byte of it
	IS(pv_table_store(&m.vcpu, at + 4, &value, 8), ST_INVALID);
	IS(pv_table_store(&m.vcpu, m_va(M_DATA), &value, 8), ST_INVALID);
	IS(pv_table_store(&m.vcpu, UNMAPPED, &value, 8), ST_INVALID);
	value = m_entry(&m, M_L2, M_RW);
	IS(pv_table_store(&m.vcpu, at, &value, 8), ST_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_version),
		TEST(test_console),
		TEST(test_sched),
		TEST(test_watchdog),
		TEST(test_shutdown),
		TEST(test_poll),
		TEST(test_events),
		TEST(test_registers),
		TEST(test_iopl),
		TEST(test_port_map),
		TEST(test_debug_registers),
		TEST(test_mmu_update),
		TEST(test_mmu_update_done),
		TEST(test_update_va),
		TEST(test_pins),
		TEST(test_base_pointers),
		TEST(test_mmuext),
		TEST(test_gdt),
		TEST(test_ldt),
		TEST(test_balloon),
		TEST(test_exchange),
		TEST(test_memory_told),
		TEST(test_vcpu_info),
		TEST(test_vcpu),
		TEST(test_timers),
		TEST(test_multicall),
		TEST(test_multicall_iret),
		TEST(test_smallest_pieces),
		TEST(test_table_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
