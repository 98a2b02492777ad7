// SPDX-License-Identifier: MIT
// Arithmetic flags of results: pure functions of operands and width (SDM 1, 3.4.3.1). Operands are masked to the width by
// the caller; results are too.
#ifndef CORE_X86_FLAGS_H
#define CORE_X86_FLAGS_H

#include "base/types.h"
#include "base/x86.h"

static inline u64 width_mask(unsigned bits)
{
	return bits >= 64 ? ~0ull : (1ull << bits) - 1;
}

static inline u64 sign_extend(u64 v, unsigned bits)
{
	return bits >= 64 ? v : (u64)((s64)(v << (64 - bits)) >> (64 - bits));
}

static inline bool msb(u64 v, unsigned bits)
{
	return (v >> (bits - 1)) & 1;
}

static inline u64 flag_if(bool set, u64 flag)
{
	return set ? flag : 0;
}

static inline u64 flags_parity(u64 r)
{
	unsigned nibble = (unsigned)((r ^ (r >> 4)) & 0xf);

	return (0x6996 >> nibble) & 1 ? 0 : RFL_PF;
}

static inline u64 flags_szp(u64 r, unsigned bits)
{
	return flag_if(r == 0, RFL_ZF) | flag_if(msb(r, bits), RFL_SF) | flags_parity(r);
}

static inline u64 flags_add(u64 a, u64 b, bool carry, unsigned bits, u64 *result)
{
	u64 r = (a + b + carry) & width_mask(bits);

	*result = r;
	return flags_szp(r, bits) | ((a ^ b ^ r) & RFL_AF) | flag_if(msb((a & b) | ((a | b) & ~r), bits), RFL_CF) |
	       flag_if(msb((a ^ r) & (b ^ r), bits), RFL_OF);
}

static inline u64 flags_sub(u64 a, u64 b, bool borrow, unsigned bits, u64 *result)
{
	u64 r = (a - b - borrow) & width_mask(bits);

	*result = r;
	return flags_szp(r, bits) | ((a ^ b ^ r) & RFL_AF) | flag_if(msb((~a & b) | (~(a ^ b) & r), bits), RFL_CF) |
	       flag_if(msb((a ^ b) & (a ^ r), bits), RFL_OF);
}

// Conditions in encoding order: O B Z BE S P L LE, odd ones negated (SDM 1, appendix B).
static inline bool flags_condition(u64 f, unsigned cc)
{
	bool sf_of = !!(f & RFL_SF) != !!(f & RFL_OF);
	bool r;

	switch (cc >> 1) {
	case 0:
		r = f & RFL_OF;
		break;
	case 1:
		r = f & RFL_CF;
		break;
	case 2:
		r = f & RFL_ZF;
		break;
	case 3:
		r = f & (RFL_CF | RFL_ZF);
		break;
	case 4:
		r = f & RFL_SF;
		break;
	case 5:
		r = f & RFL_PF;
		break;
	case 6:
		r = sf_of;
		break;
	default:
		r = sf_of || (f & RFL_ZF);
		break;
	}
	return r != (cc & 1);
}

#endif
