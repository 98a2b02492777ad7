// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4) in plain C: the benchmark's integer work.
#ifndef BENCH_SHA256_H
#define BENCH_SHA256_H
#include <stddef.h>
#include <stdint.h>

// Hash of n bytes.
void sha256(const uint8_t *data, size_t n, uint8_t digest[32]);
#endif
