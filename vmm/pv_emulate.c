// SPDX-License-Identifier: MIT
// Instructions of a paravirtual guest's kernel that ring 1 may not execute and that the interface has the hypervisor do all the same. The
// commonest are decoded by hand, the others are the emulator's.
#include "vmm/pv.h"

#include "base/string.h"
#include "core/x86/insn.h"
#include "core/x86/plain_store.h"
#include "machine/irq/time.h"

static bool ports_allowed(struct pv_vcpu *v, const struct insn *in)
{
	bool by_number = (in->d.opcode & 0xfc) == 0xe4;
	const ZydisDecodedOperand *o = &in->op[in->d.mnemonic == ZYDIS_MNEMONIC_IN];
	unsigned bytes = !(in->d.opcode & 1) ? 1 : in->d.operand_width == 16 ? 2 : 4;

	return pv_port_allowed(v, by_number ? (u16)o->imm.value.u : (u16)v->cpu->gpr[R_RDX], bytes);
}

// A kernel's instruction that ring 1 may not execute and the interface lets it: what follows is the emulator's.
static bool is_privileged(struct pv_vcpu *v)
{
	u8 bytes[15];
	unsigned n = sizeof(bytes);
	struct insn in;

	while (n && !pv_read(v, v->cpu->rip, bytes, n)) // up to the page's end, if the next is not there
		n--;
	if (insn_decode_status(&in, INSN_MODE_64, bytes, n) != INSN_OK)
		return false;
	switch (in.d.mnemonic) {
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD:
		return ports_allowed(v, &in);
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
		return pv_iopl_allows(v);
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_CLTS:
	case ZYDIS_MNEMONIC_INVD:
	case ZYDIS_MNEMONIC_WBINVD:
	case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_WRMSR:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_LMSW:
	case ZYDIS_MNEMONIC_SMSW: // those from here on with UMIP
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_XSETBV:
	case ZYDIS_MNEMONIC_INVLPG:
		return true;
	case ZYDIS_MNEMONIC_MOV: // control and debug registers
		return in.op[0].reg.value >= ZYDIS_REGISTER_CR0 || in.op[1].reg.value >= ZYDIS_REGISTER_CR0;
	default:
		return false;
	}
}

// Runs one instruction of the kernel in the emulator. False: it is not one for it.
static bool emulate(struct vcpu *v)
{
	struct pv_vcpu *pv = &v->vm->pv->vcpu;
	enum emul_result r;

	v->cpu.interrupt_shadow = false;
	r = emul_step(&v->emul);
	v->emulated++;
	if (r == EMUL_FAULT)
		pv_exception(pv, &v->emul.fault);
	return r != EMUL_UNSUPPORTED;
}

// ---- by hand

static bool msr(struct vcpu *v, bool write)
{
	struct x86_cpu *c = &v->cpu;
	u32 nr = (u32)c->gpr[R_RCX];
	u64 value = (u32)c->gpr[R_RAX] | c->gpr[R_RDX] << 32;
	struct x86_fault fault;
	enum emul_result r = write ? vmm_pv_emul_ports.wrmsr(v, nr, value, &fault) : vmm_pv_emul_ports.rdmsr(v, nr, &value, &fault);

	if (r != EMUL_OK) {
		pv_exception(&v->vm->pv->vcpu, &fault);
		return true;
	}
	if (!write) {
		c->gpr[R_RAX] = (u32)value;
		c->gpr[R_RDX] = value >> 32;
	}
	c->rip += 2;
	return true;
}

// Channel 2 of the timer and its gate, as under Xen, by which kernels calibrate. All other ports lead nowhere: a byte that is read is FF.
static bool port_is_timer(u16 port)
{
	return port == 0x42 || port == 0x43 || port == 0x61;
}

u8 pv_port_in(struct vcpu *v, u16 port)
{
	return port_is_timer(port) ? pit_read(&v->vm->pv->pit, time_ns(), port) : 0xff;
}

void pv_port_out(struct vcpu *v, u16 port, u8 value)
{
	if (port_is_timer(port))
		pit_write(&v->vm->pv->pit, time_ns(), port, value);
}

static bool port_byte(struct vcpu *v, bool in, u16 port, unsigned length)
{
	u64 *rax = &v->cpu.gpr[R_RAX];

	if (!pv_port_allowed(&v->vm->pv->vcpu, port, 1))
		return false;
	if (in)
		*rax = (*rax & ~0xffull) | pv_port_in(v, port);
	else
		pv_port_out(v, port, (u8)*rax);
	v->cpu.rip += length;
	return true;
}

// CLI, STI, IN and OUT of a program that its kernel allows them. There is no device: what is written has no effect, what is read is ones.
bool pv_emulate_user_io(struct vcpu *v)
{
	struct pv_vcpu *pv = &v->vm->pv->vcpu;
	const struct x86_segment *cs = &v->cpu.seg[SEG_CS];
	u64 *rax = &v->cpu.gpr[R_RAX];
	u8 b[3] = {0};
	unsigned at = 0, bytes, n = sizeof(b);
	u16 port;

	if ((!pv->iopl && !pv->io_ports) || (v->cpu.rflags & RFL_TF))
		return false;
	while (n && !pv_read(pv, v->cpu.rip + (cs->attr & SEG_ATTR_L ? 0 : cs->base), b, n))
		n--;
	if (b[0] == 0x66)
		at = 1;
	if ((b[at] & 0xfe) == 0xfa && pv_iopl_allows(pv)) { // as under Xen, to no effect
		v->cpu.rip += at + 1;
		return true;
	}
	if ((b[at] & 0xf4) != 0xe4) // E4 to E7, EC to EF
		return false;
	bytes = !(b[at] & 1) ? 1 : at ? 2 : 4;
	port = b[at] & 8 ? (u16)v->cpu.gpr[R_RDX] : b[at + 1];
	if (!pv_port_allowed(pv, port, bytes))
		return false;
	if (!(b[at] & 2))
		*rax = bytes == 4 ? 0xffffffff : *rax | (BIT(bytes * 8) - 1);
	v->cpu.rip += at + (b[at] & 8 ? 1 : 2);
	return true;
}

bool pv_emulate_privileged(struct vcpu *v)
{
	struct pv_vcpu *pv = &v->vm->pv->vcpu;
	u8 b[2];

	if (!(v->cpu.rflags & RFL_TF) && pv_read(pv, v->cpu.rip, b, sizeof(b))) {
		if (b[0] == 0x0f && (b[1] == 0x32 || b[1] == 0x30)) // RDMSR, WRMSR
			return msr(v, b[1] == 0x30);
		if (b[0] == 0xec || b[0] == 0xee) // IN AL, DX; OUT DX, AL
			return port_byte(v, b[0] == 0xec, (u16)v->cpu.gpr[R_RDX], 1);
		if (b[0] == 0xe4 || b[0] == 0xe6) // by number
			return port_byte(v, b[0] == 0xe4, b[1], 2);
	}
	return is_privileged(pv) && emulate(v);
}

// UD2 and the letters "xen" before CPUID: the interface's view of it, for the kernel and for programs.
bool pv_emulate_cpuid(struct vcpu *v)
{
	static const u8 prefix[] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
	u8 bytes[sizeof(prefix)];

	if (!pv_read(&v->vm->pv->vcpu, v->cpu.rip, bytes, sizeof(bytes)) || memcmp(bytes, prefix, sizeof(prefix)))
		return false;
	v->cpu.rip += sizeof(prefix) - 2;
	return emulate(v);
}

// INT n in its plain form; only 64-bit code has no base.
bool pv_emulate_int(struct vcpu *v)
{
	const struct x86_segment *cs = &v->cpu.seg[SEG_CS];
	u8 b[2];

	if (!pv_read(&v->vm->pv->vcpu, v->cpu.rip + (cs->attr & SEG_ATTR_L ? 0 : cs->base), b, sizeof(b)) || b[0] != 0xcd)
		return false;
	pv_interrupt(&v->vm->pv->vcpu, b[1], sizeof(b));
	return true;
}

// A store to a page table at va, which is mapped read-only. XCHG with RSP is not for here.
static bool plain_store(struct vcpu *v, u64 va)
{
	struct pv_vcpu *pv = &v->vm->pv->vcpu;
	struct x86_cpu *c = &v->cpu;
	u8 code[PLAIN_STORE_BYTES];
	struct plain_store s;
	u64 old, value;
	enum status st;

	if ((va & 7) || (c->rflags & RFL_TF) || !pv_read(pv, c->rip, code, sizeof(code)) || !plain_store_decode(code, &s) ||
	    (s.kind == STORE_XCHG && s.reg == R_RSP))
		return false;
	value = s.kind == STORE_IMM ? (u64)(s64)s.imm : c->gpr[s.reg];
	st = pv_table_exchange(pv, va, value, &old);
	if (st == ST_AGAIN)
		return true; // it comes again
	if (st != ST_OK)
		return false;
	if (s.kind == STORE_XCHG)
		c->gpr[s.reg] = old;
	c->rip += s.length;
	return true;
}

bool pv_emulate_store(struct vcpu *v, u64 va)
{
	return plain_store(v, va) || emulate(v);
}
