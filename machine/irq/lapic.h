// SPDX-License-Identifier: MIT
// The local APIC: memory-mapped, or by MSR when the firmware left it in x2APIC mode. One-shot timer, IPIs, EOI.
#ifndef MACHINE_IRQ_LAPIC_H
#define MACHINE_IRQ_LAPIC_H

#include "base/types.h"

void lapic_start(void); // on each CPU; the first call maps it
u32 lapic_id(void);
void lapic_eoi(void);

enum ipi_kind { IPI_FIXED = 0, IPI_NMI = 4, IPI_INIT = 5, IPI_STARTUP = 6 };
void lapic_ipi(u32 apic_id, enum ipi_kind kind, u8 vector);
void lapic_nmi_others(void);

// Timer of this CPU, TIMER_VECTOR. The handler runs once at or after the deadline (TSC), interrupts off.
void timer_arm(u64 tsc_deadline);
void timer_cancel(void);
void timer_set_handler(void (*fn)(void));
// For calibration by time_init(): starts a free-running count / returns ticks since.
void lapic_count_start(void);
u32 lapic_count_elapsed(void);
void lapic_set_frequency(u64 ticks_per_second);

#endif
