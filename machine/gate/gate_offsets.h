// SPDX-License-Identifier: MIT
// Offsets that the gate's assembly uses; gate.c asserts each against the C structures of base/gate.h.
#ifndef MACHINE_GATE_OFFSETS_H
#define MACHINE_GATE_OFFSETS_H

#define VP_VIF 0
#define VP_SCRATCH 0x68
#define VP_CR3_REQUEST 0xc8
#define VP_CR3_REFUSED 0xd0
#define VP_GUEST_CR2 0xc0
#define VP_MARKER_CR2 0xd8
#define VP_PV_LENT 0x5c0
#define VP_PV_RETURNS 0x5c8
#define VP_PV_UPDATE 0x5d0
#define VP_PV_UPDATE_READ 0x5e0
#define VP_PV_USER_TABLE 0x5e8
#define VP_MARKER_LEFT 0x5f0
#define VP_PV_USER 0x5b0
#define VP_PV_KERNEL_SP 0x5b8
#define VP_GUEST_CS 0xe0 // and guest_ss: one word
#define VP_GUEST_CR3 0xe8
#define VP_STACK_TOP 0x1f0
#define VP_GPR 0x1f0
#define VP_REFLECT 0x3c8
#define VP_VECTOR 0x270
#define VP_ERROR 0x278
#define VP_RIP 0x280
#define VP_CS 0x288
#define VP_RFLAGS 0x290
#define VP_RSP 0x298
#define VP_SS 0x2a0
#define VP_CR2 0x2a8

#define GT_HV_CR3 0
#define GT_HV_STACK 8
#define GT_HV_ENTRY 16
#define GT_GUEST_CR3 24
#define GT_LSTAR_TC 32
#define GT_SYSCALL_KEEP 40
#define GT_SYSCALL_VIF 48
#define GT_HV_TRAP 56
#define GT_REFLECT_HANDLER 64
#define GT_REFLECT_RSP0 72
#define GT_EXIT_CR3 80
#define GT_CR3_MAP 88
#define GT_SYSCALL_CS 344 // and syscall_ss
#define GT_CR3_EXITS 352
#define GT_PV_INFO 360
#define GT_PV_SYSCALL 368
#define GT_PV_SYSCALL_MASKS 376
#define GT_PV_PAGE_FAULT 384
#define GT_PV_PAGE_FAULT_MASKS 392
#define GT_CR3_MASK 400
#define GT_PV_PORTS 408
#define GT_PV_LENT_TABLE 416
#define GT_PV_RESERVED 424
#define GT_PV_BASE 432

// What the gate reads of struct pv_frame (asserted in vmm/pv_window.c), and a value of its type.
#define PV_FRAME_USES 4
#define PV_FRAME_DONE 12
#define PV_FRAME_TYPE 14
#define PV_FRAME_SHIFT 4
#define PV_FRAME_WRITABLE 6

#define GATE_FAULT 0x1000         // or-ed into the vector: the gate's own IRETQ faulted
#define GATE_SYSCALL_EXIT 0x2000  // "vector": SYSCALL that the gate did not serve; error 1: from 32-bit code

#endif
