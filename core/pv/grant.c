// SPDX-License-Identifier: MIT
// Grant tables; contract and invariants in grant.h. An entry is 8 bytes: flags, who may take it, and the frame. It is read once and
// changed by comparing all of it, so that what was checked is what is taken.
#include "core/pv/guest.h"

#include "base/assert.h"
#include "base/string.h"
#include <xen/errno.h>

#define PER_FRAME (PAGE_SIZE / sizeof(grant_entry_v1_t))
#define UNSTABLE 5      // how often an entry may change under our hands
#define WORK 64         // what a copy, or to look for a handle, costs in entries
#define MAPS (GNTMAP_device_map | GNTMAP_host_map)
#define AVAIL_SHIFT 9   // of the bits of an entry that are the guest's
#define AVAIL_MASK 7ull
#define COMMAND 0xfffffu // of the first argument: the rest is the hypervisor's own, when a call goes on

_Static_assert(sizeof(grant_entry_v1_t) == sizeof(u64), "an entry is compared and changed as one word");

union entry {
	u64 raw;
	grant_entry_v1_t v1;
};

// The grants that a guest may name as `dom`'s.
static struct pv_grants *grants_of(struct pv_guest *g, domid_t dom)
{
	return dom == DOMID_SELF || dom == PV_DOM ? &g->grants : NULL;
}

// The hypervisor's own table: of one frame, and empty.
static s16 host_grants_nothing(u32 ref)
{
	return ref < PER_FRAME ? GNTST_general_error : GNTST_bad_gntref;
}

// To ask about another's table.
static s16 not_own(domid_t dom)
{
	return dom == PV_HOST ? GNTST_permission_denied : GNTST_bad_domain;
}

static u64 *entry_at(struct pv_grants *t, u32 ref)
{
	return ref < t->frames * PER_FRAME ? &t->table[ref / PER_FRAME][ref % PER_FRAME] : NULL;
}

bool pv_grants_init(struct pv_guest *g, const mpn_t mpn[PV_GRANT_FRAMES])
{
	struct pv_grants *t = &g->grants;

	for (unsigned i = 0; i < PV_GRANT_FRAMES; i++) {
		if (pv_get_type(&g->frames, mpn[i], PV_WRITABLE) != ST_OK)
			return false;
		t->mpn[i] = mpn[i];
		t->table[i] = pv_map(&g->frames, mpn[i]);
		memset(t->table[i], 0, PAGE_SIZE);
	}
	t->frames = 1;
	return true;
}

// ---- use of an entry

static bool in_use(const struct pv_grant *a)
{
	return a->readers || a->writers;
}

static s16 take_frame(struct pv_guest *g, mpn_t mpn, bool writes, bool *again)
{
	enum status st = writes ? pv_get_type(&g->frames, mpn, PV_WRITABLE) : pv_get(&g->frames, mpn);

	*again = st == ST_AGAIN;
	return st == ST_OK ? GNTST_okay : st == ST_RANGE ? GNTST_bad_page : GNTST_general_error;
}

static void give_frame(struct pv_guest *g, mpn_t mpn, bool writes)
{
	if (writes)
		pv_put_type(&g->frames, mpn);
	else
		pv_put(&g->frames, mpn);
}

// Says in the entry that it is in use. False: it does not allow that, or changes all the time; *found is what it was.
static bool mark(u64 *at, const struct pv_grant *a, bool writes, bool maps, union entry *found)
{
	u16 type = maps ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
	union entry e = {__atomic_load_n(at, __ATOMIC_SEQ_CST)};

	for (unsigned i = 0; i < UNSTABLE; i++) {
		union entry marked = e;

		if ((!in_use(a) && ((e.v1.flags & type) != GTF_permit_access || e.v1.domid != PV_DOM)) ||
		    (writes && (e.v1.flags & GTF_readonly)))
			return false;
		marked.v1.flags |= writes ? GTF_reading | GTF_writing : GTF_reading;
		*found = e;
		if (__atomic_compare_exchange_n(at, &e.raw, marked.raw, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	}
	return false;
}

static void unmark(u64 *at, const struct pv_grant *a)
{
	u16 flags = a->writers ? 0 : in_use(a) ? GTF_writing : GTF_reading | GTF_writing;

	__atomic_fetch_and(at, ~(u64)flags, __ATOMIC_SEQ_CST);
}

// One more reader or writer of an entry; its frame is in t->grant[ref], and held. Nothing is changed unless GNTST_okay.
static s16 use(struct pv_guest *g, struct pv_grants *t, u32 ref, bool writes, bool maps, bool *again)
{
	u64 *at = entry_at(t, ref);
	struct pv_grant *a = at ? &t->grant[ref] : NULL;
	union entry e;
	s16 r;

	if (!at)
		return GNTST_bad_gntref;
	if (in_use(a) && (a->dom != PV_DOM || a->readers == 0xffff || a->writers == 0xffff))
		return GNTST_general_error;
	// It says already that it is in use that way: what else it says now does not matter.
	if (!in_use(a) || (writes && !a->writers)) {
		if (!mark(at, a, writes, maps, &e))
			return GNTST_general_error;
		if (!in_use(a)) {
			a->mpn = e.v1.frame;
			a->dom = PV_DOM;
		}
	}
	r = take_frame(g, a->mpn, writes, again);
	if (r == GNTST_okay) {
		a->writers += writes;
		a->readers += !writes;
	} else {
		unmark(at, a);
	}
	return r;
}

static void end_use(struct pv_guest *g, struct pv_grants *t, u32 ref, bool writes)
{
	struct pv_grant *a = &t->grant[ref];

	assert(writes ? a->writers : a->readers);
	give_frame(g, a->mpn, writes);
	a->writers -= writes;
	a->readers -= !writes;
	unmark(entry_at(t, ref), a);
}

// ---- map and unmap

// The entry of a level-1 table at an address, or the one whose own address is given.
static bool find_entry(struct pv_vcpu *v, u64 address, u32 flags, mpn_t *table, unsigned *slot)
{
	u64 entry;

	if (!(flags & GNTMAP_contains_pte))
		return pv_leaf(v, address, table, slot, &entry);
	*table = address >> PAGE_SHIFT;
	*slot = (address & PAGE_MASK) / 8;
	return !(address & 7) && pv_is_type(&v->guest->frames, *table, PV_L1);
}

static u64 *entry_ptr(struct pv_vcpu *v, mpn_t table, unsigned slot)
{
	return &((u64 *)pv_map(&v->guest->frames, table))[slot];
}

static u64 mapping_of(mpn_t mpn, u32 flags)
{
	return mpn << PAGE_SHIFT | PTE_P | PTE_A | PTE_D | PTE_NX | (flags & GNTMAP_application_map ? PTE_U : 0) |
	       (flags & GNTMAP_readonly ? 0 : PTE_W) | (flags >> _GNTMAP_guest_avail0 & AVAIL_MASK) << AVAIL_SHIFT;
}

static struct pv_handle *free_handle(struct pv_grants *t)
{
	for (unsigned i = 0; i < PV_HANDLES; i++)
		if (!t->handle[i].flags)
			return &t->handle[i];
	return NULL;
}

static s16 map_host(struct pv_vcpu *v, const struct gnttab_map_grant_ref *op, mpn_t mpn, bool *again)
{
	mpn_t table;
	unsigned slot;
	enum status st;

	if (!find_entry(v, op->host_addr, op->flags, &table, &slot))
		return GNTST_general_error;
	st = pv_store(&v->guest->frames, table, slot, mapping_of(mpn, op->flags), false);
	*again = st == ST_AGAIN;
	return st == ST_OK ? GNTST_okay : GNTST_general_error;
}

static s16 map_one(struct pv_vcpu *v, void *arg, bool *again)
{
	struct gnttab_map_grant_ref *op = arg;
	struct pv_guest *g = v->guest;
	struct pv_grants *of = grants_of(g, op->dom);
	struct pv_handle *h = free_handle(&g->grants);
	bool writes = !(op->flags & GNTMAP_readonly);
	s16 r;

	pv_charge(v, WORK);
	if (!(op->flags & MAPS))
		return GNTST_bad_gntref;
	if (!of && op->dom != PV_HOST)
		return GNTST_bad_domain;
	if (!h)
		return GNTST_no_space;
	if (!of)
		return host_grants_nothing(op->ref);
	r = use(g, of, op->ref, writes, true, again);
	if (r != GNTST_okay)
		return r;
	if (op->flags & GNTMAP_host_map)
		r = map_host(v, op, of->grant[op->ref].mpn, again);
	if (r != GNTST_okay) {
		end_use(g, of, op->ref, writes);
		return r;
	}
	*h = (struct pv_handle){op->ref, PV_DOM, (u16)op->flags};
	op->handle = (grant_handle_t)(h - g->grants.handle);
	op->dev_bus_addr = of->grant[op->ref].mpn << PAGE_SHIFT;
	return GNTST_okay;
}

// What comes in the place of a mapping: nothing, or the entry at new_addr, which is moved.
static s16 replace_host(struct pv_vcpu *v, const struct pv_handle *h, mpn_t mpn, u64 address, u64 new_addr)
{
	struct pv_frames *f = &v->guest->frames;
	mpn_t table, new_table;
	unsigned slot, new_slot;
	u64 entry, moved = 0;

	if (!find_entry(v, address, h->flags, &table, &slot))
		return GNTST_general_error;
	entry = *entry_ptr(v, table, slot);
	if ((entry ^ mapping_of(mpn, h->flags)) & (PTE_ADDR | PTE_P | PTE_W))
		return GNTST_general_error;
	if (!new_addr)
		return pv_store(f, table, slot, 0, false) == ST_OK ? GNTST_okay : GNTST_general_error;
	if ((h->flags & GNTMAP_contains_pte) || !find_entry(v, new_addr, 0, &new_table, &new_slot) ||
	    (new_table == table && new_slot == slot))
		return GNTST_general_error;
	moved = *entry_ptr(v, new_table, new_slot);
	if (pv_store(f, table, slot, moved, false) != ST_OK || pv_store(f, new_table, new_slot, 0, false) != ST_OK)
		return GNTST_general_error;
	return GNTST_okay;
}

static s16 unmap(struct pv_vcpu *v, grant_handle_t handle, u64 host, u64 bus, u64 new_addr)
{
	struct pv_guest *g = v->guest;
	struct pv_handle *h = handle < PV_HANDLES ? &g->grants.handle[handle] : NULL;
	struct pv_grants *of = h && h->flags ? grants_of(g, h->dom) : NULL;
	mpn_t mpn;

	if (!of)
		return GNTST_bad_handle;
	mpn = of->grant[h->ref].mpn;
	if (bus && (h->flags & GNTMAP_device_map) && bus != mpn << PAGE_SHIFT)
		return GNTST_bad_dev_addr;
	if (host && (h->flags & GNTMAP_host_map)) {
		if (replace_host(v, h, mpn, host, new_addr) != GNTST_okay)
			return GNTST_general_error;
		h->flags &= (u16)~GNTMAP_host_map;
	}
	if (bus)
		h->flags &= (u16)~GNTMAP_device_map;
	if (!(h->flags & MAPS)) {
		end_use(g, of, h->ref, !(h->flags & GNTMAP_readonly));
		h->flags = 0;
	}
	return GNTST_okay;
}

static s16 unmap_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_unmap_grant_ref *op = arg;

	return unmap(v, op->handle, op->host_addr, op->dev_bus_addr, 0);
}

static s16 replace_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_unmap_and_replace *op = arg;

	return unmap(v, op->handle, op->host_addr, 0, op->new_addr);
}

void pv_grants_end(struct pv_guest *g)
{
	for (unsigned i = 0; i < PV_HANDLES; i++) {
		struct pv_handle *h = &g->grants.handle[i];

		if (h->flags)
			end_use(g, grants_of(g, h->dom), h->ref, !(h->flags & GNTMAP_readonly));
		h->flags = 0;
	}
}

// ---- copy

// One side: a page by its frame, or what a grant leads to.
struct side {
	struct pv_grants *of; // NULL: by its frame
	u32 ref;
	mpn_t mpn;
	bool writes;
};

static s16 claim(struct pv_guest *g, struct side *s, const struct gnttab_copy_ptr *p, bool by_grant, bool *again)
{
	s16 r;

	s->of = NULL;
	if (!by_grant && p->domid != DOMID_SELF)
		return GNTST_permission_denied;
	if (!by_grant) {
		s->mpn = p->u.gmfn;
		return take_frame(g, s->mpn, s->writes, again);
	}
	if (!grants_of(g, p->domid))
		return p->domid == PV_HOST ? host_grants_nothing(p->u.ref) : GNTST_bad_domain;
	s->ref = p->u.ref;
	r = use(g, grants_of(g, p->domid), s->ref, s->writes, false, again);
	if (r == GNTST_okay) {
		s->of = grants_of(g, p->domid);
		s->mpn = s->of->grant[s->ref].mpn;
	}
	return r;
}

static void release(struct pv_guest *g, const struct side *s)
{
	if (s->of)
		end_use(g, s->of, s->ref, s->writes);
	else
		give_frame(g, s->mpn, s->writes);
}

static s16 copy_bytes(struct pv_guest *g, const struct gnttab_copy *op, mpn_t to, mpn_t from)
{
	struct pv_frames *f = &g->frames;

	if (op->source.offset + op->len > PAGE_SIZE || op->dest.offset + op->len > PAGE_SIZE)
		return GNTST_bad_copy_arg;
	memmove((u8 *)pv_map(f, to) + op->dest.offset, (u8 *)pv_map(f, from) + op->source.offset, op->len);
	return GNTST_okay;
}

static s16 copy_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_copy *op = arg;
	struct side from = {0}, to = {.writes = true};
	s16 r = claim(v->guest, &from, &op->source, op->flags & GNTCOPY_source_gref, again);

	if (r != GNTST_okay)
		return r;
	r = claim(v->guest, &to, &op->dest, op->flags & GNTCOPY_dest_gref, again);
	if (r == GNTST_okay) {
		r = copy_bytes(v->guest, op, to.mpn, from.mpn);
		release(v->guest, &to);
	}
	release(v->guest, &from);
	pv_charge(v, WORK);
	return r;
}

// ---- the table

static s16 swap_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_swap_grant_ref *op = arg;
	struct pv_grants *t = &v->guest->grants;
	u64 *a = entry_at(t, op->ref_a), *b = entry_at(t, op->ref_b), was;

	if (!a || !b)
		return GNTST_bad_gntref;
	if (a == b)
		return GNTST_okay;
	if (in_use(&t->grant[op->ref_a]) || in_use(&t->grant[op->ref_b]))
		return GNTST_eagain;
	was = __atomic_exchange_n(a, *b, __ATOMIC_SEQ_CST);
	__atomic_store_n(b, was, __ATOMIC_SEQ_CST);
	return GNTST_okay;
}

// Nobody takes pages. Of all results this one alone leaves the page with who offers it.
static s16 transfer_one(struct pv_vcpu *v, void *arg, bool *again)
{
	return GNTST_bad_page;
}

static s16 query_one(struct pv_vcpu *v, void *arg, bool *again)
{
	struct gnttab_query_size *op = arg;
	const struct pv_grants *t = grants_of(v->guest, op->dom);

	if (!t)
		return not_own(op->dom);
	op->nr_frames = t->frames;
	op->max_nr_frames = PV_GRANT_FRAMES;
	return GNTST_okay;
}

static s16 setup_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_setup_table *op = arg;
	struct pv_grants *t = grants_of(v->guest, op->dom);

	if (!t)
		return not_own(op->dom);
	if (op->nr_frames > PV_GRANT_FRAMES)
		return GNTST_general_error;
	t->frames = MAX(t->frames, op->nr_frames);
	return pv_write(v, (u64)op->frame_list.p, t->mpn, op->nr_frames * sizeof(t->mpn[0])) ? GNTST_okay : GNTST_bad_virt_addr;
}

// Those are version 2's.
static s16 status_frames_one(struct pv_vcpu *v, void *arg, bool *again)
{
	const struct gnttab_get_status_frames *op = arg;

	if (!grants_of(v->guest, op->dom))
		return not_own(op->dom);
	return op->nr_frames ? GNTST_general_error : GNTST_okay;
}

static s64 set_version(struct pv_vcpu *v, u64 at)
{
	struct gnttab_set_version op;
	u32 asked;

	if (!pv_read(v, at, &op, sizeof(op)))
		return -XEN_EFAULT;
	asked = op.version;
	op.version = 1;
	if (!pv_write(v, at, &op, sizeof(op)))
		return -XEN_EFAULT;
	return asked == 1 ? 0 : asked == 2 ? -XEN_ENOSYS : -XEN_EINVAL;
}

static s64 get_version(struct pv_vcpu *v, u64 at)
{
	struct gnttab_get_version op;

	if (!pv_read(v, at, &op, sizeof(op)))
		return -XEN_EFAULT;
	if (!grants_of(v->guest, op.dom))
		return op.dom == PV_HOST ? -XEN_EPERM : -XEN_ESRCH;
	op.version = 1;
	return pv_write(v, at, &op, sizeof(op)) ? 0 : -XEN_EFAULT;
}

// Caches are coherent, and no device is there that would look past them: there is nothing to do but to check.
static s64 flush_one(struct pv_vcpu *v, const struct gnttab_cache_flush *op)
{
	struct pv_frames *f = &v->guest->frames;
	mpn_t mpn = op->a.dev_bus_addr >> PAGE_SHIFT;

	if (op->offset + op->length > PAGE_SIZE || op->offset >= PAGE_SIZE || (op->op & ~(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN)))
		return -XEN_EINVAL;
	if (!op->length || !op->op)
		return 0;
	if (mpn >= v->guest->machine_frames)
		return -XEN_EINVAL;
	return pv_page_in(f, mpn) < f->ppn_limit ? 0 : -XEN_EPERM;
}

static s64 cache_flush(struct pv_vcpu *v, u64 at, u32 count)
{
	struct gnttab_cache_flush op;
	s64 r = 0;

	for (; !r && v->progress < count; v->progress++) {
		if (!pv_work_left(v))
			return PV_AGAIN;
		r = pv_read(v, at + v->progress * sizeof(op), &op, sizeof(op)) ? flush_one(v, &op) : -XEN_EFAULT;
	}
	return r;
}

// ---- dispatch

// Operations on arrays: each element has its own result, in `status`.
static const struct {
	s16 (*one)(struct pv_vcpu *v, void *op, bool *again);
	u16 size, status;
	bool single; // an array of one
} arrays[] = {
#define ARRAY(type, call, one) {call, sizeof(struct type), offsetof(struct type, status), one}
	[GNTTABOP_map_grant_ref] = ARRAY(gnttab_map_grant_ref, map_one, false),
	[GNTTABOP_unmap_grant_ref] = ARRAY(gnttab_unmap_grant_ref, unmap_one, false),
	[GNTTABOP_setup_table] = ARRAY(gnttab_setup_table, setup_one, true),
	[GNTTABOP_transfer] = ARRAY(gnttab_transfer, transfer_one, false),
	[GNTTABOP_copy] = ARRAY(gnttab_copy, copy_one, false),
	[GNTTABOP_query_size] = ARRAY(gnttab_query_size, query_one, true),
	[GNTTABOP_unmap_and_replace] = ARRAY(gnttab_unmap_and_replace, replace_one, false),
	[GNTTABOP_get_status_frames] = ARRAY(gnttab_get_status_frames, status_frames_one, true),
	[GNTTABOP_swap_grant_ref] = ARRAY(gnttab_swap_grant_ref, swap_one, false),
#undef ARRAY
};

union any_op {
	struct gnttab_map_grant_ref map;
	struct gnttab_unmap_grant_ref unmap;
	struct gnttab_unmap_and_replace replace;
	struct gnttab_setup_table setup;
	struct gnttab_transfer transfer;
	struct gnttab_copy copy;
	struct gnttab_query_size query;
	struct gnttab_get_status_frames status_frames;
	struct gnttab_swap_grant_ref swap;
};

static s64 each(struct pv_vcpu *v, u32 cmd, u64 at, u32 count)
{
	union any_op op;

	for (; v->progress < count; v->progress++) {
		u64 element = at + v->progress * arrays[cmd].size;
		bool again = false;
		s16 status;

		if (!pv_work_left(v))
			return PV_AGAIN;
		if (!pv_read(v, element, &op, arrays[cmd].size))
			return -XEN_EFAULT;
		status = arrays[cmd].one(v, &op, &again);
		if (again)
			return PV_AGAIN;
		memcpy((u8 *)&op + arrays[cmd].status, &status, sizeof(status));
		if (!pv_write(v, element, &op, arrays[cmd].size))
			return -XEN_EFAULT;
	}
	return 0;
}

s64 pv_grant_table_op(struct pv_vcpu *v, const u64 *a)
{
	u32 cmd = (u32)a[0] & COMMAND, count = (u32)a[2];

	if ((s32)count < 0 || (u32)a[0] != cmd)
		return -XEN_EINVAL;
	if (cmd < ARRAY_SIZE(arrays) && arrays[cmd].one)
		return arrays[cmd].single && count != 1 ? -XEN_EINVAL : each(v, cmd, a[1], count);
	switch (cmd) {
	case GNTTABOP_set_version:
		return set_version(v, a[1]);
	case GNTTABOP_get_version:
		return get_version(v, a[1]);
	case GNTTABOP_cache_flush:
		return cache_flush(v, a[1], count);
	default:
		return -XEN_ENOSYS;
	}
}

// ---- audit

bool pv_grants_audit(struct pv_guest *g, struct pv_count *count)
{
	struct pv_frames *f = &g->frames;
	struct pv_grants *t = &g->grants;
	u32 handles = 0, uses = 0;

	for (unsigned i = 0; i < PV_GRANT_FRAMES && t->frames; i++) {
		count[pv_page_in(f, t->mpn[i])].refs++;
		count[pv_page_in(f, t->mpn[i])].uses++;
	}
	for (unsigned i = 0; i < PV_HANDLES; i++) {
		const struct pv_handle *h = &t->handle[i];

		if (h->flags && (!(h->flags & MAPS) || h->ref >= t->frames * PER_FRAME || !in_use(&t->grant[h->ref])))
			return false;
		handles += h->flags != 0;
	}
	for (u32 ref = 0; ref < PV_GRANTS; ref++) {
		const struct pv_grant *a = &t->grant[ref];

		if (!in_use(a))
			continue;
		if (pv_page_in(f, a->mpn) >= f->ppn_limit)
			return false;
		count[pv_page_in(f, a->mpn)].refs += a->readers + a->writers;
		count[pv_page_in(f, a->mpn)].uses += a->writers;
		uses += a->readers + a->writers;
	}
	return handles == uses;
}
