// SPDX-License-Identifier: MIT
// Segmentation: limits and types, LAR to ARPL, LDT, call gates of 16 and 32 bits with parameters, conforming code, 16-bit protected
// mode.
#include "kernel.h"

static u32 seen[8];

static void load_ds(u32 sel)
{
	asm volatile("mov %w0, %%ds" ::"r"(sel));
}

static void load_ss(u32 sel)
{
	asm volatile("mov %w0, %%ss; mov %w1, %%ss" ::"r"(sel), "r"(KERNEL_DS));
}

static void read_fs(u32 at)
{
	asm volatile("mov %0, %%fs\n movl %%fs:(%1), %%eax\n" ::"r"(SCRATCH), "r"(at) : "eax");
}

static void write_fs(u32 at)
{
	asm volatile("mov %0, %%fs\n movl $0, %%fs:(%1)\n" ::"r"(SCRATCH), "r"(at) : "memory");
}

static void read_null(u32 unused)
{
	asm volatile("mov %0, %%fs\n movb %%fs:0, %%al\n" ::"r"(0) : "eax");
}

static u32 lar(u32 sel)
{
	u32 r = 0xeeeeeeee;

	asm volatile("lar %1, %0" : "+r"(r) : "r"(sel) : "cc");
	return r;
}

static u32 lsl(u32 sel)
{
	u32 r = 0xeeeeeeee;

	asm volatile("lsl %1, %0" : "+r"(r) : "r"(sel) : "cc");
	return r;
}

static bool verr(u32 sel)
{
	bool z;

	asm volatile("verr %w1" : "=@ccz"(z) : "r"(sel));
	return z;
}

static bool verw(u32 sel)
{
	bool z;

	asm volatile("verw %w1" : "=@ccz"(z) : "r"(sel));
	return z;
}

static void limits(void)
{
	set_descriptor(SCRATCH, (u32)buffer, 0xfff, 0x4093);
	check("read at the limit", !guarded(read_fs, 0xffc));
	check("read across the limit: #GP(0)", raises(read_fs, 0xffd, GP, 0));
	check("write beyond: #GP(0)", raises(write_fs, 0x1000, GP, 0));
	set_descriptor(SCRATCH, (u32)buffer, 0xfff, 0x4091);
	check("write of read-only data: #GP(0)", raises(write_fs, 0, GP, 0));
	set_descriptor(SCRATCH, (u32)buffer, 0xfff, 0x4097);
	check("expand-down: below", raises(read_fs, 0xfff, GP, 0));
	check("expand-down: above", !guarded(read_fs, 0x1000));
	check("expand-down, 32 bits", !guarded(read_fs, 0x10000));
	set_descriptor(SCRATCH, (u32)buffer, 0xfff, 0x0097);
	check("expand-down, 16 bits: end", raises(read_fs, 0xfffd, GP, 0));
	set_descriptor(SCRATCH, (u32)buffer, 0xfff, 0x4099);
	check("read of execute-only code: #GP(0)", raises(load_ds, SCRATCH, GP, SCRATCH));
	set_descriptor(SCRATCH, (u32)buffer, 0, 0xc09b);
	check("read through code", !guarded(read_fs, 0xffc));
	check("write through code: #GP(0)", raises(write_fs, 0, GP, 0));
	check("null: #GP(0)", raises(read_null, 0, GP, 0));
	set_descriptor(SCRATCH, 0, 0xfffff, 0xc013);
	check("load of what is not present: #NP", raises(load_ds, SCRATCH, NP, SCRATCH));
	check("stack that is not present: #SS", raises(load_ss, SCRATCH, SS, SCRATCH));
	check("null stack: #GP(0)", raises(load_ss, 0, GP, 0));
	check("stack of code: #GP", raises(load_ss, KERNEL_CS, GP, KERNEL_CS));
	check("stack of another ring: #GP", raises(load_ss, USER_DS, GP, USER_DS & ~3u));
	set_descriptor(SCRATCH, 0, 0xfffff, 0xc092);
	guarded(load_ds, SCRATCH);
	check("a load sets the accessed bit", gdt[SCRATCH / 8] >> 40 & 1);
	load_ds(KERNEL_DS);
}

static u16 user_sel;
static u32 user_lar;

static void user_queries(void)
{
	user_lar = lar(user_sel);
	asm volatile("int $0x30");
}

static void queries(void)
{
	u32 types[32], limits_of[32];
	u32 arpl = 0x10;

	set_descriptor(CONFORMING, 0, 0xfff, 0xc09e);
	for (unsigned i = 0; i < 32; i++) {
		set_descriptor(SCRATCH, 0x1000, 0x12345, 0x8080 | i);
		types[i] = lar(SCRATCH);
		limits_of[i] = lsl(SCRATCH);
	}
	value("lar of all types", types, 32);
	value("lsl of all types", limits_of, 32);
	check("lar", lar(KERNEL_CS) == 0x00c09b00 && lar(USER_DS) == 0x00c0f300 && lar(0) == 0xeeeeeeee &&
			     lar(0xff8) == 0xeeeeeeee);
	check("verr, verw",
	      verr(KERNEL_CS) && !verw(KERNEL_CS) && verw(KERNEL_DS) && !verr(MAIN_TSS) && verr(CONFORMING));
	asm volatile("arpl %w1, %w0" : "+r"(arpl) : "r"(3) : "cc");
	check("arpl", arpl == 0x13);
	user_sel = CONFORMING;
	in_user(user_queries, 0);
	check("user lar of conforming code", user_lar == 0x00c09e00);
	user_sel = KERNEL_CS;
	user_lar = 0;
	in_user(user_queries, 0);
	check("user lar of the kernel's code", user_lar == 0xeeeeeeee);
}

static u64 ldt[4];

static void load_ldt(u32 sel)
{
	asm volatile("lldt %w0" ::"r"(sel));
}

static void local(void)
{
	ldt[1] = gdt[KERNEL_DS / 8];
	set_descriptor(LDT, (u32)ldt, 15, 0x82);
	load_ldt(LDT);
	check("ldt", !guarded(load_ds, 8 | 4));
	check("beyond the ldt: #GP", raises(load_ds, 16 | 4, GP, 16 | 4));
	check("lldt of a TSS: #GP", raises(load_ldt, MAIN_TSS, GP, MAIN_TSS));
	load_ldt(0);
	check("no ldt: #GP", raises(load_ds, 8 | 4, GP, 8 | 4));
}

// ---- transfers

asm("gate_target: mov %esp, %eax\n int3\n"
    "gate_return: lret $8\n"
    "plain_return: lret\n"
    "user_call: push $0x11111111\n push $0x22222222\n mov %esp, %ebx\n lcall $0x5b, $0\n int $0x30\n"
    "user_jump_gate: ljmp $0x5b, $0\n"
    "user_conforming: lcall $0x63, $conforming_code\n mov $0x77, %edx\n int $0x30\n"
    "conforming_code: mov %cs, %eax\n lret\n");
extern u8 gate_target[], gate_return[], plain_return[], user_call[], user_jump_gate[], user_conforming[];

static void far_call(u32 sel)
{
	struct __attribute__((packed)) {
		u32 offset;
		u16 sel;
	} target = {(u32)plain_return, (u16)sel};

	asm volatile("lcall *%0" ::"m"(target) : "memory");
}

static void far_jump(u32 sel)
{
	struct __attribute__((packed)) {
		u32 offset;
		u16 sel;
	} target = {(u32)guarded, (u16)sel};

	asm volatile("ljmp *%0" ::"m"(target));
}

static void set_call_gate(void *target, unsigned type, unsigned parameters, u16 sel)
{
	u32 t = (u32)target;

	gdt[CALL_GATE / 8] =
		(t & 0xffff) | (u64)sel << 16 | (u64)parameters << 32 | (u64)(0xe0 | type) << 40 | (u64)(t >> 16) << 48;
}

static void call_gates(void)
{
	u32 *stack = (u32 *)trap_stack;

	set_call_gate(gate_target, 12, 2, KERNEL_CS);
	in_user((void (*)(void))user_call, 0);
	check("call gate to ring 0", caught.vector == BP && caught.cs == KERNEL_CS && caught.eax == (u32)(stack - 6));
	check("call gate: frame", stack[-1] == USER_DS && stack[-2] == caught.ebx && stack[-3] == 0x11111111 &&
					  stack[-4] == 0x22222222 && stack[-5] == USER_CS);
	set_call_gate(gate_return, 12, 2, KERNEL_CS);
	in_user((void (*)(void))user_call, 0);
	check("and back",
	      caught.vector == 0x30 && caught.cs == USER_CS && caught.esp == caught.ebx + 8 && caught.ss == USER_DS);
	check("data segments of ring 0 would be null", caught.trap_ds == USER_DS);
	in_user((void (*)(void))user_jump_gate, 0);
	check("jump through it: #GP(code)", caught.vector == GP && caught.error == KERNEL_CS);
	set_call_gate(plain_return, 12, 0, KERNEL_CS);
	check("call gate in one ring", !guarded(far_call, CALL_GATE));
	set_call_gate(plain_return, 12, 0, MAIN_TSS);
	check("call gate to no code: #GP", raises(far_call, CALL_GATE, GP, MAIN_TSS));
	set_call_gate(plain_return, 12, 0, 0);
	check("call gate to null: #GP(0)", raises(far_call, CALL_GATE, GP, 0));
	gdt[CALL_GATE / 8] &= ~(1ull << 47);
	check("call gate not present: #NP", raises(far_call, CALL_GATE, NP, CALL_GATE));
	set_call_gate(gate_target, 12, 2, KERNEL_CS);
	gdt[CALL_GATE / 8] &= ~(3ull << 45);
	in_user((void (*)(void))user_call, 0);
	check("call gate of ring 0 from ring 3: #GP", caught.vector == GP && caught.error == CALL_GATE);
	set_descriptor(SCRATCH, (u32)buffer, 0xffff, 0x009b);
	buffer[0] = 0xcc;
	set_call_gate(0, 4, 3, SCRATCH);
	in_user((void (*)(void))user_call, 0);
	check("call gate of 16 bits", caught.vector == BP && caught.cs == SCRATCH);
	for (unsigned i = 0; i < 4; i++)
		seen[i] = stack[-1 - (int)i];
	value("call gate of 16 bits: frame", seen, 4);
}

static void far_transfers(void)
{
	check("far call", !guarded(far_call, KERNEL_CS));
	check("far call to data: #GP", raises(far_call, KERNEL_DS, GP, KERNEL_DS));
	check("far call to null: #GP(0)", raises(far_call, 0, GP, 0));
	check("far call beyond the table: #GP", raises(far_call, 0x1000, GP, 0x1000));
	check("far call to ring 3: #GP", raises(far_call, USER_CS, GP, USER_CS & ~3u));
	set_descriptor(SCRATCH, 0, 0xfffff, 0xc01b);
	check("far jump to what is not present: #NP", raises(far_jump, SCRATCH, NP, SCRATCH));
	set_descriptor(SCRATCH, 0, 0xff, 0x409b);
	check("far jump beyond the limit: #GP(0)", raises(far_jump, SCRATCH, GP, 0));
	set_descriptor(CONFORMING, 0, 0xfffff, 0xc09e);
	in_user((void (*)(void))user_conforming, 0);
	check("conforming code keeps the ring",
	      caught.vector == 0x30 && caught.eax == (CONFORMING | 3) && caught.edx == 0x77);
}

void test_segments(void)
{
	limits();
	queries();
	local();
	far_transfers();
	call_gates();
}
