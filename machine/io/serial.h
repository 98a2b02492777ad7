// SPDX-License-Identifier: MIT
// The two 16550 serial ports: COM1 is the console, COM2 the control channel. Output is polled through the FIFO; input
// goes to a ring, by interrupt once serial_irq_init() has run and by polling in every serial_read().
#ifndef MACHINE_IO_SERIAL_H
#define MACHINE_IO_SERIAL_H

#include "base/types.h"

enum serial_port { SERIAL_COM1, SERIAL_COM2, SERIAL_PORTS };

void serial_init(void);
// Routes both interrupts to the first CPU. Needs IOAPIC and LAPIC.
void serial_irq_init(void);
void serial_write(enum serial_port port, const void *bytes, size_t n);
// Takes up to n bytes without waiting; returns how many.
int serial_read(enum serial_port port, void *buf, size_t n);
bool serial_present(enum serial_port port);
// From now on locks are ignored: the caller is the panicking CPU.
void serial_panic_mode(void);

#endif
