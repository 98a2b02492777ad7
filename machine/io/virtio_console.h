// SPDX-License-Identifier: MIT
// A virtio console of one port (virtio 1.2, 5.3; the transitional interface, 4.1.4.8): bytes both ways in large pieces, where a
// serial port takes one at a time. The control channel's, where the machine has one.
#ifndef MACHINE_IO_VIRTIO_CONSOLE_H
#define MACHINE_IO_VIRTIO_CONSOLE_H

#include "base/types.h"

// Finds the device and starts it. Needs frames.
void virtio_console_init(void);
// Routes its interrupt to the first CPU: input then wakes it. Needs IOAPIC and LAPIC.
void virtio_console_irq_init(void);
bool virtio_console_present(void);
// Waits, but not for ever, while the other side takes nothing; what it then has no room for is dropped.
void virtio_console_write(const void *bytes, size_t n);
// Takes up to n bytes without waiting; returns how many. What is not taken stays on the other side: nothing is lost.
size_t virtio_console_read(void *buf, size_t n);

#endif
