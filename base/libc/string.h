// SPDX-License-Identifier: MIT
// What a third-party header asks of a C library where there is none (mk/hypervisor.mk says for which files).
#ifndef BASE_LIBC_STRING_H
#define BASE_LIBC_STRING_H
#include "base/string.h"
#endif
