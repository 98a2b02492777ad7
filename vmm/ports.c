// SPDX-License-Identifier: MIT
// The ports through which core's emulator, shadow and translator reach this machine and this VM.
#include "vmm/vm.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/string.h"
#include "core/x86/policy.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/xmm.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/knobs.h"
#include "vmm/reserve.h"

// ---- emulator: memory

static enum emul_result port_read(void *ctx, u64 linear, void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	return linear_access(ctx, linear, buf, len, kind & ~(unsigned)EMUL_WRITE, fault);
}

static enum emul_result port_write(void *ctx, u64 linear, const void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	return linear_access(ctx, linear, (void *)buf, len, kind | EMUL_WRITE, fault);
}

// One vCPU and no other writer: compare and write in turn is atomic. With more vCPUs this becomes a locked cmpxchg.
static enum emul_result port_cmpxchg(void *ctx, u64 linear, void *old, const void *new_, unsigned len, bool *done,
				     struct x86_fault *fault)
{
	u8 now[16];
	enum emul_result r = linear_access(ctx, linear, now, len, EMUL_RMW, fault);

	if (r != EMUL_OK)
		return r;
	*done = memcmp(now, old, len) == 0;
	if (*done)
		return linear_access(ctx, linear, (void *)new_, len, EMUL_WRITE, fault);
	memcpy(old, now, len);
	return EMUL_OK;
}

static enum emul_result port_fetch(void *ctx, u64 linear, void *buf, unsigned len, unsigned *got, struct x86_fault *fault)
{
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));
	enum emul_result r = linear_access(ctx, linear, buf, first, EMUL_EXEC, fault);

	*got = 0;
	if (r != EMUL_OK)
		return r;
	*got = first;
	if (first < len && linear_access(ctx, linear + first, (u8 *)buf + first, len - first, EMUL_EXEC, fault) == EMUL_OK)
		*got = len;
	return EMUL_OK;
}

// ---- emulator: devices and registers

static enum emul_result port_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	struct vcpu *v = ctx;

	v->attention = true;
	*value = platform_in(&v->vm->platform, time_ns(), port, len);
	trace(DEVICE, TRACE_DEVICE_IN, port, len, *value, 0);
	return EMUL_OK;
}

static enum emul_result port_out(void *ctx, u16 port, unsigned len, u32 value)
{
	struct vcpu *v = ctx;

	v->attention = true;
	trace(DEVICE, TRACE_DEVICE_OUT, port, len, value, 0);
	platform_out(&v->vm->platform, time_ns(), port, len, value);
	return EMUL_OK;
}

enum emul_result vmm_msr_result(bool ok, struct x86_fault *fault)
{
	if (ok)
		return EMUL_OK;
	*fault = (struct x86_fault){.vector = VEC_GP, .has_error = true};
	return EMUL_FAULT;
}

static void host_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	out[0] = r.eax, out[1] = r.ebx, out[2] = r.ecx, out[3] = r.edx;
}

u64 vmm_host_rdtsc(void *ctx)
{
	return rdtsc();
}

// The same for every VM of this version: one vCPU, no XSAVE, LAPIC with the TSC deadline timer, KVM's enlightenments.
static void cpuid_for(struct vcpu *v, u32 leaf, u32 subleaf, u32 out[4])
{
	const struct cpuid_policy_config c = {
		.x2apic = vmm_knobs.x2apic, .tsc_deadline = true, .pcid = vmm_knobs.pcid, .kvm = true};

	cpuid_policy(&c, host_cpuid, v, leaf, subleaf, &v->cpu, out);
}

static enum emul_result port_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *fault)
{
	struct vcpu *v = ctx;
	bool ok = true;

	v->attention = true;
	if (msr == MSR_TSC)
		*value = rdtsc();
	else
		ok = platform_rdmsr(&v->vm->platform, time_ns(), msr, value) || policy_rdmsr(&v->cpu, msr, value);
	trace(DEVICE, TRACE_DEVICE_RDMSR, msr, *value, ok, 0);
	return vmm_msr_result(ok, fault);
}

// The gate serves SYSCALL from these.
static void syscall_setup_changed(struct vcpu *v)
{
	struct gate_trust *t = v->gate.trust;

	t->lstar_tc = 0; // looked up again at the next SYSCALL that crosses
	t->syscall_keep = (RFL_ARITH | RFL_ID) & ~v->cpu.sfmask;
	t->syscall_vif = RFL_IF & ~v->cpu.sfmask;
	t->syscall_cs = (v->cpu.star >> 32) & 0xfffc;
	t->syscall_ss = t->syscall_cs + 8;
	bt_set_selectors(v->vm->bt, ((v->cpu.star >> 32) & 0xfffc) + 8,
			 (u16)(((v->cpu.star >> 48) + 16) | 3), (u16)(((v->cpu.star >> 48) + 8) | 3));
}

static enum emul_result port_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *fault)
{
	struct vcpu *v = ctx;
	u64 efer = v->cpu.efer;
	bool ok = platform_wrmsr(&v->vm->platform, time_ns(), msr, value) || policy_wrmsr(&v->cpu, msr, value);

	v->attention = true;
	trace(DEVICE, TRACE_DEVICE_WRMSR, msr, value, ok, 0);
	if (!ok)
		log_debug("%s: WRMSR %x = %lx refused at %lx", v->vm->config.name, msr, value, v->cpu.rip);
	if (msr == MSR_TSC_AUX && ok && cpu_features.rdtscp)
		wrmsr(MSR_TSC_AUX, value); // RDTSCP and RDPID are the machine's
	if (msr == MSR_APIC_BASE && ok)
		v->cpu.apic_base = value; // CPUID tells its enable bit
	if (msr == MSR_EFER && ((efer ^ v->cpu.efer) & EFER_NXE)) {
		shadow_flush_all(v->vm->shadow);
		vcpu_load_root(v);
		reflect_forget(v);
	}
	if (msr == MSR_LSTAR || msr == MSR_SFMASK || msr == MSR_STAR || msr == MSR_EFER)
		syscall_setup_changed(v);
	return vmm_msr_result(ok, fault);
}

// KVM's hypercalls: none of them is offered, a guest that tries is told so.
static u64 port_hypercall(void *ctx)
{
	return -(u64)KVM_ENOSYS;
}

static void port_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	cpuid_for(ctx, leaf, subleaf, out);
}

void vcpu_load_root(struct vcpu *v)
{
	mpn_t root;
	enum status st;

	if (!cpu_lma(&v->cpu)) // no root: the emulator walks the guest's tables
		return;
	st = shadow_load(v->vm->shadow, v->cpu.cr3, &root);
	if (st == ST_OK)
		v->gate.trust->guest_cr3 = root << PAGE_SHIFT;
	else if (st == ST_RANGE)
		vm_end(v->vm, END_CRASH, 0, "CR3 %lx points at no memory, at %lx", v->cpu.cr3, v->cpu.rip);
	else
		vm_end(v->vm, END_CRASH, 0, "no memory for shadow page tables");
}

static void cr0_written(struct vcpu *v, u64 old)
{
	u64 changed = old ^ v->cpu.cr0;

	if (changed & CR0_PG) {
		vcpu_load_root(v);
		// Loaded under other page tables, so their pages may be others now.
		tables_load_gdt(v);
		tables_load_ldt(v);
	}
	regs_control_out(v);
}

static void cr4_written(struct vcpu *v, u64 old)
{
	u64 changed = old ^ v->cpu.cr4;

	if (changed & (CR4_PGE | CR4_PCIDE)) { // flushes global entries and all contexts too
		bt_remap_all(v->vm->bt);
		vcpu_load_root(v);
	}
	if (changed & CR4_SMEP)
		reflect_forget(v);
	regs_control_out(v);
}

static void audit_violation(void *ctx, const char *text)
{
	log_err("shadow audit: %s", text);
}

static void audit(struct vcpu *v)
{
	unsigned n = shadow_audit(v->vm->shadow, audit_violation, NULL);

	v->audits++;
	if (n)
		panic("shadow audit: %u violations at %lx", n, v->cpu.rip);
}

static void port_cr_written(void *ctx, unsigned cr, u64 old)
{
	struct vcpu *v = ctx;

	if (cr == 0) {
		cr0_written(v, old);
	} else if (cr == 3) {
		trace(MMU, TRACE_MMU_CR3, v->cpu.cr3, v->gate.trust->guest_cr3, v->cpu.rip, 0);
		bt_remap_lower(v->vm->bt);
		if (!(v->cpu.cr4 & CR4_PGE))
			bt_remap_all(v->vm->bt);
		vcpu_load_root(v);
		if (unlikely(vmm_knobs.audit))
			audit(v);
	} else if (cr == 4) {
		cr4_written(v, old);
	} else if (cr == 8) {
		v->attention = true;
		platform_set_cr8(&v->vm->platform, v->cpu.cr8);
	}
}

static void port_dr_written(void *ctx, unsigned dr)
{
	debug_written(ctx);
}

static void port_table_loaded(void *ctx, unsigned which)
{
	struct vcpu *v = ctx;

	reflect_forget(v);
	if (which == 0)
		tables_load_gdt(v);
	else if (which == 2)
		tables_load_ldt(v);
}

static void port_segment_loaded(void *ctx, unsigned seg)
{
}

static void port_invlpg(void *ctx, u64 linear)
{
	struct vcpu *v = ctx;

	trace(MMU, TRACE_MMU_INVLPG, linear, v->cpu.rip, 0, 0);
	bt_remap(v->vm->bt, linear);
}

static void port_get_xmm(void *ctx, unsigned reg, u8 out[16])
{
	fpu_read_xmm(reg, out);
}

static void port_set_xmm(void *ctx, unsigned reg, const u8 in[16])
{
	fpu_write_xmm(reg, in);
}

// The last page of the translation cache: executable where it is mapped for the guest, written through our own map.
static enum emul_result port_native(void *ctx, const u8 *code, unsigned len, void *operand, u64 *gpr, u64 *flags,
				    struct x86_fault *fault)
{
	struct vcpu *v = ctx;
	u64 last = v->vm->cache.code_pages - 1, vector, f = (*flags & RFL_ARITH) | RFL_FIXED;
	u8 *page = frame_ptr(v->vm->cache.code + last);

	memset(page, 0xc3, 2 * 16); // ret, and nothing of an earlier one
	memcpy(page, code, len);
	vector = fpu_run(GATE_TC + (last << PAGE_SHIFT), operand, &f, gpr);
	if (vector != ~0ull) {
		*fault = (struct x86_fault){.vector = (u8)vector, .has_error = vector_has_error_code((unsigned)vector)}; // #GP(0): LDMXCSR
		return EMUL_FAULT;
	}
	*flags = f;
	return EMUL_OK;
}

const struct emul_ports vmm_emul_ports = {
	.read = port_read,
	.write = port_write,
	.cmpxchg = port_cmpxchg,
	.fetch = port_fetch,
	.in = port_in,
	.out = port_out,
	.rdmsr = port_rdmsr,
	.wrmsr = port_wrmsr,
	.cpuid = port_cpuid,
	.rdtsc = vmm_host_rdtsc,
	.hypercall = port_hypercall,
	.cr_written = port_cr_written,
	.dr_written = port_dr_written,
	.table_loaded = port_table_loaded,
	.segment_loaded = port_segment_loaded,
	.invlpg = port_invlpg,
	.get_xmm = port_get_xmm,
	.set_xmm = port_set_xmm,
	.native = port_native,
};

// ---- shadow

static enum p2m_type port_p2m(void *ctx, ppn_t ppn, mpn_t *mpn)
{
	struct vm *vm = ctx;

	if (ppn >= vm->ppn_limit || vm->p2m[ppn] == MPN_NONE)
		return P2M_MMIO;
	*mpn = vm->p2m[ppn];
	return P2M_RAM;
}

static void *port_map(void *ctx, mpn_t mpn)
{
	return frame_ptr(mpn);
}

static mpn_t port_alloc(void *ctx, bool needed)
{
	struct vm *vm = ctx;
	mpn_t mpn;

	if (vm->shadow_tables >= 2 * vm->shadow_table_limit) // a table is two frames: entries and links
		return MPN_NONE;
	mpn = reserve_alloc(vm, needed);
	if (mpn != MPN_NONE)
		vm->frames_held++;
	return mpn;
}

static void port_free(void *ctx, mpn_t mpn)
{
	struct vm *vm = ctx;

	vm->frames_held--;
	reserve_free(vm, mpn);
}

// Each entry to the guest world writes CR3 and CR4.PGE is 0: every reduced right is flushed by construction. The stress mode
// checks that each was announced, which a version that flushes less will rely on.
static void port_flush(void *ctx, u64 va)
{
	struct vm *vm = ctx;

	if (unlikely(vm->stress))
		shadow_stress_flushed(vm->stress, va);
}

const struct shadow_ports vmm_shadow_ports = {
	.p2m = port_p2m,
	.map = port_map,
	.alloc = port_alloc,
	.free = port_free,
	.flush = port_flush,
};

// ---- translator

static unsigned bt_fetch(void *ctx, u64 rip, void *buf, unsigned len, ppn_t *page)
{
	struct vcpu *v = ctx;
	struct mmu_mode m = vcpu_mmu_mode(v);
	struct guest_walk w;
	struct x86_fault fault;
	void *ram;

	if (!is_canonical(rip) || !guest_translate(v->vm->shadow, &m, rip, PF_I, true, &w, &fault))
		return 0;
	ram = gpa_ram(v->vm, w.gpa);
	if (!ram)
		return 0;
	len = MIN(len, (unsigned)(PAGE_SIZE - (rip & PAGE_MASK)));
	memcpy(buf, ram, len);
	*page = w.gpa >> PAGE_SHIFT;
	return len;
}

static bool bt_protect(void *ctx, ppn_t page)
{
	struct vcpu *v = ctx;

	if (page >= v->vm->ppn_limit || v->vm->p2m[page] == MPN_NONE)
		return false;
	shadow_watch(v->vm->shadow, page, WATCH_CODE);
	return true;
}

static void bt_unprotect(void *ctx, ppn_t page)
{
	struct vcpu *v = ctx;

	shadow_unwatch(v->vm->shadow, page, WATCH_CODE);
}

const struct bt_ports vmm_bt_ports = {
	.fetch = bt_fetch,
	.protect = bt_protect,
	.unprotect = bt_unprotect,
};
