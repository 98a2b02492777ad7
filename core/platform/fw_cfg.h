// SPDX-License-Identifier: MIT
// QEMU's firmware configuration device (docs/specs/fw_cfg of QEMU), as far as kernels ask: signature, memory size, numbers of
// CPUs, an empty directory of files. By ports only, no DMA interface.
#ifndef CORE_PLATFORM_FW_CFG_H
#define CORE_PLATFORM_FW_CFG_H

#include "base/types.h"

#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511

struct fw_cfg {
	u64 ram_bytes;
	u16 cpus;
	u16 selected;
	u32 offset; // next byte of the selected item
};

void fw_cfg_init(struct fw_cfg *f, u64 ram_bytes, u16 cpus);
void fw_cfg_select(struct fw_cfg *f, u16 key);
u8 fw_cfg_read(struct fw_cfg *f); // past an item's end: 0

#endif
