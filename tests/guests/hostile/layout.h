// SPDX-License-Identifier: MIT
// Where the hostile kernel has what, as its assembly and its C code see it. Physical and virtual addresses are the same.
#ifndef TESTS_HOSTILE_LAYOUT_H
#define TESTS_HOSTILE_LAYOUT_H

#ifdef __ASSEMBLER__
#define WIDE(n) n
#else
#define WIDE(n) n##ull
#endif

#define KERNEL_CR0 0x80010033 // PG WP NE ET MP PE
#define KERNEL_CR4 0x620      // PAE OSFXSR OSXMMEXCPT
#define KERNEL_EFER 0xd01     // NXE LMA LME SCE

#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UCODE32 0x1b
#define SEL_UDATA 0x23
#define SEL_UCODE 0x2b
#define SEL_TSS_HERE 0x30 // 16 bytes
#define SEL_LDT_HERE 0x40 // 16 bytes
#define SEL_SPARE 0x50

// 2 MiB pages: the image; what attacks of ring 0 may write; what ring 3 may.
#define IMAGE_AT WIDE(0x200000)
#define KPAGE WIDE(0x400000)
#define UPAGE WIDE(0x600000)
#define TABLES WIDE(0x800000) // forged page tables, not mapped for attacks
#define KCODE_AT (KPAGE + 0x1000)
#define KSTACK_TOP (KPAGE + 0x20000)
#define KDATA_AT (KPAGE + 0x30000)
#define IST_TOP (KPAGE + 0x1f0000)
#define RSP0_TOP (KPAGE + 0x1e0000)
#define ATTACK_FRAME (KPAGE + 0x1d0000)
#define UCODE_AT (UPAGE + 0x1000)
#define USTACK_TOP (UPAGE + 0x20000)
#define UDATA_AT (UPAGE + 0x30000)
#define MEMORY_END WIDE(0x2000000) // the VM file says 32 MiB

#endif
