// SPDX-License-Identifier: MIT
// Hardware task switches: JMP, CALL, IRET, task gates in the GDT and the IDT, TSSs of 32 and 16 bits, and what can be wrong with them.
#include "kernel.h"

#define TASK_VECTOR 0x31

static u8 other_stack[4096] __attribute__((aligned(16))), other_stack0[4096] __attribute__((aligned(16)));
static u16 tss16[22];

// What the other task does: notes its state and goes back.
asm("task_body:\n"
    " pushf; pop task_flags\n str task_tr\n mov %cr0, %eax\n mov %eax, task_cr0\n mov %esp, task_esp\n mov %edx, task_edx\n"
    " mov %db7, %eax\n mov %eax, task_dr7\n incl task_runs\n"
    " iret\n jmp task_body\n"
    "task_error: pop task_edx\n str task_tr\n mov %esp, task_esp\n incl task_runs\n mov $0, %eax\n int $0x30\n"
    "task_jump: incl task_runs\n str task_tr\n pushf; pop task_flags\n ljmp $0x28, $0\n jmp task_jump\n"
    "task_user: mov %cs, %eax\n int $0x30\n"
    "task_trap: int3\n"
    ".data\n .globl task_flags, task_tr, task_cr0, task_esp, task_edx, task_dr7, task_runs\n"
    "task_flags: .long 0\n task_tr: .long 0\n task_cr0: .long 0\n task_esp: .long 0\n task_edx: .long 0\n task_dr7: .long 0\n"
    "task_runs: .long 0\n .text");
extern u8 task_body[], task_error[], task_jump[], task_user[], task_trap[];
extern u32 task_flags, task_tr, task_cr0, task_esp, task_edx, task_dr7, task_runs;

static void prepare(void *code)
{
	u32 cr3;

	asm volatile("mov %%cr3, %0" : "=r"(cr3));
	for (unsigned i = 0; i < 104; i++)
		((u8 *)&other_tss)[i] = 0;
	other_tss.cr3 = cr3;
	other_tss.eip = (u32)code;
	other_tss.eflags = 2;
	other_tss.edx = 0x12345678;
	other_tss.esp = (u32)(other_stack + sizeof(other_stack));
	other_tss.esp0 = (u32)(other_stack0 + sizeof(other_stack0));
	other_tss.ss0 = KERNEL_DS;
	other_tss.cs = KERNEL_CS;
	other_tss.ss = other_tss.ds = other_tss.es = KERNEL_DS;
	task_runs = task_tr = task_edx = 0;
	caught.vector = ~0u;
	reset_tasks();
}

#define FAR(op, sel)                                                                                        \
	asm volatile("pusha\n mov %%esp, saved_esp\n " op " $" #sel ", $0\n mov saved_esp, %%esp\n popa\n"  \
		     ".pushsection .bss\n .ifndef saved_esp\n saved_esp: .skip 4\n .endif\n .popsection" :: \
			     : "memory", "cc")

static void call_tss(u32 unused)
{
	FAR("lcall", 0x30);
}

static void jump_tss(u32 unused)
{
	FAR("ljmp", 0x30);
}

static void call_gate(u32 unused)
{
	FAR("lcall", 0x38);
}

static void call_tss16(u32 unused)
{
	FAR("lcall", 0x50);
}

static void call_tss_rpl(u32 unused)
{
	FAR("lcall", 0x33);
}

static void jump_self(u32 unused)
{
	FAR("ljmp", 0x28);
}

static void iret_nt(u32 unused)
{
	asm volatile("pushf; orl $0x4000, (%%esp); popf; iret" ::: "memory", "cc");
}

static void raise(u32 unused)
{
	asm volatile("int $0x31");
}

static void overrun(u32 unused)
{
	asm volatile("mov %0, %%ds\n mov $0x10, %%eax\n mov %%eax, %%ds" ::"r"(0x1000) : "eax");
}

static void load_tr(u32 sel)
{
	asm volatile("ltr %w0" ::"r"(sel));
}

static unsigned type_of(u16 sel)
{
	return (unsigned)(gdt[sel / 8] >> 40) & 15;
}

static void set_task_gate(u64 *at, u16 tss, unsigned dpl)
{
	*at = (u64)tss << 16 | (u64)(0x85 | dpl << 5) << 40;
}

static void switches(void)
{
	u32 cr0;

	prepare(task_body);
	asm volatile("mov %0, %%db7" ::"r"(0x455));
	asm volatile("mov %0, %%db0; mov %0, %%db1; mov %0, %%db2; mov %0, %%db3" ::"r"(0));
	check("call and return",
	      !guarded(call_tss, 0) && task_runs == 1 && task_tr == OTHER_TSS && task_edx == 0x12345678);
	check("NT, TS, debug registers of the called task",
	      (task_flags & F_NT) && (task_cr0 & 8) && !(task_dr7 & 0x55));
	check("back link", other_tss.link == MAIN_TSS);
	check("types after it", type_of(MAIN_TSS) == 11 && type_of(OTHER_TSS) == 9);
	check("it goes on behind its IRET", other_tss.eip > (u32)task_body && !(other_tss.eflags & F_NT));
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	check("TS is set", cr0 & 8);
	check("call again", !guarded(call_tss, 0) && task_runs == 2);
	prepare(task_jump);
	check("jump there and back",
	      !guarded(jump_tss, 0) && task_runs == 1 && !(task_flags & F_NT) && other_tss.link == 0);
	check("types after it", type_of(MAIN_TSS) == 11 && type_of(OTHER_TSS) == 9);
	prepare(task_body);
	set_task_gate(&gdt[TASK_GATE / 8], OTHER_TSS, 0);
	check("call through a task gate", !guarded(call_gate, 0) && task_runs == 1);
	set_task_gate(&gdt[TASK_GATE / 8], OTHER_TSS | 4, 0);
	guarded(call_gate, 0);
	check("task gate to an LDT's selector", caught.error == (OTHER_TSS | 4));
	gdt[TASK_GATE / 8] &= ~(1ull << 47);
	check("task gate not present: #NP", raises(call_gate, 0, NP, TASK_GATE));
	prepare(task_trap);
	guarded(call_tss, 0);
	check("exception in the task", caught.vector == BP && caught_tr == OTHER_TSS && (caught.eflags & F_NT));
	prepare(task_user);
	other_tss.cs = USER_CS;
	other_tss.ss = other_tss.ds = other_tss.es = USER_DS;
	guarded(jump_tss, 0);
	check("a task of ring 3", caught.vector == 0x30 && caught.cs == USER_CS && caught.eax == USER_CS &&
					  caught.ss == USER_DS && caught_tr == OTHER_TSS);
	prepare(task_trap);
	other_tss.t = 1;
	guarded(jump_tss, 0);
	check("T: #DB before its first instruction",
	      caught.vector == DB && (caught_dr6 & 0x8000) && caught.eip == (u32)task_trap);
}

static void interrupts(void)
{
	u64 old;
	u64 *idt = idt_of();

	prepare(task_body);
	set_task_gate(&idt[TASK_VECTOR], OTHER_TSS, 0);
	check("interrupt to a task",
	      !guarded(raise, 0) && task_runs == 1 && (task_flags & F_NT) && other_tss.link == MAIN_TSS);
	prepare(task_error);
	old = idt[GP];
	set_task_gate(&idt[GP], OTHER_TSS, 0);
	guarded(overrun, 0);
	idt[GP] = old;
	check("exception to a task: error code",
	      task_runs == 1 && task_edx == 0x1000 && task_esp == (u32)(other_stack + sizeof(other_stack)));
	check("the faulting instruction is saved", main_tss.eip >= (u32)overrun && main_tss.eip < (u32)overrun + 16);
	reset_tasks();
	set_task_gate(&idt[TASK_VECTOR], MAIN_TSS, 0);
	guarded(raise, 0);
	check("interrupt to a busy task", caught.error == MAIN_TSS || caught.error == (MAIN_TSS | 1));
	gdt[OTHER_TSS / 8] &= ~(1ull << 47);
	set_task_gate(&idt[TASK_VECTOR], OTHER_TSS, 0);
	check("interrupt to an absent task: #NP", raises(raise, 0, NP, OTHER_TSS));
}

// Of ring 3: a fault on the way in finds the stack of ring 0.
static void prepare_user(void)
{
	prepare(task_user);
	other_tss.cs = USER_CS;
	other_tss.ss = other_tss.ds = other_tss.es = USER_DS;
}

static bool task_raises(unsigned vector, u32 error)
{
	bool good = raises(jump_tss, 0, vector, error);

	return good && caught_tr == OTHER_TSS;
}

// What is wrong with CS, SS or the LDT leaves QEMU's machine without a stack: such cases are the unit tests'.
static void faults(void)
{
	prepare(task_body);
	set_descriptor(OTHER_TSS, (u32)&other_tss, 102, 0x89);
	check("a TSS too small: #TS", raises(call_tss, 0, TS, OTHER_TSS));
	set_descriptor(OTHER_TSS, (u32)&other_tss, 103, 0x09);
	check("a TSS not present: #NP", raises(call_tss, 0, NP, OTHER_TSS));
	check("jump to the busy task: #GP", raises(jump_self, 0, GP, MAIN_TSS));
	set_descriptor(OTHER_TSS, (u32)&other_tss, 103, 0x89);
	check("RPL above DPL: #GP", raises(call_tss_rpl, 0, GP, OTHER_TSS));
	prepare(task_body);
	main_tss.link = KERNEL_DS;
	check("return to no TSS: #TS", raises(iret_nt, 0, TS, KERNEL_DS));
	main_tss.link = OTHER_TSS;
	check("return to a task that is not busy: #TS", raises(iret_nt, 0, TS, OTHER_TSS));
	prepare_user();
	other_tss.ds = 0x1000;
	check("task: DS beyond the table: #TS", task_raises(TS, 0x1000));
	prepare_user();
	other_tss.es = MAIN_TSS;
	check("task: ES is a TSS: #TS", task_raises(TS, MAIN_TSS));
	prepare_user();
	set_descriptor(SCRATCH, 0, 0xfffff, 0xc073);
	other_tss.fs = SCRATCH | 3;
	check("task: FS not present: #NP", task_raises(NP, SCRATCH));
	prepare_user();
	other_tss.ds = KERNEL_DS;
	check("task: DS of another ring: #TS", task_raises(TS, KERNEL_DS));
	prepare(task_body);
	check("ltr of a busy TSS: #GP", raises(load_tr, MAIN_TSS, GP, MAIN_TSS));
}

static void sixteen(void)
{
	prepare(task_body);
	for (unsigned i = 0; i < 22; i++)
		tss16[i] = 0;
	// Its IP has 16 bits: code at the start of `buffer`.
	set_descriptor(CODE32_BASED, (u32)buffer, 0xffff, 0x409b);
	buffer[0x100] = 0xcf; // iret
	tss16[7] = 0x100;
	tss16[8] = 2;
	tss16[11] = 0xdddd;
	tss16[13] = 0x7000;
	tss16[17] = KERNEL_DS;
	tss16[18] = CODE32_BASED;
	tss16[19] = KERNEL_DS;
	tss16[20] = KERNEL_DS;
	set_descriptor(TSS16, (u32)tss16, sizeof(tss16) - 1, 0x81);
	check("call of a 16-bit task",
	      !guarded(call_tss16, 0) && tss16[0] == MAIN_TSS && tss16[7] == 0x101 && tss16[11] == 0xdddd);
	check("types after it", type_of(MAIN_TSS) == 11 && type_of(TSS16) == 1);
	set_descriptor(TSS16, (u32)tss16, sizeof(tss16) - 2, 0x81);
	check("a 16-bit TSS too small: #TS", raises(call_tss16, 0, TS, TSS16));
}

void test_tasks(void)
{
	switches();
	faults();
	interrupts();
	sixteen();
	reset_tasks();
}
