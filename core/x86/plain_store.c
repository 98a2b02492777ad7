// SPDX-License-Identifier: MIT
#include "core/x86/plain_store.h"

#include "base/string.h"

#define REX_W 0x48
#define REX_R 4
#define REX_B 1

bool plain_store_decode(const u8 *code, struct plain_store *s)
{
	u8 rex = code[0], opcode = code[1], modrm = code[2];
	unsigned mod = modrm >> 6, rm = modrm & 7, n = 3;

	if ((rex & ~(REX_R | REX_B | 2)) != REX_W || mod == 3 || (opcode != 0x89 && opcode != 0xc7 && opcode != 0x87))
		return false;
	if (rm == 4) { // SIB
		if (mod == 0 && (code[n] & 7) == 5)
			n += 4;
		n++;
	} else if (mod == 0 && rm == 5) { // RIP-relative: not for page tables
		return false;
	}
	n += mod == 1 ? 1 : mod == 2 ? 4 : 0;
	s->reg = ((modrm >> 3) & 7) | ((rex & REX_R) ? 8 : 0);
	s->kind = opcode == 0x89 ? STORE_REG : opcode == 0x87 ? STORE_XCHG : STORE_IMM;
	if (s->kind == STORE_IMM) {
		if (s->reg & 7)
			return false;
		memcpy(&s->imm, code + n, 4);
		n += 4;
	}
	s->length = n;
	return true;
}
