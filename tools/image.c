// SPDX-License-Identifier: MIT
#include "tools/image.h"

#include <string.h>

#include "base/kernel_elf.h"
#include "tools/bzimage.h"

#define BZ_LOADED_HIGH 1u
#define BZ_VERSION_MIN 0x20au // pref_address, init_size
#define BZ_HEADER_MOST 0x290u
#define BZ_ENTRY_64 0x200u
#define PREF_MIN 0x100000ull
#define PREF_MAX 0x100000000ull

// What the header says about itself, the kernel and where it wants to be: as the loader asks (core/platform/linux_boot.c).
static const char *corrupt_header(const u8 *d, u64 kernel)
{
	u64 end = BZ_MAGIC + d[BZ_JUMP + 1], pref = le32(d + BZ_PREF_ADDRESS) | (u64)le32(d + BZ_PREF_ADDRESS + 4) << 32;

	if (d[BZ_JUMP] != 0xeb || end < BZ_HEADER_END - 4 || end > BZ_HEADER_MOST)
		return "bzImage with a corrupt header (its length, at 0x201)";
	if (kernel <= BZ_ENTRY_64)
		return "bzImage with a corrupt header (syssize, at 0x1f4)";
	if (le32(d + BZ_INIT_SIZE) < kernel)
		return "bzImage with a corrupt header (init_size, at 0x260, is below the kernel's own size)";
	if (pref < PREF_MIN || pref > PREF_MAX || pref % 4096)
		return "bzImage with a corrupt header (pref_address, at 0x258)";
	if ((u64)le32(d + BZ_PAYLOAD) + le32(d + BZ_PAYLOAD_LENGTH) > kernel)
		return "bzImage with a corrupt header (the payload, at 0x248, does not lie in the kernel)";
	return NULL;
}

static void inspect_bzimage(struct image *img, const u8 *d, size_t size)
{
	img->kind = IMAGE_BZIMAGE;
	if (size < BZ_HEADER_END) {
		img->wrong = "bzImage whose header is cut short";
		return;
	}
	u64 setup = bz_kernel(d);

	if (le16(d + BZ_VERSION) < BZ_VERSION_MIN)
		img->wrong = "bzImage of a boot protocol before 2.10";
	else if (!(d[BZ_LOADFLAGS] & BZ_LOADED_HIGH))
		img->wrong = "zImage, which loads low";
	else if (size + 15 < setup + (u64)le32(d + BZ_SYSSIZE) * 16) // a multiple of 16, rounded up
		img->wrong = "bzImage that is cut short";
	else
		img->wrong = corrupt_header(d, MIN((u64)le32(d + BZ_SYSSIZE) * 16, size - setup));
	img->cmdline_max = le32(d + BZ_CMDLINE_SIZE);
	img->run_bytes = le32(d + BZ_INIT_SIZE);
	img->run_end = le32(d + BZ_PREF_ADDRESS) + img->run_bytes;
}

// A command line that is too long for it is the loader's to find: it puts one together.
static void inspect_elf(struct image *img, const u8 *d, size_t size)
{
	struct kernel_elf k;

	img->kind = IMAGE_ELF;
	if (kernel_elf_parse(&k, d, size))
		img->run_bytes = k.end;
	else
		img->wrong = k.wrong;
}

void image_inspect(struct image *img, const u8 *d, size_t size)
{
	*img = (struct image){.kind = IMAGE_UNKNOWN};
	if (size >= BZ_BOOT_FLAG + 2 && le16(d + BZ_BOOT_FLAG) == BZ_BOOT_FLAG_VALUE &&
		   (size < BZ_MAGIC + 4 || !memcmp(d + BZ_MAGIC, "HdrS", 4))) {
		inspect_bzimage(img, d, size);
	} else if (size >= BZ_MAGIC + 4 && !memcmp(d + BZ_MAGIC, "HdrS", 4)) {
		img->kind = IMAGE_BZIMAGE;
		img->wrong = "bzImage with a bad boot flag";
	} else if (kernel_elf_probe(d, size)) {
		inspect_elf(img, d, size);
	} else {
		img->wrong = size ? "no kernel of a known kind (bzImage, ELF or multiboot)" : "empty";
	}
}
