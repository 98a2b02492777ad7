// SPDX-License-Identifier: MIT
// Random hypercalls (pv_exercise.h) over several lives of a guest, with the audit: all that a life has taken is given back at its end, and
// every operation must both succeed and be refused. PV_CALLS_COUNT calls from PV_CALLS_SEED on in the environment: the soak has more.
#include "tests/unit/pv_exercise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define LIFE 4000u // steps
#define AUDIT 64u

static u64 seed;

static u64 next(void *ctx)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed >> 8;
}

static u64 setting(const char *name, u64 otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 10) : otherwise;
}

static const char *const names[PV_CALLS] = {
	[__HYPERVISOR_set_trap_table] = "set_trap_table",   [__HYPERVISOR_mmu_update] = "mmu_update",
	[__HYPERVISOR_set_gdt] = "set_gdt",		    [__HYPERVISOR_stack_switch] = "stack_switch",
	[__HYPERVISOR_set_callbacks] = "set_callbacks",	    [__HYPERVISOR_fpu_taskswitch] = "fpu_taskswitch",
	[__HYPERVISOR_set_debugreg] = "set_debugreg",	    [__HYPERVISOR_get_debugreg] = "get_debugreg",
	[__HYPERVISOR_update_descriptor] = "update_descriptor", [__HYPERVISOR_memory_op] = "memory_op",
	[__HYPERVISOR_multicall] = "multicall",		    [__HYPERVISOR_update_va_mapping] = "update_va_mapping",
	[__HYPERVISOR_set_timer_op] = "set_timer_op",	    [__HYPERVISOR_xen_version] = "xen_version",
	[__HYPERVISOR_console_io] = "console_io",	    [__HYPERVISOR_grant_table_op] = "grant_table_op",
	[__HYPERVISOR_vm_assist] = "vm_assist",		    [__HYPERVISOR_update_va_mapping_otherdomain] = "update_va_mapping_other",
	[__HYPERVISOR_vcpu_op] = "vcpu_op",		    [__HYPERVISOR_set_segment_base] = "set_segment_base",
	[__HYPERVISOR_mmuext_op] = "mmuext_op",		    [__HYPERVISOR_nmi_op] = "nmi_op",
	[__HYPERVISOR_sched_op] = "sched_op",		    [__HYPERVISOR_callback_op] = "callback_op",
	[__HYPERVISOR_event_channel_op] = "event_channel_op", [__HYPERVISOR_physdev_op] = "physdev_op",
};

static void show(const char *name, s64 op, u64 refused, u64 done)
{
	char label[40];

	if (!refused && !done)
		return;
	snprintf(label, sizeof(label), op < 0 ? "%s" : "%s %ld", name, (long)op);
	print_message("%-28s %10lu done %10lu refused %5.1f%%\n", label, (unsigned long)done, (unsigned long)refused,
		      100.0 * (double)done / (double)(done + refused));
}

static void show_all(void)
{
	for (unsigned n = 0; n < PV_CALLS; n++)
		show(names[n] ? names[n] : "not known", -1, x_totals.of_call[0][n], x_totals.of_call[1][n]);
	for (unsigned g = 0; g < ARRAY_SIZE(x_groups); g++)
		for (unsigned op = 0; op < x_groups[g].ops; op++)
			show(x_groups[g].name, op, x_totals.of_op[0][x_groups[g].base + op], x_totals.of_op[1][x_groups[g].base + op]);
}

// Those that Xen's interface has no error for, and no success.
static bool one_sided(unsigned nr)
{
	return nr == __HYPERVISOR_fpu_taskswitch || nr == __HYPERVISOR_set_callbacks || nr == __HYPERVISOR_set_timer_op || !names[nr];
}

static bool both(u64 refused, u64 done)
{
	return refused && done;
}

static void check_all(void)
{
	for (unsigned n = 0; n < PV_CALLS; n++)
		if (names[n] && !one_sided(n) && !both(x_totals.of_call[0][n], x_totals.of_call[1][n]))
			fail_msg("%s: only done, or only refused", names[n]);
	for (unsigned g = 0; g < ARRAY_SIZE(x_groups); g++)
		for (unsigned op = 0; op < x_groups[g].ops; op++) {
			u64 refused = x_totals.of_op[0][x_groups[g].base + op], done = x_totals.of_op[1][x_groups[g].base + op];

			if ((refused || done) && !(x_groups[g].sides >> op & 1) && !both(refused, done))
				fail_msg("%s %u: only done, or only refused", x_groups[g].name, op);
		}
}

static void test_calls(void **state)
{
	static struct machine m;
	struct pv_x x = {.m = &m, .random = next};
	u64 wanted = setting("PV_CALLS_COUNT", 200000);

	seed = setting("PV_CALLS_SEED", 88172645463325252ull);
	while (x.calls < wanted) {
		machine_start(&m);
		for (unsigned life = 0; life < LIFE && pv_x_alive(&x); life++) {
			pv_x_step(&x);
			if (x.steps % AUDIT == 0)
				pv_x_audit(&x);
		}
		pv_x_audit(&x);
		if (!machine_end(&m))
			panic("step %lu: frames are in use after the end", (unsigned long)x.steps);
	}
	show_all();
	check_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_calls)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
