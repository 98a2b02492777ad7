// SPDX-License-Identifier: MIT
// Kernel images of every kind against the bzImage loader: it writes inside RAM or not at all.
#include "core/platform/linux_boot.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY (256 * MIB)

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

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct guest_boot b = {.image = data,
			       .image_size = size,
			       .cmdline = "console=ttyS0",
			       .ramdisk = data,
			       .ramdisk_size = size,
			       .mem_low = MEMORY,
			       .write = on_write,
			       .zero = on_zero};
	u8 *image = NULL;
	struct x86_cpu cpu;

	written = 0;
	if (size >= 0x264) { // past the magic numbers, where the rest is decided
		image = malloc(size);
		memcpy(image, data, size);
		memcpy(image + 0x1fe, "\x55\xaa\xeb", 3);
		memcpy(image + 0x202, "HdrS\x0f\x02", 6);
		image[0x211] |= 1;
		image[0x236] |= 1;
		b.image = image;
	}
	if (linux_boot_load(&b, &cpu) != ST_OK && (written || !b.error[0]))
		abort();
	free(image);
	return 0;
}
