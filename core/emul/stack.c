// SPDX-License-Identifier: MIT
// Stacks of inner rings without long mode (SDM 3A 5.8.5, 6.12.1): chosen by the TSS, checked, and changed to when the frame is
// written.
#include "core/emul/internal.h"

static bool writable_data(u64 raw)
{
	return DESC_S(raw) && (DESC_TYPE(raw) & (TYPE_CODE | TYPE_WRITE)) == TYPE_WRITE;
}

enum emul_result emu_stack_inner(struct emu *x, unsigned cpl, u32 ext, struct emu_stack *s)
{
	const struct x86_segment *tr = &x->cpu->tr;
	bool wide = tr->attr & SYS_32;
	u32 at = wide ? 4 + 8 * cpl : 2 + 4 * cpl, size = wide ? 4 : 2, bad;

	if (at + size + 1 > tr->limit)
		return emu_fault_code(x, VEC_TS, (tr->selector & 0xfffc) | ext);
	s->sp = 0;
	TRY(emu_sys_read(x, tr->base + at, &s->sp, size));
	TRY(emu_sys_read(x, tr->base + at + size, &s->sel, 2));
	if (!(s->sel & 0xfffc))
		return emu_fault_code(x, VEC_TS, ext);
	bad = (s->sel & 0xfffc) | ext;
	TRY(emu_desc_read(x, s->sel, VEC_TS, ext, &s->desc));
	if ((s->sel & 3u) != cpl || DESC_DPL(s->desc.raw) != cpl || !writable_data(s->desc.raw))
		return emu_fault_code(x, VEC_TS, bad);
	if (!DESC_P(s->desc.raw))
		return emu_fault_code(x, VEC_SS, bad);
	emu_desc_unpack(s->desc.raw | 1ull << 40, s->sel, &s->seg);
	return EMUL_OK;
}

enum emul_result emu_stack_place(struct emu *x, struct emu_stack *s, unsigned len, u32 code, u64 *linear)
{
	u64 m = s->seg.attr & SEG_ATTR_DB ? 0xffffffff : 0xffff, at = (s->sp - len) & m;
	bool down = s->seg.attr & 4;
	bool ok = down ? at > s->seg.limit && at + len - 1 <= m : at + len - 1 <= s->seg.limit;

	if (!ok)
		return emu_fault_code(x, VEC_SS, code);
	s->sp = at;
	*linear = (u32)(s->seg.base + at);
	return EMUL_OK;
}

enum emul_result emu_stack_commit(struct emu *x, struct emu_stack *s, bool load)
{
	if (load) {
		TRY(emu_desc_mark(x, &s->desc));
		x->cpu->seg[SEG_SS] = s->seg;
		emu_segment_notify(x, SEG_SS);
	}
	emu_gpr_set(x->cpu, R_RSP, s->seg.attr & SEG_ATTR_DB ? 32 : 16, s->sp);
	return EMUL_OK;
}
