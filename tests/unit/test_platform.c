// SPDX-License-Identifier: MIT
// Interrupt controllers and port dispatch of the virtual platform, and a fuzz of the whole.
#include "core/platform/platform.h"
#include "core/platform/pvpanic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define LAPIC(r) (0xfee00000 + (r))
#define EOI 0xb0

struct seen {
	unsigned power_off, reset, exits, changed, panics;
	u32 exit_value;
	char text[256];
	unsigned length, calls;
};

static struct seen seen;
static struct platform p;

static void on_console(void *ctx, const u8 *bytes, unsigned n)
{
	struct seen *s = ctx;

	for (unsigned i = 0; i < n && s->length < sizeof(s->text) - 1; i++)
		s->text[s->length++] = (char)bytes[i];
	s->calls++;
}

static void on_power_off(void *ctx)
{
	((struct seen *)ctx)->power_off++;
}

static void on_reset(void *ctx)
{
	((struct seen *)ctx)->reset++;
}

static void on_exit_port(void *ctx, u32 value)
{
	((struct seen *)ctx)->exits++;
	((struct seen *)ctx)->exit_value = value;
}

static void on_panic(void *ctx)
{
	((struct seen *)ctx)->panics++;
}

static void on_changed(void *ctx)
{
	((struct seen *)ctx)->changed++;
}

static const struct platform_ports ports = {.console_out = on_console,
					    .power_off = on_power_off,
					    .reset = on_reset,
					    .debug_exit = on_exit_port,
					    .guest_panic = on_panic,
					    .irq_changed = on_changed};

static int start(void **state)
{
	struct platform_config c = {
		.ports = &ports, .ctx = &seen, .mem_low = 256 * MIB, .wall_seconds = 1700000000, .tsc_khz = 2000000};

	memset(&seen, 0, sizeof(seen));
	platform_init(&p, &c);
	return 0;
}

static int start_x2apic(void **state)
{
	struct platform_config c = {.ports = &ports,
				    .ctx = &seen,
				    .tsc_khz = 2000000,
				    .tsc_base = 1000,
				    .x2apic = true,
				    .tsc_deadline = true};

	memset(&seen, 0, sizeof(seen));
	platform_init(&p, &c);
	return 0;
}

static void out(u16 port, u8 value)
{
	platform_out(&p, 0, port, 1, value);
}

static u8 in(u16 port)
{
	return (u8)platform_in(&p, 0, port, 1);
}

static void lapic_out(u64 now, u32 reg, u32 value)
{
	platform_mmio_write(&p, now, LAPIC(reg), 4, value);
}

static u32 lapic_in(u64 now, u32 reg)
{
	return (u32)platform_mmio_read(&p, now, LAPIC(reg), 4);
}

static void ioapic_out(u8 index, u32 value)
{
	platform_mmio_write(&p, 0, IOAPIC_BASE, 4, index);
	platform_mmio_write(&p, 0, IOAPIC_BASE + 0x10, 4, value);
}

static u32 ioapic_in(u8 index)
{
	platform_mmio_write(&p, 0, IOAPIC_BASE, 4, index);
	return (u32)platform_mmio_read(&p, 0, IOAPIC_BASE + 0x10, 4);
}

// Initializes the PICs as Linux does (vectors 0x30, 0x38), with the given ICW4 and everything unmasked.
static void init_pics(u8 icw4)
{
	out(0x20, 0x11), out(0x21, 0x30), out(0x21, 4), out(0x21, icw4);
	out(0xa0, 0x11), out(0xa1, 0x38), out(0xa1, 2), out(0xa1, icw4);
	out(0x21, 0), out(0xa1, 0);
}

static void pic_priorities(void **state)
{
	init_pics(1);
	platform_set_irq(&p, 5, true);
	platform_set_irq(&p, 3, true);
	platform_set_irq(&p, 12, true);
	assert_true(seen.changed > 0);
	// Slave inputs rank at the cascade: between 1 and 3.
	assert_int_equal(platform_acknowledge(&p, 0), 0x3c);
	assert_false(platform_interrupt_pending(&p)); // 3 and 5 wait behind 2
	platform_set_irq(&p, 1, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x31); // 1 interrupts it
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x06); // in service: 1 and the cascade
	out(0x20, 0x20);
	assert_false(platform_interrupt_pending(&p));
	out(0xa0, 0x20), out(0x20, 0x20);
	assert_int_equal(platform_acknowledge(&p, 0), 0x33);
	out(0x20, 0x63); // specific EOI
	assert_int_equal(platform_acknowledge(&p, 0), 0x35);
	out(0x20, 0x20);
	assert_int_equal(platform_acknowledge(&p, 0), -1);
}

static void pic_mask_and_edges(void **state)
{
	init_pics(1);
	out(0x21, 0x08);
	platform_set_irq(&p, 3, true);
	assert_false(platform_interrupt_pending(&p));
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0x08); // latched while masked
	out(0x21, 0);
	assert_int_equal(platform_acknowledge(&p, 0), 0x33);
	out(0x20, 0x20);
	assert_false(platform_interrupt_pending(&p)); // still high, but no new edge
	platform_set_irq(&p, 3, false);
	platform_set_irq(&p, 3, true);
	assert_true(platform_interrupt_pending(&p));
}

static void pic_level(void **state)
{
	init_pics(1);
	out(0x4d1, 0xff);
	assert_int_equal(in(0x4d1), 0xde); // 8 and 13 stay edge
	platform_set_irq(&p, 10, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x3a);
	out(0xa0, 0x20), out(0x20, 0x20);
	assert_int_equal(platform_acknowledge(&p, 0), 0x3a); // asserted still
	platform_set_irq(&p, 10, false);
	out(0xa0, 0x20), out(0x20, 0x20);
	assert_false(platform_interrupt_pending(&p));
}

static void pic_spurious(void **state)
{
	struct pic pic;

	pic_init(&pic);
	pic.chip[0].base = 0x30, pic.chip[1].base = 0x38;
	pic.chip[0].imr = pic.chip[1].imr = 0;
	assert_int_equal(pic_acknowledge(&pic), 0x37);
	assert_int_equal(pic.chip[0].isr, 0);
}

static void pic_auto_eoi_and_poll(void **state)
{
	init_pics(3);
	platform_set_irq(&p, 4, true);
	platform_set_irq(&p, 9, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x39);
	assert_int_equal(platform_acknowledge(&p, 0), 0x34);
	assert_false(platform_interrupt_pending(&p));
	init_pics(1);
	platform_set_irq(&p, 6, true);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x86);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0);
}

// All requests against a plain model: the lowest unmasked number wins, unless something at least as urgent is in service.
static void pic_against_model(void **state)
{
	u8 irr = 0, isr = 0, imr = 0;

	init_pics(1);
	srand(1);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned irq = (unsigned)rand() % 8, best = 8, serving = 8;

		if (irq == 2)
			continue;
		switch (rand() % 4) {
		case 0:
			platform_set_irq(&p, irq, false);
			platform_set_irq(&p, irq, true);
			irr |= 1u << irq;
			break;
		case 1:
			imr = (u8)rand();
			out(0x21, imr);
			break;
		case 2:
			out(0x20, 0x20);
			isr &= isr - 1;
			break;
		}
		for (unsigned i = 8; i-- > 0;) {
			if (irr & ~imr & 1u << i)
				best = i;
			if (isr & 1u << i)
				serving = i;
		}
		assert_int_equal(platform_interrupt_pending(&p), best < serving);
		if (best < serving && rand() % 2) {
			assert_int_equal(platform_acknowledge(&p, 0), 0x30 + best);
			irr &= ~(1u << best);
			isr |= 1u << best;
		}
	}
}

static void lapic_reset_state(void **state)
{
	assert_int_equal(lapic_in(0, 0x20), 0);
	assert_int_equal(lapic_in(0, 0x30), 0x00050014);
	assert_int_equal(lapic_in(0, 0xe0), 0xffffffff);
	assert_int_equal(lapic_in(0, 0x350), 0x700); // virtual wire
	assert_true(platform_is_mmio(&p, LAPIC(0xff0)));
	assert_false(platform_is_mmio(&p, 0xfee01000));
	assert_true(platform_mmio_read(&p, 0, 0xfed00000, 4) == 0xffffffff);
}

static void lapic_priority(void **state)
{
	lapic_out(0, 0x300, 0x40000 | 0x41); // self IPI
	lapic_out(0, 0x300, 0x40000 | 0x55);
	assert_int_equal(platform_acknowledge(&p, 0), 0x55);
	assert_int_equal(lapic_in(0, 0xa0), 0x50);
	assert_false(platform_interrupt_pending(&p));
	lapic_out(0, 0x300, 0x40000 | 0x5f); // same class: waits
	assert_false(platform_interrupt_pending(&p));
	lapic_out(0, EOI, 0);
	assert_int_equal(platform_acknowledge(&p, 0), 0x5f);
	lapic_out(0, EOI, 0);
	platform_set_cr8(&p, 4);
	assert_int_equal(lapic_in(0, 0x80), 0x40);
	assert_false(platform_interrupt_pending(&p));
	platform_set_cr8(&p, 3);
	assert_int_equal(platform_get_cr8(&p), 3);
	assert_int_equal(platform_acknowledge(&p, 0), 0x41);
}

// IPIs, EOIs and TPR in random order against sets.
static void lapic_against_model(void **state)
{
	bool irr[256] = {0}, isr[256] = {0};
	unsigned tpr = 0;

	srand(2);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned v = 16 + (unsigned)rand() % 240;
		int top = -1, serving = -1, expect;

		switch (rand() % 4) {
		case 0:
			lapic_out(0, 0x300, 0x40000 | v);
			irr[v] = true;
			break;
		case 1:
			tpr = rand() % 3 ? 0 : (unsigned)rand() & 0xff;
			lapic_out(0, 0x80, tpr);
			break;
		case 2:
			lapic_out(0, EOI, 0);
			for (int i = 255; i >= 0; i--)
				if (isr[i]) {
					isr[i] = false;
					break;
				}
			break;
		}
		for (int i = 0; i < 256; i++) {
			top = irr[i] ? i : top;
			serving = isr[i] ? i : serving;
		}
		expect = top >= 0 && top / 16 > (int)tpr / 16 && top / 16 > serving / 16 ? top : -1;
		if (top >= 0 && serving < 0 && top / 16 > (int)tpr / 16)
			expect = top;
		assert_int_equal(platform_interrupt_pending(&p), expect >= 0);
		if (rand() % 2) {
			assert_int_equal(platform_acknowledge(&p, 0), expect);
			if (expect >= 0)
				irr[expect] = false, isr[expect] = true;
		}
	}
}

static void lapic_timer_one_shot(void **state)
{
	lapic_out(100, 0x320, 0x40);
	lapic_out(100, 0x3e0, 0x3); // divide by 16
	lapic_out(100, 0x380, 1000);
	assert_int_equal(lapic_in(100, 0x390), 1000);
	assert_int_equal(lapic_in(100 + 16 * 400, 0x390), 600);
	assert_true(platform_next_event(&p, 200) == 100 + 16000);
	platform_advance(&p, 16099);
	assert_false(platform_interrupt_pending(&p));
	platform_advance(&p, 16100);
	assert_int_equal(platform_acknowledge(&p, 16100), 0x40);
	assert_int_equal(lapic_in(16100, 0x390), 0);
	assert_true(platform_next_event(&p, 16100) == NEVER);
}

static void lapic_timer_periodic(void **state)
{
	lapic_out(0, 0x320, 0x20040);
	lapic_out(0, 0x3e0, 0xb); // divide by 1
	lapic_out(0, 0x380, 1000);
	for (u64 now = 1000; now <= 10000; now += 1000) {
		assert_true(platform_next_event(&p, now - 1) == now);
		platform_advance(&p, now);
		assert_int_equal(platform_acknowledge(&p, now), 0x40);
		lapic_out(now, EOI, 0);
	}
	// A long absence gives one interrupt and keeps the phase.
	platform_advance(&p, 55555);
	assert_int_equal(platform_acknowledge(&p, 55555), 0x40);
	lapic_out(55555, EOI, 0);
	assert_false(platform_interrupt_pending(&p));
	assert_true(platform_next_event(&p, 55555) == 56000);
	assert_int_equal(lapic_in(55555, 0x390), 445);
	lapic_out(55555, 0x320, 0x30040); // masked: counts on silently
	assert_true(platform_next_event(&p, 55555) == NEVER);
	lapic_out(55556, 0x380, 0);
	assert_int_equal(lapic_in(55556, 0x390), 0);
}

static void lapic_errors_and_disable(void **state)
{
	lapic_out(0, 0x300, 0x40000 | 5); // illegal vector
	lapic_out(0, 0x280, 0);
	assert_int_equal(lapic_in(0, 0x280), 0x20);
	lapic_out(0, 0x280, 0);
	assert_int_equal(lapic_in(0, 0x280), 0);
	lapic_out(0, 0xf0, 0xff); // software disable masks the LVT
	assert_int_equal(lapic_in(0, 0x350), 0x10700);
	lapic_out(0, 0x300, 0x40000 | 0x50);
	assert_false(platform_interrupt_pending(&p));
}

static void lapic_nmi_and_destinations(void **state)
{
	lapic_out(0, 0x300, 0x40400);
	assert_true(platform_nmi_pending(&p));
	assert_true(platform_take_nmi(&p));
	assert_false(platform_take_nmi(&p));
	lapic_out(0, 0x310, 0x01000000); // nobody
	lapic_out(0, 0x300, 0x60);
	assert_false(platform_interrupt_pending(&p));
	lapic_out(0, 0xd0, 0x04000000); // logical 4, flat
	lapic_out(0, 0x310, 0x06000000);
	lapic_out(0, 0x300, 0x860);
	assert_int_equal(platform_acknowledge(&p, 0), 0x60);
	lapic_out(0, EOI, 0);
	lapic_out(0, 0xe0, 0x0fffffff); // cluster 0, member 4
	lapic_out(0, 0x310, 0x14000000);
	lapic_out(0, 0x300, 0x861);
	assert_false(platform_interrupt_pending(&p));
	lapic_out(0, 0x310, 0x04000000);
	lapic_out(0, 0x300, 0x861);
	assert_int_equal(platform_acknowledge(&p, 0), 0x61);
}

static void lapic_lint0(void **state)
{
	init_pics(1);
	lapic_out(0, 0x350, 0x10700);
	platform_set_irq(&p, 4, true);
	assert_false(platform_interrupt_pending(&p));
	lapic_out(0, 0x350, 0x700);
	assert_true(platform_interrupt_pending(&p));
	assert_int_equal(platform_acknowledge(&p, 0), 0x34);
	// LINT0 as a fixed interrupt: one per rising edge of the PIC's output.
	out(0x20, 0x20);
	lapic_out(0, 0x350, 0x52);
	platform_set_irq(&p, 5, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x52);
}

static void apic_base(void **state)
{
	u64 v;

	assert_true(platform_rdmsr(&p, 0, 0x1b, &v));
	assert_true(v == 0xfee00900);
	assert_false(platform_wrmsr(&p, 0, 0x1b, 0xfee00d00)); // x2APIC is not offered
	assert_false(platform_rdmsr(&p, 0, 0x802, &v));
	assert_false(platform_rdmsr(&p, 0, 0x6e0, &v));
	assert_true(platform_wrmsr(&p, 0, 0x1b, 0xfee00100));
	assert_false(platform_is_mmio(&p, LAPIC(0)));
	init_pics(1); // without a LAPIC the PIC drives the CPU
	platform_set_irq(&p, 1, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x31);
	assert_true(platform_wrmsr(&p, 0, 0x1b, 0xfee00900));
	assert_true(platform_is_mmio(&p, LAPIC(0)));
}

static void x2apic(void **state)
{
	u64 v;

	assert_false(platform_rdmsr(&p, 0, 0x802, &v));
	assert_true(platform_wrmsr(&p, 0, 0x1b, 0xfee00d00));
	assert_false(platform_is_mmio(&p, LAPIC(0)));
	assert_true(platform_rdmsr(&p, 0, 0x803, &v) && v == 0x00050014);
	assert_true(platform_rdmsr(&p, 0, 0x80d, &v) && v == 1);
	assert_true(platform_wrmsr(&p, 0, 0x83f, 0x77));
	assert_int_equal(platform_acknowledge(&p, 0), 0x77);
	assert_false(platform_wrmsr(&p, 0, 0x80b, 1)); // EOI takes only 0
	assert_true(platform_wrmsr(&p, 0, 0x80b, 0));
	assert_true(platform_wrmsr(&p, 0, 0x830, 0xffffffff00000078)); // broadcast
	assert_int_equal(platform_acknowledge(&p, 0), 0x78);
	assert_false(platform_wrmsr(&p, 0, 0x802, 0));         // read only
	assert_false(platform_wrmsr(&p, 0, 0x1b, 0xfee00900)); // not straight back
}

static void tsc_deadline(void **state)
{
	u64 v;

	lapic_out(0, 0x320, 0x40045);
	assert_true(platform_wrmsr(&p, 0, 0x6e0, 1000 + 2000000)); // 2 GHz: one millisecond
	assert_true(platform_next_event(&p, 0) == 1000000);
	assert_true(platform_rdmsr(&p, 0, 0x6e0, &v) && v == 2001000);
	platform_advance(&p, 1000000);
	assert_int_equal(platform_acknowledge(&p, 1000000), 0x45);
	assert_true(platform_rdmsr(&p, 1000000, 0x6e0, &v) && v == 0);
	lapic_out(1000000, EOI, 0);
	assert_true(platform_wrmsr(&p, 1000000, 0x6e0, 5)); // past: at once
	assert_true(platform_interrupt_pending(&p));
	assert_true(platform_wrmsr(&p, 1000000, 0x6e0, ~0ull));
	assert_true(platform_next_event(&p, 1000000) > NEVER / 4);
}

static void ioapic_level(void **state)
{
	assert_int_equal(ioapic_in(1), 0x00170020);
	ioapic_out(0x10 + 2 * 9 + 1, 0);
	ioapic_out(0x10 + 2 * 9, 0x8000 | 0x49); // level, fixed, vector 0x49
	platform_set_irq(&p, 9, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x49);
	assert_int_equal(ioapic_in(0x10 + 18), 0xc049); // remote IRR
	lapic_out(0, EOI, 0);
	assert_int_equal(platform_acknowledge(&p, 0), 0x49); // line still high
	platform_set_irq(&p, 9, false);
	lapic_out(0, EOI, 0);
	assert_false(platform_interrupt_pending(&p));
	assert_int_equal(ioapic_in(0x10 + 18), 0x8049);
	ioapic_out(0x10 + 18, 0x18049); // masked, then asserted, then opened
	platform_set_irq(&p, 9, true);
	assert_false(platform_interrupt_pending(&p));
	ioapic_out(0x10 + 18, 0x8049);
	assert_true(platform_interrupt_pending(&p));
}

static void ioapic_edge(void **state)
{
	ioapic_out(0x10 + 2 * 4, 0x34);
	platform_set_irq(&p, 4, true);
	platform_set_irq(&p, 4, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x34);
	lapic_out(0, EOI, 0);
	assert_false(platform_interrupt_pending(&p));
	platform_set_irq(&p, 4, false);
	ioapic_out(0x10 + 2 * 4, 0x10034);
	platform_set_irq(&p, 4, true);
	ioapic_out(0x10 + 2 * 4, 0x34);
	assert_false(platform_interrupt_pending(&p)); // an edge under the mask is lost
	// ISA interrupt 0 arrives at pin 2.
	ioapic_out(0x10 + 2 * 2, 0x32);
	out(0x43, 0x34), out(0x40, 0x00), out(0x40, 0x10);
	platform_advance(&p, NS_PER_SEC);
	assert_int_equal(platform_acknowledge(&p, NS_PER_SEC), 0x32);
}

static void power_and_reset(void **state)
{
	out(0x64, 0xfe);
	out(0xcf9, 0x02); // no reset yet
	out(0xcf9, 0x06);
	out(0x92, 0x03);
	assert_int_equal(seen.reset, 3);
	assert_int_equal(in(0x92), 0x02);
	assert_int_equal(in(0x64), 0xff);
	platform_out(&p, 0, 0xf4, 1, 0x1234);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.exit_value, 0x34);
	platform_out(&p, 0, 0xf4, 4, 0x12345678);
	assert_int_equal(seen.exit_value, 0x12345678);
	assert_int_equal(in(PVPANIC_PORT), PVPANIC_PANICKED);
	out(PVPANIC_PORT, 0xfe);
	assert_int_equal(seen.panics, 0);
	out(PVPANIC_PORT, PVPANIC_PANICKED);
	assert_int_equal(seen.panics, 1);
	platform_out(&p, 0, PM_CONTROL, 2, 0x2001); // S0 is no power-off
	assert_int_equal(seen.power_off, 0);
	platform_out(&p, 0, PM_CONTROL, 2, 0x2001 | PM_S5_TYPE << 10);
	assert_int_equal(seen.power_off, 1);
	assert_int_equal(platform_in(&p, 0, PM_CONTROL, 2) & 1, 1); // SCI_EN
}

static void power_button(void **state)
{
	ioapic_out(0x10 + 18, 0x8049);
	platform_power_button(&p, 0);
	assert_false(platform_interrupt_pending(&p));
	platform_out(&p, 0, PM_EVENT + 2, 2, 0x100);
	assert_int_equal(platform_acknowledge(&p, 0), 0x49);
	platform_out(&p, 0, PM_EVENT, 2, 0x100);
	lapic_out(0, EOI, 0);
	assert_false(platform_interrupt_pending(&p));
}

static void pci_bus(void **state)
{
	platform_out(&p, 0, 0xcf8, 4, 0x80000000);
	assert_int_equal(platform_in(&p, 0, 0xcf8, 4), 0x80000000);
	assert_int_equal(platform_in(&p, 0, 0xcfc, 4), 0x12378086);
	assert_int_equal(platform_in(&p, 0, 0xcfe, 2), 0x1237);
	platform_out(&p, 0, 0xcfc, 4, 0);
	assert_int_equal(platform_in(&p, 0, 0xcfc, 4), 0x12378086);
	platform_out(&p, 0, 0xcf8, 4, 0x80000008);
	assert_int_equal(platform_in(&p, 0, 0xcfc, 4) >> 16, 0x0600);
	platform_out(&p, 0, 0xcf8, 4, 0x80000800); // 00:01.0
	assert_int_equal(platform_in(&p, 0, 0xcfc, 4), 0xffffffff);
	platform_out(&p, 0, 0xcf8, 4, 0);
	assert_int_equal(platform_in(&p, 0, 0xcfc, 4), 0xffffffff);
}

static void unknown_ports(void **state)
{
	assert_int_equal(platform_in(&p, 0, 0x2f8, 1), 0xff);
	assert_int_equal(platform_in(&p, 0, 0x1234, 4), 0xffffffff);
	platform_out(&p, 0, 0x1234, 4, 1);
	assert_true(p.unknown_in >= 5 && p.unknown_out == 4);
}

static void console_string(void **state)
{
	platform_out_string(&p, 0, 0x3f8, 1, "hello, world", 12);
	assert_string_equal(seen.text, "hello, world");
	assert_int_equal(seen.calls, 1);
}

static u32 rnd(void)
{
	return (u32)rand() << 16 ^ (u32)rand();
}

// Whatever a guest does: no crash, no endless loop, and no event in the past that advancing would not clear.
static void fuzz(void **state)
{
	static const u16 interesting[] = {0x20, 0xa0, 0x40, 0x60, 0x70, 0x80, 0x3f8, 0x4d0, 0x600, 0xcf8, 0xf4, 0x505, 0x92};
	u64 now = 0, next, v;
	u8 text[64];

	srand(3);
	for (unsigned step = 0; step < 300000; step++) {
		u16 port = (u16)(interesting[(unsigned)rand() % ARRAY_SIZE(interesting)] + (unsigned)rand() % 12);
		unsigned len = 1u << rand() % 3;
		u64 gpa = (rand() % 2 ? 0xfee00000 : 0xfec00000) + ((unsigned)rand() & 0xfff);

		now += rand() % 100 ? (u64)rand() % 100000 : (u64)rnd() << rand() % 16;
		now &= BIT(61) - 1;
		switch (rand() % 8) {
		case 0:
			platform_in(&p, now, port, len);
			break;
		case 1:
			platform_out(&p, now, port, len, rnd());
			break;
		case 2:
			platform_mmio_read(&p, now, gpa, 1u << rand() % 4);
			break;
		case 3:
			platform_mmio_write(&p, now, gpa & ~15ull, 4, rnd());
			break;
		case 4:
			platform_acknowledge(&p, now);
			platform_take_nmi(&p);
			break;
		case 5:
			platform_console_input(&p, now, text, (unsigned)rand() % sizeof(text));
			platform_out_string(&p, now, port, len, text, 16 / len);
			break;
		case 6:
			v = rnd();
			platform_wrmsr(&p, now, rand() % 2 ? 0x800 + ((unsigned)rand() & 0xff) : 0x6e0, v);
			platform_rdmsr(&p, now, 0x800 + ((unsigned)rand() & 0xff), &v);
			if (rand() % 100 == 0)
				platform_wrmsr(&p, now, 0x1b, 0xfee00000 | (v & 0xd00));
			break;
		case 7:
			platform_advance(&p, now);
			next = platform_next_event(&p, now);
			assert_true(next > now);
			break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pic_priorities, start),
		cmocka_unit_test_setup(pic_mask_and_edges, start),
		cmocka_unit_test_setup(pic_level, start),
		cmocka_unit_test_setup(pic_spurious, start),
		cmocka_unit_test_setup(pic_auto_eoi_and_poll, start),
		cmocka_unit_test_setup(pic_against_model, start),
		cmocka_unit_test_setup(lapic_reset_state, start),
		cmocka_unit_test_setup(lapic_priority, start),
		cmocka_unit_test_setup(lapic_against_model, start),
		cmocka_unit_test_setup(lapic_timer_one_shot, start),
		cmocka_unit_test_setup(lapic_timer_periodic, start),
		cmocka_unit_test_setup(lapic_errors_and_disable, start),
		cmocka_unit_test_setup(lapic_nmi_and_destinations, start),
		cmocka_unit_test_setup(lapic_lint0, start),
		cmocka_unit_test_setup(apic_base, start),
		cmocka_unit_test_setup(x2apic, start_x2apic),
		cmocka_unit_test_setup(tsc_deadline, start_x2apic),
		cmocka_unit_test_setup(ioapic_level, start),
		cmocka_unit_test_setup(ioapic_edge, start),
		cmocka_unit_test_setup(power_and_reset, start),
		cmocka_unit_test_setup(power_button, start),
		cmocka_unit_test_setup(pci_bus, start),
		cmocka_unit_test_setup(unknown_ports, start),
		cmocka_unit_test_setup(console_string, start),
		cmocka_unit_test_setup(fuzz, start),
		cmocka_unit_test_setup(fuzz, start_x2apic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
