// SPDX-License-Identifier: MIT
// x2APIC mode, where CPUID offers it: the ways into it and out of it, registers by MSR, interrupts (SDM 3A 11.12).
#include "kernel.h"

#define VECTOR 0x41
#define APIC_BASE 0x1b
#define XAPIC 0xfee00900
#define X2APIC 0xfee00d00
#define OFF 0xfee00100
enum { ID = 0x802, VERSION = 0x803, TPR = 0x808, PPR = 0x80a, EOI = 0x80b, LDR = 0x80d, DFR = 0x80e, SPIV = 0x80f, IRR = 0x820,
       ESR = 0x828, ICR = 0x830, ICR_HIGH = 0x831, TIMER = 0x832, INITIAL = 0x838, CURRENT = 0x839, DIVIDE = 0x83e, SELF = 0x83f };

static volatile u64 came;
static u32 msr;

static bool take(struct frame *f)
{
	if (f->vector != VECTOR)
		return false;
	came++;
	wrmsr(EOI, 0);
	return true;
}

static void set_base(u64 v)
{
	wrmsr(APIC_BASE, v);
}

static void read_msr(u64 m)
{
	rdmsr((u32)m);
}

static void write_msr(u64 v)
{
	wrmsr(msr, v);
}

static bool refuses(u32 m, u64 v)
{
	msr = m;
	return raises(write_msr, v, GP, 0);
}

static bool base_refuses(u64 v)
{
	u64 old = rdmsr(APIC_BASE);

	return raises(set_base, v, GP, 0) && rdmsr(APIC_BASE) == old;
}

static void registers(void)
{
	static const u16 unreadable[] = {0x800, 0x809, EOI, DFR, ICR_HIGH, SELF, 0x840, 0x8ff};
	bool good = true;

	check("x2apic: id, version, logical id", rdmsr(ID) == 0 && (rdmsr(VERSION) & 0xff) == 0x14 && rdmsr(LDR) == 1);
	for (unsigned i = 0; i < sizeof(unreadable) / sizeof(*unreadable); i++)
		good &= raises(read_msr, unreadable[i], GP, 0);
	check("x2apic: registers that cannot be read: #GP", good);
	check("x2apic: registers that cannot be written: #GP",
	      refuses(ID, 0) && refuses(VERSION, 0) && refuses(PPR, 0) && refuses(LDR, 1) && refuses(IRR, 0) && refuses(CURRENT, 0));
	check("x2apic: reserved bits: #GP", refuses(EOI, 1) && refuses(TPR, 0x100) && refuses(SPIV, 1ull << 32) && refuses(ESR, 1) &&
						    refuses(SELF, 0x100) && refuses(TIMER, 1ull << 40));
}

static void interrupts(void)
{
	came = 0;
	hook = take;
	wrmsr(SELF, VECTOR);
	check("x2apic: self interrupt waits", came == 0 && (rdmsr(IRR + VECTOR / 32) & 1u << VECTOR % 32));
	asm volatile("sti; nop; nop; cli");
	check("x2apic: self interrupt comes", came == 1);
	wrmsr(ICR, VECTOR); // physical destination 0: this one
	asm volatile("sti; nop; nop; cli");
	check("x2apic: by its id", came == 2 && rdmsr(ICR) == VECTOR);
	wrmsr(ICR, 1ull << 32 | 0x800 | VECTOR);
	asm volatile("sti; nop; nop; cli");
	check("x2apic: by its logical id", came == 3);
	wrmsr(ICR, 5ull << 32 | VECTOR);
	asm volatile("sti; nop; nop; cli");
	check("x2apic: to nobody", came == 3);
	wrmsr(TPR, 0x50);
	wrmsr(SELF, VECTOR);
	asm volatile("sti; nop; nop; cli");
	check("x2apic: task priority", came == 3 && rdmsr(TPR) == 0x50);
	wrmsr(TPR, 0);
	asm volatile("sti; nop; nop; cli");
	check("x2apic: lower task priority", came == 4);
	wrmsr(DIVIDE, 0xb);
	wrmsr(TIMER, VECTOR);
	wrmsr(INITIAL, 100000);
	asm volatile("sti");
	for (unsigned i = 0; came < 5 && i < 100000000; i++)
		asm volatile("pause");
	asm volatile("cli");
	check("x2apic: timer", came == 5 && rdmsr(CURRENT) == 0);
	hook = 0;
}

void test_x2apic(void)
{
	if (!(cpuid(1).c & 1u << 21)) {
		check("x2apic: not offered, not to be had", base_refuses(X2APIC) && raises(read_msr, ID, GP, 0));
		return;
	}
	check("x2apic: registers before: #GP", raises(read_msr, ID, GP, 0));
	check("x2apic: without the enable bit: #GP", base_refuses(0xfee00500));
	wrmsr(APIC_BASE, X2APIC);
	check("x2apic: on", rdmsr(APIC_BASE) == X2APIC);
	check("x2apic: straight back: #GP", base_refuses(XAPIC));
	wrmsr(SPIV, 0x1ff);
	registers();
	interrupts();
	wrmsr(APIC_BASE, OFF);
	check("x2apic: off: CPUID hides the APIC, registers: #GP", !(cpuid(1).d & 1u << 9) && raises(read_msr, ID, GP, 0));
	check("x2apic: on from off: #GP", base_refuses(X2APIC));
	wrmsr(APIC_BASE, XAPIC);
	check("x2apic: back by off", rdmsr(APIC_BASE) == XAPIC && (cpuid(1).d & 1u << 9));
}
