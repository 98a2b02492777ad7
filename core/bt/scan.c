// SPDX-License-Identifier: MIT
// Guest bytes to struct bt_insn: where the parts of an instruction are and what the translator must do with it.
//
// Classification is by encoding, not by operands: cheap, and what is not known as harmless falls to the emulator.
#include "core/bt/internal.h"

#include "base/string.h"

static u8 class_ff(unsigned reg)
{
	return reg == 2 ? BT_CALL_IND : reg == 4 ? BT_JMP_IND : reg == 3 || reg == 5 ? BT_EMULATE : BT_COPY;
}

static u8 class_one_byte(const struct bt_insn *in)
{
	unsigned reg = (in->modrm >> 3) & 7;

	switch (in->opcode) {
	case 0x70 ... 0x7f:
		return in->opsize ? BT_EMULATE : BT_JCC;
	case 0xe0 ... 0xe3:
		return in->opsize ? BT_EMULATE : BT_LOOP;
	case 0xe8:
		return in->opsize ? BT_EMULATE : BT_CALL;
	case 0xe9:
	case 0xeb:
		return in->opsize ? BT_EMULATE : BT_JMP;
	case 0xc2:
	case 0xc3:
		return in->opsize ? BT_EMULATE : BT_RET;
	case 0xcf:
		return in->rex & 8 ? BT_IRET : BT_EMULATE;
	case 0x9c:
		return in->opsize ? BT_EMULATE : BT_PUSHF;
	case 0x9d:
		return in->opsize ? BT_EMULATE : BT_POPF;
	case 0xec:
		return BT_IN_AL;
	case 0xee:
		return BT_OUT_AL;
	case 0xfa:
		return BT_CLI;
	case 0xfb:
		return BT_STI;
	case 0x8c:
		return reg == SEG_CS || reg == SEG_SS ? BT_MOV_SEG : BT_COPY;
	case 0x8e:
		return reg == SEG_CS || reg == SEG_SS || reg > SEG_GS ? BT_EMULATE : BT_COPY;
	case 0xff:
		return in->opsize && (reg == 2 || reg == 4) ? BT_EMULATE : class_ff(reg);
	case 0xc6: // XABORT, XBEGIN
	case 0xc7:
		return reg == 7 ? BT_EMULATE : BT_COPY;
	case 0x6c ... 0x6f: // INS, OUTS
	case 0xe4 ... 0xe7: // IN, OUT
	case 0xed:
	case 0xef:
	case 0xca ... 0xce: // RETF, INT3, INT n, INTO
	case 0x9a:          // CALL far
	case 0xea:
	case 0xf1: // INT1
	case 0xf4: // HLT
		return BT_EMULATE;
	default:
		return BT_COPY;
	}
}

// INVLPG of a plain [register], no prefix but REX: what kernels use.
static bool plain_invlpg(const struct bt_insn *in)
{
	unsigned rm = in->modrm & 7;

	return (in->modrm & ~7u) == 0x38 && rm != 4 && rm != 5 && in->len == (in->rex ? 4 : 3);
}

static u8 class_0f01(const struct bt_insn *in)
{
	if (plain_invlpg(in))
		return BT_INVLPG;
	switch (in->modrm) {
	case 0xca:
		return BT_CLAC;
	case 0xcb:
		return BT_STAC;
	case 0xf8:
		return BT_SWAPGS;
	case 0xf9: // RDTSCP
		return BT_COPY;
	default: // descriptor tables, SMSW, LMSW, INVLPG, XGETBV, VM* and what else there is
		return BT_EMULATE;
	}
}

static u8 class_two_byte(const struct bt_insn *in)
{
	unsigned reg = (in->modrm >> 3) & 7;
	bool memory = in->modrm < 0xc0;

	switch (in->opcode) {
	case 0x01:
		return class_0f01(in);
	case 0x07:
		return in->rex & 8 ? BT_SYSRET : BT_EMULATE;
	case 0x80 ... 0x8f:
		return in->opsize ? BT_EMULATE : BT_JCC;
	case 0x20:
		if (in->rex & 4)
			return BT_EMULATE;
		return reg == 2 ? BT_MOV_CR2 : reg == 3 ? BT_READ_CR3 : BT_EMULATE;
	case 0x22:
		return reg == 3 && !(in->rex & 4) ? BT_MOV_CR3 : BT_EMULATE;
	case 0xc7: // XRSTORS, XSAVES, VMX
		return memory && (reg == 3 || reg >= 5) ? BT_EMULATE : BT_COPY;
	case 0x00: // SLDT STR LLDT LTR VERR VERW
	case 0x02: // LAR
	case 0x03: // LSL
	case 0x05: // SYSCALL
	case 0x06: // CLTS
	case 0x08: // INVD
	case 0x09: // WBINVD
	case 0x0b: // UD2
	case 0x21: // MOV CR, DR
	case 0x23 ... 0x27:
	case 0x30: // WRMSR
	case 0x32: // RDMSR
	case 0x33: // RDPMC
	case 0x34: // SYSENTER
	case 0x35: // SYSEXIT
	case 0x37: // GETSEC
	case 0x78: // VMREAD
	case 0x79: // VMWRITE
	case 0xa1: // POP FS
	case 0xa2: // CPUID
	case 0xa9: // POP GS
	case 0xaa: // RSM
	case 0xb2: // LSS
	case 0xb4: // LFS
	case 0xb5: // LGS
	case 0xb9: // UD1
	case 0xff: // UD0
		return BT_EMULATE;
	default:
		return BT_COPY;
	}
}

static u8 classify(const struct bt_insn *in)
{
	if (in->rip_relative && in->addrsize)
		return BT_EMULATE;
	if (in->encoding != BT_ENC_LEGACY)
		return BT_COPY;
	switch (in->map) {
	case 0:
		return class_one_byte(in);
	case 1:
		return class_two_byte(in);
	case 2: // INVEPT, INVVPID, INVPCID
		return in->opcode >= 0x80 && in->opcode <= 0x82 ? BT_EMULATE : BT_COPY;
	default:
		return BT_COPY;
	}
}

static void take_prefixes(struct bt_insn *in, const ZydisDecodedInstruction *d)
{
	for (unsigned i = 0; i < d->raw.prefix_count; i++) {
		in->opsize |= d->raw.prefixes[i].value == 0x66;
		in->addrsize |= d->raw.prefixes[i].value == 0x67;
	}
	in->prefix_off = 0xff;
	switch (d->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		in->prefix_off = d->raw.vex.offset;
		in->encoding = d->raw.vex.size == 2 ? BT_ENC_VEX2 : BT_ENC_VEX3;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_XOP:
		in->prefix_off = d->raw.xop.offset;
		in->encoding = BT_ENC_VEX3;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		in->prefix_off = d->raw.evex.offset;
		in->encoding = BT_ENC_EVEX;
		break;
	default:
		in->encoding = BT_ENC_LEGACY;
		if (d->attributes & ZYDIS_ATTRIB_HAS_REX)
			in->prefix_off = d->raw.rex.offset;
	}
}

static void take_parts(struct bt_insn *in, const ZydisDecodedInstruction *d, const u8 *bytes)
{
	in->modrm_off = 0xff;
	if (in->encoding == BT_ENC_LEGACY && in->prefix_off != 0xff)
		in->rex = bytes[in->prefix_off];
	if (d->attributes & ZYDIS_ATTRIB_HAS_MODRM) {
		in->modrm_off = d->raw.modrm.offset;
		in->modrm = bytes[in->modrm_off];
	}
	in->disp_off = d->raw.disp.offset;
	in->disp_size = d->raw.disp.size / 8;
	in->imm_off = d->raw.imm[0].offset;
	in->imm_size = d->raw.imm[0].size / 8;
	in->imm = d->raw.imm[0].value.s;
}

bool bt_scan_zydis(struct bt *bt, struct bt_insn *in, const u8 *bytes, unsigned available, u64 rip)
{
	ZydisDecodedInstruction d;

	if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&bt->decoder, NULL, bytes, available, &d)))
		return false;
	memset(in, 0, sizeof(*in));
	in->len = d.length;
	in->opcode = d.opcode;
	in->map = d.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 0 : d.opcode_map == ZYDIS_OPCODE_MAP_0F ? 1 :
		  d.opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2 : 3;
	take_prefixes(in, &d);
	take_parts(in, &d, bytes);
	in->rip_relative = in->modrm_off != 0xff && (in->modrm & 0xc7) == 0x05;
	in->cls = classify(in);
	if (in->rip_relative)
		in->target = rip + in->len + (u64)d.raw.disp.value;
	else if (in->cls == BT_JCC || in->cls == BT_LOOP || in->cls == BT_JMP || in->cls == BT_CALL)
		in->target = rip + in->len + (u64)in->imm;
	return true;
}

// Decodes one instruction at rip. False: not an instruction, or cut off. in->off is the caller's.
bool bt_scan(struct bt *bt, struct bt_insn *in, const u8 *bytes, unsigned available, u64 rip)
{
	if (available < 15 || !bt_scan_quick(in, bytes, rip))
		return bt_scan_zydis(bt, in, bytes, available, rip);
	in->cls = classify(in);
	return true;
}
