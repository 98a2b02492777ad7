// SPDX-License-Identifier: MIT
// Where QEMU 7.2's TCG departs from the manual, or follows the other vendor's. Each rule is as narrow as its reason; the
// bound is the number of cases that it explained when it was written.
#include "tests/diff/emul_system.h"

#include <string.h>

#define QUIRK(name) static bool name(const char *group, const struct sys_case *c, struct outcome *m, struct outcome *e)

// Takes the machine's value as the emulator's.
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

static bool faulted(const struct outcome *o, unsigned vector, u64 error)
{
	return o->f[O_vector] == vector && o->f[O_error] == (error | ERROR_PRESENT);
}

static bool has_code(const struct sys_case *c, unsigned at, u8 a, u8 b)
{
	return c->code[at] == a && c->code[at + 1] == b;
}

static u64 insn_at(const struct sys_case *c)
{
	return code_page(c->entry) + W_CODE_AT;
}

QUIRK(no_rf)
{
	if ((e->f[O_flags] ^ m->f[O_flags]) != RFL_RF || !(e->f[O_flags] & RFL_RF))
		return false;
	if (e->f[O_entry_rsp] / PAGE_SIZE == W_KDATA / PAGE_SIZE && m->f[O_kdata_at] == e->f[O_kdata_at])
		accept(m, e, O_kdata_sum); // the frame lies there
	return accept(m, e, O_flags);
}

QUIRK(gate_error)
{
	u64 a = m->f[O_error], b = e->f[O_error];
	u64 vector = (b & 0xffff) >> 3;

	return (b & 2) && a == (ERROR_PRESENT | (vector * 16 + 2)) && accept(m, e, O_error);
}

QUIRK(no_ext)
{
	return (e->f[O_error] ^ m->f[O_error]) == 1 && (e->f[O_error] & 1) && e->f[O_vector] != VEC_PF &&
	       accept(m, e, O_error);
}

QUIRK(ist_null_ss)
{
	return !m->f[O_entry_ss] && !(m->f[O_cs] & 3) && e->f[O_entry_ss] == e->f[O_ss] && accept(m, e, O_entry_ss);
}

// The first word of a table that differs is the one with the accessed bit.
static bool accessed_only(struct outcome *m, struct outcome *e, unsigned first, u64 base)
{
	u64 at = e->f[first], old;

	if (!at || (m->f[first] && m->f[first] < at))
		return false;
	old = m->f[first] == at ? m->f[first + 1] : system_pristine(base + at - 1);
	if ((old ^ e->f[first + 1]) != BIT(40) || !(e->f[first + 1] & BIT(40)))
		return false;
	accept(m, e, first);
	accept(m, e, first + 1);
	return accept(m, e, first + 2);
}

QUIRK(not_accessed)
{
	bool gdt = accessed_only(m, e, O_gdt_at, W_GDT);

	return accessed_only(m, e, O_ldt_at, W_LDT) || gdt;
}

QUIRK(stack_as_gp)
{
	if (m->f[O_vector] != VEC_GP || e->f[O_vector] != VEC_SS || m->f[O_error] != e->f[O_error])
		return false;
	return accept(m, e, O_vector);
}

QUIRK(late_canonical)
{
	if (is_canonical(m->f[O_rip]) || (e->f[O_vector] != VEC_GP && e->f[O_vector] != VEC_DF))
		return false;
	return accept_all(m, e);
}

static bool known_msr(u32 msr)
{
	return (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP) || msr == MSR_PAT || msr == 0x2ff ||
	       (msr >= MSR_EFER && msr <= MSR_SFMASK) || (msr >= MSR_FS_BASE && msr <= MSR_TSC_AUX);
}

QUIRK(long_base)
{
	bool msr = in_group(group, "msr") && has_code(c, 0, 0x0f, 0x30) && known_msr((u32)c->gpr[R_RCX]);
	bool base = in_group(group, "bases") && c->code[0] == 0xf3;
	u64 v = msr ? c->gpr[R_RAX] | c->gpr[R_RDX] << 32 : c->gpr[R_RCX];

	return (msr || base) && !is_canonical(v) && m->f[O_vector] == VEC_BP && faulted(e, VEC_GP, 0) &&
	       accept_all(m, e);
}

QUIRK(no_segment_checks)
{
	bool fault = e->f[O_vector] == VEC_GP || e->f[O_vector] == VEC_SS;
	bool access = in_group(group, "load_legacy") ? e->f[O_rip] == insn_at(c) + 2
						     : in_group(group, "bases") && c->code[0] == 0x66;

	if (is64(c->entry) || !fault || !access || e->f[O_error] != ERROR_PRESENT)
		return false;
	return (m->f[O_vector] == VEC_BP || m->f[O_vector] == VEC_PF) && accept_all(m, e);
}

QUIRK(rmw_reads)
{
	u64 lost = m->f[O_error] ^ e->f[O_error];

	return m->f[O_vector] == VEC_PF && e->f[O_vector] == VEC_PF && lost == PF_W && (e->f[O_error] & PF_W) &&
	       accept(m, e, O_error);
}

QUIRK(cr_reserved)
{
	if (!in_group(group, "cr") || m->f[O_vector] != VEC_BP)
		return false;
	if (c->code[1] == 0x0f) // CR8
		return c->code[3] == 0xc2 && c->gpr[R_RDX] > 15 && faulted(e, VEC_GP, 0) && accept_all(m, e);
	if (!has_code(c, 1, 0x22, 0xc2))
		return false;
	if (e->f[O_vector] == VEC_BP)
		return ((m->f[O_cr0] ^ e->f[O_cr0]) & W_CR0) == 0 && accept_all(m, e);
	return faulted(e, VEC_GP, 0) && accept_all(m, e);
}

QUIRK(dr_reserved)
{
	bool write =
		in_group(group, "dr") && c->code[1] == 0x23 && m->f[O_vector] == VEC_BP && e->f[O_vector] == VEC_BP;

	return write && (accept(m, e, O_dr6) | accept(m, e, O_dr7) | accept(m, e, O_rdx));
}

QUIRK(l_and_d)
{
	if (!in_group(group, "far") && !in_group(group, "iret") && !in_group(group, "int"))
		return false;
	if ((e->f[O_error] & 0xfff8) < T_CODELD * 8 || (e->f[O_error] & 0xfff8) >= T_SYS0 * 8)
		return false;
	return e->f[O_vector] == VEC_GP && m->f[O_vector] != VEC_GP && accept_all(m, e);
}

QUIRK(rex_lss)
{
	return in_group(group, "far_pointer") && has_code(c, 0, 0x48, 0x0f) && faulted(m, VEC_GP, 0x4320) &&
	       accept_all(m, e);
}

QUIRK(no_vif)
{
	bool is = false;

	if (!in_group(group, "iret") && !in_group(group, "sysret"))
		return false;
	for (unsigned f = 0; f < 2; f++) {
		unsigned field = f ? O_entry_flags : O_flags;

		if (((e->f[field] ^ m->f[field]) & ~(RFL_VIF | RFL_VIP | RFL_VM | RFL_RF)) == 0)
			is |= accept(m, e, field);
	}
	return is;
}

QUIRK(compat_rip)
{
	return in_group(group, "iret_odd") && (m->f[O_cs] & 0xfff8) == (S_UCS32 & ~7u) &&
	       m->f[O_vector] == e->f[O_vector] && (m->f[O_rip] & 0xffffffff) == (e->f[O_rip] & 0xffffffff) &&
	       accept(m, e, O_rip);
}

QUIRK(np_stack)
{
	bool is = (in_group(group, "iret") || in_group(group, "far_ret")) && m->f[O_vector] == VEC_NP &&
		  e->f[O_vector] == VEC_SS && m->f[O_error] == e->f[O_error];

	return is && accept(m, e, O_vector);
}

QUIRK(null_ss_rpl)
{
	bool load = in_group(group, "load") || in_group(group, "far_pointer") || in_group(group, "iret_ss");

	return load && c->entry == K64 && faulted(e, VEC_GP, 0) && m->f[O_vector] == VEC_BP && m->f[O_ss] &&
	       m->f[O_ss] < 4 && accept_all(m, e);
}

QUIRK(lock_ignored)
{
	bool is = in_group(group, "lock") || (in_group(group, "int_odd") && c->code[0] == 0xf0);

	return is && e->f[O_vector] == VEC_UD && m->f[O_vector] != VEC_UD && accept_all(m, e);
}

QUIRK(unknown_msr)
{
	return in_group(group, "msr") && !known_msr((u32)c->gpr[R_RCX]) && m->f[O_vector] == VEC_BP &&
	       faulted(e, VEC_GP, 0) && accept_all(m, e);
}

QUIRK(msr_reserved)
{
	u32 msr = (u32)c->gpr[R_RCX];
	bool is = in_group(group, "msr") && (msr == MSR_SFMASK || msr == MSR_TSC_AUX || msr == MSR_PAT ||
					     msr == 0x2ff || msr == MSR_SYSENTER_CS || msr == MSR_EFER);

	return is && m->f[O_vector] == VEC_BP && (faulted(e, VEC_GP, 0) || e->f[O_vector] == VEC_BP) &&
	       accept_all(m, e);
}

// #UD for what does not exist and #GP for what is forbidden: the manual does not order them.
QUIRK(ring_first)
{
	bool is = in_group(group, "privileged") || in_group(group, "dr") || in_group(group, "sysret");

	return is && user(c->entry) && faulted(m, VEC_GP, 0) && e->f[O_vector] == VEC_UD && accept_all(m, e);
}

QUIRK(no_rdpmc)
{
	return has_code(c, 0, 0x0f, 0x33) && m->f[O_vector] == VEC_UD && faulted(e, VEC_GP, 0) && accept_all(m, e);
}

QUIRK(no_int1)
{
	return c->code[0] == 0xf1 && m->f[O_vector] == VEC_UD && accept_all(m, e);
}

QUIRK(no_long_lar)
{
	static const u16 legacy = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5;
	u64 at = W_GDT + (c->gpr[R_RCX] & 0xfff8);
	bool is = in_group(group, "query") && !(c->gpr[R_RCX] & 4) && (m->f[O_flags] & RFL_ZF) &&
		  !(e->f[O_flags] & RFL_ZF);
	u64 d = is ? system_pristine(at) : 0;

	return is && !(d & BIT(44)) && ((legacy >> (d >> 40 & 15)) & 1) && accept_all(m, e);
}

QUIRK(syscall_flags)
{
	u64 differ = m->f[O_flags] ^ e->f[O_flags];

	if (!in_group(group, "syscall") || (differ & ~(RFL_ARITH | RFL_DF)))
		return false;
	return accept(m, e, O_flags) | accept(m, e, O_entry_flags);
}

QUIRK(syscall_sysenter_vendor)
{
	bool sysenter = in_group(group, "sysenter") && !is64(c->entry) && e->f[O_vector] == VEC_UD;
	bool sysret = in_group(group, "sysret") && c->entry == K32 && e->f[O_vector] == VEC_UD;

	return (sysenter || sysret) && accept_all(m, e);
}

QUIRK(odd_ltr)
{
	bool is = in_group(group, "system_selector") && m->f[O_vector] == VEC_BP && e->f[O_vector] == VEC_GP;

	return is && accept_all(m, e);
}

QUIRK(partial_store)
{
	bool sgdt = in_group(group, "tables") && e->f[O_vector] == VEC_PF && m->f[O_vector] == VEC_PF;

	return sgdt && (accept(m, e, O_kdata_at) | accept(m, e, O_kdata_word) | accept(m, e, O_kdata_sum));
}

QUIRK(return_as_supervisor)
{
	bool is = (in_group(group, "iret") || in_group(group, "far")) && user(c->entry) && e->f[O_vector] == VEC_PF &&
		  (e->f[O_error] & PF_U);

	return is && e->f[O_rip] == insn_at(c) && accept_all(m, e);
}

QUIRK(wide_operand)
{
	bool is = in_group(group, "canonical") && e->f[O_vector] != VEC_PF && m->f[O_vector] == VEC_PF &&
		  m->f[O_cr2] == 0x00007ffffffffffe;

	return is && accept_all(m, e);
}

QUIRK(gate_jmp_np)
{
	return in_group(group, "far_gate") && c->code[1] == 0x2b && m->f[O_vector] == VEC_GP &&
	       e->f[O_vector] == VEC_NP && m->f[O_error] == e->f[O_error] && accept(m, e, O_vector);
}

QUIRK(gate_rpl)
{
	return in_group(group, "far_gate") && c->code[1] == 0x1b && user(c->entry) && (m->f[O_cs] ^ e->f[O_cs]) < 4 &&
	       accept(m, e, O_cs);
}

const struct quirk quirks[] = {
	{"no RF", "exceptions of the fault class push RFLAGS without RF", 35844, no_rf},
	{"gate error code", "faults over an IDT entry have n*16+2 as error code, not n*8+2", 788, gate_error},
	{"no EXT", "error codes of faults during delivery lack the EXT bit", 60, no_ext},
	{"IST nulls SS", "SS is nulled on an IST stack also without change of ring", 343, ist_null_ss},
	{"no A bit", "far transfers, IRET and delivery leave the descriptors' accessed bits alone", 544, not_accessed},
	{"#SS as #GP", "a stack address that is not canonical gives #GP", 51, stack_as_gp},
	{"late canonical", "targets are checked when fetched, not by the transfer", 130, late_canonical},
	{"bases", "MSRs and WRFSBASE take bases that are not canonical", 100, long_base},
	{"no segment checks", "limit, type and null are not checked on memory accesses", 472, no_segment_checks},
	{"RMW reads first", "a read-modify-write faults as a read", 183, rmw_reads},
	{"CR0, CR8", "reserved bits and NW without CD are taken", 17, cr_reserved},
	{"DR6, DR7", "reserved bits are kept", 18, dr_reserved},
	{"L and D", "code segments with both bits are accepted", 144, l_and_d},
	{"LSS with REX.W", "reads a 32-bit offset, AMD's rule", 856, rex_lss},
	{"VIF, VIP", "IRET and SYSRET leave them alone, SYSRET loads VM and RF", 54, no_vif},
	{"RIP to 32-bit code", "IRETQ keeps the upper half", 12, compat_rip},
	{"SS not present", "returns give #NP instead of #SS", 54, np_stack},
	{"null SS", "its RPL need not be the CPL", 2, null_ss_rpl},
	{"LOCK", "is ignored where it is not allowed", 526, lock_ignored},
	{"unknown MSRs", "read as zero, writes are dropped", 78, unknown_msr},
	{"MSR bits", "reserved bits and types are taken", 74, msr_reserved},
	{"ring first", "CPL is checked before the instruction's existence", 82, ring_first},
	{"RDPMC", "is not implemented", 8, no_rdpmc},
	{"INT1", "is not implemented", 124, no_int1},
	{"LAR, LSL", "know the legacy system types in long mode", 42, no_long_lar},
	{"SYSCALL flags", "the arithmetic flags are lost", 20, syscall_flags},
	{"vendors", "SYSENTER in compatibility mode, SYSRET from it: each vendor forbids one", 68,
	 syscall_sysenter_vendor},
	{"LTR, LLDT", "take null, 16-bit TSSs and bases that are not canonical", 20, odd_ltr},
	{"SGDT", "stores the limit before it faults on the base", 8, partial_store},
	{"returns as supervisor", "far RET and IRET at CPL 3 read their stack as supervisor", 19, return_as_supervisor},
	{"operand over the hole", "an operand that ends beyond the canonical range is split", 14, wide_operand},
	{"JMP gate", "gives #GP, not #NP, when the code segment is not present", 40, gate_jmp_np},
	{"CALL gate", "to conforming code puts the segment's DPL into CS, not the CPL", 10, gate_rpl},
};
const unsigned quirk_count = ARRAY_SIZE(quirks);
