// SPDX-License-Identifier: MIT
// The serial port: what Linux's 8250 driver probes, the interrupt rules, and input through FIFO and queue.
#include "core/platform/platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { RBR = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct platform p;
static char text[256];
static unsigned length;

static void on_console(void *ctx, const u8 *bytes, unsigned n)
{
	for (unsigned i = 0; i < n && length < sizeof(text) - 1; i++)
		text[length++] = (char)bytes[i];
}

static int start(void **state)
{
	static const struct platform_ports ports = {.console_out = on_console};
	struct platform_config c = {.ports = &ports};

	memset(text, 0, sizeof(text));
	length = 0;
	platform_init(&p, &c);
	return 0;
}

static void out(u16 port, u8 value)
{
	platform_out(&p, 0, port, 1, value);
}

static u8 in(u16 port)
{
	return (u8)platform_in(&p, 0, port, 1);
}

static bool irq(void)
{
	return p.uart.irq.level;
}

// autoconfig() of drivers/tty/serial/8250/8250_port.c.
static void linux_finds_a_16550a(void **state)
{
	u8 mcr, lcr, status1, status2;

	out(IER, 0);
	out(0x80, 0);
	assert_int_equal(in(IER)&0x0f, 0);
	out(IER, 0x0f);
	assert_int_equal(in(IER)&0x0f, 0x0f);
	out(IER, 0);
	mcr = in(MCR), lcr = in(LCR);
	out(MCR, 0x10 | 0x0a); // loopback, OUT2, RTS
	assert_int_equal(in(MSR)&0xf0, 0x90);
	out(MCR, mcr);
	out(LCR, 0xbf);
	out(IIR, 0);
	out(LCR, 0);
	out(FCR, 1);
	assert_int_equal(in(IIR) >> 6, 3); // 16550A
	out(LCR, 0x80);
	assert_int_not_equal(in(IIR), 0); // no EFR: not a 16650
	out(LCR, 0);
	out(FCR, 1);
	status1 = in(IIR) >> 5;
	out(FCR, 0);
	out(LCR, 0x80);
	out(FCR, 0x21);
	status2 = in(IIR) >> 5;
	out(FCR, 0);
	out(LCR, 0);
	assert_int_equal(status1, 6);
	assert_int_equal(status2, 6); // not a TI16750
	out(IER, 0x40);
	assert_int_equal(in(IER)&0x40, 0); // no Xscale UUE
	out(LCR, lcr);
	// wait_for_xmitr, and the THRE test of serial8250_do_startup.
	out(IER, 0x02);
	assert_int_equal(in(IIR)&0x0f, 0x02);
	out(IER, 0);
	out(IER, 0x02);
	assert_int_equal(in(IIR)&0x01, 0);
	out(IER, 0);
	out(SCR, 0x5a);
	assert_int_equal(in(SCR), 0x5a);
}

static void thre_rules(void **state)
{
	out(FCR, 1);
	assert_false(irq());
	out(IER, 0x02); // enabled with an empty transmitter: raised
	assert_true(irq());
	assert_int_equal(in(IIR), 0xc2);
	assert_false(irq()); // reading IIR acknowledged it
	assert_int_equal(in(IIR), 0xc1);
	out(RBR, 'x'); // sent at once: raised again
	assert_true(irq());
	assert_string_equal(text, "x");
	assert_int_equal(in(LSR), 0x60);
	out(IER, 0);
	assert_false(irq());
	out(IER, 0x02);
	assert_true(irq());
	out(MCR, 0); // OUT2 gates the line
	assert_false(irq());
	out(MCR, 8);
	assert_true(irq());
}

// Every byte written under THRE gives the PIC a new edge, though the line is high before and after.
static void thre_edges(void **state)
{
	out(0x20, 0x11), out(0x21, 0x30), out(0x21, 4), out(0x21, 3);
	out(0x21, 0);
	out(IER, 0x02);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(platform_acknowledge(&p, 0), 0x34);
		assert_false(platform_interrupt_pending(&p));
		out(RBR, (u8)('a' + i));
	}
	assert_string_equal(text, "abcdefghijklmnopqrst");
}

static void priorities(void **state)
{
	out(FCR, 0x01); // trigger 1
	out(IER, 0x0f);
	platform_console_input(&p, 0, (const u8 *)"q", 1);
	assert_int_equal(in(IIR), 0xc4);
	assert_int_equal(in(RBR), 'q');
	assert_int_equal(in(IIR), 0xc2);
	out(MCR, 0x18); // loopback: modem lines change
	assert_int_equal(in(IIR), 0xc0);
	assert_int_not_equal(in(MSR)&0x0f, 0);
	assert_int_equal(in(MSR)&0x0f, 0);
	assert_int_equal(in(IIR), 0xc1);
}

static void input_through_queue(void **state)
{
	u8 bytes[5000], got = 0;
	unsigned taken, n = 0;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)i;
	out(FCR, 0xc1); // trigger 14
	out(IER, 1);
	taken = platform_console_input(&p, 0, bytes, sizeof(bytes));
	assert_int_equal(taken, UART_QUEUE);
	taken += platform_console_input(&p, 0, bytes + taken, 100); // the FIFO took 16
	assert_int_equal(taken, UART_QUEUE + 16);
	assert_int_equal(in(IIR), 0xc4);
	while (in(LSR)&1) {
		assert_int_equal(in(RBR), got++);
		n++;
	}
	assert_int_equal(n, taken);
	assert_int_equal(in(RBR), 0);
	assert_false(irq());
}

static void trigger_and_timeout(void **state)
{
	out(LCR, 0x83), out(RBR, 1), out(IER, 0), out(LCR, 0x03); // 115200 baud
	out(FCR, 0x81);                                           // trigger 8
	out(IER, 1);
	platform_console_input(&p, 0, (const u8 *)"abc", 3);
	assert_false(irq());
	assert_true(platform_next_event(&p, 0) < 1000000);
	platform_advance(&p, platform_next_event(&p, 0));
	assert_true(irq());
	assert_int_equal(in(IIR), 0xcc); // character time-out
	assert_int_equal(in(RBR), 'a');
	assert_false(irq());
	platform_console_input(&p, 0, (const u8 *)"123456", 6);
	assert_int_equal(in(IIR), 0xc4); // eight wait
	out(FCR, 0x83);                  // clear
	assert_int_equal(in(LSR)&1, 0);
	assert_false(irq());
}

static void loopback(void **state)
{
	out(FCR, 1);
	out(MCR, 0x18);
	for (unsigned i = 0; i < 17; i++)
		out(RBR, (u8)(0x40 + i));
	assert_int_equal(length, 0);    // nothing on the wire
	assert_int_equal(in(LSR)&3, 3); // data, and the seventeenth overran
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(RBR), 0x40 + i);
	assert_int_equal(in(LSR), 0x60);
	out(FCR, 0); // without FIFO one byte
	out(RBR, 1), out(RBR, 2);
	assert_int_equal(in(RBR), 2);
}

static void divisor_latch(void **state)
{
	out(LCR, 0x83);
	out(RBR, 0x34);
	out(IER, 0x12);
	assert_int_equal(in(RBR), 0x34);
	assert_int_equal(in(IER), 0x12);
	out(LCR, 0x03);
	assert_int_equal(in(IER), 0);
	assert_int_equal(p.uart.divisor, 0x1234);
	assert_int_equal(length, 0);
}

// What translated code does with the page of base/gate.h, beside a UART that is asked each time: all that is read is the
// same, and so is what is left when the page is handed back.
struct page {
	struct uart_plain now;
	unsigned sent;
	u8 iir, byte[8];
};

static void hand_back(struct uart *u, const struct page *page)
{
	u8 tx;

	for (unsigned i = 0; i < page->sent; i++)
		assert_true(uart_write(u, 0, RBR, page->byte[i], &tx));
	uart_iir_left(u, page->iir);
}

static void fast_access(struct page *page, struct uart *whole, unsigned what, u8 byte)
{
	u8 tx = 0;

	if (what == 0) {
		assert_true(uart_write(whole, 0, RBR, byte, &tx));
		assert_int_equal(tx, byte);
		page->byte[page->sent++] = byte;
		page->iir = page->now.iir_sent;
	} else if (what == 1) {
		assert_int_equal(uart_read(whole, 0, IIR), page->iir);
		page->iir = page->now.iir_read;
	} else if (what == 2) {
		assert_int_equal(uart_read(whole, 0, LSR), page->now.lsr);
	} else {
		assert_int_equal(uart_read(whole, 0, MSR), page->now.msr);
	}
}

static void same_state(const struct uart *a, const struct uart *b)
{
	assert_int_equal(a->thre_pending, b->thre_pending);
	assert_int_equal(a->irq.level, b->irq.level);
	assert_int_equal(a->irq.fell, b->irq.fell);
	assert_int_equal(a->ier, b->ier);
	assert_int_equal(a->fcr, b->fcr);
	assert_int_equal(a->fifo_count, b->fifo_count);
}

static void by_page_or_asked(void **state)
{
	static const u8 setting[] = {0, 1, 2, 3, 7, 0xf};
	struct uart whole, by_page;
	unsigned fast = 0, interrupts = 0;

	srand(1);
	uart_init(&whole);
	by_page = whole;
	for (unsigned round = 0; round < 20000; round++) {
		unsigned what = (unsigned)rand() % 8, reg = what < 3 ? IER : what == 3 ? FCR : what == 4 ? MCR : RBR;
		u8 value = setting[(unsigned)rand() % 6], tx;
		struct page page = {.sent = 0};

		whole.irq.fell = by_page.irq.fell = false;
		if (what < 5) {
			uart_write(&whole, 0, reg, value, &tx);
			uart_write(&by_page, 0, reg, value, &tx);
		} else if (what == 5) {
			uart_input(&whole, 0, &value, 1);
			uart_input(&by_page, 0, &value, 1);
		} else {
			assert_int_equal(uart_read(&whole, 0, what == 6 ? IIR : RBR),
					 uart_read(&by_page, 0, what == 6 ? IIR : RBR));
		}
		if (!uart_plain_output(&by_page, &page.now))
			continue;
		page.iir = page.now.iir;
		for (unsigned i = (unsigned)rand() % 8; i; i--)
			fast_access(&page, &whole, (unsigned)rand() % 4, (u8)i);
		hand_back(&by_page, &page);
		same_state(&whole, &by_page);
		fast += page.sent;
		interrupts += page.sent && page.now.interrupts;
	}
	assert_true(fast > 1000 && interrupts > 100);
}

// A guest that scribbles over the page cannot raise or hide more than its own interrupt.
static void page_is_not_believed(void **state)
{
	struct uart u;
	u8 tx;

	uart_init(&u);
	uart_write(&u, 0, MCR, 8, &tx);
	uart_iir_left(&u, 0xc2);
	assert_false(u.irq.level);
	uart_write(&u, 0, IER, 2, &tx);
	assert_true(u.irq.level);
	for (unsigned iir = 0; iir < 256; iir++)
		if (iir != 1)
			uart_iir_left(&u, (u8)iir);
	assert_true(u.irq.level);
	uart_iir_left(&u, 1);
	assert_false(u.irq.level);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(linux_finds_a_16550a, start),
		cmocka_unit_test_setup(thre_rules, start),
		cmocka_unit_test_setup(thre_edges, start),
		cmocka_unit_test_setup(priorities, start),
		cmocka_unit_test_setup(input_through_queue, start),
		cmocka_unit_test_setup(trigger_and_timeout, start),
		cmocka_unit_test_setup(loopback, start),
		cmocka_unit_test_setup(divisor_latch, start),
		cmocka_unit_test(by_page_or_asked),
		cmocka_unit_test(page_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
