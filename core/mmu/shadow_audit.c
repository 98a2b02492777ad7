// SPDX-License-Identifier: MIT
// The audit: recomputes from the guest's tables and the P2M what every shadow entry may grant, and checks that lists,
// counts and indexes agree in both directions. It changes nothing and trusts nothing but the descriptors' frames.
#include "base/fmt.h"
#include "core/mmu/shadow_private.h"

struct audit {
	struct shadow *s;
	void (*report)(void *ctx, const char *text);
	void *ctx;
	unsigned violations;
	u64 leaves, links; // present level-1 entries, present higher ones
};

static void PRINTF(2, 3) violation(struct audit *a, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	a->violations++;
	if (!a->report)
		return;
	va_start(ap, fmt);
	fmt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->report(a->ctx, text);
}

// Complains about one entry.
static void entry_violation(struct audit *a, const struct table *t, unsigned slot, const char *what)
{
	violation(a, "level %u table of frame %lx%s, slot %u (%lx): %s", t->level, (unsigned long)t->ppn,
		  t->direct ? " (direct)" : "", slot, (unsigned long)t->entry[slot], what);
}

// What an entry may grant at most, and where it must lead.
struct allowed {
	bool present;
	bool leaf;
	u64 rights; // PTE_W if writable, PTE_U, PTE_NX exactly
	ppn_t ppn;
};

static struct allowed audit_allowed(struct audit *a, const struct table *t, unsigned slot, const u64 *guest)
{
	struct shadow *s = a->s;
	struct allowed w = {0};
	u64 e;

	if (t->direct)
		return (struct allowed){true, true, PTE_W | PTE_U,
					t->ppn + ((ppn_t)slot << (t->level - 1) * TABLE_BITS)};
	if (!guest)
		return w;
	e = guest[slot];
	if (!(e & PTE_P) || !(e & PTE_A) || (e & walk_reserved(s, s->nx, e, t->level)))
		return w;
	w.present = true;
	w.leaf = t->level == 1 || (t->level < 4 && (e & PTE_PS));
	w.rights = e & (PTE_W | PTE_U | PTE_NX);
	if (w.leaf && !(e & PTE_D))
		w.rights &= ~PTE_W;
	w.ppn = (e & PTE_ADDR) >> PAGE_SHIFT;
	if (w.leaf)
		w.ppn &= ~(BIT((t->level - 1) * TABLE_BITS) - 1);
	return w;
}

static void audit_rights(struct audit *a, const struct table *t, unsigned slot, const struct allowed *w, const u64 *guest)
{
	u64 e = t->entry[slot];
	const u64 known = PTE_ADDR | PTE_P | PTE_A | PTE_W | PTE_D | PTE_U | PTE_NX;

	if (!(e & PTE_P) || !(e & PTE_A) || (e & ~(t->level == 1 && !t->direct ? known | ENTRY_READ_ONLY : known)))
		entry_violation(a, t, slot, "malformed");
	if (!w->present)
		entry_violation(a, t, slot, "present, the guest's is not (or not accessed)");
	else if ((e & PTE_W) && !(w->rights & PTE_W))
		entry_violation(a, t, slot, "writable, the guest's is not (or not dirty)");
	else if ((e & ENTRY_READ_ONLY) && (guest[slot] & PTE_W))
		entry_violation(a, t, slot, "read-only by the guest, it says; the guest's is not");
	else if ((e ^ w->rights) & (PTE_U | PTE_NX))
		entry_violation(a, t, slot, "U or NX differs from the guest's");
}

static void audit_leaf(struct audit *a, const struct table *t, unsigned slot, const struct allowed *w)
{
	struct shadow *s = a->s;
	u64 e = t->entry[slot];
	mpn_t mpn = MPN_NONE;
	enum p2m_type type = s->ports->p2m(s->ctx, w->ppn, &mpn);
	struct frame *f = frame_of(s, w->ppn);

	a->leaves++;
	if (!w->present)
		return;
	if (!f || (type != P2M_RAM && type != P2M_ROM) || mpn != (e & PTE_ADDR) >> PAGE_SHIFT)
		entry_violation(a, t, slot, "wrong machine frame");
	else if ((e & PTE_W) && (type == P2M_ROM || frame_protected(f)))
		entry_violation(a, t, slot, "writable, the frame is protected");
	else if ((e & PTE_W) && !f->writable)
		entry_violation(a, t, slot, "writable, the frame's record does not know");
}

static void audit_upper(struct audit *a, const struct table *t, unsigned slot, const struct allowed *w)
{
	struct table *child;

	a->links++;
	if (!w->present)
		return;
	child = table_find(a->s, w->ppn, t->level - 1u, w->leaf);
	if (!child || child->mpn != (t->entry[slot] & PTE_ADDR) >> PAGE_SHIFT)
		entry_violation(a, t, slot, "leads to the wrong table");
}

static void audit_entries(struct audit *a, const struct table *t)
{
	const u64 *guest = t->direct ? NULL : walk_table(a->s, t->ppn);
	unsigned live = 0;

	for (unsigned slot = 0; slot < SLOTS; slot++) {
		struct allowed w;

		if (t->level == 4 && slot == GATE_SLOT) {
			if (t->entry[slot] != (a->s->gate_l3 << PAGE_SHIFT | PTE_P | PTE_W | PTE_A))
				entry_violation(a, t, slot, "is not the gate");
			continue;
		}
		if (t->level == 4 && slot == WINDOW_SLOT) {
			if (t->entry[slot] != (t->mpn << PAGE_SHIFT | PTE_P | PTE_A | PTE_NX))
				entry_violation(a, t, slot, "is not the read-only window");
			continue;
		}
		if (t->entry[slot] == ENTRY_MARKER && (!t->markers || t->direct || t->level != 1 || !guest || (guest[slot] & PTE_P)))
			entry_violation(a, t, slot, "promises a fault that is not the guest's");
		if (!entry_live(t->entry[slot]))
			continue;
		live++;
		w = audit_allowed(a, t, slot, guest);
		audit_rights(a, t, slot, &w, guest);
		if (t->level == 1)
			audit_leaf(a, t, slot, &w);
		else
			audit_upper(a, t, slot, &w);
	}
	if (live != t->live)
		entry_violation(a, t, 0, "count of present entries is wrong");
}

// Parents of a table: each entry leads here, as many as refs says; the address is that of every path.
static void audit_parents(struct audit *a, const struct table *t, u64 *links)
{
	u32 refs = 0, prev = REF_HEAD | table_index(a->s, t);

	for (u32 ref = t->parents; ref && refs <= t->refs; refs++) {
		const struct table *p = ref_table(a->s, ref);
		unsigned slot = ref_slot(ref);

		if (p->level != t->level + 1u || (p->entry[slot] & PTE_ADDR) >> PAGE_SHIFT != t->mpn ||
		    p->link[slot].prev != prev)
			entry_violation(a, t, 0, "a parent does not lead here");
		if (!t->multi && (p->multi || t->va != (p->va | (u64)slot << level_shift(p->level))))
			entry_violation(a, t, 0, "address is not the parent's");
		prev = ref;
		ref = p->link[slot].next;
	}
	if (refs != t->refs || (t->level == 4) != !refs)
		entry_violation(a, t, 0, "count of parents is wrong");
	*links += refs;
}

static void audit_indexes(struct audit *a, struct table *t)
{
	struct shadow *s = a->s;
	bool listed = t->direct;

	if (table_find(s, t->ppn, t->level, t->direct) != t)
		entry_violation(a, t, 0, "not found by its key");
	if (table_by_mpn(s, t->mpn) != t)
		entry_violation(a, t, 0, "not found by its machine frame");
	if (t->direct || !frame_of(s, t->ppn))
		return;
	for (u32 i = frame_of(s, t->ppn)->tables; i; i = s->tables[i].frame_next)
		listed |= &s->tables[i] == t;
	if (!listed)
		entry_violation(a, t, 0, "unknown to its frame");
}

// Reverse map of a frame: every entry in it maps the frame; the number is added to *mapped.
static void audit_rmap(struct audit *a, ppn_t ppn, const struct frame *f, u64 *mapped)
{
	struct shadow *s = a->s;
	u32 prev = REF_HEAD | (u32)ppn;
	mpn_t mpn = MPN_NONE;

	if (f->rmap)
		s->ports->p2m(s->ctx, ppn, &mpn);
	for (u32 ref = f->rmap; ref; ref = ref_table(s, ref)->link[ref_slot(ref)].next) {
		const struct table *t = ref_table(s, ref);
		unsigned slot = ref_slot(ref);

		if (t->level != 1 || (t->entry[slot] & PTE_ADDR) >> PAGE_SHIFT != mpn || t->link[slot].prev != prev) {
			violation(a, "frame %lx: entry %x of its reverse map does not map it", (unsigned long)ppn, ref);
			return;
		}
		if (++*mapped > a->leaves) // a cycle, or entries in two lists
			return;
		prev = ref;
	}
}

static void audit_frames(struct audit *a)
{
	struct shadow *s = a->s;
	u64 mapped = 0;

	for (ppn_t ppn = 0; ppn < s->ppn_limit; ppn++) {
		const struct frame *f = &s->frames[ppn];

		for (u32 i = f->tables; i; i = s->tables[i].frame_next)
			if (s->tables[i].ppn != ppn || s->tables[i].direct || !s->tables[i].level)
				violation(a, "frame %lx: lists a table that is not its own", (unsigned long)ppn);
		audit_rmap(a, ppn, f, &mapped);
	}
	if (mapped != a->leaves)
		violation(a, "%lu entries map pages, the reverse map has %lu", (unsigned long)a->leaves,
			  (unsigned long)mapped);
}

static unsigned list_length(const struct shadow *s, u32 i)
{
	unsigned n = 0;

	for (; i && n <= s->max_tables; i = s->tables[i].next)
		n++;
	return n;
}

static void audit_counts(struct audit *a, u64 used, u64 roots)
{
	struct shadow *s = a->s;
	u64 listed = 0;

	for (u32 i = s->lru_head; i && listed <= roots; i = s->tables[i].lru_next)
		listed += s->tables[i].level == 4;
	if (listed != roots)
		violation(a, "%lu roots, %lu in the list", (unsigned long)roots, (unsigned long)listed);
	if (list_length(s, s->warm) != s->warm_count || list_length(s, s->cold) != s->cold_count ||
	    used + s->warm_count + s->cold_count != s->max_tables || used != s->stats.tables)
		violation(a, "tables: %lu used, %u warm, %u cold of %u", (unsigned long)used, s->warm_count,
			  s->cold_count, s->max_tables);
	if (s->current && s->tables[s->current].level != 4)
		violation(a, "the current root is none");
}

unsigned shadow_audit(struct shadow *s, void (*report)(void *ctx, const char *text), void *ctx)
{
	struct audit a = {.s = s, .report = report, .ctx = ctx};
	u64 used = 0, roots = 0, parents = 0;

	for (u32 i = 1; i <= s->max_tables; i++) {
		struct table *t = &s->tables[i];

		if (!t->level)
			continue;
		used++;
		roots += t->level == 4;
		audit_entries(&a, t);
		audit_parents(&a, t, &parents);
		audit_indexes(&a, t);
	}
	if (parents != a.links)
		violation(&a, "%lu entries lead to tables, %lu parents are known", (unsigned long)a.links,
			  (unsigned long)parents);
	audit_frames(&a);
	audit_counts(&a, used, roots);
	return a.violations;
}
