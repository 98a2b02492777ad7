// SPDX-License-Identifier: MIT
// Loads a Linux bzImage by the 64-bit or 32-bit boot protocol (Documentation/x86/boot.rst) and prepares the CPU for it.
#ifndef CORE_PLATFORM_LINUX_BOOT_H
#define CORE_PLATFORM_LINUX_BOOT_H

#include "core/platform/boot.h"

// True when the image starts like a bzImage: what to try this loader on.
bool linux_boot_probe(const u8 *image, u64 size);

// By the 64-bit boot protocol where the kernel has that entry, else by the 32-bit one.
enum status linux_boot_load(struct guest_boot *b, struct x86_cpu *cpu) MUST_CHECK;

#endif
