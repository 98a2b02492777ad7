// SPDX-License-Identifier: MIT
// Log: each message is one line with the time since start, kept in a ring for `dmesg` and shown on COM1. Messages
// longer than LINE are cut. Works on every CPU and before the clock runs; in a panic it takes no lock.
#include "vmm/log.h"
#include "base/fmt.h"
#include "base/string.h"
#include "machine/cpu/spinlock.h"
#include "machine/cpu/traps.h"
#include "machine/io/serial.h"
#include "machine/irq/time.h"

#define LINE 512

static char ring[LOG_BYTES];
static u64 written; // bytes ever
static struct spinlock lock;
static enum log_level console_level = LOG_INFO;

void log_set_console_level(enum log_level level)
{
	console_level = level;
}

static void keep(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ring[written++ % LOG_BYTES] = s[i];
}

void log_print(enum log_level level, const char *fmt, ...)
{
	static const char *const tag[] = {"error: ", "warning: ", "", ""};
	u64 ns = time_ns(), flags = 0;
	bool locked = !panic_in_progress();
	char line[LINE];
	size_t n;
	va_list ap;

	n = (size_t)fmt_snprintf(line, sizeof(line), "[%5lu.%06lu] trapeze: %s", ns / 1000000000, ns / 1000 % 1000000,
				 tag[level]);
	va_start(ap, fmt);
	n += (size_t)fmt_vsnprintf(line + n, sizeof(line) - n - 2, fmt, ap);
	va_end(ap);
	n = MIN(n, sizeof(line) - 3);
	line[n++] = '\r';
	line[n++] = '\n';
	if (locked)
		flags = spin_lock_irqsave(&lock);
	keep(line, n - 2);
	keep("\n", 1);
	if (level <= console_level)
		serial_write(SERIAL_COM1, line, n);
	if (locked)
		spin_unlock_irqrestore(&lock, flags);
}

size_t log_read(u64 *at, char *buf, size_t n)
{
	u64 flags = spin_lock_irqsave(&lock);
	u64 oldest = written > LOG_BYTES ? written - LOG_BYTES : 0;
	size_t got = 0;

	*at = MAX(*at, oldest);
	while (got < n && *at < written)
		buf[got++] = ring[(*at)++ % LOG_BYTES];
	spin_unlock_irqrestore(&lock, flags);
	return got;
}
