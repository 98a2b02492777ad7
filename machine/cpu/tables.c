// SPDX-License-Identifier: MIT
// GDT, IDT and TSS of the hypervisor world. The selectors are the gate's (base/gate.h), so they mean the same in both
// worlds; each CPU has a GDT of 64 KiB of its own because of its TSS. One IDT for all CPUs.
#include "base/gate.h"
#include "base/string.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/traps.h"

#define DESC_CODE64(dpl) (0x00af9b000000ffffull | (u64)(dpl) << 45)
#define DESC_DATA(dpl) (0x00cf93000000ffffull | (u64)(dpl) << 45)
#define DESC_TSS_AVAILABLE 0x89ull
#define GATE_INTERRUPT 0x8eull

static struct {
	u64 low, high;
} idt[256] __attribute__((aligned(4096)));

extern const u8 trap_stubs[256][TRAP_STUB_SIZE];

static void set_desc(u64 *gdt, u16 sel, u64 value)
{
	gdt[sel >> 3] = value;
}

static void set_tss(u64 *gdt, u64 base)
{
	gdt[SEL_TSS >> 3] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | DESC_TSS_AVAILABLE << 40 |
			    (base >> 24 & 0xff) << 56;
	gdt[(SEL_TSS >> 3) + 1] = base >> 32;
}

void gdt_fill(u64 *gdt, u64 tss)
{
	set_desc(gdt, SEL_HV_CS, DESC_CODE64(0));
	set_desc(gdt, SEL_HV_SS, DESC_DATA(0));
	set_desc(gdt, SEL_R1_CS, DESC_CODE64(1));
	set_desc(gdt, SEL_R1_SS, DESC_DATA(1));
	set_tss(gdt, tss);
}

static unsigned vector_ist(unsigned v)
{
	return v == VEC_DB ? IST_DB : v == VEC_NMI ? IST_NMI : v == VEC_DF ? IST_DF : v == VEC_MC ? IST_MC : 0;
}

static void idt_fill(void)
{
	for (unsigned v = 0; v < 256; v++) {
		u64 at = (u64)trap_stubs[v];

		idt[v].low = (at & 0xffff) | (u64)SEL_HV_CS << 16 | (u64)vector_ist(v) << 32 | GATE_INTERRUPT << 40 |
			     (at >> 16 & 0xffff) << 48;
		idt[v].high = at >> 32;
	}
}

struct pcpu *pcpu_init(void *block, u32 id, u32 apic_id, u64 *gdt)
{
	struct pcpu *c = block;

	c->self = c;
	c->id = id;
	c->apic_id = apic_id;
	c->stack_top = (u64)block + CPU_BLOCK_SIZE;
	c->gdt = gdt;
	c->tss.rsp[0] = c->stack_top;
	for (unsigned i = 0; i < 4; i++)
		c->tss.ist[i] = (u64)block + CPU_IST_OFFSET + (i + 1) * CPU_IST_SIZE;
	c->tss.iomap_base = sizeof(c->tss);
	gdt_fill(gdt, (u64)&c->tss);
	if (!idt[0].low)
		idt_fill();
	return c;
}

void pcpu_install(struct pcpu *cpu)
{
	lgdt((u64)cpu->gdt, GDT_BYTES - 1);
	lidt((u64)idt, sizeof(idt) - 1);
	asm volatile("pushq %q0\n"
		     "leaq 1f(%%rip), %%rax\n"
		     "pushq %%rax\n"
		     "lretq\n"
		     "1: movl %k1, %%ss\n"
		     "xorl %%eax, %%eax\n"
		     "movl %%eax, %%ds\n"
		     "movl %%eax, %%es\n" ::"r"((u64)SEL_HV_CS),
		     "r"((u64)SEL_HV_SS)
		     : "rax", "memory");
	lldt(0);
	set_tss(cpu->gdt, (u64)&cpu->tss); // available again: LTR wants it so
	ltr(SEL_TSS);
}
