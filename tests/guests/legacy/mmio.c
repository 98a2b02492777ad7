// SPDX-License-Identifier: MIT
// x87, MMX and SSE moves that meet a device: the local APIC's registers (SDM: 4 bytes, at multiples of 16).
#include "kernel.h"

#define LAPIC 0xfee00000u
#define ID 0x20
#define VERSION 0x30
#define DIVIDE 0x3e0 // readable and writable, without effect
#define INITIAL 0x380

static volatile u32 *reg(u32 offset)
{
	return (volatile u32 *)(LAPIC + offset);
}

static void loads(void)
{
	u32 version = *reg(VERSION), got[4] __attribute__((aligned(16)));

	asm volatile("fildl (%1)\n fistpl %0" : "=m"(got[0]) : "r"(reg(VERSION)) : "memory");
	check("x87 load of a register", got[0] == version);
	asm volatile("movd (%1), %%mm0\n movd %%mm0, %0\n emms" : "=m"(got[0]) : "r"(reg(VERSION)) : "memory");
	check("MMX load", got[0] == version);
	asm volatile("movd (%1), %%xmm0\n movups %%xmm0, %0" : "=m"(got) : "r"(reg(VERSION)) : "memory");
	check("SSE load of 4 bytes", got[0] == version && !got[1] && !got[2] && !got[3]);
	asm volatile("movss (%1), %%xmm1\n movaps %%xmm1, %0" : "=m"(got) : "r"(reg(VERSION)) : "memory");
	check("movss", got[0] == version && !got[1]);
}

static void stores(void)
{
	u32 v = 0xb, w = 0;

	asm volatile("fildl %0\n fistpl (%1)" ::"m"(v), "r"(reg(DIVIDE)) : "memory");
	check("x87 store", *reg(DIVIDE) == 0xb);
	asm volatile("movd %0, %%mm1\n movd %%mm1, (%1)\n emms" ::"m"(w), "r"(reg(DIVIDE)) : "memory");
	check("MMX store", *reg(DIVIDE) == 0);
	v = 3;
	asm volatile("movd %0, %%xmm2\n movd %%xmm2, (%1)" ::"m"(v), "r"(reg(DIVIDE)) : "memory");
	check("SSE store", *reg(DIVIDE) == 3);
	v = 8;
	asm volatile("movss %0, %%xmm3\n movss %%xmm3, (%1)" ::"m"(v), "r"(reg(DIVIDE)) : "memory");
	check("movss store", *reg(DIVIDE) == 8);
	asm volatile("movnti %0, (%1)" ::"r"(0xa), "r"(reg(DIVIDE)) : "memory");
	check("movnti", *reg(DIVIDE) == 0xa);
}

static void arithmetic(void)
{
	u32 version = *reg(VERSION), got = 0;
	u16 status;

	asm volatile("fldz\n fiaddl (%1)\n fistpl %0" : "=m"(got) : "r"(reg(VERSION)) : "memory");
	check("x87 arithmetic with a register", got == version);
	asm volatile("fldz\n fcomps (%1)\n fnstsw %%ax" : "=a"(status) : "r"(reg(VERSION)) : "memory");
	check("x87 comparison, status to ax", (status & 0x4500) != 0x4500);
	asm volatile("pxor %%xmm4, %%xmm4\n cvtsi2sd (%1), %%xmm4\n cvttsd2si %%xmm4, %0"
		     : "=r"(got)
		     : "r"(reg(VERSION)));
	check("conversion", got == version);
	asm volatile("lock orl $0, (%0)\n btl $0, (%0)" ::"r"(reg(DIVIDE)) : "memory", "cc");
	check("locked OR of a register", *reg(DIVIDE) == 0xa);
	asm volatile("xor %%ecx, %%ecx\n movd %1, %%xmm5\n pmovmskb %%xmm5, %0" : "=r"(got) : "r"(0x80008000) : "ecx");
	check("pmovmskb", got == 0xa);
	asm volatile("movd %1, %%xmm5\n pextrw $1, %%xmm5, %0" : "=r"(got) : "r"(0x12345678));
	check("pextrw", got == 0x1234);
}

void test_mmio(void)
{
	write_cr0((read_cr0() & ~0xcu) | 2); // MP, not EM, not TS
	write_cr4(read_cr4() | 0x600);
	asm volatile("fninit");
	loads();
	stores();
	arithmetic();
}
