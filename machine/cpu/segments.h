// SPDX-License-Identifier: MIT
// Segment registers and their bases: the guest's stay loaded while the hypervisor runs, which uses none of them.
#ifndef MACHINE_CPU_SEGMENTS_H
#define MACHINE_CPU_SEGMENTS_H

#include "base/assert.h"
#include "base/types.h"
#include "base/x86.h"

#define SEG_LAR_PRESENT (1u << 15)

static inline u16 read_segment(unsigned seg)
{
	u16 v = 0;

	switch (seg) {
	case SEG_ES:
		asm volatile("mov %%es, %0" : "=r"(v));
		break;
	case SEG_DS:
		asm volatile("mov %%ds, %0" : "=r"(v));
		break;
	case SEG_FS:
		asm volatile("mov %%fs, %0" : "=r"(v));
		break;
	case SEG_GS:
		asm volatile("mov %%gs, %0" : "=r"(v));
		break;
	default:
		panic("segment %u", seg);
	}
	return v;
}

// Whether the selector can be loaded into a data segment register.
static inline bool segment_loadable(u16 sel)
{
	bool readable;
	u32 rights = 0;

	asm volatile("verr %1" : "=@ccz"(readable) : "r"(sel));
	if (readable)
		asm volatile("lar %1, %0" : "+r"(rights) : "r"((u32)sel) : "cc");
	return rights & SEG_LAR_PRESENT;
}

// The selector must be loadable at CPL 0; FS and GS bases are lost.
static inline void write_segment(unsigned seg, u16 v)
{
	switch (seg) {
	case SEG_ES:
		asm volatile("mov %0, %%es" ::"r"(v));
		break;
	case SEG_DS:
		asm volatile("mov %0, %%ds" ::"r"(v));
		break;
	case SEG_FS:
		asm volatile("mov %0, %%fs" ::"r"(v));
		break;
	case SEG_GS:
		asm volatile("mov %0, %%gs" ::"r"(v));
		break;
	default:
		panic("segment %u", seg);
	}
}

static inline u64 rdfsbase(void)
{
	u64 v;

	asm volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static inline u64 rdgsbase(void)
{
	u64 v;

	asm volatile("rdgsbase %0" : "=r"(v));
	return v;
}

static inline void wrfsbase(u64 v)
{
	asm volatile("wrfsbase %0" ::"r"(v));
}

static inline void wrgsbase(u64 v)
{
	asm volatile("wrgsbase %0" ::"r"(v));
}

#endif
