// SPDX-License-Identifier: MIT
// 16550 UARTs, 115200 8N1. A port that does not answer the scratch-register test is left alone: writes vanish, reads
// give nothing. A full input ring drops new bytes (counted).
#include "machine/io/serial.h"
#include "machine/cpu/spinlock.h"
#include "machine/cpu/traps.h"
#include "machine/irq/ioapic.h"

#define RING 4096 // power of two
#define FIFO 16
#define WAIT_LIMIT 1000000 // polls for room before a byte is given up

enum { REG_DATA, REG_IER, REG_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };
#define IER_RX 0x01
#define FCR_ON 0xc7 // enable, clear both, trigger at 14
#define LCR_DLAB 0x80
#define LCR_8N1 0x03
#define MCR_ON 0x0b // DTR RTS OUT2 (interrupt line)
#define LSR_DATA 0x01
#define LSR_EMPTY 0x20

struct uart {
	u16 base;
	u8 irq;
	bool present;
	struct spinlock tx, rx;
	u32 head, tail; // ring indexes, free running
	u64 dropped;
	u8 ring[RING];
};

static struct uart uarts[SERIAL_PORTS] = {
	[SERIAL_COM1] = {.base = 0x3f8, .irq = 4},
	[SERIAL_COM2] = {.base = 0x2f8, .irq = 3},
};
static bool panicking;

static void init_one(struct uart *u)
{
	outb(u->base + REG_SCRATCH, 0x5a);
	if (inb(u->base + REG_SCRATCH) != 0x5a)
		return;
	outb(u->base + REG_IER, 0);
	outb(u->base + REG_LCR, LCR_DLAB);
	outb(u->base + REG_DATA, 1); // divisor 1: 115200
	outb(u->base + REG_IER, 0);
	outb(u->base + REG_LCR, LCR_8N1);
	outb(u->base + REG_FCR, FCR_ON);
	outb(u->base + REG_MCR, MCR_ON);
	u->present = true;
}

void serial_init(void)
{
	for (unsigned i = 0; i < SERIAL_PORTS; i++)
		init_one(&uarts[i]);
}

bool serial_present(enum serial_port port)
{
	return uarts[port].present;
}

void serial_panic_mode(void)
{
	panicking = true;
}

static bool wait_room(const struct uart *u)
{
	for (unsigned i = 0; i < WAIT_LIMIT; i++) {
		if (inb(u->base + REG_LSR) & LSR_EMPTY)
			return true;
		cpu_relax();
	}
	return false;
}

static void transmit(const struct uart *u, const u8 *p, size_t n)
{
	while (n) {
		size_t chunk = MIN(n, (size_t)FIFO);

		if (!wait_room(u))
			return;
		n -= chunk;
		while (chunk--)
			outb(u->base + REG_DATA, *p++);
	}
}

void serial_write(enum serial_port port, const void *bytes, size_t n)
{
	struct uart *u = &uarts[port];
	u64 flags;

	if (!u->present)
		return;
	if (panicking) {
		transmit(u, bytes, n);
		return;
	}
	flags = spin_lock_irqsave(&u->tx);
	transmit(u, bytes, n);
	spin_unlock_irqrestore(&u->tx, flags);
}

// Caller holds rx. Bounded, so that a line that never goes quiet cannot keep us.
static void drain(struct uart *u)
{
	for (unsigned i = 0; i < 2 * RING && inb(u->base + REG_LSR) & LSR_DATA; i++) {
		u8 b = inb(u->base + REG_DATA);

		if (u->head - u->tail == RING)
			u->dropped++;
		else
			u->ring[u->head++ % RING] = b;
	}
}

int serial_read(enum serial_port port, void *buf, size_t n)
{
	struct uart *u = &uarts[port];
	u8 *out = buf;
	size_t got = 0;
	u64 flags;

	if (!u->present)
		return 0;
	flags = spin_lock_irqsave(&u->rx);
	if (u->head - u->tail < RING) // full: let the device hold the sender back
		drain(u);
	while (got < n && u->tail != u->head)
		out[got++] = u->ring[u->tail++ % RING];
	spin_unlock_irqrestore(&u->rx, flags);
	return (int)got;
}

static void serial_irq(struct trap_frame *f, void *arg)
{
	struct uart *u = arg;

	spin_lock(&u->rx);
	drain(u);
	spin_unlock(&u->rx);
}

void serial_irq_init(void)
{
	for (unsigned i = 0; i < SERIAL_PORTS; i++) {
		struct uart *u = &uarts[i];

		if (!u->present)
			continue;
		irq_set_handler(SERIAL_VECTOR - i, serial_irq, u);
		ioapic_route_isa(u->irq, SERIAL_VECTOR - i);
		outb(u->base + REG_IER, IER_RX);
	}
}
