// SPDX-License-Identifier: MIT
// The gate, the only part of the hypervisor that is mapped while the guest runs, and the slots of a root that are not the guest's. The
// kernel runs in ring 1 and reaches the gate's pages: it tries to write those that are read-only, spoils the one that it may write, and has
// its stacks there.
#include "tests/guests/pv/harness/pv.h"

#define NOWHERE 0x6000000000ull

// Slots that are the hypervisor's, and what is in them.
static void test_slots(void)
{
	u64 root = mfn_of((void *)start_info->pt_base), *l3 = page(1);

	check(!remap(l3, KERNEL_RO), "read-only", 0);
	for (unsigned slot = 256; slot <= 271; slot++)
		check(store(root, slot, leaf(l3, TABLE)) < 0, "slot", slot);
	check(attempt(poke, MACH2PHYS_VIRT_START) == CAME(VEC_PF), "M2P is written", 0);
	check(attempt(poke, GATE_TRUST) == CAME(VEC_PF) && attempt(poke, GATE_IDT) == CAME(VEC_PF) &&
		      attempt(poke, GATE_GDT) == CAME(VEC_PF) && attempt(poke, GATE_TSS) == CAME(VEC_PF) &&
		      attempt(poke, GATE_TEXT) == CAME(VEC_PF),
	      "gate is written", 0);
	check(attempt(peek, 0x100000) == 0, "own memory", 0);
}

// Where the gate stores RCX to a guest's stack: from there a fault is a crossing, and one that never ends if the frame says so.
static u64 store_in_gate(void)
{
	static const u8 code[] = {0x48, 0x89, 0x48, 0xc0}; // mov %rcx, -64(%rax)
	u64 at = GATE_TEXT;

	while (memcmp((void *)at, code, sizeof(code)))
		at++;
	return at;
}

// A kernel stack in the gate, for what a program or the kernel does next: at=OFFSET, of the end of the stack, in the gate's slot. RCX and
// R11 are such that they would make a frame of ring 0 of what the gate stores.
static void gate_stack(void)
{
	__asm__ volatile("mov %0, %%rsp; mov %1, %%r11; mov (%3), %%al"
			 :
			 : "r"(GATE_BASE + argument("at=", 0)), "r"(store_in_gate()), "c"((u64)SEL_HV_CS), "D"(NOWHERE)
			 : "r11");
}

static void gate_stack_of_program(void)
{
	struct iret_context c = user_context((void *)NOWHERE, RFL_IF, 0);

	c.rcx = SEL_HV_CS;
	c.r11 = store_in_gate();
	(void)CALL(stack_switch, 0, GATE_BASE + argument("at=", 0));
	iret(&c);
}

static void gate_stack_of_syscall(void)
{
	(void)CALL(stack_switch, 0, GATE_BASE + argument("at=", 0));
	(void)run_user(user_syscall, RFL_IF, 0);
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

const struct pv_case cases[] = {
	{"slots", test_slots, false},
	{"gate-stack", gate_stack, true},
	{"gate-stack-of-program", gate_stack_of_program, true},
	{"gate-stack-of-syscall", gate_stack_of_syscall, true},
	{"iret-in-gate", iret_in_gate, true},
	{"spoil-page", spoil_page, true},
	{0},
};
