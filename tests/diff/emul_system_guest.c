// SPDX-License-Identifier: MIT
// What a guest of the hypervisor sees differently from the manual, by design or for want of need: kernel code runs
// translated in ring 1 with IOPL 0, and user code natively on filtered copies of the guest's descriptor tables
// (docs/design/architecture.md). The bounds are for every 23rd case.
#include "tests/diff/emul_system.h"

#include <string.h>

#define QUIRK(name) static bool name(const char *group, const struct sys_case *c, struct outcome *m, struct outcome *e)

static bool accept(struct outcome *m, struct outcome *e, unsigned field)
{
	bool differs = e->f[field] != m->f[field];

	e->f[field] = m->f[field];
	return differs;
}

static bool accept_all(struct outcome *m, struct outcome *e)
{
	*e = *m;
	return true;
}

static bool in_group(const char *group, const char *name)
{
	return !strncmp(group, name, strlen(name));
}

// Accepts the field if it differs in these bits only.
static bool accept_bits(struct outcome *m, struct outcome *e, unsigned field, u64 bits)
{
	u64 differs = m->f[field] ^ e->f[field];

	return differs && !(differs & ~bits) && accept(m, e, field);
}

QUIRK(ss_kept)
{
	return (e->f[O_ss] < 4 && accept(m, e, O_ss)) | accept(m, e, O_entry_ss);
}

QUIRK(iopl)
{
	static const u8 fields[] = {O_flags, O_entry_flags, O_r11, O_stack0};
	bool is = false;

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
		is |= accept_bits(m, e, fields[i], RFL_IOPL);
	// PUSHF of ring 3 shows the machine's IOPL and IF, which is set.
	if ((is || user(c->entry)) && in_group(group, "flags") && (c->code[0] == 0x9c || c->code[1] == 0x9c)) {
		is |= accept_bits(m, e, O_ustack_word, (RFL_IOPL | RFL_IF) * 0x0001000100010001);
		if (is) {
			accept(m, e, O_ustack_sum);
			accept(m, e, O_stack0);
		}
	}
	return is;
}

// With IOPL 3 ring 3 may use ports and change IF: not here.
QUIRK(iopl3)
{
	bool has = user(c->entry) && (c->flags & RFL_IOPL) == RFL_IOPL;
	bool allowed = e->f[O_vector] == VEC_BP && m->f[O_vector] == VEC_GP;

	if (has && (in_group(group, "io") || in_group(group, "flags")) && allowed)
		return accept_all(m, e);
	return has && accept_bits(m, e, O_flags, RFL_IF | RFL_IOPL);
}

// Left-over IOPL of an earlier case.
QUIRK(iopl_stale)
{
	bool is = user(c->entry) && e->f[O_vector] == VEC_GP && m->f[O_vector] == VEC_BP;

	return is && (in_group(group, "flags") || in_group(group, "io") || in_group(group, "privileged")) &&
	       accept_all(m, e);
}

QUIRK(syscall_if)
{
	return in_group(group, "syscall") && accept_bits(m, e, O_r11, RFL_IF | RFL_IOPL);
}

QUIRK(filtered_query)
{
	return in_group(group, "query") && user(c->entry) && accept_all(m, e);
}

QUIRK(null_selector)
{
	bool is = false;

	for (unsigned f = O_ds; f <= O_gs; f++)
		is |= !m->f[f] && accept(m, e, f);
	return is;
}

QUIRK(transfer_flags)
{
	bool is = (in_group(group, "iret") || in_group(group, "sysret")) && e->f[O_vector] != VEC_BP;

	return is && (accept_bits(m, e, O_flags, RFL_ARITH | RFL_IOPL) |
		      accept_bits(m, e, O_entry_flags, RFL_ARITH | RFL_IOPL));
}

QUIRK(kernel_cs)
{
	bool is = in_group(group, "msr") || in_group(group, "privileged") || in_group(group, "int_selector") ||
		  in_group(group, "far_gate");

	return is && accept(m, e, O_entry_cs);
}

QUIRK(no_sce)
{
	return (in_group(group, "syscall") || in_group(group, "sysret")) && !(c->efer & EFER_SCE) && accept_all(m, e);
}

QUIRK(fsgsbase)
{
	bool is = in_group(group, "privileged") && c->code[0] == 0xf3 && !(c->cr4 & CR4_FSGSBASE);

	return is && e->f[O_vector] == VEC_UD && accept_all(m, e);
}

QUIRK(no_nt)
{
	return in_group(group, "iret_odd") && (c->flags & RFL_NT) && accept_all(m, e);
}

QUIRK(int_rip)
{
	return in_group(group, "double_fault") && m->f[O_rip] == e->f[O_rip] + c->length && user(c->entry) &&
	       accept(m, e, O_rip);
}

QUIRK(sfmask_high)
{
	return in_group(group, "syscall") && accept_bits(m, e, O_sfmask, 0xffffffff00000000);
}

// VIF and VIP come from the machine, on which IRET leaves them alone.
QUIRK(vif)
{
	bool is = in_group(group, "iret") || in_group(group, "sysret");
	u64 bits = RFL_VIF | RFL_VIP | RFL_IOPL | RFL_RF | RFL_VM;

	return is && (accept_bits(m, e, O_flags, bits) | accept_bits(m, e, O_entry_flags, bits));
}

QUIRK(hypercall)
{
	bool is = c->code[0] == 0x0f && c->code[1] == 0x01 && (c->code[2] == 0xc1 || c->code[2] == 0xd9);

	return is && !user(c->entry) && m->f[O_vector] == VEC_BP && e->f[O_vector] == VEC_UD && accept_all(m, e);
}

// QEMU runs it natively up to a page fault, which the hypervisor answers with what the instruction deserves.
QUIRK(lock_enter)
{
	bool is = in_group(group, "lock") && c->code[1] == 0xc8;

	return is && (accept(m, e, O_ustack_at) | accept(m, e, O_ustack_word) | accept(m, e, O_ustack_sum));
}

const struct quirk guest_quirks[] = {
	{"SS", "the kernel's stack segment as it sees it follows STAR; it is never null", 1118, ss_kept},
	{"IOPL", "is a variable that IRET to ring 3 and ring 3 itself do not change", 168, iopl},
	{"IOPL 3", "gives ring 3 neither ports nor IF", 9, iopl3},
	{"IOPL of before", "is what the checks go by", 5, iopl_stale},
	{"R11", "SYSCALL shows the machine's IF, which is set", 2, syscall_if},
	{"queries in ring 3", "see the filtered tables", 21, filtered_query},
	{"null selectors", "lose their RPL", 10, null_selector},
	{"flags of faulting returns", "IRETQ and SYSRET lose the arithmetic flags when they fault", 59, transfer_flags},
	{"kernel's CS", "is what STAR says", 1, kernel_cs},
	{"EFER.SCE", "is taken for set", 4, no_sce},
	{"CR4.FSGSBASE", "is taken for set", 2, fsgsbase},
	{"NT", "does not stop IRETQ", 0, no_nt},
	{"INT in ring 3", "that faults in delivery has RIP behind it", 2, int_rip},
	{"SFMASK", "has 32 bits", 4, sfmask_high},
	{"VIF, VIP", "IRET and SYSRET leave them alone", 1, vif},
	{"VMCALL, VMMCALL", "are served: the guest sees KVM's interface", 1, hypercall},
	{"LOCK ENTER", "has pushed before it is #UD", 0, lock_enter},
};
const unsigned guest_quirk_count = ARRAY_SIZE(guest_quirks);
