// SPDX-License-Identifier: MIT
// Segment registers and descriptor tables: loads with all checks of SDM 3A 3.4-3.5 and 5.4-5.6, LGDT to STR, and the
// instructions that ask about descriptors (LAR, LSL, VERR, VERW, ARPL).
//
// Invariant: seg[SEG_SS].attr's DPL is the CPL in protected mode, also while SS holds a null selector.
#include "core/emul/internal.h"

#include "base/string.h"

void emu_desc_unpack(u64 raw, u16 sel, struct x86_segment *s)
{
	u32 limit = (u32)(raw & 0xffff) | ((u32)(raw >> 32) & 0xf0000);

	s->selector = sel;
	s->base = ((raw >> 16) & 0xffffff) | ((raw >> 56) << 24);
	s->attr = (u32)(raw >> 40) & 0xf0ff;
	s->limit = s->attr & SEG_ATTR_G ? limit << 12 | 0xfff : limit;
}

void emu_segment_null(struct x86_segment *s, u16 sel, unsigned dpl)
{
	*s = (struct x86_segment){.selector = sel, .attr = SEG_ATTR_UNUSABLE | dpl << 5};
}

void emu_segment_real(struct x86_cpu *cpu, unsigned seg, u16 sel)
{
	bool v86 = cpu->cr0 & CR0_PE;
	struct x86_segment *s = &cpu->seg[seg];

	s->selector = sel;
	s->base = (u64)sel << 4;
	if (v86) {
		s->limit = 0xffff;
		s->attr = 0xf3;
	}
}

void emu_segment_notify(struct emu *x, unsigned seg)
{
	if (x->p->segment_loaded)
		x->p->segment_loaded(x->ctx, seg);
}

// Flat code and stack segments as SYSCALL, SYSRET, SYSENTER and SYSEXIT make them.
void emu_code_flat(struct x86_cpu *cpu, u16 cs, u16 ss, unsigned cpl, bool is64)
{
	cpu->seg[SEG_CS] = (struct x86_segment){.selector = cs,
						.limit = 0xffffffff,
						.attr = 0x9b | cpl << 5 | (u32)(is64 ? SEG_ATTR_L : SEG_ATTR_DB) |
							(u32)SEG_ATTR_G};
	cpu->seg[SEG_SS] = (struct x86_segment){.selector = ss,
						.limit = 0xffffffff,
						.attr = 0x93 | cpl << 5 | (u32)(SEG_ATTR_DB | SEG_ATTR_G)};
}

// Where a descriptor of `bytes` is; false beyond the table's limit.
static bool desc_address(const struct x86_cpu *cpu, u16 sel, unsigned bytes, u64 *at)
{
	u32 offset = sel & ~7u;
	u64 base = cpu->gdtr.base, limit = cpu->gdtr.limit;

	if (sel & 4) {
		if (cpu->ldtr.attr & SEG_ATTR_UNUSABLE || !(cpu->ldtr.attr & SEG_ATTR_P))
			return false;
		base = cpu->ldtr.base;
		limit = cpu->ldtr.limit;
	}
	*at = base + offset;
	return offset + bytes - 1 <= limit;
}

enum emul_result emu_desc_read(struct emu *x, u16 sel, unsigned vector, u32 ext, struct emu_desc *d)
{
	d->high = 0;
	if (!desc_address(x->cpu, sel, 8, &d->at))
		return emu_fault_code(x, vector, (sel & 0xfffc) | ext);
	return emu_sys_read(x, d->at, &d->raw, 8);
}

enum emul_result emu_desc_read16(struct emu *x, u16 sel, struct emu_desc *d)
{
	u64 both[2] = {0, 0};
	unsigned bytes = emu_lma(x) ? 16 : 8;

	if (!desc_address(x->cpu, sel, bytes, &d->at))
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	TRY(emu_sys_read(x, d->at, both, bytes));
	d->raw = both[0];
	d->high = both[1];
	return EMUL_OK;
}

enum emul_result emu_desc_mark(struct emu *x, struct emu_desc *d)
{
	u8 type;

	if (DESC_TYPE(d->raw) & TYPE_ACCESSED)
		return EMUL_OK;
	d->raw |= 1ull << 40;
	type = (u8)(d->raw >> 40);
	return emu_sys_write(x, d->at + 5, &type, 1);
}

static enum emul_result load_null(struct emu *x, unsigned seg, u16 sel)
{
	unsigned cpl = cpu_cpl(x->cpu);

	if (seg == SEG_SS && (!emu_long(x) || cpl == 3 || (sel & 3u) != cpl))
		return emu_gp0(x);
	emu_segment_null(&x->cpu->seg[seg], sel, seg == SEG_SS ? cpl : 0);
	emu_segment_notify(x, seg);
	return EMUL_OK;
}

// Data-segment rules of SDM 3A 5.5 and 5.7.
static bool segment_allowed(const struct emu *x, unsigned seg, u16 sel, u64 raw)
{
	unsigned cpl = cpu_cpl(x->cpu), rpl = sel & 3, dpl = DESC_DPL(raw), type = DESC_TYPE(raw);

	if (!DESC_S(raw))
		return false;
	if (seg == SEG_SS)
		return rpl == cpl && dpl == cpl && !(type & TYPE_CODE) && (type & TYPE_WRITE);
	if ((type & TYPE_CODE) && !(type & 2)) // execute-only
		return false;
	if ((type & TYPE_CODE) && (type & TYPE_CONFORMING))
		return true;
	return rpl <= dpl && cpl <= dpl;
}

enum emul_result emu_segment_load(struct emu *x, unsigned seg, u16 sel)
{
	struct emu_desc d;

	if (!emu_protected(x)) {
		emu_segment_real(x->cpu, seg, sel);
		emu_segment_notify(x, seg);
		return EMUL_OK;
	}
	if (!(sel & 0xfffc))
		return load_null(x, seg, sel);
	TRY(emu_desc_read(x, sel, VEC_GP, 0, &d));
	if (!segment_allowed(x, seg, sel, d.raw))
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	if (!DESC_P(d.raw))
		return emu_fault_code(x, seg == SEG_SS ? VEC_SS : VEC_NP, sel & 0xfffc);
	TRY(emu_desc_mark(x, &d));
	emu_desc_unpack(d.raw, sel, &x->cpu->seg[seg]);
	emu_segment_notify(x, seg);
	return EMUL_OK;
}

enum emul_result emu_mov_sreg(struct emu *x)
{
	const ZydisDecodedOperand *to = &x->in.op[0];
	u64 v;

	TRY(emu_get(x, 1, &v));
	if (to->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return emu_write_op(x, 0, &v, 2);
	if (!emu_is_segment_register(to->reg.value))
		return emu_set(x, 0, v);
	if (to->reg.value == ZYDIS_REGISTER_CS)
		return emu_ud(x);
	TRY(emu_segment_load(x, (unsigned)(to->reg.value - ZYDIS_REGISTER_ES), (u16)v));
	x->shadow = to->reg.value == ZYDIS_REGISTER_SS;
	return EMUL_OK;
}

// LDS, LES, LFS, LGS, LSS: offset, then selector.
enum emul_result emu_op_lxs(struct emu *x)
{
	static const struct {
		ZydisMnemonic m;
		unsigned seg;
	} which[] = {{ZYDIS_MNEMONIC_LDS, SEG_DS},
		     {ZYDIS_MNEMONIC_LES, SEG_ES},
		     {ZYDIS_MNEMONIC_LFS, SEG_FS},
		     {ZYDIS_MNEMONIC_LGS, SEG_GS},
		     {ZYDIS_MNEMONIC_LSS, SEG_SS}};
	unsigned bytes = emu_bits(x, 0) / 8, i = 0;
	u64 offset = 0;
	u16 sel;

	while (which[i].m != x->in.d.mnemonic)
		i++;
	TRY(emu_read_op(x, 1, &offset, bytes));
	TRY(emu_read(x, emu_segment(x, 1), emu_offset(x, 1) + bytes, &sel, 2, EMUL_READ));
	TRY(emu_segment_load(x, which[i].seg, sel));
	return emu_set(x, 0, offset);
}

void emu_table_notify(struct emu *x, unsigned which)
{
	if (x->p->table_loaded)
		x->p->table_loaded(x->ctx, which);
}

enum emul_result emu_op_lgdt(struct emu *x)
{
	bool gdt = x->in.d.mnemonic == ZYDIS_MNEMONIC_LGDT;
	u8 image[10] = {0};
	struct x86_table t;

	TRY(emu_need_cpl0(x));
	TRY(emu_read_op(x, 0, image, emu_long(x) ? 10 : 6));
	memcpy(&t.limit, image, 2);
	memcpy(&t.base, image + 2, 8);
	if (!emu_long(x))
		t.base &= x->in.d.operand_width == 16 ? 0xffffff : 0xffffffff;
	else if (!is_canonical(t.base))
		return emu_gp0(x);
	*(gdt ? &x->cpu->gdtr : &x->cpu->idtr) = t;
	emu_table_notify(x, gdt ? 0 : 1);
	return EMUL_OK;
}

// UMIP makes these privileged.
static enum emul_result umip_check(struct emu *x)
{
	return (x->cpu->cr4 & CR4_UMIP) && cpu_cpl(x->cpu) ? emu_gp0(x) : EMUL_OK;
}

enum emul_result emu_op_sgdt(struct emu *x)
{
	const struct x86_table *t = x->in.d.mnemonic == ZYDIS_MNEMONIC_SGDT ? &x->cpu->gdtr : &x->cpu->idtr;
	u8 image[10];

	TRY(umip_check(x));
	memcpy(image, &t->limit, 2);
	memcpy(image + 2, &t->base, 8);
	return emu_write_op(x, 0, image, emu_long(x) ? 10 : 6);
}

static enum emul_result system_selector(struct emu *x, u16 sel, u32 type, struct emu_desc *d)
{
	if (sel & 4)
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	TRY(emu_desc_read16(x, sel, d));
	if (type == SYS_TSS && !emu_lma(x) && DESC_TYPE(d->raw) == SYS_TSS16)
		type = SYS_TSS16;
	if (DESC_S(d->raw) || DESC_TYPE(d->raw) != type)
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	if (!DESC_P(d->raw))
		return emu_fault_code(x, VEC_NP, sel & 0xfffc);
	if (emu_lma(x) && !is_canonical(((d->raw >> 56) << 24) | ((d->raw >> 16) & 0xffffff) | d->high << 32))
		return emu_fault_code(x, VEC_GP, sel & 0xfffc);
	return EMUL_OK;
}

static void system_load(struct emu *x, const struct emu_desc *d, u16 sel, struct x86_segment *s)
{
	emu_desc_unpack(d->raw, sel, s);
	if (emu_lma(x))
		s->base |= d->high << 32;
}

enum emul_result emu_op_lldt(struct emu *x)
{
	struct emu_desc d;
	u64 sel;

	if (!emu_protected(x))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	TRY(emu_get(x, 0, &sel));
	if (!(sel & 0xfffc)) {
		emu_segment_null(&x->cpu->ldtr, (u16)sel, 0);
	} else {
		TRY(system_selector(x, (u16)sel, SYS_LDT, &d));
		system_load(x, &d, (u16)sel, &x->cpu->ldtr);
	}
	emu_table_notify(x, 2);
	return EMUL_OK;
}

enum emul_result emu_op_ltr(struct emu *x)
{
	struct emu_desc d;
	u64 sel;
	u8 type;

	if (!emu_protected(x))
		return emu_ud(x);
	TRY(emu_need_cpl0(x));
	TRY(emu_get(x, 0, &sel));
	if (!(sel & 0xfffc))
		return emu_gp0(x);
	TRY(system_selector(x, (u16)sel, SYS_TSS, &d));
	d.raw |= (u64)SYS_BUSY << 40;
	type = (u8)(d.raw >> 40);
	TRY(emu_sys_write(x, d.at + 5, &type, 1));
	system_load(x, &d, (u16)sel, &x->cpu->tr);
	emu_table_notify(x, 3);
	return EMUL_OK;
}

enum emul_result emu_op_sldt(struct emu *x)
{
	u64 v = x->in.d.mnemonic == ZYDIS_MNEMONIC_SLDT ? x->cpu->ldtr.selector : x->cpu->tr.selector;

	if (!emu_protected(x))
		return emu_ud(x);
	TRY(umip_check(x));
	if (emu_is_mem(x, 0))
		return emu_write_op(x, 0, &v, 2);
	return emu_set(x, 0, v);
}

// Whether LAR (or LSL) knows this kind of descriptor and the privileges allow to see it.
static bool descriptor_visible(const struct emu *x, u16 sel, u64 raw, bool lar)
{
	static const u16 lar_types = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
	static const u16 lsl_types = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
	static const u16 long_types = 1 << 2 | 1 << 9 | 1 << 11;
	unsigned type = DESC_TYPE(raw), cpl = cpu_cpl(x->cpu), dpl = DESC_DPL(raw);
	u16 allowed = lar ? lar_types : lsl_types;

	if (emu_lma(x))
		allowed &= (u16)(long_types | (lar ? 1 << 12 : 0));
	if (!DESC_S(raw) && !((allowed >> type) & 1))
		return false;
	if (desc_is_code(raw) && (type & TYPE_CONFORMING))
		return true;
	return cpl <= dpl && (sel & 3u) <= dpl;
}

static enum emul_result set_zf(struct emu *x, bool zf)
{
	x->cpu->rflags = (x->cpu->rflags & ~RFL_ZF) | flag_if(zf, RFL_ZF);
	return EMUL_OK;
}

enum emul_result emu_op_lar(struct emu *x)
{
	bool lar = x->in.d.mnemonic == ZYDIS_MNEMONIC_LAR;
	struct x86_segment s;
	u64 sel = 0, raw, at;

	if (!emu_protected(x))
		return emu_ud(x);
	if (emu_is_mem(x, 1))
		TRY(emu_read_op(x, 1, &sel, 2));
	else
		TRY(emu_get(x, 1, &sel));
	sel &= 0xffff;
	if (!(sel & 0xfffc) || !desc_address(x->cpu, (u16)sel, 8, &at))
		return set_zf(x, false);
	TRY(emu_sys_read(x, at, &raw, 8));
	if (!descriptor_visible(x, (u16)sel, raw, lar))
		return set_zf(x, false);
	emu_desc_unpack(raw, 0, &s);
	TRY(emu_set(x, 0, lar ? (raw >> 32) & 0xf0ff00 : s.limit));
	return set_zf(x, true);
}

enum emul_result emu_op_verr(struct emu *x)
{
	u64 sel = 0, raw, at;
	unsigned type;
	bool ok;

	if (!emu_protected(x))
		return emu_ud(x);
	TRY(emu_get(x, 0, &sel));
	sel &= 0xffff;
	if (!(sel & 0xfffc) || !desc_address(x->cpu, (u16)sel, 8, &at))
		return set_zf(x, false);
	TRY(emu_sys_read(x, at, &raw, 8));
	type = DESC_TYPE(raw);
	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_VERR)
		ok = !(type & TYPE_CODE) || (type & 2);
	else
		ok = !(type & TYPE_CODE) && (type & TYPE_WRITE);
	return set_zf(x, DESC_S(raw) && ok && descriptor_visible(x, (u16)sel, raw, true));
}

static u64 raise_rpl(u64 dst, u64 src, unsigned bits, u64 *flags)
{
	bool raise = (dst & 3) < (src & 3);

	*flags = (*flags & ~RFL_ZF) | flag_if(raise, RFL_ZF);
	return raise ? (dst & ~3ull) | (src & 3) : dst;
}

enum emul_result emu_op_arpl(struct emu *x)
{
	u64 src;

	if (!emu_protected(x))
		return emu_ud(x);
	TRY(emu_get(x, 1, &src));
	return emu_rmw(x, raise_rpl, src, NULL);
}
