// SPDX-License-Identifier: MIT
// Selectors as ring 0 sees them, descriptors as LAR, LSL, VERR and VERW see them, descriptor-table registers.
#include "kernel.h"

struct __attribute__((packed)) pointer {
	u16 limit;
	u64 base;
};

static u16 user_sel[2];
static struct pointer user_gdt;

static void user_selectors(void)
{
	asm volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(user_sel[0]), "=r"(user_sel[1]));
	asm volatile("int $0x80");
}

static void user_sgdt(void)
{
	asm volatile("sgdt %0" : "=m"(user_gdt));
	asm volatile("int $0x80");
}

static u32 lar(u16 sel)
{
	u32 v = 0xeeeeeeee;

	asm volatile("lar %1, %0" : "+r"(v) : "r"((u32)sel) : "cc");
	return v == 0xeeeeeeee ? v : v & 0x00f0ff00; // the rest is undefined
}

static u32 lsl(u16 sel)
{
	u32 v = 0xeeeeeeee;

	asm volatile("lsl %1, %0" : "+r"(v) : "r"((u32)sel) : "cc");
	return v;
}

static bool verr(u16 sel)
{
	bool z;

	asm volatile("verr %1" : "=@ccz"(z) : "r"(sel));
	return z;
}

static bool verw(u16 sel)
{
	bool z;

	asm volatile("verw %1" : "=@ccz"(z) : "r"(sel));
	return z;
}

static void load_ds(u64 sel)
{
	asm volatile("mov %w0, %%ds; mov %w1, %%ds" ::"r"(sel), "r"(KERNEL_SS));
}

static void load_ss(u64 sel)
{
	asm volatile("mov %w0, %%ss; mov %w1, %%ss" ::"r"(sel), "r"(KERNEL_SS));
}

static void load_tr(u64 sel)
{
	asm volatile("ltr %w0" ::"r"(sel));
}

static void tables(void)
{
	struct pointer p = {0, 0};
	u16 sel = 0xffff;
	u64 msw = 0, cr0;

	asm volatile("sgdt %0" : "=m"(p));
	check("sgdt", p.base == gdt_pointer.base && p.limit == gdt_pointer.limit);
	asm volatile("sidt %0" : "=m"(p));
	check("sidt", p.limit == 4095);
	asm volatile("str %0" : "=r"(sel));
	check("str", sel == TSS);
	asm volatile("sldt %0" : "=r"(sel));
	check("sldt", sel == 0);
	asm volatile("smsw %0; mov %%cr0, %1" : "=r"(msw), "=r"(cr0));
	check("smsw", (u16)msw == (u16)cr0);
	in_user(user_sgdt, USER_CS, 2);
	check("user sgdt without UMIP", caught.vector == 0x80 && user_gdt.base == gdt_pointer.base);
}

void test_segments(void)
{
	u64 cs, ss, pushed;
	u16 mem;

	asm volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
	check("mov from cs and ss", cs == KERNEL_CS && ss == KERNEL_SS);
	asm volatile("mov %%cs, %0" : "=m"(mem));
	check("mov from cs to memory", mem == KERNEL_CS);
	asm volatile("mov %1, %%fs; push %%fs; pop %0; mov %2, %%fs" : "=r"(pushed) : "r"(USER_SS), "r"(0));
	check("push fs", pushed == USER_SS);
	in_user(user_selectors, USER_CS, 2);
	check("user selectors", user_sel[0] == USER_CS && user_sel[1] == USER_SS);
	check("lar", lar(KERNEL_CS) == 0x00a09b00 && lar(KERNEL_SS) == 0x00c09300 && lar(USER_SS) == 0x00c0f300);
	check("lar: absent, TSS, null", lar(ABSENT_CS) == 0x00a01b00 && lar(TSS) == 0x00008b00 && lar(0) == 0xeeeeeeee);
	check("lar: beyond the table", lar(0x1000) == 0xeeeeeeee);
	check("lsl", lsl(KERNEL_CS) == 0xffffffff && lsl(TSS) == sizeof(struct tss) - 1 && lsl(CONFORMING_CS) == 0xfff);
	check("verr, verw", verr(KERNEL_CS) && !verw(KERNEL_CS) && verw(KERNEL_SS) && !verw(READONLY_DS) && !verr(TSS));
	check("mov to ds beyond the table: #GP(selector)", raises(load_ds, 0x1000, GP, 0x1000));
	check("mov to ds of a TSS: #GP(selector)", raises(load_ds, TSS, GP, TSS));
	check("mov to ds absent: #NP(selector)", raises(load_ds, ABSENT_CS, NP, ABSENT_CS));
	check("mov to ss of code: #GP(selector)", raises(load_ss, KERNEL_CS, GP, KERNEL_CS));
	check("mov to ss of RPL 3: #GP(selector)", raises(load_ss, USER_SS, GP, USER_SS & ~3));
	check("ltr of a busy TSS: #GP(selector)", raises(load_tr, TSS, GP, TSS));
	tables();
}
