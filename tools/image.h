// SPDX-License-Identifier: MIT
// What kind of kernel a file is, and what its header says before anything runs it (Documentation/x86/boot.rst of Linux
// for the bzImage). Pure: bytes in, answer out.
#ifndef TOOLS_IMAGE_H
#define TOOLS_IMAGE_H

#include "base/types.h"

enum image_kind { IMAGE_BZIMAGE, IMAGE_ELF, IMAGE_UNKNOWN };

struct image {
	enum image_kind kind;
	u64 run_bytes;     // memory that the kernel needs in one piece until it has set itself up; 0: not known
	u64 run_end;       // where that ends in guest-physical memory, 0: not known
	u32 cmdline_max;   // longest command line it takes, 0: not known
	const char *wrong; // why it cannot be run, NULL: nothing found
};

void image_inspect(struct image *img, const u8 *data, size_t size);

#endif
