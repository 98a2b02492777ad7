// SPDX-License-Identifier: MIT
// The hypervisor world's address map, one PML4 slot (512 GiB) per purpose. docs/memory-map.md shows it as a table.
// Slot 257 is the gate's (base/gate.h) and is the only one in which the CPUs' roots differ.
#ifndef MACHINE_MM_LAYOUT_H
#define MACHINE_MM_LAYOUT_H

#define IMAGE_OFFSET 0xffff810000000000 // slot 258: the image at IMAGE_OFFSET + its physical address
#define IMAGE_PHYS 0x200000             // where loaders put it
#define DIRECT_BASE 0xffff818000000000  // slot 259: all RAM, at DIRECT_BASE + physical, never executable
#define IO_BASE 0xffff878000000000      // slot 271: device registers, uncached, at IO_BASE + physical
#define CPU_BASE 0xffff880000000000     // slot 272: per-CPU blocks of the CPUs that the first one started
#define SLOT_SIZE 0x8000000000

#define BOOT_SLOT_IMAGE 258
#define BOOT_SLOT_DIRECT 259

// One block per CPU, aligned to its size, so that this_cpu() is the stack pointer rounded down:
// page 0 struct pcpu; 1-8 four IST stacks of two pages; 9 guard, not mapped; 10-15 the stack.
#define CPU_BLOCK_SIZE 0x10000
#define CPU_IST_OFFSET 0x1000
#define CPU_IST_SIZE 0x2000
#define CPU_GUARD_OFFSET 0x9000

#define TRAMPOLINE_PHYS 0x8000 // real-mode entry of the other CPUs; below 1 MiB, page aligned

#endif
