// SPDX-License-Identifier: MIT
// The machine's real-time clock, read once at start.
#ifndef MACHINE_IO_CMOS_H
#define MACHINE_IO_CMOS_H

#include "base/types.h"

// Seconds since 1970 (UTC, as QEMU and most servers keep it); 0 when the clock gives no sensible date.
u64 rtc_wall_seconds(void);

#endif
