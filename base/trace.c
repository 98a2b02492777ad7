// SPDX-License-Identifier: MIT
// The trace ring. A writer claims a slot by one atomic add, marks it as being written, fills it and publishes its
// sequence number last; a reader accepts a slot only if the number is the expected one before and after copying.
#include "base/trace.h"
#include "base/string.h"

_Static_assert(!(TRACE_RECORDS & (TRACE_RECORDS - 1)), "index by mask");
_Static_assert(TRACE_CATEGORY_COUNT <= 32, "one mask word");

u32 trace_mask = TRACE_TRAP | TRACE_VM | TRACE_CONTROL | TRACE_TEST;

struct trace_place (*trace_place)(void);

static struct trace_record ring[TRACE_RECORDS];
static u32 written;

static const char *const names[TRACE_CATEGORY_COUNT] = {
#define X(name, text, what) text,
	TRACE_CATEGORIES(X)
#undef X
};

void trace_write(unsigned category_bit, unsigned id, u64 a, u64 b, u64 c, u64 d)
{
	u32 n = __atomic_fetch_add(&written, 1, __ATOMIC_RELAXED);
	struct trace_record *r = &ring[n & (TRACE_RECORDS - 1)];

	__atomic_store_n(&r->seq, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	r->tsc = __builtin_ia32_rdtsc();
	r->category = (u8)category_bit;
	r->unused = 0;
	r->place = trace_place ? trace_place() : (struct trace_place){0, 0};
	r->id = (u16)id;
	r->arg[0] = a;
	r->arg[1] = b;
	r->arg[2] = c;
	r->arg[3] = d;
	__atomic_store_n(&r->seq, n + 1, __ATOMIC_RELEASE);
}

static bool read_number(u32 n, struct trace_record *out)
{
	const struct trace_record *r = &ring[n & (TRACE_RECORDS - 1)];

	if (__atomic_load_n(&r->seq, __ATOMIC_ACQUIRE) != n + 1)
		return false;
	*out = *r;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&r->seq, __ATOMIC_RELAXED) == n + 1;
}

bool trace_get(unsigned back, struct trace_record *out)
{
	u32 end = __atomic_load_n(&written, __ATOMIC_RELAXED);

	return back < TRACE_RECORDS && back < end && read_number(end - 1 - back, out);
}

unsigned trace_read(struct trace_record *out, unsigned max)
{
	u32 end = __atomic_load_n(&written, __ATOMIC_RELAXED);
	u32 count = MIN(MIN(end, TRACE_RECORDS), max);
	unsigned got = 0;

	for (u32 n = end - count; n != end; n++)
		if (read_number(n, &out[got]))
			got++;
	return got;
}

unsigned trace_read_after(u32 after, struct trace_record *out, unsigned max, u32 *lost)
{
	u32 end = trace_written(), kept = MIN(end, TRACE_RECORDS), n = after;
	unsigned got = 0;

	if (end - after > kept) // overwritten, or a number that was never given
		n = end - kept;
	*lost = after <= end ? n - after : 0;
	for (; n != end && got < max; n++) {
		if (read_number(n, &out[got]))
			got++;
		else
			++*lost;
	}
	return got;
}

u32 trace_written(void)
{
	return __atomic_load_n(&written, __ATOMIC_RELAXED);
}

const char *trace_category_name(unsigned bit)
{
	return bit < TRACE_CATEGORY_COUNT ? names[bit] : "?";
}

static bool name_mask(const char *s, size_t n, u32 *mask)
{
	if (n == 3 && !strncmp(s, "all", 3)) {
		*mask = TRACE_ALL;
		return true;
	}
	if (n == 4 && !strncmp(s, "none", 4)) {
		*mask = 0;
		return true;
	}
	for (unsigned i = 0; i < TRACE_CATEGORY_COUNT; i++) {
		if (strlen(names[i]) == n && !strncmp(s, names[i], n)) {
			*mask |= 1u << i;
			return true;
		}
	}
	return false;
}

bool trace_parse_mask(const char *list, u32 *mask)
{
	u32 m = 0;

	for (;;) {
		size_t n = 0;

		while (list[n] && list[n] != ',')
			n++;
		if (n && !name_mask(list, n, &m))
			return false;
		if (!list[n])
			break;
		list += n + 1;
	}
	*mask = m;
	return true;
}
