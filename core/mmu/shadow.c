// SPDX-License-Identifier: MIT
// Shadow paging: creation, roots, knobs. The family's map is in shadow_private.h, the invariants in shadow.h and
// docs/design/mmu.md.
#include "core/mmu/shadow_private.h"

static u32 bucket_bits_for(u32 max_tables)
{
	u32 bits = 6;

	while (BIT(bits) < max_tables && bits < 24)
		bits++;
	return bits;
}

struct layout {
	size_t frames, tables, by_key, by_mpn, total;
};

static struct layout layout_for(u64 ppn_limit, u32 max_tables)
{
	size_t buckets = sizeof(u32) << bucket_bits_for(max_tables);
	struct layout l;

	l.frames = ROUND_UP(sizeof(struct shadow), (size_t)64);
	l.tables = l.frames + ROUND_UP(ppn_limit * sizeof(struct frame), (size_t)64);
	l.by_key = l.tables + ROUND_UP((max_tables + 1ull) * sizeof(struct table), (size_t)64);
	l.by_mpn = l.by_key + buckets;
	l.total = l.by_mpn + buckets;
	return l;
}

size_t shadow_memory_needed(u64 ppn_limit, u32 max_tables)
{
	return layout_for(ppn_limit, max_tables).total;
}

struct shadow *shadow_create(const struct shadow_config *config)
{
	struct layout l = layout_for(config->ppn_limit, config->max_tables);
	char *memory = config->memory;
	struct shadow *s = config->memory;
	unsigned phys_bits = config->phys_bits ? config->phys_bits : DEFAULT_PHYS_BITS;

	assert(config->memory_size >= l.total && config->max_tables >= MIN_TABLES);
	assert(config->ppn_limit <= REF_HEAD && config->max_tables < REF_HEAD >> TABLE_BITS);
	memset(memory, 0, l.total);
	*s = (struct shadow){
		.ports = config->ports,
		.ctx = config->ctx,
		.ppn_limit = config->ppn_limit,
		.max_tables = config->max_tables,
		.gate_l3 = config->gate_l3,
		.markers = config->markers,
		.addr_reserved = PTE_ADDR & ~(BIT(phys_bits) - 1),
		.frames = (struct frame *)(memory + l.frames),
		.tables = (struct table *)(memory + l.tables),
		.by_key = (u32 *)(memory + l.by_key),
		.by_mpn = (u32 *)(memory + l.by_mpn),
		.bucket_bits = bucket_bits_for(config->max_tables),
		.nx = true,
		.unshadowed_fault = NO_PPN,
		.upper_changes = 1, // no memo is true yet
		.flood = DEFAULT_FLOOD,
		.leaf_run = DEFAULT_LEAF_RUN,
		.direct_run = DEFAULT_DIRECT_RUN,
		.rows = true,
	};
	for (u32 i = config->max_tables; i > 0; i--) {
		s->tables[i].next = s->cold;
		s->cold = i;
	}
	s->cold_count = config->max_tables;
	return s;
}

static void release_roots(struct shadow *s)
{
	for (u32 i = s->lru_head, next; i; i = next) {
		next = s->tables[i].lru_next;
		if (i == s->current)
			table_clear(s, &s->tables[i]);
		else
			table_release(s, &s->tables[i]);
	}
}

void shadow_destroy(struct shadow *s)
{
	s->current = 0;
	release_roots(s);
	assert(!s->stats.tables);
	while (s->warm) {
		struct table *t = &s->tables[s->warm];

		s->warm = t->next;
		s->warm_count--;
		s->ports->free(s->ctx, t->mpn);
		s->ports->free(s->ctx, t->link_mpn);
	}
}

void shadow_flush_all(struct shadow *s)
{
	release_roots(s);
	s->ports->flush(s->ctx, VA_ALL);
}

// What hangs below other roots too (the kernel's half) is linked at once: a fault for each entry saved.
static void link_shared(struct shadow *s, struct table *root, const u64 *guest)
{
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		u64 e = guest[slot];
		struct table *child;

		if (!(e & PTE_P) || !(e & PTE_A) || root_slot_is_ours(slot) || (e & walk_reserved(s, s->nx, e, 4)))
			continue;
		child = table_find(s, entry_ppn(e, 4), 3, false);
		if (child && !child->multi && child->va == (u64)slot << level_shift(4))
			table_link(s, root, slot, child, sync_upper_rights(e, 4));
	}
}

enum status shadow_load(struct shadow *s, u64 guest_cr3, mpn_t *root)
{
	ppn_t ppn = (guest_cr3 & PTE_ADDR) >> PAGE_SHIFT;
	const u64 *guest = frame_of(s, ppn) ? walk_table(s, ppn) : NULL;
	struct table *t;
	bool fresh;

	if (!guest)
		return ST_RANGE;
	t = table_find(s, ppn, 4, false);
	fresh = !t;
	if (fresh) {
		if (!table_reserve(s, 1))
			return ST_NOMEM;
		t = table_get(s, ppn, 4, false);
	}
	table_used(s, t);
	table_in_use(s, t);
	if (fresh)
		link_shared(s, t, guest);
	s->current = table_index(s, t);
	*root = t->mpn;
	return ST_OK;
}

mpn_t shadow_root(struct shadow *s, u64 guest_cr3)
{
	const struct table *t = table_find(s, (guest_cr3 & PTE_ADDR) >> PAGE_SHIFT, 4, false);

	return t ? t->mpn : MPN_NONE;
}

bool shadow_slot_is_ours(u64 va)
{
	return is_canonical(va) && root_slot_is_ours(va_slot(va, 4));
}

void shadow_roots_gone(const struct shadow *s, u64 *generation, mpn_t *last_gone)
{
	*generation = s->roots_gone;
	*last_gone = s->root_gone;
}

void shadow_tune(struct shadow *s, const struct shadow_knobs *knobs)
{
	s->flood = MIN(knobs->flood, FLOOD_MAX);
	s->leaf_run = MIN(knobs->leaf_run, SLOTS);
	s->direct_run = MIN(knobs->direct_run, SLOTS);
	s->rows = knobs->rows;
}

struct shadow_knobs shadow_get_knobs(const struct shadow *s)
{
	return (struct shadow_knobs){s->flood, s->leaf_run, s->direct_run, s->rows};
}

const struct shadow_stats *shadow_get_stats(const struct shadow *s)
{
	return &s->stats;
}
