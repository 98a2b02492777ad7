// SPDX-License-Identifier: MIT
// The emulator's side of the differential tests: ports over the arena, user mode as Linux sets it up, and the comparison.
#include "tests/diff/emul_case.h"

#include <stdio.h>
#include <string.h>

#define GDT_AT 0xffff800000000000ull

static struct emul_outcome *outcome; // XMM registers live there
static const struct case_machine *machine;

static bool mapped(u64 at, bool write)
{
	if (at >= CASE_ARENA && at < CASE_ARENA + (write ? CASE_RW : CASE_SIZE))
		return true;
	return !write && (at & ~PAGE_MASK) == (CASE_CODE & ~PAGE_MASK);
}

static enum emul_result check(u64 at, unsigned len, bool write, struct x86_fault *f)
{
	for (u64 a = at;; a = (a | PAGE_MASK) + 1) {
		if (a > at + len - 1)
			return EMUL_OK;
		if (mapped(a, write))
			continue;
		*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .cr2 = a};
		f->error = (u32)(PF_U | (write ? PF_W : 0) | (mapped(a, false) ? PF_P : 0));
		return EMUL_FAULT;
	}
}

static u64 descriptor(u64 at)
{
	if (at == GDT_AT + (machine->cs & ~7u))
		return 0x00affb000000ffff;
	if (at == GDT_AT + (machine->cs32 & ~7u))
		return 0x00cffb000000ffff;
	if (at == GDT_AT + (machine->ss & ~7u))
		return 0x00cff3000000ffff;
	return 0;
}

static enum emul_result p_read(void *ctx, u64 at, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	enum emul_result r;
	u64 d;

	if (kind & EMUL_SUPERVISOR) {
		d = descriptor(at);
		memcpy(buf, &d, len);
		return EMUL_OK;
	}
	r = check(at, len, kind & EMUL_RMW, f);
	if (r == EMUL_OK)
		memcpy(buf, (void *)at, len);
	return r;
}

static enum emul_result p_write(void *ctx, u64 at, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	enum emul_result r = check(at, len, true, f);

	if (r == EMUL_OK)
		memcpy((void *)at, buf, len);
	return r;
}

static enum emul_result p_cmpxchg(void *ctx, u64 at, void *old, const void *next, unsigned len, bool *done,
				  struct x86_fault *f)
{
	enum emul_result r = check(at, len, true, f);

	if (r != EMUL_OK)
		return r;
	*done = !memcmp((void *)at, old, len);
	if (*done)
		memcpy((void *)at, next, len);
	else
		memcpy(old, (void *)at, len);
	return EMUL_OK;
}

static enum emul_result p_fetch(void *ctx, u64 at, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	const struct emul_case *c = ctx;

	memcpy(buf, c->code + (at - CASE_CODE), 15);
	*got = 15;
	return EMUL_OK;
}

static void p_get_xmm(void *ctx, unsigned reg, u8 out[16])
{
	memcpy(out, outcome->xmm[reg], 16);
}

static void p_set_xmm(void *ctx, unsigned reg, const u8 in[16])
{
	memcpy(outcome->xmm[reg], in, 16);
}

static void machine_state(struct x86_cpu *cpu, const struct emul_case *c, const struct case_machine *m)
{
	*cpu = (struct x86_cpu){.rip = CASE_CODE, .rflags = c->flags, .cr0 = 0x80050033, .cr4 = 0x6f0, .efer = 0xd01};
	memcpy(cpu->gpr, c->gpr, sizeof(cpu->gpr));
	for (unsigned i = 0; i < 6; i++)
		cpu->seg[i].attr = SEG_ATTR_UNUSABLE;
	cpu->seg[SEG_CS] = (struct x86_segment){.selector = m->cs, .attr = 0xa0fb, .limit = ~0u};
	cpu->seg[SEG_SS] = (struct x86_segment){.selector = m->ss, .attr = 0xc0f3, .limit = ~0u};
	cpu->seg[SEG_DS] = (struct x86_segment){.selector = m->ds, .attr = 0xc0f3, .limit = ~0u};
	cpu->seg[SEG_ES] = (struct x86_segment){.selector = m->es, .attr = 0xc0f3, .limit = ~0u};
	cpu->seg[SEG_FS].selector = m->fs;
	cpu->seg[SEG_GS].selector = m->gs;
	if (c->mode == INSN_MODE_32)
		cpu->seg[SEG_CS] = (struct x86_segment){.selector = m->cs32, .attr = 0xc0fb, .limit = ~0u};
	cpu->gdtr = (struct x86_table){GDT_AT, 0x7f};
	cpu->ldtr.attr = SEG_ATTR_UNUSABLE;
}

void case_emulate(const struct emul_case *c, const struct case_machine *m, struct emul_outcome *o, bool *unsupported)
{
	static const struct emul_ports ports = {.read = p_read,
						.write = p_write,
						.cmpxchg = p_cmpxchg,
						.fetch = p_fetch,
						.get_xmm = p_get_xmm,
						.set_xmm = p_set_xmm};
	struct x86_cpu cpu;
	struct emul e = {.cpu = &cpu, .ports = &ports, .ctx = (void *)(uintptr_t)c};
	enum emul_result r;

	outcome = o;
	machine = m;
	machine_state(&cpu, c, m);
	memcpy(o->xmm, c->xmm, sizeof(o->xmm));
	do
		r = emul_step(&e);
	while (r == EMUL_RETRY);
	*unsupported = r == EMUL_UNSUPPORTED;
	memcpy(o->gpr, cpu.gpr, sizeof(o->gpr));
	o->flags = cpu.rflags;
	o->rip = cpu.rip;
	o->vector = r == EMUL_FAULT ? e.fault.vector : -1;
	o->error = r == EMUL_FAULT ? e.fault.error : 0;
	o->cr2 = r == EMUL_FAULT ? e.fault.cr2 : 0;
	memcpy(o->arena, (void *)CASE_ARENA, CASE_RW);
}

// Count of a shift: CL or the immediate, masked.
static unsigned shift_count(const struct emul_case *c, unsigned operand)
{
	const ZydisDecodedOperand *o = &c->insn.op[operand];
	u64 n = o->type == ZYDIS_OPERAND_TYPE_REGISTER ? c->gpr[R_RCX] : o->imm.value.u;

	return (unsigned)(n & (c->width == 64 ? 63 : 31));
}

// SDM 2: a zero count changes no flag; OF is defined for a count of 1 only; CF is not beyond the operand's width.
static u64 undefined_by_shift(const struct emul_case *c, unsigned operand, bool shifts)
{
	unsigned n = shift_count(c, operand);
	u64 u = 0;

	if (n == 0)
		return 0;
	if (n != 1)
		u |= RFL_OF;
	if (shifts)
		u |= RFL_AF | (n > c->width || (n == c->width && operand == 1) ? RFL_CF : 0);
	if (operand == 2 && n > c->width)
		u |= RFL_ARITH;
	return u;
}

u64 case_undefined_flags(const struct emul_case *c)
{
	switch (c->insn.d.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return undefined_by_shift(c, 1, true);
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
		return undefined_by_shift(c, 1, false);
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return undefined_by_shift(c, 2, true);
	default:
		return c->insn.d.cpu_flags ? c->insn.d.cpu_flags->undefined : 0;
	}
}

// Results that the manual leaves undefined: SHLD/SHRD of 16 bits by more than 16, the destination of BSF/BSR of zero is
// left alone by every processor in 64- and 16-bit forms, but a 32-bit one may or may not clear its upper half.
static bool result_undefined(const struct emul_case *c)
{
	ZydisMnemonic m = c->insn.d.mnemonic;

	return (m == ZYDIS_MNEMONIC_SHLD || m == ZYDIS_MNEMONIC_SHRD) && c->width == 16 && shift_count(c, 2) > 16;
}

static bool upper_undefined(const struct emul_case *c, unsigned reg)
{
	ZydisMnemonic m = c->insn.d.mnemonic;

	if (c->mode == INSN_MODE_32)
		return true;
	return (m == ZYDIS_MNEMONIC_BSF || m == ZYDIS_MNEMONIC_BSR) && c->width == 32 &&
	       insn_gpr_number(c->insn.op[0].reg.value) == (int)reg;
}

void case_print(const struct emul_case *c)
{
	printf("    %s width %u, %u-bit mode:", case_row_name(c->row), c->width, c->mode == INSN_MODE_64 ? 64 : 32);
	for (unsigned i = 0; i < c->length; i++)
		printf(" %02x", c->code[i]);
	printf("  flags %llx rax %llx rcx %llx rdx %llx rbx %llx\n", (unsigned long long)c->flags,
	       (unsigned long long)c->gpr[0], (unsigned long long)c->gpr[1], (unsigned long long)c->gpr[2],
	       (unsigned long long)c->gpr[3]);
}

struct diff {
	const struct emul_case *c;
	const char *who;
	bool print;
	unsigned found;
};

static void differs(struct diff *d, const char *what, unsigned index, u64 want, u64 got)
{
	if (d->found++ == 0 && d->print)
		case_print(d->c);
	if (d->print && d->found <= 4)
		printf("      %s%u: %s %016llx, emulator %016llx\n", what, index, d->who, (unsigned long long)want,
		       (unsigned long long)got);
}

bool case_compare(const struct emul_case *c, const struct emul_outcome *want, const struct emul_outcome *got,
		  const char *who, bool print)
{
	struct diff d = {.c = c, .who = who, .print = print};
	u64 mask = ~(RFL_RF | (want->vector >= 0 ? 0 : case_undefined_flags(c)));
	bool any_result = want->vector < 0 && result_undefined(c);

	if (want->vector != got->vector || want->error != got->error)
		differs(&d, "vector, error", 0, (u64)want->vector << 32 | want->error,
			(u64)got->vector << 32 | got->error);
	if (want->vector == VEC_PF && (want->cr2 != got->cr2 || d.found))
		differs(&d, "cr", 2, want->cr2, got->cr2);
	for (unsigned i = 0; i < (c->mode == INSN_MODE_64 ? 16 : 8) && !any_result; i++) {
		u64 m = upper_undefined(c, i) ? 0xffffffff : ~0ull;

		if ((want->gpr[i] ^ got->gpr[i]) & m)
			differs(&d, "r", i, want->gpr[i], got->gpr[i]);
	}
	if ((want->flags ^ got->flags) & mask)
		differs(&d, "flags", 0, want->flags, got->flags);
	if (want->rip != got->rip)
		differs(&d, "rip", 0, want->rip, got->rip);
	for (unsigned i = 0; i < 16; i++)
		if (memcmp(want->xmm[i], got->xmm[i], 16))
			differs(&d, "xmm", i, want->xmm[i][0], got->xmm[i][0]);
	for (unsigned i = 0; i < CASE_RW && !any_result && !d.found; i++)
		if (want->arena[i] != got->arena[i])
			differs(&d, "memory ", i, want->arena[i], got->arena[i]);
	return !d.found;
}
