// SPDX-License-Identifier: MIT
// Decoding over Zydis: the one place that knows how instruction bytes become a structure. Emulator and translator share it.
#ifndef CORE_X86_INSN_H
#define CORE_X86_INSN_H

#include <Zydis/Zydis.h>
#include "base/types.h"

struct insn {
	ZydisDecodedInstruction d;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	u8 bytes[15];
	u8 length;
};

enum insn_mode { INSN_MODE_64, INSN_MODE_32, INSN_MODE_16 };

// Decodes at most `available` bytes. False: not an instruction, or it needs more bytes than there are.
bool insn_decode(struct insn *in, enum insn_mode mode, const void *bytes, size_t available);

// The same with the reason: INSN_SHORT asks for more bytes (fetch the next page), INSN_LONG exceeds 15 bytes (#GP),
// INSN_BAD is no instruction or misuses LOCK (#UD).
enum insn_status { INSN_OK, INSN_SHORT, INSN_LONG, INSN_BAD };
enum insn_status insn_decode_status(struct insn *in, enum insn_mode mode, const void *bytes, size_t available);
// Without the hidden operands (half of the decoder's time). Operands that were not decoded have type UNUSED, and nothing
// else of them is defined; that holds for insn_decode, too.
enum insn_status insn_decode_visible(struct insn *in, enum insn_mode mode, const void *bytes, size_t available);

// Encoding-order number (0..15) of a general register of any width; -1 for none or AH..BH and other classes.
int insn_gpr_number(ZydisRegister reg);

#endif
