// SPDX-License-Identifier: MIT
// A kernel for Xen's PV interface: an ELF64 file with Xen's notes. Source: Xen's elfnote.h, System V ABI (ELF).
#ifndef BASE_PV_IMAGE_H
#define BASE_PV_IMAGE_H

#include "base/types.h"

#define PV_PIECES 16

// file_bytes of the image from file_offset on go to va, zeroes follow up to mem_bytes.
struct pv_piece {
	u64 file_offset, file_bytes, va, mem_bytes;
};

struct pv_image {
	struct pv_piece piece[PV_PIECES];
	unsigned pieces;
	u64 virt_base;  // where the guest's page 0 is mapped
	u64 end;        // of all pieces
	u64 entry;
	u64 hypercall_page; // to be filled; 0: none
	u64 init_p2m;       // where it wants the list of its frames; 0: behind the kernel
	bool module_by_page; // the ramdisk need not be mapped
	const char *wrong;   // why it cannot be run
};

// False: i->wrong says why. Pieces lie in [virt_base, end), page 0 upwards, do not overlap, and their bytes are in the file.
bool pv_image_parse(struct pv_image *i, const u8 *image, u64 size) MUST_CHECK;

#endif
