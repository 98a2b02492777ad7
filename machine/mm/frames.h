// SPDX-License-Identifier: MIT
// Machine frames: all usable RAM, one bit per frame and a summary bit per 64 of them. Never hands out the first MiB, the
// image, modules or its own bitmap. Safe on every CPU and in interrupt handlers.
#ifndef MACHINE_MM_FRAMES_H
#define MACHINE_MM_FRAMES_H

#include "base/types.h"
#include "machine/boot/boot_info.h"
#include "machine/mm/layout.h"

struct frame_counts {
	u64 total;    // usable frames that the memory map shows
	u64 free;     // can be allocated now
	u64 reserved; // image, modules, first MiB, the bitmap
	u64 used;     // handed out: total - free - reserved
};

void frames_init(const struct boot_info *bi);

// A zeroed frame; MPN_NONE when there is none.
mpn_t frame_alloc(void) MUST_CHECK;
void frame_free(mpn_t mpn);
// count frames in a row, the first a multiple of 2^align_log2 frames, zeroed; MPN_NONE when there are none.
mpn_t frames_alloc(u64 count, unsigned align_log2) MUST_CHECK;
void frames_free(mpn_t first, u64 count);
// Gives back a module's memory once its contents have been taken over (whole frames only).
void frames_release(u64 start, u64 len);
struct frame_counts frame_counts(void);
// One past the highest usable frame.
mpn_t frame_limit(void);
// Is it RAM that the memory map calls usable?
bool frame_is_ram(mpn_t mpn);

static inline void *frame_ptr(mpn_t mpn)
{
	return (void *)(DIRECT_BASE + (mpn << PAGE_SHIFT));
}

// The frame behind an address of the direct map.
static inline mpn_t ptr_mpn(const void *p)
{
	return ((u64)p - DIRECT_BASE) >> PAGE_SHIFT;
}

#endif
