// SPDX-License-Identifier: MIT
// Stores that mostly change nothing: Linux writes three TLS descriptors into its GDT at every task switch, the same zeroes as
// a rule, and the GDT is write-protected. A site that the hypervisor has named is translated into "compare, store only if
// different", so that only a real change faults.
//
// Only for sites that were seen to store to ordinary memory: the comparison reads what the guest would have written.
#include "core/bt/internal.h"

static const u8 *code_of(const struct bt_insn *in, const u8 *bytes)
{
	return bytes + in->prefix_off;
}

bool bt_is_quiet_site(const struct bt *bt, u64 guest_rip)
{
	for (u32 i = 0; i < bt->quiet_count; i++)
		if (bt->quiet[i] == guest_rip)
			return true;
	return false;
}

bool bt_quiet_site(struct bt *bt, u64 guest_rip)
{
	if (bt_is_quiet_site(bt, guest_rip) || bt->quiet_count == BT_QUIET_MAX)
		return false;
	bt->quiet[bt->quiet_count++] = guest_rip;
	return true;
}

// REX.W MOV [m], r64 without other prefixes; RCX, which the template borrows, and RSP as a source are left out.
bool bt_can_compare(const struct bt_insn *in, const u8 *bytes)
{
	unsigned src = ((in->modrm >> 3) & 7) | (in->rex & 4) << 1;
	unsigned base = (in->modrm & 7) | (in->rex & 1) << 3, index = 0;

	if (in->encoding != BT_ENC_LEGACY || in->map != 0 || in->opcode != 0x89 || !(in->rex & 8) || in->prefix_off != 0 ||
	    in->modrm_off != 2 || in->modrm >> 6 == 3 || in->rip_relative || src == R_RCX || src == R_RSP)
		return false;
	if ((in->modrm & 7) == 4) {
		base = (bytes[3] & 7) | (in->rex & 1) << 3;
		index = ((bytes[3] >> 3) & 7) | (in->rex & 2) << 2;
	}
	return base != R_RCX && index != R_RCX;
}

void bt_emit_store_if_different(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes)
{
	const struct bt_range before = {.rule = BT_RIP_GUEST, .guest_off = in->off, .fix = BT_START};
	const struct bt_range borrowed = {.rule = BT_RIP_GUEST, .guest_off = in->off, .spilled = BIT(R_RCX)};
	const struct bt_range plain = {.rule = BT_RIP_GUEST, .guest_off = in->off};
	const struct bt_range done = {.rule = BT_RIP_GUEST, .guest_off = in->off + in->len};
	const struct bt_range skipped = {.rule = BT_RIP_GUEST, .guest_off = in->off + in->len, .spilled = BIT(R_RCX)};
	unsigned src = ((in->modrm >> 3) & 7) | (in->rex & 4) << 1;
	const u8 *code = code_of(in, bytes);
	u32 same, end;

	bt_range(e, before);
	bt_spill(e, R_RCX);
	bt_range(e, borrowed);
	bt_put8(e, code[0] & ~4); // mov rcx, [m]
	bt_put8(e, 0x8b);
	bt_put8(e, (u8)((in->modrm & ~0x38) | R_RCX << 3));
	bt_put(e, code + 3, in->len - 3u);
	bt_put(e, "\x48\xf7\xd1", 3); // not rcx
	bt_put8(e, 0x48 | (src >= 8 ? 2 : 0)); // lea rcx, [rcx + src + 1]: zero if they are equal
	bt_put(e, "\x8d\x4c", 2);
	bt_put8(e, (u8)((src & 7) << 3 | R_RCX));
	bt_put8(e, 1);
	same = bt_short_jump(e, 0xe3);
	bt_unspill(e, R_RCX);
	bt_range(e, plain);
	bt_put(e, bytes, in->len);
	bt_range(e, done);
	end = bt_short_jump(e, 0xeb);
	bt_here(e, same);
	bt_range(e, skipped);
	bt_unspill(e, R_RCX);
	bt_here(e, end);
}
