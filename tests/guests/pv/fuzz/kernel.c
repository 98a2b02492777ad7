// SPDX-License-Identifier: MIT
// The loop, and what it counts. Each operation that was tried often enough must have been done and refused.
#include "tests/guests/pv/fuzz/fuzz.h"

#define LIFE 4000u // calls until all is cleared

// Operations within hypercalls, for the table. `sides`: those that have no success, or no error.
static const struct {
	unsigned nr, ops;
	u64 sides;
	const char *name;
} groups[] = {
	{__HYPERVISOR_mmuext_op, 22,
	 BIT(MMUEXT_FLUSH_CACHE) | BIT(MMUEXT_FLUSH_CACHE_GLOBAL) | BIT(MMUEXT_MARK_SUPER) | BIT(MMUEXT_UNMARK_SUPER) |
		 BIT(14) | BIT(21),
	 "mmuext_op"},
	{__HYPERVISOR_memory_op, 32,
	 BIT(XENMEM_maximum_ram_page) | BIT(XENMEM_add_to_physmap) | BIT(XENMEM_remove_from_physmap) |
		 BIT(XENMEM_machine_memory_map) | BIT(XENMEM_get_vnumainfo) | BIT(30) | BIT(31),
	 "memory_op"},
	{__HYPERVISOR_grant_table_op, 13, BIT(GNTTABOP_transfer), "grant_table_op"},
	{__HYPERVISOR_event_channel_op, 12, BIT(EVTCHNOP_bind_pirq) | BIT(EVTCHNOP_init_control), "event_channel_op"},
	{__HYPERVISOR_vcpu_op, 16,
	 BIT(VCPUOP_initialise) | BIT(VCPUOP_down) | BIT(VCPUOP_get_physid) | BIT(VCPUOP_register_vcpu_info),
	 "vcpu_op"},
	{__HYPERVISOR_sched_op, 7, BIT(SCHEDOP_yield) | BIT(SCHEDOP_block) | BIT(SCHEDOP_shutdown), "sched_op"},
};
static struct {
	u64 done, refused;
} of_op[ARRAY_SIZE(groups)][32];

static struct {
	const char *name;
	bool one_sided; // Xen's interface has no error for it, or no success
	u64 refused, done;
} calls[64] = {
#define NAMED(name) [__HYPERVISOR_##name] = {#name, false, 0, 0}
#define ONE_SIDED(name) [__HYPERVISOR_##name] = {#name, true, 0, 0}
	NAMED(set_trap_table),
	NAMED(mmu_update),
	NAMED(set_gdt),
	NAMED(stack_switch),
	ONE_SIDED(set_callbacks),
	ONE_SIDED(fpu_taskswitch),
	NAMED(set_debugreg),
	NAMED(get_debugreg),
	NAMED(update_descriptor),
	NAMED(memory_op),
	NAMED(multicall),
	NAMED(update_va_mapping),
	ONE_SIDED(set_timer_op),
	NAMED(xen_version),
	NAMED(console_io),
	NAMED(grant_table_op),
	NAMED(vm_assist),
	NAMED(update_va_mapping_otherdomain),
	NAMED(vcpu_op),
	NAMED(set_segment_base),
	NAMED(mmuext_op),
	NAMED(nmi_op),
	NAMED(sched_op),
	NAMED(callback_op),
	NAMED(iret),
	ONE_SIDED(hvm_op),
	ONE_SIDED(platform_op),
	NAMED(event_channel_op),
	NAMED(physdev_op),
};
static u64 others, hands, came_otherwise;

static struct call current;
static s64 result;

static void issue(u64 unused)
{
	result = hypercall(current.nr, current.a[0], current.a[1], current.a[2], current.a[3]);
}

// An operation on grants says in its argument how it went.
static bool succeeded(void)
{
	static const u8 status_at[] = {[GNTTABOP_map_grant_ref] = offsetof(struct gnttab_map_grant_ref, status),
				       [GNTTABOP_unmap_grant_ref] = offsetof(struct gnttab_unmap_grant_ref, status),
				       [GNTTABOP_setup_table] = offsetof(struct gnttab_setup_table, status),
				       [GNTTABOP_transfer] = offsetof(struct gnttab_transfer, status),
				       [GNTTABOP_copy] = offsetof(struct gnttab_copy, status),
				       [GNTTABOP_query_size] = offsetof(struct gnttab_query_size, status),
				       [GNTTABOP_unmap_and_replace] = offsetof(struct gnttab_unmap_and_replace, status),
				       [GNTTABOP_get_status_frames] = offsetof(struct gnttab_get_status_frames, status),
				       [GNTTABOP_swap_grant_ref] = offsetof(struct gnttab_swap_grant_ref, status)};
	u64 op = current.a[0];

	if (current.nr == __HYPERVISOR_grant_table_op && !result && op < ARRAY_SIZE(status_at) && status_at[op])
		return *(s16 *)((u8 *)args + status_at[op]) == GNTST_okay;
	if (current.nr == __HYPERVISOR_memory_op &&
	    (op == XENMEM_increase_reservation || op == XENMEM_decrease_reservation || op == XENMEM_populate_physmap))
		return result > 0;
	return result >= 0 || result < -4095;
}

static void count(bool done)
{
	u64 op = current.nr == __HYPERVISOR_mmuext_op ? ((struct mmuext_op *)args)->cmd : current.a[0];

	if (current.nr >= ARRAY_SIZE(calls) || !calls[current.nr].name) {
		check(!done && result == -XEN_ENOSYS, "a call that is none", current.nr);
		others++;
		return;
	}
	*(done ? &calls[current.nr].done : &calls[current.nr].refused) += 1;
	for (unsigned i = 0; i < ARRAY_SIZE(groups); i++)
		if (current.nr == groups[i].nr && op < groups[i].ops)
			*(done ? &of_op[i][op].done : &of_op[i][op].refused) += 1;
}

static void run_current(void)
{
	unsigned came;

	result = -1;
	came = attempt(issue, 0);
	// An NMI that was asked for comes before the call's result is seen.
	if (came && current.nr == __HYPERVISOR_vcpu_op && came == CAME(VEC_NMI))
		result = 0;
	else if (came)
		came_otherwise++;
	count(succeeded());
	if (current.after && !came)
		current.after(result);
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	if (came || current.nr == __HYPERVISOR_callback_op || current.nr == __HYPERVISOR_set_callbacks ||
	    current.nr == __HYPERVISOR_nmi_op || current.nr == __HYPERVISOR_set_trap_table ||
	    current.nr == __HYPERVISOR_stack_switch || current.nr == __HYPERVISOR_multicall)
		restore();
}

// What is to be done after its success is done after one alone; nor may it wait, or have the others' results for exceptions.
static bool may_be_one_of_several(const struct call *c)
{
	return !c->after && c->nr != __HYPERVISOR_sched_op &&
	       !(c->nr == __HYPERVISOR_vcpu_op && c->a[0] == VCPUOP_send_nmi);
}

static void several(void)
{
	struct multicall_entry *e = (void *)&list[256];
	unsigned n = (unsigned)below(SEVERAL);

	for (unsigned i = 0; i < n; i++) {
		struct call c;

		args_of(i);
		c = any_call();
		while (!may_be_one_of_several(&c))
			c = any_call();
		e[i] = (struct multicall_entry){.op = c.nr};
		memcpy(e[i].args, c.a, sizeof(c.a));
	}
	current = (struct call){__HYPERVISOR_multicall, {rarely() ? arena_va() : (u64)e, n}, NULL};
	run_current();
}

// By an iret, of a frame that is good or not; back by what the program does first, or by what comes of the frame.
static void program(void)
{
	struct iret_context c = user_context(user_syscall, below(2) ? RFL_IF : 0, below(2) ? IN_SYSCALL : 0);
	bool refused;

	check(!ext(MMUEXT_NEW_USER_BASEPTR, mfn_of(program_root), 0), "programs' tables", 0);
	if (below(2)) {
		c.rip = below(3) ? c.rip : arena_va();
		c.rsp = below(3) ? random64() : arena_va();
		c.rflags ^= BIT(below(22));
		c.cs = below(2) ? c.cs : (u16)random64() | 3;
		c.ss = below(2) ? c.ss : (u16)random64();
	}
	refused = attempt(enter_user, (u64)&c) == CAME(CAME_FAILSAFE) || (got.cs & 3) != 3;
	*(refused ? &calls[__HYPERVISOR_iret].refused : &calls[__HYPERVISOR_iret].done) += 1;
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
}

static void step(void)
{
	u64 what = below(64);

	if (what < 3)
		several();
	else if (what < 8)
		own_hands(), hands++;
	else if (what == 8)
		arena_plant();
	else if (what == 9)
		program();
	else {
		args_of(0);
		current = any_call();
		run_current();
	}
}

// ---- the table

static void print_number(u64 n)
{
	char buf[21], *p = buf + 20;

	*p = 0;
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	print(p);
}

static void line(const char *name, s64 op, u64 done, u64 refused)
{
	if (!done && !refused)
		return;
	print(name);
	if (op >= 0) {
		print(" ");
		print_number((u64)op);
	}
	print(": ");
	print_number(done);
	print(" done, ");
	print_number(refused);
	print(" refused, ");
	print_number(100 * done / (done + refused));
	print("%\n");
}

static void report(u64 enough)
{
	for (unsigned nr = 0; nr < ARRAY_SIZE(calls); nr++) {
		line(calls[nr].name, -1, calls[nr].done, calls[nr].refused);
		if (calls[nr].name && !calls[nr].one_sided)
			check(calls[nr].done && calls[nr].refused, calls[nr].name, calls[nr].done);
	}
	for (unsigned g = 0; g < ARRAY_SIZE(groups); g++)
		for (unsigned op = 0; op < groups[g].ops; op++) {
			u64 done = of_op[g][op].done, refused = of_op[g][op].refused;

			line(groups[g].name, op, done, refused);
			if (done + refused >= enough && !(groups[g].sides >> op & 1))
				check(done && refused, groups[g].name, op);
		}
	line("others", -1, 0, others);
	line("by its own hands", -1, hands, 0);
	line("exceptions and events instead of results", -1, came_otherwise, 0);
}

// What can be done once only: then vcpu_info is elsewhere, and nothing may come any more.
static void last_calls(void)
{
	struct vcpu_register_vcpu_info info = {.mfn = mfn_of(list), .offset = 0};

	check(!CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info), "register_vcpu_info", 0);
	check(CALL(vcpu_op, VCPUOP_register_vcpu_info, 0, &info) < 0, "register_vcpu_info again", 0);
}

static u64 made(void)
{
	u64 n = others;

	for (unsigned nr = 0; nr < ARRAY_SIZE(calls); nr++)
		n += calls[nr].done + calls[nr].refused;
	return n;
}

static void test_calls(void)
{
	u64 wanted = argument("count=", 20000);

	seed = argument("seed=", 88172645463325252);
	arena_set_up();
	calls_set_up();
	if (!set_up_grants())
		return;
	while (made() < wanted) {
		for (unsigned i = 0; i < LIFE; i++)
			step();
		grants_clear();
		arena_clear();
	}
	report(2000);
	print_number(made());
	print(" calls\n");
	last_calls();
}

const struct pv_case cases[] = {
	{"calls", test_calls, false},
	{0},
};
