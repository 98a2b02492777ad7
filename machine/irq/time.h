// SPDX-License-Identifier: MIT
// Time by the TSC, calibrated once.
#ifndef MACHINE_IRQ_TIME_H
#define MACHINE_IRQ_TIME_H

#include "base/types.h"

// Calibrates TSC and LAPIC timer. Needs lapic_start() on the first CPU.
void time_init(void);
u64 tsc_khz(void);
const char *tsc_source(void); // where the frequency came from
u64 time_ns(void);            // since time_init(); 0 before
u64 tsc_to_ns(u64 delta);
u64 ns_to_tsc(u64 ns);
void delay_us(u64 us);

#endif
