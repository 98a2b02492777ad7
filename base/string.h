// SPDX-License-Identifier: MIT
// The memory and string functions that freestanding code may use; the host build gets libc's.
#ifndef BASE_STRING_H
#define BASE_STRING_H

#include "base/types.h"

void *memcpy(void *restrict d, const void *restrict s, size_t n);
void *memmove(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);

#if !__STDC_HOSTED__
#define memcpy(d, s, n) __builtin_memcpy(d, s, n) // a few bytes, their number known: moves instead of a call
#endif

#endif
