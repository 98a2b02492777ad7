// SPDX-License-Identifier: MIT
// IRET with frames of all shapes, far calls and returns, call gates, SYSCALL and SYSRET.
#include "kernel.h"

static u64 seen[4];

static void user_int(void)
{
	asm volatile("int $0x80");
}

// Same level, another stack pointer: RSP and SS are always popped in 64-bit mode.
static void iret_same(u64 ss)
{
	asm volatile("mov %%rsp, %%rbx\n push %0\n lea -64(%%rbx), %%rax\n push %%rax\n push $2\n push $8\n lea 1f(%%rip), %%rax\n"
		     "push %%rax\n iretq\n 1: mov %%rsp, %%rcx\n mov %%ss, %%edx\n mov %%rbx, %%rsp\n sub %%rbx, %%rcx\n"
		     "mov %%rcx, seen\n mov %%rdx, seen + 8\n" ::"r"(ss)
		     : "rax", "rbx", "rcx", "rdx", "memory", "cc");
	asm volatile("mov %w0, %%ss" ::"r"(KERNEL_SS));
}

struct image {
	u64 rip, cs, flags, rsp, ss;
};

static void iret_image(u64 at)
{
	const struct image *i = (const struct image *)at;

	iret_to(i->rip, i->cs, i->flags, i->rsp, i->ss);
}

static void iret_nt(u64 unused)
{
	set_flags(2 | F_NT);
	asm volatile("iretq");
}

static bool iret_raises(u64 rip, u64 cs, u64 ss, unsigned vector, u64 error)
{
	struct image i = {rip, cs, 2, (u64)user_stack, ss};

	return raises(iret_image, (u64)&i, vector, error);
}

asm(".code32\n compat_user: mov %cs, %eax\n int $0x80\n"
    "compat_kernel: mov %cs, %edx\n ljmp $0x08, $1f\n .code64\n 1: ret\n");
extern u8 compat_user[], compat_kernel[];

static void far_to_compat(u64 unused)
{
	asm volatile("mov %w0, %%ds" ::"r"(KERNEL_SS)); // null since the last return to ring 3
	asm volatile("push $0x30\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n 1:\n"
		     ".code32\n mov %%cs, %%eax\n mov %%eax, seen\n ljmp $0x08, $2f\n .code64\n 2:" ::
			     : "rax", "memory");
}

static void far_call(u64 unused)
{
	static struct __attribute__((packed)) {
		u32 offset;
		u16 sel;
	} target;

	asm volatile("movl $3f, %0\n movw $8, %1\n mov %%rsp, %%rbx\n lcall *%0\n jmp 4f\n"
		     "3: mov (%%rsp), %%rax\n mov 4(%%rsp), %%ecx\n mov %%rcx, seen\n lretl\n 4: cmp %%rsp, %%rbx\n sete seen + 8\n"
		     : "+m"(target.offset), "+m"(target.sel)::"rax", "rbx", "rcx", "memory", "cc");
}

static void user_call_gate(void)
{
	static struct __attribute__((packed)) {
		u32 offset;
		u16 sel;
	} target = {0, CALL_GATE | 3};

	asm volatile("lcall *%0\n int $0x80" ::"m"(target) : "memory");
}

// In ring 0: the caller's SS, RSP, CS and RIP are on the stack.
asm("gate_code: mov %cs, %eax\n mov %rax, seen\n mov 8(%rsp), %rax\n mov %rax, seen + 8\n mov 24(%rsp), %rax\n"
    "mov %rax, seen + 16\n mov %ss, %eax\n mov %rax, seen + 24\n rex.w lret\n");
extern u8 gate_code[];

asm("syscall_entry: mov %cs, %eax\n mov %rax, seen\n mov %ss, %eax\n mov %rax, seen + 8\n pushf\n pop %rax\n mov %rax, seen + 16\n"
    "mov %r11, seen + 24\n sysretq\n");
extern u8 syscall_entry[];

static void user_syscall(void)
{
	asm volatile("stc\n syscall\n int $0x80" ::: "rcx", "r11", "rax", "memory", "cc");
}

static void calls(void)
{
	u64 g = (u64)gate_code;

	guarded(far_to_compat, 0);
	check("far return to 32-bit code, far jump back", (u32)seen[0] == KERNEL_CS32);
	seen[0] = seen[1] = 0;
	guarded(far_call, 0);
	check("far call pushes cs, far return", seen[0] == KERNEL_CS && seen[1] == 1);
	gdt[CALL_GATE / 8] = (g & 0xffff) | KERNEL_CS << 16 | 0xec0000000000 | (g >> 16 & 0xffff) << 48;
	gdt[CALL_GATE / 8 + 1] = g >> 32;
	in_user(user_call_gate, USER_CS, 2);
	check("call gate from user mode", caught.vector == 0x80 && seen[0] == KERNEL_CS && seen[1] == USER_CS && seen[2] == USER_SS &&
						  seen[3] == 0 && caught.cs == USER_CS && caught.rsp == (u64)user_stack);
	wrmsr(0xc0000081, (u64)KERNEL_CS << 32 | (u64)(USER_CS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)syscall_entry);
	wrmsr(0xc0000084, F_IF | F_DF | F_TF | F_NT | F_AC | 1);
	in_user(user_syscall, USER_CS, 2 | F_IF);
	check("syscall", seen[0] == KERNEL_CS && seen[1] == KERNEL_SS && !(seen[2] & (F_IF | 1)) && (seen[3] & (F_IF | 1)) == (F_IF | 1));
	check("sysret", caught.vector == 0x80 && caught.cs == USER_CS && caught.ss == USER_SS && (caught.rflags & (F_IF | 1)) == (F_IF | 1));
	wrmsr(0xc0000084, 0);
	in_user(user_syscall, USER_CS, 2 | F_AC | F_DF | F_ID);
	check("syscall with an empty mask", (seen[2] & (F_AC | F_DF | F_ID | 1)) == (F_AC | F_DF | F_ID | 1));
	asm volatile("mov %w0, %%ss" ::"r"(KERNEL_SS));
}

void test_transfers(void)
{
	guarded(iret_same, KERNEL_SS);
	check("iret to the same level: rsp", (long)seen[0] == -64 && seen[1] == KERNEL_SS);
	guarded(iret_same, 0);
	check("iret to the same level: null ss", seen[1] == 0);
	in_user(user_int, USER_CS, 2 | F_IF | 0x8d5);
	check("iret to user mode, int back", caught.vector == 0x80 && caught.cs == USER_CS && caught.ss == USER_SS &&
						     caught.rsp == (u64)user_stack && (caught.rflags & 0xad5) == 0xad5);
	in_user((void (*)(void))compat_user, USER_CS32, 2);
	check("iret to 32-bit user code", caught.vector == 0x80 && (u32)caught.rax == USER_CS32 && caught.cs == USER_CS32);
	in_user(user_int, USER_CS, 2 | F_VM);
	check("iret does not load VM in long mode", caught.vector == 0x80 && !(caught.rflags & F_VM));
	check("iret with NT: #GP(0)", raises(iret_nt, 0, GP, 0));
	set_flags(2);
	check("iret to a null cs: #GP(0)", iret_raises((u64)user_int, 0, USER_SS, GP, 0));
	check("iret to data: #GP(selector)", iret_raises((u64)user_int, KERNEL_SS, KERNEL_SS, GP, KERNEL_SS));
	check("iret to absent code: #NP(selector)", iret_raises((u64)user_int, ABSENT_CS, KERNEL_SS, NP, ABSENT_CS));
	check("iret beyond the table: #GP(selector)", iret_raises((u64)user_int, 0x1003, USER_SS, GP, 0x1000));
	check("iret to user mode with kernel's ss: #GP(selector)", iret_raises((u64)user_int, USER_CS, KERNEL_SS, GP, KERNEL_SS));
	check("iret to user mode with null ss: #GP(0)", iret_raises((u64)user_int, USER_CS, 3, GP, 0));
	calls();
}
