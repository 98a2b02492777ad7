// SPDX-License-Identifier: MIT
// Serial port, IDT, TSS, and the order of the tests.
#include "kernel.h"

struct frame caught;
u64 caught_cr2, caught_dr6, traps;
bool (*hook)(struct frame *f);
struct tss tss;
static u64 idt[512];
extern u8 stubs[], guarded_end[];
static unsigned failures;

static void put(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

static void print(const char *s)
{
	while (*s)
		put(*s++);
}

static void print_hex(u64 v)
{
	for (int i = 60; i >= 0; i -= 4)
		if (v >> i || !i)
			put("0123456789abcdef"[v >> i & 15]);
}

void check(const char *name, bool good)
{
	print(good ? "ok " : "not ok ");
	print(name);
	put('\n');
	if (!good) {
		failures++;
		note("vector", caught.vector), note("error", caught.error), note("rip", caught.rip), note("rflags", caught.rflags);
		note("traps", traps), note("dr6", caught_dr6), note("cr2", caught_cr2);
	}
}

void note(const char *text, u64 value)
{
	print("# ");
	print(text);
	put(' ');
	print_hex(value);
	put('\n');
}

void on_trap(struct frame *f)
{
	caught = *f;
	traps++;
	asm volatile("mov %%cr2, %0" : "=r"(caught_cr2));
	asm volatile("mov %%db6, %0" : "=r"(caught_dr6));
	if (hook && hook(f))
		return;
	f->rip = (u64)guarded_end;
	f->cs = KERNEL_CS;
	f->ss = KERNEL_SS;
	f->rflags = 2;
}

void set_gate(unsigned vector, void *handler, unsigned dpl, unsigned ist, bool present)
{
	u64 h = (u64)handler;

	idt[2 * vector] = (h & 0xffff) | (u64)KERNEL_CS << 16 | (u64)ist << 32 | 0xe0000000000 | (u64)dpl << 45 | (u64)present << 47 |
			  (h >> 16 & 0xffff) << 48;
	idt[2 * vector + 1] = h >> 32;
}

bool raises(void (*code)(u64), u64 argument, unsigned vector, u64 error)
{
	caught.vector = ~0ull;
	return guarded(code, argument) && caught.vector == vector && caught.error == error;
}

static u64 user_code, user_cs, user_flags;

static void go_user(u64 unused)
{
	iret_to(user_code, user_cs, user_flags, (u64)user_stack, USER_SS);
}

void in_user(void (*code)(void), u64 cs, u64 rflags)
{
	user_code = (u64)code;
	user_cs = cs;
	user_flags = rflags;
	caught.vector = ~0ull;
	guarded(go_user, 0);
}

static void set_up(void)
{
	struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} p = {sizeof(idt) - 1, (u64)idt};
	u64 t = (u64)&tss, limit = sizeof(tss) - 1;

	for (unsigned i = 0; i < 256; i++)
		set_gate(i, stubs + 16 * i, i == 0x80 || i == BP ? 3 : 0, 0, true);
	asm volatile("lidt %0" ::"m"(p));
	tss.rsp[0] = (u64)fault_stack;
	tss.io_map = 104;
	for (unsigned i = 0; i < sizeof(tss.io); i++)
		tss.io[i] = 0xff;
	gdt[TSS / 8] = (limit & 0xffff) | (t & 0xffffff) << 16 | 0x890000000000 | (t >> 24 & 0xff) << 56;
	gdt[TSS / 8 + 1] = t >> 32;
	asm volatile("ltr %w0" ::"r"(TSS));
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

void kmain(void)
{
	set_up();
	test_flags();
	test_segments();
	test_transfers();
	test_faults();
	test_debug();
	test_memory();
	test_interrupts();
	test_screen();
	test_x2apic();
	test_pcid();
	print("end\n");
	asm volatile("outl %0, $0xf4" ::"a"(failures != 0));
}
