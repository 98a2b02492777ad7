// SPDX-License-Identifier: MIT
// Kernels in ELF or multiboot form, as far as a loader must know them: what goes where, and how it is entered. Shared by the
// host command, which refuses a bad file before anything starts, and the hypervisor's loader, which trusts nobody.
//
// Sources: System V ABI (ELF), Multiboot Specification 0.6.96, Xen's PVH boot protocol (misc/pvh.pandoc, elfnote.h).
#ifndef BASE_KERNEL_ELF_H
#define BASE_KERNEL_ELF_H

#include "base/types.h"

enum kernel_entry { KERNEL_MULTIBOOT, KERNEL_PVH };

#define KERNEL_PIECES 16

// file_bytes of the image from file_offset on go to gpa, zeroes follow up to mem_bytes.
struct kernel_piece {
	u64 file_offset, file_bytes, gpa, mem_bytes;
};

struct kernel_elf {
	enum kernel_entry entered;
	u32 entry;
	struct kernel_piece piece[KERNEL_PIECES];
	unsigned pieces;
	u64 start, end;      // of all pieces in guest-physical memory
	bool aligned_modules; // multiboot: modules begin on page boundaries
	const char *wrong;   // why it cannot be run
};

// True: an ELF file, or one with a multiboot header. Else other loaders are to be asked.
bool kernel_elf_probe(const u8 *image, u64 size);

// False: k->wrong says why. Pieces lie below 4 GiB, do not overlap each other, and their bytes are in the file.
bool kernel_elf_parse(struct kernel_elf *k, const u8 *image, u64 size) MUST_CHECK;

#endif
