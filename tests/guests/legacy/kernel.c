// SPDX-License-Identifier: MIT
// Serial port, IDT, TSS, and the order of the tests.
#include "kernel.h"

struct frame caught;
u32 caught_cr2, caught_dr6, caught_tr, traps;
bool (*hook)(struct frame *f);
struct tss main_tss, other_tss;
u8 buffer[65536] __attribute__((aligned(4096)));
static u64 idt[256];
extern u8 guarded_end[];
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

static void print_hex(u32 v)
{
	for (int i = 28; i >= 0; i -= 4)
		if (v >> i || !i)
			put("0123456789abcdef"[v >> i & 15]);
}

static void note(const char *text, u32 v)
{
	print(" ");
	print(text);
	put('=');
	print_hex(v);
}

void check(const char *name, bool good)
{
	print(good ? "ok " : "not ok ");
	print(name);
	put('\n');
	if (good)
		return;
	failures++;
	print("#");
	note("vector", caught.vector), note("error", caught.error), note("eip", caught.eip), note("cs", caught.cs);
	note("eflags", caught.eflags), note("cr2", caught_cr2), note("dr6", caught_dr6), note("tr", caught_tr),
		note("eax", caught.eax);
	put('\n');
}

void value(const char *name, const u32 *values, unsigned count)
{
	print("= ");
	print(name);
	for (unsigned i = 0; i < count; i++)
		put(' '), print_hex(values[i]);
	put('\n');
}

void on_trap(struct frame *f);
void on_trap(struct frame *f)
{
	unsigned words = f->eflags & F_VM ? 21 : (f->cs & 3) ? 17 : 15;

	for (unsigned i = 0; i < 21; i++)
		((u32 *)&caught)[i] = i < words ? ((u32 *)f)[i] : 0;
	traps++;
	asm volatile("mov %%cr2, %0" : "=r"(caught_cr2));
	asm volatile("mov %%db6, %0" : "=r"(caught_dr6));
	asm volatile("str %0" : "=r"(caught_tr));
	if (hook && hook(f))
		return;
	f->trap_ds = f->trap_es = KERNEL_DS;
	f->eip = (u32)guarded_end;
	f->cs = KERNEL_CS;
	f->eflags = 2;
}

void set_gate(unsigned vector, u16 sel, void *handler, unsigned type, unsigned dpl)
{
	u32 h = (u32)handler;

	idt[vector] = (h & 0xffff) | (u64)sel << 16 | (u64)(0x80 | dpl << 5 | type) << 40 | (u64)(h >> 16) << 48;
}

void set_descriptor(u16 sel, u32 base, u32 limit, u32 attr)
{
	gdt[sel / 8] = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 |
		       (u64)((attr & 0xf0ff) | (limit >> 16 & 15) << 8) << 40 | (u64)(base >> 24) << 56;
}

u64 *idt_of(void)
{
	return idt;
}

void reset_tasks(void)
{
	main_tss.link = 0;
	main_tss.esp0 = (u32)trap_stack;
	main_tss.ss0 = KERNEL_DS;
	main_tss.t = 0;
	main_tss.io_map = 104;
	set_descriptor(MAIN_TSS, (u32)&main_tss, sizeof(main_tss) - 1, 0x89);
	set_descriptor(OTHER_TSS, (u32)&other_tss, 103, 0x89);
	asm volatile("ltr %w0\n clts" ::"r"(MAIN_TSS));
	asm volatile("lldt %w0" ::"r"(0));
}

bool raises(void (*code)(u32), u32 argument, unsigned vector, u32 error)
{
	caught.vector = ~0u;
	return guarded(code, argument) && caught.vector == vector && caught.error == error;
}

static struct {
	u8 below[64];
	struct start s;
} user;

static void go_user(u32 unused)
{
	go(&user.s);
}

void in_user(void (*code)(void), u32 eflags)
{
	user.s = (struct start){.eip = (u32)code,
				.cs = USER_CS,
				.eflags = eflags | 2,
				.esp = (u32)user_stack,
				.ss = USER_DS,
				.ds = USER_DS,
				.es = USER_DS};
	caught.vector = ~0u;
	guarded(go_user, 0);
}

static void set_up(void)
{
	struct __attribute__((packed)) {
		u16 limit;
		void *base;
	} p = {sizeof(idt) - 1, idt};

	for (unsigned i = 0; i < 64; i++)
		set_gate(i, KERNEL_CS, stubs + 16 * i, 14, i == BP || i == OF || i == 0x30 ? 3 : 0);
	asm volatile("lidt %0" ::"m"(p));
	for (unsigned i = 0; i < 8193; i++)
		main_tss.io[i] = 0xff;
	set_descriptor(BUFFER_DS, (u32)buffer, 0xffff, 0x0093);
	set_descriptor(CODE16, (u32)buffer, 0xffff, 0x009b);
	set_descriptor(CODE32_BASED, (u32)buffer, 0xffff, 0x409b);
	set_descriptor(REAL_CS, 0, 0xffff, 0x009b);
	set_descriptor(REAL_DS, 0, 0xffff, 0x0093);
	set_descriptor(STACK16, 0, 0xffff, 0x0093);
	set_descriptor(USER_CS16, (u32)buffer, 0xffff, 0x00fb);
	reset_tasks();
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

// The command line ends in w: waits in PAE mode, to be looked at.
static bool is_waiter(const u32 *info)
{
	const char *line = (const char *)info[4];

	if (!(info[0] & 4) || !*line)
		return false;
	while (line[1])
		line++;
	return *line == 'w';
}

void kmain(const u32 *info);
void kmain(const u32 *info)
{
	set_up();
	if (is_waiter(info)) {
		enter_pae();
		print("waiting\n");
		asm volatile("cli; hlt");
	}
	test_segments();
	test_paging();
	test_tasks();
	test_v86();
	test_ops();
	test_real();
	test_mmio();
	print("end\n");
	asm volatile("outl %0, $0xf4" ::"a"(failures != 0));
}
