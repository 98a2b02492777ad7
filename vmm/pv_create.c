// SPDX-License-Identifier: MIT
// A paravirtual VM's memory, and its start: all pages and what is known of them, then the kernel as core/pv/build.c lays it out, whose
// tables are validated like any that a guest makes.
#include "vmm/pv.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/pv_image.h"
#include "base/string.h"
#include "core/pv/build.h"
#include "machine/cpu/cpu.h"
#include "machine/io/cmos.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/reserve.h"
#include <xen/vcpu.h>

// ---- memory

static bool take_pages(struct vm *vm)
{
	vm->ram_bytes = vm->low_bytes = vm->config.memory;
	vm->ppn_limit = (vm->ram_bytes >> PAGE_SHIFT) + PV_EXTRAS;
	return vm_create_p2m(vm, vm->ppn_limit << PAGE_SHIFT) && vm_fill_p2m(vm, 0, vm->ppn_limit << PAGE_SHIFT);
}

static bool take_all(struct vm *vm)
{
	struct pv_vm *pv = vm->pv = vm_take(vm, sizeof(*pv));

	if (!pv)
		return false;
	pv->vm = vm;
	pv->m2p_l3 = pv->unknown = pv->window_l3 = pv->types_l3 = MPN_NONE;
	for (unsigned i = 0; i < PV_ROOTS; i++)
		pv->root[i].mpn = MPN_NONE;
	if (!take_pages(vm))
		return false;
	pv->frame = vm_take(vm, vm->ppn_limit * sizeof(*pv->frame));
	pv->index_end = frame_limit();
	pv->index = vm_take(vm, (ROUND_UP(pv->index_end, BIT(PV_INDEX_SHIFT)) >> PV_INDEX_SHIFT) * sizeof(*pv->index));
	pv->store = vm_take(vm, sizeof(*pv->store));
	if (!pv->frame || !pv->index || !pv->store || !pv_maps_create(pv) || !pv_window_create(pv) || !pv_roots_create(pv))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(pv->loan); i++)
		if (!(pv->loan[i] = pv_page_take(pv)))
			return false;
	for (ppn_t p = 0; p < vm->ppn_limit; p++)
		if (!pv_maps_set(pv, vm->p2m[p], p))
			return false;
	return vm_create_gate(vm, NULL);
}

#define PAGE_OF(field) (offsetof(struct pv_vm, field) >> PAGE_SHIFT)
_Static_assert(PAGE_OF(guest.events.ports) == PAGE_OF(vcpu.trap), "what each exit touches is on one page");

bool pv_vm_create(struct vm *vm, char *error, size_t size)
{
	u64 left = reserve_left();

	if (!take_all(vm)) {
		vm_too_large(vm, left, error, size);
		return false;
	}
	return true;
}

void pv_vm_free(struct vm *vm)
{
	struct pv_vm *pv = vm->pv;

	if (!pv)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(pv->loan); i++)
		if (pv->loan[i])
			pv_page_give(pv, pv->loan[i]);
	pv_roots_free(pv);
	pv_window_free(pv);
	pv_maps_free(pv);
	assert(!pv->own_frames);
	vm->pv = NULL;
}

// ---- the start

static void *page_ptr(void *ctx, ppn_t ppn)
{
	return frame_ptr(((struct pv_vm *)ctx)->vm->p2m[ppn]);
}

static mpn_t page_mpn(void *ctx, ppn_t ppn)
{
	return ((struct pv_vm *)ctx)->vm->p2m[ppn];
}

// Pages that it gave back in an earlier life.
static bool fill_holes(struct pv_vm *pv)
{
	struct vm *vm = pv->vm;

	for (ppn_t p = 0; p < vm->ppn_limit; p++)
		if (vm->p2m[p] == MPN_NONE &&
		    (!reserve_room(3) || !vm_fill_p2m(vm, p << PAGE_SHIFT, PAGE_SIZE) || !pv_maps_set(pv, vm->p2m[p], p)))
			return false;
	return true;
}

// It is the first of the extras; those of grants follow.
static ppn_t shared_page(const struct vm *vm)
{
	return vm->ram_bytes >> PAGE_SHIFT;
}

static void start_guest(struct pv_vm *pv)
{
	struct vm *vm = pv->vm;
	struct pv_guest *g = &pv->guest;

	memset(g, 0, sizeof(*g));
	memset(&pv->vcpu, 0, sizeof(pv->vcpu));
	memset(pv->frame, 0, vm->ppn_limit * sizeof(*pv->frame));
	pv_frames_init(&g->frames, &vmm_pv_frame_ports, pv, pv->frame, vm->ppn_limit, MIN(vm_physical_bits(), 52u));
	g->frames.direct = frame_ptr(0);
	g->ports = &vmm_pv_guest_ports;
	g->ctx = pv;
	g->shared_mpn = vm->p2m[shared_page(vm)];
	g->shared = frame_ptr(g->shared_mpn);
	g->vcpu = &pv->vcpu;
	g->vcpus = 1;
	g->pages = g->pages_max = vm->ram_bytes >> PAGE_SHIFT;
	g->machine_frames = frame_limit();
	g->tsc_mul = (u32)tsc_khz();
	g->tsc_base = rdtsc() - ns_to_tsc(time_ns());
	g->wall_seconds = rtc_wall_seconds() - time_ns() / 1000000000;
	pv_guest_init(g, &vmm_pv_event_ports);
	pv->vcpu.cpu = &vm->vcpu.cpu;
	pv->vcpu.state_ns = time_ns();
	for (ppn_t p = 0; p < g->pages; p++)
		pv_maps_tell(pv, vm->p2m[p], p);
	pv_roots_forget(pv);
	pv_window_forget(pv);
	pv_loan_init(&g->loan, ptr_mpn(pv->loan[0]), pv->loan[0], pv->loan[1]);
	pv->goes_on = pv->stored = false;
	pv->info = NULL;
}

// The hypercall page: by number, `mov $N, %eax; syscall; ret`; iret's puts on the stack what the other way of calling it would have
// (Xen's arch-x86/xen-x86_64.h).
static void fill_hypercall_page(u8 *page)
{
	static const u8 plain[] = {0x51, 0x41, 0x53, 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3};
	static const u8 iret[] = {0x51, 0x41, 0x53, 0x50, 0xb8, __HYPERVISOR_iret, 0, 0, 0, 0x0f, 0x05};

	memset(page, 0xcc, PAGE_SIZE);
	for (unsigned n = 0; n < PAGE_SIZE / 32; n++) {
		memcpy(page + n * 32, plain, sizeof(plain));
		page[n * 32 + 4] = (u8)n;
	}
	memcpy(page + __HYPERVISOR_iret * 32, iret, sizeof(iret));
}

static void start_registers(struct vm *vm, const struct pv_build *b, const struct pv_image *image)
{
	struct x86_cpu *c = &vm->vcpu.cpu;

	c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	c->cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	c->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	c->apic_base = 0xfee00000;
	c->dr[6] = 0xffff0ff0;
	c->dr[7] = 0x400;
	c->rflags = RFL_FIXED | RFL_IF;
	for (unsigned i = 0; i < 6; i++)
		c->seg[i] = (struct x86_segment){.attr = SEG_ATTR_UNUSABLE};
	c->ldtr = (struct x86_segment){.attr = SEG_ATTR_UNUSABLE};
	c->gdtr = (struct x86_table){0, 0xffff};
	c->seg[SEG_SS].attr = 0; // it starts in the kernel: there is no GS to swap
	pv_enter_kernel(&vm->pv->vcpu);
	c->rip = image->entry;
	c->gpr[R_RSI] = b->start_info;
	c->gpr[R_RSP] = b->stack;
}

// The budget is for who must not keep others waiting.
static bool hold_root(struct pv_vm *pv, mpn_t root)
{
	struct pv_frames *f = &pv->guest.frames;
	enum status st;

	do {
		f->work = ~0u;
		st = pv_pin(f, root, PV_L4);
	} while (st == ST_AGAIN);
	return st == ST_OK && pv_get_type(f, root, PV_L4) == ST_OK;
}

// Pages that the hypervisor writes for as long as the guest lives: never a table.
static bool hold_pages(struct pv_vm *pv, const struct pv_build *b)
{
	const mpn_t page[] = {pv->guest.shared_mpn, pv->vm->p2m[b->console_page], pv->vm->p2m[b->store_page]};

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		if (pv_get_type(&pv->guest.frames, page[i], PV_WRITABLE) != ST_OK)
			return false;
	return pv_grants_init(&pv->guest, &pv->vm->p2m[shared_page(pv->vm) + 1]);
}

static bool start_kernel(struct pv_vm *pv, const struct bundle_file *kernel, const struct bundle_file *ramdisk, char *error, size_t size)
{
	struct vm *vm = pv->vm;
	struct pv_image image;
	struct pv_build b = {
		.image = kernel->data,
		.image_size = kernel->size,
		.parsed = &image,
		.ramdisk = ramdisk->size ? ramdisk->data : NULL,
		.ramdisk_size = ramdisk->size,
		.cmdline = vm->config.cmdline,
		.pages = pv->guest.pages,
		.map = page_ptr,
		.mpn = page_mpn,
		.ctx = pv,
		.shared_info = pv->guest.shared_mpn,
		.console_port = pv_event_connect(&pv->guest.events, PV_USER_CONSOLE),
		.store_port = pv_event_connect(&pv->guest.events, PV_USER_STORE),
	};

	if (!pv_image_parse(&image, kernel->data, kernel->size)) {
		fmt_snprintf(error, size, "kernel: %s", image.wrong);
		return false;
	}
	if (pv_build(&b) != ST_OK) {
		fmt_snprintf(error, size, "kernel: %s", b.error);
		return false;
	}
	if (image.hypercall_page)
		fill_hypercall_page(page_ptr(pv, (image.hypercall_page - image.virt_base) >> PAGE_SHIFT));
	if (!hold_root(pv, vm->p2m[b.root]) || !hold_pages(pv, &b)) {
		fmt_snprintf(error, size, "kernel: its first page tables are not valid");
		return false;
	}
	pv->guest.console = page_ptr(pv, b.console_page);
	if (!pv_vm_store_start(pv, &b)) {
		fmt_snprintf(error, size, "its store has no room for what a guest finds there");
		return false;
	}
	pv->vcpu.root = vm->p2m[b.root];
	pv_roots_load(pv, b.root);
	vm->vcpu.cpu.cr3 = pv->vcpu.root << PAGE_SHIFT;
	start_registers(vm, &b, &image);
	return true;
}

bool pv_vm_boot(struct vm *vm, char *error, size_t size)
{
	struct bundle_file kernel, ramdisk = {0};

	if (bundle_find(vm->bundle, vm->config.kernel, &kernel) != ST_OK ||
	    (vm->config.ramdisk[0] && bundle_find(vm->bundle, vm->config.ramdisk, &ramdisk) != ST_OK)) {
		fmt_snprintf(error, size, "kernel or ramdisk is not in the bundle");
		return false;
	}
	if (!fill_holes(vm->pv)) {
		fmt_snprintf(error, size, "not enough machine memory for the pages that it had given back");
		return false;
	}
	start_guest(vm->pv);
	pit_init(&vm->pv->pit);
	vm->vcpu.emul.ports = &vmm_pv_emul_ports;
	gate_clear_gdt(&vm->vcpu.gate);
	gate_set_flat_user(&vm->vcpu.gate);
	return start_kernel(vm->pv, &kernel, &ramdisk, error, size);
}

// ---- audit

static void held(struct pv_vm *pv, struct pv_count *count, mpn_t mpn)
{
	ppn_t page = pv_maps_page(pv, mpn);

	count[page].refs++;
	count[page].uses++;
}

// Pages that the hypervisor writes; the rest of what is held, pv_guest_audit() knows.
static void count_held(struct pv_vm *pv, struct pv_count *count)
{
	held(pv, count, pv->guest.shared_mpn);
	held(pv, count, ptr_mpn(pv->guest.console));
	held(pv, count, ptr_mpn(pv->store->ring));
}

unsigned pv_vm_audit(struct vm *vm, void (*report)(void *ctx, const char *text))
{
	u64 frames = ROUND_UP(vm->ppn_limit * sizeof(struct pv_count), PAGE_SIZE) >> PAGE_SHIFT;
	mpn_t mpn = vm->pv->guest.console ? frames_alloc(frames, 0) : MPN_NONE;
	unsigned n;

	if (mpn == MPN_NONE)
		return 0;
	count_held(vm->pv, frame_ptr(mpn));
	n = pv_guest_audit(&vm->pv->guest, frame_ptr(mpn), report, vm);
	if (pv_roots_audit(vm->pv)) {
		report(vm, "roots: one is not as the guest has it, or the gate would load what is not in use");
		n++;
	}
	if (pv_window_audit(vm->pv)) {
		report(vm, "window: a table is writable in it");
		n++;
	}
	frames_free(mpn, frames);
	return n;
}
