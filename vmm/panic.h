// SPDX-License-Identifier: MIT
// The end of the hypervisor: a report on COM1 and, as one JSON-RPC notification, on COM2. panic() and assert_failed()
// are declared in base/assert.h, trap_fatal() in machine/cpu/traps.h.
#ifndef VMM_PANIC_H
#define VMM_PANIC_H

#include "base/assert.h"

// Name of the function that holds addr and the offset in it; NULL when the address is not in our text.
const char *symbol_of(u64 addr, u64 *offset);

// Self-test: called in the middle of a report, to fault there.
extern void (*panic_test_hook)(void);

#endif
