// SPDX-License-Identifier: MIT
// The guest's memory by its own addresses. The tables in use are validated, so a walk meets nothing but the guest's frames.
#include "core/pv/guest.h"

#include "base/string.h"

static void *frame(struct pv_vcpu *v, mpn_t mpn)
{
	return pv_map(&v->guest->frames, mpn);
}

static mpn_t mpn_of(u64 entry)
{
	return (entry & PTE_ADDR) >> PAGE_SHIFT;
}

static unsigned slot_of(u64 va, unsigned level)
{
	return (unsigned)(va >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
}

// *writable: by all entries above the leaf.
static bool walk(struct pv_vcpu *v, u64 va, mpn_t *table, bool *writable)
{
	mpn_t at = v->root;

	*writable = true;
	if (at == MPN_NONE || !is_canonical(va))
		return false;
	for (unsigned level = 4; level > 1; level--) {
		u64 entry = ((u64 *)frame(v, at))[slot_of(va, level)];

		if (!(entry & PTE_P))
			return false;
		*writable &= !!(entry & PTE_W);
		at = mpn_of(entry);
	}
	*table = at;
	return true;
}

bool pv_leaf(struct pv_vcpu *v, u64 va, mpn_t *table, unsigned *slot, u64 *entry)
{
	bool writable;

	if (!walk(v, va, table, &writable))
		return false;
	*slot = slot_of(va, 1);
	*entry = ((u64 *)frame(v, *table))[*slot];
	return true;
}

bool pv_tables_writable(struct pv_vcpu *v, u64 va)
{
	mpn_t table;
	bool writable;

	return walk(v, va, &table, &writable) && writable;
}

// A page as the machine would reach it; accessed and dirty as it would set them.
static u8 *reach(struct pv_vcpu *v, u64 va, bool write)
{
	mpn_t table;
	bool writable;
	u64 *entry;

	if (!walk(v, va, &table, &writable))
		return NULL;
	entry = &((u64 *)frame(v, table))[slot_of(va, 1)];
	if (!(*entry & PTE_P) || (write && !(writable && (*entry & PTE_W))))
		return NULL;
	__atomic_or_fetch(entry, write ? PTE_A | PTE_D : PTE_A, __ATOMIC_RELAXED);
	return (u8 *)frame(v, mpn_of(*entry)) + (va & PAGE_MASK);
}

bool pv_read(struct pv_vcpu *v, u64 va, void *buf, u64 n)
{
	u8 *out = buf;

	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (va & PAGE_MASK));
		const u8 *from = reach(v, va, false);

		if (!from)
			return false;
		memcpy(out, from, part);
		out += part, va += part, n -= part;
	}
	return true;
}

bool pv_write(struct pv_vcpu *v, u64 va, const void *buf, u64 n)
{
	const u8 *in = buf;

	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (va & PAGE_MASK));
		u8 *to = reach(v, va, true);

		if (!to)
			return false;
		memcpy(to, in, part);
		in += part, va += part, n -= part;
	}
	return true;
}

bool pv_share_user(struct pv_vcpu *v, u64 va)
{
	mpn_t table[5] = {[4] = v->root};
	u64 entry[5];
	bool added = false;

	if (v->user_root != v->root || va >> 47)
		return false;
	for (unsigned level = 4; level; level--) {
		entry[level] = ((u64 *)frame(v, table[level]))[slot_of(va, level)];
		if (!(entry[level] & PTE_P))
			return false;
		table[level - 1] = mpn_of(entry[level]);
	}
	for (unsigned level = 4; level; level--)
		if (!(entry[level] & PTE_U))
			added |= pv_store(&v->guest->frames, table[level], slot_of(va, level), entry[level] | PTE_U, true) == ST_OK;
	return added;
}

bool pv_is_table(struct pv_vcpu *v, mpn_t mpn)
{
	for (enum pv_type level = PV_L1; level <= PV_L4; level++)
		if (pv_is_type(&v->guest->frames, mpn, level))
			return true;
	return false;
}

// The table that is mapped at va, MPN_NONE: none is.
static mpn_t table_mapped(struct pv_vcpu *v, u64 va)
{
	mpn_t table;
	unsigned slot;
	u64 entry;

	return pv_leaf(v, va, &table, &slot, &entry) && (entry & PTE_P) && pv_is_table(v, mpn_of(entry)) ? mpn_of(entry) : MPN_NONE;
}

enum status pv_table_exchange(struct pv_vcpu *v, u64 va, u64 value, u64 *old)
{
	mpn_t table = table_mapped(v, va);
	unsigned slot = (va & PAGE_MASK) / 8;

	if (table == MPN_NONE)
		return ST_INVALID;
	// A and D may be set by the machine up to the store; this guest's only CPU is here.
	*old = ((u64 *)frame(v, table))[slot];
	return pv_store(&v->guest->frames, table, slot, value, false);
}

enum status pv_table_store(struct pv_vcpu *v, u64 va, const void *bytes, unsigned n)
{
	mpn_t table = (va & 7) + n <= 8 ? table_mapped(v, va) : MPN_NONE;
	unsigned slot = (va & PAGE_MASK) / 8;
	u64 value;

	if (table == MPN_NONE)
		return ST_INVALID;
	value = ((u64 *)frame(v, table))[slot];
	memcpy((u8 *)&value + (va & 7), bytes, n);
	return pv_store(&v->guest->frames, table, slot, value, false);
}
