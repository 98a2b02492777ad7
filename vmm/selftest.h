// SPDX-License-Identifier: MIT
// Tests of the machine layer on the machine itself, asked for by `selftest=NAME` on the hypervisor's command line.
#ifndef VMM_SELFTEST_H
#define VMM_SELFTEST_H

#include "machine/boot/boot_info.h"

// Returns at once when the command line asks for none. A test that passes ends the machine (power off); those that are
// meant to end in a panic report do so.
void selftest_run(const struct boot_info *bi);

#endif
