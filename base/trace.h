// SPDX-License-Identifier: MIT
// Trace: one ring of fixed-size records, written without locks from any CPU; categories are bits of one mask. A record
// costs a test of the mask when its category is off. Readers copy; a record being overwritten while it is read is told
// by its sequence number.
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "abi/trace.h"
#include "base/types.h"

enum {
#define X(name, text, what) TRACE_##name##_BIT,
	TRACE_CATEGORIES(X)
#undef X
		TRACE_CATEGORY_COUNT
};
enum {
#define X(name, text, what) TRACE_##name = 1u << TRACE_##name##_BIT,
	TRACE_CATEGORIES(X)
#undef X
		TRACE_ALL = (1u << TRACE_CATEGORY_COUNT) - 1
};

#define TRACE_RECORDS 4096 // power of two

// Where a record was written: CPU, and the VM that it had loaded by its number (0: none).
struct trace_place {
	u32 vm;
	u16 cpu;
};

struct trace_record {
	u64 tsc;
	u32 seq;     // number of the record, from 1; 0: being written
	u8 category; // bit number
	u8 unused;
	u16 id; // meaning of the arguments, per category (abi/trace.h)
	struct trace_place place;
	u64 arg[4];
};

extern u32 trace_mask;
// Set once, before other CPUs start; without it every record is CPU 0's.
extern struct trace_place (*trace_place)(void);

void trace_write(unsigned category_bit, unsigned id, u64 a, u64 b, u64 c, u64 d);
// Copies the newest max records, oldest of them first; returns how many.
unsigned trace_read(struct trace_record *out, unsigned max);
// The same for the oldest that follow record number `after`; *lost counts those in between that the ring does not hold any more.
unsigned trace_read_after(u32 after, struct trace_record *out, unsigned max, u32 *lost);
u32 trace_written(void); // number of the newest
// The record `back` steps before the newest (0: the newest); false when there is none.
bool trace_get(unsigned back, struct trace_record *out);
const char *trace_category_name(unsigned bit);
// Mask of a comma-separated list of category names, "all" and "none"; false when a name is unknown.
bool trace_parse_mask(const char *list, u32 *mask);

#define trace(cat, id, a, b, c, d)                                                                  \
	do {                                                                                        \
		if (unlikely(trace_mask & TRACE_##cat))                                             \
			trace_write(TRACE_##cat##_BIT, id, (u64)(a), (u64)(b), (u64)(c), (u64)(d)); \
	} while (0)

#endif
