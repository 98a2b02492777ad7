// SPDX-License-Identifier: MIT
// The frame allocator. Level 0: a bit per frame, 1 = free. Level 1: a bit per word of level 0, 1 = the word is not 0. A
// search starts at the lowest word that may have free frames (a hint), so low memory is used first and a sparse host
// need not back what was never used. For 64 GiB the maps take 2 MiB; no frame is touched before it is handed out.
//
// Invariant: a level-1 bit is set exactly when its level-0 word is not 0; counts.free is the number of level-0 bits.
#include "machine/mm/frames.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/string.h"
#include "machine/cpu/spinlock.h"

extern const char image_end[];

static struct {
	struct spinlock lock;
	u64 *map0, *map1;
	u64 words0, words1; // in use
	u64 hint;           // no free frame in a level-1 word below
	mpn_t limit;
	struct frame_counts counts;
	const struct boot_info *bi;
} frames;

static void set_free(mpn_t f)
{
	u64 w = f / 64;

	frames.map0[w] |= BIT(f % 64);
	frames.map1[w / 64] |= BIT(w % 64);
	frames.counts.free++;
	frames.hint = MIN(frames.hint, w / 64);
}

static void set_used(mpn_t f)
{
	u64 w = f / 64;

	frames.map0[w] &= ~BIT(f % 64);
	if (!frames.map0[w])
		frames.map1[w / 64] &= ~BIT(w % 64);
	frames.counts.free--;
}

static bool is_free(mpn_t f)
{
	return f < frames.limit && frames.map0[f / 64] >> (f % 64) & 1;
}

// Both ends in frames; usable ranges shrink to whole frames, others grow.
static void range_frames(const struct boot_range *r, mpn_t *from, mpn_t *to)
{
	u64 end = r->base + r->len;

	if (r->type == RANGE_USABLE) {
		*from = ROUND_UP(r->base, PAGE_SIZE) >> PAGE_SHIFT;
		*to = end >> PAGE_SHIFT;
	} else {
		*from = r->base >> PAGE_SHIFT;
		*to = ROUND_UP(end, PAGE_SIZE) >> PAGE_SHIFT;
	}
}

static mpn_t find_limit(const struct boot_info *bi)
{
	mpn_t from, to, limit = 0;

	for (u32 i = 0; i < bi->range_count; i++) {
		range_frames(&bi->ranges[i], &from, &to);
		if (bi->ranges[i].type == RANGE_USABLE && to > from)
			limit = MAX(limit, to);
	}
	return MIN(limit, SLOT_SIZE >> PAGE_SHIFT);
}

// Does [at, at + size) meet a range that is not to be used? If so, *next is that range's end.
static bool meets_reserved(const struct boot_info *bi, u64 at, u64 size, u64 *next)
{
	u64 image_end_phys = (u64)image_end - IMAGE_OFFSET;

	if (at < image_end_phys) {
		*next = image_end_phys;
		return true;
	}
	for (u32 i = 0; i < bi->range_count; i++) {
		const struct boot_range *r = &bi->ranges[i];

		if (r->type != RANGE_USABLE && at < r->base + r->len && r->base < at + size) {
			*next = r->base + r->len;
			return true;
		}
	}
	for (u32 i = 0; i < bi->module_count; i++) {
		const struct boot_module *m = &bi->modules[i];

		if (at < m->start + m->len && m->start < at + size) {
			*next = m->start + m->len;
			return true;
		}
	}
	return false;
}

// A place for the maps below 4 GiB, where the boot tables reach.
static u64 find_place(const struct boot_info *bi, u64 size)
{
	for (u32 i = 0; i < bi->range_count; i++) {
		const struct boot_range *r = &bi->ranges[i];
		u64 at = ROUND_UP(r->base, PAGE_SIZE), end = MIN(r->base + r->len, 4 * GIB), next;

		while (r->type == RANGE_USABLE && at + size <= end) {
			if (!meets_reserved(bi, at, size, &next))
				return at;
			at = ROUND_UP(next, PAGE_SIZE);
		}
	}
	panic("frames: no room for a bitmap of %lu KiB below 4 GiB", size / 1024);
}

static void mark_range(mpn_t from, mpn_t to, bool is_usable)
{
	to = MIN(to, frames.limit);
	for (mpn_t f = from; f < to; f++) {
		if (is_usable && !(f % 64) && to - f >= 64 && !frames.map0[f / 64]) {
			frames.map0[f / 64] = ~0ull; // a whole word: what makes big machines start fast
			frames.map1[f / 4096] |= BIT(f / 64 % 64);
			frames.counts.free += 64;
			f += 63;
		} else if (is_usable != is_free(f)) {
			if (is_usable)
				set_free(f);
			else
				set_used(f);
		}
	}
}

static void reserve_bytes(u64 start, u64 len)
{
	mark_range(start >> PAGE_SHIFT, ROUND_UP(start + len, PAGE_SIZE) >> PAGE_SHIFT, false);
}

void frames_init(const struct boot_info *bi)
{
	u64 bytes0, bytes1, place;
	mpn_t from, to;

	frames.bi = bi;
	frames.limit = find_limit(bi);
	frames.words0 = ROUND_UP(frames.limit, 4096) / 64;
	frames.words1 = frames.words0 / 64;
	bytes0 = frames.words0 * 8;
	bytes1 = frames.words1 * 8;
	place = find_place(bi, bytes0 + bytes1);
	frames.map0 = (u64 *)(DIRECT_BASE + place);
	frames.map1 = frames.map0 + frames.words0;
	memset(frames.map0, 0, bytes0 + bytes1);

	for (int usable = 1; usable >= 0; usable--) { // what is reserved wins where ranges overlap
		for (u32 i = 0; i < bi->range_count; i++) {
			range_frames(&bi->ranges[i], &from, &to);
			if ((bi->ranges[i].type == RANGE_USABLE) == usable)
				mark_range(from, to, usable);
		}
	}
	frames.counts.total = frames.counts.free;
	reserve_bytes(0, MIB);
	reserve_bytes(IMAGE_PHYS, (u64)image_end - IMAGE_OFFSET - IMAGE_PHYS);
	reserve_bytes(place, bytes0 + bytes1);
	for (u32 i = 0; i < bi->module_count; i++)
		reserve_bytes(bi->modules[i].start, bi->modules[i].len);
	frames.counts.reserved = frames.counts.total - frames.counts.free;
	frames.hint = 0;
}

static mpn_t take_lowest(void)
{
	for (; frames.hint < frames.words1; frames.hint++) {
		u64 m1 = frames.map1[frames.hint];

		if (m1) {
			u64 w = frames.hint * 64 + (u64)__builtin_ctzll(m1);
			mpn_t f = w * 64 + (u64)__builtin_ctzll(frames.map0[w]);

			set_used(f);
			return f;
		}
	}
	return MPN_NONE;
}

mpn_t frame_alloc(void)
{
	u64 flags = spin_lock_irqsave(&frames.lock);
	mpn_t f = take_lowest();

	spin_unlock_irqrestore(&frames.lock, flags);
	if (f != MPN_NONE)
		memset(frame_ptr(f), 0, PAGE_SIZE);
	return f;
}

// The first run of count free frames at or after a multiple of align.
static mpn_t find_run(u64 count, u64 align)
{
	mpn_t start = ROUND_UP(frames.hint * 4096, align);

	while (start + count <= frames.limit) {
		u64 n = 0;

		while (n < count && is_free(start + n))
			n++;
		if (n == count)
			return start;
		start += n + 1;
		while (start < frames.limit && !(start % 64) && !frames.map0[start / 64])
			start += 64;
		start = ROUND_UP(start, align);
	}
	return MPN_NONE;
}

mpn_t frames_alloc(u64 count, unsigned align_log2)
{
	u64 flags;
	mpn_t f;

	if (!count || count > frames.limit || align_log2 > 20)
		return MPN_NONE;
	flags = spin_lock_irqsave(&frames.lock);
	f = find_run(count, BIT(align_log2));
	for (u64 i = 0; f != MPN_NONE && i < count; i++)
		set_used(f + i);
	spin_unlock_irqrestore(&frames.lock, flags);
	if (f != MPN_NONE)
		memset(frame_ptr(f), 0, count * PAGE_SIZE);
	return f;
}

void frames_free(mpn_t first, u64 count)
{
	u64 flags = spin_lock_irqsave(&frames.lock);

	for (u64 i = 0; i < count; i++) {
		assert(first + i < frames.limit && !is_free(first + i));
		set_free(first + i);
	}
	spin_unlock_irqrestore(&frames.lock, flags);
}

void frame_free(mpn_t mpn)
{
	frames_free(mpn, 1);
}

void frames_release(u64 start, u64 len)
{
	mpn_t from = ROUND_UP(start, PAGE_SIZE) >> PAGE_SHIFT, to = (start + len) >> PAGE_SHIFT;
	u64 flags;

	if (to <= from)
		return;
	frames_free(from, to - from);
	flags = spin_lock_irqsave(&frames.lock);
	frames.counts.reserved -= to - from;
	spin_unlock_irqrestore(&frames.lock, flags);
}

struct frame_counts frame_counts(void)
{
	struct frame_counts c = frames.counts;

	c.used = c.total - c.free - c.reserved;
	return c;
}

mpn_t frame_limit(void)
{
	return frames.limit;
}

bool frame_is_ram(mpn_t mpn)
{
	bool usable = false;
	mpn_t from, to;

	for (u32 i = 0; i < frames.bi->range_count; i++) {
		range_frames(&frames.bi->ranges[i], &from, &to);
		if (mpn >= from && mpn < to) {
			if (frames.bi->ranges[i].type != RANGE_USABLE)
				return false;
			usable = true;
		}
	}
	return usable;
}
