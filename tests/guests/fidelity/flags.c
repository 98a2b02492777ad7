// SPDX-License-Identifier: MIT
// PUSHF, POPF, and what user mode may change.
#include "kernel.h"

static u64 user_saw;

static void user_popf(void)
{
	asm volatile("pushf; pop %0; xor $0x3200, %0; push %0; popf; pushf; pop %0" : "=&r"(user_saw)::"cc");
	asm volatile("int $0x80");
}

static void user_pushf(void)
{
	user_saw = flags();
	asm volatile("int $0x80");
}

static void user_cli(void)
{
	asm volatile("cli; int $0x80");
}

static void user_in(void)
{
	asm volatile("inb $0x61, %%al; int $0x80" ::: "eax");
}

void test_flags(void)
{
	u64 f;
	u16 word;

	set_flags(2);
	check("pushf: IF clear", !(flags() & F_IF));
	asm volatile("sti; nop; pushf; pop %0; cli" : "=r"(f));
	check("pushf: IF set", f & F_IF);
	set_flags(2 | F_IF);
	f = flags();
	set_flags(2);
	check("popf: IF", (f & F_IF) && !(flags() & F_IF));
	set_flags(2 | F_IOPL);
	f = flags();
	set_flags(2 | 0x1000);
	check("popf: IOPL 3, IOPL 1", (f & F_IOPL) == F_IOPL && (flags() & F_IOPL) == 0x1000);
	set_flags(2);
	check("popf: IOPL 0", !(flags() & F_IOPL));
	set_flags(2 | F_NT | F_AC | F_ID);
	f = flags();
	set_flags(2);
	check("popf: NT, AC, ID", (f & (F_NT | F_AC | F_ID)) == (F_NT | F_AC | F_ID) && !(flags() & (F_NT | F_AC | F_ID)));
	set_flags(2 | F_ID | F_IF);
	asm volatile("pushfw; popw %0; pushw %1; popfw" : "=&r"(word) : "r"((u16)2));
	check("pushf and popf of 16 bits", (word & F_IF) && (flags() & (F_ID | F_IF)) == F_ID);
	set_flags(0x8d5 | F_IF);
	check("popf: arithmetic flags", (flags() & 0x8d5) == 0x8d5);
	set_flags(2 | F_RF | F_VM);
	check("popf: RF and VM are not loaded", !(flags() & (F_RF | F_VM)));
	in_user(user_popf, USER_CS, 2 | F_IF);
	check("user popf: IF and IOPL stay", caught.vector == 0x80 && (user_saw & (F_IF | F_IOPL)) == F_IF);
	in_user(user_pushf, USER_CS, 2 | F_IF);
	check("user pushf: IF", user_saw & F_IF);
	in_user(user_cli, USER_CS, 2 | F_IF);
	check("user cli: #GP(0)", caught.vector == GP && caught.error == 0);
	in_user(user_cli, USER_CS, 2 | F_IF | F_IOPL);
	check("user cli with IOPL 3", caught.vector == 0x80 && !(caught.rflags & F_IF) && (caught.rflags & F_IOPL) == F_IOPL);
	in_user(user_in, USER_CS, 2);
	check("user in: #GP(0)", caught.vector == GP && caught.error == 0);
	in_user(user_in, USER_CS, 2 | F_IOPL);
	check("user in with IOPL 3", caught.vector == 0x80);
	tss.io[0x61 / 8] = 0xfd;
	in_user(user_in, USER_CS, 2);
	check("user in by the I/O map", caught.vector == 0x80);
	tss.io[0x61 / 8] = 0xff;
	set_flags(2);
}
