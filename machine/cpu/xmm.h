// SPDX-License-Identifier: MIT
#ifndef MACHINE_CPU_XMM_H
#define MACHINE_CPU_XMM_H

#include "base/types.h"

// Single SSE registers of whatever guest was last on this CPU. reg: 0 to 15.
void xmm_read(unsigned reg, u8 out[16]);
void xmm_write(unsigned reg, const u8 in[16]);

#endif
