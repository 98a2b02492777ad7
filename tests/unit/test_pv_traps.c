// SPDX-License-Identifier: MIT
// How a paravirtual kernel is entered and how it leaves: frames as Xen's ABI has them, callbacks, iret.
#include "tests/unit/pv_test.h"

#include <xen/callback.h>
#include <xen/errno.h>
#include <xen/nmi.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

static void register_traps(void)
{
	struct trap_info t[] = {
		{VEC_GP, 0, FLAT_KERNEL_CS64, 0xffffffff81000010}, {VEC_PF, 4, FLAT_KERNEL_CS64, 0xffffffff81000020},
		{VEC_UD, 0, FLAT_KERNEL_CS64, 0xffffffff81000030}, {VEC_BP, 3, FLAT_KERNEL_CS64, 0xffffffff81000040}, {0}};

	IS(CALL(&m, set_trap_table, WITH(t)), 0);
}

static void test_trap_table(void **state)
{
	struct trap_info *list = m_args(&m);

	register_traps();
	assert_int_equal(m.vcpu.trap[VEC_PF].address, 0xffffffff81000020);
	IS(CALL(&m, set_trap_table, UNMAPPED), -XEN_EFAULT);
	list[0] = (struct trap_info){3, 0, 0, 0x900000000000};
	IS(CALL(&m, set_trap_table, ARGS), -XEN_EINVAL);
	for (unsigned i = 0; i < 256; i++)
		list[i] = (struct trap_info){(u8)i, 0, 0, 0xffffffff81000000 + i};
	m_page(&m, M_LIST)[0] = m_page(&m, M_LIST)[1] = 0; // the page behind ends it
	m.guest.budget = 10;
	IS(CALL(&m, set_trap_table, ARGS), 0);
	assert_true(m.pieces > 20 && m.vcpu.trap[255].address == 0xffffffff810000ff);
	IS(CALL(&m, set_trap_table, 0), 0);
	assert_int_equal(m.vcpu.trap[255].address, 0);
}

// What is on the stack, from RSP on.
static void frame_is(const u64 *want, unsigned n)
{
	u64 got[16];

	assert_true(pv_read(&m.vcpu, m.cpu.gpr[R_RSP], got, n * 8));
	for (unsigned i = 0; i < n; i++)
		if (got[i] != want[i])
			fail_msg("word %u of the frame is %lx, should be %lx", i, (long)got[i], (long)want[i]);
}

#define KERNEL_CS 0xe030ull // with RPL 0: that is how a guest knows its own
#define KERNEL_SS 0xe02bull
#define USER_CS 0xe033ull
#define USER_SS 0xe02bull

static void go_to_user_mode(void)
{
	struct iret_context i = {.rax = 0x77, .rip = 0x400100, .cs = USER_CS, .ss = USER_SS, .rcx = 0xcc, .r11 = 0x11,
				 .rflags = RFL_IF | RFL_FIXED | RFL_AC | RFL_TF | RFL_IOPL, .rsp = 0x7ffff008};

	if (m.vcpu.user_root == MPN_NONE)
		IS(CALL(&m, mmuext_op, WITH((struct mmuext_op){.cmd = MMUEXT_NEW_USER_BASEPTR, .arg1.mfn = m.p2m[M_USER_L4]}), 1, 0, DOMID_SELF), 0);
	IS(CALL(&m, stack_switch, KERNEL_SS, m_va(M_STACK + 1) - 8), 0);
	m.cpu.seg[SEG_GS].base = 0x1000, m.cpu.kernel_gs_base = 0x2000;
	m.cpu.gpr[R_RSP] = m_va(M_STACK + 1) - 512;
	memcpy((u8 *)m_page(&m, M_STACK) + PAGE_SIZE - 512, &i, sizeof(i));
	IS(CALL(&m, iret, 0), 0x77);
}

static void test_exception_frames(void **state)
{
	struct x86_fault gp = {.vector = VEC_GP, .has_error = true, .error = 0x18};
	struct x86_fault pf = {.vector = VEC_PF, .has_error = true, .error = 6, .cr2 = 0x1234567};
	struct x86_fault bp = {.vector = VEC_BP};

	register_traps();
	// From the kernel, with an odd stack: on that stack, aligned.
	m.vcpu.info->evtchn_upcall_mask = 0;
	m.cpu.gpr[R_RCX] = 0xc1, m.cpu.gpr[R_R11] = 0x1111, m.cpu.gpr[R_RSP] = m_va(M_STACK + 1) - 100;
	m.cpu.rflags = RFL_FIXED | RFL_IF | RFL_IOPL | RFL_AC | RFL_TF | RFL_NT | RFL_RF | RFL_CF | RFL_DF;
	pv_exception(&m.vcpu, &gp);
	frame_is((u64[]){0xc1, 0x1111, 0x18, M_BASE + 0x123456, KERNEL_CS, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF | RFL_NT | RFL_RF | RFL_CF | RFL_DF,
			 m_va(M_STACK + 1) - 100, KERNEL_SS},
		 8);
	assert_int_equal(m.cpu.gpr[R_RSP], ((m_va(M_STACK + 1) - 100) & ~15ull) - 64);
	assert_int_equal(m.cpu.rip, 0xffffffff81000010);
	assert_int_equal(m.cpu.rflags, RFL_FIXED | RFL_IF | RFL_CF | RFL_DF);
	assert_int_equal(m.vcpu.info->evtchn_upcall_mask, 0);
	// Masked by now, by one with an address and a gate that masks.
	m.vcpu.info->evtchn_upcall_mask = 1;
	m.cpu.rip = M_BASE + 1, m.cpu.gpr[R_RSP] = m_va(M_STACK + 1) - 16;
	pv_exception(&m.vcpu, &pf);
	frame_is((u64[]){0xc1, 0x1111, 6, M_BASE + 1, KERNEL_CS | 1ull << 32, RFL_FIXED | RFL_CF | RFL_DF, m_va(M_STACK + 1) - 16, KERNEL_SS}, 8);
	assert_int_equal(m.vcpu.info->arch.cr2, 0x1234567);
	assert_int_equal(m.vcpu.info->evtchn_upcall_mask, 1);
	// From user mode: on the stack that was named, GS exchanged.
	m.vcpu.info->evtchn_upcall_mask = 0;
	go_to_user_mode();
	m.cpu.rip = 0x400103;
	pv_exception(&m.vcpu, &bp);
	frame_is((u64[]){0xcc, 0x11, 0x400103, USER_CS, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF, 0x7ffff008, USER_SS}, 7);
	assert_int_equal(m.cpu.gpr[R_RSP], ((m_va(M_STACK + 1) - 8) & ~15ull) - 56);
	assert_true(pv_kernel_mode(&m.vcpu) && m.cpu.seg[SEG_GS].base == 0x1000 && m.cpu.kernel_gs_base == 0x2000);
	pf.error = 0;
	pv_exception(&m.vcpu, &pf);
	assert_int_equal(m.vcpu.info->evtchn_upcall_mask, 1);
}

static void test_no_way_in(void **state)
{
	struct x86_fault nm = {.vector = VEC_NM}, gp = {.vector = VEC_GP, .has_error = true};

	register_traps();
	pv_exception(&m.vcpu, &nm); // no handler
	assert_true(m.ended == 1 && m.how == PV_END_CRASH && m.guest.over);
	m.guest.over = false;
	m.cpu.gpr[R_RSP] = 0x10; // no stack
	pv_exception(&m.vcpu, &gp);
	assert_int_equal(m.ended, 2);
	m.cpu.gpr[R_RSP] = 0x8000000000001000; // nor there
	pv_exception(&m.vcpu, &gp);
	assert_int_equal(m.ended, 3);
	m.cpu.gpr[R_RSP] = m_va(M_L4 + 1); // page tables are no stack
	pv_exception(&m.vcpu, &gp);
	assert_int_equal(m.ended, 4);
	m.cpu.gpr[R_RSP] = m_va(M_STACK + 1);
	pv_failsafe(&m.vcpu); // not registered
	assert_int_equal(m.ended, 5);
	IS(machine_audit(&m), 0);
}

static s64 register_callback(unsigned type, unsigned flags, u64 address)
{
	return CALL(&m, callback_op, CALLBACKOP_register, WITH((struct callback_register){(u16)type, (u16)flags, address}));
}

static void test_callbacks(void **state)
{
	static const unsigned types[] = {CALLBACKTYPE_event,	CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall,
					 CALLBACKTYPE_sysenter, CALLBACKTYPE_nmi,      CALLBACKTYPE_syscall32};

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		IS(register_callback(types[i], CALLBACKF_mask_events, 0xffffffff81000100), 0);
		IS(register_callback(types[i], 0, 1ull << 50), -XEN_EINVAL);
		IS(CALL(&m, callback_op, CALLBACKOP_unregister, WITH((struct callback_unregister){(u16)types[i], 0})),
		   types[i] == CALLBACKTYPE_nmi ? 0 : -XEN_EINVAL);
	}
	IS(register_callback(33, 0, 0), -XEN_ENOSYS);
	IS(CALL(&m, callback_op, CALLBACKOP_unregister, WITH((struct callback_unregister){33, 0})), -XEN_ENOSYS);
	IS(CALL(&m, callback_op, CALLBACKOP_register, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, callback_op, CALLBACKOP_unregister, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, callback_op, 5, ARGS), -XEN_ENOSYS);
	IS(CALL(&m, set_callbacks, 0xffffffff81000200, 0xffffffff81000210, 0xffffffff81000220), 0);
	assert_true(m.vcpu.event.address == 0xffffffff81000200 && m.vcpu.failsafe.address == 0xffffffff81000210 &&
		    m.vcpu.syscall.address == 0xffffffff81000220);
	assert_false(m.vcpu.failsafe.masks || m.vcpu.syscall.masks);
	IS(CALL(&m, set_callbacks, 1ull << 60, 0xffffffff81000300, 1ull << 60), 0); // those that can be
	assert_true(m.vcpu.event.address == 0xffffffff81000200 && m.vcpu.failsafe.address == 0xffffffff81000300);
	IS(CALL(&m, nmi_op, XENNMI_register_callback, WITH((struct xennmi_callback){0xffffffff81000400, 0})), 0);
	IS(CALL(&m, nmi_op, XENNMI_register_callback, WITH((struct xennmi_callback){1ull << 55, 0})), -XEN_EINVAL);
	IS(CALL(&m, nmi_op, XENNMI_register_callback, UNMAPPED), -XEN_EFAULT);
	IS(CALL(&m, nmi_op, XENNMI_unregister_callback, 0), 0);
	IS(CALL(&m, nmi_op, 4, 0), -XEN_ENOSYS);
}

// From its delivery to the next iret no other one comes; a handler by the callback is the trap table's.
static void test_nmi(void **state)
{
	u64 top = m_va(M_STACK + 1) - 16;

	register_traps();
	IS(CALL(&m, vcpu_op, VCPUOP_send_nmi, 0, m_va(M_DATA)), -XEN_EINVAL);
	IS(CALL(&m, vcpu_op, VCPUOP_send_nmi, 1, 0), -XEN_ENOENT);
	assert_false(pv_due(&m.vcpu));
	IS(CALL(&m, nmi_op, XENNMI_register_callback, WITH((struct xennmi_callback){0xffffffff81000400, 0})), 0);
	m.vcpu.info->evtchn_upcall_mask = 0;
	IS(CALL(&m, sched_op, SCHEDOP_block, 0), 0);
	assert_true(pv_waits(&m.vcpu));
	IS(CALL(&m, vcpu_op, VCPUOP_send_nmi, 0, 0), 0);
	IS(CALL(&m, vcpu_op, VCPUOP_send_nmi, 0, 0), 0); // the same one
	assert_false(pv_waits(&m.vcpu));
	m.cpu.gpr[R_RSP] = top, m.cpu.gpr[R_RCX] = 1, m.cpu.gpr[R_R11] = 2;
	assert_true(pv_deliver(&m.vcpu));
	frame_is((u64[]){1, 2, M_BASE + 0x123456, KERNEL_CS, RFL_FIXED | RFL_IF, top, KERNEL_SS}, 7);
	assert_true(m.cpu.rip == 0xffffffff81000400 && m.vcpu.info->evtchn_upcall_mask == 1);
	IS(CALL(&m, vcpu_op, VCPUOP_send_nmi, 0, 0), 0);
	assert_false(pv_due(&m.vcpu) || pv_deliver(&m.vcpu));
	m.vcpu.nmi_masked = false; // as by iret
	assert_true(pv_due(&m.vcpu));
	IS(CALL(&m, nmi_op, XENNMI_unregister_callback, 0), 0);
	assert_false(pv_deliver(&m.vcpu));
	assert_int_equal(m.ended, 1); // nothing handles it
}

static void test_callback_frames(void **state)
{
	u64 top = m_va(M_STACK + 1) - 16;

	register_traps();
	assert_false(pv_deliver(&m.vcpu));
	m.vcpu.info->evtchn_upcall_mask = 0, m.vcpu.info->evtchn_upcall_pending = 1;
	assert_false(pv_deliver(&m.vcpu)); // nobody to tell
	IS(register_callback(CALLBACKTYPE_event, 0, 0xffffffff81000100), 0);
	m.cpu.gpr[R_RSP] = top, m.cpu.gpr[R_RCX] = 1, m.cpu.gpr[R_R11] = 2;
	assert_true(pv_deliver(&m.vcpu));
	frame_is((u64[]){1, 2, M_BASE + 0x123456, KERNEL_CS, RFL_FIXED | RFL_IF, top, KERNEL_SS}, 7);
	assert_true(m.cpu.rip == 0xffffffff81000100 && m.vcpu.info->evtchn_upcall_mask == 1);
	assert_false(pv_deliver(&m.vcpu));
	// The failsafe callback has the selectors between R11 and RIP.
	IS(register_callback(CALLBACKTYPE_failsafe, CALLBACKF_mask_events, 0xffffffff81000200), 0);
	m.vcpu.info->evtchn_upcall_mask = 0;
	m.cpu.seg[SEG_DS].selector = 0xd5, m.cpu.seg[SEG_ES].selector = 0xe5, m.cpu.seg[SEG_FS].selector = 0xf5, m.cpu.seg[SEG_GS].selector = 0x65;
	m.cpu.gpr[R_RSP] = top, m.cpu.gpr[R_RCX] = 3, m.cpu.gpr[R_R11] = 4, m.cpu.rip = 0x99;
	pv_failsafe(&m.vcpu);
	frame_is((u64[]){3, 4, 0xd5, 0xe5, 0xf5, 0x65, 0x99, KERNEL_CS, RFL_FIXED | RFL_IF, top, KERNEL_SS}, 11);
	assert_true(m.cpu.rip == 0xffffffff81000200 && m.vcpu.info->evtchn_upcall_mask == 1);
	// A system call, of both kinds; without a handler it is an instruction that is not there.
	m.vcpu.info->evtchn_upcall_mask = 0;
	go_to_user_mode();
	m.cpu.rip = 0x400102;
	pv_syscall(&m.vcpu, false);
	assert_int_equal(m.cpu.rip, 0xffffffff81000030);
	frame_is((u64[]){0xcc, 0x11, 0x400100, USER_CS, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF, 0x7ffff008, USER_SS}, 7);
	IS(register_callback(CALLBACKTYPE_syscall, CALLBACKF_mask_events, 0xffffffff81000300), 0);
	IS(register_callback(CALLBACKTYPE_syscall32, 0, 0xffffffff81000400), 0);
	for (unsigned compat = 0; compat < 2; compat++) {
		go_to_user_mode();
		m.vcpu.info->evtchn_upcall_mask = 0;
		pv_syscall(&m.vcpu, compat);
		assert_int_equal(m.cpu.rip, compat ? 0xffffffff81000400 : 0xffffffff81000300);
		assert_int_equal(m.vcpu.info->evtchn_upcall_mask, !compat);
		frame_is((u64[]){0xcc, 0x11, 0x400100, USER_CS, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF, 0x7ffff008, USER_SS}, 7);
	}
}

// ---- iret, stack_switch

static s64 iret(const struct iret_context *i)
{
	m.cpu.gpr[R_RSP] = m_va(M_STACK) + 512;
	memcpy((u8 *)m_page(&m, M_STACK) + 512, i, sizeof(*i));
	return CALL(&m, iret, 0);
}

static void test_iret(void **state)
{
	struct iret_context k = {.rax = (u64)PV_AGAIN, .r11 = 7, .rcx = 8, .rip = M_BASE + 9, .cs = 0xe030, .rflags = RFL_IOPL | RFL_VM | RFL_CF, .rsp = 0x5550,
				 .ss = 0x1234};

	IS(iret(&k), PV_AGAIN); // any value may be RAX's
	assert_true(m.pieces == 1 && pv_kernel_mode(&m.vcpu) && m.cpu.seg[SEG_CS].selector == 0xe030);
	assert_true(m.cpu.gpr[R_R11] == 7 && m.cpu.gpr[R_RCX] == 8 && m.cpu.rip == M_BASE + 9 && m.cpu.gpr[R_RSP] == 0x5550);
	assert_int_equal(m.cpu.rflags, RFL_FIXED | RFL_IF | RFL_CF);
	assert_int_equal(m.vcpu.info->evtchn_upcall_mask, 1);
	k.flags = VGCF_in_syscall, k.rflags = RFL_IF | RFL_ZF, k.rax = 5;
	IS(iret(&k), 5);
	assert_true(m.cpu.gpr[R_RCX] == k.rip && m.cpu.gpr[R_R11] == (RFL_FIXED | RFL_IF | RFL_ZF) && !m.vcpu.info->evtchn_upcall_mask);
	go_to_user_mode();
	assert_false(pv_kernel_mode(&m.vcpu));
	assert_true(m.cpu.seg[SEG_GS].base == 0x2000 && m.cpu.kernel_gs_base == 0x1000);
	assert_int_equal(m.cpu.rflags, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF);
	assert_true(m.cpu.seg[SEG_CS].selector == USER_CS && m.cpu.seg[SEG_SS].selector == USER_SS);
}

// VMASST_TYPE_architectural_iopl: the I/O privilege level comes from the frame of each iret, and is in each frame that is made.
static void test_iret_iopl(void **state)
{
	u64 top = m_va(M_STACK + 1) - 16;
	struct iret_context k = {
		.rip = M_BASE + 9, .cs = 0xe030, .rflags = RFL_IOPL | RFL_IF, .rsp = top, .rcx = 1, .r11 = 2};
	struct x86_fault bp = {.vector = VEC_BP};

	register_traps();
	IS(iret(&k), 0);
	assert_int_equal(m.vcpu.iopl, 0); // not asked for
	IS(CALL(&m, vm_assist, VMASST_CMD_enable, VMASST_TYPE_architectural_iopl), 0);
	for (u64 level = 4; level-- > 0;) {
		k.rflags = RFL_IF | level << 12;
		IS(iret(&k), 0);
		assert_int_equal(m.vcpu.iopl, level);
		assert_int_equal(m.cpu.rflags, RFL_FIXED | RFL_IF); // the machine's own
		m.cpu.rflags |= RFL_IOPL;
		pv_exception(&m.vcpu, &bp);
		frame_is((u64[]){1, 2, M_BASE + 9, KERNEL_CS, RFL_FIXED | RFL_IF | level << 12, top, KERNEL_SS}, 7);
		assert_int_equal(m.cpu.rflags, RFL_FIXED | RFL_IF);
	}
	go_to_user_mode(); // its frame says 3
	assert_int_equal(m.vcpu.iopl, 3);
	IS(CALL(&m, vm_assist, VMASST_CMD_disable, VMASST_TYPE_architectural_iopl), 0);
	pv_exception(&m.vcpu, &bp);
	frame_is((u64[]){0xcc, 0x11, 0x400100, USER_CS, RFL_FIXED | RFL_IF | RFL_AC | RFL_TF, 0x7ffff008, USER_SS}, 7);
}

static void test_iret_refused(void **state)
{
	struct iret_context u = {.cs = USER_CS};

	(void)iret(&u); // no tables for user mode
	assert_true(m.ended == 1 && m.guest.over && pv_kernel_mode(&m.vcpu));
	m.guest.over = false;
	m.cpu.gpr[R_RSP] = UNMAPPED;
	(void)CALL(&m, iret, 0);
	assert_int_equal(m.ended, 2);
	m.guest.over = false;
	IS(CALL(&m, stack_switch, 0, 1ull << 50), -XEN_EINVAL);
	IS(CALL(&m, stack_switch, 0, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_trap_table), TEST(test_exception_frames), TEST(test_no_way_in),
		TEST(test_nmi),        TEST(test_callbacks),        TEST(test_callback_frames),
		TEST(test_iret),       TEST(test_iret_iopl),        TEST(test_iret_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
