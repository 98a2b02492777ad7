// SPDX-License-Identifier: MIT
// x87, MMX and SSE instructions. Their registers are live in the machine while the hypervisor runs, so the machine executes them:
// the instruction is encoded anew with its memory operand at [RAX], a buffer of ours, filled before and written back after.
// What it raises there (#MF, #XM, #UD) is the guest's.
//
// A general register that is an operand becomes RCX there.
//
// Not covered: VEX and EVEX encodings (XSAVE is not offered to guests), PCMPESTRI and PCMPESTRM (two lengths in registers) and the
// byte-masked stores.
#include "core/emul/internal.h"

#include "base/string.h"

#define FPU_OPERAND_MAX 512
#define ACCESS_MAX 64u // of the memory ports
#define REX_B 1
#define REX_X 2
#define REX_R 4
#define IS_PREFIX_KEPT(b) ((b) == 0x66 || (b) == 0xf2 || (b) == 0xf3)

struct fpu_insn {
	u8 code[16];
	unsigned len;
	int memory, gpr; // operands, -1: none
	bool x87;
};

static bool known(const struct emu *x, struct fpu_insn *f)
{
	switch (x->in.d.meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
		f->x87 = true;
		return true;
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_GFNI:
		return true;
	default:
		return false;
	}
}

// Operands: FPU registers, immediates, at most one in memory and one general register. Comparisons of strings with lengths have two
// more that are not seen.
static bool simple(const struct emu *x, struct fpu_insn *f)
{
	switch (x->in.d.mnemonic) {
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		return false;
	default:
		break;
	}
	f->memory = f->gpr = -1;
	for (unsigned i = 0; i < x->in.d.operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &x->in.op[i];
		bool memory = o->type == ZYDIS_OPERAND_TYPE_MEMORY;
		bool general = o->type == ZYDIS_OPERAND_TYPE_REGISTER && insn_gpr_number(o->reg.value) >= 0;

		if (memory ? f->memory >= 0 || o->size > FPU_OPERAND_MAX * 8 : general && f->gpr >= 0)
			return false;
		if (memory)
			f->memory = (int)i;
		else if (general)
			f->gpr = (int)i;
	}
	return true;
}

static void add(struct fpu_insn *f, u8 byte)
{
	f->code[f->len++] = byte;
}

// ModRM and REX with their operands replaced: memory by [RAX], a general register by RCX.
static void replace(const struct emu *x, const struct fpu_insn *f, u8 *modrm, u8 *rex)
{
	if (f->memory >= 0) {
		*modrm &= 0x38;
		*rex &= (u8) ~(REX_B | REX_X);
	}
	if (f->gpr >= 0 && x->in.op[f->gpr].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
		*modrm = (u8)((*modrm & ~0x38) | R_RCX << 3);
		*rex &= (u8)~REX_R;
	} else if (f->gpr >= 0) {
		*modrm = (u8)((*modrm & ~7) | R_RCX);
		*rex &= (u8)~REX_B;
	}
}

// Prefixes that select the instruction, REX, opcode, ModRM, immediates of a byte each.
static void encode(const struct emu *x, struct fpu_insn *f)
{
	const ZydisDecodedInstruction *d = &x->in.d;
	bool has_modrm = d->attributes & ZYDIS_ATTRIB_HAS_MODRM, has_rex = d->attributes & ZYDIS_ATTRIB_HAS_REX;
	unsigned at = d->raw.prefix_count, end = has_modrm ? d->raw.modrm.offset : x->in.length;
	u8 modrm = has_modrm ? x->in.bytes[end] : 0, rex = has_rex ? x->in.bytes[d->raw.rex.offset] : 0;

	replace(x, f, &modrm, &rex);
	for (unsigned i = 0; i < at; i++)
		if (IS_PREFIX_KEPT(x->in.bytes[i]) && !f->x87)
			add(f, x->in.bytes[i]);
	if (f->x87 && d->operand_width == 16 && f->memory >= 0)
		add(f, 0x66); // the small environment of FNSTENV and its kind
	if (has_rex) {
		at = d->raw.rex.offset + 1u;
		add(f, rex);
	}
	while (at < end)
		add(f, x->in.bytes[at++]);
	if (has_modrm)
		add(f, modrm);
	for (unsigned i = 0; i < 2; i++)
		if (d->raw.imm[i].size)
			add(f, x->in.bytes[d->raw.imm[i].offset]);
}

// It runs in ring 0: it must be the instruction that was looked at, and whole, so that what stands behind it is not taken for a part.
static bool encoded_well(const struct emu *x, const struct fpu_insn *f)
{
	u8 bytes[15];
	struct insn again;

	if (f->len >= sizeof(bytes))
		return false;
	memset(bytes, 0xc3, sizeof(bytes));
	memcpy(bytes, f->code, f->len);
	return insn_decode_visible(&again, INSN_MODE_64, bytes, sizeof(bytes)) == INSN_OK && again.length == f->len &&
	       again.d.mnemonic == x->in.d.mnemonic &&
	       (f->gpr < 0 || insn_gpr_number(again.op[f->gpr].reg.value) == R_RCX);
}

static enum emul_result available(struct emu *x, const struct fpu_insn *f)
{
	u64 cr0 = x->cpu->cr0;

	if (f->x87 && x->in.d.mnemonic == ZYDIS_MNEMONIC_FWAIT)
		return (cr0 & CR0_MP) && (cr0 & CR0_TS) ? emu_fault(x, VEC_NM) : EMUL_OK;
	if (f->x87)
		return cr0 & (CR0_EM | CR0_TS) ? emu_fault(x, VEC_NM) : EMUL_OK;
	if ((cr0 & CR0_EM) || (x->in.d.meta.isa_ext != ZYDIS_ISA_EXT_MMX && !(x->cpu->cr4 & CR4_OSFXSR)))
		return emu_ud(x);
	return cr0 & CR0_TS ? emu_fault(x, VEC_NM) : EMUL_OK;
}

static enum emul_result transfer(struct emu *x, int i, u8 *buf, unsigned len, bool write)
{
	unsigned seg = emu_segment(x, (unsigned)i);
	u64 offset = emu_offset(x, (unsigned)i);

	for (unsigned done = 0; done < len; done += ACCESS_MAX) {
		unsigned n = MIN(len - done, ACCESS_MAX);

		if (write)
			TRY(emu_write(x, seg, offset + done, buf + done, n));
		else
			TRY(emu_read(x, seg, offset + done, buf + done, n, EMUL_READ));
	}
	return EMUL_OK;
}

// Nothing may fault once the registers have changed.
static enum emul_result probe_writable(struct emu *x, int i, unsigned len)
{
	u64 offset = emu_offset(x, (unsigned)i);
	u8 byte;

	TRY(emu_read(x, emu_segment(x, (unsigned)i), offset, &byte, 1, EMUL_RMW));
	return emu_read(x, emu_segment(x, (unsigned)i), offset + len - 1, &byte, 1, EMUL_RMW);
}

// SSE operands of 16 bytes are aligned, but for the moves that say otherwise (sse.c has those).
static bool misaligned(const struct emu *x, const struct fpu_insn *f, unsigned len)
{
	return !f->x87 && len >= 16 && emu_misaligned16(x, (unsigned)f->memory);
}

static enum emul_result store_status(struct emu *x)
{
	static const u8 fnstsw[] = {0xdd, 0x38}; // [rax]
	u8 buf[16] = {0};
	u64 flags = 0, gpr = 0;

	TRY(x->p->native(x->ctx, fnstsw, sizeof(fnstsw), buf, &gpr, &flags, &x->e->fault));
	emu_gpr_set(x->cpu, R_RAX, 16, buf[0] | (u64)buf[1] << 8);
	return EMUL_OK;
}

enum emul_result emu_native(struct emu *x)
{
	u8 buf[FPU_OPERAND_MAX + 15], *operand = buf + (-(u64)buf & 15);
	struct fpu_insn f = {.memory = -1, .gpr = -1};
	unsigned len, actions;
	u64 flags = x->cpu->rflags, gpr = x->cpu->gpr[R_RCX];

	if (!x->p->native || x->in.d.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !known(x, &f))
		return EMUL_UNSUPPORTED;
	if (x->in.d.mnemonic == ZYDIS_MNEMONIC_FNSTSW && x->in.op[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		TRY(available(x, &f));
		return store_status(x);
	}
	if (!simple(x, &f))
		return EMUL_UNSUPPORTED;
	TRY(available(x, &f));
	encode(x, &f);
	if (!encoded_well(x, &f))
		return EMUL_UNSUPPORTED;
	len = f.memory < 0 ? 0 : emu_bits(x, (unsigned)f.memory) / 8;
	actions = f.memory < 0 ? 0 : x->in.op[f.memory].actions;
	if (len && misaligned(x, &f, len))
		return emu_gp0(x);
	memset(operand, 0, len);
	if (actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		TRY(probe_writable(x, f.memory, len));
	if (actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		TRY(transfer(x, f.memory, operand, len, false));
	if (f.gpr >= 0)
		gpr = emu_reg_get(x->cpu, x->in.op[f.gpr].reg.value);
	TRY(x->p->native(x->ctx, f.code, f.len, operand, &gpr, &flags, &x->e->fault));
	x->cpu->rflags = (x->cpu->rflags & ~RFL_ARITH) | (flags & RFL_ARITH);
	if (f.gpr >= 0 && (x->in.op[f.gpr].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
		emu_reg_set(x->cpu, x->in.op[f.gpr].reg.value, gpr);
	else if (x->in.d.mnemonic == ZYDIS_MNEMONIC_PCMPISTRI)
		emu_gpr_set(x->cpu, R_RCX, 32, gpr);
	return actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? transfer(x, f.memory, operand, len, true) : EMUL_OK;
}
