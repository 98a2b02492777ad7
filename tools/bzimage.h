// SPDX-License-Identifier: MIT
// Offsets in a bzImage, which begins with the real-mode header's sector (Documentation/x86/boot.rst of Linux), and how to read them.
#ifndef TOOLS_BZIMAGE_H
#define TOOLS_BZIMAGE_H

#include "base/types.h"

enum {
	BZ_SETUP_SECTS = 0x1f1,
	BZ_SYSSIZE = 0x1f4,
	BZ_BOOT_FLAG = 0x1fe,
	BZ_JUMP = 0x200,
	BZ_MAGIC = 0x202,
	BZ_VERSION = 0x206,
	BZ_LOADFLAGS = 0x211,
	BZ_CMDLINE_SIZE = 0x238,
	BZ_PAYLOAD = 0x248, // from the protected-mode code on
	BZ_PAYLOAD_LENGTH = 0x24c,
	BZ_PREF_ADDRESS = 0x258,
	BZ_INIT_SIZE = 0x260,
	BZ_HEADER_END = 0x268,
};
#define BZ_BOOT_FLAG_VALUE 0xaa55
#define BZ_SECTOR 512u

static inline u32 le16(const u8 *p)
{
	return p[0] | (u32)p[1] << 8;
}

static inline u32 le32(const u8 *p)
{
	return le16(p) | le16(p + 2) << 16;
}

// Where the protected-mode code begins.
static inline u64 bz_kernel(const u8 *image)
{
	return ((image[BZ_SETUP_SECTS] ? image[BZ_SETUP_SECTS] : 4u) + 1u) * BZ_SECTOR;
}

#endif
