// SPDX-License-Identifier: MIT
// Asserts stay on in every build; assert_slow() only in debug builds. panic() is a link-time port: the hypervisor's
// prints a report and stops the machine, the host build's prints and aborts.
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include "base/types.h"

NORETURN void panic(const char *fmt, ...) PRINTF(1, 2);
NORETURN void assert_failed(const char *expr, const char *file, int line);

#undef assert
#define assert(e) ((void)(likely(e) || (assert_failed(#e, __FILE__, __LINE__), 0)))
#ifdef TRAPEZE_DEBUG
#define assert_slow(e) assert(e)
#else
#define assert_slow(e) ((void)sizeof(e))
#endif

#endif
