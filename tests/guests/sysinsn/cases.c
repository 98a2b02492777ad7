// SPDX-License-Identifier: MIT
// The table of groups, and the state that every case starts from. Groups are in groups_*.c.
#include "tests/guests/sysinsn/groups.h"

#include "base/string.h"

#define G(name, n)                    \
	{                             \
#name, n, make_##name \
	}
const struct group groups[] = {
	G(flags, N_FLAGS),
	G(iret_flags, N_IRET_FLAGS),
	G(iret_cs, N_IRET_CS),
	G(iret_ss, N_IRET_SS),
	G(iret_odd, N_IRET_ODD),
	G(query, N_QUERY),
	G(load, N_LOAD),
	G(load_legacy, N_LOAD_LEGACY),
	G(far_pointer, N_FAR_POINTER),
	G(system_selector, N_SYSTEM_SELECTOR),
	G(tables, N_TABLES),
	G(selectors, N_SELECTORS),
	G(far_jmp, N_FAR_JMP),
	G(far_call, N_FAR_CALL),
	G(far_ret, N_FAR_RET),
	G(far_ret_ss, N_FAR_RET_SS),
	G(far_odd, N_FAR_ODD),
	G(far_gate, N_FAR_GATE),
	G(far_gate_odd, N_FAR_GATE_ODD),
	G(int_vector, N_INT_VECTOR),
	G(int_gate, N_INT_GATE),
	G(int_selector, N_INT_SELECTOR),
	G(int_stack, N_INT_STACK),
	G(int_odd, N_INT_ODD),
	G(double_fault, N_DOUBLE_FAULT),
	G(privileged, N_PRIVILEGED),
	G(msr, N_MSR),
	G(cr, N_CR),
	G(cr0_word, N_CR0_WORD),
	G(dr, N_DR),
	G(syscall, N_SYSCALL),
	G(sysret, N_SYSRET),
	G(sysenter, N_SYSENTER),
	G(bases, N_BASES),
	G(smap, N_SMAP),
	G(io, N_IO),
	G(io_string, N_IO_STRING),
	G(string, N_STRING),
	G(memory, N_MEMORY),
	G(canonical, N_CANONICAL),
	G(lock, N_LOCK),
	G(alignment, N_ALIGNMENT),
};
const unsigned group_count = ARRAY_SIZE(groups);

void case_make(unsigned group, unsigned i, struct sys_case *c)
{
	memset(c, 0, sizeof(*c));
	groups[group].make(i, c);
	for (unsigned r = 0; r < 16 && !is64(c->entry); r++)
		c->gpr[r] = (u32)c->gpr[r];
}

void case_init(struct sys_case *c, enum entry entry)
{
	c->entry = entry;
	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = (is64(entry) ? 0x1122334400000000 : 0) + 0x55660077u + 0x0101 * i;
	c->gpr[R_RSP] = (user(entry) ? W_USTACK : W_KSTACK) + W_STACK_AT;
	c->gpr[R_RBX] = W_DATA + 0x40;
	c->gpr[R_RSI] = W_DATA + 0x100;
	c->gpr[R_RDI] = W_DATA + 0x200;
	c->flags = RFL_FIXED | RFL_IF;
	c->ds = c->es = S_UDS;
	c->ldt = S_LDT;
	c->cr0 = W_CR0;
	c->cr2 = 0x1234567;
	c->cr4 = W_CR4;
	c->efer = W_EFER;
	c->star = W_STAR;
	c->lstar = W_KCODE + 0x400;
	c->cstar = W_KCODE + 0x500;
	c->sfmask = RFL_IF | RFL_TF | RFL_DF;
	c->fs_base = W_DATA + 0x800;
	c->gs_base = 0xffff880000001000;
	c->kernel_gs_base = W_DATA + 0xa00;
	c->dr[6] = 0xffff0ff0;
	c->dr[7] = 0x400;
	if (entry == K32)
		c->ds = c->es = S_KDS;
	if (!user(entry)) { // SMAP is on
		c->gpr[R_RBX] += W_KDATA - W_DATA;
		c->gpr[R_RSI] += W_KDATA - W_DATA;
		c->gpr[R_RDI] += W_KDATA - W_DATA;
	}
}

void case_code(struct sys_case *c, unsigned n, const u8 *bytes)
{
	memset(c->code, 0xcc, sizeof(c->code));
	memcpy(c->code, bytes, n);
	c->length = n;
}

void case_poke(struct sys_case *c, u64 at, u64 value, unsigned bytes)
{
	c->poke[c->pokes++] = (struct poke){at, value, bytes};
}

void case_gate(struct sys_case *c, unsigned vector, u16 selector, u64 offset, unsigned ist, unsigned access)
{
	case_poke(c, W_IDT + vector * 16, world_gate_low(selector, offset, ist, access), 8);
	case_poke(c, W_IDT + vector * 16 + 8, offset >> 32, 8);
}
