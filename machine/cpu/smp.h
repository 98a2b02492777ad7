// SPDX-License-Identifier: MIT
// Other CPUs: started by INIT-SIPI-SIPI, then parked in STI;HLT until given work.
#ifndef MACHINE_CPU_SMP_H
#define MACHINE_CPU_SMP_H

#include "machine/cpu/cpu.h"

// Starts every CPU that ACPI lists; one that does not come up within a second is left out with a warning.
void smp_init(void);
// Runs fn(arg) on a parked CPU (its stack, interrupts off); false when it has work already or is this one.
bool smp_run(unsigned cpu, void (*fn)(void *), void *arg);
// Interrupts a CPU (KICK_VECTOR): ends its HLT, or whatever it runs in a guest.
void smp_kick(unsigned cpu);
// The panicking CPU's: NMI to all others.
void smp_stop_others(void);

#endif
