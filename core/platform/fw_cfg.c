// SPDX-License-Identifier: MIT
// An item is at most eight bytes, computed when its bytes are read.
#include "core/platform/fw_cfg.h"

enum {
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_RAM_SIZE = 0x03,
	KEY_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_FILE_DIR = 0x19,
};
#define SIGNATURE 0x554d4551 // "QEMU"
#define ID_TRADITIONAL 1

void fw_cfg_init(struct fw_cfg *f, u64 ram_bytes, u16 cpus)
{
	*f = (struct fw_cfg){.ram_bytes = ram_bytes, .cpus = cpus};
}

void fw_cfg_select(struct fw_cfg *f, u16 key)
{
	f->selected = key;
	f->offset = 0;
}

// The item's value, little endian; *len its length. The directory's count of files is 0 in either byte order.
static u64 item(const struct fw_cfg *f, unsigned *len)
{
	*len = 4;
	switch (f->selected) {
	case KEY_SIGNATURE:
		return SIGNATURE;
	case KEY_ID:
		return ID_TRADITIONAL;
	case KEY_FILE_DIR:
		return 0;
	case KEY_RAM_SIZE:
		*len = 8;
		return f->ram_bytes;
	case KEY_CPUS:
	case KEY_MAX_CPUS:
		*len = 2;
		return f->cpus;
	default:
		*len = 0;
		return 0;
	}
}

u8 fw_cfg_read(struct fw_cfg *f)
{
	unsigned len;
	u64 value = item(f, &len);

	return f->offset < len ? (u8)(value >> 8 * f->offset++) : 0;
}
