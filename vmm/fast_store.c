// SPDX-License-Identifier: MIT
// The commonest exit, done short: a plain 64-bit store of ring 1 to a guest page table or descriptor table. The machine's
// instruction that faulted is executed here, one of three forms decoded by hand, and the machine goes on behind it; nothing
// of the guest's state has to be recovered. Everything else takes the emulator's road (exits.c).
//
// It is the machine instruction in the translation cache that is executed, so this is right for whatever the translator
// put there. Pages that hold translated code are left to the emulator: their stores may change what runs next.
#include "vmm/vm.h"

#include "base/string.h"
#include "core/x86/plain_store.h"
#include "machine/mm/frames.h"

static u64 source(const struct vcpu *v, const struct plain_store *s)
{
	if (s->kind == STORE_IMM)
		return (u64)(s64)s->imm;
	return s->reg == R_RSP ? v->gate.page->rsp : v->gate.page->gpr[s->reg];
}

// The store at the saved RIP changed nothing: let its translation find that out by itself.
static void quieten(struct vcpu *v)
{
	struct x86_cpu at = {.rip = v->gate.page->rip};
	struct vcpu_page scratch = *v->gate.page;
	struct mmu_mode m = vcpu_mmu_mode(v);
	struct guest_walk w;
	struct x86_fault fault;
	bool finish;

	if (!bt_knows(v->vm->bt, at.rip))
		return;
	memcpy(at.gpr, v->gate.page->gpr, sizeof(at.gpr));
	bt_recover(v->vm->bt, &at, &scratch, true, &finish);
	if (guest_translate(v->vm->shadow, &m, at.rip, PF_I, false, &w, &fault) && bt_quiet_site(v->vm->bt, at.rip))
		bt_invalidate(v->vm->bt, w.gpa >> PAGE_SHIFT, w.gpa & PAGE_MASK, 1);
}

// gpa: where the store goes, after a walk that allowed it.
bool fast_store(struct vcpu *v, u64 gpa)
{
	struct vcpu_page *p = v->gate.page;
	struct vm *vm = v->vm;
	unsigned watched = shadow_watched(vm->shadow, gpa >> PAGE_SHIFT);
	u64 offset = p->rip - GATE_TC, old, new_;
	u64 *ram = gpa_ram(vm, gpa);
	struct plain_store s;

	if ((p->cs & 3) != 1 || offset >= (vm->cache.code_pages << PAGE_SHIFT) - 16 || (gpa & 7) || !ram || (watched & WATCH_CODE))
		return false;
	if (!plain_store_decode((const u8 *)frame_ptr(vm->cache.code) + offset, &s) || (s.kind == STORE_XCHG && s.reg == R_RSP))
		return false;
	new_ = source(v, &s);
	old = *ram;
	if (old != new_) {
		*ram = new_;
		if (shadow_is_table(vm->shadow, gpa >> PAGE_SHIFT))
			shadow_written(vm->shadow, gpa, 8);
		if (watched & WATCH_REFLECT)
			reflect_forget(v);
		if (watched & (WATCH_GDT | WATCH_LDT))
			tables_written(v, gpa, 8);
	}
	if (old == new_ && s.kind == STORE_REG && (watched & (WATCH_GDT | WATCH_LDT)))
		quieten(v);
	if (s.kind == STORE_XCHG)
		p->gpr[s.reg] = old;
	p->rip += s.length;
	v->resume_raw = true;
	return true;
}
