// SPDX-License-Identifier: MIT
#include "tools/pvkernel.h"

#include <string.h>

#include "base/pv_image.h"
#include "tools/unpack.h"

#define SECTIONS_AT 40 // e_shoff; e_shnum and e_shstrndx
#define SECTION_COUNT_AT 60
#define HEADERS_AT 32 // e_phoff; e_phnum
#define HEADER_COUNT_AT 56
#define HEADER_BYTES 56u

// Behind the last segment come sections (symbols, if it was not stripped) and what the kernel's build put there for itself.
static void cut(struct bytes *elf)
{
	u64 headers, end = 0;
	u16 count;

	memcpy(&headers, elf->data + HEADERS_AT, sizeof(headers));
	memcpy(&count, elf->data + HEADER_COUNT_AT, sizeof(count));
	for (unsigned i = 0; i < count; i++) {
		u64 segment[2]; // offset, ... size
		const char *h = elf->data + headers + i * HEADER_BYTES;

		memcpy(&segment[0], h + 8, 8);
		memcpy(&segment[1], h + 32, 8);
		if (segment[0] < elf->len && segment[1] <= elf->len - segment[0])
			end = MAX(end, segment[0] + segment[1]);
	}
	memset(elf->data + SECTIONS_AT, 0, 8);
	memset(elf->data + SECTION_COUNT_AT, 0, 4);
	elf->len = MIN(elf->len, MAX(end, headers + count * HEADER_BYTES));
}

bool pv_kernel_prepare(const char *where, struct bytes *kernel, u64 *bytes)
{
	struct bytes elf = {0};
	struct pv_image image;

	if (!unpack_kernel(where, kernel, UNPACK_MOST, &elf))
		return false;
	bytes_free(kernel);
	*kernel = elf;
	if (!pv_image_parse(&image, (const u8 *)elf.data, elf.len))
		return complain("%s: %s", where, image.wrong);
	cut(kernel);
	*bytes = image.end - image.virt_base;
	return true;
}
