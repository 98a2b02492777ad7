// SPDX-License-Identifier: MIT
// A VGA in text mode: the buffer is memory, registers read what was written. What was there is put back.
#include "kernel.h"

static volatile u16 *const cells = (volatile u16 *)0xb8000;

static u8 get(u16 index_port, u8 index)
{
	outb(index_port, index);
	return inb(index_port + 1);
}

static bool holds(u16 index_port, u8 index, u8 value)
{
	u8 old = get(index_port, index);
	bool good;

	outb(index_port + 1, value);
	good = get(index_port, index) == value;
	outb(index_port + 1, old);
	return good && get(index_port, index) == old;
}

static void buffer(void)
{
	u16 first = cells[0], last = cells[0x3fff];
	bool good = true;

	for (unsigned i = 0; i < 0x4000; i += 511)
		cells[i] = (u16)(0x0700 + i);
	for (unsigned i = 0; i < 0x4000; i += 511)
		good &= cells[i] == (u16)(0x0700 + i);
	check("screen: cells keep what is written", good);
	cells[0x3fff] = 0x1234;
	*(volatile u8 *)&cells[0] = 'x';
	check("screen: by bytes, to the last cell", cells[0x3fff] == 0x1234 && (u8)cells[0] == 'x');
	cells[0] = first;
	cells[0x3fff] = last;
}

static void palette(void)
{
	bool good;

	outb(0x3c8, 200);
	for (u8 i = 0; i < 6; i++)
		outb(0x3c9, 7 * i);
	outb(0x3c7, 201);
	good = inb(0x3c9) == 21 && inb(0x3c9) == 28 && inb(0x3c9) == 35;
	check("screen: palette", good);
}

static void attributes(void)
{
	inb(0x3da);
	outb(0x3c0, 0x32); // colour plane enable, palette in use
	check("screen: attribute controller, index then data", inb(0x3c1) == 0x0f);
	outb(0x3c0, 0x07);
	inb(0x3da);
	outb(0x3c0, 0x32);
	check("screen: attribute controller, the status resets it", inb(0x3c1) == 0x07);
	outb(0x3c0, 0x0f);
	inb(0x3da);
}

static bool changes(u8 bit)
{
	u8 first = inb(0x3da) & bit;

	for (unsigned i = 0; i < 10000000; i++)
		if ((inb(0x3da) & bit) != first)
			return true;
	return false;
}

void test_screen(void)
{
	buffer();
	check("screen: mode 3", get(0x3d4, 1) == 79 && (inb(0x3cc) & 1) && get(0x3ce, 6) == 0x0e && get(0x3c4, 4) == 2);
	check("screen: cursor", holds(0x3d4, 0x0e, 0x05) && holds(0x3d4, 0x0f, 0xa7));
	check("screen: sequencer and graphics controller", holds(0x3c4, 2, 0x0f) && holds(0x3ce, 8, 0x5a));
	check("screen: timing registers are protected", !(get(0x3d4, 0x11) & 0x80) || !holds(0x3d4, 0, 0x11));
	palette();
	attributes();
	check("screen: retrace", changes(8));
	check("screen: blanking", changes(1));
}
