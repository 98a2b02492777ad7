// SPDX-License-Identifier: MIT
// LINK: tools/unpack.c tools/tool.c
// LIBS: -llzma -lzstd -llz4 -lz
// Any bytes as a kernel's file, and as what follows each format's magic in the payload of a bzImage.
#include "tools/unpack.h"

#include <stdlib.h>
#include <string.h>

#include "tools/outlet.h"

#define MOST (4 * MIB)
#define STREAM_AT 1024u // one sector and the header's

static struct outlet complaints;

void outlet_add(struct outlet *o, const void *data, size_t n) {}

static void try(const u8 *data, size_t size)
{
	struct bytes file = {.data = (char *)data, .len = size}, elf = {0};

	if (unpack_kernel("kernel", &file, MOST, &elf) ? elf.len < 5 || memcmp(elf.data, "\177ELF", 4)
						       : elf.data || elf.len)
		abort();
	bytes_free(&elf);
}

static void try_payload(const char *magic, size_t magic_len, const u8 *data, size_t size)
{
	size_t total = STREAM_AT + magic_len + size;
	u32 payload = (u32)(magic_len + size);
	u8 *image = calloc(1, total);

	memcpy(image + 0x1fe, "\x55\xaa", 2);
	image[0x1f1] = 1;
	memcpy(image + 0x202, "HdrS\x08\x02", 6);
	memcpy(image + 0x24c, &payload, 4);
	memcpy(image + STREAM_AT, magic, magic_len);
	memcpy(image + STREAM_AT + magic_len, data, size);
	try(image, total);
	free(image);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct {
		const char *text;
		size_t len;
	} magic[] = {
		{"", 0},
		{"\x1f\x8b\x08\0", 4},                    // gzip, deflated
		{"\xfd\67zXZ\0\0\1\x69\x22\xde\x36", 12}, // xz's header with a checksum, CRC32
		{"\x5d", 2},
		{"\x28\xb5\x2f\xfd", 4},
		{"\x02\x21\x4c\x18", 4},
	};

	if (!size)
		return 0;
	complain_through(&complaints);
	if (data[0] % 8 >= ARRAY_SIZE(magic))
		try(data + 1, size - 1);
	else
		try_payload(magic[data[0] % 8].text, magic[data[0] % 8].len, data + 1, size - 1);
	return 0;
}
