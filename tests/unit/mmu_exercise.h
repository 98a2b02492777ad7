// SPDX-License-Identifier: MIT
// The shadow exerciser: a small guest whose page tables are edited at random, a machine that walks the shadow through a
// software TLB, and a model that walks the guest's tables. Shared by test_mmu_shadow.c (seeded) and fuzz_shadow.c (input).
//
// The TLB forgets only what the flush port names, so a right that was reduced without a flush shows as an access that the
// machine allows and the model does not. Failures are counted and the first is kept as text; nothing aborts here.
#ifndef TESTS_UNIT_MMU_EXERCISE_H
#define TESTS_UNIT_MMU_EXERCISE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mmu/shadow_private.h"

#define EX_PPNS 1024u // guest-physical pages: tables, data, then ROM, MMIO and a hole
#define EX_TABLES 40u // of these may be used as page tables
#define EX_ROM 1000u
#define EX_MMIO 1008u
#define EX_NONE 1016u
#define EX_SPARE 64u    // machine pages that the P2M may move guest pages to
#define EX_SHADOW 4096u // first machine page of the shadow pool
#define EX_SHADOW_PAGES 512u
#define EX_TLB 64u
#define EX_GATE_MPN 0x77777

struct exercise {
	u64 (*random)(void *ctx); // source of choices
	void *random_ctx;
	struct shadow *shadow;
	void *memory;
	u64 *guest; // (EX_PPNS + EX_SPARE) pages
	u64 *pool;  // EX_SHADOW_PAGES pages
	bool pool_used[EX_SHADOW_PAGES];
	unsigned budget; // pages that are given without need, 0: all
	unsigned pool_hint, pool_live;
	bool alloc_fails;
	mpn_t p2m[EX_PPNS];
	u8 type[EX_PPNS];
	mpn_t spare[EX_SPARE];
	struct mmu_mode mode;
	mpn_t root;
	struct {
		u64 va, entry;
	} tlb[EX_TLB];  // entry: frame and combined rights, 0: none
	u64 recent[16]; // addresses that worked
	unsigned failures;
	char first[256];
	u64 accesses, hits, steps;
	u64 marked; // faults that a marker told
	void *stress; // of the stress mode, when it is tested
};

static void ex_fail(struct exercise *x, const char *fmt, ...)
{
	va_list ap;

	if (x->failures++)
		return;
	va_start(ap, fmt);
	vsnprintf(x->first, sizeof(x->first), fmt, ap);
	va_end(ap);
}

static u64 ex_rnd(struct exercise *x, u64 n)
{
	return x->random(x->random_ctx) % n;
}

// Ports.
static enum p2m_type ex_p2m(void *ctx, ppn_t ppn, mpn_t *mpn)
{
	struct exercise *x = ctx;

	if (ppn >= EX_PPNS)
		return P2M_NONE;
	if (x->type[ppn] == P2M_RAM || x->type[ppn] == P2M_ROM)
		*mpn = x->p2m[ppn];
	return x->type[ppn];
}

static void *ex_map(void *ctx, mpn_t mpn)
{
	struct exercise *x = ctx;

	if (mpn < EX_PPNS + EX_SPARE)
		return x->guest + mpn * SLOTS;
	if (mpn < EX_SHADOW || mpn >= EX_SHADOW + EX_SHADOW_PAGES)
		panic("map of machine page %lx", (unsigned long)mpn);
	return x->pool + (mpn - EX_SHADOW) * SLOTS;
}

static mpn_t ex_alloc(void *ctx, bool needed)
{
	struct exercise *x = ctx;

	if (x->alloc_fails || x->pool_live == EX_SHADOW_PAGES || (x->budget && !needed && x->pool_live >= x->budget))
		return MPN_NONE;
	while (x->pool_used[x->pool_hint])
		x->pool_hint = (x->pool_hint + 1) % EX_SHADOW_PAGES;
	x->pool_used[x->pool_hint] = true;
	x->pool_live++;
	memset(x->pool + x->pool_hint * SLOTS, 0, PAGE_SIZE);
	return EX_SHADOW + x->pool_hint;
}

static void ex_free(void *ctx, mpn_t mpn)
{
	struct exercise *x = ctx;

	if (mpn < EX_SHADOW || mpn >= EX_SHADOW + EX_SHADOW_PAGES || !x->pool_used[mpn - EX_SHADOW])
		panic("free of machine page %lx", (unsigned long)mpn);
	x->pool_used[mpn - EX_SHADOW] = false;
	x->pool_live--;
	memset(x->pool + (mpn - EX_SHADOW) * SLOTS, 0xee, PAGE_SIZE);
}

static void ex_flush(void *ctx, u64 va)
{
	struct exercise *x = ctx;

	if (x->stress)
		shadow_stress_flushed(x->stress, va);
	for (unsigned i = 0; i < EX_TLB; i++)
		if (va == VA_ALL || x->tlb[i].va == (va & ~PAGE_MASK))
			x->tlb[i].entry = 0;
}

static const struct shadow_ports ex_ports = {ex_p2m, ex_map, ex_alloc, ex_free, ex_flush};

static u64 *ex_page(struct exercise *x, ppn_t ppn)
{
	return x->guest + x->p2m[ppn] * SLOTS;
}

// The model: what the guest's tables say.
struct ex_model {
	bool ok;
	bool reached; // a leaf
	u32 code;
	u64 gpa;
	bool writable, rom_clear, accessed, dirty;
};

static struct ex_model ex_walk_guest(struct exercise *x, u64 va, u32 err)
{
	struct ex_model r = {.code = (err & (PF_W | PF_U)) | ((err & PF_I) && (x->mode.nx || x->mode.smep) ? PF_I : 0),
			     .accessed = true};
	u64 at = x->mode.cr3 & PTE_ADDR, e = 0, rights = PTE_W | PTE_U, size = 0;
	bool nx = false;

	for (int shift = 39; !size; shift -= 9) {
		ppn_t ppn = at >> 12;
		bool memory = ppn < EX_PPNS && (x->type[ppn] == P2M_RAM || x->type[ppn] == P2M_ROM);
		u64 bad = 0x000fff0000000000ull; // 40 bits of address

		e = memory ? ex_page(x, ppn)[va >> shift & 511] : ~0ull;
		if (!(e & 1))
			return r;
		if (shift == 39)
			bad |= 0x80;
		else if (shift > 12 && (e & 0x80))
			bad |= (1ull << shift) - 0x2000;
		if (!x->mode.nx)
			bad |= 1ull << 63;
		if (e & bad) {
			r.code |= PF_P | PF_RSVD;
			return r;
		}
		if (!(e & PTE_A)) {
			r.accessed = false;
			r.rom_clear |= x->type[ppn] == P2M_ROM;
		}
		if (shift == 12 || (shift < 39 && (e & 0x80))) {
			size = 1ull << shift;
			r.rom_clear |= (err & PF_W) && !(e & PTE_D) && x->type[ppn] == P2M_ROM;
		}
		rights &= e;
		nx |= e >> 63;
		at = e & PTE_ADDR;
	}
	r.reached = true;
	r.gpa = (at & ~(size - 1)) | (va & (size - 1));
	r.writable = rights & PTE_W;
	r.dirty = e & PTE_D;
	r.code |= PF_P;
	if (err & PF_U)
		r.ok = (rights & PTE_U) && !((err & PF_W) && !r.writable) && !((err & PF_I) && nx);
	else if (err & PF_I)
		r.ok = !nx && !((rights & PTE_U) && x->mode.smep);
	else
		r.ok = !((rights & PTE_U) && x->mode.smap && !x->mode.ac) &&
		       (!(err & PF_W) || r.writable || !x->mode.wp);
	return r;
}

// The machine: the shadow's tables through the TLB; CR0.WP and EFER.NXE are 1 there.
static bool ex_rights_allow(struct exercise *x, u64 e, u32 err)
{
	bool user = e & PTE_U;

	if ((err & PF_W) && !(e & PTE_W))
		return false;
	if (err & PF_U)
		return user && !((err & PF_I) && (e & PTE_NX));
	if (err & PF_I)
		return !(e & PTE_NX) && !(user && x->mode.smep);
	return !(user && x->mode.smap && !x->mode.ac);
}

static u64 ex_walk_shadow(struct exercise *x, u64 va)
{
	mpn_t table = x->root;
	u64 rights = PTE_W | PTE_U, nx = 0, e;

	for (int shift = 39;; shift -= 9) {
		if (table < EX_SHADOW || table >= EX_SHADOW + EX_SHADOW_PAGES || !x->pool_used[table - EX_SHADOW]) {
			ex_fail(x, "machine walks page %lx for %lx", (unsigned long)table, (unsigned long)va);
			return 0;
		}
		e = x->pool[(table - EX_SHADOW) * SLOTS + (va >> shift & 511)];
		if (!(e & PTE_P))
			return 0;
		if (shift == 12 && e == ENTRY_MARKER) { // the gate would give this fault to the guest
			x->marked++;
			if (ex_walk_guest(x, va, PF_U).code & PF_P)
				ex_fail(x, "marker for %lx, where the guest's tables say no not-present fault", (unsigned long)va);
			return 0;
		}
		rights &= e;
		nx |= e & PTE_NX;
		table = (e & PTE_ADDR) >> 12;
		if (shift == 12)
			break;
	}
	// The gate would give the fault of a store to the guest.
	if ((e & ENTRY_READ_ONLY) && (ex_walk_guest(x, va, PF_U | PF_W).ok || ex_walk_guest(x, va, PF_U | PF_W).code != (PF_P | PF_U | PF_W)))
		ex_fail(x, "%lx is read-only for the guest, says the entry; the guest's tables do not", (unsigned long)va);
	if ((rights & PTE_W) && !(e & PTE_D))
		ex_fail(x, "writable entry for %lx lets the machine set D", (unsigned long)va);
	return table << 12 | rights | nx | PTE_P;
}

static u64 ex_machine(struct exercise *x, u64 va, u32 err)
{
	unsigned i = va >> 12 & (EX_TLB - 1);
	u64 page = va & ~PAGE_MASK, e;

	if (x->tlb[i].entry && x->tlb[i].va == page && ex_rights_allow(x, x->tlb[i].entry, err)) {
		x->hits++;
		return x->tlb[i].entry;
	}
	e = ex_walk_shadow(x, va); // a TLB entry that refuses is walked again
	if (x->tlb[i].va == page)
		x->tlb[i].entry = 0;
	if (!e || !ex_rights_allow(x, e, err))
		return 0;
	x->tlb[i].va = page;
	x->tlb[i].entry = e;
	return e;
}

// The hypervisor writes guest memory.
static void ex_store(struct exercise *x, u64 gpa, const void *data, unsigned len)
{
	ppn_t ppn = gpa >> 12;

	if (ppn >= EX_PPNS || x->type[ppn] != P2M_RAM)
		return;
	memcpy((u8 *)ex_page(x, ppn) + (gpa & PAGE_MASK), data, len);
	shadow_written(x->shadow, gpa, len);
}

static void ex_load(struct exercise *x, u64 cr3)
{
	mpn_t root;
	enum status st = shadow_load(x->shadow, cr3, &root);

	if (st == ST_OK) {
		x->mode.cr3 = cr3;
		x->root = root;
		ex_flush(x, VA_ALL);
	} else if (st == ST_RANGE ? x->type[cr3 >> 12] == P2M_RAM : !x->alloc_fails) {
		ex_fail(x, "load of %lx: status %d", (unsigned long)cr3, st);
	}
}

// Random choices that collide often.
static const u16 ex_slots[] = {0, 1, 2, 3, 64, 255, 256, 511};

static u64 ex_va(struct exercise *x)
{
	u64 r = x->random(x->random_ctx), va = 0;

	if (r >> 60) // mostly where something is mapped, or beside it
		return x->recent[r & 15] ^ (r & 0x30 ? 0 : (r >> 8 & 3) << 12) ^ (r >> 16 & 0xff8);
	for (unsigned shift = 12; shift <= 39; shift += 9, r >>= 3)
		va |= (u64)ex_slots[r & 7] << shift;
	if (r % 97 == 0)
		va = (va & ~(511ull << 39)) | (u64)(r % 2 ? GATE_SLOT : WINDOW_SLOT) << 39;
	return (u64)((s64)(va << 16) >> 16) | (r >> 8 & 0xff8);
}

static u64 ex_entry(struct exercise *x, ppn_t in)
{
	u64 r = x->random(x->random_ctx);
	unsigned kind = r & 0x1f, level = 4 - (in & 3);
	u64 flags = PTE_P | (r & 0xe0 ? PTE_W : 0) | (r & 0x700 ? PTE_U : 0) | (r & 0x1800 ? PTE_A : 0) |
		    (r & 0x6000 ? PTE_D : 0) | ((r & 0x78000) ? 0 : PTE_NX) | (r & 0x80000 ? PTE_G : 0);
	u64 pick = r >> 32;

	if (kind < 3)
		return r & 0x100000 ? 0 : r & ~1ull;
	if (kind < 5) // anything at all
		return flags | (pick % EX_PPNS) << 12;
	if (kind == 5)
		return flags | 1ull << (7 + pick % 45) | (pick >> 8) % EX_TABLES << 12;
	if (level == 1)
		return flags | (kind < 12 ? pick % EX_TABLES : kind < 14 ? EX_ROM + pick % 24 : pick % EX_PPNS) << 12;
	if (kind < 9 && level <= 3) // large: what is below 4 MiB is memory
		return flags | PTE_PS | (level == 2 ? (pick & 1) << 21 : 0) | (pick & 6 ? 0 : BIT(12));
	if (kind < 11)
		return flags | (pick % EX_TABLES) << 12; // any table at any level, itself too
	if (kind == 11)
		return flags | (EX_ROM + pick % 4) << 12;
	// The usual: a table of the next level (level is 4 minus the frame's low bits).
	return flags | ((pick % (EX_TABLES / 4)) * 4 + (5 - level)) << 12;
}

// An emulated instruction: the store, by the guest's own rights.
static void ex_emulate(struct exercise *x, u64 va, u32 err)
{
	struct guest_walk w;
	struct x86_fault f;
	u64 value;

	if (!guest_translate(x->shadow, &x->mode, va, err, true, &w, &f)) {
		ex_fail(x, "emulator's walk of %lx refuses what the fault's allowed", (unsigned long)va);
		return;
	}
	if (!(err & PF_W))
		return;
	value = ex_entry(x, w.gpa >> 12);
	ex_store(x, w.gpa & ~7ull, &value, 8);
}

// Was it right to call for the emulator?
static bool ex_emulation_justified(struct exercise *x, u64 va, u32 err, const struct ex_model *want)
{
	ppn_t ppn = want->gpa >> 12;
	unsigned type = ppn < EX_PPNS ? x->type[ppn] : P2M_NONE;

	if (root_slot_is_ours(va >> 39 & 511))
		return true;
	if (!want->ok)
		return false;
	if (type == P2M_MMIO || type == P2M_NONE || want->rom_clear)
		return true;
	return (err & PF_W) && (type == P2M_ROM || !want->writable || frame_protected(frame_of(x->shadow, ppn)));
}

// The machine allowed the access: it must be to the right page, by rights the guest has, with the guest's A and D set.
static void ex_check_allowed(struct exercise *x, u64 va, u32 err, u64 e)
{
	struct ex_model want = ex_walk_guest(x, va, err);
	u64 value;

	if (root_slot_is_ours(va >> 39 & 511))
		ex_fail(x, "machine reaches a slot that is ours at %lx", (unsigned long)va);
	else if (!want.ok)
		ex_fail(x, "machine allows %lx error %x, the guest's tables do not (%x)", (unsigned long)va, err,
			want.code);
	else if (x->p2m[want.gpa >> 12] != (e & PTE_ADDR) >> 12)
		ex_fail(x, "%lx leads to machine page %lx", (unsigned long)va, (unsigned long)((e & PTE_ADDR) >> 12));
	else if (!want.accessed || ((err & PF_W) && !want.dirty))
		ex_fail(x, "%lx accessed, A or D is clear", (unsigned long)va);
	else if ((err & PF_W) &&
		 (x->type[want.gpa >> 12] != P2M_RAM || frame_protected(frame_of(x->shadow, want.gpa >> 12))))
		ex_fail(x, "%lx writes a protected frame", (unsigned long)va);
	if (x->failures)
		return;
	x->recent[(va >> 12 ^ va >> 21 ^ va >> 39) & 15] = va & ~7ull;
	if (!(err & PF_W))
		return;
	value = ex_entry(x, want.gpa >> 12);
	ex_page(x, want.gpa >> 12)[(va & PAGE_MASK) / 8] = value; // nobody is told
}

// The guest's kernel serves its fault: fills in what was missing, or grants what was refused.
static void ex_serve(struct exercise *x, const struct guest_walk *w, u32 code)
{
	unsigned level = w->level;
	u64 e = w->entry[level];

	if (!(code & PF_P) || (code & PF_RSVD)) {
		for (unsigned tries = 0; tries < 8; tries++) {
			e = ex_entry(x, 4 - level) | PTE_P;
			if (!(e & walk_reserved(x->shadow, x->mode.nx, e, level)))
				break;
		}
		ex_store(x, w->entry_gpa[level], &e, 8);
		return;
	}
	for (; level <= 4; level++) {
		e = (w->entry[level] | (code & PF_W) | (code & PF_U)) & ~(code & PF_I ? PTE_NX : 0);
		if (!(code & PF_U) && ((code & PF_I) ? x->mode.smep : x->mode.smap && !x->mode.ac) && level == w->level)
			e &= ~PTE_U;
		if (e != w->entry[level])
			ex_store(x, w->entry_gpa[level], &e, 8);
	}
}

static void ex_access(struct exercise *x, u64 va, u32 err)
{
	struct ex_model want = ex_walk_guest(x, va, err);
	struct guest_walk w;
	struct x86_fault f = {0};
	enum shadow_result r;
	u64 e;

	x->accesses++;
	for (unsigned tries = 0; tries < 4; tries++) {
		e = root_slot_is_ours(va >> 39 & 511) ? 0 : ex_machine(x, va, err);
		if (e) {
			ex_check_allowed(x, va, err, e);
			return;
		}
		shadow_hint(x->shadow, x->recent[va >> 12 & 15], va >> 14);
		r = shadow_fault(x->shadow, &x->mode, va, err | (x->random(x->random_ctx) & PF_P), &w, &f);
		if (x->tlb[va >> 12 & (EX_TLB - 1)].va == (va & ~PAGE_MASK))
			x->tlb[va >> 12 & (EX_TLB - 1)].entry = 0; // the machine drops what faulted
		switch (r) {
		case SHADOW_FIXED:
			if (!want.ok)
				ex_fail(x, "hidden fault at %lx error %x, model says %x", (unsigned long)va, err,
					want.code);
			continue;
		case SHADOW_INJECT:
			if (want.ok || f.vector != VEC_PF || f.error != want.code || f.cr2 != va)
				ex_fail(x, "%lx error %x: injected %x, model %s %x", (unsigned long)va, err, f.error,
					want.ok ? "allows" : "says", want.code);
			else if (ex_rnd(x, 4))
				ex_serve(x, &w, f.error);
			return;
		case SHADOW_EMULATE:
			if (!ex_emulation_justified(x, va, err, &want))
				ex_fail(x, "%lx error %x: emulation is not called for", (unsigned long)va, err);
			else if (want.ok)
				ex_emulate(x, va, err);
			return;
		case SHADOW_NOMEM:
			if (!x->alloc_fails)
				ex_fail(x, "no memory though there is");
			return;
		}
	}
	ex_fail(x, "%lx error %x: faults for ever", (unsigned long)va, err);
}

// An entry on the way to an address that works.
static void ex_pick_path(struct exercise *x, ppn_t *ppn, unsigned *slot)
{
	u64 va = x->recent[ex_rnd(x, 16)];
	struct guest_walk w;
	struct x86_fault f;
	unsigned level;

	if (!guest_translate(x->shadow, &x->mode, va, 0, false, &w, &f))
		return;
	level = w.level + (unsigned)ex_rnd(x, ex_rnd(x, 4) ? 1 : 5 - w.level);
	*ppn = w.entry_gpa[level] >> 12;
	*slot = w.entry_gpa[level] / 8 % SLOTS;
}

static void ex_edit_entry(struct exercise *x, ppn_t ppn, unsigned slot)
{
	u64 gpa = ppn << 12 | slot * 8, e = x->type[ppn] == P2M_RAM ? ex_page(x, ppn)[slot] : 0;

	shadow_hint(x->shadow, x->recent[ex_rnd(x, 16)], ex_rnd(x, 2));
	switch (ex_rnd(x, 8)) {
	case 0:
		e &= ~(PTE_A | PTE_D);
		break;
	case 1:
		e &= ~(x->random(x->random_ctx) & 0x67);
		break;
	case 2:
		e |= x->random(x->random_ctx) & 0x66;
		break;
	case 3: // a part of the entry
		e = ex_entry(x, ppn);
		ex_store(x, gpa + (e >> 40 & 4), &e, 4);
		return;
	default:
		e = ex_entry(x, ppn);
	}
	ex_store(x, gpa, &e, 8);
}

// munmap's row, by one instruction.
static void ex_remove_row(struct exercise *x)
{
	static const u64 none = 0;
	ppn_t ppn = ex_rnd(x, EX_TABLES);
	unsigned slot;

	ex_pick_path(x, &ppn, &slot);
	shadow_hint(x->shadow, 0, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(ex_slots); i++)
		ex_store(x, ppn << 12 | ex_slots[i] * 8, &none, 8);
}

static void ex_edit(struct exercise *x)
{
	ppn_t ppn = ex_rnd(x, EX_TABLES);
	unsigned slot = ex_slots[ex_rnd(x, 8)];

	if (ex_rnd(x, 2))
		ex_pick_path(x, &ppn, &slot);
	ex_edit_entry(x, ppn, slot);
}

// What a guest does that takes away or changes a page: store, flush, and nobody may reach the old one.
static void ex_edit_flush(struct exercise *x)
{
	static const u32 kinds[] = {PF_U | PF_W, PF_U, PF_W, 0};
	ppn_t ppn = EX_NONE;
	unsigned slot = 0;
	u64 va;

	x->recent[0] = x->recent[ex_rnd(x, 16)];
	va = x->recent[0];
	for (unsigned i = 0; i < 3; i++) {
		struct guest_walk w;
		struct x86_fault f;

		if (guest_translate(x->shadow, &x->mode, va, 0, false, &w, &f)) {
			ppn = w.entry_gpa[w.level] >> 12;
			slot = w.entry_gpa[w.level] / 8 % SLOTS;
			ex_edit_entry(x, ppn, slot);
		}
		if (i == 1)
			ex_load(x, x->mode.cr3);
		ex_access(x, va, kinds[ex_rnd(x, 4)]);
	}
}

// A run of writes that is no update of an entry: clearing, copying, or tearing down one by one.
static void ex_bulk(struct exercise *x)
{
	ppn_t ppn = ex_rnd(x, EX_TABLES);
	u64 data[64];
	unsigned from = (unsigned)ex_rnd(x, SLOTS - 64), kind = (unsigned)ex_rnd(x, 5);

	if (kind == 4) {
		ex_remove_row(x);
		return;
	}
	for (unsigned i = 0; i < 64; i++)
		data[i] = kind == 0 ? 0 : ex_entry(x, ppn);
	if (kind < 2)
		ex_store(x, ppn << 12 | (kind ? from * 8 : 0), data,
			 kind ? (unsigned)ex_rnd(x, sizeof(data)) + 1 : sizeof(data));
	else
		for (unsigned i = 0; i < 12; i++)
			ex_store(x, ppn << 12 | ex_slots[i & 7] * 8, &data[kind == 2 ? i : 0], 8);
}

// The P2M moves a page, or takes it away for a while.
static void ex_move(struct exercise *x)
{
	ppn_t ppn = ex_rnd(x, EX_ROM);
	unsigned i = (unsigned)ex_rnd(x, EX_SPARE);
	mpn_t old = x->p2m[ppn];

	if (x->type[ppn] == P2M_RAM && ex_rnd(x, 4)) {
		memcpy(x->guest + x->spare[i] * SLOTS, x->guest + old * SLOTS, PAGE_SIZE);
		x->p2m[ppn] = x->spare[i];
		x->spare[i] = old;
	} else if (ppn != x->mode.cr3 >> 12) {
		x->type[ppn] = x->type[ppn] == P2M_RAM ? P2M_NONE : P2M_RAM;
	}
	shadow_drop_frame(x->shadow, ppn);
}

static void ex_mode(struct exercise *x)
{
	u64 r = x->random(x->random_ctx);

	x->mode.wp = r & 3;
	x->mode.smep = r & 4;
	x->mode.smap = r & 8;
	ex_flush(x, VA_ALL); // what a change of CR4 does
	if ((r & 0x70) == 0) {
		x->mode.nx = !x->mode.nx;
		shadow_flush_all(x->shadow);
	}
}

static void ex_step(struct exercise *x)
{
	static const u32 kinds[8] = {0, PF_W, PF_U, PF_U | PF_W, PF_I, PF_U | PF_I, PF_W, PF_U | PF_W};
	unsigned op = (unsigned)ex_rnd(x, 128);
	ppn_t ppn;

	x->steps++;
	x->mode.ac = op & 1;
	if (op < 80) {
		ex_access(x, ex_va(x), kinds[ex_rnd(x, 8)]);
	} else if (op < 84) {
		ex_edit_flush(x);
	} else if (op < 112) {
		ex_edit(x);
	} else if (op < 117) {
		ex_load(x, ex_rnd(x, EX_TABLES / 4) << 14);
	} else if (op < 119) {
		ex_bulk(x);
	} else if (op < 122) {
		ppn = ex_rnd(x, EX_PPNS);
		(ex_rnd(x, 2) ? shadow_watch : shadow_unwatch)(x->shadow, ppn, 1u << ex_rnd(x, 3));
	} else if (op < 124) {
		ex_move(x);
	} else if (op == 124) {
		ex_mode(x);
	} else if (op == 125) {
		x->alloc_fails = ex_rnd(x, 2);
	} else if (ex_rnd(x, 16) == 0) {
		shadow_flush_all(x->shadow);
	}
}

static void ex_report(void *ctx, const char *text)
{
	ex_fail(ctx, "audit: %s", text);
}

static bool ex_audit(struct exercise *x)
{
	return !shadow_audit(x->shadow, ex_report, x);
}

// A guest with a few sane address spaces in it. max_tables: small ones make for eviction.
static struct exercise *ex_create(u64 (*random)(void *ctx), void *random_ctx, u32 max_tables)
{
	struct exercise *x = calloc(1, sizeof(*x));
	struct shadow_config c = {
		.ports = &ex_ports, .ctx = x, .ppn_limit = EX_PPNS, .max_tables = max_tables, .gate_l3 = EX_GATE_MPN,
		.markers = true};

	x->random = random;
	x->random_ctx = random_ctx;
	x->guest = calloc(EX_PPNS + EX_SPARE, PAGE_SIZE);
	x->pool = malloc(EX_SHADOW_PAGES * PAGE_SIZE);
	for (ppn_t p = 0; p < EX_PPNS; p++) {
		x->p2m[p] = (p * 389 + 17) % EX_PPNS;
		x->type[p] = p < EX_ROM ? P2M_RAM : p < EX_MMIO ? P2M_ROM : p < EX_NONE ? P2M_MMIO : P2M_NONE;
	}
	for (unsigned i = 0; i < EX_SPARE; i++)
		x->spare[i] = EX_PPNS + i;
	for (ppn_t p = 0; p < EX_TABLES; p++)
		for (unsigned i = 0; i < ARRAY_SIZE(ex_slots); i++)
			ex_page(x, p)[ex_slots[i]] = ex_entry(x, p);
	for (ppn_t p = 0; p < 4; p++) // tables in read-only memory, of level 4 - p
		for (unsigned i = 0; i < ARRAY_SIZE(ex_slots); i++)
			ex_page(x, EX_ROM + p)[ex_slots[i]] = ex_entry(x, p);
	c.memory_size = shadow_memory_needed(c.ppn_limit, c.max_tables);
	c.memory = x->memory = malloc(c.memory_size);
	x->shadow = shadow_create(&c);
	x->mode = (struct mmu_mode){.wp = true, .nx = true};
	ex_load(x, 0);
	return x;
}

// False: memory of the pool was not given back.
static bool ex_destroy(struct exercise *x)
{
	bool clean;

	shadow_destroy(x->shadow);
	clean = !x->pool_live;
	free(x->memory);
	free(x->guest);
	free(x->pool);
	free(x);
	return clean;
}

#endif
