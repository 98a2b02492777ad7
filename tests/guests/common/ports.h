// SPDX-License-Identifier: MIT
// Bytes by ports, for test kernels.
#ifndef TESTS_GUESTS_PORTS_H
#define TESTS_GUESTS_PORTS_H

#include <stdint.h> // for 32-bit kernels, too

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

#endif
