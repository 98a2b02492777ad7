// SPDX-License-Identifier: MIT
// Builds and installs gates. Layout and trust rules: base/gate.h; the entry code: gate.S.
#include "machine/gate/gate.h"

#include "base/assert.h"
#include "base/string.h"
#include "base/x86.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/traps.h"
#include "machine/mm/frames.h"

#define CHECK(field, offset) _Static_assert(offsetof(struct vcpu_page, field) == (offset), #field)
CHECK(vif, VP_VIF);
CHECK(scratch, VP_SCRATCH);
CHECK(cr3_request, VP_CR3_REQUEST);
CHECK(cr3_refused, VP_CR3_REFUSED);
CHECK(guest_cr2, VP_GUEST_CR2);
CHECK(marker_cr2, VP_MARKER_CR2);
CHECK(guest_cs, VP_GUEST_CS);
CHECK(pv_lent, VP_PV_LENT);
CHECK(pv_returns, VP_PV_RETURNS);
CHECK(pv_update, VP_PV_UPDATE);
CHECK(pv_update_read, VP_PV_UPDATE_READ);
CHECK(pv_user_table, VP_PV_USER_TABLE);
CHECK(marker_left, VP_MARKER_LEFT);
CHECK(pv_user, VP_PV_USER);
CHECK(pv_kernel_sp, VP_PV_KERNEL_SP);
CHECK(guest_cr3, VP_GUEST_CR3);
CHECK(reflect, VP_REFLECT);
CHECK(stack[32], VP_STACK_TOP);
CHECK(gpr, VP_GPR);
CHECK(vector, VP_VECTOR);
CHECK(error, VP_ERROR);
CHECK(rip, VP_RIP);
CHECK(cs, VP_CS);
CHECK(rflags, VP_RFLAGS);
CHECK(rsp, VP_RSP);
CHECK(ss, VP_SS);
CHECK(cr2, VP_CR2);
#undef CHECK
#define CHECK(field, offset) _Static_assert(offsetof(struct gate_trust, field) == (offset), #field)
CHECK(hv_cr3, GT_HV_CR3);
CHECK(hv_stack, GT_HV_STACK);
CHECK(hv_entry, GT_HV_ENTRY);
CHECK(guest_cr3, GT_GUEST_CR3);
CHECK(lstar_tc, GT_LSTAR_TC);
CHECK(syscall_keep, GT_SYSCALL_KEEP);
CHECK(syscall_vif, GT_SYSCALL_VIF);
CHECK(hv_trap, GT_HV_TRAP);
CHECK(reflect_handler, GT_REFLECT_HANDLER);
CHECK(reflect_rsp0, GT_REFLECT_RSP0);
CHECK(exit_cr3, GT_EXIT_CR3);
CHECK(cr3_map, GT_CR3_MAP);
CHECK(syscall_cs, GT_SYSCALL_CS);
CHECK(cr3_exits, GT_CR3_EXITS);
CHECK(cr3_mask, GT_CR3_MASK);
CHECK(pv_ports, GT_PV_PORTS);
CHECK(pv_lent_table, GT_PV_LENT_TABLE);
CHECK(pv_reserved, GT_PV_RESERVED);
CHECK(pv_base, GT_PV_BASE);
CHECK(pv_info, GT_PV_INFO);
CHECK(pv_syscall, GT_PV_SYSCALL);
CHECK(pv_syscall_masks, GT_PV_SYSCALL_MASKS);
CHECK(pv_page_fault, GT_PV_PAGE_FAULT);
CHECK(pv_page_fault_masks, GT_PV_PAGE_FAULT_MASKS);

#define DESC_CODE64(dpl) (0x00209b0000000000ull | ((u64)(dpl) << 45))
#define DESC_DATA(dpl) (0x0000930000000000ull | ((u64)(dpl) << 45))
#define DESC_TYPE_TSS 9ull
#define DESC_TYPE_LDT 2ull
#define IDT_INTERRUPT_GATE 0x8e00ull
#define OUR_FIRST_INDEX (0xe000 / 8)

extern const u8 trap_common[]; // machine/cpu/trap_entry.S
extern const u8 gate_text_start[], gate_text_end[], gate_syscall[], gate_syscall32[], gate_to_guest[], gate_cr3[], gate_page_fault[], gate_reflect[], gate_hv_entry[];
extern const u8 gate_pv_syscall[], gate_pv_page_fault[], gate_pv_protection[];
void gate_run(struct gate_trust *trust, u64 entry);

static u64 in_gate(const u8 *symbol)
{
	return GATE_TEXT + (u64)(symbol - gate_text_start);
}

// Page-table building. Rights at the leaves; upper entries allow writing.
static u64 *table_below(struct gate *g, u64 *entry)
{
	if (!(*entry & PTE_P)) {
		mpn_t mpn = frame_alloc();

		if (mpn == MPN_NONE)
			return NULL;
		g->frames++;
		*entry = mpn << PAGE_SHIFT | PTE_P | PTE_W | PTE_A;
	}
	return frame_ptr((*entry & PTE_ADDR) >> PAGE_SHIFT);
}

static bool map_page(struct gate *g, u64 va, mpn_t mpn, u64 rights)
{
	u64 *l3 = frame_ptr(g->l3);
	u64 *l2 = table_below(g, &l3[(va >> 30) & 511]);
	u64 *l1 = l2 ? table_below(g, &l2[(va >> 21) & 511]) : NULL;

	if (!l1)
		return false;
	assert(!(l1[(va >> 12) & 511] & PTE_P));
	l1[(va >> 12) & 511] = mpn << PAGE_SHIFT | rights | PTE_P | PTE_A | ((rights & PTE_W) ? PTE_D : 0);
	return true;
}

#define RIGHTS_TEXT 0ull
#define RIGHTS_RO PTE_NX
#define RIGHTS_RW (PTE_W | PTE_NX)

static void *map_new(struct gate *g, u64 va, unsigned pages, u64 rights)
{
	mpn_t mpn = frames_alloc(pages, 0);

	if (mpn == MPN_NONE)
		return NULL;
	for (unsigned i = 0; i < pages; i++) {
		if (!map_page(g, va + i * PAGE_SIZE, mpn + i, rights)) {
			frames_free(mpn + i, pages - i); // the others are in the tables
			return NULL;
		}
		g->frames++;
	}
	return frame_ptr(mpn);
}

// The tables for it are there: it is among the gate's other pages.
static u64 *info_entry(struct gate *g)
{
	u64 *l2 = table_below(g, &((u64 *)frame_ptr(g->l3))[(GATE_PV_INFO >> 30) & 511]);
	u64 *l1 = table_below(g, &l2[(GATE_PV_INFO >> 21) & 511]);

	return &l1[(GATE_PV_INFO >> 12) & 511];
}

static bool map_run(struct gate *g, u64 va, mpn_t mpn, size_t pages, u64 rights)
{
	for (size_t i = 0; i < pages; i++)
		if (!map_page(g, va + i * PAGE_SIZE, mpn + i, rights))
			return false;
	return true;
}

static void fill_idt(u64 *idt, bool pv)
{
	for (unsigned v = 0; v < 256; v++) {
		u64 handler = v == GATE_CR3_VECTOR ? in_gate(gate_cr3)
			      : v == VEC_GP && pv  ? in_gate(gate_pv_protection)
			      : v == VEC_PF	   ? in_gate(pv ? gate_pv_page_fault : gate_page_fault)
						   : GATE_TEXT + v * 16;
		u64 dpl = v == VEC_BP || v == VEC_OF ? 3 : v == GATE_EXIT_VECTOR || v == GATE_CR3_VECTOR ? 1 : 0;
		u64 ist = v == VEC_DB ? 1 : v == VEC_NMI ? 2 : v == VEC_DF ? 3 : v == VEC_MC ? 4 : 0;

		idt[v * 2] = (handler & 0xffff) | (u64)SEL_HV_CS << 16 | ist << 32 | (IDT_INTERRUPT_GATE | dpl << 13) << 32 |
			     (handler & 0xffff0000) << 32;
		idt[v * 2 + 1] = handler >> 32;
	}
}

static void fill_tss(u8 *tss)
{
	u64 rsp0 = GATE_STACK + PAGE_SIZE;
	u16 io_map = 0x68;

	memcpy(tss + 4, &rsp0, 8);
	for (unsigned i = 0; i < GATE_IST_COUNT; i++) {
		u64 ist = GATE_IST + (i + 1) * PAGE_SIZE;

		memcpy(tss + 0x24 + i * 8, &ist, 8);
	}
	memcpy(tss + 0x66, &io_map, 2);
}

static void system_descriptor(u64 *at, u64 base, u32 limit, u64 type)
{
	at[0] = (limit & 0xffff) | (base & 0xffffff) << 16 | (0x80 | type) << 40 | ((base >> 24) & 0xff) << 56;
	at[1] = base >> 32;
}

static void fill_own_descriptors(u64 *gdt)
{
	gdt[SEL_HV_CS / 8] = DESC_CODE64(0);
	gdt[SEL_HV_SS / 8] = DESC_DATA(0);
	gdt[SEL_R1_CS / 8] = DESC_CODE64(1);
	gdt[SEL_R1_SS / 8] = DESC_DATA(1);
	system_descriptor(&gdt[SEL_TSS / 8], GATE_TSS, 0x67, DESC_TYPE_TSS);
}

static bool map_cache(struct gate *g, const struct gate_cache *c)
{
	return map_run(g, GATE_TC, c->code, c->code_pages, RIGHTS_TEXT) && map_run(g, GATE_LINKS, c->links, c->link_pages, RIGHTS_RO) &&
	       map_run(g, GATE_IBTC, c->ibtc, IBTC_ENTRIES * 8 / PAGE_SIZE, RIGHTS_RO);
}

enum status gate_create(struct gate *g, const struct gate_cache *cache)
{
	size_t text = (size_t)(gate_text_end - gate_text_start);

	g->l3 = frame_alloc();
	if (g->l3 == MPN_NONE)
		return ST_NOMEM;
	g->frames = 1;
	g->pv = !cache;
	g->text = map_new(g, GATE_TEXT, (unsigned)(ROUND_UP(text, PAGE_SIZE) >> PAGE_SHIFT), RIGHTS_TEXT);
	g->idt = map_new(g, GATE_IDT, 1, RIGHTS_RO);
	g->tss = map_new(g, GATE_TSS, 1, RIGHTS_RO);
	g->trust = map_new(g, GATE_TRUST, 1, RIGHTS_RO);
	g->gdt = map_new(g, GATE_GDT, 16, RIGHTS_RO);
	g->ldt = map_new(g, GATE_LDT, 16, RIGHTS_RO);
	g->page = map_new(g, GATE_VCPU, 1, RIGHTS_RW);
	if (!g->text || !g->idt || !g->tss || !g->trust || !g->gdt || !g->ldt || !g->page ||
	    !map_new(g, GATE_STACK, 1, RIGHTS_RW) || !map_new(g, GATE_IST, GATE_IST_COUNT, RIGHTS_RW) ||
	    (cache && !map_cache(g, cache)))
		return ST_NOMEM;
	assert(text <= 16 * PAGE_SIZE);
	memcpy(g->text, gate_text_start, text);
	fill_idt(g->idt, g->pv);
	fill_tss((u8 *)g->tss);
	fill_own_descriptors(g->gdt);
	return ST_OK;
}

#define GIB_INDEX(va) (((va) >> 30) & 511)

// The tables of one GiB, and, where they are the gate's own, the pages that they map.
static u64 free_gib(u64 *entry, bool pages)
{
	u64 *l2 = frame_ptr((*entry & PTE_ADDR) >> PAGE_SHIFT), n = 1;

	for (unsigned i = 0; i < 512; i++) {
		u64 *l1 = frame_ptr((l2[i] & PTE_ADDR) >> PAGE_SHIFT);

		if (!(l2[i] & PTE_P))
			continue;
		for (unsigned k = 0; pages && k < 512; k++) {
			if (!(l1[k] & PTE_P))
				continue;
			frame_free((l1[k] & PTE_ADDR) >> PAGE_SHIFT);
			n++;
		}
		frame_free(ptr_mpn(l1));
		n++;
	}
	frame_free(ptr_mpn(l2));
	*entry = 0;
	return n;
}

// No guest may have put a descriptor of ring 0, a gate or a system segment there.
static bool filtered(const u64 *table, unsigned entries)
{
	for (unsigned i = 0; i < entries; i++)
		if (table[i] && table[i] != gate_filter_descriptor(table[i]))
			return false;
	return true;
}

bool gate_intact(const struct gate *g)
{
	static u64 expected[512]; // one VM is checked at a time

	fill_idt(expected, g->pv);
	if (memcmp(g->idt, expected, PAGE_SIZE) || memcmp(g->text, gate_text_start, (size_t)(gate_text_end - gate_text_start)))
		return false;
	memset(expected, 0, PAGE_SIZE);
	fill_tss((u8 *)expected);
	if (memcmp(g->tss, expected, PAGE_SIZE))
		return false;
	return g->gdt[SEL_HV_CS / 8] == DESC_CODE64(0) && g->gdt[SEL_HV_SS / 8] == DESC_DATA(0) && g->gdt[SEL_R1_CS / 8] == DESC_CODE64(1) &&
	       g->gdt[SEL_R1_SS / 8] == DESC_DATA(1) && filtered(g->gdt, OUR_FIRST_INDEX) && filtered(g->ldt, 8192);
}

void gate_destroy(struct gate *g)
{
	u64 *l3, n = 1;

	if (!g->frames)
		return;
	if (g->page) // all of it is there
		gate_map_info(g, MPN_NONE);
	l3 = frame_ptr(g->l3);
	for (unsigned i = 0; i < 512; i++)
		if (l3[i] & PTE_P)
			n += free_gib(&l3[i], i == GIB_INDEX(GATE_TEXT));
	assert(n == g->frames);
	frame_free(g->l3);
	*g = (struct gate){.l3 = MPN_NONE};
}

u64 gate_filter_descriptor(u64 raw)
{
	const u64 s = BIT(44), accessed = BIT(40), p = BIT(47);
	u64 dpl = (raw >> 45) & 3;

	if (!(raw & s))
		return 0;
	if (!(raw & p)) // loads nowhere, but LAR and LSL tell of it, and #NP is another fault than #GP
		return raw;
	if (dpl == 0) // conforming code too: it runs at its caller's ring, which is never 0
		raw |= 1ull << 45;
	return raw | accessed;
}

void gate_set_gdt(struct gate *g, unsigned index, u64 raw)
{
	if (index > 0 && index < OUR_FIRST_INDEX)
		g->gdt[index] = gate_filter_descriptor(raw);
}

void gate_clear_gdt(struct gate *g)
{
	memset(g->gdt, 0, OUR_FIRST_INDEX * 8);
}

#define FLAT_CODE32 0x00cffb000000ffffull
#define FLAT_DATA32 0x00cff3000000ffffull
#define FLAT_CODE64 0x00affb000000ffffull

void gate_set_flat_user(struct gate *g)
{
	g->gdt[XEN_FLAT_CS32 / 8] = FLAT_CODE32;
	g->gdt[XEN_FLAT_DS32 / 8] = FLAT_DATA32;
	g->gdt[XEN_FLAT_CS64 / 8] = FLAT_CODE64;
}

void gate_load_ldt(struct gate *g, unsigned entries)
{
	if (entries) {
		system_descriptor(&g->gdt[SEL_LDT / 8], GATE_LDT, entries * 8 - 1, DESC_TYPE_LDT);
		lldt(SEL_LDT);
	} else {
		lldt(0);
	}
}

#define SYSRET_SELECTORS 0x23ull // CS 0x33, SS 0x2b: what Linux's programs have

void gate_map_info(struct gate *g, mpn_t mpn)
{
	u64 *entry = info_entry(g);

	*entry = mpn == MPN_NONE ? 0 : mpn << PAGE_SHIFT | RIGHTS_RW | PTE_P | PTE_A | PTE_D;
}

void gate_install(struct gate *g, u64 *cpu_root, u64 cpu_cr3)
{
	cpu_root[GATE_SLOT] = g->l3 << PAGE_SHIFT | PTE_P | PTE_W | PTE_A;
	write_cr3(cpu_cr3);
	g->trust->hv_cr3 = cpu_cr3;
	g->trust->hv_entry = (u64)gate_hv_entry;
	g->trust->hv_trap = (u64)trap_common;
	// LTR marks the descriptor busy: once through the writable mapping, afterwards the register is only kept.
	lgdt((u64)g->gdt, 0xffff);
	g->gdt[SEL_TSS / 8] &= ~BIT(41);
	ltr(SEL_TSS);
	lgdt(GATE_GDT, 0xffff);
	lidt(GATE_IDT, 0xfff);
	wrmsr(MSR_LSTAR, in_gate(g->pv ? gate_pv_syscall : gate_syscall));
	wrmsr(MSR_CSTAR, in_gate(gate_syscall32));
	wrmsr(MSR_STAR, (u64)SEL_HV_CS << 32 | SYSRET_SELECTORS << 48); // SYSRET is for paravirtual guests only
	wrmsr(MSR_SFMASK, RFL_TF | RFL_NT | RFL_AC | RFL_DF | RFL_IF | RFL_IOPL);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | EFER_NXE);
}

bool gate_in_reflection(u64 rip)
{
	return rip >= in_gate(gate_reflect) && rip < GATE_TEXT + (u64)(gate_text_end - gate_text_start);
}

void gate_enter(struct gate *g)
{
	gate_run(g->trust, in_gate(gate_to_guest));
}
