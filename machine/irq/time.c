// SPDX-License-Identifier: MIT
// TSC frequency: CPUID leaf 0x15 or 0x16 when they give a sane one, else PIT channel 2, which goes on counting when an emulated
// machine loses its CPU. Each of its readings lies between two of the TSC, which say how far it can be wrong; a window is good when
// both of its ends are exact enough and the PIT has not come round. The LAPIC timer is measured in the same windows.
#include "machine/irq/time.h"
#include "base/assert.h"
#include "base/log.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/lapic.h"

#define PIT_HZ 1193182
#define PIT_START 0xffff
#define PIT_WINDOW 35795 // 30 ms of the 55 until it comes round
#define PIT_LATCH 0x80   // channel 2
#define PIT_TRIES 100
#define EDGE_TRIES 20
#define ERROR_PPM 100 // good enough
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

// A moment: what the counters said between two readings of the TSC, `width` apart.
struct edge {
	u64 tsc, width;
	u32 pit, lapic;
};

static struct edge edge_now(void)
{
	struct edge e;

	e.tsc = rdtsc();
	outb(PORT_PIT_MODE, PIT_LATCH);
	e.lapic = lapic_count_elapsed();
	e.width = rdtsc() - e.tsc;
	e.tsc += e.width / 2;
	e.pit = inb(PORT_PIT2);
	e.pit |= (u32)inb(PORT_PIT2) << 8;
	return e;
}

// The sharpest of some, none of them before the PIT has come down to `below`.
static struct edge sharpest(u32 below)
{
	struct edge best = {.width = ~0ull}, e;
	u64 polls = 0;

	for (unsigned i = 0; i < EDGE_TRIES;) {
		e = edge_now();
		if (e.pit > below) {
			if (++polls > POLL_LIMIT)
				panic("time: the PIT does not count");
			continue;
		}
		if (e.width < best.width)
			best = e;
		i++;
	}
	return best;
}

// Returns how far it may be wrong, in parts per million; more than a million: nothing was measured.
static u64 measure(struct sample *s)
{
	struct edge a, b;
	u64 ticks, counts;

	outb(PORT_GATE, (u8)((inb(PORT_GATE) & ~GATE_SPEAKER) | GATE_ON));
	outb(PORT_PIT_MODE, PIT_MODE_ONE_SHOT);
	outb(PORT_PIT2, PIT_START & 0xff);
	lapic_count_start();
	outb(PORT_PIT2, PIT_START >> 8); // starts counting
	a = sharpest(PIT_START);
	b = sharpest(PIT_START - PIT_WINDOW);
	if ((inb(PORT_GATE) & GATE_OUT) || a.pit <= b.pit)
		return ~0ull; // it has come round
	ticks = b.tsc - a.tsc;
	counts = a.pit - b.pit;
	s->tsc_khz = ticks * PIT_HZ / counts / 1000;
	s->lapic_hz = (u64)(b.lapic - a.lapic) * PIT_HZ / counts;
	return (a.width + b.width) * 1000000 / ticks + 1000000 / counts;
}

static bool agree(u64 a, u64 b)
{
	u64 d = a > b ? a - b : b - a;

	return d * 1000000 <= b * AGREE_PPM;
}

static struct sample calibrate(void)
{
	struct sample best = {0, 0}, s;
	u64 best_error = ~0ull;

	for (unsigned i = 0; i < PIT_TRIES && best_error > ERROR_PPM; i++) {
		u64 error = measure(&s);

		if (error < best_error) {
			best = s;
			best_error = error;
		}
	}
	if (best_error == ~0ull)
		panic("time: the PIT comes round before it can be read");
	if (best_error > AGREE_PPM)
		log_warn("time: calibration is noisy, up to %lu ppm off", best_error);
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
