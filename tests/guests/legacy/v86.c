// SPDX-License-Identifier: MIT
// Virtual-8086 mode: entry by IRET and by a task switch, IOPL-sensitive instructions, ports by the map, interrupts and faults out of
// it with their nine words, an emulating monitor as an operating system has one, and back.
#include "kernel.h"

#define CODE 0x8000u // real-mode segment 0x800
#define STACK 0x9000u

static struct {
	u8 below[64];
	struct start s;
} v86;

static void go_v86(u32 unused)
{
	go(&v86.s);
}

static void run(const char *code, unsigned length, u32 eflags)
{
	u8 *at = (u8 *)CODE;

	for (unsigned i = 0; i < length; i++)
		at[i] = (u8)code[i];
	at[length] = 0xcc;
	v86.s = (struct start){.edi = 0x20,
			       .esi = 0x30,
			       .ebp = 0x40,
			       .ebx = 0x50,
			       .edx = 0x11d0,
			       .ecx = 3,
			       .eax = 0x11a0,
			       .cs = CODE >> 4,
			       .eflags = eflags | F_VM | 2,
			       .esp = 0x800,
			       .ss = STACK >> 4,
			       .es = 0xa00,
			       .ds = 0xb00,
			       .fs = 0xc00,
			       .gs = 0xd00};
	caught.vector = ~0u;
	guarded(go_v86, 0);
}
#define RUN(code, eflags) run(code, sizeof(code) - 1, eflags)

static bool refused(unsigned vector)
{
	return caught.vector == vector && caught.error == 0 && caught.eip == 0 && caught.cs == CODE >> 4 &&
	       (caught.eflags & F_VM);
}

static void frames(void)
{
	u32 *stack = (u32 *)trap_stack;

	RUN("", 0);
	check("int3 comes out", caught.vector == BP && caught.eip == 1 && caught.cs == CODE >> 4);
	check("nine words", caught.esp == 0x800 && caught.ss == STACK >> 4 && caught.es == 0xa00 &&
				    caught.ds == 0xb00 && caught.fs == 0xc00 && caught.gs == 0xd00 &&
				    stack[-1] == 0xd00);
	check("flags", (caught.eflags & (F_VM | F_IOPL)) == F_VM);
	check("data segments are null outside", caught.trap_ds == 0 && caught.trap_es == 0);
	RUN("\xb8\x34\x12\x8e\xd8\x8e\xc0\x50\x0f\xa1", 0); // mov ax, 1234h; mov ds, ax; mov es, ax; push ax; pop fs
	check("segments are paragraphs",
	      caught.ds == 0x1234 && caught.es == 0x1234 && caught.fs == 0x1234 && caught.esp == 0x800);
	RUN("\x0f\x0b", 0);
	check("ud2", refused(UD));
	RUN("\x31\xdb\xf7\xf3", 0); // xor bx, bx; div bx
	check("#DE", caught.vector == DE && caught.eip == 2);
	RUN("\x89\x87\xaf\xff", 0); // mov [bx - 51h], ax: a word at 0xffff
	check("word across the segment's end: #GP(0)", refused(GP));
	RUN("\xbd\xff\xff\x89\x46\x00", 0); // the same on the stack
	check("and on the stack: #SS(0)", caught.vector == SS && caught.error == 0 && caught.eip == 3);
}

static void sensitive(void)
{
	RUN("\xfa", 0);
	check("cli: #GP(0)", refused(GP));
	RUN("\xfb", 0);
	check("sti: #GP(0)", refused(GP));
	RUN("\x9c", 0);
	check("pushf: #GP(0)", refused(GP));
	RUN("\x9d", 0);
	check("popf: #GP(0)", refused(GP));
	RUN("\xcd\x30", 0);
	check("int n: #GP(0)", refused(GP));
	RUN("\xcf", 0);
	check("iret: #GP(0)", refused(GP));
	RUN("\xf4", F_IOPL);
	check("hlt: #GP(0), whatever IOPL", refused(GP));
	RUN("\x0f\x20\xc0", F_IOPL);
	check("mov from cr0: #GP(0)", refused(GP));
	RUN("\x0f\x01\x16\x00\x00", F_IOPL);
	check("lgdt: #GP(0)", refused(GP));
	RUN("\x0f\x00\xd8", F_IOPL);
	check("ltr: #UD", refused(UD));
	RUN("\x0f\x02\xc3", F_IOPL);
	check("lar: #UD", refused(UD));
	RUN("\x63\xc0", F_IOPL);
	check("arpl: #UD", refused(UD));
	RUN("\x0f\x01\xe0", F_IOPL);
	check("smsw is allowed", caught.vector == BP && (u16)caught.eax == (u16)read_cr0());
	RUN("\xfa\x9c\x58\xfb\x9c\x5b", F_IOPL); // cli; pushf; pop ax; sti; pushf; pop bx
	check("with IOPL 3: cli, sti, pushf", caught.vector == BP && !(caught.eax & F_IF) && (caught.ebx & F_IF) &&
						      (caught.eflags & F_IF) && (caught.ebx & F_IOPL) == F_IOPL);
	RUN("\x31\xc0\x50\x9d", F_IOPL | F_IF); // xor ax, ax; push ax; popf
	check("popf keeps IOPL and VM",
	      caught.vector == BP && (caught.eflags & (F_IOPL | F_VM | F_IF)) == (F_IOPL | F_VM));
	RUN("\x68\x02\x02\x68\x00\x08\x6a\x09\xcf\xcc\xcc", F_IOPL); // push 202h; push 800h; push 9; iret
	check("iret within", caught.vector == BP && caught.eip == 10 &&
				     (caught.eflags & (F_IF | F_IOPL | F_VM)) == (F_IF | F_IOPL | F_VM));
	RUN("\xcd\x30", F_IOPL);
	check("int n with IOPL 3", caught.vector == 0x30 && caught.eip == 2);
	RUN("\xcd\x20", F_IOPL);
	check("int n through a gate of ring 0: #GP(vector)", caught.vector == GP && caught.error == 0x20 * 8 + 2);
	set_gate(0x32, CONFORMING, stubs, 14, 3);
	set_descriptor(CONFORMING, 0, 0xfffff, 0xc09e);
	RUN("\xcd\x32", F_IOPL);
	check("int n to conforming code: #GP(selector)", caught.vector == GP && caught.error == CONFORMING);
}

static void ports(void)
{
	RUN("\xba\xfd\x03\xec", F_IOPL);
	check("port that the map closes: #GP(0)", caught.vector == GP && caught.error == 0 && caught.eip == 3);
	main_tss.io[0x3fd / 8] &= (u8) ~(1 << (0x3fd & 7));
	RUN("\xba\xfd\x03\xec", 0);
	check("port that it opens", caught.vector == BP && (caught.eax & 0x20));
	RUN("\xba\xfd\x03\xed", 0);
	check("a word of ports, one closed: #GP(0)", caught.vector == GP);
	main_tss.io[0x3fd / 8] = 0xff;
}

static void transfers(void)
{
	RUN("\x9a\x08\x00\x00\x08\xcc\x90\x90\x89\xe5\x8b\x46\x00\x8b\x5e\x02\xcb",
	    0); // lcall 800h:8; mov bp, sp; ...; retf
	check("far call and return", caught.vector == BP && caught.eip == 6 && (u16)caught.eax == 5 &&
					     (u16)caught.ebx == CODE >> 4 && caught.esp == 0x800);
	RUN("\xea\x06\x00\x00\x08\xcc\xb8\x77\x66", 0); // ljmp
	check("far jump", caught.vector == BP && (u16)caught.eax == 0x6677);
	RUN("\xfc\xf3\xa4", 0); // rep movsb
	check("rep movsb", (u16)caught.ecx == 0 && (u16)caught.edi == 0x23 && (u16)caught.esi == 0x33);
	*(u32 *)(STACK + 0x800 - 2) = 0;
	RUN("\x66\x68\x78\x56\x34\x12\x66\x58", 0); // push and pop of 32 bits
	check("operands of 32 bits", caught.eax == 0x12345678 && caught.esp == 0x800);
}

// A monitor: CLI, STI and PUSHF are emulated on a flag of its own, INT 21h is reflected to the program's own vector table.
static bool flag;
static unsigned reflected;

static bool monitor(struct frame *f)
{
	const u8 *code = (const u8 *)(f->cs * 16 + f->eip);
	u16 *stack;

	if (f->vector != GP || !(f->eflags & F_VM))
		return false;
	switch (code[0]) {
	case 0xfa:
	case 0xfb:
		flag = code[0] == 0xfb;
		f->eip++;
		return true;
	case 0x9c:
		f->esp -= 2;
		*(u16 *)(f->ss * 16 + f->esp) = (u16)((f->eflags & ~(u32)F_IF) | (flag ? F_IF : 0));
		f->eip++;
		return true;
	case 0xcd:
		f->esp -= 6;
		stack = (u16 *)(f->ss * 16 + f->esp);
		stack[0] = (u16)(f->eip + 2);
		stack[1] = (u16)f->cs;
		stack[2] = (u16)f->eflags;
		f->eip = 0x40;
		reflected++;
		return true;
	case 0xcf:
		stack = (u16 *)(f->ss * 16 + f->esp);
		f->eip = stack[0];
		f->cs = stack[1];
		f->esp += 6;
		return true;
	}
	return false;
}

static void monitored(void)
{
	u8 *handler = (u8 *)CODE + 0x40;

	handler[0] = 0x41; // inc cx
	handler[1] = 0xcf;
	hook = monitor;
	RUN("\xb9\x00\x00\xfa\x9c\x58\xfb\x9c\x5b\xcd\x21\xcd\x21\xcd\x21", 0);
	hook = 0;
	check("a monitor's program", caught.vector == BP && (u16)caught.ecx == 3 && reflected == 3 &&
					     !(caught.eax & F_IF) && (caught.ebx & F_IF) && caught.esp == 0x800);
}

static void jump_task(u32 unused)
{
	asm volatile("ljmp $0x30, $0");
}

static void by_task(void)
{
	u32 cr3;

	asm volatile("mov %%cr3, %0" : "=r"(cr3));
	for (unsigned i = 0; i < 104; i++)
		((u8 *)&other_tss)[i] = 0;
	reset_tasks();
	*(u8 *)CODE = 0xcc;
	other_tss.cr3 = cr3;
	other_tss.eflags = F_VM | 2;
	other_tss.cs = CODE >> 4;
	other_tss.ss = STACK >> 4;
	other_tss.esp = 0x700;
	other_tss.ds = 0x123;
	other_tss.esp0 = (u32)trap_stack;
	other_tss.ss0 = KERNEL_DS;
	caught.vector = ~0u;
	guarded(jump_task, 0);
	check("a task in virtual-8086 mode", caught.vector == BP && caught.eip == 1 && caught.ds == 0x123 &&
						     caught.esp == 0x700 && (caught.eflags & F_VM) &&
						     caught_tr == OTHER_TSS);
	reset_tasks();
}

void test_v86(void)
{
	frames();
	sensitive();
	ports();
	transfers();
	monitored();
	by_task();
}
