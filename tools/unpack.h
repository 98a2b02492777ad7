// SPDX-License-Identifier: MIT
// The kernel proper out of a bzImage: an ELF file that a VM which is not entered like a PC can be started with.
#ifndef TOOLS_UNPACK_H
#define TOOLS_UNPACK_H

#include "tools/tool.h"

// More than any kernel is when unpacked.
#define UNPACK_MOST GIB

// Into `elf` (empty before) goes the ELF64 kernel of at most `most` bytes that is packed in a bzImage, and whatever its build
// put behind it there (x86: relocations); a file that is an ELF already goes there as it is. Else false, `elf` is empty, and
// there is a complaint that begins with `path`.
bool unpack_kernel(const char *path, const struct bytes *file, u64 most, struct bytes *elf) MUST_CHECK;

#endif
