// SPDX-License-Identifier: MIT
// Local APIC: xAPIC by MMIO, x2APIC and TSC deadline by MSR where configured (SDM 3A chapter 10).
#ifndef CORE_PLATFORM_LAPIC_H
#define CORE_PLATFORM_LAPIC_H

#include "core/platform/device.h"

#define LAPIC_BASE 0xfee00000ull
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2 BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST 0x8ff

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum { APIC_FIXED = 0, APIC_LOWEST = 1, APIC_SMI = 2, APIC_NMI = 4, APIC_INIT = 5, APIC_SIPI = 6, APIC_EXTINT = 7 };

struct lapic {
	u64 base; // MSR_APIC_BASE
	u32 id;
	u32 tpr, ldr, dfr, svr, esr, esr_pending, icr_low, icr_high, divide, initial;
	u32 lvt[LVT_COUNT];
	u32 irr[8], isr[8], tmr[8];
	u64 expiry;   // ns of the timer's next expiry, NEVER when stopped
	u64 deadline; // MSR_TSC_DEADLINE
	u64 tsc_base; // guest TSC at now == 0
	u32 tsc_khz;
	bool x2apic_allowed, deadline_allowed;
	bool lint0; // input level
	bool nmi_pending;
	s16 eoi_broadcast; // level-triggered vector whose EOI the IOAPIC has to see, -1 for none
};

void lapic_init(struct lapic *l, u32 id, u32 tsc_khz, u64 tsc_base, bool x2apic, bool deadline);
u32 lapic_read(struct lapic *l, u64 now, u32 offset);
void lapic_write(struct lapic *l, u64 now, u32 offset, u32 value);
// False: #GP.
bool lapic_rdmsr(struct lapic *l, u64 now, u32 msr, u64 *value);
bool lapic_wrmsr(struct lapic *l, u64 now, u32 msr, u64 value);
bool lapic_mmio_enabled(const struct lapic *l);
// Message from the IOAPIC or another CPU. False: not accepted (no such destination).
bool lapic_deliver(struct lapic *l, u8 destination, bool logical, unsigned mode, u8 vector, bool level);
// The 8259's output on LINT0.
void lapic_set_lint0(struct lapic *l, bool level);
bool lapic_accepts_extint(const struct lapic *l);
// Highest requested vector above PPR, or -1.
int lapic_pending(const struct lapic *l);
int lapic_acknowledge(struct lapic *l);
// What a write of the EOI register does.
void lapic_end_of_interrupt(struct lapic *l);
// The interrupt in service is the only one, edge-triggered, and nothing waits for its end: nobody misses a late EOI.
bool lapic_eoi_may_wait(const struct lapic *l);
void lapic_advance(struct lapic *l, u64 now);
u64 lapic_next_event(const struct lapic *l);

#endif
