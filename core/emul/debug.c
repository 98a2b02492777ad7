// SPDX-License-Identifier: MIT
// Debug registers and single-stepping (SDM 3B 17.2, 17.3). A breakpoint on an instruction is a fault before it, one on data or TF
// a trap after it. Hits are collected in emu.hits while the instruction runs and become DR6 when it is done.
//
// Not covered: breakpoints on I/O ports.
#include "core/emul/internal.h"

#define RW_EXECUTE 0
#define RW_WRITE 1
#define RW_ACCESS 3

static unsigned rw_of(u64 dr7, unsigned n)
{
	return (unsigned)(dr7 >> (16 + 4 * n)) & 3;
}

static bool enabled(u64 dr7, unsigned n)
{
	return dr7 >> 2 * n & 3;
}

void emu_debug_status(struct x86_cpu *c, u32 hits)
{
	c->dr[6] = (c->dr[6] & ~(u64)DR6_HITS) | DR6_FIXED | hits;
}

bool emul_code_breakpoints(const struct x86_cpu *c)
{
	u64 dr7 = c->dr[7];

	if (likely(!(dr7 & DR7_ENABLES)))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(dr7, n) && rw_of(dr7, n) == RW_EXECUTE && ((c->dr[n] ^ c->rip) >> 63) == 0)
			return true;
	return false;
}

enum emul_result emu_code_breakpoint(struct emu *x)
{
	struct x86_cpu *c = x->cpu;
	u64 linear = emu_long(x) ? c->rip : (u32)(c->seg[SEG_CS].base + c->rip);
	u32 hits = 0;

	if (c->rflags & RFL_RF)
		return EMUL_OK;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c->dr[7], n) && rw_of(c->dr[7], n) == RW_EXECUTE && c->dr[n] == linear)
			hits |= 1u << n;
	if (!hits)
		return EMUL_OK;
	emu_debug_status(c, hits);
	c->rflags |= RFL_RF; // in the image, so that the instruction runs when the handler returns
	return emu_fault(x, VEC_DB);
}

void emu_data_breakpoint(struct emu *x, u64 linear, unsigned len, bool write)
{
	static const u8 size[4] = {1, 2, 8, 4};
	const u64 *d = x->cpu->dr;

	for (unsigned n = 0; n < 4; n++) {
		unsigned rw = rw_of(d[7], n), bytes = size[d[7] >> (18 + 4 * n) & 3];
		u64 at = d[n] & ~(u64)(bytes - 1);

		if (enabled(d[7], n) && (rw == RW_ACCESS || (rw == RW_WRITE && write)) && linear < at + bytes &&
		    at < linear + len)
			x->hits |= 1u << n;
	}
}

// Instructions that enter a handler of their own clear TF: what follows is not a step of the interrupted code.
static bool enters_handler(const struct emu *x)
{
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_INTO:
		return true;
	default:
		return false;
	}
}

// SYSCALL and SYSRET step by the TF that they leave, so that a step over a system call ends behind it in user code.
static bool steps_by_new_tf(const struct emu *x)
{
	return x->in.d.mnemonic == ZYDIS_MNEMONIC_SYSCALL || x->in.d.mnemonic == ZYDIS_MNEMONIC_SYSRET;
}

// MOV SS and POP SS put off their own debug trap to the end of the next instruction, and have no step.
void emu_debug_trap(struct emu *x, bool stepping)
{
	struct emul *e = x->e;
	u32 hits = x->hits | e->held;

	e->held = 0;
	if (x->shadow && x->in.d.mnemonic != ZYDIS_MNEMONIC_STI) {
		e->held = hits;
		return;
	}
	if (x->switched)
		stepping = false;
	else if (steps_by_new_tf(x))
		stepping = x->cpu->rflags & RFL_TF;
	if (stepping && !enters_handler(x))
		hits |= DR6_BS;
	if (hits)
		emu_debug_status(x->cpu, hits);
	e->trap = hits;
}
