// SPDX-License-Identifier: MIT
// Descriptor tables in use are filtered copies of the guest's (machine/gate/gate.h says how): made at LGDT and LLDT, and
// again when a watched page of the guest's table is written.
#include "vmm/vm.h"

#include "base/string.h"
#include "machine/cpu/cpu.h"

static bool read_guest_table(struct vcpu *v, u64 base, void *buf, unsigned len)
{
	struct x86_fault fault;

	return linear_access(v, base, buf, len, EMUL_READ | EMUL_SUPERVISOR, &fault) == EMUL_OK;
}

static void watch_range(struct vcpu *v, u64 base, u64 len, enum shadow_watch why)
{
	for (u64 va = ROUND_DOWN(base, PAGE_SIZE); va < base + len; va += PAGE_SIZE) {
		struct guest_walk w;
		struct x86_fault fault;
		struct mmu_mode m = vcpu_mmu_mode(v);
		ppn_t ppn = va >> PAGE_SHIFT;

		if (v->cpu.cr0 & CR0_PG) {
			if (!guest_translate(v->vm->shadow, &m, va, 0, false, &w, &fault))
				continue;
			ppn = w.gpa >> PAGE_SHIFT;
		}
		if (gpa_ram(v->vm, ppn << PAGE_SHIFT) && !(shadow_watched(v->vm->shadow, ppn) & why))
			shadow_watch(v->vm->shadow, ppn, why);
	}
}

static void copy_gdt(struct vcpu *v)
{
	unsigned entries = (v->cpu.gdtr.limit + 1u) / 8;

	gate_clear_gdt(&v->gate);
	for (unsigned i = 1; i < entries; i += 64) {
		u64 chunk[64];
		unsigned n = MIN(64u, entries - i);

		if (!read_guest_table(v, v->cpu.gdtr.base + i * 8ull, chunk, n * 8))
			continue;
		for (unsigned k = 0; k < n; k++)
			gate_set_gdt(&v->gate, i + k, chunk[k]);
	}
}

static void copy_ldt(struct vcpu *v)
{
	const struct x86_segment *l = &v->cpu.ldtr;
	unsigned entries = (l->selector & ~3u) && !(l->attr & SEG_ATTR_UNUSABLE) ? MIN((l->limit + 1u) / 8, 8192u) : 0;

	for (unsigned i = 0; i < entries; i += 64) {
		u64 chunk[64];
		unsigned n = MIN(64u, entries - i);

		memset(chunk, 0, sizeof(chunk));
		(void)read_guest_table(v, l->base + i * 8ull, chunk, n * 8);
		for (unsigned k = 0; k < n; k++)
			v->gate.ldt[i + k] = gate_filter_descriptor(chunk[k]);
	}
	gate_load_ldt(&v->gate, entries);
}

void tables_load_gdt(struct vcpu *v)
{
	copy_gdt(v);
	watch_range(v, v->cpu.gdtr.base, v->cpu.gdtr.limit + 1ull, WATCH_GDT);
}

void tables_load_ldt(struct vcpu *v)
{
	copy_ldt(v);
	if (v->cpu.ldtr.selector & ~3u)
		watch_range(v, v->cpu.ldtr.base, v->cpu.ldtr.limit + 1ull, WATCH_LDT);
}

// The machine's hidden segment registers keep what they had, as on a machine without us.
void tables_written(struct vcpu *v, ppn_t ppn)
{
	unsigned watched = shadow_watched(v->vm->shadow, ppn);

	if (watched & WATCH_GDT)
		copy_gdt(v);
	if (watched & WATCH_LDT)
		copy_ldt(v);
}

void tables_fill_segment(struct vcpu *v, struct x86_segment *seg, u16 selector)
{
	u64 raw = (selector & 4) ? v->gate.ldt[selector >> 3] : v->gate.gdt[selector >> 3];
	u32 limit = (u32)(raw & 0xffff) | (u32)((raw >> 32) & 0xf0000);

	seg->selector = selector;
	if (!(selector & ~3) || !(raw & BIT(47))) {
		seg->attr = SEG_ATTR_UNUSABLE;
		seg->limit = 0;
		seg->base = 0;
		return;
	}
	seg->attr = (u32)(raw >> 40) & 0xf0ff;
	if (SEG_ATTR_DPL(seg->attr) == 1) // ours for the guest's 0
		seg->attr &= ~(3u << 5);
	seg->limit = (seg->attr & SEG_ATTR_G) ? limit << 12 | 0xfff : limit;
	seg->base = ((raw >> 16) & 0xffffff) | ((raw >> 32) & 0xff000000);
}
