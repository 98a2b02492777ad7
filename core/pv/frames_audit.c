// SPDX-License-Identifier: MIT
// The invariants of frames.h, counted anew from the guest's tables.
#include "base/fmt.h"
#include "base/x86.h"
#include "core/pv/frames.h"

#define SLOTS 512u

struct audit {
	struct pv_frames *f;
	struct pv_count *count;
	void (*report)(void *ctx, const char *text);
	void *ctx;
	unsigned wrong;
};

static void say(struct audit *a, ppn_t ppn, const char *what, u64 got, u64 want)
{
	char text[120];

	a->wrong++;
	if (!a->report)
		return;
	fmt_snprintf(text, sizeof(text), "page %lx: %s: %lx, should be %lx", (unsigned long)ppn, what, (unsigned long)got, (unsigned long)want);
	a->report(a->ctx, text);
}

static void count_entry(struct audit *a, ppn_t table, unsigned level, unsigned slot, u64 entry)
{
	struct pv_frames *f = a->f;
	ppn_t to = pv_page_in(f, (entry & PTE_ADDR) >> PAGE_SHIFT);
	unsigned type = level > 1 ? level - 1 : entry & PTE_W ? PV_WRITABLE : PV_NONE;

	if (!(entry & PTE_P))
		return;
	if (to >= f->ppn_limit) {
		say(a, table, "leads out of the guest's memory", entry, 0);
		return;
	}
	if ((entry & (f->reserved | PTE_G)) || (level > 1 && (entry & PTE_PS)))
		say(a, table, "bits that no entry may have", entry, 0);
	if (level == PV_L4 && slot >= PV_FIRST_OURS && slot <= PV_LAST_OURS)
		say(a, table, "an entry in a slot of ours", slot, 0);
	a->count[to].refs++;
	if (type == PV_NONE)
		return;
	a->count[to].uses++;
	if (!f->frame[to].uses || f->frame[to].type != type)
		say(a, to, "used as what it is not: type", f->frame[to].type, type);
}

static void count_table(struct audit *a, ppn_t ppn)
{
	struct pv_frames *f = a->f;
	const struct pv_frame *fr = &f->frame[ppn];
	const u64 *entry = pv_map(f, f->ports->mpn(f->ctx, ppn));

	if (fr->type < PV_L1 || fr->type > PV_L4)
		say(a, ppn, "holds frames, of type", fr->type, 0);
	for (unsigned slot = 0; slot < fr->done; slot++)
		count_entry(a, ppn, fr->type, slot, entry[slot]);
}

static void check_list(struct audit *a)
{
	struct pv_frames *f = a->f;
	ppn_t listed = 0, flagged = 0;

	for (u32 at = f->waiting; at != PV_END && listed <= f->ppn_limit; at = f->frame[at].next, listed++)
		if (!(f->frame[at].flags & PV_WAITING))
			say(a, at, "in the list, flags", f->frame[at].flags, PV_WAITING);
	for (ppn_t p = 0; p < f->ppn_limit; p++)
		flagged += f->frame[p].flags & PV_WAITING ? 1 : 0;
	if (listed != flagged)
		say(a, 0, "tables in the list", listed, flagged);
}

unsigned pv_audit(struct pv_frames *f, struct pv_count *count, void (*report)(void *ctx, const char *text), void *ctx)
{
	struct audit a = {f, count, report, ctx, 0};

	for (ppn_t p = 0; p < f->ppn_limit; p++) {
		const struct pv_frame *fr = &f->frame[p];
		bool table = fr->uses && fr->type <= PV_L4;

		if (fr->done)
			count_table(&a, p);
		if (fr->uses && fr->done != (table ? SLOTS : 0))
			say(&a, p, "in use, entries held", fr->done, table ? SLOTS : 0);
		if (fr->flags & PV_PINNED) {
			count[p].refs++;
			count[p].uses++;
		}
	}
	for (ppn_t p = 0; p < f->ppn_limit; p++) {
		if (f->frame[p].refs != count[p].refs)
			say(&a, p, "refs", f->frame[p].refs, count[p].refs);
		if (f->frame[p].uses != count[p].uses)
			say(&a, p, "uses", f->frame[p].uses, count[p].uses);
	}
	check_list(&a);
	return a.wrong;
}
