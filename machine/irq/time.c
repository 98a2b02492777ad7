// SPDX-License-Identifier: MIT
// TSC frequency: CPUID leaf 0x15 or 0x16 when they give a sane one, else PIT channel 2. The PIT is measured until two
// of the measurements agree, because an emulated machine can lose its CPU in the middle of one; a disturbance can only
// make the count too high, so failing agreement the lowest stands. The LAPIC timer is measured in the same windows.
#include "machine/irq/time.h"
#include "base/assert.h"
#include "base/log.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/lapic.h"

#define PIT_HZ 1193182
#define PIT_COUNT 23864 // 20 ms
#define PIT_TRIES 10
#define AGREE_PPM 500
#define PORT_PIT2 0x42
#define PORT_PIT_MODE 0x43
#define PORT_GATE 0x61
#define GATE_ON 0x01
#define GATE_SPEAKER 0x02
#define GATE_OUT 0x20
#define PIT_MODE_ONE_SHOT 0xb0 // channel 2, both bytes, mode 0
#define KHZ_MIN 100000
#define KHZ_MAX 10000000
#define POLL_LIMIT 100000000

struct sample {
	u64 tsc_khz, lapic_hz;
};

static u64 khz, base;
static u64 mult;         // ns = (tsc - base) * mult >> 32
static u64 inverse_mult; // tsc = ns * inverse_mult >> 32
static const char *source;

static u64 cpuid_khz(void)
{
	struct cpuid_regs r;
	u64 v = 0;

	if (cpu_features.max_leaf >= 0x15) {
		r = cpuid(0x15, 0);
		if (r.eax && r.ebx && r.ecx)
			v = (u64)r.ecx * r.ebx / r.eax / 1000;
	}
	if (!v && cpu_features.max_leaf >= 0x16)
		v = (cpuid(0x16, 0).eax & 0xffff) * 1000ull;
	return v >= KHZ_MIN && v <= KHZ_MAX ? v : 0;
}

static bool measure(struct sample *s)
{
	u64 start, ticks, polls = 0;
	u32 lapic;

	outb(PORT_GATE, (u8)((inb(PORT_GATE) & ~GATE_SPEAKER) | GATE_ON));
	outb(PORT_PIT_MODE, PIT_MODE_ONE_SHOT);
	outb(PORT_PIT2, PIT_COUNT & 0xff);
	lapic_count_start();
	outb(PORT_PIT2, PIT_COUNT >> 8); // starts counting
	start = rdtsc();
	while (!(inb(PORT_GATE) & GATE_OUT))
		if (++polls > POLL_LIMIT)
			return false;
	ticks = rdtsc() - start;
	lapic = lapic_count_elapsed();
	s->tsc_khz = ticks * PIT_HZ / PIT_COUNT / 1000;
	s->lapic_hz = (u64)lapic * PIT_HZ / PIT_COUNT;
	return true;
}

static bool agree(u64 a, u64 b)
{
	u64 d = a > b ? a - b : b - a;

	return d * 1000000 <= b * AGREE_PPM;
}

static struct sample calibrate(void)
{
	struct sample best = {0, 0}, s;

	for (unsigned i = 0; i < PIT_TRIES; i++) {
		if (!measure(&s))
			panic("time: the PIT does not count");
		if (best.tsc_khz && agree(s.tsc_khz, best.tsc_khz) && agree(s.lapic_hz, best.lapic_hz))
			return s.tsc_khz < best.tsc_khz ? s : best;
		if (!best.tsc_khz || s.tsc_khz < best.tsc_khz)
			best = s;
	}
	log_warn("time: calibration is noisy, using the lowest of %d measurements", PIT_TRIES);
	return best;
}

void time_init(void)
{
	struct sample s = calibrate();
	u64 c = cpuid_khz();

	// A CPUID that disagrees with the clock by more than a percent is a made-up one.
	source = c && agree(c / 20, s.tsc_khz / 20) ? "CPUID" : "PIT";
	khz = *source == 'C' ? c : s.tsc_khz;
	if (khz < KHZ_MIN || khz > KHZ_MAX)
		panic("time: TSC at %lu kHz is out of range", khz);
	mult = (1000000ull << 32) / khz;
	inverse_mult = (khz << 32) / 1000000;
	base = rdtsc();
	lapic_set_frequency(s.lapic_hz);
}

u64 tsc_khz(void)
{
	return khz;
}

const char *tsc_source(void)
{
	return source;
}

u64 tsc_to_ns(u64 delta)
{
	return (u64)((u128)delta * mult >> 32);
}

u64 ns_to_tsc(u64 ns)
{
	return (u64)((u128)ns * inverse_mult >> 32);
}

u64 time_ns(void)
{
	return khz ? tsc_to_ns(rdtsc() - base) : 0;
}

void delay_us(u64 us)
{
	u64 end = rdtsc() + ns_to_tsc(us * 1000);

	while ((s64)(rdtsc() - end) < 0)
		cpu_relax();
}
