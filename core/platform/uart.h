// SPDX-License-Identifier: MIT
// 16550A UART (PC16550D data sheet). Transmission takes no time; input waits in a queue behind the 16-byte FIFO, so that
// nothing is lost to a slow guest.
#ifndef CORE_PLATFORM_UART_H
#define CORE_PLATFORM_UART_H

#include "core/platform/device.h"

#define UART_FIFO 16
#define UART_QUEUE 4096

struct uart {
	u8 ier, fcr, lcr, mcr, scr;
	u8 delta;  // modem status: low four bits
	u8 errors; // line status: overrun (in loopback)
	u16 divisor;
	bool thre_pending; // transmitter-empty interrupt not yet acknowledged
	bool timeout;      // characters wait below the trigger level
	u64 timeout_at;
	u8 fifo[UART_FIFO];
	u8 fifo_count;
	u8 queue[UART_QUEUE];
	u16 queue_head, queue_count;
	struct irq_line irq;
};

void uart_init(struct uart *u);
u8 uart_read(struct uart *u, u64 now, unsigned reg);
// True: *tx is a byte that leaves on the wire.
bool uart_write(struct uart *u, u64 now, unsigned reg, u8 value, u8 *tx);

// For a caller that serves the common accesses of a sender by itself and tells us later.
struct uart_plain {
	u8 lsr, msr;  // what reading these gives, without effect
	u8 iir;       // what reading it gives
	u8 iir_read;  // ... after it has been read
	u8 iir_sent;  // ... after a byte was sent
	bool interrupts; // a byte sent raises the transmitter's interrupt
};
// True: a byte written to the data register would leave and do nothing else but raise the transmitter's interrupt.
bool uart_plain_output(const struct uart *u, struct uart_plain *p);
// The caller's bytes have been written; then its reads of IIR have left `iir` there.
void uart_iir_left(struct uart *u, u8 iir);
unsigned uart_input(struct uart *u, u64 now, const u8 *bytes, unsigned n);
void uart_advance(struct uart *u, u64 now);
u64 uart_next_event(const struct uart *u);

#endif
