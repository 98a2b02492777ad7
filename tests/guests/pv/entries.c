// SPDX-License-Identifier: MIT
// The ways between kernel and programs: iret, system calls, INT n, events; and what ends the VM.
#include "tests/guests/pv/pv.h"

#include "tests/guests/common/ports.h"
#include <xen/errno.h>

#define IN_SYSCALL VGCF_in_syscall
#define UNCANONICAL 0x0000800000000000ull

static void test_user(void)
{
	for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
		for (unsigned masked = 0; masked < 2; masked++) {
			check(run_user(user_syscall, masked ? 0 : RFL_IF, flags) == CAME(CAME_SYSCALL), "system call",
			      flags);
			check((got.cs & 3) == 3 && (got.ss & 3) == 3 && got.rip == (u64)user_syscall + 2, "its frame",
			      got.cs);
			check(run_user(user_syscall + 2, masked ? 0 : RFL_IF, flags) == CAME(VEC_UD), "exception",
			      flags);
		}
	check(run_user((void *)0x6000000000, 0, 0) == CAME(VEC_PF) && (got.error & 4), "page fault", got.error);
	check(run_user((void *)MACH2PHYS_VIRT_START, RFL_IF, 0) == CAME(VEC_PF), "M2P is run", 0);
	check(run_user((void *)GATE_TEXT, RFL_IF, 0) == CAME(VEC_PF), "gate is run", 0);
}

// XSA-7: SYSRET to an address that is none, and SYSCALL at the end of the lower half.
static void test_sysret(void)
{
	static const u64 bad[] = {UNCANONICAL, 0xffff7fffffffffff, 1ull << 63, UNCANONICAL + 0x1000, 0x8000000000000};
	u64 *l3 = page(1), *l2 = page(2), *l1 = page(3);
	u8 *code = (u8 *)page(4);
	u64 root = mfn_of((void *)start_info->pt_base);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
			for (unsigned masked = 0; masked < 2; masked++)
				check(run_user((void *)bad[i], masked ? 0 : RFL_IF, flags) > 1, "it ran", bad[i]);
	code[4094] = 0x0f, code[4095] = 0x05;
	l1[511] = leaf(code, KERNEL_RO | PTE_U);
	l2[511] = leaf(l1, TABLE | PTE_U);
	l3[511] = leaf(l2, TABLE | PTE_U);
	check(!remap(l1, KERNEL_RO) && !remap(l2, KERNEL_RO) && !remap(l3, KERNEL_RO) &&
		      !store(root, 255, leaf(l3, TABLE | PTE_U)),
	      "map", 0);
	check(run_user((void *)(UNCANONICAL - 2), RFL_IF, 0) != 0, "SYSCALL at the end", 0);
	if (got.vector == CAME_SYSCALL)
		check(run_user((void *)got.rip, RFL_IF, IN_SYSCALL) > 1, "and back", got.rip);
	check(!store(root, 255, 0), "unmap", 0);
}

// XSA-339: SYSENTER with NT.
static void test_sysenter(void)
{
	check(run_user(user_sysenter, RFL_IF, 0) > 1, "SYSENTER", 0);
	check(run_user(user_sysenter, RFL_IF | RFL_NT, 0) > 1, "SYSENTER with NT", 0);
	for (u64 bit = 1; bit <= 1ull << 21; bit <<= 1)
		for (unsigned flags = 0; flags <= IN_SYSCALL; flags += IN_SYSCALL)
			check(run_user(user_syscall, bit | RFL_IF, flags) > 1 && !(got.rflags & (RFL_IOPL | RFL_VM)),
			      "flag", bit);
}

// Code and stack segments of any kind.
static void enter_user(u64 context)
{
	iret((struct iret_context *)context);
}

static void test_selectors(void)
{
	for (unsigned sel = 0; sel < 0x10000; sel += sel >= 0xdf80 && sel < 0xf080 ? 1 : 0x333) {
		struct iret_context c = user_context(user_syscall, RFL_IF, 0), d = c;

		c.cs = sel | 3;
		d.ss = sel | 3;
		check(attempt(enter_user, (u64)&c) != 0, "CS", sel);
		check(attempt(enter_user, (u64)&d) != 0, "SS", sel);
	}
}

static void int_at(u64 code)
{
	((void (*)(void))code)();
}

// INT with every number, by the kernel and by a program: those of the gate, too.
static void test_ints(void)
{
	u8 *code = (u8 *)page(1);

	for (unsigned v = 0; v < 256; v++) {
		unsigned came;

		code[0] = 0xcd, code[1] = (u8)v, code[2] = 0xc3;
		came = run_user(code, RFL_IF, 0);
		check(v == 3 || v == 4 || v == 0x80 ? came == CAME(v) : came == CAME(VEC_GP), "program's INT", v);
		came = attempt(int_at, (u64)code);
		if (v == GATE_EXIT_VECTOR ||
		    v == GATE_CR3_VECTOR) // the kernel's ring may have those: an exception, and nothing
			continue;
		check(v == 3 || v == 4 || v == 0x80 ? came == CAME(v) : came == CAME(VEC_GP), "kernel's INT", v);
	}
}

// XSA-259: INT 80h where the kernel has no handler for it.
static void test_int80(void)
{
	struct trap_info was = traps[0x80];
	u8 *code = (u8 *)page(1);

	code[0] = 0xcd, code[1] = 0x80, code[2] = 0x0f, code[3] = 0x0b;
	traps[0x80] = traps[0x81]; // twice the same, and none for it
	check(!CALL(set_trap_table, 0) && !CALL(set_trap_table, traps), "table without", 0);
	check(run_user(code, RFL_IF, 0) == CAME(VEC_GP) && got.error == (0x80 * 8 | 2) && got.rip == (u64)code,
	      "INT 80h of a program", got.error);
	check(attempt(int_at, (u64)code) == CAME(VEC_GP), "and of the kernel", got.vector);
	traps[0x80] = was;
	check(!CALL(set_trap_table, traps), "table with", 0);
	check(run_user(code, RFL_IF, 0) == CAME(0x80), "and now", got.vector);
}

static void send_nmi(u64 arg)
{
	check(!CALL(vcpu_op, VCPUOP_send_nmi, 0, 0), "send", 0);
}

// Whatever is masked; the next one after the iret from the first.
static void test_nmi(void)
{
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	check(attempt(send_nmi, 0) == CAME(VEC_NMI), "to itself", got.vector);
	nmis = 0;
	count_nmis = true;
	check(!attempt(send_nmi, 0) && nmis == 2, "one after the other", nmis);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "programs run after it", 0);
	count_nmis = false;
	check(CALL(vcpu_op, VCPUOP_send_nmi, 1, 0) == -XEN_ENOENT, "to nobody", 0);
}

// A program's ports: by level, and by the kernel's map.
static void test_user_ports(void)
{
	struct physdev_set_iopl iopl = {3};
	struct physdev_set_iobitmap map = {.nr_ports = 0x68};
	u8 *bits = (u8 *)page(1);

	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP) && run_user(user_out, RFL_IF, 0) == CAME(VEC_GP),
	      "not asked for", 0);
	check(!CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl), "level 3", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_UD) && run_user(user_out, RFL_IF, 0) == CAME(VEC_UD), "by level",
	      got.vector);
	iopl.iopl = 0;
	check(!CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl), "level 0", 0);
	memset(bits, 0xff, PAGE_SIZE);
	set_xen_guest_handle(map.bitmap, bits);
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "map", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP), "a bit that is set", got.vector);
	bits[0x61 / 8] &= (u8)~BIT(0x61 % 8);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_UD), "by the map", got.vector);
	map.nr_ports = 0x61;
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "shorter", 0);
	check(run_user(user_in, RFL_IF, 0) == CAME(VEC_GP), "beyond its end", got.vector);
	map.nr_ports = 0;
	check(!CALL(physdev_op, PHYSDEVOP_set_iobitmap, &map), "none", 0);
}

// Channel 2 of the timer: what kernels calibrate by. 5 ms are 5966 of its ticks.
static void test_timer_channel(void)
{
	struct vcpu_time_info *t = &shared()->vcpu_info[0].time;
	u64 start, ticks;

	outb(0x61, (inb(0x61) & ~2u) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 5966 & 0xff);
	outb(0x42, 5966 >> 8);
	start = __builtin_ia32_rdtsc();
	check(!(inb(0x61) & 0x20), "its output at once", 0);
	while (!(inb(0x61) & 0x20) && __builtin_ia32_rdtsc() - start < 1ull << 34)
		;
	ticks = __builtin_ia32_rdtsc() - start;
	ticks = t->tsc_shift < 0 ? ticks >> -t->tsc_shift : ticks << t->tsc_shift;
	ticks = (u64)((unsigned __int128)ticks * t->tsc_to_system_mul >> 32); // ns
	check(ticks >= 4900000 && ticks < 2000000000, "5 ms by the machine's clock", ticks);
}

// A selector of a program's that is not there leaves GS null, as under Xen.
static void test_bad_gs(void)
{
	u16 gs = 0x1234;

	check(!CALL(set_segment_base, SEGBASE_GS_USER_SEL, 0xdff3), "selector that is none", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL), "programs run", 0);
	__asm__ volatile("mov %%gs, %0" : "=r"(gs));
	check(!(gs & ~3u), "GS is null", gs);
}

// XSA-213: what follows an iret in a list of calls is not run for the program.
static struct multicall_entry list[3];

static void call_list(u64 context)
{
	call_on(context, __HYPERVISOR_multicall, (u64)list, 3);
}

static void test_multicall_iret(void)
{
	struct iret_context c = user_context(user_syscall, RFL_IF, 0);

	memset(list, 0, sizeof(list));
	list[0] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	list[1] = (struct multicall_entry){.op = __HYPERVISOR_iret};
	list[2] = (struct multicall_entry){.op = __HYPERVISOR_xen_version, .args = {XENVER_pagesize}};
	for (u64 rax = (u64)-0x8010; rax < (u64)-0x7ff0; rax++) {
		c.rax = rax;
		list[2].result = 0;
		if (!check(attempt(call_list, (u64)&c) == CAME(CAME_SYSCALL) && got.rax == rax, "its RAX", got.rax))
			break;
		check(!list[2].result, "the list goes on", list[2].result);
	}
}

// Events on the way to a program: taken before its first instruction.
static void test_iret_events(void)
{
	struct evtchn_bind_ipi b = {0};
	unsigned before = events;

	check(!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b), "bind", 0);
	shared()->vcpu_info[0].evtchn_upcall_mask = 1;
	shared()->evtchn_mask[0] &= ~BIT(b.port);
	check(!CALL(event_channel_op, EVTCHNOP_send, &b.port) && events == before, "masked", 0);
	check(run_user(user_syscall, RFL_IF, 0) == CAME(CAME_SYSCALL) && events == before + 1, "taken", events);
	shared()->evtchn_pending[0] = 0;
	check(!CALL(event_channel_op, EVTCHNOP_close, &b.port), "close", 0);
}

const struct pv_case entry_cases[] = {
	{"user", test_user, false},
	{"xsa-7-sysret", test_sysret, false},
	{"xsa-339-sysenter", test_sysenter, false},
	{"selectors", test_selectors, false},
	{"ints", test_ints, false},
	{"xsa-259-int80", test_int80, false},
	{"nmi", test_nmi, false},
	{"user-ports", test_user_ports, false},
	{"timer-channel", test_timer_channel, false},
	{"bad-gs", test_bad_gs, false},
	{"xsa-213-multicall-iret", test_multicall_iret, false},
	{"iret-events", test_iret_events, false},
	{0},
};

// ---- what ends the VM, or may

static void no_handler(void)
{
	(void)CALL(set_trap_table, 0);
	__asm__ volatile("ud2");
}

static void no_stack(void)
{
	__asm__ volatile("mov $0x123450, %esp; shl $20, %rsp; ud2");
}

static void iret_from_nowhere(void)
{
	call_on(UNCANONICAL, __HYPERVISOR_iret, 0, 0);
}

static void no_user_tables(void)
{
	(void)ext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
	(void)run_user(user_syscall, RFL_IF, 0);
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

// Kernel stacks in the gate, for what a program does next.
static void gate_stacks(void)
{
	static const u64 at[] = {GATE_STACK, GATE_IST, GATE_VCPU, GATE_TRUST, GATE_TSS, GATE_PV_INFO, GATE_GDT};

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		for (unsigned offset = 0; offset <= PAGE_SIZE; offset += 16) {
			(void)CALL(stack_switch, 0, at[i] + offset);
			(void)run_user(user_syscall, RFL_IF, 0);
			(void)run_user((void *)0x6000000000, RFL_IF, 0);
		}
}

// The frame of an iret where the gate itself keeps what it reads from one.
static void iret_in_gate(void)
{
	struct iret_context c = user_context(user_syscall, RFL_IF, 0);
	u64 was[sizeof(c) / 8];

	for (u64 at = GATE_VCPU; at + sizeof(c) <= GATE_VCPU + PAGE_SIZE; at += 8) {
		c.flags = at & 8 ? IN_SYSCALL : 0;
		memcpy(was, (void *)at, sizeof(c));
		memcpy((void *)at, &c, sizeof(c));
		(void)attempt(enter_user, at);
		memcpy((void *)at, was, sizeof(c));
	}
	iret((struct iret_context *)(GATE_VCPU + 2 * PAGE_SIZE));
}

static void spoiled(u64 arg)
{
	__asm__ volatile("ud2");
}

// The vCPU's page is the guest's to spoil: nothing of it is believed.
static void spoil_page(void)
{
	static const u64 values[] = {0,           ~0ull,  GATE_TRUST, GATE_STACK + 0x800,
				     UNCANONICAL, 0xf011, 0x10,       MACH2PHYS_VIRT_START};
	volatile u64 *at = (u64 *)GATE_VCPU;

	for (unsigned n = 0; n < ARRAY_SIZE(values); n++)
		for (unsigned i = 0; i < sizeof(struct vcpu_page) / 8 && i < 512; i++) {
			u64 was = at[i];

			at[i] = values[n];
			(void)CALL(xen_version, 0, 0);
			(void)attempt(spoiled, 0);
			(void)run_user(user_syscall, RFL_IF, i & 1 ? IN_SYSCALL : 0);
			at[i] = was;
		}
}

// A root that does not have this code.
static void empty_root(void)
{
	u64 *l4 = page(1);

	(void)remap(l4, KERNEL_RO);
	(void)ext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0);
	(void)CALL(xen_version, 0, 0);
}

// A second, and nobody winds it.
static void watchdog(void)
{
	struct sched_watchdog w = {.timeout = 1};

	check(CALL(sched_op, SCHEDOP_watchdog, &w) == 1, "set", 0);
	for (;;) {
		struct sched_poll p = {.nr_ports = 0, .timeout = 0};

		(void)CALL(sched_op, SCHEDOP_poll, &p);
	}
}

// No attack: looks after its own memory while others attack.
static void victim(void)
{
	u64 *from = page(1), *to = from + (PAGES - 1) * 512;

	for (u64 *p = from; p < to; p++)
		*p = (u64)p * 0x9e3779b97f4a7c15ull;
	for (unsigned round = 0; round < 20000; round++)
		for (u64 *p = from; p < to; p++)
			if (*(volatile u64 *)p != (u64)p * 0x9e3779b97f4a7c15ull) {
				check(false, "memory of the victim has changed", (u64)p);
				return;
			}
}

const struct pv_case fatal_cases[] = {
	{"no-handler", no_handler, true},
	{"no-stack", no_stack, true},
	{"iret-from-nowhere", iret_from_nowhere, true},
	{"no-user-tables", no_user_tables, true},
	{"no-failsafe", no_failsafe, true},
	{"empty-root", empty_root, true},
	{"push-in-table", push_in_table, true},
	{"call-in-table", call_in_table, true},
	{"bad-row", bad_row, true},
	{"gate-stacks", gate_stacks, true},
	{"iret-in-gate", iret_in_gate, true},
	{"spoil-page", spoil_page, true},
	{"watchdog", watchdog, true},
	{"victim", victim, true},
	{0},
};
