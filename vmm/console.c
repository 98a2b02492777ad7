// SPDX-License-Identifier: MIT
// Console output of translated code that did not leave for each byte (base/gate.h): bytes wait in the vCPU's page until the
// next exit, and reach the UART's model before anything else of that exit does.
#include "vmm/vm.h"

#include "machine/irq/time.h"
#include "vmm/pv.h"

static void offer(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	struct uart_plain plain;

	v->console_open = uart_plain_output(&v->vm->platform.uart, &plain);
	v->console_iir = plain.iir;
	p->uart_lsr = plain.lsr;
	p->uart_msr = plain.msr;
	p->uart_iir = plain.iir;
	p->uart_iir_read = plain.iir_read;
	p->uart_iir_sent = plain.iir_sent;
	p->uart_event = plain.interrupts;
	p->uart_room = v->console_open ? UART_BUFFER : 0;
}

// What the guest wrote into the page is its own word: the room is bounded, IIR only ever acknowledges.
void console_after_exit(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	u64 room = p->uart_room;

	if (likely(room >= UART_BUFFER && p->uart_iir == v->console_iir))
		return;
	if (v->console_open) {
		for (u64 i = UART_BUFFER; i > room; i--)
			platform_out(&v->vm->platform, time_ns(), UART_FAST_PORT, 1, p->uart_buffer[i - 1]);
		platform_iir_left(&v->vm->platform, (u8)p->uart_iir);
		v->attention = true; // for the transmitter's interrupt, and the bytes' way on
	}
	offer(v);
}

unsigned console_type(struct vm *vm, const u8 *bytes, unsigned n)
{
	struct console_input *in = &vm->input;
	u32 tail = __atomic_load_n(&in->tail, __ATOMIC_ACQUIRE), head = in->head;

	n = MIN(n, CONSOLE_INPUT - (head - tail));
	for (unsigned i = 0; i < n; i++)
		in->bytes[(head + i) % CONSOLE_INPUT] = bytes[i];
	__atomic_store_n(&in->head, head + n, __ATOMIC_RELEASE);
	return n;
}

void console_pass_input(struct vcpu *v)
{
	struct console_input *in = &v->vm->input;
	u32 head = __atomic_load_n(&in->head, __ATOMIC_ACQUIRE), tail = in->tail;

	while (tail != head) {
		u32 at = tail % CONSOLE_INPUT, n = MIN(head - tail, CONSOLE_INPUT - at);
		unsigned taken = v->vm->pv ? pv_console_input(&v->vm->pv->guest, in->bytes + at, n)
					   : platform_console_input(&v->vm->platform, time_ns(), in->bytes + at, n);

		tail += taken;
		if (taken < n)
			break; // the rest when the guest has read some
	}
	__atomic_store_n(&in->tail, tail, __ATOMIC_RELEASE);
}

void console_state(struct vcpu *v)
{
	offer(v);
}
