// SPDX-License-Identifier: MIT
// The local APIC, interrupts at boundaries and in shadows, NMIs.
#include "kernel.h"

#define VECTOR 0x40
static volatile u32 *const apic = (volatile u32 *)0xfee00000;
static u64 apic_table[512] __attribute__((aligned(4096)));
static volatile u64 came, came_rip, nested;

enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, EOI = 0xb0, SPIV = 0xf0, ISR = 0x100, IRR = 0x200, ICR = 0x300, TIMER = 0x320, INITIAL = 0x380,
       CURRENT = 0x390, DIVIDE = 0x3e0 };

static u32 rd(unsigned reg)
{
	return apic[reg / 4];
}

static void wr(unsigned reg, u32 v)
{
	apic[reg / 4] = v;
}

static bool take(struct frame *f)
{
	if (f->vector == NMI) {
		came++;
		came_rip = f->rip;
		if (came == 1) {
			wr(ICR, 0x400 | 0x40000); // another one, while this one is handled
			nested = came;
		}
		return true;
	}
	if (f->vector != VECTOR)
		return false;
	came++;
	came_rip = f->rip;
	wr(EOI, 0);
	return true;
}

static void self_interrupt(void)
{
	wr(ICR, VECTOR | 0x40000);
}

static void begin(void)
{
	came = nested = came_rip = 0;
	hook = take;
}

static bool waits(u64 n)
{
	for (unsigned i = 0; came < n && i < 100000000; i++)
		asm volatile("pause");
	return came >= n;
}

static void shadows(void)
{
	extern u8 after_sti[];

	begin();
	self_interrupt();
	check("interrupt waits for IF", came == 0 && (rd(IRR + VECTOR / 32 * 0x10) & 1u << VECTOR % 32));
	asm volatile("sti\n nop\n .globl after_sti\n after_sti: nop\n cli");
	check("interrupt comes behind the shadow of STI", came == 1 && came_rip == (u64)after_sti);
	begin();
	self_interrupt();
	asm volatile("sti; cli; nop");
	check("sti, cli: no interrupt", came == 0);
	asm volatile("sti\n mov %w0, %%ss\n nop\n nop\n cli" ::"r"(KERNEL_SS));
	check("interrupt comes behind the shadow of MOV SS", came == 1);
	begin();
	self_interrupt();
	asm volatile("sti; hlt; cli");
	check("sti, hlt wakes", came == 1);
	begin();
	wr(TPR, 0x50);
	self_interrupt();
	asm volatile("sti; nop; nop; cli");
	check("task priority holds an interrupt back", came == 0);
	wr(TPR, 0);
	asm volatile("sti; nop; nop; cli");
	check("lower task priority lets it through", came == 1);
	asm volatile("mov %0, %%cr8" ::"r"(9ull));
	check("cr8 is the task priority", (rd(TPR) & 0xff) == 0x90);
	asm volatile("mov %0, %%cr8" ::"r"(0ull));
}

static void timer(void)
{
	u32 before;

	wr(DIVIDE, 0xb);
	begin();
	wr(TIMER, VECTOR);
	wr(INITIAL, 100000);
	asm volatile("sti");
	check("timer: one shot", waits(1));
	for (volatile unsigned i = 0; i < 1000000; i++)
		;
	check("timer: once", came == 1 && rd(CURRENT) == 0);
	begin();
	wr(TIMER, VECTOR | 0x20000);
	wr(INITIAL, 1000000);
	check("timer: periodic", waits(3));
	wr(INITIAL, 0);
	asm volatile("cli");
	wr(TIMER, 0x10000 | VECTOR);
	wr(INITIAL, 100000000);
	before = rd(CURRENT);
	check("timer: counts down", before && rd(CURRENT) <= before);
	wr(INITIAL, 0);
}

void test_interrupts(void)
{
	pdpt[3] = (u64)apic_table | 7;
	apic_table[503] = 0xfee00000 | 0x9b;
	asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	wr(SPIV, 0x1ff);
	check("apic: id and version", rd(ID) == 0 && (rd(VERSION) & 0xff) == 0x14);
	check("apic: base", (rdmsr(0x1b) & 0xfffff900) == 0xfee00900);
	shadows();
	timer();
	begin();
	wr(ICR, 0x400 | 0x40000);
	for (volatile unsigned i = 0; i < 1000; i++)
		;
	check("nmi with IF clear, the next one after its iret", came == 2 && nested == 1);
	hook = 0;
}
