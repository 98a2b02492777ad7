// SPDX-License-Identifier: MIT
#ifndef MACHINE_CPU_XMM_H
#define MACHINE_CPU_XMM_H

#include "base/types.h"

// Single SSE registers of whatever guest was last on this CPU. reg: 0 to 15.
void fpu_read_xmm(unsigned reg, u8 out[16]);
void fpu_write_xmm(unsigned reg, const u8 in[16]);

// One FPU instruction and a RET at code, an address in a guest's translation cache as this CPU has it mapped; see xmm.S.
u64 fpu_run(u64 code, void *operand, u64 *flags, u64 *gpr);

#endif
