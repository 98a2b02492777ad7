// SPDX-License-Identifier: MIT
// How a paravirtual guest's kernel is entered, and how it leaves (Xen's arch-x86/xen-x86_64.h): frames on its stack for exceptions,
// system calls and events, and the iret hypercall.
//
// A frame, from its lowest address: RCX, R11, the error code if there is one, RIP, CS and above it the event mask, RFLAGS, RSP, SS.
#include "core/pv/guest.h"

#include "base/fmt.h"
#include "base/gate.h"
#include "base/string.h"
#include <xen/callback.h>
#include <xen/errno.h>
#include <xen/nmi.h>

#define ATTR_CODE64 (0xb | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_L | SEG_ATTR_G)
#define ATTR_DATA (0x3 | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G)
#define ATTR_USER (3u << 5)
#define RPL 3u
#define IOPL_1 BIT(12) // level 1 in RFLAGS
#define TRAP_CLEARS (RFL_TF | RFL_RF | RFL_NT | RFL_VM | RFL_AC | RFL_IOPL)

void pv_crash(struct pv_vcpu *v, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->guest->over = true;
	v->guest->ports->end(v->guest->ctx, PV_END_CRASH, text);
}

static void swap_gs(struct pv_vcpu *v)
{
	u64 base = v->cpu->seg[SEG_GS].base;

	v->cpu->seg[SEG_GS].base = v->cpu->kernel_gs_base;
	v->cpu->kernel_gs_base = base;
}

void pv_enter_kernel(struct pv_vcpu *v)
{
	if (!pv_kernel_mode(v))
		swap_gs(v);
	v->cpu->seg[SEG_CS] = (struct x86_segment){.selector = FLAT_KERNEL_CS64 & ~RPL, .attr = ATTR_CODE64, .limit = ~0u};
	v->cpu->seg[SEG_SS] = (struct x86_segment){.selector = FLAT_KERNEL_SS64 & ~RPL, .attr = ATTR_DATA, .limit = ~0u};
}

static bool architectural_iopl(const struct pv_vcpu *v)
{
	return v->guest->assists & BIT(VMASST_TYPE_architectural_iopl);
}

struct frame {
	u64 address;
	bool masks;
	const u32 *error; // NULL: none
};

// What is saved of CS and SS is by their names in user mode; a kernel's CS has RPL 0.
static bool enter(struct pv_vcpu *v, const struct frame *f)
{
	struct x86_cpu *c = v->cpu;
	bool kernel = pv_kernel_mode(v);
	u64 sp = (kernel ? c->gpr[R_RSP] : v->kernel_sp) & ~15ull, words[8], n = 0;
	u64 mask = v->info->evtchn_upcall_mask;

	words[n++] = c->gpr[R_RCX];
	words[n++] = c->gpr[R_R11];
	if (f->error)
		words[n++] = *f->error;
	words[n++] = c->rip;
	words[n++] = (kernel ? FLAT_KERNEL_CS64 & ~RPL : c->seg[SEG_CS].selector | RPL) | mask << 32;
	words[n++] = (c->rflags & ~RFL_IF & ~RFL_IOPL) | (mask ? 0 : RFL_IF) |
		     (architectural_iopl(v) ? v->iopl * IOPL_1 : 0);
	words[n++] = c->gpr[R_RSP];
	words[n++] = kernel ? FLAT_KERNEL_SS64 : c->seg[SEG_SS].selector;
	sp -= n * 8;
	if (!f->address) {
		pv_crash(v, "nothing handles what came at %lx", (unsigned long)c->rip);
		return false;
	}
	// The stack is the kernel's: its GS and tables, whichever mode this comes from.
	if (!pv_write(v, sp, words, n * 8)) {
		pv_crash(v, "no stack at %lx for what came at %lx", (unsigned long)sp, (unsigned long)c->rip);
		return false;
	}
	pv_enter_kernel(v);
	c->gpr[R_RSP] = sp;
	c->rip = f->address;
	c->rflags = (c->rflags & ~TRAP_CLEARS) | RFL_IF | RFL_FIXED;
	if (f->masks)
		v->info->evtchn_upcall_mask = 1;
	return true;
}

void pv_exception(struct pv_vcpu *v, const struct x86_fault *fault)
{
	const struct pv_trap *t = &v->trap[fault->vector];

	if (!t->address) {
		pv_crash(v, "exception %u, error %x, at %lx, address %lx: the kernel has no handler for it", fault->vector, fault->error,
			 (unsigned long)v->cpu->rip, (unsigned long)fault->cr2);
		return;
	}
	if (fault->vector == VEC_PF)
		v->info->arch.cr2 = v->cpu->cr2 = fault->cr2; // kernels without the interface's own way read the register
	(void)enter(v, &(struct frame){t->address, t->flags & PV_TRAP_MASKS, fault->has_error ? &fault->error : NULL});
}

// As Xen: to the trap table the kernel is ring 1, unless it asked otherwise.
static unsigned table_ring(const struct pv_vcpu *v)
{
	if (!pv_kernel_mode(v))
		return 3;
	return architectural_iopl(v) ? 0 : 1;
}

void pv_interrupt(struct pv_vcpu *v, u8 vector, unsigned bytes)
{
	const struct pv_trap *t = &v->trap[vector];
	struct x86_fault fault = {.vector = vector};

	if ((t->flags & PV_TRAP_RING) < table_ring(v))
		fault = (struct x86_fault){.vector = VEC_GP, .has_error = true, .error = vector * 8u | ERROR_IDT};
	else
		v->cpu->rip += bytes;
	pv_exception(v, &fault);
}

void pv_syscall(struct pv_vcpu *v, bool compat)
{
	const struct pv_callback *cb = compat ? &v->syscall32 : &v->syscall;

	if (!cb->address) {
		struct x86_fault ud = {.vector = VEC_UD};

		v->cpu->rip -= 2;
		pv_exception(v, &ud);
		return;
	}
	(void)enter(v, &(struct frame){cb->address, cb->masks, NULL});
}

// Behind the usual frame: DS, ES, FS and GS, which may be what was refused.
void pv_failsafe(struct pv_vcpu *v)
{
	struct x86_cpu *c = v->cpu;
	u64 selectors[4] = {c->seg[SEG_DS].selector, c->seg[SEG_ES].selector, c->seg[SEG_FS].selector, c->seg[SEG_GS].selector};
	u64 kept[2] = {c->gpr[R_RCX], c->gpr[R_R11]}, words[6];

	if (!enter(v, &(struct frame){v->failsafe.address, v->failsafe.masks, NULL}))
		return;
	// Between RCX, R11 and RIP go the selectors.
	c->gpr[R_RSP] -= sizeof(selectors);
	memcpy(words, kept, sizeof(kept));
	memcpy(words + 2, selectors, sizeof(selectors));
	if (!pv_write(v, c->gpr[R_RSP], words, sizeof(words)))
		pv_crash(v, "no stack for the failsafe callback");
}

static bool nmi_deliverable(const struct pv_vcpu *v)
{
	return v->nmi_due && !v->nmi_masked;
}

bool pv_due(const struct pv_vcpu *v)
{
	return pv_event_deliverable(&v->guest->events, v->id) || nmi_deliverable(v);
}

bool pv_deliver(struct pv_vcpu *v)
{
	const struct pv_trap *nmi = &v->trap[VEC_NMI];

	if (nmi_deliverable(v)) {
		v->nmi_due = false;
		v->nmi_masked = true;
		return enter(v, &(struct frame){nmi->address, nmi->flags & PV_TRAP_MASKS, NULL});
	}
	if (!v->info->evtchn_upcall_pending || v->info->evtchn_upcall_mask)
		return false;
	if (!v->event.address)
		return false;
	return enter(v, &(struct frame){v->event.address, true, NULL});
}

// ---- hypercalls

s64 pv_set_trap_table(struct pv_vcpu *v, const u64 *a)
{
	if (!a[0]) {
		memset(v->trap, 0, sizeof(v->trap));
		return 0;
	}
	for (;; v->progress++) { // nothing says how long the list is
		struct trap_info t;

		if (!pv_work_left(v))
			return PV_AGAIN;
		if (!pv_read(v, a[0] + v->progress * sizeof(t), &t, sizeof(t)))
			return -XEN_EFAULT;
		if (!t.address)
			return 0;
		if (!is_canonical(t.address))
			return -XEN_EINVAL;
		v->trap[t.vector] = (struct pv_trap){t.address, t.flags};
	}
}

static struct pv_callback *callback(struct pv_vcpu *v, unsigned type)
{
	switch (type) {
	case CALLBACKTYPE_event:
		return &v->event;
	case CALLBACKTYPE_failsafe:
		return &v->failsafe;
	case CALLBACKTYPE_syscall:
		return &v->syscall;
	case CALLBACKTYPE_syscall32:
		return &v->syscall32;
	case CALLBACKTYPE_sysenter:
		return &v->sysenter;
	default:
		return NULL;
	}
}

// As under Xen it is one with the trap table's entry.
static void set_nmi(struct pv_vcpu *v, u64 address)
{
	v->trap[VEC_NMI] = (struct pv_trap){address, address ? PV_TRAP_MASKS : 0};
}

static s64 set_callback(struct pv_vcpu *v, unsigned type, u64 address, bool masks)
{
	struct pv_callback *cb = callback(v, type);

	if (!is_canonical(address))
		return -XEN_EINVAL;
	if (type == CALLBACKTYPE_nmi) {
		set_nmi(v, address);
		return 0;
	}
	if (!cb)
		return -XEN_ENOSYS;
	*cb = (struct pv_callback){address, masks || type == CALLBACKTYPE_event};
	return 0;
}

// Each that can be is set: the older call has no errors.
s64 pv_set_callbacks(struct pv_vcpu *v, const u64 *a)
{
	(void)set_callback(v, CALLBACKTYPE_event, a[0], false);
	(void)set_callback(v, CALLBACKTYPE_failsafe, a[1], false);
	(void)set_callback(v, CALLBACKTYPE_syscall, a[2], false);
	return 0;
}

s64 pv_callback_op(struct pv_vcpu *v, const u64 *a)
{
	struct callback_register r;
	struct callback_unregister u;

	switch ((u32)a[0]) {
	case CALLBACKOP_register:
		if (!pv_read(v, a[1], &r, sizeof(r)))
			return -XEN_EFAULT;
		return set_callback(v, r.type, r.address, r.flags & CALLBACKF_mask_events);
	case CALLBACKOP_unregister:
		if (!pv_read(v, a[1], &u, sizeof(u)))
			return -XEN_EFAULT;
		if (u.type != CALLBACKTYPE_nmi)
			return callback(v, u.type) ? -XEN_EINVAL : -XEN_ENOSYS;
		set_nmi(v, 0);
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

s64 pv_nmi_op(struct pv_vcpu *v, const u64 *a)
{
	struct xennmi_callback cb;

	switch ((u32)a[0]) {
	case XENNMI_register_callback:
		if (!pv_read(v, a[1], &cb, sizeof(cb)))
			return -XEN_EFAULT;
		return set_callback(v, CALLBACKTYPE_nmi, cb.handler_address, true);
	case XENNMI_unregister_callback:
		set_nmi(v, 0);
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

s64 pv_stack_switch(struct pv_vcpu *v, const u64 *a)
{
	if (!is_canonical(a[1]))
		return -XEN_EINVAL;
	v->kernel_sp = a[1];
	return 0;
}

_Static_assert(XEN_IRET_KEEPS == (RFL_ARITH | RFL_TF | RFL_DF | RFL_NT | RFL_RF | RFL_AC | RFL_ID), "the gate has it, too");

static void load_user_segments(struct pv_vcpu *v, u16 cs, u16 ss)
{
	// Of what they are the machine keeps the truth: only the privilege is told here.
	v->cpu->seg[SEG_CS] = (struct x86_segment){.selector = cs, .attr = ATTR_CODE64 | ATTR_USER, .limit = ~0u};
	v->cpu->seg[SEG_SS] = (struct x86_segment){.selector = ss, .attr = ATTR_DATA | ATTR_USER, .limit = ~0u};
}

// The result is what RAX had.
s64 pv_iret(struct pv_vcpu *v, const u64 *a)
{
	struct x86_cpu *c = v->cpu;
	struct iret_context i;

	(void)a;
	if (!pv_read(v, c->gpr[R_RSP], &i, sizeof(i))) {
		pv_crash(v, "iret: nothing is at its stack, %lx", (unsigned long)c->gpr[R_RSP]);
		return 0;
	}
	if ((i.cs & RPL) == RPL) {
		if (v->user_root == MPN_NONE) {
			pv_crash(v, "iret to user mode without tables for it");
			return 0;
		}
		swap_gs(v);
		load_user_segments(v, (u16)i.cs, (u16)i.ss);
	}
	if (architectural_iopl(v))
		v->iopl = (i.rflags & RFL_IOPL) / IOPL_1;
	c->rip = i.rip;
	c->gpr[R_RSP] = i.rsp;
	c->rflags = (i.rflags & XEN_IRET_KEEPS) | RFL_FIXED | RFL_IF;
	if (!(i.flags & VGCF_in_syscall)) {
		c->gpr[R_R11] = i.r11;
		c->gpr[R_RCX] = i.rcx;
	} else { // as SYSRET leaves them
		c->gpr[R_RCX] = i.rip;
		c->gpr[R_R11] = c->rflags;
	}
	v->info->evtchn_upcall_mask = !(i.rflags & RFL_IF);
	v->nmi_masked = false;
	return (s64)i.rax;
}
