// SPDX-License-Identifier: MIT
#include "base/xxh64.h"

#define XXH_INLINE_ALL
#define XXH_VECTOR 0 // XXH_SCALAR: no vector registers in the hypervisor
#include <xxhash.h>

u64 xxh64(const void *data, size_t n, u64 seed)
{
	return XXH64(data, n, seed);
}
