// SPDX-License-Identifier: MIT
#ifndef VMM_LAUNCH_H
#define VMM_LAUNCH_H

#include "base/types.h"

struct boot_info;

// Runs what the machine was started with, then ends the machine.
NORETURN void vmm_launch(const struct boot_info *bi);

#endif
