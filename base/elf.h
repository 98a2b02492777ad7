// SPDX-License-Identifier: MIT
// What the readers of kernels in ELF form share (System V ABI). The file is hostile.
#ifndef BASE_ELF_H
#define BASE_ELF_H

#include "base/string.h"
#include "base/types.h"

#define EM_X86_64 62
#define PT_LOAD 1
#define PT_NOTE 4
#define ELF_HEADERS_MAX 128u // program headers

static inline u64 elf_le(const u8 *p, unsigned bytes)
{
	u64 v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static inline bool elf_within(u64 offset, u64 bytes, u64 size)
{
	return offset <= size && bytes <= size - offset;
}

#endif
