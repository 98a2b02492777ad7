// SPDX-License-Identifier: MIT
// The few forms in which kernels store to page tables, decoded by hand: a decoder for all instructions costs more than the store.
#ifndef CORE_X86_PLAIN_STORE_H
#define CORE_X86_PLAIN_STORE_H

#include "base/types.h"

#define PLAIN_STORE_BYTES 16 // as many must be readable

struct plain_store {
	enum { STORE_REG, STORE_IMM, STORE_XCHG } kind;
	unsigned reg; // source, by its number in encodings
	s32 imm;
	unsigned length;
};

// MOV [m], r64; MOV [m], imm32; XCHG [m], r64. RIP-relative ones are none. False: another instruction.
bool plain_store_decode(const u8 *code, struct plain_store *s) MUST_CHECK;

#endif
