// SPDX-License-Identifier: MIT
// What a third-party header asks of a C library where there is none (mk/hypervisor.mk says for which files).
#ifndef BASE_LIBC_STDLIB_H
#define BASE_LIBC_STDLIB_H
#include <stddef.h>
void *malloc(size_t size); // declared, never called
void free(void *memory);
#endif
