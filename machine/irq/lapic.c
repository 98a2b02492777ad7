// SPDX-License-Identifier: MIT
// Local APIC driver (SDM 3A chapter 10). The timer takes TSC deadlines: natively where the CPU has that mode, else by
// counting down in units of 16 bus clocks; a deadline beyond the counter's reach is re-armed from the interrupt, so the
// handler never runs early.
#include "machine/irq/lapic.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/traps.h"
#include "machine/irq/time.h"
#include "machine/mm/paging.h"
#include "base/assert.h"

enum {
	REG_ID = 0x02,
	REG_TPR = 0x08,
	REG_EOI = 0x0b,
	REG_SVR = 0x0f,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT_TIMER = 0x32,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_COUNT_INITIAL = 0x38,
	REG_COUNT = 0x39,
	REG_DIVIDE = 0x3e,
};
#define BASE_X2APIC BIT(10)
#define BASE_ENABLE BIT(11)
#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define LVT_NMI 0x400
#define LVT_DEADLINE 0x40000
#define ICR_PENDING 0x1000
#define ICR_ASSERT 0x4000
#define ICR_OTHERS 0xc0000
#define DIVIDE_16 0x3
#define MSR_X2APIC 0x800
#define MSR_TSC_DEADLINE 0x6e0

static volatile u32 *regs;
static bool x2apic;
static u64 ticks_per_tsc; // times 2^32
static void (*timer_handler)(void);

static u32 get(u32 reg)
{
	return x2apic ? (u32)rdmsr(MSR_X2APIC + reg) : regs[reg * 4];
}

static void set(u32 reg, u32 v)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg, v);
	else
		regs[reg * 4] = v;
}

u32 lapic_id(void)
{
	return x2apic ? get(REG_ID) : get(REG_ID) >> 24;
}

void lapic_eoi(void)
{
	set(REG_EOI, 0);
}

static void timer_irq(struct trap_frame *f, void *arg)
{
	struct pcpu *c = this_cpu();
	u64 deadline = c->timer_deadline;

	if (!deadline)
		return; // cancelled after it had fired
	if ((s64)(rdtsc() - deadline) < 0) {
		timer_arm(deadline);
		return;
	}
	c->timer_deadline = 0;
	if (timer_handler)
		timer_handler();
}

static void error_irq(struct trap_frame *f, void *arg)
{
	set(REG_ESR, 0);
}

static void map_registers(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	x2apic = base & BASE_X2APIC;
	if (!x2apic)
		regs = map_io(base & PTE_ADDR, PAGE_SIZE);
	if (!x2apic && !regs)
		panic("lapic: cannot map its registers");
	irq_set_handler(TIMER_VECTOR, timer_irq, NULL);
	irq_set_handler(ERROR_VECTOR, error_irq, NULL);
}

void lapic_start(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLE);
	if (!regs && !x2apic)
		map_registers();
	set(REG_SVR, SVR_ENABLE | SPURIOUS_VECTOR);
	set(REG_TPR, 0);
	set(REG_LVT_LINT0, LVT_MASKED); // the 8259s are not used
	set(REG_LVT_LINT1, LVT_NMI);
	set(REG_LVT_ERROR, ERROR_VECTOR);
	set(REG_LVT_TIMER, cpu_features.tsc_deadline ? LVT_DEADLINE | TIMER_VECTOR : LVT_MASKED);
	set(REG_ESR, 0);
	lapic_eoi();
}

static void wait_sent(void)
{
	for (unsigned i = 0; !x2apic && i < 100000 && get(REG_ICR) & ICR_PENDING; i++)
		cpu_relax();
}

void lapic_ipi(u32 apic_id, enum ipi_kind kind, u8 vector)
{
	u32 low = (u32)kind << 8 | ICR_ASSERT | vector;
	u64 flags = irq_save(); // both halves of the command belong together

	if (x2apic) {
		wrmsr(MSR_X2APIC + REG_ICR, (u64)apic_id << 32 | low);
	} else {
		wait_sent();
		set(REG_ICR_HIGH, apic_id << 24);
		set(REG_ICR, low);
		wait_sent();
	}
	irq_restore(flags);
}

void lapic_nmi_others(void)
{
	if (!regs && !x2apic)
		return;
	wait_sent();
	if (x2apic)
		wrmsr(MSR_X2APIC + REG_ICR, ICR_OTHERS | IPI_NMI << 8 | ICR_ASSERT);
	else
		set(REG_ICR, ICR_OTHERS | IPI_NMI << 8 | ICR_ASSERT);
}

void lapic_count_start(void)
{
	set(REG_LVT_TIMER, LVT_MASKED | TIMER_VECTOR);
	set(REG_DIVIDE, DIVIDE_16);
	set(REG_COUNT_INITIAL, ~0u);
}

u32 lapic_count_elapsed(void)
{
	return ~0u - get(REG_COUNT);
}

void lapic_set_frequency(u64 hz)
{
	ticks_per_tsc = (hz << 32) / (tsc_khz() * 1000);
	set(REG_COUNT_INITIAL, 0);
	set(REG_LVT_TIMER, cpu_features.tsc_deadline ? LVT_DEADLINE | TIMER_VECTOR : LVT_MASKED);
}

void timer_set_handler(void (*fn)(void))
{
	timer_handler = fn;
}

void timer_arm(u64 tsc_deadline)
{
	struct pcpu *c = this_cpu();
	u64 now = rdtsc(), delta, count;

	c->timer_deadline = tsc_deadline ? tsc_deadline : 1; // 0 says "not armed"
	if (cpu_features.tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, c->timer_deadline);
		return;
	}
	delta = (s64)(tsc_deadline - now) > 0 ? tsc_deadline - now : 0;
	count = (u64)((u128)delta * ticks_per_tsc >> 32) + 1;
	set(REG_LVT_TIMER, TIMER_VECTOR);
	set(REG_DIVIDE, DIVIDE_16);
	set(REG_COUNT_INITIAL, (u32)MIN(count, 0xffffffffull));
}

void timer_cancel(void)
{
	this_cpu()->timer_deadline = 0;
	if (cpu_features.tsc_deadline)
		wrmsr(MSR_TSC_DEADLINE, 0);
	else
		set(REG_COUNT_INITIAL, 0);
}
