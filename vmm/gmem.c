// SPDX-License-Identifier: MIT
// Guest memory. Everything that the hypervisor reads or writes of a guest's memory goes through here: bounds from the P2M,
// each byte copied once, and every write told to the shadow, the translator and the descriptor-table copies.
#include "vmm/vm.h"

#include "base/string.h"
#include "base/trace.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"

void *gpa_ram(struct vm *vm, u64 gpa)
{
	ppn_t ppn = gpa >> PAGE_SHIFT;

	if (ppn >= vm->ppn_limit || vm->p2m[ppn] == MPN_NONE)
		return NULL;
	return (u8 *)frame_ptr(vm->p2m[ppn]) + (gpa & PAGE_MASK);
}

static void device_read(struct vm *vm, u64 gpa, void *buf, unsigned len)
{
	u8 *out = buf;

	vm->vcpu.attention = true;
	while (len) {
		unsigned n = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
		u64 v = platform_mmio_read(&vm->platform, time_ns(), gpa, n);

		trace(DEVICE, TRACE_DEVICE_MMIO_READ, gpa, n, v, 0);
		memcpy(out, &v, n);
		out += n, gpa += n, len -= n;
	}
}

static void device_write(struct vm *vm, u64 gpa, const void *buf, unsigned len)
{
	const u8 *in = buf;

	vm->vcpu.attention = true;
	while (len) {
		unsigned n = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
		u64 v = 0;

		memcpy(&v, in, n);
		trace(DEVICE, TRACE_DEVICE_MMIO_WRITE, gpa, n, v, 0);
		platform_mmio_write(&vm->platform, time_ns(), gpa, n, v);
		in += n, gpa += n, len -= n;
	}
}

// A page of code that is written again and again (patching of alternatives, static keys, ftrace) loses all its translations,
// and with them its write protection, until it is executed again: cheaper than a fault per store. A page that keeps coming
// back gets more patience each time.
static void code_written(struct vm *vm, ppn_t ppn, unsigned offset, unsigned len)
{
	struct code_page *c = &vm->code_pages[ppn % CODE_PAGES];

	trace(BT, TRACE_BT_CODE_WRITTEN, (ppn << PAGE_SHIFT) + offset, len, c->writes, 0);
	if (c->ppn != ppn)
		*c = (struct code_page){.ppn = ppn, .patience = CODE_PATIENCE};
	if (++c->writes < c->patience) {
		bt_invalidate(vm->bt, ppn, offset, len);
		return;
	}
	c->writes = 0;
	c->patience = MIN(c->patience * 2, CODE_PATIENCE_MAX);
	bt_invalidate(vm->bt, ppn, 0, PAGE_SIZE);
}

// What is derived from the frame's contents follows the write.
static void frame_written(struct vm *vm, u64 gpa, unsigned len)
{
	ppn_t ppn = gpa >> PAGE_SHIFT;
	unsigned watched = shadow_watched(vm->shadow, ppn);

	if (shadow_is_table(vm->shadow, ppn))
		shadow_written(vm->shadow, gpa, len);
	if (watched & WATCH_CODE)
		code_written(vm, ppn, gpa & PAGE_MASK, len);
	if (watched & WATCH_REFLECT)
		reflect_forget(&vm->vcpu);
	if (watched & (WATCH_GDT | WATCH_LDT))
		tables_written(&vm->vcpu, gpa, len);
}

static bool gpa_access(struct vm *vm, u64 gpa, void *buf, unsigned len, bool write)
{
	u8 *bytes = buf;
	bool all_ram = true;

	while (len) {
		unsigned n = MIN(len, (unsigned)(PAGE_SIZE - (gpa & PAGE_MASK)));
		u8 *ram = gpa_ram(vm, gpa);

		if (ram && write) {
			memcpy(ram, bytes, n);
			frame_written(vm, gpa, n);
		} else if (ram) {
			memcpy(bytes, ram, n);
		} else if (write) {
			all_ram = false;
			device_write(vm, gpa, bytes, n);
		} else {
			all_ram = false;
			device_read(vm, gpa, bytes, n);
		}
		bytes += n, gpa += n, len -= n;
	}
	return all_ram;
}

bool gpa_read(struct vm *vm, u64 gpa, void *buf, unsigned len)
{
	return gpa_access(vm, gpa, buf, len, false);
}

bool gpa_write(struct vm *vm, u64 gpa, const void *buf, unsigned len)
{
	return gpa_access(vm, gpa, (void *)buf, len, true);
}

static enum mmu_paging paging_of(const struct x86_cpu *c)
{
	if (!(c->cr0 & CR0_PG))
		return PAGING_OFF;
	if (cpu_lma(c))
		return PAGING_LONG;
	return c->cr4 & CR4_PAE ? PAGING_PAE : PAGING_32;
}

struct mmu_mode vcpu_mmu_mode(const struct vcpu *v)
{
	const struct x86_cpu *c = &v->cpu;

	return (struct mmu_mode){
		.paging = paging_of(c),
		.wp = c->cr0 & CR0_WP,
		.nx = (c->efer & EFER_NXE) && (c->cr4 & CR4_PAE),
		.pse = c->cr4 & CR4_PSE,
		.smep = c->cr4 & CR4_SMEP,
		.smap = c->cr4 & CR4_SMAP,
		.ac = c->rflags & RFL_AC,
		.cr3 = c->cr3,
	};
}

static enum emul_result translate(struct vcpu *v, u64 linear, unsigned kind, u64 *gpa, struct x86_fault *fault)
{
	struct guest_walk w;
	struct mmu_mode m = vcpu_mmu_mode(v);
	u32 err = (kind & (EMUL_WRITE | EMUL_RMW)) ? PF_W : 0;

	if (kind & EMUL_EXEC)
		err |= PF_I;
	if (kind & EMUL_SUPERVISOR)
		m.ac = false;
	else if (cpu_cpl(&v->cpu) == 3)
		err |= PF_U;
	if (!guest_translate(v->vm->shadow, &m, linear, err, true, &w, fault))
		return EMUL_FAULT;
	*gpa = w.gpa;
	return EMUL_OK;
}

// Both pages of a straddling access are translated before either is touched.
enum emul_result linear_access(struct vcpu *v, u64 linear, void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));
	u64 gpa, gpa2 = 0;
	bool write = kind & EMUL_WRITE;
	enum emul_result r = translate(v, linear, kind, &gpa, fault);

	if (r == EMUL_OK && first < len)
		r = translate(v, linear + first, kind, &gpa2, fault);
	if (r != EMUL_OK)
		return r;
	gpa_access(v->vm, gpa, buf, first, write);
	if (first < len)
		gpa_access(v->vm, gpa2, (u8 *)buf + first, len - first, write);
	return EMUL_OK;
}
