// SPDX-License-Identifier: MIT
// Integer arithmetic and logic: ADD to XOR, INC to NOT, MUL to IDIV, ADCX/ADOX, decimal adjustments (SDM 2).
#include "core/emul/internal.h"

static u64 keep(u64 flags, u64 arith)
{
	return (flags & ~RFL_ARITH) | arith;
}

static u64 alu_add(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r;

	*f = keep(*f, flags_add(a, b & width_mask(bits), false, bits, &r));
	return r;
}

static u64 alu_adc(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r;

	*f = keep(*f, flags_add(a, b & width_mask(bits), *f & RFL_CF, bits, &r));
	return r;
}

static u64 alu_sub(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r;

	*f = keep(*f, flags_sub(a, b & width_mask(bits), false, bits, &r));
	return r;
}

static u64 alu_sbb(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r;

	*f = keep(*f, flags_sub(a, b & width_mask(bits), *f & RFL_CF, bits, &r));
	return r;
}

static u64 logic(u64 r, unsigned bits, u64 *f)
{
	r &= width_mask(bits);
	*f = keep(*f, flags_szp(r, bits));
	return r;
}

static u64 alu_and(u64 a, u64 b, unsigned bits, u64 *f)
{
	return logic(a & b, bits, f);
}

static u64 alu_or(u64 a, u64 b, unsigned bits, u64 *f)
{
	return logic(a | b, bits, f);
}

static u64 alu_xor(u64 a, u64 b, unsigned bits, u64 *f)
{
	return logic(a ^ b, bits, f);
}

static u64 alu_inc(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r, cf = *f & RFL_CF;

	*f = (keep(*f, flags_add(a, 1, false, bits, &r)) & ~RFL_CF) | cf;
	return r;
}

static u64 alu_dec(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r, cf = *f & RFL_CF;

	*f = (keep(*f, flags_sub(a, 1, false, bits, &r)) & ~RFL_CF) | cf;
	return r;
}

static u64 alu_neg(u64 a, u64 b, unsigned bits, u64 *f)
{
	u64 r;

	*f = keep(*f, flags_sub(0, a, false, bits, &r));
	return r;
}

static u64 alu_not(u64 a, u64 b, unsigned bits, u64 *f)
{
	return ~a & width_mask(bits);
}

emu_alu emu_alu_of(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ADD:
		return alu_add;
	case ZYDIS_MNEMONIC_ADC:
		return alu_adc;
	case ZYDIS_MNEMONIC_SUB:
		return alu_sub;
	case ZYDIS_MNEMONIC_SBB:
		return alu_sbb;
	case ZYDIS_MNEMONIC_AND:
		return alu_and;
	case ZYDIS_MNEMONIC_OR:
		return alu_or;
	case ZYDIS_MNEMONIC_XOR:
		return alu_xor;
	case ZYDIS_MNEMONIC_INC:
		return alu_inc;
	case ZYDIS_MNEMONIC_DEC:
		return alu_dec;
	case ZYDIS_MNEMONIC_NEG:
		return alu_neg;
	default:
		return alu_not;
	}
}

enum emul_result emu_op_alu(struct emu *x)
{
	u64 src;

	TRY(emu_get(x, 1, &src));
	return emu_rmw(x, emu_alu_of(x->in.d.mnemonic), src, NULL);
}

enum emul_result emu_op_unary(struct emu *x)
{
	return emu_rmw(x, emu_alu_of(x->in.d.mnemonic), 0, NULL);
}

static enum emul_result compare(struct emu *x, emu_alu f)
{
	u64 a, b;

	TRY(emu_get(x, 0, &a));
	TRY(emu_get(x, 1, &b));
	f(a, b, emu_bits(x, 0), &x->cpu->rflags);
	return EMUL_OK;
}

enum emul_result emu_op_cmp(struct emu *x)
{
	return compare(x, alu_sub);
}

enum emul_result emu_op_test(struct emu *x)
{
	return compare(x, alu_and);
}

// High and low halves of accumulator products and quotients: AH:AL, DX:AX, EDX:EAX, RDX:RAX.
static void set_pair(struct x86_cpu *cpu, unsigned bits, u64 hi, u64 lo)
{
	if (bits == 8) {
		emu_gpr_set(cpu, R_RAX, 16, (hi & 0xff) << 8 | (lo & 0xff));
		return;
	}
	emu_gpr_set(cpu, R_RAX, bits, lo);
	emu_gpr_set(cpu, R_RDX, bits, hi);
}

static void get_pair(const struct x86_cpu *cpu, unsigned bits, u64 *hi, u64 *lo)
{
	u64 m = width_mask(bits);

	*lo = cpu->gpr[R_RAX] & m;
	*hi = bits == 8 ? (cpu->gpr[R_RAX] >> 8) & m : cpu->gpr[R_RDX] & m;
}

// SF, ZF, AF and PF are undefined after a multiplication; we leave those of the low half, as recent processors do.
static void product_flags(struct x86_cpu *cpu, u64 lo, unsigned bits, bool over)
{
	u64 szp = flags_szp(lo, bits) & ~RFL_ZF;

	cpu->rflags = (cpu->rflags & ~(RFL_ARITH)) | szp | flag_if(over, RFL_CF | RFL_OF);
}

enum emul_result emu_op_mul(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 m = width_mask(bits), src, hi, lo;
	u128 p;

	TRY(emu_get(x, 0, &src));
	p = (u128)(x->cpu->gpr[R_RAX] & m) * src;
	lo = (u64)p & m;
	hi = (u64)(p >> bits) & m;
	set_pair(x->cpu, bits, hi, lo);
	product_flags(x->cpu, lo, bits, hi != 0);
	return EMUL_OK;
}

enum emul_result emu_op_imul(struct emu *x)
{
	unsigned bits = emu_bits(x, 0), n = x->in.d.operand_count_visible;
	bool over;
	u64 a, b, lo;
	s128 p;

	if (n == 1) {
		a = x->cpu->gpr[R_RAX];
		TRY(emu_get(x, 0, &b));
	} else {
		TRY(emu_get(x, n - 2, &a));
		TRY(emu_get(x, n - 1, &b));
	}
	p = (s128)(s64)sign_extend(a, bits) * (s64)sign_extend(b, bits);
	lo = (u64)p & width_mask(bits);
	over = p != (s128)(s64)sign_extend(lo, bits);
	if (n == 1)
		set_pair(x->cpu, bits, (u64)(p >> bits) & width_mask(bits), lo);
	else
		emu_reg_set(x->cpu, x->in.op[0].reg.value, lo);
	product_flags(x->cpu, lo, bits, over);
	return EMUL_OK;
}

// Schoolbook division: no run-time library here. Needs hi < by.
void emu_div_u128(u64 hi, u64 lo, u64 by, u64 *quotient, u64 *remainder)
{
	u64 q = 0;

	for (int i = 63; i >= 0; i--) {
		bool out = hi >> 63;

		hi = hi << 1 | ((lo >> i) & 1);
		q <<= 1;
		if (out || hi >= by) {
			hi -= by;
			q |= 1;
		}
	}
	*quotient = q;
	*remainder = hi;
}

static void divide(u64 hi, u64 lo, u64 by, unsigned bits, u64 *q, u64 *r)
{
	if (bits == 64) {
		emu_div_u128(hi, lo, by, q, r);
		return;
	}
	lo |= hi << bits;
	*q = lo / by;
	*r = lo % by;
}

enum emul_result emu_op_div(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 by, hi, lo, q, r;

	TRY(emu_get(x, 0, &by));
	get_pair(x->cpu, bits, &hi, &lo);
	if (hi >= by) // also by == 0
		return emu_fault(x, VEC_DE);
	divide(hi, lo, by, bits, &q, &r);
	set_pair(x->cpu, bits, r, q);
	return EMUL_OK;
}

enum emul_result emu_op_idiv(struct emu *x)
{
	unsigned bits = emu_bits(x, 0);
	u64 m = width_mask(bits), by, hi, lo, q, r;
	bool neg_dividend, neg_divisor, neg_quotient;

	TRY(emu_get(x, 0, &by));
	get_pair(x->cpu, bits, &hi, &lo);
	neg_dividend = msb(hi, bits);
	neg_divisor = msb(by, bits);
	neg_quotient = neg_dividend != neg_divisor;
	if (neg_dividend) {
		lo = -lo & m;
		hi = (~hi + (lo == 0)) & m;
	}
	if (neg_divisor)
		by = -by & m;
	if (hi >= by)
		return emu_fault(x, VEC_DE);
	divide(hi, lo, by, bits, &q, &r);
	if (q > (m >> 1) + neg_quotient)
		return emu_fault(x, VEC_DE);
	set_pair(x->cpu, bits, neg_dividend ? -r : r, neg_quotient ? -q : q);
	return EMUL_OK;
}

enum emul_result emu_op_adx(struct emu *x)
{
	u64 flag = x->in.d.mnemonic == ZYDIS_MNEMONIC_ADCX ? RFL_CF : RFL_OF;
	u64 a, b, r, f;

	TRY(emu_get(x, 0, &a));
	TRY(emu_get(x, 1, &b));
	f = flags_add(a, b, x->cpu->rflags & flag, emu_bits(x, 0), &r);
	emu_reg_set(x->cpu, x->in.op[0].reg.value, r);
	x->cpu->rflags = (x->cpu->rflags & ~flag) | flag_if(f & RFL_CF, flag);
	return EMUL_OK;
}

static void adjust_ascii(struct x86_cpu *cpu, int sign)
{
	u64 ax = cpu->gpr[R_RAX] & 0xffff, f = cpu->rflags & ~RFL_ARITH;

	if ((ax & 0xf) > 9 || (cpu->rflags & RFL_AF)) {
		ax += sign > 0 ? 0x106 : -0x106ull;
		f |= RFL_AF | RFL_CF;
	}
	ax &= 0xff0f;
	emu_gpr_set(cpu, R_RAX, 16, ax);
	cpu->rflags = f | flags_szp(ax & 0xff, 8);
}

static void adjust_decimal(struct x86_cpu *cpu, int sign)
{
	u64 al = cpu->gpr[R_RAX] & 0xff, old = al, f = cpu->rflags & ~RFL_ARITH;
	bool cf = cpu->rflags & RFL_CF, carry = false;

	if ((al & 0xf) > 9 || (cpu->rflags & RFL_AF)) {
		carry = cf || (sign > 0 ? al + 6 > 0xff : al < 6);
		al += sign > 0 ? 6 : -6ull;
		f |= RFL_AF;
	}
	if (old > 0x99 || cf) {
		al += sign > 0 ? 0x60 : -0x60ull;
		carry = true;
	} else if (sign > 0) {
		carry = false;
	}
	emu_gpr_set(cpu, R_RAX, 8, al);
	cpu->rflags = f | flag_if(carry, RFL_CF) | flags_szp(al & 0xff, 8);
}

static enum emul_result adjust_multiply(struct emu *x)
{
	struct x86_cpu *cpu = x->cpu;
	u64 al = cpu->gpr[R_RAX] & 0xff, ah = (cpu->gpr[R_RAX] >> 8) & 0xff, by, ax;

	TRY(emu_get(x, 0, &by));
	by &= 0xff;
	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_AAM) {
		if (!by)
			return emu_fault(x, VEC_DE);
		ax = (al / by) << 8 | al % by;
	} else {
		ax = (al + ah * by) & 0xff;
	}
	emu_gpr_set(cpu, R_RAX, 16, ax);
	cpu->rflags = keep(cpu->rflags, flags_szp(ax & 0xff, 8));
	return EMUL_OK;
}

// Decimal and ASCII adjustments: legacy modes only.
enum emul_result emu_op_bcd(struct emu *x)
{
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_AAA:
		adjust_ascii(x->cpu, 1);
		return EMUL_OK;
	case ZYDIS_MNEMONIC_AAS:
		adjust_ascii(x->cpu, -1);
		return EMUL_OK;
	case ZYDIS_MNEMONIC_DAA:
		adjust_decimal(x->cpu, 1);
		return EMUL_OK;
	case ZYDIS_MNEMONIC_DAS:
		adjust_decimal(x->cpu, -1);
		return EMUL_OK;
	case ZYDIS_MNEMONIC_SALC:
		emu_gpr_set(x->cpu, R_RAX, 8, x->cpu->rflags & RFL_CF ? 0xff : 0);
		return EMUL_OK;
	default:
		return adjust_multiply(x);
	}
}
