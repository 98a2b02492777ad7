// SPDX-License-Identifier: MIT
// Memory and string functions of the freestanding build. Plain loops of eight bytes: REP forms go byte by byte on the
// emulated machines this is tested on. Compiled with -fno-tree-loop-distribute-patterns, or they would call themselves.
#include "base/string.h"

typedef u64 __attribute__((may_alias, aligned(1))) word;

#if !__STDC_HOSTED__
#undef memcpy
#endif
void *memcpy(void *restrict d, const void *restrict s, size_t n)
{
	u8 *to = d;
	const u8 *from = s;

	for (; n >= 32; n -= 32, to += 32, from += 32) {
		word a = ((const word *)from)[0], b = ((const word *)from)[1];
		word c = ((const word *)from)[2], e = ((const word *)from)[3];

		((word *)to)[0] = a;
		((word *)to)[1] = b;
		((word *)to)[2] = c;
		((word *)to)[3] = e;
	}
	for (; n >= 8; n -= 8, to += 8, from += 8)
		*(word *)to = *(const word *)from;
	while (n--)
		*to++ = *from++;
	return d;
}

void *memmove(void *d, const void *s, size_t n)
{
	u8 *to = d;
	const u8 *from = s;

	if (to <= from || to >= from + n) {
		// Ascending, each word read before it is written: right for to < from too.
		for (; n >= 8; n -= 8, to += 8, from += 8)
			*(word *)to = *(const word *)from;
		while (n--)
			*to++ = *from++;
		return d;
	}
	for (; n >= 8; n -= 8)
		*(word *)(to + n - 8) = *(const word *)(from + n - 8);
	while (n--)
		to[n] = from[n];
	return d;
}

void *memset(void *d, int c, size_t n)
{
	u64 v = (u8)c * 0x0101010101010101ull;
	u8 *to = d;

	for (; n >= 32; n -= 32, to += 32) {
		((word *)to)[0] = v;
		((word *)to)[1] = v;
		((word *)to)[2] = v;
		((word *)to)[3] = v;
	}
	for (; n >= 8; n -= 8, to += 8)
		*(word *)to = v;
	while (n--)
		*to++ = (u8)c;
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n >= 8 && *(const word *)x == *(const word *)y; n -= 8, x += 8, y += 8)
		;
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n && *a && *a == *b; n--)
		a++, b++;
	return n ? (u8)*a - (u8)*b : 0;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}
