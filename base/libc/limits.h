// SPDX-License-Identifier: MIT
// What a third-party header asks of a C library where there is none (mk/hypervisor.mk says for which files).
#ifndef BASE_LIBC_LIMITS_H
#define BASE_LIBC_LIMITS_H
#define UINT_MAX (~0u)
#define ULLONG_MAX (~0ull)
#endif
