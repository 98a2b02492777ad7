// SPDX-License-Identifier: MIT
// Privileged instructions at each ring, MSRs, control and debug registers, SYSCALL and relatives, FS/GS bases, AC.
// Values that make QEMU continue in a state that cannot be stopped from are skipped with their reason.
#include "tests/guests/sysinsn/groups.h"

#include "base/string.h"

#define OPS 44
struct op {
	u8 n, bytes[6];
};

static const struct op privileged[OPS] = {
	{1, {0xf4}},                         // HLT
	{3, {0x0f, 0x01, 0x3b}},             // INVLPG [rbx]
	{2, {0x0f, 0x09}},                   // WBINVD
	{2, {0x0f, 0x08}},                   // INVD
	{2, {0x0f, 0x33}},                   // RDPMC
	{3, {0x0f, 0x01, 0xd0}},             // XGETBV
	{3, {0x0f, 0x01, 0xd1}},             // XSETBV
	{3, {0x0f, 0x01, 0xc8}},             // MONITOR
	{3, {0x0f, 0x01, 0xc9}},             // MWAIT
	{3, {0x0f, 0x01, 0xcb}},             // STAC
	{3, {0x0f, 0x01, 0xca}},             // CLAC
	{3, {0x0f, 0x01, 0xf8}},             // SWAPGS
	{4, {0xf3, 0x0f, 0xae, 0xc0}},       // RDFSBASE eax
	{4, {0xf3, 0x0f, 0xae, 0xc8}},       // RDGSBASE eax
	{4, {0xf3, 0x0f, 0xae, 0xd1}},       // WRFSBASE ecx
	{4, {0xf3, 0x0f, 0xae, 0xd9}},       // WRGSBASE ecx
	{2, {0x0f, 0x06}},                   // CLTS
	{3, {0x0f, 0x01, 0xf0}},             // LMSW ax
	{3, {0x0f, 0x01, 0xe1}},             // SMSW ecx
	{2, {0x0f, 0x32}},                   // RDMSR
	{2, {0x0f, 0x30}},                   // WRMSR
	{3, {0x0f, 0x20, 0xc0}},             // MOV rax, cr0
	{3, {0x0f, 0x22, 0xc2}},             // MOV cr0, rdx
	{3, {0x0f, 0x20, 0xc8}},             // cr1
	{3, {0x0f, 0x20, 0xd0}},             // cr2
	{3, {0x0f, 0x20, 0xd8}},             // cr3
	{3, {0x0f, 0x20, 0xe0}},             // cr4
	{4, {0x44, 0x0f, 0x20, 0xc0}},       // cr8 (32-bit code: INC ESP, cr0)
	{3, {0x0f, 0x21, 0xc0}},             // MOV rax, dr0
	{3, {0x0f, 0x21, 0xf8}},             // dr7
	{3, {0x0f, 0x21, 0xe0}},             // dr4
	{2, {0x0f, 0xa2}},                   // CPUID
	{3, {0x0f, 0x01, 0xc1}},             // VMCALL
	{3, {0x0f, 0x01, 0xd9}},             // VMMCALL
	{3, {0x0f, 0x01, 0xd8}},             // VMRUN
	{3, {0x0f, 0x01, 0xdd}},             // CLGI
	{2, {0x0f, 0xaa}},                   // RSM
	{2, {0x0f, 0x0b}},                   // UD2
	{3, {0x0f, 0xb9, 0xc0}},             // UD1
	{3, {0x0f, 0xff, 0xc0}},             // UD0
	{5, {0x66, 0x0f, 0x38, 0x82, 0x03}}, // INVPCID
	{2, {0x63, 0xc8}},                   // ARPL ax, cx; MOVSXD in 64-bit code
	{1, {0x07}},                         // POP es
	{1, {0x0e}},                         // PUSH cs
};

void make_privileged(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned variant = digit(&i, 3);

	case_init(c, e);
	case_code(c, privileged[i].n, privileged[i].bytes);
	if (variant == 1)
		c->cr4 &= ~(CR4_UMIP | CR4_FSGSBASE | CR4_DE);
	if (variant == 2) {
		c->flags |= RFL_IOPL | RFL_AC | RFL_ARITH;
		c->cr4 |= CR4_PCE;
	}
	if (!user(e) && (i == 0 || i == 8))
		c->skip = "halts";
	if (i == 20)
		c->gpr[R_RDX] = 0x230010, c->gpr[R_RAX] = 0;
	if (i == 19 || i == 20)
		c->gpr[R_RCX] = MSR_STAR;
	if (i == 22)
		c->gpr[R_RDX] = W_CR0 | CR0_TS;
	if (i == 14 || i == 15)
		c->gpr[R_RCX] = 0x0000123487654321;
	if (i == 31)
		c->gpr[R_RAX] = 0, c->gpr[R_RCX] = 0;
	if (i == 42)
		case_poke(c, c->gpr[R_RSP], S_UDS, 8);
}

static const u32 msrs[18] = {
	MSR_EFER,         MSR_STAR,    MSR_LSTAR,          MSR_CSTAR,       MSR_SFMASK,
	MSR_FS_BASE,      MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP,
	MSR_SYSENTER_EIP, MSR_PAT,     MSR_TSC_AUX,        0xdead,          0x2ff,
	0xc0000104,       0x40001234,  0xc0010117,
};
// NXE stays on: the stacks' pages are NX.
static const u64 efer_values[12] = {
	0,
	W_EFER,
	W_EFER & ~EFER_SCE,
	W_EFER & ~EFER_LMA,
	W_EFER & ~EFER_LME,
	W_EFER | BIT(12),
	W_EFER | BIT(13),
	W_EFER | BIT(14),
	W_EFER | BIT(1),
	W_EFER | BIT(32),
	W_EFER | BIT(63),
	W_EFER | BIT(9),
};
static const u64 msr_values[12] = {
	0,
	0,
	1,
	~0ull,
	0x0000800000000000,
	0xffff800000000000,
	0x00007fffffffffff,
	0x0023001000000000,
	0x100000000,
	0x0606060606060606,
	0x0007040600070406,
	0xffff7fffffffffff,
};

// RDMSR alone, or WRMSR and back.
void make_msr(unsigned i, struct sys_case *c)
{
	static const enum entry entries[3] = {K64, U64, K32};
	enum entry e = entries[digit(&i, 3)];
	unsigned msr = digit(&i, 18);
	u64 v = msr ? msr_values[i] : efer_values[i];

	case_init(c, e);
	c->gpr[R_RCX] = msrs[msr] | (is64(e) ? 0xabcd00000000 : 0);
	if (!i) {
		CODE(c, 0x0f, 0x32);
		return;
	}
	c->gpr[R_RAX] = (u32)v;
	c->gpr[R_RDX] = v >> 32;
	CODE(c, 0x0f, 0x30, 0x31, 0xc0, 0x0f, 0x32); // WRMSR; XOR eax, eax; RDMSR
}

static const u64 cr0_values[18] = {
	W_CR0,           W_CR0 | CR0_TS,          W_CR0 | CR0_EM,
	W_CR0 | CR0_CD,  W_CR0 | CR0_CD | CR0_NW, W_CR0 | CR0_NW,
	W_CR0 & ~CR0_WP, W_CR0 & ~CR0_NE,         W_CR0 & ~CR0_AM,
	W_CR0 & ~CR0_MP, W_CR0 & ~CR0_ET,         W_CR0 | BIT(6),
	W_CR0 | BIT(17), W_CR0 | BIT(32),         W_CR0 | BIT(63),
	W_CR0 & ~CR0_PE, W_CR0 & ~CR0_PG,         W_CR0 | CR0_TS | CR0_EM | BIT(28),
};
static const u64 cr4_toggles[18] = {
	0,
	CR4_VME,
	CR4_PVI,
	CR4_TSD,
	CR4_DE,
	CR4_PSE,
	CR4_PAE,
	CR4_MCE,
	CR4_PGE,
	CR4_PCE,
	CR4_OSFXSR,
	CR4_OSXMMEXCPT,
	CR4_UMIP,
	CR4_LA57,
	CR4_FSGSBASE,
	CR4_OSXSAVE,
	CR4_SMEP | CR4_SMAP,
	BIT(32),
};
static const u64 plain_values[18] = {
	0, 1, 15, 16, 0x100, ~0ull, 0xffffffff, 0x100000000, 5, 7, 8, 14, 0x8000000000000000, 0xdeadbeef, 2, 3, 4, 9,
};
static const u64 cr3_bits[18] = {0,       8,    16, 24, 1,     0xfff, BIT(52), BIT(62), BIT(63),
				 BIT(51), 0x18, 4,  2,  0x800, 0x400, 0x200,   0x100,   0x80};

static void cr_value(struct sys_case *c, unsigned n, unsigned i)
{
	u64 v = plain_values[i];

	if (n == 0)
		v = cr0_values[i];
	if (n == 4)
		v = c->cr4 ^ cr4_toggles[i];
	if (n == 3)
		v = W_PML4 | cr3_bits[i];
	c->gpr[R_RDX] = v;
	if (n == 0 && (i == 15 || i == 16))
		c->skip = "QEMU leaves protected or long mode";
	if (n == 4 && (cr4_toggles[i] == CR4_PAE))
		c->skip = "QEMU clears PAE in long mode";
	if (n == 4 && (cr4_toggles[i] & (CR4_LA57 | CR4_OSXSAVE | BIT(32))))
		c->skip = "reserved CR4 bits hang QEMU";
	if (n == 3 && i == 8)
		c->skip = "CR3 bit 63 hangs QEMU";
	if (n == 3 && (i == 6 || i == 7 || i == 9))
		c->skip = "tables beyond memory";
}

// MOV to each CR from RDX, and for CR0 to CR4 and CR8 back into RAX.
void make_cr(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, 2) ? K32 : K64;
	unsigned n = digit(&i, 16);

	case_init(c, e);
	cr_value(c, n, i);
	if (e == K32 && n >= 8)
		c->skip = "no REX outside 64-bit code";
	if (e == K32)
		c->gpr[R_RDX] = (u32)c->gpr[R_RDX];
	if (n >= 8)
		CODE(c, 0x44, 0x0f, 0x22, (u8)(0xc2 | (n & 7) << 3), 0x44, 0x0f, 0x20, (u8)(0xc0 | (n & 7) << 3));
	else
		CODE(c, 0x0f, 0x22, (u8)(0xc2 | n << 3), 0x0f, 0x20, (u8)(0xc0 | n << 3));
}

// LMSW: every low nibble over every TS and EM.
void make_cr0_word(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned before = digit(&i, 4);

	case_init(c, e);
	c->cr0 = W_CR0 | (before & 1 ? CR0_TS : 0) | (before & 2 ? CR0_EM : 0);
	if (i & 1) {
		CODE(c, 0x0f, 0x01, 0x33); // LMSW [rbx]
		case_poke(c, c->gpr[R_RBX], i | 0xfff0, 2);
	} else {
		CODE(c, 0x0f, 0x01, 0xf2);
		c->gpr[R_RDX] = i | (c->gpr[R_RDX] & ~15ull);
	}
}

void make_dr(unsigned i, struct sys_case *c)
{
	static const u64 values[6] = {0, 0xffffdfff, 0x400, 0x100000000, 0xffff0ff0, 0x12345678 & ~0x2000};
	enum entry e = digit(&i, ENTRIES);
	unsigned write = digit(&i, 2), n = digit(&i, 8);

	case_init(c, e);
	if (i & 1)
		c->cr4 &= ~CR4_DE;
	c->gpr[R_RDX] = values[i];
	if (n == 7 || (n == 5 && (i & 1))) // nothing enabled that the code itself would hit
		c->gpr[R_RDX] &= ~0xffull | 0x100000000;
	for (unsigned k = 0; k < 4; k++)
		c->dr[k] = 0xffff800000000000 + k;
	CODE(c, 0x0f, write ? 0x23 : 0x21, (u8)(0xc2 | n << 3));
}

// SYSCALL by mask and flags, with SCE on and off. The stack is the kernel's: the handler's INT3 pushes there.
void make_syscall(unsigned i, struct sys_case *c)
{
	static const u64 masks[6] = {0, 0x47700, 0xffffffff, RFL_IF, RFL_FIXED | RFL_RF, 0xffffffff00000000};
	enum entry e = digit(&i, ENTRIES);

	case_init(c, e);
	c->sfmask = masks[digit(&i, 6)];
	c->flags = (flag_values[digit(&i, 8)] & (RFL_ARITH | RFL_IF | RFL_IOPL | RFL_NT | RFL_AC | RFL_ID | RFL_DF)) |
		   RFL_FIXED;
	if (i)
		c->efer &= ~EFER_SCE;
	c->gpr[R_RSP] = W_KSTACK + W_STACK_AT;
	CODE(c, 0x0f, 0x05);
}

void make_sysret(unsigned i, struct sys_case *c)
{
	static const u64 rcx[8] = {W_UCODE + 0x300,       W_KCODE + 0x300,    W_HOLE,
				   0x0000800000000000,    0xffff7fffffffffff, 0x00007fffffffffff,
				   0x100000000 + W_UCODE, 0xffff800000000000};
	enum entry e = digit(&i, ENTRIES);
	unsigned wide = digit(&i, 2);

	case_init(c, e);
	c->gpr[R_RCX] = rcx[digit(&i, 8)];
	c->gpr[R_R11] = i == 0 ? 0 : i == 1 ? ~RFL_TF : i == 2 ? RFL_IF | RFL_IOPL | RFL_NT : 0xffffffff00000000;
	if (i == 3)
		c->efer &= ~EFER_SCE;
	if (wide)
		CODE(c, 0x48, 0x0f, 0x07);
	else
		CODE(c, 0x0f, 0x07);
}

void make_sysenter(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned exit = digit(&i, 2);

	case_init(c, e);
	c->gpr[R_RSP] = W_KSTACK + W_STACK_AT;
	c->gpr[R_RCX] = W_USTACK + 0x900;
	c->gpr[R_RDX] = i == 4 ? 0x0000800000000000 : W_UCODE + 0x300;
	c->flags |= i & 1 ? RFL_IOPL | RFL_ARITH : 0;
	if (exit && (i & 2) && is64(e))
		CODE(c, 0x48, 0x0f, 0x35);
	else
		CODE(c, 0x0f, exit ? 0x35 : 0x34);
}

void make_bases(unsigned i, struct sys_case *c)
{
	static const u64 values[10] = {0,
				       1,
				       ~0ull,
				       0x00007fffffffffff,
				       0x0000800000000000,
				       0xffff7fffffffffff,
				       0xffff800000000000,
				       0x8000000000000000,
				       0x12345678,
				       W_DATA};
	static const struct op ops[8] = {
		{5, {0xf3, 0x48, 0x0f, 0xae, 0xd1}}, // WRFSBASE rcx
		{5, {0xf3, 0x48, 0x0f, 0xae, 0xd9}}, // WRGSBASE rcx
		{4, {0xf3, 0x0f, 0xae, 0xd1}},
		{4, {0xf3, 0x0f, 0xae, 0xd9}},
		{5, {0xf3, 0x48, 0x0f, 0xae, 0xc0}},
		{4, {0xf3, 0x0f, 0xae, 0xc8}}, // RDFSBASE rax, RDGSBASE eax
		{3, {0x0f, 0x01, 0xf8}},
		{4, {0x66, 0x65, 0x8b, 0x01}}, // SWAPGS; MOV ax, gs:[rcx]
	};
	enum entry e = digit(&i, ENTRIES);
	unsigned op = digit(&i, 8);

	case_init(c, e);
	c->gpr[R_RCX] = values[i];
	if (op >= 4)
		c->gs_base = values[i] & (is_canonical(values[i]) ? ~0ull : 0x7fffffffffff);
	if (op == 7)
		c->gpr[R_RCX] = values[9 - i];
	case_code(c, ops[op].n, ops[op].bytes);
}

// STAC, CLAC, then an access to a user page.
void make_smap(unsigned i, struct sys_case *c)
{
	enum entry e = digit(&i, ENTRIES);
	unsigned set = digit(&i, 2);

	case_init(c, e);
	c->flags |= i & 1 ? RFL_AC : 0;
	c->cr4 &= i & 2 ? ~CR4_SMAP : ~0ull;
	c->gpr[R_RBX] = W_DATA + 0x80;
	CODE(c, 0x0f, 0x01, set ? 0xcb : 0xca, 0x8b, 0x03);
}
