// SPDX-License-Identifier: MIT
// A paravirtual VM on the machine: where core/pv meets frames, gate and scheduler (docs/design/pv.md). No shadow, no translator: the
// guest's kernel runs in ring 1 as it is, on copies of its own level-4 tables that have the gate's slot in them.
#ifndef VMM_PV_H
#define VMM_PV_H

#include "core/platform/pit.h"
#include "core/pv/build.h"
#include "core/pv/guest.h"
#include "core/pv/store.h"
#include "vmm/vm.h"

#define PV_ROOTS GATE_PV_BASES
#define PV_EXTRAS (1 + PV_GRANT_FRAMES) // pages of the guest's that are not its RAM: the shared one, those of its grants

// A level-4 table to be loaded, made of a guest's.
struct pv_root {
	ppn_t table; // PPN_NONE: free
	mpn_t mpn;
};

struct pv_vm {
	struct pit pit;
	// What each exit touches is at the guest's end, then here, and at the vCPU's beginning: made to be on one page.
	u8 unused[PAGE_SIZE - (sizeof(struct pit) + offsetof(struct pv_guest, events.ports)) % PAGE_SIZE];
	struct pv_guest guest;
	struct vm *vm;
	struct pv_frame *frame;
	struct pv_store *store;
	u32 **index; // by mpn >> PV_INDEX_SHIFT: pages of u32 by mpn, 0: not the guest's, else its page plus one
	mpn_t index_end;
	mpn_t m2p_l3, unknown;     // what the guest sees at MACH2PHYS_VIRT_START; a page of ~0
	u64 own_frames;            // taken for maps and roots
	mpn_t window_l3, types_l3; // pv_window.c
	struct pv_root root[PV_ROOTS];
	unsigned root_next, root_now; // the next to be made anew; the one in use
	void *loan[2];                // pages of guest.loan
	struct vcpu_info *info; // that the gate knows
	bool goes_on;           // a hypercall that is not done
	bool stored;    // a loan came back with this exit, and entries had changed
	bool store_due; // its ring has more for us
	struct pv_vcpu vcpu;
};

// pv_create.c. False: `error` says why; what was taken is given back by pv_vm_free().
bool pv_vm_create(struct vm *vm, char *error, size_t size) MUST_CHECK;
bool pv_vm_boot(struct vm *vm, char *error, size_t size) MUST_CHECK;
void pv_vm_free(struct vm *vm);
// Counts all uses of the guest's frames anew. Returns the number of violations; 0 as well if there is no memory to count in.
unsigned pv_vm_audit(struct vm *vm, void (*report)(void *ctx, const char *text));

// pv_maps.c: which page of the guest's a machine frame has, for us and for the guest.
bool pv_maps_create(struct pv_vm *pv) MUST_CHECK;
void pv_maps_free(struct pv_vm *pv);
bool pv_maps_set(struct pv_vm *pv, mpn_t mpn, ppn_t page) MUST_CHECK; // false: no memory
void pv_maps_clear(struct pv_vm *pv, mpn_t mpn);
static inline ppn_t pv_maps_in(const u32 *page, mpn_t mpn) // page: of pv->index
{
	u32 n = page ? page[mpn & (BIT(PV_INDEX_SHIFT) - 1)] : 0;

	return n ? n - 1 : PPN_NONE;
}
static inline ppn_t pv_maps_page(const struct pv_vm *pv, mpn_t mpn) // PPN_NONE: not the guest's
{
	return pv_maps_in(mpn < pv->index_end ? pv->index[mpn >> PV_INDEX_SHIFT] : NULL, mpn);
}
void pv_maps_tell(struct pv_vm *pv, mpn_t mpn, u64 pfn); // what the guest reads there
// The level-1 entry of the tables below l3, of a level-4 slot of ours, by its number from the slot's start. make: tables that it needs. NULL: none,
// or no memory for one.
u64 *pv_slot_entry(struct pv_vm *pv, mpn_t l3, u64 number, bool make);
void pv_slot_empty(struct pv_vm *pv, mpn_t l3); // gives back all tables below it, not what their entries lead to
// A page for maps and roots, the VM's from now on.
void *pv_page_take(struct pv_vm *pv);
void pv_page_give(struct pv_vm *pv, void *page);

// pv_window.c
bool pv_window_create(struct pv_vm *pv) MUST_CHECK;
void pv_window_free(struct pv_vm *pv);
void pv_window_forget(struct pv_vm *pv); // no page is in it
void pv_window_add(struct pv_vm *pv, mpn_t mpn);
void pv_window_remove(struct pv_vm *pv, mpn_t mpn);
void pv_window_lend(struct pv_vm *pv, mpn_t table, mpn_t copy); // what is stored to the table goes there; MPN_NONE: no more
bool pv_window_index(struct pv_vm *pv, mpn_t mpn) MUST_CHECK; // the page of pv->index that has mpn is a new one. False: no memory
unsigned pv_window_audit(struct pv_vm *pv); // how many pages are in it that must not be

// pv_roots.c
bool pv_roots_create(struct pv_vm *pv) MUST_CHECK;
void pv_roots_free(struct pv_vm *pv);
void pv_roots_forget(struct pv_vm *pv); // a new life: none is of its tables
void pv_roots_load(struct pv_vm *pv, ppn_t table);
void pv_roots_changed(struct pv_vm *pv, ppn_t table, unsigned slot, u64 entry);
void pv_roots_gone(struct pv_vm *pv, ppn_t table);
void pv_roots_list(struct pv_vm *pv); // the tables in use: the gate may load them by itself
void pv_roots_after_exit(struct pv_vm *pv);
unsigned pv_roots_audit(struct pv_vm *pv); // how many of the gate's list are wrong

// pv_store.c
bool pv_vm_store_start(struct pv_vm *pv, const struct pv_build *b) MUST_CHECK; // a new one, with what a guest finds there
void pv_vm_store(struct pv_vm *pv);        // the guest has rung, or there was more to do
void pv_vm_power_button(struct pv_vm *pv); // its kernel is asked to shut down

// pv_ports.c
extern const struct pv_ports vmm_pv_frame_ports;
extern const struct pv_guest_ports vmm_pv_guest_ports;
extern const struct pv_event_ports vmm_pv_event_ports;
extern const struct emul_ports vmm_pv_emul_ports;

// pv_emulate.c: of its kernel's. False: it is not for us, and nothing has changed.
bool pv_emulate_privileged(struct vcpu *v); // #GP came
bool pv_emulate_store(struct vcpu *v, u64 va); // to a page table
bool pv_emulate_cpuid(struct vcpu *v); // #UD came; programs, too
bool pv_emulate_user_io(struct vcpu *v); // #GP came of a program
u8 pv_port_in(struct vcpu *v, u16 port);
void pv_port_out(struct vcpu *v, u16 port, u8 value);
bool pv_emulate_int(struct vcpu *v);   // #GP by the machine's descriptor table came; programs, too

// pv_run.c
void pv_run(struct vcpu *v);
u64 pv_next_event(const struct vcpu *v);

#endif
