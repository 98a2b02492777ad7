// SPDX-License-Identifier: MIT
// ACPI fixed hardware: PM1a event and control blocks and the PM timer (ACPI 6.4, 4.8). Always in ACPI mode.
#ifndef CORE_PLATFORM_PM_H
#define CORE_PLATFORM_PM_H

#include "core/platform/device.h"

#define PM_BASE 0x600
#define PM_EVENT (PM_BASE + 0)   // 4 bytes: status, enable
#define PM_CONTROL (PM_BASE + 4) // 2 bytes
#define PM_TIMER (PM_BASE + 8)   // 4 bytes
#define PM_PORTS 12
#define PM_TIMER_HZ 3579545u
#define PM_S5_TYPE 5 // SLP_TYP of \_S5 in the DSDT
#define SCI_IRQ 9

struct pm {
	u16 status, enable, control;
	u64 half; // half periods of the timer's 24 bits seen
	struct irq_line irq;
};

void pm_init(struct pm *m);
u32 pm_read(struct pm *m, u64 now, u16 port, unsigned len);
// True: the guest asked for S5.
bool pm_write(struct pm *m, u64 now, u16 port, unsigned len, u32 value);
void pm_power_button(struct pm *m);
void pm_advance(struct pm *m, u64 now);
u64 pm_next_event(const struct pm *m);

#endif
