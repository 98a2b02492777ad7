// SPDX-License-Identifier: MIT
// Decoding over Zydis. One decoder per mode, made at first use from constants (no hidden state beyond that).
#include "core/x86/insn.h"

#include "base/string.h"

static bool decoder_for(enum insn_mode mode, ZydisDecoder *d)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth width;
	} kinds[] = {
		[INSN_MODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		[INSN_MODE_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[INSN_MODE_16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	};
	return ZYAN_SUCCESS(ZydisDecoderInit(d, kinds[mode].mode, kinds[mode].width));
}

static enum insn_status status_of(ZyanStatus status, size_t available, size_t most)
{
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return available < most ? INSN_SHORT : INSN_LONG;
	return status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? INSN_LONG : INSN_BAD;
}

static enum insn_status decode(struct insn *in, enum insn_mode mode, const void *bytes, size_t available, bool hidden)
{
	ZydisDecoderContext context;
	ZydisDecoder d;
	ZyanStatus status;
	ZyanU8 operands;

	if (!decoder_for(mode, &d))
		return INSN_BAD;
	if (available > sizeof(in->bytes))
		available = sizeof(in->bytes);
	status = ZydisDecoderDecodeInstruction(&d, &context, bytes, available, &in->d);
	if (ZYAN_FAILED(status))
		return status_of(status, available, sizeof(in->bytes));
	operands = hidden ? in->d.operand_count : in->d.operand_count_visible;
	if (ZYAN_FAILED(ZydisDecoderDecodeOperands(&d, &context, &in->d, in->op, operands)))
		return INSN_BAD;
	for (unsigned i = operands; i < ZYDIS_MAX_OPERAND_COUNT; i++)
		in->op[i].type = ZYDIS_OPERAND_TYPE_UNUSED;
	in->length = in->d.length;
	memcpy(in->bytes, bytes, in->length);
	return INSN_OK;
}

enum insn_status insn_decode_status(struct insn *in, enum insn_mode mode, const void *bytes, size_t available)
{
	return decode(in, mode, bytes, available, true);
}

enum insn_status insn_decode_visible(struct insn *in, enum insn_mode mode, const void *bytes, size_t available)
{
	return decode(in, mode, bytes, available, false);
}

bool insn_decode(struct insn *in, enum insn_mode mode, const void *bytes, size_t available)
{
	return insn_decode_status(in, mode, bytes, available) == INSN_OK;
}

int insn_gpr_number(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return r - ZYDIS_REGISTER_RAX;
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return r - ZYDIS_REGISTER_EAX;
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return r - ZYDIS_REGISTER_AX;
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return r - ZYDIS_REGISTER_AL;
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return r - ZYDIS_REGISTER_SPL + 4;
	return -1;
}
