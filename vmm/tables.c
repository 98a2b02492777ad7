// SPDX-License-Identifier: MIT
// Descriptor tables in use are filtered copies of the guest's (machine/gate/gate.h says how): made at LGDT and LLDT, and
// for the entries concerned again when a watched page of the guest's table is written. One frame that a table has twice is
// followed at its first place only.
#include "vmm/vm.h"

#include "base/string.h"
#include "machine/cpu/cpu.h"

static bool read_guest_table(struct vcpu *v, u64 base, void *buf, unsigned len)
{
	struct x86_fault fault;

	return linear_access(v, base, buf, len, EMUL_READ | EMUL_SUPERVISOR, &fault) == EMUL_OK;
}

// Watches the pages of the table that is loaded now, and no longer those of the one before.
static void watch_range(struct vcpu *v, struct watched_table *t, u64 base, u64 len, enum shadow_watch why)
{
	while (t->count)
		shadow_unwatch(v->vm->shadow, t->ppn[--t->count], why);
	for (u64 va = ROUND_DOWN(base, PAGE_SIZE); va < base + len && t->count < TABLE_PAGES; va += PAGE_SIZE) {
		struct guest_walk w;
		struct x86_fault fault;
		struct mmu_mode m = vcpu_mmu_mode(v);
		ppn_t ppn;

		if (!guest_translate(v->vm->shadow, &m, va, 0, false, &w, &fault))
			continue;
		ppn = w.gpa >> PAGE_SHIFT;
		if (gpa_ram(v->vm, ppn << PAGE_SHIFT)) {
			shadow_watch(v->vm->shadow, ppn, why);
			t->va[t->count] = va;
			t->ppn[t->count++] = ppn;
		}
	}
}

// Entries [first, last] of the guest's table anew. What cannot be read is not present.
static void copy_gdt(struct vcpu *v, unsigned first, unsigned last)
{
	unsigned entries = (v->cpu.gdtr.limit + 1u) / 8;

	for (unsigned i = MAX(first, 1u); i < entries && i <= last; i += 64) {
		u64 chunk[64];
		unsigned n = MIN(MIN(64u, entries - i), last - i + 1);

		if (!read_guest_table(v, v->cpu.gdtr.base + i * 8ull, chunk, n * 8))
			memset(chunk, 0, sizeof(chunk));
		for (unsigned k = 0; k < n; k++)
			gate_set_gdt(&v->gate, i + k, chunk[k]);
	}
}

static unsigned ldt_entries(const struct vcpu *v)
{
	const struct x86_segment *l = &v->cpu.ldtr;

	return (l->selector & ~3u) && !(l->attr & SEG_ATTR_UNUSABLE) ? MIN((l->limit + 1u) / 8, 8192u) : 0;
}

static void copy_ldt(struct vcpu *v, unsigned first, unsigned last)
{
	unsigned entries = ldt_entries(v);

	for (unsigned i = first; i < entries && i <= last; i += 64) {
		u64 chunk[64];
		unsigned n = MIN(MIN(64u, entries - i), last - i + 1);

		if (!read_guest_table(v, v->cpu.ldtr.base + i * 8ull, chunk, n * 8))
			memset(chunk, 0, sizeof(chunk));
		for (unsigned k = 0; k < n; k++)
			v->gate.ldt[i + k] = gate_filter_descriptor(chunk[k]);
	}
}

void tables_load_gdt(struct vcpu *v)
{
	gate_clear_gdt(&v->gate);
	copy_gdt(v, 0, ~0u - 64);
	watch_range(v, &v->gdt_pages, v->cpu.gdtr.base, v->cpu.gdtr.limit + 1ull, WATCH_GDT);
}

void tables_load_ldt(struct vcpu *v)
{
	unsigned entries = ldt_entries(v);

	copy_ldt(v, 0, ~0u - 64);
	gate_load_ldt(&v->gate, entries);
	watch_range(v, &v->ldt_pages, v->cpu.ldtr.base, entries * 8ull, WATCH_LDT);
}

void tables_reload_ldt(struct vcpu *v)
{
	gate_load_ldt(&v->gate, ldt_entries(v));
}

// The entries of table t at `base` that lie in the bytes written. False: none.
static bool entries_written(const struct watched_table *t, u64 base, u64 gpa, unsigned len, unsigned *first, unsigned *last)
{
	for (unsigned i = 0; i < t->count; i++) {
		u64 va = t->va[i] + (gpa & PAGE_MASK);

		if (t->ppn[i] != gpa >> PAGE_SHIFT || va + len <= base)
			continue;
		*first = va <= base ? 0 : (unsigned)((va - base) / 8);
		*last = (unsigned)((va + len - 1 - base) / 8);
		return true;
	}
	return false;
}

// The machine's hidden segment registers keep what they had, as on a machine without us.
void tables_written(struct vcpu *v, u64 gpa, unsigned len)
{
	unsigned watched = shadow_watched(v->vm->shadow, gpa >> PAGE_SHIFT), first, last;

	if ((watched & WATCH_GDT) && entries_written(&v->gdt_pages, v->cpu.gdtr.base, gpa, len, &first, &last))
		copy_gdt(v, first, last);
	if ((watched & WATCH_LDT) && entries_written(&v->ldt_pages, v->cpu.ldtr.base, gpa, len, &first, &last))
		copy_ldt(v, first, last);
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
