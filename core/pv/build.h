// SPDX-License-Identifier: MIT
// What a paravirtual guest finds when it starts (Xen's xen.h, "start of day"): its kernel at virt_base, mapped page by page with
// page 0 there, and behind it, each on pages of their own and mapped writable:
//
//   ramdisk          unless the kernel takes it by its page number: then behind all that follows, not mapped
//   list of frames   unless the kernel wants it elsewhere: then behind the mapped region, with its tables
//   start_info, ring of the store, ring of the console
//   page tables      mapped read-only
//   stack            one page
//
// The mapped region ends at a multiple of 4 MiB, 512 KiB or more behind the stack.
#ifndef CORE_PV_BUILD_H
#define CORE_PV_BUILD_H

#include "base/status.h"
#include "base/pv_image.h"

#define PV_BUILD_ERROR 160

struct pv_build {
	// In.
	const u8 *image;
	u64 image_size;
	const struct pv_image *parsed;
	const void *ramdisk; // may be NULL
	u64 ramdisk_size;
	const char *cmdline;
	u64 pages; // of the guest; all zero
	void *(*map)(void *ctx, ppn_t ppn);
	mpn_t (*mpn)(void *ctx, ppn_t ppn);
	void *ctx;
	mpn_t shared_info;
	u32 store_port, console_port; // event channels
	// Out.
	ppn_t root, store_page, console_page;
	u64 start_info, stack; // addresses, for RSI and RSP
	char error[PV_BUILD_ERROR];
};

// ST_NOMEM (memory too small), ST_INVALID (command line too long): the reason is in b->error and nothing was written.
enum status pv_build(struct pv_build *b) MUST_CHECK;

#endif
