// SPDX-License-Identifier: MIT
// The world that system-instruction cases run in: page tables, descriptor tables, TSS, stacks and scratch pages at fixed
// addresses below 4 GiB, linear equal to physical. The test kernel and the host program build it with the same code.
#ifndef TESTS_SYSINSN_WORLD_H
#define TESTS_SYSINSN_WORLD_H

#include "base/types.h"
#include "base/x86.h"

#define WORLD 0x400000u
#define W_PML4 (WORLD + 0x0000)
#define W_PDPT (WORLD + 0x1000)
#define W_PD (WORLD + 0x2000)
#define W_PT (WORLD + 0x3000) // from here on restored before each case
#define W_GDT (WORLD + 0x4000)
#define W_LDT (WORLD + 0x5000)
#define W_IDT (WORLD + 0x6000)
#define W_TSS (WORLD + 0x7000) // with an I/O bitmap: three pages
#define W_TSS2 (WORLD + 0xa000)
#define W_DATA (WORLD + 0xb000)    // user, writable
#define W_RODATA (WORLD + 0xc000)  // user, read-only
#define W_KDATA (WORLD + 0xd000)   // supervisor, writable
#define W_HOLE (WORLD + 0xe000)    // not present
#define W_USTACK (WORLD + 0xf000)  // user, writable
#define W_KSTACK (WORLD + 0x10000) // stack of ring-0 cases
#define W_RESTORED_END (WORLD + 0x11000)
#define W_RSP0 (WORLD + 0x11000) // pages under the TSS's stack pointers
#define W_IST1 (WORLD + 0x12000)
#define W_IST2 (WORLD + 0x13000)
#define W_IST3 (WORLD + 0x14000)
#define W_SAVE (WORLD + 0x15000)  // registers at handler entry
#define W_STUBS (WORLD + 0x16000) // 256 entry stubs of 32 bytes: two pages
#define W_KCODE (WORLD + 0x18000) // supervisor code page, INT3 where there is nothing else
#define W_UCODE (WORLD + 0x19000) // user code page, the same
#define W_SIZE 0x1a000u
#define W_CODE_ALIAS 0x2000u // the code pages are mapped writable this far behind
#define W_CODE_AT 0x100u     // a case's bytes are here in its code page
#define W_STACK_AT 0x800u    // and its stack pointer here
#define W_STUB_SIZE 32u

// Selectors of the fixed descriptors.
#define S_KCS 0x08u
#define S_KDS 0x10u
#define S_UCS32 0x1bu // SYSRET's order
#define S_UDS 0x23u
#define S_UCS 0x2bu
#define S_KCS32 0x30u
#define S_TSS 0x40u
#define S_LDT 0x50u

// Slots of the GDT under test, in descriptors of 8 bytes. Sixteen types each.
#define T_FLAT0 16u  // present, DPL 0: code is 64-bit, data flat (expand-down: from 4 MiB on)
#define T_FLAT3 32u  // DPL 3
#define T_SMALL0 48u // DPL 0: code is 32-bit, data 4 KiB at W_DATA
#define T_SMALL3 64u
#define T_ABSENT0 80u // as T_FLAT0, not present
#define T_ABSENT3 96u
#define T_CODE16 112u // 8 types of 16-bit code, DPL 3
#define T_CODELD 120u // 8 types of code with L and D set, DPL 0
#define T_SYS0 128u   // 16 system types in two slots each, DPL 0
#define T_SYS3 160u
#define T_ODD 192u // LDT absent; TSS absent; TSS far away; LDT non-canonical; DPL 1 and 2 data; DPL 1 code
#define T_END 208u
#define GDT_LIMIT (T_END * 8 - 1)

// Selectors that cases go through: each slot under test, the fixed ones, the LDT's, null and beyond the limit. RPL 0.
#define WORLD_SELECTORS (T_END - T_FLAT0 + 22u)
u16 world_selector(unsigned i);

// I/O ports that the bitmap opens; nothing is there.
#define W_PORT 0x1230u

// The image starts as the world's first byte; stubs are addressed but not written.
void world_build(u8 *image);
u64 world_pattern(u64 at); // word of a stack or data page, aligned
u64 world_gate_low(u16 selector, u64 offset, unsigned ist, unsigned access);

static inline u64 world_stub(unsigned vector)
{
	return W_STUBS + vector * W_STUB_SIZE;
}

// Control registers of every case unless it says otherwise.
#define W_CR0 (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG)
#define W_CR4 (CR4_PAE | CR4_DE | CR4_OSFXSR | CR4_UMIP | CR4_FSGSBASE | CR4_SMEP | CR4_SMAP)
#define W_EFER (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define W_STAR ((u64)(S_UCS32) << 48 | (u64)S_KCS << 32)
#define W_SYSENTER_CS S_KCS
#define W_SYSENTER_ESP (W_KSTACK + 0x600)
#define W_SYSENTER_EIP (W_KCODE + 0x600)
#define W_PAT 0x0007040600070406ull

#endif
