// SPDX-License-Identifier: MIT
// Start of the other CPUs. The trampoline (trampoline.S) is copied below 1 MiB; it uses the boot page tables until the
// CPU loads the root and stack that stand in ap_start. One CPU starts at a time.
#include "machine/cpu/smp.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/string.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/traps.h"
#include "machine/irq/lapic.h"
#include "machine/irq/time.h"
#include "machine/mm/paging.h"

#define START_TIMEOUT_NS 1000000000ull

struct ap_start { // trampoline.S reads it
	u64 root, stack, cpu;
};

extern const u8 trampoline_start[], trampoline_end[];
extern char boot_cpu_block[];
extern struct ap_start ap_start;
NORETURN void ap_main(struct pcpu *cpu);

struct ap_start ap_start;
static struct pcpu *cpus[CPUS_MAX];
static unsigned count = 1;

unsigned cpu_count(void)
{
	return count;
}

struct pcpu *cpu_get(unsigned id)
{
	return id ? cpus[id] : (struct pcpu *)boot_cpu_block;
}

static void kick_irq(struct trap_frame *f, void *arg) {}

// A block of frames at its place in the CPU window, without the guard page.
static void *make_block(unsigned id)
{
	u64 base = CPU_BASE + (u64)id * CPU_BLOCK_SIZE;

	for (u64 at = 0; at < CPU_BLOCK_SIZE; at += PAGE_SIZE) {
		mpn_t f;

		if (at == CPU_GUARD_OFFSET)
			continue;
		f = frame_alloc();
		if (f == MPN_NONE || mm_map_page(mm_root(), base + at, f, MAP_RW) != ST_OK)
			return NULL;
	}
	return (void *)base;
}

static struct pcpu *make_cpu(unsigned id, u32 apic_id)
{
	mpn_t gdt = frames_alloc(GDT_BYTES / PAGE_SIZE, 0), root = mm_new_root();
	void *block = make_block(id);
	struct pcpu *c;

	if (gdt == MPN_NONE || root == MPN_NONE || !block)
		return NULL;
	c = pcpu_init(block, id, apic_id, frame_ptr(gdt));
	c->root = root;
	return c;
}

static bool start_cpu(struct pcpu *c)
{
	u64 deadline;

	ap_start = (struct ap_start){c->root << PAGE_SHIFT, c->stack_top, (u64)c};
	lapic_ipi(c->apic_id, IPI_INIT, 0);
	delay_us(10000);
	for (unsigned i = 0; i < 2 && !c->online; i++) {
		lapic_ipi(c->apic_id, IPI_STARTUP, TRAMPOLINE_PHYS >> PAGE_SHIFT);
		delay_us(200);
	}
	deadline = time_ns() + START_TIMEOUT_NS;
	while (!c->online && time_ns() < deadline)
		cpu_relax();
	return c->online;
}

// False when one did not come up: it may still do so later and use the start code and ap_start, so these stay.
static bool start_all(const struct acpi_info *a)
{
	for (u32 i = 0; i < a->cpu_count; i++) {
		struct pcpu *c;

		if (a->apic_id[i] == cpu_get(0)->apic_id)
			continue;
		c = make_cpu(count, a->apic_id[i]);
		if (!c || !start_cpu(c)) {
			log_warn("smp: CPU with APIC id %u does not start", a->apic_id[i]);
			return false;
		}
		cpus[count++] = c;
	}
	return true;
}

// The start code's page may hold part of a module (GRUB puts small ones there), so its contents are kept meanwhile.
void smp_init(void)
{
	const struct acpi_info *a = acpi_info();
	void *page = frame_ptr(TRAMPOLINE_PHYS >> PAGE_SHIFT);
	mpn_t kept;

	cpu_get(0)->online = 1;
	irq_set_handler(KICK_VECTOR, kick_irq, NULL);
	if (a->cpu_count < 2)
		return;
	if (!frame_is_ram(TRAMPOLINE_PHYS >> PAGE_SHIFT)) {
		log_warn("smp: no memory at 0x%x for the start code, running on one CPU", TRAMPOLINE_PHYS);
		return;
	}
	kept = frame_alloc();
	if (kept == MPN_NONE)
		return;
	memcpy(frame_ptr(kept), page, PAGE_SIZE);
	memcpy(page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
	if (start_all(a))
		memcpy(page, frame_ptr(kept), PAGE_SIZE);
	frame_free(kept);
}

static NORETURN void park(struct pcpu *cpu)
{
	for (;;) {
		cli();
		if (cpu->work) {
			cpu->work(cpu->work_arg);
			cli();
			cpu->work_arg = NULL;
			__atomic_store_n(&cpu->work, NULL, __ATOMIC_RELEASE);
			continue;
		}
		sti_hlt();
	}
}

void ap_main(struct pcpu *cpu)
{
	pcpu_install(cpu);
	cpu_enable_features();
	lapic_start();
	__atomic_store_n(&cpu->online, 1, __ATOMIC_RELEASE);
	park(cpu);
}

bool smp_run(unsigned id, void (*fn)(void *), void *arg)
{
	struct pcpu *c = cpu_get(id);

	assert(id < count);
	if (c == this_cpu() || !id || c->work)
		return false;
	c->work_arg = arg;
	__atomic_store_n(&c->work, fn, __ATOMIC_RELEASE);
	smp_kick(id);
	return true;
}

void smp_kick(unsigned id)
{
	assert(id < count);
	lapic_ipi(cpu_get(id)->apic_id, IPI_FIXED, KICK_VECTOR);
}

void smp_stop_others(void)
{
	if (count > 1)
		lapic_nmi_others();
}
