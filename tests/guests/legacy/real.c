// SPDX-License-Identifier: MIT
// Real mode: entered from and left to protected mode; its interrupts and exceptions; segments that keep a large limit; far transfers.
#include "real.h"

#define REAL_BASE 0x7000u
#define REAL_STACK 0x7800u
#define REAL_RESULT 0x7a00u
#define REAL_SEGMENTS 0x7c00u
#define VECTORS 0x6000u
#define CODE 0x8000u

void real_switch(void);
extern const u8 real_blob[], real_blob_end[], real_stubs[];

struct real_result {
	u16 gs, fs, es, ds;
	u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
	u16 vector, ip, cs, flags;
} __attribute__((packed));

void real_run(const struct start *s)
{
	u16 *vectors = (u16 *)VECTORS, *segments = (u16 *)REAL_SEGMENTS, *frame = (u16 *)(REAL_STACK + 32);
	const struct real_result *r = (const struct real_result *)REAL_RESULT;

	for (unsigned i = 0; i < (unsigned)(real_blob_end - real_blob); i++)
		((u8 *)REAL_BASE)[i] = real_blob[i];
	for (unsigned i = 0; i < 256; i++) {
		vectors[2 * i] = (u16)(REAL_BASE + (u32)(real_stubs - real_blob) + 8 * (i < 64 ? i : 63));
		vectors[2 * i + 1] = 0;
	}
	for (unsigned i = 0; i < 8; i++)
		((u32 *)REAL_STACK)[i] = ((const u32 *)s)[i];
	frame[0] = (u16)s->eip;
	frame[1] = (u16)s->cs;
	frame[2] = (u16)s->eflags;
	segments[0] = (u16)s->ds;
	segments[1] = (u16)s->es;
	segments[2] = (u16)s->fs;
	real_switch();
	caught = (struct frame){.edi = r->edi,
				.esi = r->esi,
				.ebp = r->ebp,
				.trap_esp = r->esp,
				.ebx = r->ebx,
				.edx = r->edx,
				.ecx = r->ecx,
				.eax = r->eax,
				.vector = r->vector,
				.eip = r->ip,
				.cs = r->cs,
				.eflags = r->flags,
				.ds = r->ds,
				.es = r->es,
				.fs = r->fs,
				.gs = r->gs};
}

static void run(const char *code, unsigned length)
{
	struct start s = {.edi = 0x20,
			  .esi = 0x30,
			  .ebp = 0x40,
			  .ebx = 0x50,
			  .edx = 0x11d0,
			  .ecx = 3,
			  .eax = 0x11a0,
			  .cs = CODE >> 4,
			  .eflags = 2,
			  .ds = 0xb00,
			  .es = 0xa00,
			  .fs = 0xc00};

	for (unsigned i = 0; i < length; i++)
		((u8 *)CODE)[i] = (u8)code[i];
	((u8 *)CODE)[length] = 0xcc;
	real_run(&s);
}
#define RUN(code) run(code, sizeof(code) - 1)

static void exceptions(void)
{
	RUN("");
	check("real: int3", caught.vector == BP && caught.eip == 1 && caught.cs == CODE >> 4 && caught.ds == 0xb00 &&
				    caught.es == 0xa00);
	RUN("\xcd\x30");
	check("real: int n", caught.vector == 0x30 && caught.eip == 2);
	RUN("\x0f\x0b");
	check("real: ud2", caught.vector == UD && caught.eip == 0);
	RUN("\x31\xdb\xf7\xf3");
	check("real: #DE", caught.vector == DE && caught.eip == 2);
	RUN("\x89\x87\xaf\xff");
	check("real: word across 64 KiB: #GP", caught.vector == GP && caught.eip == 0);
	RUN("\x0f\x00\xd8");
	check("real: ltr: #UD", caught.vector == UD);
	RUN("\x0f\x02\xc3");
	check("real: lar: #UD", caught.vector == UD);
	RUN("\xfb\x9c\x58\xfa\x9c\x5b");
	check("real: sti, cli, pushf", (caught.eax & F_IF) && !(caught.ebx & F_IF));
	RUN("\x66\x68\x00\x70\x00\x00\x66\x9d\x9c\x58\x6a\x00\x9d"); // pushd 7000h; popfd; pushf; pop ax
	check("real: popf sets IOPL and NT", (caught.eax & (F_IOPL | F_NT)) == (F_IOPL | F_NT));
}

static void segments(void)
{
	RUN("\xb8\x34\x12\x8e\xd8\x8e\xe0\x8c\xe3"); // mov ax, 1234h; mov ds, ax; mov fs, ax; mov bx, fs
	check("real: segments are paragraphs", caught.ds == 0x1234 && caught.fs == 0x1234 && (u16)caught.ebx == 0x1234);
	*(u32 *)0x110ff0 = 0x600df00d; // above 1 MiB, from ffff:1000h
	RUN("\xb8\xff\xff\x8e\xc0\x26\x66\xa1\x00\x0e\x66\x26\xa1\x00\x10");
	check("real: beyond 1 MiB", caught.eax == *(u32 *)(0xffff0 + 0x1000));
	RUN("\x9a\x08\x00\x00\x08\xcc\x90\x90\x89\xe5\x8b\x46\x00\x8b\x5e\x02\xcb");
	check("real: far call and return", caught.eip == 6 && (u16)caught.eax == 5 && (u16)caught.ebx == CODE >> 4);
	RUN("\xea\x06\x00\x00\x08\xcc\xb8\x77\x66");
	check("real: far jump", (u16)caught.eax == 0x6677);
	RUN("\x68\x46\x02\x68\x00\x08\x6a\x0a\xcf\xcc\x9c\x58\xfa"); // push flags, cs, ip; iret
	check("real: iret", (caught.eax & (F_IF | 0x44)) == (F_IF | 0x44) && caught.eip == 14);
	RUN("\x0f\x20\xc0\x0f\x22\xc0"); // mov eax, cr0; mov cr0, eax
	check("real: cr0", !(caught.eax & 1));
	RUN("\x0f\xa2\x0f\x31"); // cpuid, rdtsc
	check("real: cpuid, rdtsc", caught.vector == BP);
}

// Protected mode and back in between leaves DS with 4 GiB: "unreal" mode.
asm(".section .rodata\n .code16\n unreal: mov %cs, %bp\n push %ds\n"
    " lgdtl %cs:unreal_gdt - unreal\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n jmp 1f\n 1: mov $0x10, %bx\n mov %bx, %ds\n"
    " and $0xfe, %al\n mov %eax, %cr0\n jmp 1f\n 1: pop %ds\n mov $0x200000, %ebx\n mov %ds, %ax\n movzx %ax, %eax\n shl $4, %eax\n"
    " sub %eax, %ebx\n addr32 mov (%ebx), %eax\n int3\n"
    " unreal_gdt: .word 0x27\n .long gdt\n unreal_end: .code32\n .text");
extern const char unreal[], unreal_end[];

static void unreal_mode(void)
{
	volatile u32 *high = (volatile u32 *)0x200000;

	*high = 0xfeedface;
	run(unreal, (unsigned)(unreal_end - unreal));
	check("real: a limit that stays from protected mode", caught.vector == BP && caught.eax == 0xfeedface);
	asm volatile("lgdt gdt_pointer");
}

void test_real(void)
{
	exceptions();
	segments();
	unreal_mode();
}
