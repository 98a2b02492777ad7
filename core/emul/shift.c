// SPDX-License-Identifier: MIT
// Shifts, rotates, bit tests and scans, CRC32 and BMI (SDM 2). Where the manual leaves a flag undefined we do what
// processors commonly do, but nothing may rely on it.
#include "core/emul/internal.h"

static u64 set_flags(u64 f, u64 mask, u64 value)
{
	return (f & ~mask) | (value & mask);
}

static unsigned shift_count(u64 src, unsigned bits)
{
	return (unsigned)(src & (bits == 64 ? 63 : 31));
}

static u64 sh_shl(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits);
	bool cf;
	u64 r;

	if (!n)
		return a;
	cf = n <= bits && ((a >> (bits - n)) & 1);
	r = n < bits ? (a << n) & width_mask(bits) : 0;
	*f = set_flags(*f, RFL_ARITH, flags_szp(r, bits) | flag_if(cf, RFL_CF) | flag_if(msb(r, bits) != cf, RFL_OF));
	return r;
}

static u64 sh_shr(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits);
	bool cf;
	u64 r;

	if (!n)
		return a;
	cf = n <= bits && ((a >> (n - 1)) & 1);
	r = n < bits ? a >> n : 0;
	*f = set_flags(*f, RFL_ARITH, flags_szp(r, bits) | flag_if(cf, RFL_CF) | flag_if(msb(a, bits), RFL_OF));
	return r;
}

static u64 sh_sar(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits);
	s64 s = (s64)sign_extend(a, bits);
	u64 r;

	if (!n)
		return a;
	r = (u64)(s >> n) & width_mask(bits);
	*f = set_flags(*f, RFL_ARITH, flags_szp(r, bits) | flag_if((s >> (n - 1)) & 1, RFL_CF));
	return r;
}

static u64 sh_rol(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits), k = n % bits;
	u64 r = k ? (a << k | a >> (bits - k)) & width_mask(bits) : a;

	if (!n)
		return a;
	*f = set_flags(*f, RFL_CF | RFL_OF, flag_if(r & 1, RFL_CF) | flag_if(msb(r, bits) != (r & 1), RFL_OF));
	return r;
}

static u64 sh_ror(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits), k = n % bits;
	u64 r = k ? (a >> k | a << (bits - k)) & width_mask(bits) : a;
	bool top = msb(r, bits), second = msb(r, bits - 1);

	if (!n)
		return a;
	*f = set_flags(*f, RFL_CF | RFL_OF, flag_if(top, RFL_CF) | flag_if(top != second, RFL_OF));
	return r;
}

static u64 sh_rcl(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits) % (bits + 1);
	bool cf = *f & RFL_CF;

	if (!shift_count(src, bits))
		return a;
	for (unsigned i = 0; i < n; i++) {
		bool out = msb(a, bits);

		a = (a << 1 | cf) & width_mask(bits);
		cf = out;
	}
	*f = set_flags(*f, RFL_CF | RFL_OF, flag_if(cf, RFL_CF) | flag_if(msb(a, bits) != cf, RFL_OF));
	return a;
}

static u64 sh_rcr(u64 a, u64 src, unsigned bits, u64 *f)
{
	unsigned n = shift_count(src, bits) % (bits + 1);
	bool cf = *f & RFL_CF;

	if (!shift_count(src, bits))
		return a;
	for (unsigned i = 0; i < n; i++) {
		bool out = a & 1;

		a = a >> 1 | (u64)cf << (bits - 1);
		cf = out;
	}
	*f = set_flags(*f, RFL_CF | RFL_OF, flag_if(cf, RFL_CF) | flag_if(msb(a, bits) != msb(a, bits - 1), RFL_OF));
	return a;
}

static emu_alu shift_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_SHL:
		return sh_shl;
	case ZYDIS_MNEMONIC_SHR:
		return sh_shr;
	case ZYDIS_MNEMONIC_SAR:
		return sh_sar;
	case ZYDIS_MNEMONIC_ROL:
		return sh_rol;
	case ZYDIS_MNEMONIC_ROR:
		return sh_ror;
	case ZYDIS_MNEMONIC_RCL:
		return sh_rcl;
	default:
		return sh_rcr;
	}
}

enum emul_result emu_op_shift(struct emu *x)
{
	u64 count;

	TRY(emu_get(x, 1, &count));
	return emu_rmw(x, shift_of(x->in.d.mnemonic), count, NULL);
}

// Double shifts: the function gets the filler and the count together, so they work through a wider value.
struct double_shift {
	u64 r;
	bool cf, of;
};

static struct double_shift shift_left(u64 a, u64 fill, unsigned n, unsigned bits)
{
	u128 wide = bits == 64 ? (u128)a << 64 | fill : (u128)(a << bits | fill);
	struct double_shift d;

	if (bits == 16 && n > 16) // undefined: processors go on with the destination
		wide = (u128)((fill << 16 | a) & 0xffffffff), n -= 16;
	d.r = (u64)(wide >> (bits - n)) & width_mask(bits);
	d.cf = (wide >> (2 * bits - n)) & 1;
	d.of = msb(d.r, bits) != msb(a, bits);
	return d;
}

static struct double_shift shift_right(u64 a, u64 fill, unsigned n, unsigned bits)
{
	u128 wide = bits == 64 ? (u128)fill << 64 | a : (u128)(fill << bits | a);
	struct double_shift d;

	if (bits == 16 && n > 16)
		wide = (u128)((a << 16 | fill) & 0xffffffff), n -= 16;
	d.r = (u64)(wide >> n) & width_mask(bits);
	d.cf = (wide >> (n - 1)) & 1;
	d.of = msb(d.r, bits) != msb(a, bits);
	return d;
}

enum emul_result emu_op_shld(struct emu *x)
{
	unsigned bits = emu_bits(x, 0), n;
	u64 a, fill, count;
	struct double_shift d;

	if (emu_is_mem(x, 0)) {
		a = 0;
		TRY(emu_read(x, emu_segment(x, 0), emu_offset(x, 0), &a, bits / 8, EMUL_RMW));
	} else {
		TRY(emu_get(x, 0, &a));
	}
	TRY(emu_get(x, 1, &fill));
	TRY(emu_get(x, 2, &count));
	n = shift_count(count, bits);
	if (!n)
		return emu_set(x, 0, a);
	d = x->in.d.mnemonic == ZYDIS_MNEMONIC_SHLD ? shift_left(a, fill, n, bits) : shift_right(a, fill, n, bits);
	TRY(emu_set(x, 0, d.r));
	x->cpu->rflags = set_flags(x->cpu->rflags, RFL_ARITH,
				   flags_szp(d.r, bits) | flag_if(d.cf, RFL_CF) | flag_if(d.of, RFL_OF));
	return EMUL_OK;
}

// Bit tests: src is the bit's number within the operand.
static u64 bit_keep(u64 a, u64 bit, unsigned bits, u64 *f)
{
	*f = set_flags(*f, RFL_CF, flag_if((a >> bit) & 1, RFL_CF));
	return a;
}

static u64 bit_set(u64 a, u64 bit, unsigned bits, u64 *f)
{
	return bit_keep(a, bit, bits, f) | 1ull << bit;
}

static u64 bit_reset(u64 a, u64 bit, unsigned bits, u64 *f)
{
	return bit_keep(a, bit, bits, f) & ~(1ull << bit);
}

static u64 bit_complement(u64 a, u64 bit, unsigned bits, u64 *f)
{
	return bit_keep(a, bit, bits, f) ^ 1ull << bit;
}

static emu_alu bit_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_BTS:
		return bit_set;
	case ZYDIS_MNEMONIC_BTR:
		return bit_reset;
	case ZYDIS_MNEMONIC_BTC:
		return bit_complement;
	default:
		return bit_keep;
	}
}

// A register bit number addresses a bit string around the memory operand (SDM 2, BT).
enum emul_result emu_op_bt(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	bool writes = x->in.d.mnemonic != ZYDIS_MNEMONIC_BT;
	u64 bit, at, old = 0, flags = x->cpu->rflags;
	emu_alu f = bit_of(x->in.d.mnemonic);

	TRY(emu_get(x, 1, &bit));
	if (!emu_is_mem(x, 0) && writes)
		return emu_rmw(x, f, bit & (bits - 1), NULL);
	if (!emu_is_mem(x, 0)) { // BT leaves the register alone, its upper half too
		f(emu_reg_get(x->cpu, x->in.op[0].reg.value), bit & (bits - 1), bits, &x->cpu->rflags);
		return EMUL_OK;
	}
	at = emu_offset(x, 0);
	if (x->in.op[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		s64 number = (s64)sign_extend(bit, bits);

		at += (u64)(number >> (bits == 64 ? 6 : bits == 32 ? 5 : 4)) * (bits / 8);
		at &= width_mask(x->in.d.address_width);
	}
	bit &= bits - 1;
	if (writes) {
		TRY(emu_rmw_at(x, emu_segment(x, 0), at, bits, emu_locked(x), f, bit, &old, &flags));
	} else {
		TRY(emu_read(x, emu_segment(x, 0), at, &old, bits / 8, EMUL_READ));
		f(old, bit, bits, &flags);
	}
	x->cpu->rflags = flags;
	return EMUL_OK;
}

static unsigned count_ones(u64 v)
{
	unsigned n = 0;

	for (; v; v &= v - 1)
		n++;
	return n;
}

// BSF, BSR, TZCNT, LZCNT, POPCNT.
enum emul_result emu_op_scan(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 v, r, f = 0;

	TRY(emu_get(x, 1, &v));
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
		x->cpu->rflags = set_flags(x->cpu->rflags, RFL_ARITH, flag_if(!v, RFL_ZF));
		if (!v) // the destination stays, all 64 bits of it
			return EMUL_OK;
		r = x->in.d.mnemonic == ZYDIS_MNEMONIC_BSF ? __builtin_ctzll(v) : 63 - __builtin_clzll(v);
		break;
	case ZYDIS_MNEMONIC_POPCNT:
		r = count_ones(v);
		f = flag_if(!v, RFL_ZF);
		x->cpu->rflags = set_flags(x->cpu->rflags, RFL_ARITH, f);
		break;
	default:
		if (!v)
			r = bits;
		else if (x->in.d.mnemonic == ZYDIS_MNEMONIC_TZCNT)
			r = __builtin_ctzll(v);
		else
			r = __builtin_clzll(v) - (64 - bits);
		f = flag_if(!v, RFL_CF) | flag_if(!r, RFL_ZF);
		x->cpu->rflags = set_flags(x->cpu->rflags, RFL_CF | RFL_ZF, f);
		break;
	}
	return emu_set(x, 0, r);
}

enum emul_result emu_op_crc32(struct emu *x)
{
	u64 src;
	u32 crc = (u32)emu_reg_get(x->cpu, x->in.op[0].reg.value);

	TRY(emu_get(x, 1, &src));
	for (unsigned i = 0; i < emu_bits(x, 1); i++) {
		u32 out = (crc ^ (u32)(src >> i)) & 1;

		crc = crc >> 1 ^ (out ? 0x82f63b78 : 0);
	}
	return emu_set(x, 0, crc);
}

static u64 deposit(u64 src, u64 mask)
{
	u64 r = 0;

	for (; mask; mask &= mask - 1, src >>= 1)
		if (src & 1)
			r |= mask & -mask;
	return r;
}

static u64 extract(u64 src, u64 mask)
{
	u64 r = 0;

	for (unsigned i = 0; mask; mask &= mask - 1, i++)
		if (src & mask & -mask)
			r |= 1ull << i;
	return r;
}

// BMI1 and BMI2 with a general destination. Flags of RORX, SARX.., PDEP, PEXT, MULX: untouched.
static enum emul_result bmi_plain(struct emu *x, u64 a, u64 b, unsigned bits)
{
	unsigned n = shift_count(b, bits);
	u64 r;
	u128 p;

	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_RORX:
		r = n ? a >> n | a << (bits - n) : a;
		break;
	case ZYDIS_MNEMONIC_SHLX:
		r = a << n;
		break;
	case ZYDIS_MNEMONIC_SHRX:
		r = a >> n;
		break;
	case ZYDIS_MNEMONIC_SARX:
		r = (u64)((s64)sign_extend(a, bits) >> n);
		break;
	case ZYDIS_MNEMONIC_PDEP:
		r = deposit(a, b);
		break;
	case ZYDIS_MNEMONIC_PEXT:
		r = extract(a, b);
		break;
	case ZYDIS_MNEMONIC_MULX: // op0 high, op1 low, op2 source; RDX implicit
		p = (u128)(x->cpu->gpr[R_RDX] & width_mask(bits)) * b;
		emu_reg_set(x->cpu, x->in.op[1].reg.value, (u64)p & width_mask(bits));
		r = (u64)(p >> bits);
		break;
	default:
		return EMUL_UNSUPPORTED;
	}
	return emu_set(x, 0, r & width_mask(bits));
}

enum emul_result emu_op_bmi(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 a, b = 0, r, f, start, len;

	TRY(emu_get(x, 1, &a));
	if (x->in.d.operand_count_visible > 2)
		TRY(emu_get(x, 2, &b));
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_ANDN:
		r = ~a & b, f = 0;
		break;
	case ZYDIS_MNEMONIC_BLSI:
		r = a & -a, f = flag_if(a, RFL_CF);
		break;
	case ZYDIS_MNEMONIC_BLSR:
		r = a & (a - 1), f = flag_if(!a, RFL_CF);
		break;
	case ZYDIS_MNEMONIC_BLSMSK:
		r = a ^ (a - 1), f = flag_if(!a, RFL_CF);
		break;
	case ZYDIS_MNEMONIC_BZHI:
		f = flag_if((b & 0xff) > bits - 1, RFL_CF);
		r = (b & 0xff) < bits ? a & width_mask((unsigned)b & 0xff) : a;
		break;
	case ZYDIS_MNEMONIC_BEXTR:
		start = b & 0xff;
		len = (b >> 8) & 0xff;
		r = start < 64 ? a >> start : 0;
		r = len < 64 ? r & ((1ull << len) - 1) : r;
		f = 0;
		break;
	default:
		return bmi_plain(x, a, b, bits);
	}
	r &= width_mask(bits);
	x->cpu->rflags = set_flags(x->cpu->rflags, RFL_ARITH, f | (flags_szp(r, bits) & (RFL_ZF | RFL_SF)));
	return emu_set(x, 0, r);
}
