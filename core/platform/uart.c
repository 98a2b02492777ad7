// SPDX-License-Identifier: MIT
// 16550A. The interrupt line is recomputed after every change; a THR write lets it fall and rise again, as the wire would.
#include "core/platform/uart.h"
#include "base/string.h"

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX 0x01
#define IER_THRE 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_MODEM 0x00
#define IIR_THRE 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_TIMEOUT 0x0c
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define LSR_DATA 0x01
#define LSR_OVERRUN 0x02
#define LSR_EMPTY 0x60 // holding and shift register
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

#define BASE_BAUD 115200
#define BITS_PER_CHAR 10
#define TIMEOUT_MAX_NS 10000000

void uart_init(struct uart *u)
{
	memset(u, 0, sizeof(*u));
	u->divisor = 12; // 9600
	u->thre_pending = false;
	u->mcr = MCR_OUT2;
}

static unsigned capacity(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned trigger(const struct uart *u)
{
	static const u8 level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

static u8 modem_lines(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (u8)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
		    (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

// Highest-priority interrupt in the IIR's coding, if the transmitter's is pending or not.
static u8 cause_with(const struct uart *u, bool thre)
{
	if ((u->ier & IER_LINE) && u->errors)
		return IIR_LINE;
	if ((u->ier & IER_RX) && u->fifo_count >= trigger(u))
		return IIR_RX;
	if ((u->ier & IER_RX) && u->timeout && u->fifo_count)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && thre)
		return IIR_THRE;
	if ((u->ier & IER_MODEM) && u->delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static u8 cause(const struct uart *u)
{
	return cause_with(u, u->thre_pending);
}

static u8 iir_with(const struct uart *u, bool thre)
{
	return cause_with(u, thre) | (u->fcr & FCR_ENABLE ? 0xc0 : 0);
}

static void update(struct uart *u)
{
	irq_set(&u->irq, (u->mcr & MCR_OUT2) && cause(u) != IIR_NONE);
}

// The receive FIFO was filled or read: the time-out starts anew.
static void restart_timeout(struct uart *u, u64 now)
{
	u64 char_ns = (u64)BITS_PER_CHAR * NS_PER_SEC / BASE_BAUD * (u->divisor ? u->divisor : 1);

	u->timeout = false;
	u->timeout_at = now + MIN(4 * char_ns, TIMEOUT_MAX_NS);
}

static void refill(struct uart *u, u64 now)
{
	bool moved = false;

	if (u->mcr & MCR_LOOP)
		return;
	while (u->queue_count && u->fifo_count < capacity(u)) {
		u->fifo[u->fifo_count++] = u->queue[u->queue_head];
		u->queue_head = (u16)((u->queue_head + 1) % UART_QUEUE);
		u->queue_count--;
		moved = true;
	}
	if (moved)
		restart_timeout(u, now);
}

static u8 read_data(struct uart *u, u64 now)
{
	u8 value = u->fifo[0];

	if (!u->fifo_count)
		return 0;
	u->fifo_count--;
	memmove(u->fifo, u->fifo + 1, UART_FIFO - 1);
	restart_timeout(u, now);
	update(u); // lets the line fall before more arrives
	refill(u, now);
	return value;
}

// Reading it acknowledges the transmitter's interrupt if that is what it tells.
static u8 read_iir(struct uart *u)
{
	u8 value = iir_with(u, u->thre_pending);

	if (cause(u) == IIR_THRE)
		u->thre_pending = false;
	return value;
}

static u8 line_status(const struct uart *u)
{
	return (u8)(LSR_EMPTY | u->errors | (u->fifo_count ? LSR_DATA : 0));
}

u8 uart_read(struct uart *u, u64 now, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;
	u8 value = 0;

	uart_advance(u, now);
	switch (reg & 7) {
	case REG_DATA:
		value = dlab ? (u8)u->divisor : read_data(u, now);
		break;
	case REG_IER:
		value = dlab ? (u8)(u->divisor >> 8) : u->ier;
		break;
	case REG_IIR_FCR:
		value = read_iir(u);
		break;
	case REG_LCR:
		value = u->lcr;
		break;
	case REG_MCR:
		value = u->mcr;
		break;
	case REG_LSR:
		value = line_status(u);
		u->errors = 0;
		break;
	case REG_MSR:
		value = modem_lines(u) | u->delta;
		u->delta = 0;
		break;
	case REG_SCR:
		value = u->scr;
		break;
	}
	update(u);
	return value;
}

// A byte sent in loopback comes back as received.
static void loop_back(struct uart *u, u64 now, u8 value)
{
	if (u->fifo_count < capacity(u)) {
		u->fifo[u->fifo_count++] = value;
	} else {
		u->errors |= LSR_OVERRUN;
		if (capacity(u) == 1)
			u->fifo[0] = value;
	}
	restart_timeout(u, now);
}

static bool write_data(struct uart *u, u64 now, u8 value, u8 *tx)
{
	u->thre_pending = false;
	update(u);
	u->thre_pending = true; // it is gone already
	if (u->mcr & MCR_LOOP) {
		loop_back(u, now, value);
		return false;
	}
	*tx = value;
	return true;
}

static void write_fcr(struct uart *u, u64 now, u8 value)
{
	if ((value ^ u->fcr) & FCR_ENABLE)
		value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (!(value & FCR_ENABLE))
		value &= FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (value & FCR_CLEAR_RX) {
		u->fifo_count = 0;
		u->timeout = false;
	}
	if (value & FCR_CLEAR_TX)
		u->thre_pending = true;
	u->fcr = value & 0xc9;
	refill(u, now);
}

static void write_mcr(struct uart *u, u64 now, u8 value)
{
	u8 before = modem_lines(u), changed;

	u->mcr = value & 0x1f;
	changed = before ^ modem_lines(u);
	u->delta |= (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4;
	if ((before & MSR_RI) && (changed & MSR_RI)) // trailing edge only
		u->delta |= MSR_RI >> 4;
	refill(u, now);
}

bool uart_write(struct uart *u, u64 now, unsigned reg, u8 value, u8 *tx)
{
	bool dlab = u->lcr & LCR_DLAB, sent = false;

	uart_advance(u, now);
	switch (reg & 7) {
	case REG_DATA:
		if (dlab)
			u->divisor = (u16)((u->divisor & 0xff00) | value);
		else
			sent = write_data(u, now, value, tx);
		break;
	case REG_IER:
		if (dlab) {
			u->divisor = (u16)((u->divisor & 0xff) | value << 8);
			break;
		}
		// Enabling it with an empty transmitter raises the interrupt, disabling forgets it.
		if ((value ^ u->ier) & IER_THRE)
			u->thre_pending = value & IER_THRE;
		u->ier = value & 0x0f;
		break;
	case REG_IIR_FCR:
		write_fcr(u, now, value);
		break;
	case REG_LCR:
		u->lcr = value;
		break;
	case REG_MCR:
		write_mcr(u, now, value);
		break;
	case REG_SCR:
		u->scr = value;
		break;
	}
	update(u);
	return sent;
}

bool uart_plain_output(const struct uart *u, struct uart_plain *p)
{
	p->lsr = line_status(u);
	p->msr = modem_lines(u);
	p->iir = iir_with(u, u->thre_pending);
	p->iir_read = iir_with(u, u->thre_pending && cause(u) != IIR_THRE);
	p->iir_sent = iir_with(u, true);
	p->interrupts = (u->ier & IER_THRE) && (u->mcr & MCR_OUT2);
	return !u->errors && !u->delta && !(u->lcr & LCR_DLAB) && !(u->mcr & MCR_LOOP);
}

void uart_iir_left(struct uart *u, u8 iir)
{
	if (cause(u) != IIR_THRE || iir != iir_with(u, false))
		return;
	u->thre_pending = false;
	update(u);
}

unsigned uart_input(struct uart *u, u64 now, const u8 *bytes, unsigned n)
{
	unsigned taken = 0;

	uart_advance(u, now);
	refill(u, now);
	while (taken < n && u->queue_count < UART_QUEUE) {
		u->queue[(u->queue_head + u->queue_count) % UART_QUEUE] = bytes[taken++];
		u->queue_count++;
	}
	refill(u, now);
	update(u);
	return taken;
}

void uart_advance(struct uart *u, u64 now)
{
	if (u->fifo_count && !u->timeout && now >= u->timeout_at) {
		u->timeout = true;
		update(u);
	}
}

u64 uart_next_event(const struct uart *u)
{
	bool waiting = (u->ier & IER_RX) && u->fifo_count && u->fifo_count < trigger(u) && !u->timeout;

	return waiting ? u->timeout_at : NEVER;
}
