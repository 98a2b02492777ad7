// SPDX-License-Identifier: MIT
// All other calls.
#include "tests/guests/pv/fuzz/fuzz.h"

static u64 pages_of_args[SEVERAL][512] __attribute__((aligned(4096)));
u64 list[512] __attribute__((aligned(4096))), *args;
static u64 gdt[2][512] __attribute__((aligned(4096)));

void args_of(unsigned nth)
{
	args = pages_of_args[nth];
}

u64 put(const void *bytes, size_t n)
{
	memset(args, 0, 4 * n); // where a list of two or three goes on
	memcpy(args, bytes, n);
	return (u64)args;
}

u64 elsewhere(u64 at)
{
	return below(30) ? at : arena_va();
}

u16 domain(void)
{
	return (u16)(rarely() ? below(5) << (below(2) * 12) : below(2) ? DOMID_SELF : 1);
}

static struct call mmu_update(void)
{
	struct mmu_update *u = (void *)args;
	u64 n = 1 + below(rarely() ? 200 : 8);

	for (unsigned i = 0; i < n; i++)
		u[i] = (struct mmu_update){entry_address() | (below(4) ? 0 : below(4)), entry()};
	return (struct call){__HYPERVISOR_mmu_update, {elsewhere((u64)u), n, below(3) ? 0 : (u64)list, domain()}, NULL};
}

static struct call mmuext(void)
{
	struct mmuext_op op = {.cmd = (unsigned)below(22)};
	u64 first = mfn_of((void *)start_info->pt_base), programs = mfn_of(program_root);

	op.arg1.mfn = op.cmd <= MMUEXT_PIN_L4_TABLE && below(4) ? pool[op.cmd] : pool_frame();
	op.arg2.src_mfn = any_frame();
	if (op.cmd == MMUEXT_UNPIN_TABLE)
		op.arg1.mfn = below(2) ? pool[below(PLANTED)] : pool_frame();
	if (op.cmd == MMUEXT_UNPIN_TABLE && op.arg1.mfn == first) // not loaded, it would be a page like others
		op.arg1.mfn = ~0ull;
	if (op.cmd == MMUEXT_NEW_BASEPTR) // one that has the kernel in it, or none at all
		op.arg1.mfn = below(2) ? first : below(2) ? programs : ~0ull - below(9);
	if (op.cmd == MMUEXT_NEW_USER_BASEPTR)
		op.arg1.mfn = below(2)   ? pool[PLANTED - 1]
			      : below(2) ? programs
			      : below(2) ? first
			      : below(2) ? 0
					 : pool_frame();
	if (op.cmd == MMUEXT_SET_LDT) {
		op.arg1.linear_addr = below(2) ? (u64)gdt[1] : arena_va();
		op.arg2.nr_ents = (unsigned)below(rarely() ? 10000 : 512);
	}
	if (op.cmd == MMUEXT_INVLPG_LOCAL || op.cmd == MMUEXT_INVLPG_ALL || op.cmd == MMUEXT_INVLPG_MULTI)
		op.arg1.linear_addr = arena_va();
	if (op.cmd == MMUEXT_TLB_FLUSH_MULTI || op.cmd == MMUEXT_INVLPG_MULTI)
		op.arg2.vcpumask.p = (void *)arena_va();
	return (struct call){__HYPERVISOR_mmuext_op, {PUT(op), 1, 0, domain()}, NULL};
}

static struct call update_va(void)
{
	bool other = below(2);

	return (struct call){other ? __HYPERVISOR_update_va_mapping_otherdomain : __HYPERVISOR_update_va_mapping,
			     {arena_va(), entry(), below(3) | (below(3) ? 0 : arena_va() & ~3ull), domain()},
			     NULL};
}

static struct call descriptors(void)
{
	for (unsigned i = 0; i < 16; i++)
		list[i] = below(8) ? mfn_of(gdt[below(2)]) : pool_frame();
	if (below(2))
		return (struct call){__HYPERVISOR_set_gdt, {elsewhere((u64)list), below(rarely() ? 9000 : 1100)}, NULL};
	return (struct call){__HYPERVISOR_update_descriptor,
			     {(below(2) ? mfn_of(gdt[0]) : pool_frame()) << PAGE_SHIFT |
				      below(512) * (rarely() ? 4 : 8),
			      below(2) ? 0x00affb000000ffff : random64()},
			     NULL};
}

static struct call event(void)
{
	u32 words[6], op = (u32)below(15);

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = (u32)below(12);
	if (op > 11)
		op = EVTCHNOP_close;
	if (op == EVTCHNOP_alloc_unbound || op == EVTCHNOP_status || op == EVTCHNOP_reset ||
	    op == EVTCHNOP_bind_interdomain)
		words[0] = below(3) ? DOMID_SELF | (u32)DOMID_SELF << 16 : domain() | 1u << 16;
	if ((op == EVTCHNOP_bind_ipi || op == EVTCHNOP_bind_virq || op == EVTCHNOP_bind_vcpu) && below(2))
		words[0] = 0, words[1] = 0;
	if (op == EVTCHNOP_reset && below(30))
		op = EVTCHNOP_close;
	return (struct call){__HYPERVISOR_event_channel_op, {op, PUT(words)}, NULL};
}

static u64 now(void)
{
	const struct vcpu_time_info *t = &shared()->vcpu_info[0].time;
	u64 ticks = __builtin_ia32_rdtsc() - t->tsc_timestamp;

	ticks = t->tsc_shift < 0 ? ticks >> -t->tsc_shift : ticks << t->tsc_shift;
	return t->system_time + (u64)((unsigned __int128)ticks * t->tsc_to_system_mul >> 32);
}

static struct call vcpu(void)
{
	static const u32 ops[] = {VCPUOP_initialise,
				  VCPUOP_down, // of others: this one could not ask to be up again
				  VCPUOP_up,
				  VCPUOP_is_up,
				  VCPUOP_get_runstate_info,
				  VCPUOP_register_runstate_memory_area,
				  VCPUOP_set_periodic_timer,
				  VCPUOP_stop_periodic_timer,
				  VCPUOP_set_singleshot_timer,
				  VCPUOP_stop_singleshot_timer,
				  VCPUOP_register_vcpu_info,
				  VCPUOP_get_physid,
				  VCPUOP_register_vcpu_time_memory_area,
				  VCPUOP_send_nmi};
	u32 op = ops[below(ARRAY_SIZE(ops))];
	struct vcpu_register_vcpu_info info = {.mfn = any_frame(),
					       .offset = PAGE_SIZE - (u32)below(64)}; // over the page's end
	struct vcpu_set_singleshot_timer timer = {now() + below(4000000) - 2000000, (u32)below(2)};
	u64 word = op == VCPUOP_set_periodic_timer ? below(3) * 1000000 : arena_va();

	return (struct call){__HYPERVISOR_vcpu_op,
			     {op, rarely() || op == VCPUOP_down ? 1 + below(40) : 0,
			      op == VCPUOP_send_nmi               ? 0
			      : op == VCPUOP_register_vcpu_info   ? PUT(info)
			      : op == VCPUOP_set_singleshot_timer ? elsewhere(PUT(timer))
								  : elsewhere(PUT(word))},
			     NULL};
}

// Handlers that nothing comes to while they are so.
static struct call handlers(void)
{
	struct trap_info t[4] = {{3, 0, 0, (u64)stubs},
				 {(u8)(32 + below(224)), (u8)below(8), (u16)(rarely() ? random64() : FLAT_KERNEL_CS64),
				  rarely() ? UNCANONICAL : (u64)stubs},
				 {0}};
	u16 type = (u16)below(9);
	u64 callback[2] = {type | below(2) << 16, rarely() ? UNCANONICAL : (u64)stubs};

	switch (below(4)) {
	case 0:
		return (struct call){__HYPERVISOR_set_trap_table, {rarely() ? 0 : PUT(t)}, NULL};
	case 1:
		return (struct call){__HYPERVISOR_set_callbacks, {(u64)on_event, (u64)on_failsafe, arena_va()}, NULL};
	case 2:
		callback[0] = rarely() ? UNCANONICAL : (u64)stubs;
		return (struct call){__HYPERVISOR_nmi_op, {below(3), PUT(callback)}, NULL};
	default:
		return (struct call){__HYPERVISOR_callback_op, {below(3), PUT(callback)}, NULL};
	}
}

// Those that end the VM are left to its end; what would wait has what it waits for.
static struct call sched(void)
{
	static const u32 ops[] = {SCHEDOP_yield, SCHEDOP_block,         SCHEDOP_shutdown,
				  SCHEDOP_poll,  SCHEDOP_shutdown_code, SCHEDOP_watchdog};
	u32 op = ops[below(ARRAY_SIZE(ops))];
	struct sched_poll p = {.nr_ports = rarely() ? 200 : (unsigned)below(3), .timeout = now() + below(2000) - 1000};
	struct sched_watchdog w = {(u32)below(6), (u32)below(2) * 1000000};
	struct sched_shutdown s = {5 + (unsigned)below(7)};

	p.ports.p = (void *)list;
	for (unsigned i = 0; op == SCHEDOP_poll && i < 4; i++)
		((u32 *)list)[i] = (u32)below(rarely() ? 5000 : 30);
	if (op == SCHEDOP_shutdown_code && below(2))
		s.reason = below(4);
	if (op == SCHEDOP_block)
		shared()->vcpu_info[0].evtchn_upcall_pending = 1;
	return (struct call){__HYPERVISOR_sched_op,
			     {op, op == SCHEDOP_poll            ? PUT(p)
				  : op == SCHEDOP_watchdog      ? elsewhere(PUT(w))
				  : op == SCHEDOP_shutdown_code ? elsewhere(PUT(s))
								: PUT(s)},
			     NULL};
}

static struct call small(void)
{
	u64 words[2] = {below(5), below(2)};

	switch (below(12)) {
	case 0:
		return (struct call){__HYPERVISOR_xen_version, {below(12), below(2) ? (u64)list : arena_va()}, NULL};
	case 1: // nothing is printed
		return (struct call){__HYPERVISOR_console_io,
				     {below(3), rarely() ? below(3000) : 0, UNCANONICAL},
				     NULL};
	case 2:
		return (struct call){__HYPERVISOR_fpu_taskswitch, {below(2)}, NULL};
	case 3: // breakpoints where nothing is run, and enabled ones refused
		return (struct call){__HYPERVISOR_set_debugreg,
				     {below(9), below(2) ? arena_va() : below(1ull << 33) & ~0xffull},
				     NULL};
	case 4:
		return (struct call){__HYPERVISOR_get_debugreg, {below(9)}, NULL};
	case 5:
		return (struct call){__HYPERVISOR_vm_assist, {rarely() ? 2 : below(2), below(8)}, NULL};
	case 6:
		return (struct call){__HYPERVISOR_physdev_op,
				     {rarely() ? 1 : 6 + below(2), elsewhere(PUT(words))},
				     NULL};
	case 7:
		return (struct call){__HYPERVISOR_set_segment_base, {below(5), arena_va()}, NULL};
	case 8:
		return (struct call){__HYPERVISOR_set_timer_op, {below(2) * (now() + below(1000))}, NULL};
	case 9:
		return (struct call){below(2) ? 40 + (unsigned)below(8) : (unsigned)random64() | 64, {0}, NULL};
	case 10: // for other kinds of guests
		return (struct call){below(2) ? __HYPERVISOR_hvm_op : __HYPERVISOR_platform_op,
				     {below(30), elsewhere(PUT(words))},
				     NULL};
	default:
		return (struct call){__HYPERVISOR_stack_switch, {below(20), rarely() ? UNCANONICAL : arena_va()}, NULL};
	}
}

struct call any_call(void)
{
	static struct call (*const groups[])(void) = {mmu_update,  mmu_update,  mmuext,     mmuext,     update_va,
						      descriptors, memory_call, grant_call, grant_call, event,
						      vcpu,        handlers,    sched,      small};

	return groups[below(ARRAY_SIZE(groups))]();
}

void restore(void)
{
	struct callback_register nmi = {.type = CALLBACKTYPE_nmi, .address = (u64)stubs + VEC_NMI * 16};
	struct physdev_set_iopl iopl = {0};

	set_handlers();
	(void)CALL(callback_op, CALLBACKOP_register, &nmi);
	(void)CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl);
	(void)CALL(fpu_taskswitch, 0);
	(void)CALL(set_debugreg, 7, 0);
}

void calls_set_up(void)
{
	check(!remap(gdt[0], KERNEL_RO) && !remap(gdt[1], KERNEL_RO), "descriptor tables", 0);
	restore();
}
