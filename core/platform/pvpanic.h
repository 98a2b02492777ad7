// SPDX-License-Identifier: MIT
// QEMU's pvpanic device (docs/specs/pvpanic in QEMU): a port by which a guest's kernel says that it panicked. A read tells what can
// be said, a write says it.
#ifndef CORE_PLATFORM_PVPANIC_H
#define CORE_PLATFORM_PVPANIC_H

#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 0x01

#endif
