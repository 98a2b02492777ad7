// SPDX-License-Identifier: MIT
// Hypercalls about page tables and descriptor tables (Xen's xen.h). All that they change goes through frames.h, which decides.
#include "core/pv/guest.h"

#include "base/assert.h"
#include "base/string.h"
#include <xen/errno.h>

#define PTR_COMMAND 7ull
#define DESCRIPTOR_P BIT(47)
#define DESCRIPTOR_S BIT(44)
#define DESCRIPTOR_TYPE (BIT(40) * 15)
#define PAGE_WORK 64 // what a page that is filled costs, in entries

s64 pv_errno(enum status st)
{
	switch (st) {
	case ST_OK:
		return 0;
	case ST_AGAIN:
		return PV_AGAIN;
	case ST_BUSY:
		return -XEN_EBUSY;
	case ST_NOMEM:
		return -XEN_ENOMEM;
	default:
		return -XEN_EINVAL;
	}
}

// What is no longer used must not stand in the way of the next thing the guest does.
bool pv_work_left(struct pv_vcpu *v)
{
	struct pv_frames *f = &v->guest->frames;

	if (!f->work)
		return false;
	f->work--;
	return pv_let_go(f);
}

void pv_charge(struct pv_vcpu *v, unsigned work)
{
	struct pv_frames *f = &v->guest->frames;

	f->work -= MIN(f->work, work);
}

static void *page(struct pv_vcpu *v, mpn_t mpn)
{
	return pv_map(&v->guest->frames, mpn);
}

static mpn_t mpn_of(u64 address)
{
	return (address & PTE_ADDR) >> PAGE_SHIFT;
}

s64 pv_about(u64 dom)
{
	return (u16)dom == DOMID_SELF || (u16)dom == PV_DOM ? 0 : (u16)dom == PV_HOST ? -XEN_EPERM : -XEN_ESRCH;
}

// Where the interface has one error for all.
static s64 or_invalid(enum status st)
{
	return st == ST_OK ? 0 : st == ST_AGAIN ? PV_AGAIN : -XEN_EINVAL;
}

// ---- mmu_update

// As Xen: -EBUSY is for an entry of a level-1 table alone.
static s64 store(struct pv_vcpu *v, mpn_t table, unsigned slot, u64 value, bool keep_ad)
{
	struct pv_frames *f = &v->guest->frames;
	enum status st = pv_store(f, table, slot, value, keep_ad);

	return st == ST_OK ? 0 : pv_is_type(f, table, PV_L1) ? pv_errno(st) : or_invalid(st);
}

static s64 update_one(struct pv_vcpu *v, const struct mmu_update *u)
{
	struct pv_frames *f = &v->guest->frames;
	mpn_t mpn = u->ptr >> PAGE_SHIFT;

	v->guest->loan.updated = mpn;
	v->guest->loan.updated_slot = (u->ptr & PAGE_MASK) / 8;
	v->guest->loan.updated_to = u->val;
	switch (u->ptr & PTR_COMMAND) {
	case MMU_NORMAL_PT_UPDATE:
	case MMU_PT_UPDATE_PRESERVE_AD:
	case MMU_PT_UPDATE_NO_TRANSLATE:
		return store(v, mpn, (u->ptr & PAGE_MASK) / 8, u->val, (u->ptr & PTR_COMMAND) == MMU_PT_UPDATE_PRESERVE_AD);
	case MMU_MACHPHYS_UPDATE:
		if (pv_page_in(f, mpn) >= f->ppn_limit)
			return -XEN_EINVAL;
		v->guest->ports->set_machphys(v->guest->ctx, mpn, u->val);
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

// Tells how many were done, if the guest wants to know and it can be told; that counts on over the pieces of a long call.
static s64 finish_batch(struct pv_vcpu *v, u64 done, u64 out, s64 result)
{
	u32 n = (u32)done;
	bool told = out && pv_write(v, out, &n, sizeof(n));

	(void)told;
	return result;
}

// Whose tables are in the upper half: 0, or a guest's number plus one.
static s64 about_tables(u64 dom)
{
	return (u32)dom >> 16 ? pv_about(((u32)dom >> 16) - 1) : 0;
}

// What one element changes the next may be read from: none is read ahead. A list of one may have been read by the caller.
static s64 update_next(struct pv_vcpu *v, const u64 *a)
{
	struct mmu_update u = {v->given[0], v->given[1]};
	bool given = v->has_given && (u32)a[1] == 1 && !v->in_multicall;

	return given || pv_read(v, a[0] + v->progress * sizeof(u), &u, sizeof(u)) ? update_one(v, &u) : -XEN_EFAULT;
}

// Elements of a list from v->progress on, until one fails.
static s64 batch(struct pv_vcpu *v, const u64 *a, s64 (*next)(struct pv_vcpu *v, const u64 *a))
{
	s64 r = 0;

	while (v->progress < (u32)a[1]) {
		if (!pv_work_left(v))
			return PV_AGAIN;
		r = next(v, a);
		if (r == PV_AGAIN)
			return r;
		if (r)
			break;
		v->progress++;
	}
	return finish_batch(v, v->progress, a[2], r);
}

s64 pv_mmu_update(struct pv_vcpu *v, const u64 *a)
{
	s64 r = pv_about(a[3]);

	r = r ? r : about_tables(a[3]);
	return r ? r : batch(v, a, update_next);
}

// A bit for each vCPU, at the guest's address.
static bool mask_readable(struct pv_vcpu *v, u64 at)
{
	u8 mask[(PV_VCPUS + 7) / 8];

	return pv_read(v, at, mask, (v->guest->vcpus + 7) / 8);
}

// What to flush is told behind the entry: nothing here needs it, but a mask that is not there is an error.
s64 pv_update_va_mapping(struct pv_vcpu *v, const u64 *a)
{
	u64 mask = a[2] & ~UVMF_FLUSHTYPE_MASK, entry;
	mpn_t table;
	unsigned slot;
	s64 r;

	if (!pv_leaf(v, a[0], &table, &slot, &entry))
		return -XEN_EINVAL;
	r = store(v, table, slot, a[1], false);
	if (r || !(a[2] & UVMF_FLUSHTYPE_MASK) || mask == UVMF_LOCAL || mask == UVMF_ALL)
		return r;
	return mask_readable(v, mask) ? 0 : -XEN_EFAULT;
}

s64 pv_update_va_mapping_otherdomain(struct pv_vcpu *v, const u64 *a)
{
	s64 r = pv_about(a[3]);

	return r ? r : pv_update_va_mapping(v, a);
}

// ---- mmuext_op

// The new one is held before the old one is given back.
static s64 new_base(struct pv_vcpu *v, mpn_t mpn)
{
	struct pv_frames *f = &v->guest->frames;
	enum status st = mpn == v->root ? ST_OK : pv_get_type(f, mpn, PV_L4);
	mpn_t old = v->root;

	if (st != ST_OK || mpn == v->root)
		return or_invalid(st);
	v->root = mpn;
	v->guest->ports->load_root(v->guest->ctx, v, mpn);
	pv_put_type(f, old);
	return 0;
}

// User mode runs on the kernel's tables (docs/design/pv.md); the guest's are only held.
static s64 new_user_base(struct pv_vcpu *v, mpn_t mpn)
{
	struct pv_frames *f = &v->guest->frames;
	enum status st = mpn && mpn != v->user_root ? pv_get_type(f, mpn, PV_L4) : ST_OK;
	mpn_t old = v->user_root;

	if (st != ST_OK || mpn == old)
		return or_invalid(st);
	v->user_root = mpn ? mpn : MPN_NONE;
	if (old != MPN_NONE)
		pv_put_type(f, old);
	return 0;
}

void pv_bases_loaded(struct pv_vcpu *v, mpn_t kernel, mpn_t user)
{
	s64 r = new_base(v, kernel), u = new_user_base(v, user);

	assert(!r && !u);
}

// A page that the guest may write: for as long as it takes.
static s64 fill_page(struct pv_vcpu *v, mpn_t to, const void *from)
{
	struct pv_frames *f = &v->guest->frames;
	enum status st = pv_get_type(f, to, PV_WRITABLE);

	if (st != ST_OK)
		return or_invalid(st);
	pv_charge(v, PAGE_WORK);
	if (from)
		memmove(page(v, to), from, PAGE_SIZE); // it may be the same
	else
		memset(page(v, to), 0, PAGE_SIZE);
	pv_put_type(f, to);
	return 0;
}

static s64 copy_page(struct pv_vcpu *v, mpn_t to, mpn_t from)
{
	struct pv_frames *f = &v->guest->frames;

	if (pv_page_in(f, from) >= f->ppn_limit)
		return -XEN_EINVAL;
	return fill_page(v, to, page(v, from));
}

static s64 ext_one(struct pv_vcpu *v, const struct mmuext_op *op)
{
	struct pv_frames *f = &v->guest->frames;

	switch (op->cmd) {
	case MMUEXT_PIN_L1_TABLE:
	case MMUEXT_PIN_L2_TABLE:
	case MMUEXT_PIN_L3_TABLE:
	case MMUEXT_PIN_L4_TABLE:
		return or_invalid(pv_pin(f, op->arg1.mfn, (enum pv_type)(PV_L1 + op->cmd - MMUEXT_PIN_L1_TABLE)));
	case MMUEXT_UNPIN_TABLE:
		return or_invalid(pv_unpin(f, op->arg1.mfn));
	case MMUEXT_NEW_BASEPTR:
		return new_base(v, op->arg1.mfn);
	case MMUEXT_NEW_USER_BASEPTR:
		return new_user_base(v, op->arg1.mfn);
	case MMUEXT_TLB_FLUSH_LOCAL: // every entry into the guest is a new CR3: nothing older is in the TLB
	case MMUEXT_INVLPG_LOCAL:
	case MMUEXT_TLB_FLUSH_ALL:
	case MMUEXT_INVLPG_ALL:
		return 0;
	case MMUEXT_TLB_FLUSH_MULTI:
	case MMUEXT_INVLPG_MULTI:
		return mask_readable(v, (u64)op->arg2.vcpumask.p) ? 0 : -XEN_EINVAL;
	case MMUEXT_FLUSH_CACHE: // for who has a device
		return -XEN_EACCES;
	case MMUEXT_FLUSH_CACHE_GLOBAL:
		return -XEN_EINVAL;
	case MMUEXT_SET_LDT:
		return pv_load_ldt(v, op->arg1.linear_addr, op->arg2.nr_ents);
	case MMUEXT_CLEAR_PAGE:
		return fill_page(v, op->arg1.mfn, NULL);
	case MMUEXT_COPY_PAGE:
		return copy_page(v, op->arg1.mfn, op->arg2.src_mfn);
	case MMUEXT_MARK_SUPER:
	case MMUEXT_UNMARK_SUPER:
		return -XEN_EOPNOTSUPP;
	default:
		return -XEN_ENOSYS;
	}
}

static s64 ext_next(struct pv_vcpu *v, const u64 *a)
{
	struct mmuext_op op;

	return pv_read(v, a[0] + v->progress * sizeof(op), &op, sizeof(op)) ? ext_one(v, &op) : -XEN_EFAULT;
}

s64 pv_mmuext_op(struct pv_vcpu *v, const u64 *a)
{
	s64 r = pv_about(a[3]);

	return r ? r : batch(v, a, ext_next);
}

// ---- descriptor tables

// The machine gets filtered copies, so what is refused here is what Xen refuses: system descriptors, and gates, which have no use.
// Type 0 is harmless: the upper half of one that has two.
bool pv_descriptor_ok(u64 raw)
{
	return !(raw & DESCRIPTOR_P) || (raw & DESCRIPTOR_S) || !(raw & DESCRIPTOR_TYPE);
}

static void give_back(struct pv_vcpu *v, mpn_t *pages, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (pages[i] != MPN_NONE)
			pv_put_type(&v->guest->frames, pages[i]);
		pages[i] = MPN_NONE;
	}
}

#define PER_PAGE (PAGE_SIZE / 8)

s64 pv_set_gdt(struct pv_vcpu *v, const u64 *a)
{
	struct pv_guest *g = v->guest;
	u64 list[PV_GDT_PAGES], entries = (u32)a[1], n = ROUND_UP(entries, PER_PAGE) / PER_PAGE;
	mpn_t taken[PV_GDT_PAGES];

	if (entries > FIRST_RESERVED_GDT_ENTRY)
		return -XEN_EINVAL;
	if (!pv_read(v, a[0], list, n * sizeof(list[0])))
		return -XEN_EFAULT;
	for (unsigned i = 0; i < n; i++) {
		enum status st = pv_get_type(&g->frames, list[i], PV_DESCRIPTORS);

		taken[i] = st == ST_OK ? list[i] : MPN_NONE;
		if (st == ST_OK)
			continue;
		give_back(v, taken, i);
		return or_invalid(st);
	}
	give_back(v, v->gdt, PV_GDT_PAGES);
	memcpy(v->gdt, taken, n * sizeof(taken[0]));
	for (unsigned i = 0; i < MAX(entries, v->gdt_entries); i++)
		g->ports->set_gdt(g->ctx, v, i, i < entries ? ((u64 *)page(v, taken[i / PER_PAGE]))[i % PER_PAGE] : 0);
	v->gdt_entries = (unsigned)entries;
	return 0;
}

// What is not mapped, or is no page of descriptors, is not there.
static void load_ldt_page(struct pv_vcpu *v, unsigned n)
{
	struct pv_guest *g = v->guest;
	mpn_t table;
	unsigned slot;
	u64 entry;
	const u64 *raw = NULL;

	if (pv_leaf(v, v->ldt_base + n * PAGE_SIZE, &table, &slot, &entry) && (entry & PTE_P) &&
	    pv_get_type(&g->frames, mpn_of(entry), PV_DESCRIPTORS) == ST_OK) { // no table is half-way: the budget has no part in it
		v->ldt[n] = mpn_of(entry);
		raw = page(v, v->ldt[n]);
	}
	for (unsigned i = 0; i < PER_PAGE && n * PER_PAGE + i < v->ldt_entries; i++)
		g->ports->set_ldt(g->ctx, v, n * (unsigned)PER_PAGE + i, raw ? raw[i] : 0);
}

s64 pv_load_ldt(struct pv_vcpu *v, u64 base, u64 entries)
{
	if (entries > 8192 || (entries && (base & PAGE_MASK || !is_canonical(base))))
		return -XEN_EINVAL;
	give_back(v, v->ldt, PV_LDT_PAGES);
	v->ldt_base = base;
	v->ldt_entries = (unsigned)entries;
	for (unsigned n = 0; n < ROUND_UP(entries, PER_PAGE) / PER_PAGE; n++)
		load_ldt_page(v, n);
	v->guest->ports->ldt_loaded(v->guest->ctx, v, v->ldt_entries);
	return 0;
}

static void descriptor_changed(struct pv_vcpu *v, mpn_t mpn, unsigned slot, u64 raw)
{
	struct pv_guest *g = v->guest;

	for (unsigned i = 0; i < PV_GDT_PAGES; i++)
		if (v->gdt[i] == mpn && i * PER_PAGE + slot < v->gdt_entries)
			g->ports->set_gdt(g->ctx, v, i * (unsigned)PER_PAGE + slot, raw);
	for (unsigned i = 0; i < PV_LDT_PAGES; i++)
		if (v->ldt[i] == mpn && i * PER_PAGE + slot < v->ldt_entries)
			g->ports->set_ldt(g->ctx, v, i * (unsigned)PER_PAGE + slot, raw);
}

// The page may be in use as descriptors, or be one that the guest may write.
s64 pv_update_descriptor(struct pv_vcpu *v, const u64 *a)
{
	struct pv_guest *g = v->guest;
	struct pv_frames *f = &g->frames;
	mpn_t mpn = a[0] >> PAGE_SHIFT;
	enum status st;

	if ((a[0] & 7) || !pv_descriptor_ok(a[1]))
		return -XEN_EINVAL;
	st = pv_get_type(f, mpn, PV_DESCRIPTORS);
	if (st == ST_OK) {
		((u64 *)page(v, mpn))[(a[0] & PAGE_MASK) / 8] = a[1];
		for (unsigned i = 0; i < g->vcpus; i++)
			descriptor_changed(&g->vcpu[i], mpn, (a[0] & PAGE_MASK) / 8, a[1]);
		pv_put_type(f, mpn);
		return 0;
	}
	if (st == ST_BUSY)
		st = pv_get_type(f, mpn, PV_WRITABLE);
	if (st != ST_OK)
		return or_invalid(st);
	((u64 *)page(v, mpn))[(a[0] & PAGE_MASK) / 8] = a[1];
	pv_put_type(f, mpn);
	return 0;
}
