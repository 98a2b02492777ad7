// SPDX-License-Identifier: MIT
// Console output of translated code that did not leave for each byte (base/gate.h): bytes wait in the vCPU's page until the
// next exit, and reach the UART's model before anything else of that exit does.
#include "vmm/vm.h"

#include "machine/irq/time.h"

void console_after_exit(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	u64 room = p->uart_room; // the guest's word: bounded below

	if (likely(room >= UART_BUFFER))
		return;
	if (v->console_open)
		for (u64 i = UART_BUFFER; i > room; i--)
			platform_out(&v->vm->platform, time_ns(), UART_FAST_PORT, 1, p->uart_buffer[i - 1]);
	p->uart_room = v->console_open ? UART_BUFFER : 0;
}

void console_state(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	u8 lsr;

	v->console_open = uart_plain_output(&v->vm->platform.uart, &lsr);
	p->uart_lsr = lsr;
	p->uart_room = v->console_open ? UART_BUFFER : 0;
}
