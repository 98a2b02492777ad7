// SPDX-License-Identifier: MIT
// Shadow paging under libFuzzer: the exerciser of the unit test (tests/unit/mmu_exercise.h) with its choices taken from the
// input, table limit and knobs among them; audits as it goes and at the end. A wrong outcome aborts with its description.
#include "tests/unit/mmu_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size, at;
	u64 state; // mixes a byte into a word; alone it goes on when the input is at its end
};

static u64 next(void *ctx)
{
	struct input *in = ctx;

	in->state = (in->state + (in->at < in->size ? in->data[in->at++] : 0) + 1) * 0x9e3779b97f4a7c15ull;
	return (in->state ^ in->state >> 29) * 0xbf58476d1ce4e5b9ull >> 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size, 0, 0};
	struct exercise *x;

	if (size < 8)
		return 0;
	x = ex_create(next, &in, MIN_TABLES + data[0]);
	shadow_tune(x->shadow, &(struct shadow_knobs){data[1] & 15, 1u << (data[2] % 10), 1u << (data[3] % 10), data[4] & 1});
	for (unsigned i = 0; in.at < in.size && i < 20000 && !x->failures; i++) {
		ex_step(x);
		if (i % 16 == 0)
			ex_audit(x);
	}
	ex_audit(x);
	if (x->failures)
		panic("step %lu: %s", (unsigned long)x->steps, x->first);
	if (!ex_destroy(x))
		panic("frames of the pool were not given back");
	return 0;
}
