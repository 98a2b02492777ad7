// SPDX-License-Identifier: MIT
// True page faults of guest user code without a crossing. Where the shadow holds a not-present marker, or says that the guest has a
// page read-only that is stored to, the gate hands the fault to the guest's own handler (machine/gate/gate.S: gate_page_fault,
// gate_reflect). What the machine would read for that from the guest's IDT is read here beforehand, and void when its page is written
// or another table is loaded; RSP0 is read by ring 1 each time, since kernels write their TSS at every system call or task switch.
#include "vmm/vm.h"

#include "base/string.h"
#include "core/mmu/shadow.h"

#define GATE_TYPE_INTERRUPT 14
#define TSS_RSP0 4
#define TSS_LIMIT 0x67
#define REFRESH_PATIENCE 16 // guest faults between attempts

static bool read_supervisor(struct vcpu *v, u64 va, void *buf, unsigned len)
{
	struct x86_fault fault;

	return linear_access(v, va, buf, len, EMUL_READ | EMUL_SUPERVISOR, &fault) == EMUL_OK;
}

// The handler of #PF, if delivery from ring 3 is the plain case: a present 64-bit interrupt gate to ring-0 code, no IST.
static bool find_handler(struct vcpu *v, u64 *handler)
{
	u64 gate[2];
	u16 sel;

	if (v->cpu.idtr.limit < VEC_PF * 16 + 15 || !read_supervisor(v, v->cpu.idtr.base + VEC_PF * 16, gate, 16))
		return false;
	sel = (u16)(gate[0] >> 16);
	*handler = (gate[0] & 0xffff) | ((gate[0] >> 32) & 0xffff0000) | gate[1] << 32;
	return (gate[0] >> 47 & 1) && ((gate[0] >> 40) & 31) == GATE_TYPE_INTERRUPT && ((gate[0] >> 32) & 7) == 0 &&
	       sel == ((v->cpu.star >> 32) & 0xfffc) && is_canonical(*handler);
}

static bool watch(struct vcpu *v, u64 va)
{
	struct guest_walk w;
	struct x86_fault fault;
	struct mmu_mode m = vcpu_mmu_mode(v);

	if (!guest_translate(v->vm->shadow, &m, va, 0, false, &w, &fault) || !gpa_ram(v->vm, w.gpa))
		return false;
	shadow_watch(v->vm->shadow, w.gpa >> PAGE_SHIFT, WATCH_REFLECT);
	return true;
}

// The machine has EFER.NXE set and tells fetches from reads; where the guest's would not (SDM 3A 4.7, I/D) its code is made by the walk.
static bool tells_fetches(const struct vcpu *v)
{
	return (v->cpu.efer & EFER_NXE) || (v->cpu.cr4 & CR4_SMEP);
}

void reflect_forget(struct vcpu *v)
{
	v->reflect_rip = 0;
	v->reflect_wait = 0;
	v->gate.trust->reflect_handler = 0;
}

// After a guest fault took the long way: make the next one short.
void reflect_refresh(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;
	u64 handler;

	if (t->reflect_handler || !tells_fetches(v))
		return;
	if (!v->reflect_rip) {
		if (v->reflect_wait++ % REFRESH_PATIENCE || v->cpu.tr.limit < TSS_LIMIT ||
		    !is_canonical(v->cpu.tr.base) || !find_handler(v, &handler) || !watch(v, v->cpu.idtr.base + VEC_PF * 16))
			return;
		v->reflect_rip = handler;
		t->reflect_rsp0 = v->cpu.tr.base + TSS_RSP0;
	}
	t->reflect_handler = bt_entry(v->vm->bt, v->reflect_rip);
}

// An exit came while the frame of a reflected fault was being pushed: the guest is still in ring 3, with the fault to be
// delivered. Does so from the beginning.
void reflect_take_back(struct vcpu *v)
{
	struct vcpu_page *p = v->gate.page;
	struct x86_fault fault = {.vector = VEC_PF, .has_error = true, .error = (u32)p->reflect[0], .cr2 = p->guest_cr2};

	p->gpr[R_RAX] = p->scratch[0];
	p->rip = p->reflect[1];
	p->cs = p->reflect[2] | 3;
	p->rflags = p->reflect[3];
	p->vif = p->reflect[3] & RFL_IF;
	p->rsp = p->reflect[4];
	p->ss = p->reflect[5];
	regs_from_machine(v, true);
	vcpu_inject(v, &fault, false, false);
}
