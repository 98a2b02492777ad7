// SPDX-License-Identifier: MIT
// Fixed-width types and the few macros that every layer uses.
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef unsigned __int128 u128;
typedef __int128 s128;

// Page numbers (see docs/design: MPN machine, PPN guest-physical, VPN virtual).
typedef u64 mpn_t;
typedef u64 ppn_t;
#define MPN_NONE ((mpn_t)~0ull)
#define PPN_NONE ((ppn_t)~0ull)

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (PAGE_SIZE - 1)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ROUND_UP(x, to) (((x) + (to)-1) & ~((__typeof__(x))(to)-1))
#define ROUND_DOWN(x, to) ((x) & ~((__typeof__(x))(to)-1))
#define BIT(n) (1ull << (n))
#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define NORETURN __attribute__((noreturn))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PACKED __attribute__((packed))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#endif
