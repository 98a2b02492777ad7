// SPDX-License-Identifier: MIT
// From machine state inside the cache to guest state at an instruction boundary, by the range that holds the RIP.
//
// Restores are idempotent: spill slots keep their values until the template that owns them ends, so a range may span the
// instructions that load them back. Every template can be rolled back up to its commit, so *finish is never needed.
#include "core/bt/internal.h"

static const struct bt_range *range_for(const struct bt *bt, u64 cache_rip, const struct bt_block **block)
{
	u32 n = bt_block_at(bt, cache_rip);

	assert(n != BT_NONE);
	*block = &bt->block[n];
	return bt_range_at(bt, *block, (u32)(cache_rip - bt->config.code_base - (*block)->code));
}

static u64 guest_rip(const struct bt *bt, const struct bt_block *b, const struct bt_range *r, const struct x86_cpu *cpu,
		     const struct vcpu_page *page)
{
	switch (r->rule) {
	case BT_RIP_LINEAR:
		return b->guest_rip + r->guest_off + (cpu->rip - bt->config.code_base - b->code - r->code_off);
	case BT_RIP_GUEST:
		return b->guest_rip + r->guest_off;
	case BT_RIP_RCX:
		return cpu->gpr[R_RCX];
	case BT_RIP_RCX_PLUS:
		return cpu->gpr[R_RCX] + b->guest_rip + r->guest_off;
	case BT_RIP_TARGET:
		return page->target;
	default:
		return bt->slot[b->first_slot + r->slot].target;
	}
}

bool bt_knows(const struct bt *bt, u64 cache_rip)
{
	return bt_contains(bt, cache_rip) && bt_block_at(bt, cache_rip) != BT_NONE;
}

void bt_recover(const struct bt *bt, struct x86_cpu *cpu, struct vcpu_page *page, bool is_fault, bool *finish)
{
	const struct bt_block *b;
	const struct bt_range *r = range_for(bt, cpu->rip, &b);

	*finish = false;
	page->counter[0] -= r->counted; // it will run again, or is emulated
	cpu->rip = guest_rip(bt, b, r, cpu, page);
	if (r->fix & BT_FIX_KGS_RCX)
		page->kernel_gs_base = cpu->gpr[R_RCX];
	if (r->fix & BT_FIX_VIF)
		page->vif = page->old_vif;
	if (r->fix & BT_FIX_VIF_ZERO)
		page->vif = 0;
	if (r->fix & BT_FIX_RSP_PUSHED)
		cpu->gpr[R_RSP] += 8;
	if (r->fix & BT_FIX_RSP_SCRATCH)
		cpu->gpr[R_RSP] = page->scratch[0], page->guest_ss = (u32)page->scratch[1];
	if (r->fix & BT_FIX_FLAGS_STACK)
		cpu->rflags = page->stack[31];
	for (unsigned i = 0; i < 8; i++)
		if (r->spilled & BIT(i))
			cpu->gpr[i] = page->spill[i];
	cpu->rflags &= ~(RFL_IF | RFL_IOPL | RFL_RF | RFL_VM | RFL_VIF | RFL_VIP);
	cpu->rflags |= RFL_FIXED | (page->vif & RFL_IF);
	cpu->interrupt_shadow = (r->fix & BT_SHADOW) && (page->vif & RFL_IF);
}

struct bt_exit bt_exit_at(const struct bt *bt, u64 cache_rip)
{
	struct bt_exit x = {.kind = BT_EXIT_NONE, .slot = BT_NONE};
	u64 at = cache_rip - 2;
	const struct bt_block *b;
	const struct bt_range *r;

	if (!bt_knows(bt, at))
		return x;
	r = range_for(bt, at, &b);
	if (!r->exit || at != bt->config.code_base + b->code + r->code_off)
		return x;
	x.kind = r->exit;
	x.counted = r->counted;
	if (x.kind == BT_EXIT_LINK) {
		x.slot = b->first_slot + r->slot;
		x.guest_rip = bt->slot[x.slot].target;
	} else if (r->rule == BT_RIP_GUEST) {
		x.guest_rip = b->guest_rip + r->guest_off;
	}
	return x;
}
