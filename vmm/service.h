// SPDX-License-Identifier: MIT
// What the hypervisor does beside running guests: the control channel. Polled between exits and by the timer.
#ifndef VMM_SERVICE_H
#define VMM_SERVICE_H

#include "base/types.h"
#include "vmm/vm.h"

#define SERVICE_PERIOD_NS 100000000ull // the control channel is looked at so often while a guest computes,
#define SERVICE_POLL_NS 5000000ull    // and not more often than this at exits

extern struct control service_control;

void service_init(void);
void service_poll(void);
void service_console_out(struct vm *vm, const u8 *bytes, unsigned n);
NORETURN void service_shutdown(void);

#endif
