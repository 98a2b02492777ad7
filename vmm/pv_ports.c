// SPDX-License-Identifier: MIT
// The ports through which core/pv and, for a paravirtual guest's kernel, the emulator reach this machine.
#include "vmm/pv.h"

#include "base/log.h"
#include "base/string.h"
#include "base/trace.h"
#include "core/x86/policy.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/segments.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/reserve.h"

// ---- frames

static void *frame_map(void *ctx, mpn_t mpn)
{
	return frame_ptr(mpn);
}

static const u32 *frame_index(void *ctx, mpn_t mpn)
{
	const struct pv_vm *pv = ctx;

	return mpn < pv->index_end ? pv->index[mpn >> PV_INDEX_SHIFT] : NULL;
}

static mpn_t page_frame(void *ctx, ppn_t page)
{
	const struct vm *vm = ((struct pv_vm *)ctx)->vm;

	return page < vm->ppn_limit ? vm->p2m[page] : MPN_NONE;
}

static void root_changed(void *ctx, ppn_t table, unsigned slot, u64 entry)
{
	pv_roots_changed(ctx, table, slot, entry);
}

static void root_gone(void *ctx, ppn_t table)
{
	pv_roots_gone(ctx, table);
}

static void plain(void *ctx, mpn_t mpn)
{
	pv_window_add(ctx, mpn);
}

static void claimed(void *ctx, mpn_t mpn)
{
	pv_window_remove(ctx, mpn);
}

static void lent(void *ctx, mpn_t table, mpn_t copy)
{
	pv_window_lend(ctx, table, copy);
}

// The machine has filtered copies; as under Xen a page with others in it is refused.
static bool descriptors(void *ctx, const u64 *entries)
{
	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*entries); i++)
		if (!pv_descriptor_ok(entries[i]))
			return false;
	return true;
}

const struct pv_ports vmm_pv_frame_ports = {
	.map = frame_map,
	.index = frame_index,
	.mpn = page_frame,
	.plain = plain,
	.claimed = claimed,
	.lent = lent,
	.root_changed = root_changed,
	.root_gone = root_gone,
	.descriptors = descriptors,
};

// ---- guest

static u64 now_ns(void *ctx)
{
	return time_ns();
}

static void console(void *ctx, const char *bytes, unsigned n)
{
	vm_console_put(((struct pv_vm *)ctx)->vm, (const u8 *)bytes, n);
}

static void load_root(void *ctx, struct pv_vcpu *v, mpn_t root)
{
	struct pv_vm *pv = ctx;

	v->cpu->cr3 = root << PAGE_SHIFT;
	pv_roots_load(pv, pv_maps_page(pv, root));
}

static void set_gdt(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw)
{
	gate_set_gdt(&((struct pv_vm *)ctx)->vm->vcpu.gate, index, raw);
}

static void set_ldt(void *ctx, struct pv_vcpu *v, unsigned index, u64 raw)
{
	((struct pv_vm *)ctx)->vm->vcpu.gate.ldt[index] = gate_filter_descriptor(raw);
}

static void ldt_loaded(void *ctx, struct pv_vcpu *v, unsigned entries)
{
	struct vcpu *machine = &((struct pv_vm *)ctx)->vm->vcpu;

	v->cpu->ldtr = (struct x86_segment){.selector = entries ? SEL_LDT : 0,
					     .attr = entries ? SEG_ATTR_P : SEG_ATTR_UNUSABLE,
					     .limit = entries * 8 - 1};
	tables_reload_ldt(machine);
}

static void task_switched(void *ctx, struct pv_vcpu *v)
{
	regs_control_out(&((struct pv_vm *)ctx)->vm->vcpu);
}

static void dr_changed(void *ctx, struct pv_vcpu *v)
{
	debug_written(&((struct pv_vm *)ctx)->vm->vcpu);
}

// The base of the descriptor becomes user mode's, the kernel's own stays.
static void user_gs(void *ctx, struct pv_vcpu *v, u16 selector)
{
	struct vcpu *machine = &((struct pv_vm *)ctx)->vm->vcpu;
	struct x86_segment *gs = &v->cpu->seg[SEG_GS];
	u64 kernel = gs->base;

	tables_fill_segment(machine, gs, selector);
	if ((selector & ~3) && (gs->attr & SEG_ATTR_UNUSABLE))
		gs->selector = 0; // not there
	v->cpu->kernel_gs_base = gs->attr & SEG_ATTR_UNUSABLE ? 0 : gs->base;
	gs->base = kernel;
}

static void set_machphys(void *ctx, mpn_t mpn, u64 pfn)
{
	pv_maps_tell(ctx, mpn, pfn);
}

static mpn_t populate(void *ctx, ppn_t *index)
{
	struct pv_vm *pv = ctx;
	struct vm *vm = pv->vm;

	for (ppn_t p = 0; p < vm->ppn_limit; p++)
		if (vm->p2m[p] == MPN_NONE) {
			if (!reserve_room(3) || !vm_fill_p2m(vm, p << PAGE_SHIFT, PAGE_SIZE))
				return MPN_NONE;
			*index = p;
			if (pv_maps_set(pv, vm->p2m[p], p))
				return vm->p2m[p];
			vm_drop_page(vm, p);
			return MPN_NONE;
		}
	return MPN_NONE;
}

static void release(void *ctx, ppn_t index)
{
	struct pv_vm *pv = ctx;

	pv_maps_clear(pv, pv->vm->p2m[index]);
	vm_drop_page(pv->vm, index);
}

static void ended(void *ctx, enum pv_end how, const char *reason)
{
	static const enum vm_end ends[] = {
		[PV_END_POWEROFF] = END_POWER_OFF, [PV_END_REBOOT] = END_RESET, [PV_END_CRASH] = END_CRASH};

	vm_end(((struct pv_vm *)ctx)->vm, ends[how], 0, "%s", reason);
}

static void say(void *ctx, const char *text)
{
	log_info("%s: %s", ((struct pv_vm *)ctx)->vm->config.name, text);
}

const struct pv_guest_ports vmm_pv_guest_ports = {
	.now_ns = now_ns,
	.console = console,
	.load_root = load_root,
	.set_gdt = set_gdt,
	.set_ldt = set_ldt,
	.ldt_loaded = ldt_loaded,
	.task_switched = task_switched,
	.debug_written = dr_changed,
	.user_gs = user_gs,
	.set_machphys = set_machphys,
	.populate = populate,
	.release = release,
	.end = ended,
	.log = say,
};

// ---- events

static struct pv_events *find_guest(void *ctx, u16 dom)
{
	return NULL;
}

static struct vcpu_info *vcpu_info(void *ctx, unsigned vcpu)
{
	return ((struct pv_vm *)ctx)->vcpu.info;
}

// Its own CPU is in the hypervisor, and looks before it enters.
static void notify(void *ctx, unsigned vcpu)
{
}

static void sent(void *ctx, unsigned user)
{
	struct pv_vm *pv = ctx;

	if (user == PV_USER_CONSOLE)
		pv_console_drain(&pv->guest);
	else
		pv_vm_store(pv);
}

const struct pv_event_ports vmm_pv_event_ports = {
	.find = find_guest,
	.vcpu_info = vcpu_info,
	.notify = notify,
	.sent = sent,
};

// ---- emulator

static struct pv_vcpu *of(void *ctx)
{
	return &((struct vcpu *)ctx)->vm->pv->vcpu;
}

static enum emul_result page_fault(u64 linear, u32 error, struct x86_fault *fault)
{
	*fault = (struct x86_fault){.vector = VEC_PF, .has_error = true, .error = error, .cr2 = linear};
	return EMUL_FAULT;
}

static enum emul_result em_read(void *ctx, u64 linear, void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	return pv_read(of(ctx), linear, buf, len) ? EMUL_OK : page_fault(linear, 0, fault);
}

// Memory as it is, or a page table that is mapped read-only.
static enum emul_result em_write(void *ctx, u64 linear, const void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	enum status st;

	if (pv_write(of(ctx), linear, buf, len))
		return EMUL_OK;
	st = pv_table_store(of(ctx), linear, buf, len);
	if (st == ST_AGAIN)
		return EMUL_RETRY;
	return st == ST_OK ? EMUL_OK : page_fault(linear, PF_P | PF_W, fault);
}

static enum emul_result em_cmpxchg(void *ctx, u64 linear, void *old, const void *new_, unsigned len, bool *done, struct x86_fault *fault)
{
	u8 now[16];
	enum emul_result r = em_read(ctx, linear, now, len, EMUL_RMW, fault);

	if (r != EMUL_OK)
		return r;
	*done = memcmp(now, old, len) == 0;
	if (*done)
		return em_write(ctx, linear, new_, len, EMUL_WRITE, fault);
	memcpy(old, now, len);
	return EMUL_OK;
}

static enum emul_result em_fetch(void *ctx, u64 linear, void *buf, unsigned len, unsigned *got, struct x86_fault *fault)
{
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));

	*got = 0;
	if (!pv_read(of(ctx), linear, buf, first))
		return page_fault(linear, PF_I, fault);
	*got = first;
	if (first < len && pv_read(of(ctx), linear + first, (u8 *)buf + first, len - first))
		*got = len;
	return EMUL_OK;
}

static enum emul_result em_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	*value = len == 4 ? ~0u : BIT(len * 8) - 1; // nothing drives the bus
	if (len == 1)
		*value = pv_port_in(ctx, port);
	return EMUL_OK;
}

static enum emul_result em_out(void *ctx, u16 port, unsigned len, u32 value)
{
	if (len == 1)
		pv_port_out(ctx, port, (u8)value);
	return EMUL_OK;
}

static enum emul_result em_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *fault)
{
	struct vcpu *v = ctx;
	bool ok = true;

	if (msr == MSR_TSC)
		*value = rdtsc();
	else if (msr == MSR_APIC_BASE)
		*value = v->cpu.apic_base;
	else
		ok = policy_rdmsr(&v->cpu, msr, value);
	trace(DEVICE, TRACE_DEVICE_RDMSR, msr, *value, ok, 0);
	return vmm_msr_result(ok, fault);
}

// What the interface has hypercalls for is not changed by MSRs: such writes are accepted and have no effect.
static enum emul_result em_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *fault)
{
	struct vcpu *v = ctx;
	u64 efer = v->cpu.efer, pat = v->cpu.pat;
	bool ok = msr == MSR_APIC_BASE || policy_wrmsr(&v->cpu, msr, value);

	v->cpu.efer = efer;
	v->cpu.pat = pat;
	if (msr == MSR_TSC_AUX && ok && cpu_features.rdtscp)
		wrmsr(MSR_TSC_AUX, value);
	trace(DEVICE, TRACE_DEVICE_WRMSR, msr, value, ok, 0);
	return vmm_msr_result(ok, fault);
}

static void em_cr_written(void *ctx, unsigned cr, u64 old)
{
	struct vcpu *v = ctx;

	if (cr == 2)
		v->vm->pv->vcpu.info->arch.cr2 = v->cpu.cr2;
	else if (cr == 3)
		v->cpu.cr3 = old; // NEW_BASEPTR is the way
	else
		regs_control_out(v);
}

static bool em_dr_allowed(void *ctx, unsigned dr, u64 value)
{
	return pv_debugreg_allowed(&((struct vcpu *)ctx)->vm->pv->vcpu, dr, value);
}

static void em_dr_written(void *ctx, unsigned dr)
{
	debug_written(ctx);
}

static void em_table_loaded(void *ctx, unsigned which)
{
}

static void em_segment_loaded(void *ctx, unsigned seg)
{
}

static void em_invlpg(void *ctx, u64 linear)
{
}

static void host_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	out[0] = r.eax, out[1] = r.ebx, out[2] = r.ecx, out[3] = r.edx;
}

static void em_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	pv_cpuid_policy(host_cpuid, ctx, leaf, subleaf, &((struct vcpu *)ctx)->cpu, out);
}

const struct emul_ports vmm_pv_emul_ports = {
	.read = em_read,
	.write = em_write,
	.cmpxchg = em_cmpxchg,
	.fetch = em_fetch,
	.in = em_in,
	.out = em_out,
	.rdmsr = em_rdmsr,
	.wrmsr = em_wrmsr,
	.cpuid = em_cpuid,
	.rdtsc = vmm_host_rdtsc,
	.cr_written = em_cr_written,
	.dr_allowed = em_dr_allowed,
	.dr_written = em_dr_written,
	.table_loaded = em_table_loaded,
	.segment_loaded = em_segment_loaded,
	.invlpg = em_invlpg,
};
