// SPDX-License-Identifier: MIT
// The `walk` method: one guest-virtual address, step by step: VPN -> PPN by the guest's tables, PPN -> MPN by the P2M, VPN -> MPN by
// the shadow that the machine walks. Looks only: no accessed bit is set, nothing is filled in. The VM may run on meanwhile; then
// the steps are those of one moment after the other.
#include "vmm/methods.h"

#include "base/gate.h"
#include "machine/mm/frames.h"
#include "vmm/pv.h"

#define TOP_LEVEL 4

static unsigned slot_of(u64 va, unsigned level)
{
	return (unsigned)(va >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
}

static u64 page_bytes(unsigned level)
{
	return 1ull << (PAGE_SHIFT + 9 * (level - 1));
}

static bool is_leaf(u64 entry, unsigned level)
{
	return level == 1 || (level < TOP_LEVEL && (entry & PTE_PS));
}

static void put_mpn(struct json_out *j, const struct vm *vm, u64 gpa)
{
	ppn_t ppn = gpa >> PAGE_SHIFT;

	json_kv_hex(j, "ppn", ppn);
	json_key(j, "mpn");
	if (ppn < vm->ppn_limit && vm->p2m[ppn] != MPN_NONE)
		json_put_hex(j, vm->p2m[ppn]);
	else
		json_put_null(j);
}

// What an entry leads to: a paravirtual guest's have machine addresses. No page of the guest's: beyond its memory.
static u64 guest_physical(const struct vm *vm, u64 address)
{
	return vm->pv ? pv_maps_page(vm->pv, address >> PAGE_SHIFT) << PAGE_SHIFT | (address & PAGE_MASK) : address;
}

// The guest's entries, each with the frame of the table that it is in. *gpa: what the address maps to. False: to nothing.
static bool guest_steps(struct json_out *j, struct vm *vm, u64 va, u64 *gpa)
{
	u64 table = guest_physical(vm, vm->vcpu.cpu.cr3 & PTE_ADDR);
	bool mapped = false;

	json_key(j, "guest");
	json_array(j);
	for (unsigned level = TOP_LEVEL; level; level--) {
		const u64 *t = gpa_ram(vm, table);
		u64 entry = t ? t[slot_of(va, level)] : 0;

		json_object(j);
		json_kv_u64(j, "level", level);
		json_kv_u64(j, "slot", slot_of(va, level));
		put_mpn(j, vm, table);
		if (t)
			json_kv_hex(j, "entry", entry);
		json_object_end(j);
		if (!(entry & PTE_P))
			break;
		if (is_leaf(entry, level)) {
			*gpa = guest_physical(vm, (entry & PTE_ADDR & ~(page_bytes(level) - 1)) | (va & (page_bytes(level) - 1)));
			mapped = true;
			break;
		}
		table = guest_physical(vm, entry & PTE_ADDR);
	}
	json_array_end(j);
	return mapped;
}

// The same without long mode: no shadow goes with it.
static bool legacy_steps(struct json_out *j, struct vm *vm, u64 va, u64 *gpa)
{
	struct mmu_mode m = vcpu_mmu_mode(&vm->vcpu);
	unsigned top = m.paging == PAGING_PAE ? 3 : 2, bytes = top == 3 ? 8 : 4;
	struct x86_fault fault;
	struct guest_walk w;
	bool mapped;

	m.smap = false;
	mapped = guest_translate(vm->shadow, &m, va, 0, false, &w, &fault);
	json_key(j, "guest");
	json_array(j);
	for (unsigned level = top; level >= w.level; level--) {
		json_object(j);
		json_kv_u64(j, "level", level);
		json_kv_u64(j, "slot", (w.entry_gpa[level] & (level == 3 ? 31 : PAGE_MASK)) / bytes);
		put_mpn(j, vm, w.entry_gpa[level]);
		json_kv_hex(j, "entry", w.entry[level]);
		json_object_end(j);
	}
	json_array_end(j);
	*gpa = w.gpa;
	return mapped;
}

// What the machine walks. A table's number comes from us, but the table may be given back meanwhile: nothing outside RAM is read.
static void shadow_steps(struct json_out *j, const struct vm *vm, u64 va)
{
	u64 table = vm->vcpu.gate.trust->guest_cr3 & PTE_ADDR;

	json_key(j, "shadow");
	json_array(j);
	for (unsigned level = TOP_LEVEL; level && table && frame_is_ram(table >> PAGE_SHIFT); level--) {
		u64 entry = ((const u64 *)frame_ptr(table >> PAGE_SHIFT))[slot_of(va, level)];

		json_object(j);
		json_kv_u64(j, "level", level);
		json_kv_u64(j, "slot", slot_of(va, level));
		json_kv_hex(j, "mpn", table >> PAGE_SHIFT);
		json_kv_hex(j, "entry", entry);
		json_object_end(j);
		if (!(entry & PTE_P) || is_leaf(entry, level))
			break;
		table = entry & PTE_ADDR;
	}
	json_array_end(j);
}

static void put_modes(struct json_out *j, const struct x86_cpu *c)
{
	json_kv_bool(j, "paging", c->cr0 & CR0_PG);
	json_kv_bool(j, "wp", c->cr0 & CR0_WP);
	json_kv_bool(j, "nx", c->efer & EFER_NXE);
	json_kv_bool(j, "smep", c->cr4 & CR4_SMEP);
	json_kv_bool(j, "smap", c->cr4 & CR4_SMAP);
}

int method_walk(void *ctx, struct control_request *req, struct json_out *result)
{
	struct vm *vm = method_vm(req);
	const struct x86_cpu *c;
	u64 va, gpa = 0;
	bool mapped, four_levels;

	if (!vm)
		return method_no_vm(req);
	if (!method_number(req, "address", &va))
		return method_bad(req, "address: a number was expected, decimal or after 0x hexadecimal, of 64 bits");
	c = &vm->vcpu.cpu;
	four_levels = (c->cr0 & CR0_PG) && (c->efer & EFER_LMA);
	if (four_levels && !is_canonical(va))
		return method_bad(req, "address: not canonical, bits 63 to 47 differ");
	if (!four_levels && va >> 32)
		return method_bad(req, "address: the VM is not in long mode, addresses have 32 bits");
	json_object(result);
	json_kv_hex(result, "address", va);
	json_kv_hex(result, "vpn", va >> PAGE_SHIFT & ((1ull << 36) - 1));
	json_kv_hex(result, "cr3", c->cr3);
	put_modes(result, c);
	json_kv_bool(result, "gate", four_levels && slot_of(va, TOP_LEVEL) == GATE_SLOT);
	mapped = true;
	if (four_levels) {
		mapped = guest_steps(result, vm, va, &gpa);
		shadow_steps(result, vm, va);
	} else if (c->cr0 & CR0_PG) {
		mapped = legacy_steps(result, vm, va, &gpa);
	} else {
		gpa = va;
	}
	if (mapped) {
		json_key(result, "p2m");
		json_object(result);
		json_kv_hex(result, "gpa", gpa);
		put_mpn(result, vm, gpa);
		json_object_end(result);
	}
	json_object_end(result);
	return 0;
}
