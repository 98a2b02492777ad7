// SPDX-License-Identifier: MIT
// KVM's clock, wall clock and silent EOI: the structures against the guest's own arithmetic, addresses that a hostile guest
// might name, and a machine with silent EOI against one without.
#include "core/platform/kvm.h"

#include "core/platform/platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define RAM_SIZE 0x8000u
#define HOLE 0x3000u // a page without RAM
#define KHZ 2100000u
#define TSC_BASE 123456789ull
#define WALL 1700000000u
#define EOI_BYTE 0x5004u
#define REG(r) (LAPIC_BASE + (r))
#define LAPIC_EOI REG(0xb0)
#define LAPIC_ICR REG(0x300)
#define SELF 0x40000u

struct ram {
	u8 bytes[RAM_SIZE];
	unsigned reads, writes;
};

static struct ram ram, other_ram;
static struct platform p, other;

static bool inside(u64 gpa, unsigned len)
{
	assert_true((gpa & PAGE_MASK) + len <= PAGE_SIZE);
	return gpa < RAM_SIZE && (gpa & ~PAGE_MASK) != HOLE;
}

static bool ram_read(void *ctx, u64 gpa, void *buf, unsigned len)
{
	struct ram *r = ctx;

	if (!inside(gpa, len))
		return false;
	memcpy(buf, r->bytes + gpa, len);
	r->reads++;
	return true;
}

static bool ram_write(void *ctx, u64 gpa, const void *buf, unsigned len)
{
	struct ram *r = ctx;

	if (!inside(gpa, len))
		return false;
	memcpy(r->bytes + gpa, buf, len);
	r->writes++;
	return true;
}

static const struct platform_ports ports = {.ram_read = ram_read, .ram_write = ram_write};

static int start(void **state)
{
	struct platform_config c = {
		.ports = &ports, .ctx = &ram, .tsc_khz = KHZ, .tsc_base = TSC_BASE, .wall_seconds = WALL, .kvm = true};

	memset(&ram, 0xa5, sizeof(ram));
	memset(&other_ram, 0, sizeof(other_ram));
	platform_init(&p, &c);
	c.ctx = &other_ram;
	platform_init(&other, &c);
	return 0;
}

// As Linux computes it (pvclock_scale_delta()).
static u64 scaled(u64 delta, u32 mul, s8 shift)
{
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return (u64)((u128)delta * mul >> 32);
}

static void scales(void **state)
{
	static const u32 some[] = {1,       999,     100000,  999999,  1000000,  1000001, 1999999,
				   2000000, 2000001, 2100000, 4200000, 10000000, ~0u};

	for (unsigned i = 0; i < ARRAY_SIZE(some); i++) {
		u32 mul;
		s8 shift;
		u64 hour = (u64)some[i] * 3600 * 1000, ns;

		pvclock_scale(some[i], &mul, &shift);
		assert_true(mul >= 0x7ff00000);
		ns = scaled(hour, mul, shift);
		// A part in 2^31 of the scale, and a tick's fraction where ticks are dropped.
		assert_true(ns <= 3600 * NS_PER_SEC);
		assert_true(3600 * NS_PER_SEC - ns < 3600 * NS_PER_SEC / 500000000 + 64);
	}
}

static void clock_structure(void **state)
{
	struct pvclock_time t;
	u64 value;

	assert_true(platform_wrmsr(&p, 0, MSR_KVM_SYSTEM_TIME_NEW, 0x1040 | KVM_MSR_ENABLED));
	memcpy(&t, ram.bytes + 0x1040, sizeof(t));
	assert_int_equal(t.version & 1, 0);
	assert_int_equal(t.version, 0xa5a5a5a6);
	assert_int_equal(t.flags, PVCLOCK_TSC_STABLE);
	assert_int_equal(t.tsc_timestamp, TSC_BASE);
	assert_int_equal(scaled(0, t.mul, t.shift) + t.system_time, 0);
	assert_in_range(scaled((u64)KHZ * 1000, t.mul, t.shift) + t.system_time, NS_PER_SEC - 2, NS_PER_SEC);
	assert_int_equal(ram.bytes[0x1040 + sizeof(t)], 0xa5);
	assert_true(platform_rdmsr(&p, 0, MSR_KVM_SYSTEM_TIME, &value));
	assert_int_equal(value, 0x1041);
	// Off: remembered, nothing written.
	ram.writes = 0;
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_SYSTEM_TIME, 0));
	assert_int_equal(ram.writes, 0);
	// Again, at the same place: the version moves on.
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_SYSTEM_TIME, 0x1041));
	memcpy(&t, ram.bytes + 0x1040, sizeof(t));
	assert_int_equal(t.version, 0xa5a5a5a8);
}

static void wall_structure(void **state)
{
	struct pvclock_wall w;

	assert_true(platform_wrmsr(&p, 0, MSR_KVM_WALL_CLOCK_NEW, 0x2000));
	memcpy(&w, ram.bytes + 0x2000, sizeof(w));
	assert_int_equal(w.version & 1, 0);
	assert_int_equal(w.sec, WALL);
	assert_int_equal(w.nsec, 0);
	assert_int_equal(ram.bytes[0x2000 + sizeof(w)], 0xa5);
	ram.writes = 0;
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_WALL_CLOCK, 0));
	assert_int_equal(ram.writes, 0);
}

// Nothing is written but whole structures in RAM.
static void hostile_places(void **state)
{
	static const u64 nowhere[] = {HOLE,       HOLE - 4,   0xff8,         0xfe4,     RAM_SIZE,
				      LAPIC_BASE, 0xfec00000, ~0ull & ~7ull, 1ull << 63};

	ram.writes = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
		if (nowhere[i] != 0xfe4)
			assert_true(platform_wrmsr(&p, 0, MSR_KVM_WALL_CLOCK_NEW, nowhere[i]));
		assert_true(platform_wrmsr(&p, 0, MSR_KVM_SYSTEM_TIME_NEW, nowhere[i] | KVM_MSR_ENABLED));
		if (nowhere[i] >= RAM_SIZE || nowhere[i] == HOLE)
			assert_false(platform_wrmsr(&p, 0, MSR_KVM_PV_EOI_EN, nowhere[i] | KVM_MSR_ENABLED));
	}
	assert_int_equal(ram.writes, 0);
	for (u64 bit = 1; bit < 4; bit++) {
		assert_false(platform_wrmsr(&p, 0, MSR_KVM_WALL_CLOCK_NEW, 0x1000 | bit));
		if (bit & 2) {
			assert_false(platform_wrmsr(&p, 0, MSR_KVM_SYSTEM_TIME_NEW, 0x1000 | bit));
			assert_false(platform_wrmsr(&p, 0, MSR_KVM_PV_EOI_EN, 0x1000 | bit));
		}
	}
	assert_int_equal(ram.writes, 0);
	assert_int_equal(p.kvm.pv_eoi, 0);
}

static void not_offered(void **state)
{
	struct platform_config c = {.ports = &ports, .ctx = &ram, .tsc_khz = KHZ};
	static const struct platform_ports none;
	u64 value;

	for (unsigned i = 0; i < 2; i++) {
		platform_init(&p, &c);
		for (u32 msr = MSR_KVM_WALL_CLOCK_NEW; msr <= MSR_KVM_PV_EOI_EN; msr++) {
			assert_false(platform_wrmsr(&p, 0, msr, 0x1001));
			assert_false(platform_rdmsr(&p, 0, msr, &value));
		}
		c.ports = &none, c.kvm = true;
	}
	start(state);
	for (u32 msr = MSR_KVM_WALL_CLOCK_NEW; msr < MSR_KVM_WALL_CLOCK_NEW + 0x100; msr++)
		assert_int_equal(platform_rdmsr(&p, 0, msr, &value),
				 msr <= MSR_KVM_SYSTEM_TIME_NEW || msr == MSR_KVM_STEAL_TIME || msr == MSR_KVM_PV_EOI_EN);
}

// --- silent EOI ---

static bool in_service(const struct platform *q)
{
	u32 any = 0;

	for (unsigned i = 0; i < 8; i++)
		any |= q->lapic.isr[i];
	return any;
}

static void self_ipi(struct platform *q, u8 vector)
{
	platform_mmio_write(q, 0, LAPIC_ICR, 4, SELF | vector);
}

static void eoi_on(void)
{
	ram.bytes[EOI_BYTE] = 0;
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_PV_EOI_EN, EOI_BYTE | KVM_MSR_ENABLED));
}

static void offered_and_taken(void **state)
{
	eoi_on();
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], 0); // nothing in service
	self_ipi(&p, 0x41);
	assert_int_equal(platform_acknowledge(&p, 0), 0x41);
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], KVM_PV_EOI_FLAG);
	platform_take_eoi(&p); // an exit before the guest's EOI: still on offer
	assert_int_equal(ram.bytes[EOI_BYTE], KVM_PV_EOI_FLAG);
	assert_true(in_service(&p));
	ram.bytes[EOI_BYTE] = 0;
	platform_take_eoi(&p);
	assert_false(in_service(&p));
	platform_take_eoi(&p); // once
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
}

// Another interrupt arrives before the guest's EOI: lower priority waits for the EOI, which has to exit now.
static void withdrawn(void **state)
{
	eoi_on();
	self_ipi(&p, 0x81);
	assert_int_equal(platform_acknowledge(&p, 0), 0x81);
	platform_offer_eoi(&p);
	self_ipi(&p, 0x41);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	assert_false(platform_interrupt_pending(&p));
	platform_mmio_write(&p, 0, LAPIC_EOI, 4, 0);
	assert_true(platform_interrupt_pending(&p));
	assert_int_equal(platform_acknowledge(&p, 0), 0x41);
	self_ipi(&p, 0x91); // nested: two in service
	assert_int_equal(platform_acknowledge(&p, 0), 0x91);
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	platform_mmio_write(&p, 0, LAPIC_EOI, 4, 0);
	platform_offer_eoi(&p); // one again
	assert_int_equal(ram.bytes[EOI_BYTE], KVM_PV_EOI_FLAG);
	// The guest may write the register all the same.
	platform_mmio_write(&p, 0, LAPIC_EOI, 4, 0);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	assert_false(in_service(&p));
}

// Taken and the next one requested in one stay in the hypervisor: the old one ends, then the new one is deliverable.
static void taken_before_the_next(void **state)
{
	eoi_on();
	self_ipi(&p, 0x81);
	assert_int_equal(platform_acknowledge(&p, 0), 0x81);
	platform_offer_eoi(&p);
	ram.bytes[EOI_BYTE] = 0;
	self_ipi(&p, 0x81);
	assert_true(platform_interrupt_pending(&p));
	assert_int_equal(platform_acknowledge(&p, 0), 0x81);
}

static void level_never(void **state)
{
	eoi_on();
	platform_mmio_write(&p, 0, IOAPIC_BASE, 4, 0x10 + 2 * 20);
	platform_mmio_write(&p, 0, IOAPIC_BASE + 0x10, 4, 0x61 | 1u << 15);
	platform_set_irq(&p, 20, true);
	assert_int_equal(platform_acknowledge(&p, 0), 0x61);
	platform_offer_eoi(&p);
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	platform_set_irq(&p, 20, false);
	platform_mmio_write(&p, 0, LAPIC_EOI, 4, 0);
	assert_false(in_service(&p));
}

static void switched_off_while_offered(void **state)
{
	eoi_on();
	self_ipi(&p, 0x41);
	assert_int_equal(platform_acknowledge(&p, 0), 0x41);
	platform_offer_eoi(&p);
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_PV_EOI_EN, 0));
	assert_int_equal(ram.bytes[EOI_BYTE], 0);
	platform_take_eoi(&p);
	assert_true(in_service(&p));
}

static void guest_eoi(struct platform *q, bool silent)
{
	if (silent && (ram.bytes[EOI_BYTE] & KVM_PV_EOI_FLAG))
		ram.bytes[EOI_BYTE] &= ~KVM_PV_EOI_FLAG;
	else
		platform_mmio_write(q, 0, LAPIC_EOI, 4, 0);
}

// The same events with and without: the same interrupts in the same order, and what the LAPIC shows is the same.
static void same_as_without(void **state)
{
	unsigned silent = 0;

	srandom(7);
	eoi_on();
	for (unsigned q = 0; q < 2; q++)
		for (unsigned pin = 16; pin < 24; pin++) {
			platform_mmio_write(q ? &other : &p, 0, IOAPIC_BASE, 4, 0x10 + 2 * pin);
			platform_mmio_write(q ? &other : &p, 0, IOAPIC_BASE + 0x10, 4,
					    (0x31 + (pin - 16) * 16) | (pin & 1) << 15);
		}
	for (unsigned i = 0; i < 200000; i++) {
		unsigned pin = 16 + (unsigned)random() % 8;
		bool level = random() % 8 == 0; // level-triggered ones mostly rest

		switch (random() % 16) { // seldom enough that one is alone at times
		case 0:
			platform_set_irq(&p, pin, level);
			platform_set_irq(&other, pin, level);
			break;
		case 1:
			self_ipi(&p, (u8)(0x40 + pin * 7));
			self_ipi(&other, (u8)(0x40 + pin * 7));
			break;
		case 2:
			platform_set_cr8(&p, level * 5);
			platform_set_cr8(&other, level * 5);
			break;
		case 3 ... 8: // the guest runs and ends what it serves
			platform_offer_eoi(&p);
			silent += ram.bytes[EOI_BYTE];
			guest_eoi(&p, true);
			guest_eoi(&other, false);
			platform_take_eoi(&p);
			break;
		default:
			assert_int_equal(platform_interrupt_pending(&p), platform_interrupt_pending(&other));
			assert_int_equal(platform_acknowledge(&p, 0), platform_acknowledge(&other, 0));
		}
		assert_memory_equal(p.lapic.isr, other.lapic.isr, sizeof(p.lapic.isr));
		assert_memory_equal(p.lapic.irr, other.lapic.irr, sizeof(p.lapic.irr));
	}
	assert_in_range(silent, 1000, 200000);
}

// What the guest sees is its own sum plus what it has not been told; what came before it asked is not told.
static void stolen_time(void **state)
{
	struct kvm_steal_time t = {.steal = 1000, .version = 6, .preempted = 1, .pad[40] = 7};
	u64 value;

	platform_stolen(&p, 500);
	memcpy(ram.bytes + 0x1040, &t, sizeof(t));
	assert_false(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, 0x1042 | KVM_MSR_ENABLED)); // not aligned to 64
	assert_false(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, 0x1060 | KVM_MSR_ENABLED));
	assert_true(platform_rdmsr(&p, 0, MSR_KVM_STEAL_TIME, &value));
	assert_int_equal(value, 0);
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, 0x1040 | KVM_MSR_ENABLED));
	assert_true(platform_rdmsr(&p, 0, MSR_KVM_STEAL_TIME, &value));
	assert_int_equal(value, 0x1041);
	memcpy(&t, ram.bytes + 0x1040, sizeof(t));
	assert_int_equal(t.steal, 1000);
	assert_int_equal(t.version, 8);
	assert_int_equal(t.preempted, 0);
	platform_stolen(&p, 800);
	platform_stolen(&p, 800); // nothing new: nothing is written
	memcpy(&t, ram.bytes + 0x1040, sizeof(t));
	assert_int_equal(t.steal, 1300);
	assert_int_equal(t.version, 10);
	assert_int_equal(t.pad[40], 7);
	assert_int_equal(ram.bytes[0x103f], 0xa5);
	assert_int_equal(ram.bytes[0x1080], 0xa5);
	// Off, then on elsewhere: what happened meanwhile is not told.
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, 0));
	platform_stolen(&p, 5000);
	memset(ram.bytes + 0x2fc0, 0, sizeof(t));
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, 0x2fc0 | KVM_MSR_ENABLED));
	platform_stolen(&p, 5100);
	memcpy(&t, ram.bytes + 0x2fc0, sizeof(t));
	assert_int_equal(t.steal, 100);
	// No RAM there, or beyond all: accepted, nothing written.
	ram.writes = 0;
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, HOLE | KVM_MSR_ENABLED));
	assert_true(platform_wrmsr(&p, 0, MSR_KVM_STEAL_TIME, ~0x3eull));
	platform_stolen(&p, 6000);
	assert_int_equal(ram.writes, 0);
}

// A reader between the writes sees an odd version.
static unsigned odd_seen, writes_seen;

static bool watching_write(void *ctx, u64 gpa, const void *buf, unsigned len)
{
	struct kvm_steal_time t;
	bool done = ram_write(ctx, gpa, buf, len);

	memcpy(&t, ((struct ram *)ctx)->bytes + 0x1000, sizeof(t));
	odd_seen += t.version & 1;
	writes_seen++;
	return done;
}

static void stolen_time_version(void **state)
{
	struct kvm_guest k;

	memset(ram.bytes + 0x1000, 0, 64);
	odd_seen = writes_seen = 0;
	kvm_init(&k, &(struct kvm_memory){ram_read, watching_write, &ram}, KHZ, 0, 0);
	assert_true(kvm_wrmsr(&k, MSR_KVM_STEAL_TIME, 0x1000 | KVM_MSR_ENABLED));
	kvm_stolen(&k, 10);
	assert_int_equal(writes_seen, 6);
	assert_int_equal(odd_seen, 4); // all but the last of each three
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(scales, start),
		cmocka_unit_test_setup(clock_structure, start),
		cmocka_unit_test_setup(stolen_time, start),
		cmocka_unit_test_setup(stolen_time_version, start),
		cmocka_unit_test_setup(wall_structure, start),
		cmocka_unit_test_setup(hostile_places, start),
		cmocka_unit_test_setup(not_offered, start),
		cmocka_unit_test_setup(offered_and_taken, start),
		cmocka_unit_test_setup(withdrawn, start),
		cmocka_unit_test_setup(taken_before_the_next, start),
		cmocka_unit_test_setup(level_never, start),
		cmocka_unit_test_setup(switched_off_while_offered, start),
		cmocka_unit_test_setup(same_as_without, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
