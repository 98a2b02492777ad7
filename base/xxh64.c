// SPDX-License-Identifier: MIT
#include "base/xxh64.h"

#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull
#define STRIPE 32

static u64 rotl(u64 x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static u64 load(const u8 *p, unsigned n)
{
	u64 v = 0;

	__builtin_memcpy(&v, p, n);
	return v;
}

static u64 lane(u64 acc, u64 input)
{
	return rotl(acc + input * P2, 31) * P1;
}

static u64 merge(u64 acc, u64 v)
{
	return (acc ^ lane(0, v)) * P1 + P4;
}

static u64 stripes(const u8 **at, const u8 *end, u64 seed)
{
	u64 v[4] = {seed + P1 + P2, seed + P2, seed, seed - P1}, acc;
	const u8 *p = *at;

	for (; end - p >= STRIPE; p += STRIPE)
		for (unsigned i = 0; i < 4; i++)
			v[i] = lane(v[i], load(p + 8ul * i, 8));
	acc = rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18);
	for (unsigned i = 0; i < 4; i++)
		acc = merge(acc, v[i]);
	*at = p;
	return acc;
}

u64 xxh64(const void *data, size_t n, u64 seed)
{
	const u8 *p = data, *end = p + n;
	u64 acc = n >= STRIPE ? stripes(&p, end, seed) : seed + P5;

	acc += n;
	for (; end - p >= 8; p += 8)
		acc = rotl(acc ^ lane(0, load(p, 8)), 27) * P1 + P4;
	for (; end - p >= 4; p += 4)
		acc = rotl(acc ^ load(p, 4) * P1, 23) * P2 + P3;
	for (; p < end; p++)
		acc = rotl(acc ^ *p * P5, 11) * P1;
	acc = (acc ^ acc >> 33) * P2;
	acc = (acc ^ acc >> 29) * P3;
	return acc ^ acc >> 32;
}
