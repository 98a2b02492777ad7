// SPDX-License-Identifier: MIT
// Hypercalls under libFuzzer: the exerciser of the unit test (tests/unit/pv_exercise.h) with its choices taken from the input. The audit
// as it goes; at the end the guest gives back all that it holds, and no frame may be in use.
#include "tests/unit/pv_exercise.h"

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
	static struct machine m;
	struct input in = {data, size, 0, 0};
	struct pv_x x = {.m = &m, .random = next, .ctx = &in};

	machine_start(&m);
	while (in.at < in.size && x.steps < 20000 && pv_x_alive(&x)) {
		pv_x_step(&x);
		if (x.steps % 16 == 0)
			pv_x_audit(&x);
	}
	pv_x_audit(&x);
	if (!machine_end(&m))
		panic("frames are in use after the end");
	return 0;
}
