// SPDX-License-Identifier: MIT
// Architectural state of one virtual CPU as the guest believes it to be (SDM 3A chapter 2). Rings, selectors, RIP and
// flags here are always the guest's, never those that the machine runs it with.
#ifndef CORE_X86_CPU_H
#define CORE_X86_CPU_H

#include "base/types.h"
#include "base/x86.h"

// attr: descriptor bits 40..55 packed as in VMCS access rights: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15;
// bit 16: unusable (null).
#define SEG_ATTR_S BIT(4)
#define SEG_ATTR_DPL(a) (((a) >> 5) & 3)
#define SEG_ATTR_P BIT(7)
#define SEG_ATTR_L BIT(13)
#define SEG_ATTR_DB BIT(14)
#define SEG_ATTR_G BIT(15)
#define SEG_ATTR_UNUSABLE BIT(16)

struct x86_segment {
	u16 selector;
	u32 attr;
	u32 limit; // in bytes, granularity applied
	u64 base;
};

struct x86_table {
	u64 base;
	u16 limit;
};

struct x86_cpu {
	u64 gpr[16];
	u64 rip;
	u64 rflags; // guest's, IF and IOPL included
	struct x86_segment seg[6]; // by SEG_*
	struct x86_segment ldtr, tr;
	struct x86_table gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, cr8;
	u64 dr[8];
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, tsc_aux, apic_base, mtrr_def;
	u64 xcr0;
	u64 mce[40], misc_enable; // machine-check banks: CTL, STATUS, ADDR, MISC of each
	bool halted;
	bool interrupt_shadow; // STI or MOV SS executed: no interrupt before the next instruction
	bool nmi_blocked;
};

struct x86_fault {
	u8 vector;
	bool has_error;
	u32 error;
	u64 cr2; // for #PF
};

static inline unsigned cpu_cpl(const struct x86_cpu *c)
{
	// Real mode: 0. SS.DPL is CPL otherwise.
	return (c->cr0 & CR0_PE) ? (c->rflags & RFL_VM) ? 3 : SEG_ATTR_DPL(c->seg[SEG_SS].attr) : 0;
}

// 64-bit mode.
static inline bool cpu_long_mode(const struct x86_cpu *c)
{
	return (c->efer & EFER_LMA) && (c->seg[SEG_CS].attr & SEG_ATTR_L);
}

// 64-bit or compatibility mode: paging is on and there is no virtual-8086 mode.
static inline bool cpu_lma(const struct x86_cpu *c)
{
	return c->efer & EFER_LMA;
}

#endif
