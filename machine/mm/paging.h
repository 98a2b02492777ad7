// SPDX-License-Identifier: MIT
// The hypervisor world's own page tables. Every CPU has a root; all entries but slot 257 (the gate's) are the same in
// every root, because the tables below are shared and their PML4 entries are made once, before a second root exists.
// No global pages. Changes of rights must be followed by the caller's TLB flush on other CPUs.
#ifndef MACHINE_MM_PAGING_H
#define MACHINE_MM_PAGING_H

#include "base/status.h"
#include "base/types.h"
#include "base/x86.h"
#include "machine/boot/boot_info.h"
#include "machine/mm/frames.h"

// Rights for mm_map_page(); PTE_P is implied. NX is dropped on machines without it.
#define MAP_RO (PTE_NX)
#define MAP_RW (PTE_W | PTE_NX)
#define MAP_RX 0ull
#define MAP_IO (PTE_W | PTE_PCD | PTE_NX)

// Builds the direct map and the image's rights, switches to them. Needs frames.
void mm_init(const struct boot_info *bi);

// The first CPU's root, pattern of all others.
mpn_t mm_root_mpn(void);
u64 *mm_root(void);
// A copy of it with slot 257 empty; MPN_NONE when out of memory. Free it with frame_free().
mpn_t mm_new_root(void) MUST_CHECK;

// One 4K page; tables are allocated as needed. A page mapped before is replaced (and INVLPGed on this CPU).
MUST_CHECK enum status mm_map_page(u64 *root, u64 va, mpn_t mpn, u64 rights);
// Returns the frame that was there, MPN_NONE if none. Tables stay.
mpn_t mm_unmap_page(u64 *root, u64 va);
// Leaf entry for va (4K or 2M, as it is in the table), 0 when not mapped.
u64 mm_lookup(const u64 *root, u64 va);

// Device registers, uncached; for good. NULL when out of reach (512 GiB) or memory.
volatile void *map_io(u64 phys, u64 size);

#endif
