// SPDX-License-Identifier: MIT
// printf-style formatting without libc: %d %i %u %x %X %p %s %c %% with flags 0 - #, width, precision for %s, and the
// lengths l, ll, z. Always NUL-terminates when size > 0; returns the length that the whole text needs.
#ifndef BASE_FMT_H
#define BASE_FMT_H

#include <stdarg.h>
#include "base/types.h"

int fmt_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
int fmt_snprintf(char *buf, size_t size, const char *fmt, ...) PRINTF(3, 4);

#endif
