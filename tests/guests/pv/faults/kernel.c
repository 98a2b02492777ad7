// SPDX-License-Identifier: MIT
// The kernel's own page faults, which the gate delivers where nothing is mapped, and the way back from them: what the handler finds of the
// frame, vcpu_info and CR2, whether events were masked or not, and what is left of registers and flags.
#include "tests/guests/pv/harness/pv.h"

#define NOWHERE 0x7000000123ull
#define RCX 0x1234567890abcdefull
#define R11 0xfedcba0987654321ull

static u64 seen_cr2;

static void load(u64 at)
{
	__asm__ volatile("mov %0, %%r11; mov (%2), %%al" : : "r"(R11), "c"(RCX), "D"(at) : "rax", "r11");
}

static void store_byte(u64 at)
{
	__asm__ volatile("std; movb $1, (%0)" : : "D"(at));
}

static void read_cr2(u64 unused)
{
	__asm__ volatile("mov %%cr2, %0" : "=r"(seen_cr2));
}

static void test_faults(void)
{
	struct vcpu_info *info = &shared()->vcpu_info[0];

	for (u8 mask = 0; mask < 2; mask++) {
		info->evtchn_upcall_mask = mask;
		info->arch.cr2 = 0;
		check(attempt(load, NOWHERE) == CAME(VEC_PF) && !got.error, "a load", got.error);
		check(info->arch.cr2 == NOWHERE, "its address", info->arch.cr2);
		check(!attempt(read_cr2, 0) && seen_cr2 == NOWHERE, "its address in CR2", seen_cr2);
		check(got.rcx == RCX && got.r11 == R11, "registers", got.rcx);
		check((u16)got.cs == (u16)(FLAT_KERNEL_CS64 & ~3) && got.ss == FLAT_KERNEL_SS64, "selectors", got.cs);
		check(got.cs >> 32 == mask, "the mask in the frame", got.cs);
		check((got.rflags & RFL_IF) == (mask ? 0 : RFL_IF), "flags in the frame", got.rflags);
		check(got_mask == 1, "masked in the handler", got_mask);
		check(info->evtchn_upcall_mask == 1, "masked by the way back", info->evtchn_upcall_mask);
		info->evtchn_upcall_mask = mask;
		check(attempt(store_byte, NOWHERE + 0x1000) == CAME(VEC_PF) && got.error == PF_W, "a store", got.error);
		check(info->arch.cr2 == NOWHERE + 0x1000, "its address", info->arch.cr2);
		check(got.rflags & RFL_DF, "DF in the frame", got.rflags);
		info->evtchn_upcall_mask = mask;
		check(attempt(load, 1ull << 63) == CAME(VEC_GP), "an address that is none", 0);
		check(attempt(peek, GATE_TRUST + 0x100000000) == CAME(VEC_PF), "behind the gate", 0);
	}
	info->evtchn_upcall_mask = 1;
}

// One after the other, each with its own frame; and beside a table that is lent, when each crosses.
static void test_many_faults(void)
{
	volatile u64 *table = page(1);
	u64 entry = leaf(page(2), KERNEL_RO); // by hypercalls, which would end a row

	for (unsigned i = 0; i < 100; i++)
		check(attempt(load, NOWHERE + i * PAGE_SIZE) == CAME(VEC_PF), "one of many", i);
	check(!pin((void *)table, 1), "pin", 0);
	for (unsigned i = 0; i < 20; i++) {
		table[i] = entry | (u64)i << 52; // ignored bits
		table[i + 100] = 0;
		check(i % 5 || attempt(load, NOWHERE) == CAME(VEC_PF), "in a row of stores", i);
	}
	for (unsigned i = 0; i < 20; i++)
		check(table[i] >> 52 == i, "what was stored", table[i]);
	check(!unpin((void *)table) && !remap((void *)table, KERNEL_RW), "unpin", 0);
}

// Programs' faults: what the handler finds, events masked or not before.
static void test_program_faults(void)
{
	struct vcpu_info *info = &shared()->vcpu_info[0];

	for (unsigned i = 0; i < 100; i++) {
		const void *at = (void *)(NOWHERE + i * PAGE_SIZE);
		u64 mask = i & 1;
		struct iret_context c = user_context(at, mask ? 0 : RFL_IF, 0);

		c.rcx = RCX + i;
		c.r11 = R11 - i;
		info->arch.cr2 = 0;
		check(attempt(enter_user, (u64)&c) == CAME(VEC_PF) && got.error == (PF_U | PF_I), "a jump", got.error);
		check(info->arch.cr2 == (u64)at && got.rip == (u64)at, "its address", info->arch.cr2);
		check(got.rcx == c.rcx && got.r11 == c.r11 && got.rsp == c.rsp, "registers", got.rcx);
		check((u16)got.cs == FLAT_USER_CS64 && got.ss == FLAT_USER_SS64, "selectors", got.cs);
		check(got.cs >> 32 == mask, "the mask in the frame", got.cs);
		check((got.rflags & RFL_IF) == (mask ? 0 : RFL_IF), "flags in the frame", got.rflags);
		check(got_mask == 1, "masked in the handler", got_mask);
		check(info->evtchn_upcall_mask == 1, "masked by the way back", info->evtchn_upcall_mask);
	}
}

// A kernel whose programs have its own tables: every page of the lower half is theirs, too, with U in its entry or not; with tables of
// their own the entry counts.
static void test_shared_tables(void)
{
	void *code = (void *)user_syscall;
	u64 own = mfn_of(program_root), kernel = mfn_of((void *)start_info->pt_base);

	check(run_user(code, RFL_IF, 0) == CAME(CAME_SYSCALL), "with U", 0);
	check(!remap(code, KERNEL_RO & ~PTE_U), "without U", 0);
	check(run_user(code, RFL_IF, 0) == CAME(VEC_PF) && got.error == (PF_P | PF_U | PF_I), "without U", got.error);
	check(!ext(MMUEXT_NEW_USER_BASEPTR, kernel, 0), "its own tables", 0);
	check(run_user(code, RFL_IF, 0) == CAME(CAME_SYSCALL), "a page without U", 0);
	test_program_faults();
	test_faults();
	check(!ext(MMUEXT_NEW_USER_BASEPTR, 0, 0), "none", 0);
	test_faults();
	check(!ext(MMUEXT_NEW_USER_BASEPTR, own, 0), "programs' tables", 0);
	check(!remap(code, KERNEL_RW), "with U again", 0);
}

const struct pv_case cases[] = {
	{"program-faults", test_program_faults, false},
	{"shared-tables", test_shared_tables, false},
	{"kernel-faults", test_faults, false},
	{"many-kernel-faults", test_many_faults, false},
	{0},
};
