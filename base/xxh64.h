// SPDX-License-Identifier: MIT
// XXH64, a fast 64-bit hash (the algorithm of the xxHash specification, 0.1.1): tells damage, not malice.
#ifndef BASE_XXH64_H
#define BASE_XXH64_H

#include "base/types.h"

u64 xxh64(const void *data, size_t n, u64 seed);

#endif
