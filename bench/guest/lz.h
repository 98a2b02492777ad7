// SPDX-License-Identifier: MIT
// A small LZ77 compressor and its inverse: the benchmark's byte-wise work, with look-ups that depend on data.
#ifndef BENCH_LZ_H
#define BENCH_LZ_H
#include <stddef.h>
#include <stdint.h>

// What n bytes take at worst.
#define LZ_BOUND(n) ((n) + (n) / 128 + 16)

// Both return how many bytes they wrote to `to`; lz_expand 0 when the input is not what lz_compress makes, or larger than `room`.
size_t lz_compress(const uint8_t *from, size_t n, uint8_t *to);
size_t lz_expand(const uint8_t *from, size_t n, uint8_t *to, size_t room);

// Fills n bytes with text: made-up words, common ones more often, the same bytes every time.
void lz_text(uint8_t *to, size_t n);
#endif
