// SPDX-License-Identifier: MIT
// The hypervisor's log as `dmesg` sees it: the last LOG_BYTES of text. Writing is base/log.h.
#ifndef VMM_LOG_H
#define VMM_LOG_H

#include "base/log.h"

#define LOG_BYTES 65536

// Copies text from position *at (0: the oldest kept), moves *at on; returns how many bytes, 0 at the end.
size_t log_read(u64 *at, char *buf, size_t n);
// Messages above this level go to the ring only.
void log_set_console_level(enum log_level level);

#endif
