// SPDX-License-Identifier: MIT
// The hypercalls' numbers, and those groups that need few lines: version, console, scheduling, event channels, devices that a guest
// without any asks about.
#include "core/pv/guest.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/string.h"
#include <xen/errno.h>
#include <xen/hvm/hvm_op.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/version.h>

#define VERSION (4u << 16 | 17)
#define CONSOLE_PIECE 256
#define POLL_PORTS 128

// ---- version

static s64 give(struct pv_vcpu *v, u64 to, const void *bytes, u64 n)
{
	return pv_write(v, to, bytes, n) ? 0 : -XEN_EFAULT;
}

// Page tables are the guest's to read, with A and D kept by one kind of update; the M2P has its own frames only.
static s64 features(struct pv_vcpu *v, u64 arg)
{
	struct xen_feature_info f;

	if (!pv_read(v, arg, &f, sizeof(f)))
		return -XEN_EFAULT;
	if (f.submap_idx)
		return -XEN_EINVAL;
	f.submap = 1u << XENFEAT_mmu_pt_update_preserve_ad | 1u << XENFEAT_gnttab_map_avail_bits | 1u << XENFEAT_highmem_assist |
		   1u << XENFEAT_memory_op_vnode_supported;
	return give(v, arg, &f, sizeof(f));
}

static s64 text(struct pv_vcpu *v, u64 to, const char *s, u64 size)
{
	char buf[1024] = {0};

	assert(size <= sizeof(buf) && strlen(s) < size);
	memcpy(buf, s, strlen(s));
	return give(v, to, buf, size);
}

static s64 xen_version(struct pv_vcpu *v, const u64 *a)
{
	struct xen_compile_info info = {"cc", "", "", ""};
	struct xen_platform_parameters p = {__HYPERVISOR_VIRT_START};
	u8 handle[16] = {0};

	switch ((u32)a[0]) {
	case XENVER_version: // also Linux's way of having events looked at
		return VERSION;
	case XENVER_extraversion:
		return text(v, a[1], ".0-trapeze", sizeof(xen_extraversion_t));
	case XENVER_compile_info:
		return give(v, a[1], &info, sizeof(info));
	case XENVER_capabilities:
		return text(v, a[1], "xen-3.0-x86_64 ", sizeof(xen_capabilities_info_t));
	case XENVER_changeset:
		return text(v, a[1], "unavailable", sizeof(xen_changeset_info_t));
	case XENVER_platform_parameters:
		return give(v, a[1], &p, sizeof(p));
	case XENVER_get_features:
		return features(v, a[1]);
	case XENVER_pagesize:
		return a[1] ? -XEN_EINVAL : (s64)PAGE_SIZE;
	case XENVER_guest_handle:
		return give(v, a[1], handle, sizeof(handle));
	case XENVER_commandline:
		return text(v, a[1], "", sizeof(xen_commandline_t));
	default:
		return -XEN_ENOSYS;
	}
}

// ---- console

// A piece costs as many entries as it has bytes: what is behind the port may be slow.
static s64 console_io(struct pv_vcpu *v, const u64 *a)
{
	char piece[CONSOLE_PIECE];

	if ((u32)a[0] == CONSOLEIO_read)
		return 0;
	if ((u32)a[0] != CONSOLEIO_write)
		return -XEN_ENOSYS;
	while (v->progress < (u32)a[1]) {
		unsigned n = (unsigned)MIN((u32)a[1] - v->progress, sizeof(piece));

		if (!pv_work_left(v))
			return PV_AGAIN;
		if (!pv_read(v, a[2] + v->progress, piece, n))
			return -XEN_EFAULT;
		v->guest->ports->console(v->guest->ctx, piece, n);
		pv_charge(v, n);
		v->progress += n;
	}
	return 0;
}

// ---- scheduling

s64 pv_shut_down(struct pv_vcpu *v, u32 reason)
{
	struct pv_guest *g = v->guest;
	static const struct {
		enum pv_end how;
		const char *why;
	} ends[] = {
		[SHUTDOWN_poweroff] = {PV_END_POWEROFF, "powered off"},
		[SHUTDOWN_reboot] = {PV_END_REBOOT, "rebooted"},
		[SHUTDOWN_crash] = {PV_END_CRASH, "its kernel panicked"},
		[SHUTDOWN_watchdog] = {PV_END_CRASH, "its watchdog ran out"},
	};

	if (reason == SHUTDOWN_suspend) // nothing resumes it
		return -XEN_EINVAL;
	if (reason >= ARRAY_SIZE(ends) || !ends[reason].why)
		return -XEN_EINVAL;
	g->over = true;
	g->ports->end(g->ctx, ends[reason].how, ends[reason].why);
	return 0;
}

static bool pending(const struct pv_guest *g, u32 port)
{
	return __atomic_load_n(&g->shared->evtchn_pending[port / 64], __ATOMIC_SEQ_CST) >> port % 64 & 1;
}

// Without ports any event will do, masked or not.
static bool polled(const struct pv_vcpu *v)
{
	if (!v->polls)
		return v->info->evtchn_upcall_pending;
	for (unsigned i = 0; i < v->polls; i++)
		if (pending(v->guest, v->poll_port[i]))
			return true;
	return false;
}

bool pv_waits(struct pv_vcpu *v)
{
	if (pv_due(v) || (v->polling && (polled(v) || v->poll_until <= v->guest->ports->now_ns(v->guest->ctx)))) {
		v->polling = false;
		v->poll_until = ~0ull;
		v->polls = 0;
		return false;
	}
	return true;
}

static s64 poll(struct pv_vcpu *v, u64 arg)
{
	struct sched_poll p;

	if (!pv_read(v, arg, &p, sizeof(p)))
		return -XEN_EFAULT;
	if (p.nr_ports > POLL_PORTS)
		return -XEN_EINVAL;
	for (unsigned i = 0; i < p.nr_ports; i++) {
		evtchn_port_t port;

		if (!pv_read(v, (u64)p.ports.p + i * sizeof(port), &port, sizeof(port)))
			return -XEN_EFAULT;
		if (port >= PV_PORTS)
			return -XEN_EINVAL;
		v->poll_port[i] = (u16)port;
	}
	v->polling = true;
	v->polls = p.nr_ports;
	v->poll_until = p.timeout ? p.timeout : ~0ull;
	v->guest->block = pv_waits(v);
	return 0;
}

static s64 sched_op(struct pv_vcpu *v, const u64 *a)
{
	struct sched_shutdown s;

	switch ((u32)a[0]) {
	case SCHEDOP_yield:
		v->guest->yield = true;
		return 0;
	case SCHEDOP_block:
		v->info->evtchn_upcall_mask = 0;
		v->guest->block = pv_waits(v);
		return 0;
	case SCHEDOP_shutdown:
		return pv_read(v, a[1], &s, sizeof(s)) ? pv_shut_down(v, s.reason) : -XEN_EFAULT;
	case SCHEDOP_shutdown_code:
		return pv_read(v, a[1], &s, sizeof(s)) ? 0 : -XEN_EFAULT;
	case SCHEDOP_poll:
		return poll(v, a[1]);
	case SCHEDOP_watchdog:
		return pv_watchdog(v, a[1]);
	default:
		return -XEN_ENOSYS;
	}
}

// ---- event channels

#define EVENT_OP(type, call, out)                                      \
	do {                                                           \
		struct type arg;                                       \
		s64 r;                                                 \
                                                                       \
		if (!pv_read(v, a[1], &arg, sizeof(arg)))              \
			return -XEN_EFAULT;                            \
		r = call(&v->guest->events, &arg);                     \
		if ((out) && !r && !pv_write(v, a[1], &arg, sizeof(arg))) \
			return -XEN_EFAULT;                            \
		return r;                                              \
	} while (0)

s64 pv_event_channel_op(struct pv_vcpu *v, const u64 *a)
{
	switch ((u32)a[0]) {
	case EVTCHNOP_alloc_unbound:
		EVENT_OP(evtchn_alloc_unbound, pv_event_alloc_unbound, true);
	case EVTCHNOP_bind_interdomain:
		EVENT_OP(evtchn_bind_interdomain, pv_event_bind_interdomain, true);
	case EVTCHNOP_bind_virq:
		EVENT_OP(evtchn_bind_virq, pv_event_bind_virq, true);
	case EVTCHNOP_bind_ipi:
		EVENT_OP(evtchn_bind_ipi, pv_event_bind_ipi, true);
	case EVTCHNOP_bind_vcpu:
		EVENT_OP(evtchn_bind_vcpu, pv_event_bind_vcpu, false);
	case EVTCHNOP_close:
		EVENT_OP(evtchn_close, pv_event_close, false);
	case EVTCHNOP_send:
		EVENT_OP(evtchn_send, pv_event_send, false);
	case EVTCHNOP_status:
		EVENT_OP(evtchn_status, pv_event_status, true);
	case EVTCHNOP_unmask:
		EVENT_OP(evtchn_unmask, pv_event_unmask, false);
	case EVTCHNOP_reset:
		EVENT_OP(evtchn_reset, pv_event_reset, false);
	default: // the FIFO ABI, too: guests go on with two levels
		return -XEN_ENOSYS;
	}
}

// ---- the rest

static s64 fpu_taskswitch(struct pv_vcpu *v, const u64 *a)
{
	v->cpu->cr0 = a[0] ? v->cpu->cr0 | CR0_TS : v->cpu->cr0 & ~(u64)CR0_TS;
	v->guest->ports->task_switched(v->guest->ctx, v);
	return 0;
}

static s64 set_segment_base(struct pv_vcpu *v, const u64 *a)
{
	if ((u32)a[0] == SEGBASE_GS_USER_SEL) {
		v->guest->ports->user_gs(v->guest->ctx, v, (u16)a[1]);
		return 0;
	}
	if (!is_canonical(a[1]))
		return -XEN_EINVAL;
	switch ((u32)a[0]) {
	case SEGBASE_FS:
		v->cpu->seg[SEG_FS].base = a[1];
		return 0;
	case SEGBASE_GS_USER: // the kernel calls: the user's is the other one
		v->cpu->kernel_gs_base = a[1];
		return 0;
	case SEGBASE_GS_KERNEL:
		v->cpu->seg[SEG_GS].base = a[1];
		return 0;
	default:
		return -XEN_EINVAL;
	}
}

#define DR6_WRITABLE 0xe00full
#define DR6_ONES 0xffff0ff0ull
#define DR7_ONES BIT(10)
#define DR7_GD BIT(13)
#define DR7_ENABLES 0xffull
#define DR7_WRITABLE 0xffff03ffull
#define DR_NONE 8u

// 4 and 5 are other names of 6 and 7 while CR4.DE is clear.
static unsigned debugreg(const struct pv_vcpu *v, u64 n)
{
	if ((u32)n > 7 || (((u32)n == 4 || (u32)n == 5) && (v->cpu->cr4 & CR4_DE)))
		return DR_NONE;
	return (u32)n == 4 || (u32)n == 5 ? (u32)n + 2 : (u32)n;
}

static bool breakpoint_ok(u64 address)
{
	return is_canonical(address) && (address < HYPERVISOR_VIRT_START || address >= HYPERVISOR_VIRT_END);
}

// Breakpoints at I/O ports are CR4.DE's.
static bool dr7_ok(const struct pv_vcpu *v, u64 value)
{
	if (value & DR7_GD)
		return false;
	for (unsigned i = 0; i < 4 && (value & DR7_ENABLES); i++)
		if ((value >> (16 + i * 4) & 3) == 2 && !(v->cpu->cr4 & CR4_DE))
			return false;
	return true;
}

bool pv_debugreg_allowed(const struct pv_vcpu *v, unsigned n, u64 value)
{
	return n == 6 || (n == 7 ? dr7_ok(v, value) : breakpoint_ok(value));
}

static s64 set_debugreg(struct pv_vcpu *v, const u64 *a)
{
	unsigned n = debugreg(v, a[0]);
	u64 value = a[1];

	if (n == DR_NONE)
		return -XEN_ENODEV;
	if (n >= 6 && value >> 32)
		return -XEN_EINVAL;
	if (!pv_debugreg_allowed(v, n, value))
		return -XEN_EPERM;
	if (n == 6)
		value = (value & DR6_WRITABLE) | DR6_ONES;
	else if (n == 7)
		value = (value & DR7_WRITABLE) | DR7_ONES;
	v->cpu->dr[n] = value;
	v->guest->ports->debug_written(v->guest->ctx, v);
	return 0;
}

static s64 get_debugreg(struct pv_vcpu *v, const u64 *a)
{
	unsigned n = debugreg(v, a[0]);

	return n == DR_NONE ? -XEN_ENODEV : (s64)v->cpu->dr[n];
}

static s64 vm_assist(struct pv_vcpu *v, const u64 *a)
{
	static const u64 known = 1u << VMASST_TYPE_pae_extended_cr3 | 1u << VMASST_TYPE_writable_pagetables |
				 1u << VMASST_TYPE_architectural_iopl | 1u << VMASST_TYPE_runstate_update_flag |
				 1u << VMASST_TYPE_4gb_segments | 1u << VMASST_TYPE_4gb_segments_notify | 1ull << VMASST_TYPE_m2p_strict;

	if ((u32)a[1] >= 64 || !(known >> (u32)a[1] & 1))
		return -XEN_EINVAL;
	if ((u32)a[0] == VMASST_CMD_enable)
		v->guest->assists |= BIT((u32)a[1]);
	else if ((u32)a[0] == VMASST_CMD_disable)
		v->guest->assists &= ~BIT((u32)a[1]);
	else
		return -XEN_ENOSYS;
	return 0;
}

// There are no devices: rights to ports may be asked for, and mean that IN reads all ones and that CLI and STI are passed over.
static s64 physdev_op(struct pv_vcpu *v, const u64 *a)
{
	struct physdev_set_iopl iopl;
	struct physdev_set_iobitmap map;

	switch ((u32)a[0]) {
	case PHYSDEVOP_set_iopl:
		if (!pv_read(v, a[1], &iopl, sizeof(iopl)))
			return -XEN_EFAULT;
		if (iopl.iopl > 3)
			return -XEN_EINVAL;
		v->iopl = (u8)iopl.iopl;
		return 0;
	case PHYSDEVOP_set_iobitmap:
		if (!pv_read(v, a[1], &map, sizeof(map)))
			return -XEN_EFAULT;
		if (map.nr_ports > 65536)
			return -XEN_EINVAL;
		v->io_bitmap = (u64)map.bitmap.p;
		v->io_ports = map.nr_ports;
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

bool pv_iopl_allows(const struct pv_vcpu *v)
{
	unsigned kernel = v->guest->assists & BIT(VMASST_TYPE_architectural_iopl) ? 0 : 1;

	return (pv_kernel_mode(v) ? kernel : 3) <= v->iopl;
}

bool pv_port_allowed(struct pv_vcpu *v, u16 port, unsigned bytes)
{
	u16 bits = 0;
	u32 last = port + bytes - 1u;

	if (pv_iopl_allows(v))
		return true;
	// The second byte of the bitmap is there if a port is in it.
	return last < v->io_ports && pv_read(v, v->io_bitmap + port / 8, &bits, last / 8 - port / 8 + 1) &&
	       !(bits >> port % 8 & (BIT(bytes) - 1));
}

// ---- what is for others: machines of another kind, and the domain that has the machine

static s64 hvm_op(struct pv_vcpu *v, const u64 *a)
{
	switch ((u32)a[0]) {
	case HVMOP_set_param:
	case HVMOP_get_param:
	case HVMOP_flush_tlbs:
	case HVMOP_pagetable_dying:
	case HVMOP_set_evtchn_upcall_vector:
		return -XEN_EINVAL;
	default:
		return -XEN_ENOSYS;
	}
}

static s64 platform_op(struct pv_vcpu *v, const u64 *a)
{
	return -XEN_EPERM;
}

// ---- dispatch

static s64 multicall(struct pv_vcpu *v, const u64 *a);

#define CALL(name, fn) [__HYPERVISOR_##name] = {fn, #name}
static const struct {
	pv_call *fn;
	const char *name;
} table[PV_CALLS] = {
	CALL(set_trap_table, pv_set_trap_table),
	CALL(mmu_update, pv_mmu_update),
	CALL(set_gdt, pv_set_gdt),
	CALL(stack_switch, pv_stack_switch),
	CALL(set_callbacks, pv_set_callbacks),
	CALL(fpu_taskswitch, fpu_taskswitch),
	CALL(set_debugreg, set_debugreg),
	CALL(get_debugreg, get_debugreg),
	CALL(update_descriptor, pv_update_descriptor),
	CALL(memory_op, pv_memory_op),
	CALL(multicall, multicall),
	CALL(update_va_mapping, pv_update_va_mapping),
	CALL(set_timer_op, pv_set_timer_op),
	CALL(xen_version, xen_version),
	CALL(console_io, console_io),
	CALL(grant_table_op, pv_grant_table_op),
	CALL(vm_assist, vm_assist),
	CALL(update_va_mapping_otherdomain, pv_update_va_mapping_otherdomain),
	CALL(iret, pv_iret),
	CALL(vcpu_op, pv_vcpu_op),
	CALL(set_segment_base, set_segment_base),
	CALL(mmuext_op, pv_mmuext_op),
	CALL(nmi_op, pv_nmi_op),
	CALL(sched_op, sched_op),
	CALL(callback_op, pv_callback_op),
	CALL(event_channel_op, pv_event_channel_op),
	CALL(physdev_op, physdev_op),
	CALL(hvm_op, hvm_op),
	CALL(platform_op, platform_op),
};

const char *pv_call_name(unsigned nr)
{
	return table[nr].name;
}

static s64 unknown(struct pv_vcpu *v, u64 nr)
{
	struct pv_guest *g = v->guest;
	char line[48];
	unsigned bit = (unsigned)MIN(nr, PV_CALLS);

	if (!(g->unknown[bit / 8] >> bit % 8 & 1)) {
		g->unknown[bit / 8] |= (u8)(1 << bit % 8);
		fmt_snprintf(line, sizeof(line), "hypercall %lu is not known", (unsigned long)nr);
		g->ports->log(g->ctx, line);
	}
	return -XEN_ENOSYS;
}

// Two calls give back a register, which may have any value; neither goes on.
static bool goes_on(u64 nr, s64 r)
{
	return r == PV_AGAIN && nr != __HYPERVISOR_iret && nr != __HYPERVISOR_get_debugreg;
}

// False: it goes on.
static bool call(struct pv_vcpu *v, u64 nr, const u64 *a, s64 *r)
{
	struct pv_guest *g = v->guest;

	*r = nr < PV_CALLS && table[nr].fn ? table[nr].fn(v, a) : unknown(v, nr);
	if (goes_on(nr, *r))
		return false;
	if (nr < PV_CALLS && table[nr].fn) {
		g->calls[nr]++;
		if (*r < 0 && *r > -4096)
			g->failures[nr]++;
	}
	v->progress = 0;
	return true;
}

// It ends there, as under Xen: what is behind it in the list is no longer the kernel's to ask for.
static s64 multicall_iret(struct pv_vcpu *v)
{
	v->outer_progress = 0;
	v->cpu->gpr[R_RAX] = (u64)pv_iret(v, NULL);
	v->left = true;
	return 0;
}

// Results go into the entries as they come. No other multicall can be in one.
static s64 multicall(struct pv_vcpu *v, const u64 *a)
{
	struct multicall_entry e;
	bool done = true;
	u64 at;
	s64 r;

	if (v->in_multicall)
		return -XEN_EINVAL;
	for (; v->outer_progress < (u32)a[1]; v->outer_progress++) {
		at = a[0] + v->outer_progress * sizeof(e);
		if (!pv_read(v, at, &e, sizeof(e)))
			break;
		if (v->guest->over)
			return 0;
		if (!pv_work_left(v))
			return PV_AGAIN;
		if (e.op == __HYPERVISOR_iret)
			return multicall_iret(v);
		v->in_multicall = true;
		done = call(v, e.op, (const u64 *)e.args, &r);
		v->in_multicall = false;
		if (!done)
			return PV_AGAIN;
		if (!pv_write(v, at + offsetof(struct multicall_entry, result), &r, sizeof(r)))
			break;
	}
	r = v->outer_progress < (u32)a[1] ? -XEN_EFAULT : 0;
	v->outer_progress = 0;
	return r;
}

bool pv_hypercall(struct pv_vcpu *v)
{
	struct x86_cpu *c = v->cpu;
	u64 a[6] = {c->gpr[R_RDI], c->gpr[R_RSI], c->gpr[R_RDX], c->gpr[R_R10], c->gpr[R_R8], c->gpr[R_R9]};
	bool done;
	u64 nr;
	s64 r;

	v->guest->frames.work = v->guest->budget;
	if (!pv_work_left(v))
		return false;
	nr = (u32)c->gpr[R_RAX];
	done = call(v, nr, a, &r);
	v->has_given = false;
	if (!done)
		return false;
	if (!v->guest->over && !v->left)
		c->gpr[R_RAX] = (u64)r;
	v->left = false;
	return true;
}
