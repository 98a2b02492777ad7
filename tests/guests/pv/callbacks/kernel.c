// SPDX-License-Identifier: MIT
// callback_op, set_callbacks, nmi_op and stack_switch: where the kernel is entered.
#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>
#include <xen/nmi.h>

static s64 reg(unsigned type, u64 address)
{
	struct callback_register r = {.type = (u16)type, .flags = CALLBACKF_mask_events, .address = address};

	return CALL(callback_op, CALLBACKOP_register, &r);
}

static s64 unreg(unsigned type)
{
	struct callback_unregister u = {.type = (u16)type};

	return CALL(callback_op, CALLBACKOP_unregister, &u);
}

static void test_callbacks(void)
{
	for (unsigned type = 0; type < 16; type++)
		check(reg(type, UNCANONICAL) < 0 && reg(type, 1ull << 63) < 0, "an address that is none", type);
	check(reg(99, (u64)on_event) == -XEN_ENOSYS && unreg(99) == -XEN_ENOSYS, "a callback that is none", 0);
	check(unreg(CALLBACKTYPE_event) < 0 && unreg(CALLBACKTYPE_failsafe) < 0 && unreg(CALLBACKTYPE_syscall) < 0,
	      "unregister", 0);
	check(CALL(callback_op, 9, 0) < 0 && CALL(callback_op, CALLBACKOP_register, GATE_TRUST) < 0, "operation", 0);
	check(!CALL(set_callbacks, on_event, on_failsafe, on_syscall), "the older call", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "a system call", 0);
	check(!reg(CALLBACKTYPE_syscall, (u64)on_syscall) && run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL),
	      "and by the newer", 0);
}

static void test_nmi_callback(void)
{
	struct xennmi_callback cb = {.handler_address = UNCANONICAL};

	check(CALL(nmi_op, 9, 0) < 0, "operation", 0);
	check(CALL(nmi_op, XENNMI_register_callback, &cb) < 0, "an address that is none", 0);
	check(CALL(nmi_op, XENNMI_register_callback, UNCANONICAL) < 0, "an argument that is none", 0);
	cb.handler_address = traps[VEC_NMI].address;
	check(!CALL(nmi_op, XENNMI_register_callback, &cb), "register", 0);
	check(!CALL(nmi_op, XENNMI_unregister_callback, 0) && !unreg(CALLBACKTYPE_nmi), "unregister", 0);
	check(!reg(CALLBACKTYPE_nmi, traps[VEC_NMI].address), "by the other call", 0);
}

// A selector that cannot be loaded: the failsafe callback, and not the program.
static void test_failsafe(void)
{
	struct iret_context c = user_context(user_syscall, RFL_IF, 0);

	c.cs = 0xdfff;
	check(attempt(enter_user, (u64)&c) > 1, "it ran", 0);
	check(got.vector == CAME_FAILSAFE || got.vector == VEC_GP, "what came", got.vector);
}

static void test_stack(void)
{
	u64 *stack = page(1), top = (u64)(stack + 512);

	check(CALL(stack_switch, 0, UNCANONICAL) < 0 && CALL(stack_switch, 0, 1ull << 63) < 0,
	      "an address that is none", 0);
	check(!CALL(stack_switch, FLAT_KERNEL_SS64, top), "another", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "a system call", 0);
	check(stack[510] && stack[509] && stack[508] && stack[507], "its frame is there",
	      stack[507]); // RSP, RFLAGS, CS, RIP
	check(!CALL(stack_switch, FLAT_KERNEL_SS64, (u64)page(0) + PAGE_SIZE), "as it was", 0);
}

// A frame that the machine refuses, and no callback for that.
static void no_failsafe(void)
{
	struct callback_register r = {.type = CALLBACKTYPE_failsafe};
	struct iret_context c = user_context(user_syscall, RFL_IF, 0);

	(void)CALL(callback_op, CALLBACKOP_register, &r);
	c.cs = 0xdfff;
	(void)attempt(enter_user, (u64)&c);
}

const struct pv_case cases[] = {
	{"callbacks", test_callbacks, false}, {"nmi-callback", test_nmi_callback, false},
	{"failsafe", test_failsafe, false},   {"stack-switch", test_stack, false},
	{"no-failsafe", no_failsafe, true},   {0},
};
