// SPDX-License-Identifier: MIT
// Kernel images against the ELF and multiboot loader: it writes inside RAM or not at all, and reads inside the image.
#include "core/platform/elf_boot.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY (64 * MIB)

static u64 written;

static void check(u64 gpa, u64 len)
{
	written += len;
	if (gpa + len < gpa || gpa + len > MEMORY || (gpa < 0x100000 && gpa + len > 0x9fc00))
		abort();
}

static void on_write(void *ctx, u64 gpa, const void *bytes, u64 len)
{
	const volatile u8 *p = bytes;

	check(gpa, len);
	if (len) // the sanitizer sees a read past the image
		(void)(p[0] + p[len - 1]);
}

static void on_zero(void *ctx, u64 gpa, u64 len)
{
	check(gpa, len);
}

// The first byte chooses what is put in place, where the rest is decided: an ELF's magic, a multiboot header with or without
// addresses, a PVH note.
static void help(u8 *image, size_t size, unsigned choice)
{
	u32 flags = choice & 1 ? BIT(16) : 0;

	if ((choice & 2) && size >= 6)
		memcpy(image, choice & 4 ? "\177ELF\002\001" : "\177ELF\001\001", 6);
	if ((choice & 8) && size >= 0x90) {
		u32 header[3] = {0x1badb002, flags, -(0x1badb002 + flags)};

		memcpy(image + 0x80, header, sizeof(header));
	}
	if ((choice & 16) && size >= 0xc0)
		memcpy(image + 0xa0, "\4\0\0\0\4\0\0\0\22\0\0\0Xen", 16);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct guest_boot b = {.name = "k", .cmdline = "console=ttyS0", .mem_low = MEMORY, .write = on_write, .zero = on_zero};
	struct x86_cpu cpu;
	u8 *image;

	if (!size)
		return 0;
	image = malloc(size);
	memcpy(image, data + 1, size - 1);
	help(image, size - 1, data[0]);
	b.image = b.ramdisk = image;
	b.image_size = size - 1;
	b.ramdisk_size = (data[0] & 32) ? size - 1 : 0;
	written = 0;
	if (elf_boot_load(&b, &cpu) != ST_OK && (written || !b.error[0]))
		abort();
	free(image);
	return 0;
}
