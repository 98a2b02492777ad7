// SPDX-License-Identifier: MIT
// The emulator outside 64-bit mode: a boot from real mode through protected to long mode, segmentation with limits,
// interrupts in real and 32-bit protected mode with a stack switch and back, call gates, task switches, virtual-8086 mode.
#include "core/emul/emul.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MEM_SIZE 0x20000u
#define BASE 0x7c00u // where programs are placed
#define GDT 0x1000u
#define IDT 0x2000u
#define TSS 0x3000u

static u8 mem[MEM_SIZE];
static struct x86_cpu cpu;
static struct emul emul;
static u16 last_port;
static u32 last_out;

static enum emul_result fault_at(u64 at, struct x86_fault *f)
{
	*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .cr2 = at};
	return EMUL_FAULT;
}

static enum emul_result w_read(void *ctx, u64 at, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	if (at + len > MEM_SIZE)
		return fault_at(at, f);
	memcpy(buf, mem + at, len);
	return EMUL_OK;
}

static enum emul_result w_write(void *ctx, u64 at, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	if (at + len > MEM_SIZE)
		return fault_at(at, f);
	memcpy(mem + at, buf, len);
	return EMUL_OK;
}

static enum emul_result w_fetch(void *ctx, u64 at, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	*got = len;
	return w_read(ctx, at, buf, len, EMUL_EXEC, f);
}

static enum emul_result w_out(void *ctx, u16 port, unsigned len, u32 value)
{
	last_port = port;
	last_out = value;
	return EMUL_OK;
}

static enum emul_result w_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *f)
{
	*value = cpu.efer;
	return EMUL_OK;
}

static enum emul_result w_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *f)
{
	cpu.efer = value;
	return EMUL_OK;
}

static void w_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	memset(out, 0, 16);
}

static const struct emul_ports ports = {.read = w_read,
					.write = w_write,
					.fetch = w_fetch,
					.out = w_out,
					.rdmsr = w_rdmsr,
					.wrmsr = w_wrmsr,
					.cpuid = w_cpuid};

static void put(u64 at, u64 v)
{
	memcpy(mem + at, &v, 8);
}

static u32 get(u64 at)
{
	u32 v;

	memcpy(&v, mem + at, 4);
	return v;
}

// Descriptors: 0x08 code32, 0x10 data32, 0x18 code64, 0x20 data with limit 0xfff, 0x28 expand-down above 0xfff,
// 0x30 user code32, 0x38 user data32, 0x40 TSS, 0x48 code32 of limit 0xffff, 0x50 execute-only.
static void tables(void)
{
	static const u64 gdt[] = {0,
				  0x00cf9b000000ffff,
				  0x00cf93000000ffff,
				  0x00af9b000000ffff,
				  0x0040930000000fff,
				  0x0040970000000fff,
				  0x00cffb000000ffff,
				  0x00cff3000000ffff,
				  0x0000890030000067,
				  0x00409b000000ffff,
				  0x00cf99000000ffff};

	memcpy(mem + GDT, gdt, sizeof(gdt));
	put(IDT + 0x20 * 8, 0x0000ee0000089000); // interrupt gate, DPL 3, 8:9000
	put(IDT + 13 * 8, 0x00008f000008a000);   // trap gate 8:a000
	put(TSS + 4, 0x0000001000006000);        // ESP0, SS0
	cpu.gdtr = (struct x86_table){GDT, sizeof(gdt) - 1};
	cpu.idtr = (struct x86_table){IDT, 0x7ff};
	cpu.tr = (struct x86_segment){.selector = 0x40, .attr = 0x8b, .limit = 0x67, .base = TSS};
}

static int real_mode(void **state)
{
	memset(mem, 0, sizeof(mem));
	memset(&cpu, 0, sizeof(cpu));
	for (unsigned i = 0; i < 6; i++)
		cpu.seg[i] = (struct x86_segment){.attr = 0x93, .limit = 0xffff};
	cpu.seg[SEG_CS].attr = 0x9b;
	cpu.cr0 = CR0_ET;
	cpu.rflags = RFL_FIXED;
	cpu.rip = BASE;
	cpu.gpr[R_RSP] = 0x7000;
	cpu.idtr.limit = 0x3ff;
	cpu.ldtr.attr = SEG_ATTR_UNUSABLE;
	emul = (struct emul){.cpu = &cpu, .ports = &ports};
	return 0;
}

static int protected_mode(void **state)
{
	real_mode(state);
	tables();
	cpu.cr0 |= CR0_PE;
	cpu.seg[SEG_CS] = (struct x86_segment){.selector = 8, .attr = 0xc09b, .limit = ~0u};
	for (unsigned i = 0; i < 6; i++)
		if (i != SEG_CS)
			cpu.seg[i] = (struct x86_segment){.selector = 0x10, .attr = 0xc093, .limit = ~0u};
	return 0;
}

static enum emul_result run(const char *bytes, unsigned len)
{
	memcpy(mem + BASE, bytes, len);
	cpu.rip = BASE;
	return emul_step(&emul);
}
#define RUN(s) run(s, sizeof(s) - 1)
#define FAULTS(s, vec, err)                               \
	do {                                              \
		assert_int_equal(RUN(s), EMUL_FAULT);     \
		assert_int_equal(emul.fault.vector, vec); \
		assert_int_equal(emul.fault.error, err);  \
		assert_int_equal(cpu.rip, BASE);          \
	} while (0)

extern const u8 boot_start[], boot_end[];
__asm__(".section .rodata\n"
	"boot_start: .code16\n"
	"  cli; xor %ax, %ax; mov %ax, %ds; mov %ax, %ss; mov $0x7000, %sp\n"
	"  mov $0x1234, %ax; push %ax; pop %bx\n"
	"  mov $8, %cx; mov $0x5000, %di; mov %cs, %ax; mov %ax, %es; rep stosb\n"
	"  call 1f; jmp 2f\n"
	"1: addl $0x10000, %ecx; ret\n"
	"2: lgdtl (gdtr - boot_start + 0x7c00)\n"
	"  mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
	"  ljmpl $8, $(pm - boot_start + 0x7c00)\n"
	"pm: .code32\n"
	"  mov $0x10, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov $0x7000, %esp\n"
	"  push $0x11223344; pop %edx; pusha; popa\n"
	"  mov $0x20, %eax; mov %eax, %cr4; mov $0x4000, %eax; mov %eax, %cr3\n"
	"  mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
	"  mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
	"  ljmp $0x18, $(lm - boot_start + 0x7c00)\n"
	"lm: .code64\n"
	"  movabs $0x1122334455667788, %rax; mov %eax, %r9d; mov $0xf4, %dx; mov $7, %al; out %al, %dx; hlt\n"
	"gdtr: .word 0x57; .long 0x1000\n"
	"boot_end:\n.text\n");

static void test_boot(void **state)
{
	enum emul_result r = EMUL_OK;
	unsigned steps = 0;

	tables();
	cpu.gdtr = cpu.idtr = (struct x86_table){0, 0};
	memcpy(mem + BASE, boot_start, (size_t)(boot_end - boot_start));
	while (r == EMUL_OK && steps++ < 200)
		r = emul_step(&emul);
	assert_int_equal(r, EMUL_HALT);
	assert_true(cpu_long_mode(&cpu));
	assert_int_equal(cpu.efer, EFER_LME | EFER_LMA);
	assert_int_equal(cpu.gdtr.base, GDT);
	assert_int_equal(cpu.gpr[R_RBX], 0x1234);
	assert_int_equal(mem[0x5007], 0);
	assert_int_equal(cpu.gpr[R_RDI], 0x5008);
	assert_int_equal(cpu.gpr[R_R9], 0x55667788);
	assert_int_equal(last_port, 0xf4);
	assert_int_equal(last_out, 7);
	assert_int_equal(cpu.gpr[R_RSP], 0x7000);
}

static void test_real_interrupt(void **state)
{
	mem[0x21 * 4 + 1] = 0x90; // 0000:9000
	cpu.rflags |= RFL_IF;
	assert_int_equal(RUN("\xcd\x21"), EMUL_OK);
	assert_int_equal(cpu.rip, 0x9000);
	assert_int_equal(cpu.gpr[R_RSP], 0x7000 - 6);
	assert_int_equal(get(0x7000 - 6) & 0xffff, BASE + 2);
	assert_false(cpu.rflags & RFL_IF);
	mem[0x9000] = 0xcf;
	assert_int_equal(emul_step(&emul), EMUL_OK);
	assert_int_equal(cpu.rip, BASE + 2);
	assert_true(cpu.rflags & RFL_IF);
	assert_int_equal(cpu.gpr[R_RSP], 0x7000);
	cpu.idtr.limit = 0x20;
	FAULTS("\xcd\x21", VEC_GP, 0x21 << 3 | 2);
}

static void test_real_segments(void **state)
{
	cpu.gpr[R_RAX] = 0x0500;
	assert_int_equal(RUN("\x8e\xd8"), EMUL_OK); // mov %ax, %ds
	assert_int_equal(cpu.seg[SEG_DS].base, 0x5000);
	mem[0x5010] = 0x77;
	assert_int_equal(RUN("\xa0\x10\x00"), EMUL_OK); // mov 0x10, %al
	assert_int_equal(cpu.gpr[R_RAX] & 0xff, 0x77);
	cpu.gpr[R_RBX] = 0xffff;
	FAULTS("\x8b\x07", VEC_GP, 0); // a word at 0xffff
	cpu.gpr[R_RBX] = 0x12345;      // the upper half does not count
	mem[0x5000 + 0x2345] = 0x66;
	assert_int_equal(RUN("\x8a\x07"), EMUL_OK);
	assert_int_equal(cpu.gpr[R_RAX] & 0xff, 0x66);
	cpu.seg[SEG_DS].limit = 0xffffffff; // unreal mode
	cpu.gpr[R_RBX] = 0x12000;
	mem[0x17000] = 0x99;
	assert_int_equal(RUN("\x67\x8a\x03"), EMUL_OK);
	assert_int_equal(cpu.gpr[R_RAX] & 0xff, 0x99);
	cpu.gpr[R_RBP] = 0xaaaa0000 | 0x6ffe;
	cpu.gpr[R_RSP] = 0xbbbb7000;
	assert_int_equal(RUN("\x55"), EMUL_OK); // push %bp moves SP only
	assert_int_equal(cpu.gpr[R_RSP], 0xbbbb6ffe);
}

static void test_limits(void **state)
{
	cpu.gpr[R_RAX] = 0x20;
	assert_int_equal(RUN("\x8e\xd8"), EMUL_OK);
	cpu.gpr[R_RBX] = 0xffc;
	assert_int_equal(RUN("\x8b\x03"), EMUL_OK);
	cpu.gpr[R_RBX] = 0xffd;
	FAULTS("\x8b\x03", VEC_GP, 0);
	cpu.gpr[R_RBP] = 0x0;
	assert_int_equal(RUN("\x8b\x45\x00"), EMUL_OK); // through SS
	cpu.gpr[R_RAX] = 0x28;
	assert_int_equal(RUN("\x8e\xd8"), EMUL_OK);
	FAULTS("\x8b\x03", VEC_GP, 0); // expand-down: 0xffd is below
	cpu.gpr[R_RBX] = 0x1000;
	assert_int_equal(RUN("\x8b\x03"), EMUL_OK);
	cpu.gpr[R_RAX] = 0x28;
	assert_int_equal(RUN("\x8e\xd0"), EMUL_OK); // mov %eax, %ss
	cpu.gpr[R_RSP] = 0x800;
	FAULTS("\x50", VEC_SS, 0);
	FAULTS("\x2e\x89\x03", VEC_GP, 0); // write through CS
	cpu.gpr[R_RAX] = 0x50;
	FAULTS("\x8e\xd8", VEC_GP, 0x50); // execute-only
	cpu.gpr[R_RAX] = 0;
	assert_int_equal(RUN("\x8e\xd8"), EMUL_OK);
	FAULTS("\x8b\x03", VEC_GP, 0);                                  // null DS
	FAULTS("\x8e\xd0", VEC_GP, 0);                                  // null SS
	assert_int_equal(RUN("\xea\x00\x80\x00\x00\x48\x00"), EMUL_OK); // ljmp to the short code segment
	assert_int_equal(cpu.seg[SEG_CS].limit, 0xffff);
	memcpy(mem + 0x8000, "\xe9\x00\x00\x01\x00", 5);
	assert_int_equal(emul_step(&emul), EMUL_FAULT); // jmp beyond the limit
	assert_int_equal(emul.fault.vector, VEC_GP);
}

static void test_rings(void **state)
{
	u32 frame[5] = {0x8000, 0x33, RFL_IF | RFL_FIXED, 0x5800, 0x3b};

	cpu.gpr[R_RSP] = 0x5000;
	memcpy(mem + 0x5000, frame, sizeof(frame));
	assert_int_equal(RUN("\xcf"), EMUL_OK); // iret to ring 3
	assert_int_equal(cpu_cpl(&cpu), 3);
	assert_int_equal(cpu.rip, 0x8000);
	assert_int_equal(cpu.gpr[R_RSP], 0x5800);
	assert_true(cpu.seg[SEG_DS].attr & SEG_ATTR_UNUSABLE);
	memcpy(mem + 0x8000, "\xcd\x20", 2);
	assert_int_equal(emul_step(&emul), EMUL_OK); // int $0x20
	assert_int_equal(cpu_cpl(&cpu), 0);
	assert_int_equal(cpu.rip, 0x9000);
	assert_int_equal(cpu.seg[SEG_SS].selector, 0x10);
	assert_int_equal(cpu.gpr[R_RSP], 0x6000 - 20);
	assert_int_equal(get(0x6000 - 20), 0x8002);
	assert_int_equal(get(0x6000 - 16), 0x33);
	assert_int_equal(get(0x6000 - 8), 0x5800);
	assert_int_equal(get(0x6000 - 4), 0x3b);
	assert_false(cpu.rflags & RFL_IF);
	mem[0x9000] = 0xcf;
	assert_int_equal(emul_step(&emul), EMUL_OK);
	assert_int_equal(cpu_cpl(&cpu), 3);
	assert_int_equal(cpu.rip, 0x8002);
}

static void test_exception_frame(void **state)
{
	struct x86_fault gp = {.vector = VEC_GP, .has_error = true, .error = 0x50};

	cpu.rip = 0x8888;
	assert_int_equal(emul_deliver(&emul, &gp, false, false), EMUL_OK);
	assert_int_equal(cpu.rip, 0xa000);
	assert_int_equal(cpu.gpr[R_RSP], 0x7000 - 16);
	assert_int_equal(get(0x7000 - 16), 0x50);
	assert_int_equal(get(0x7000 - 12), 0x8888);
	assert_true(get(0x7000 - 4) & RFL_RF);
}

static void test_legacy_integer(void **state)
{
	cpu.gpr[R_RAX] = 0x0f;
	assert_int_equal(RUN("\x37"), EMUL_OK); // aaa
	assert_int_equal(cpu.gpr[R_RAX], 0x105);
	cpu.rflags = RFL_FIXED;
	cpu.gpr[R_RAX] = 0x9b;
	assert_int_equal(RUN("\x27"), EMUL_OK); // daa
	assert_int_equal(cpu.gpr[R_RAX], 0x01);
	assert_true(cpu.rflags & RFL_CF);
	cpu.gpr[R_RAX] = 57;
	assert_int_equal(RUN("\xd4\x0a"), EMUL_OK); // aam
	assert_int_equal(cpu.gpr[R_RAX], 0x507);
	assert_int_equal(RUN("\xd5\x0a"), EMUL_OK); // aad
	assert_int_equal(cpu.gpr[R_RAX], 57);
	FAULTS("\xd4\x00", VEC_DE, 0);
	put(0x5000, 10ull << 32 | 5);
	cpu.gpr[R_RBX] = 0x5000;
	cpu.gpr[R_RAX] = 11;
	FAULTS("\x62\x03", VEC_BR, 0); // bound
	cpu.gpr[R_RAX] = 7;
	assert_int_equal(RUN("\x62\x03"), EMUL_OK);
	assert_int_equal(RUN("\x40"), EMUL_OK); // inc %eax
	assert_int_equal(cpu.gpr[R_RAX], 8);
	for (unsigned i = 0; i < 8; i++)
		if (i != R_RSP)
			cpu.gpr[i] = 0x1000 + i;
	assert_int_equal(RUN("\x60"), EMUL_OK); // pusha
	assert_int_equal(get(0x7000 - 20), 0x7000);
	assert_int_equal(get(0x7000 - 4), 0x1000);
	memset(cpu.gpr, 0, 32);
	cpu.gpr[R_RSP] = 0x7000 - 32;
	assert_int_equal(RUN("\x61"), EMUL_OK);
	assert_int_equal(cpu.gpr[R_RBX], 0x1003);
	assert_int_equal(cpu.gpr[R_RSP], 0x7000);
}

// A call gate with two parameters to ring 0, and back.
static void test_call_gate(void **state)
{
	u32 frame[5] = {0x8000, 0x33, RFL_FIXED, 0x5800, 0x3b}, parameters[2] = {0x11111111, 0x22222222};

	put(GDT + 0x58, 0x0000ec0200088888); // DPL 3, 8:8888, two words
	cpu.gdtr.limit = 0x5f;
	cpu.gpr[R_RSP] = 0x5000;
	memcpy(mem + 0x5000, frame, sizeof(frame));
	memcpy(mem + 0x5800, parameters, sizeof(parameters));
	assert_int_equal(RUN("\xcf"), EMUL_OK);            // iret to ring 3
	FAULTS("\xea\x00\x00\x00\x00\x5b\x00", VEC_GP, 8); // a jump cannot change rings
	assert_int_equal(RUN("\x9a\x00\x00\x00\x00\x5b\x00"), EMUL_OK);
	assert_int_equal(cpu_cpl(&cpu), 0);
	assert_int_equal(cpu.rip, 0x8888);
	assert_int_equal(cpu.gpr[R_RSP], 0x6000 - 24);
	assert_int_equal(get(0x6000 - 24), BASE + 7);
	assert_int_equal(get(0x6000 - 20), 0x33);
	assert_int_equal(get(0x6000 - 16), 0x11111111);
	assert_int_equal(get(0x6000 - 12), 0x22222222);
	assert_int_equal(get(0x6000 - 8), 0x5800);
	assert_int_equal(get(0x6000 - 4), 0x3b);
	assert_int_equal(RUN("\xca\x08\x00"), EMUL_OK); // lret $8
	assert_int_equal(cpu_cpl(&cpu), 3);
	assert_int_equal(cpu.rip, BASE + 7);
	assert_int_equal(cpu.gpr[R_RSP], 0x5808);
	put(GDT + 0x58, 0x0000ec0300088888);
	cpu.gpr[R_RSP] = 0x1fffc; // parameters beyond memory
	assert_int_equal(RUN("\x9a\x00\x00\x00\x00\x5b\x00"), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_PF);
	assert_int_equal(cpu_cpl(&cpu), 3);
}

#define TSS2 0x3100u

// A second 32-bit task at 0x58, with its code at 8:8000 and its stack at 0x6800.
static void second_task(void)
{
	u32 tss[26] = {[8] = 0x8000, RFL_FIXED | RFL_CF, 1, 2, 3, 4, 0x6800, 5, 6, 7, 0x10, 8, 0x10, 0x10, 0, 0};

	memcpy(mem + TSS2, tss, sizeof(tss));
	put(GDT + 0x58, 0x0000890031000067);
	cpu.gdtr.limit = 0x5f;
	mem[GDT + 0x45] = 0x8b; // the running task is busy
}

static void test_task_call(void **state)
{
	second_task();
	cpu.gpr[R_RBX] = 0xbbbbbbbb;
	cpu.dr[7] = 0x455;
	assert_int_equal(RUN("\x9a\x00\x00\x00\x00\x58\x00"), EMUL_OK);
	assert_true(emul.switched);
	assert_int_equal(cpu.rip, 0x8000);
	assert_int_equal(cpu.rflags, RFL_FIXED | RFL_CF | RFL_NT);
	assert_int_equal(cpu.gpr[R_RAX], 1);
	assert_int_equal(cpu.gpr[R_RDI], 7);
	assert_int_equal(cpu.gpr[R_RSP], 0x6800);
	assert_int_equal(cpu.tr.selector, 0x58);
	assert_int_equal(cpu.dr[7], 0x400);
	assert_true(cpu.cr0 & CR0_TS);
	assert_true(cpu.seg[SEG_FS].attr & SEG_ATTR_UNUSABLE);
	assert_int_equal(get(TSS2), 0x40);           // back link
	assert_int_equal(get(TSS + 0x20), BASE + 7); // saved
	assert_int_equal(get(TSS + 0x34), 0xbbbbbbbb);
	assert_int_equal(mem[GDT + 0x45], 0x8b); // both are busy
	assert_int_equal(mem[GDT + 0x5d], 0x8b);
	FAULTS("\xea\x00\x00\x00\x00\x40\x00", VEC_GP, 0x40);
	assert_int_equal(RUN("\xcf"), EMUL_OK); // iret: back
	assert_int_equal(cpu.rip, BASE + 7);
	assert_int_equal(cpu.tr.selector, 0x40);
	assert_int_equal(cpu.gpr[R_RBX], 0xbbbbbbbb);
	assert_int_equal(mem[GDT + 0x5d], 0x89);
	assert_int_equal(mem[GDT + 0x45], 0x8b);
	assert_int_equal(get(TSS2 + 0x20), BASE + 1); // it goes on behind its IRET
	assert_false(get(TSS2 + 0x24) & RFL_NT);
}

static void test_task_faults(void **state)
{
	static const char jump[] = "\xea\x00\x00\x00\x00\x58\x00";

	second_task();
	mem[GDT + 0x58] = 0x66; // too small
	assert_int_equal(run(jump, 7), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_TS);
	assert_int_equal(emul.fault.error, 0x58);
	assert_false(emul.switched);
	mem[GDT + 0x58] = 0x67;
	mem[GDT + 0x5d] = 0x09;
	assert_int_equal(run(jump, 7), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_NP);
	mem[GDT + 0x5d] = 0x89;
	mem[TSS2 + 0x54] = 0x50; // DS of the new task is execute-only: found there
	assert_int_equal(run(jump, 7), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_TS);
	assert_int_equal(emul.fault.error, 0x50);
	assert_true(emul.switched);
	assert_int_equal(cpu.rip, 0x8000);
	assert_int_equal(cpu.tr.selector, 0x58);
	assert_int_equal(mem[GDT + 0x45], 0x89); // left by a jump
	cpu.rflags |= RFL_NT;
	put(TSS2, 0);
	assert_int_equal(RUN("\xcf"), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_TS);
	assert_int_equal(cpu.rip, BASE);
}

static void test_task_gate_event(void **state)
{
	struct x86_fault gp = {.vector = VEC_GP, .has_error = true, .error = 0x1234};

	second_task();
	put(IDT + 13 * 8, 0x0000850000580000);
	put(TSS2 + 0x64, 1); // T
	cpu.rip = 0x8888;
	assert_int_equal(emul_deliver(&emul, &gp, false, false), EMUL_OK);
	assert_int_equal(cpu.rip, 0x8000);
	assert_int_equal(cpu.gpr[R_RSP], 0x6800 - 4);
	assert_int_equal(get(0x6800 - 4), 0x1234);
	assert_int_equal(get(TSS + 0x20), 0x8888);
	assert_true(cpu.rflags & RFL_NT);
	assert_int_equal(emul.trap, BIT(15));
	assert_true(cpu.dr[6] & BIT(15));
}

static void test_task16(void **state)
{
	u16 tss[22] = {[7] = 0x8000, RFL_FIXED, 1, 2, 3, 4, 0x6800, 5, 6, 7, 0x10, 8, 0x10, 0x10, 0};

	memcpy(mem + TSS2, tss, sizeof(tss));
	put(GDT + 0x58, 0x000081003100002b);
	cpu.gdtr.limit = 0x5f;
	mem[GDT + 0x45] = 0x8b;
	assert_int_equal(RUN("\xea\x00\x00\x00\x00\x58\x00"), EMUL_OK);
	assert_int_equal(cpu.rip, 0x8000);
	assert_int_equal(cpu.gpr[R_RSP] & 0xffff, 0x6800);
	assert_int_equal(cpu.gpr[R_RAX] & 0xffff, 1);
	assert_int_equal(cpu.tr.attr & 0xf, 3);
	assert_int_equal(RUN("\xea\x00\x00\x00\x00\x40\x00"), EMUL_OK); // and back to the other kind
	assert_int_equal(get(TSS2 + 0xe) & 0xffff, BASE + 7);
	assert_int_equal(cpu.rip, BASE + 7);
	assert_int_equal(cpu.tr.selector, 0x40);
}

static void enter_v86(u32 flags)
{
	u32 frame[9] = {0x0010, 0x0800, flags | RFL_VM | RFL_FIXED, 0x1000, 0x0500, 0x600, 0x700, 0x0800, 0x900};

	cpu.gpr[R_RSP] = 0x5000;
	memcpy(mem + 0x5000, frame, sizeof(frame));
	assert_int_equal(RUN("\xcf"), EMUL_OK);
	assert_int_equal(cpu_cpl(&cpu), 3);
	assert_int_equal(cpu.rip, 0x10);
	assert_int_equal(cpu.seg[SEG_CS].base, 0x8000);
	assert_int_equal(cpu.seg[SEG_SS].base, 0x5000);
	assert_int_equal(cpu.seg[SEG_DS].base, 0x7000);
	assert_int_equal(cpu.seg[SEG_GS].base, 0x9000);
}

static enum emul_result v86(const char *bytes, unsigned len)
{
	memcpy(mem + 0x8010, bytes, len);
	cpu.rip = 0x10;
	return emul_step(&emul);
}

static void v86_faults(const char *bytes, unsigned len, unsigned vector)
{
	assert_int_equal(v86(bytes, len), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, vector);
	assert_int_equal(emul.fault.error, 0);
	assert_int_equal(cpu.rip, 0x10);
}

static void test_v86(void **state)
{
	enter_v86(0);
	v86_faults("\xfa", 1, VEC_GP);         // cli
	v86_faults("\x9c", 1, VEC_GP);         // pushf
	v86_faults("\x9d", 1, VEC_GP);         // popf
	v86_faults("\xcd\x20", 2, VEC_GP);     // int
	v86_faults("\xcf", 1, VEC_GP);         // iret
	v86_faults("\xf4", 1, VEC_GP);         // hlt
	v86_faults("\x0f\x00\xd8", 3, VEC_UD); // ltr
	v86_faults("\x63\xc0", 2, VEC_UD);     // arpl
	cpu.tr.limit = 0x66;
	v86_faults("\xec", 1, VEC_GP); // in: no map
	assert_int_equal(v86("\xb8\x34\x12", 3), EMUL_OK);
	assert_int_equal(v86("\x8e\xd8", 2), EMUL_OK); // mov %ax, %ds
	assert_int_equal(cpu.seg[SEG_DS].base, 0x12340);
	cpu.tr.limit = 0x67;
	put(IDT + 3 * 8, 0x0000ee0000089000);
	assert_int_equal(v86("\xcc", 1), EMUL_OK); // int3 goes through the IDT whatever IOPL is
	assert_int_equal(cpu.rip, 0x9000);
	assert_int_equal(cpu_cpl(&cpu), 0);
	assert_false(cpu.rflags & RFL_VM);
	assert_true(cpu.seg[SEG_DS].attr & SEG_ATTR_UNUSABLE);
	assert_int_equal(cpu.gpr[R_RSP], 0x6000 - 36);
	assert_int_equal(get(0x6000 - 36), 0x11);
	assert_int_equal(get(0x6000 - 32), 0x800);
	assert_true(get(0x6000 - 28) & RFL_VM);
	assert_int_equal(get(0x6000 - 24), 0x1000);
	assert_int_equal(get(0x6000 - 20), 0x500);
	assert_int_equal(get(0x6000 - 16), 0x600);
	assert_int_equal(get(0x6000 - 12), 0x1234);
	assert_int_equal(get(0x6000 - 8), 0x800);
	assert_int_equal(get(0x6000 - 4), 0x900);
	assert_int_equal(RUN("\xcf"), EMUL_OK);
	assert_int_equal(cpu.rip, 0x11);
	assert_int_equal(cpu.seg[SEG_DS].base, 0x12340);
	assert_true(cpu.rflags & RFL_VM);
}

static void test_v86_iopl(void **state)
{
	enter_v86(RFL_IOPL);
	assert_int_equal(v86("\xfb", 1), EMUL_OK); // sti
	assert_true(cpu.rflags & RFL_IF);
	assert_int_equal(v86("\x9c", 1), EMUL_OK); // pushf
	assert_int_equal(get(0x5ffe) & 0xffff, RFL_IOPL | RFL_IF | RFL_FIXED);
	memset(mem + 0x5ffe, 0, 2);
	assert_int_equal(v86("\x9d", 1), EMUL_OK); // popf leaves IOPL alone
	assert_int_equal(cpu.rflags, RFL_VM | RFL_IOPL | RFL_FIXED);
	put(IDT + 0x20 * 8, 0x0000ee0000309000); // to ring 3: not out of here
	assert_int_equal(v86("\xcd\x20", 2), EMUL_FAULT);
	assert_int_equal(emul.fault.vector, VEC_GP);
	assert_int_equal(emul.fault.error, 0x30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_boot, real_mode),
		cmocka_unit_test_setup(test_real_interrupt, real_mode),
		cmocka_unit_test_setup(test_real_segments, real_mode),
		cmocka_unit_test_setup(test_limits, protected_mode),
		cmocka_unit_test_setup(test_rings, protected_mode),
		cmocka_unit_test_setup(test_exception_frame, protected_mode),
		cmocka_unit_test_setup(test_legacy_integer, protected_mode),
		cmocka_unit_test_setup(test_call_gate, protected_mode),
		cmocka_unit_test_setup(test_task_call, protected_mode),
		cmocka_unit_test_setup(test_task_faults, protected_mode),
		cmocka_unit_test_setup(test_task_gate_event, protected_mode),
		cmocka_unit_test_setup(test_task16, protected_mode),
		cmocka_unit_test_setup(test_v86, protected_mode),
		cmocka_unit_test_setup(test_v86_iopl, protected_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
