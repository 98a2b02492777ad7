// SPDX-License-Identifier: MIT
// Attacks that end this VM, each run by itself: the hypervisor must say why, and go on.
#include "tests/guests/hostile/hostile.h"

extern const u8 legacy_start[], legacy_end[];

// CR3 beyond memory.
static void root_beyond(void)
{
	WRITE(cr3, 0x7000000000);
}

// A root with nothing in it: not even this code, nor the handlers of faults.
static void empty_root(void)
{
	WRITE(cr3, (u64)forged(0));
}

static void no_idt(void)
{
	lidt(0, 0);
	__asm__ volatile("ud2");
}

static void device_idt(void)
{
	lidt(0xfee00000, 0xfff);
	__asm__ volatile("ud2");
}

static void device_gdt(void)
{
	lgdt(0xfee00000, 0xffff);
	__asm__ volatile("ud2");
}

static void device_tss(void)
{
	static u64 table[16];
	struct table_register r;

	__asm__ volatile("sgdt %0" : "=m"(r));
	memcpy(table, (void *)r.base, MIN(r.limit + 1ull, sizeof(table)));
	table[SEL_TSS_HERE / 8] = 0x67 | 0xe00000ull << 16 | 0x89ull << 40 | 0xfeull << 56;
	table[SEL_TSS_HERE / 8 + 1] = 0;
	lgdt((u64)table, sizeof(table) - 1);
	__asm__ volatile("ltr %w0; ud2" : : "r"(SEL_TSS_HERE));
}

// IRET to ring 3 with the frame in the vCPU's page, where the translation of IRET itself writes between looking at CS and
// loading it. `at` is where CS is.
static void frame_in_page(u64 at, u64 seen)
{
	volatile struct vcpu_page *page = (volatile struct vcpu_page *)GATE_VCPU;
	volatile u64 *frame = (volatile u64 *)at - 1;

	frame[0] = KCODE_AT;
	frame[2] = 2;
	frame[3] = KSTACK_TOP;
	frame[4] = SEL_R1_SS;
	frame[1] = seen;
	page->vif = SEL_R1_CS;
	__asm__ volatile("mov %0, %%rsp; iretq" : : "r"(frame) : "memory");
}

static void frame_at_old_vif(u64 at)
{
	frame_in_page(at, 3);
}

// Raw code in ring 1, if a frame has got it there: leaves by our exit, and by others.
static void iret_escape(void)
{
	put_code(KCODE_AT, "\xcd\xf0\xcd\xf1\x0f\x0b", 6);
	attempt(frame_at_old_vif, GATE_VCPU + offsetof(struct vcpu_page, old_vif));
	check(false, "IRET from a frame in the vCPU's page", got.rip);
}

static void iret_loop(void)
{
	put_code(KCODE_AT, "\xeb\xfe", 2);
	attempt(frame_at_old_vif, GATE_VCPU + offsetof(struct vcpu_page, old_vif));
	check(false, "IRET from a frame in the vCPU's page", got.rip);
}

// The return cache says where translated code goes on after a return.
static void fill_returns(u64 value)
{
	volatile struct vcpu_page *page = (volatile struct vcpu_page *)GATE_VCPU;

	for (unsigned i = 0; i < RETURNS; i++)
		page->returns[i] = value;
	exercise();
}

static void returns(void)
{
	put_code(KCODE_AT, "\xcd\xf0\xcd\xf1\x0f\x0b", 6);
	for (unsigned i = 0; i < 50; i++)
		fill_returns(KCODE_AT);
}

// Into the cache itself, at any byte of it: what runs there is ours, but not in its order.
static void returns_into_cache(void)
{
	for (unsigned i = 0; i < 2000; i++)
		fill_returns(GATE_TC + (random64() & 0x3fffff));
}

static void returns_into_gate(void)
{
	for (unsigned i = 0; i < 500; i++)
		fill_returns(GATE_TEXT + (random64() & 0x1fff));
}

// Out of long mode, where ring 3 and virtual-8086 code are the emulator's: its CS is F000, a selector of ours.
static void legacy(void)
{
	memcpy((void *)0x10000, legacy_start, (size_t)(legacy_end - legacy_start));
	((void (*)(void))0x10000)();
}

// A program that returns to virtual-8086 mode, which long mode does not have; QEMU 7.2's TCG has it. CS then says nothing of the ring.
static void vm86_program(void)
{
	static const u16 selectors[] = {0x0010, 0xf000, 0xf011, 0x1002, 0x0003};

	for (unsigned i = 0; i < ARRAY_SIZE(selectors); i++) {
		struct context c = user_context();
		u32 *frame = (u32 *)UDATA_AT;

		put_code(c.rip, "\xcf", 1);
		memset(frame, 0, 64);
		frame[0] = 0x100;
		frame[1] = selectors[i];
		frame[2] = 0x20202;
		frame[3] = 0x1000;
		c.rsp = UDATA_AT;
		attack(&c);
	}
}

// No attack: a VM that looks after its own memory while others attack.
static void victim(void)
{
	u64 *from = (u64 *)(TABLES + 0x200000), *to = (u64 *)(MEMORY_END - 0x10000);

	for (u64 *p = from; p < to; p++)
		*p = (u64)p * 0x9e3779b97f4a7c15ull;
	for (unsigned round = 0; round < 300; round++)
		for (u64 *p = from; p < to; p++)
			if (*p != (u64)p * 0x9e3779b97f4a7c15ull) {
				check(false, "memory of the victim has changed", (u64)p);
				return;
			}
}

const struct attack_case fatal_cases[] = {
	{"root-beyond", root_beyond, true},
	{"empty-root", empty_root, true},
	{"no-idt", no_idt, true},
	{"device-idt", device_idt, true},
	{"device-gdt", device_gdt, true},
	{"device-tss", device_tss, true},
	{"iret-escape", iret_escape, true},
	{"iret-loop", iret_loop, true},
	{"legacy", legacy, true},
	{"returns", returns, true},
	{"returns-into-gate", returns_into_gate, true},
	{"returns-into-cache", returns_into_cache, true},
	{"vm86-program", vm86_program, true},
	{"victim", victim, true},
	{0},
};
