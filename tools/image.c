// SPDX-License-Identifier: MIT
#include "tools/image.h"

#include <string.h>

// Offsets in a bzImage, which begins with the real-mode header's sector.
enum {
	BZ_SETUP_SECTS = 0x1f1,
	BZ_SYSSIZE = 0x1f4,
	BZ_BOOT_FLAG = 0x1fe,
	BZ_MAGIC = 0x202,
	BZ_VERSION = 0x206,
	BZ_LOADFLAGS = 0x211,
	BZ_XLOADFLAGS = 0x236,
	BZ_CMDLINE_SIZE = 0x238,
	BZ_INIT_SIZE = 0x260,
	BZ_HEADER_END = 0x268,
};
#define BZ_BOOT_FLAG_VALUE 0xaa55
#define BZ_LOADED_HIGH 1u
#define BZ_VERSION_XLOADFLAGS 0x20c
#define XLF_KERNEL_64 1u
#define SECTOR 512u

static u32 le16(const u8 *p)
{
	return p[0] | (u32)p[1] << 8;
}

static u32 le32(const u8 *p)
{
	return le16(p) | le16(p + 2) << 16;
}

static void inspect_bzimage(struct image *img, const u8 *d, size_t size)
{
	img->kind = IMAGE_BZIMAGE;
	if (size < BZ_HEADER_END) {
		img->wrong = "bzImage whose header is cut short";
		return;
	}
	u64 setup = (d[BZ_SETUP_SECTS] ? d[BZ_SETUP_SECTS] : 4u) + 1u;

	if (le16(d + BZ_VERSION) < BZ_VERSION_XLOADFLAGS)
		img->wrong = "bzImage of a boot protocol before 2.12, without 64-bit entry";
	else if (!(d[BZ_LOADFLAGS] & BZ_LOADED_HIGH))
		img->wrong = "zImage, which loads low";
	else if (!(le16(d + BZ_XLOADFLAGS) & XLF_KERNEL_64))
		img->wrong = "bzImage without 64-bit entry (xloadflags)";
	else if (size < setup * SECTOR + (u64)le32(d + BZ_SYSSIZE) * 16)
		img->wrong = "bzImage that is cut short";
	img->cmdline_max = le32(d + BZ_CMDLINE_SIZE);
	img->run_bytes = le32(d + BZ_INIT_SIZE);
}

void image_inspect(struct image *img, const u8 *d, size_t size)
{
	*img = (struct image){.kind = IMAGE_UNKNOWN};
	if (size >= 5 && !memcmp(d, "\177ELF", 4)) {
		img->kind = d[4] == 2 ? IMAGE_ELF64 : IMAGE_ELF32;
	} else if (size >= BZ_BOOT_FLAG + 2 && le16(d + BZ_BOOT_FLAG) == BZ_BOOT_FLAG_VALUE &&
		   (size < BZ_MAGIC + 4 || !memcmp(d + BZ_MAGIC, "HdrS", 4))) {
		inspect_bzimage(img, d, size);
	} else if (size >= BZ_MAGIC + 4 && !memcmp(d + BZ_MAGIC, "HdrS", 4)) {
		img->kind = IMAGE_BZIMAGE;
		img->wrong = "bzImage with a bad boot flag";
	} else {
		img->wrong = size ? "no kernel of a known kind (bzImage or ELF)" : "empty";
	}
}
