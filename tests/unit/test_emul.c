// SPDX-License-Identifier: MIT
// The emulator in long mode: a small flat world with GDT, IDT and TSS, and instructions given as bytes. What user-level
// instructions compute is checked against the machine by tests/diff; here it is faults, system state and delivery.
#include "core/emul/emul.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MEM_SIZE 0x40000u
#define CODE 0x1000u
#define DATA 0x8000u
#define GDT 0x10000u
#define IDT 0x11000u
#define TSS 0x13000u
#define STACK 0x20000u  // user
#define KSTACK 0x28000u // RSP0
#define IST1 0x2c000u
#define READONLY 0x3f000u // last page: writes fault
#define KCS 0x08
#define KSS 0x10
#define UCS 0x2b
#define USS 0x33
#define CS32 0x3b // user, compatibility
#define NPDATA 0x43
#define TSS_SEL 0x48

static u8 mem[MEM_SIZE];
static struct x86_cpu cpu;
static struct emul emul;
static u64 invlpg_at, cr_old, msr_value;
static bool pcid_offered;
static unsigned cr_seen, segments_seen, cmpxchg_refusals, last_kind;
static u8 xmm[16][16];

static enum emul_result page_fault(u64 at, bool write, struct x86_fault *f)
{
	*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .error = write ? PF_W : 0, .cr2 = at};
	return EMUL_FAULT;
}

static enum emul_result w_read(void *ctx, u64 at, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	last_kind = kind;
	if (at >= MEM_SIZE || at + len > MEM_SIZE)
		return page_fault(at, kind & EMUL_RMW, f);
	if ((kind & EMUL_RMW) && at + len > READONLY)
		return page_fault(at, true, f);
	memcpy(buf, mem + at, len);
	return EMUL_OK;
}

static enum emul_result w_write(void *ctx, u64 at, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	last_kind = kind;
	if (at + len > READONLY || at + len < at)
		return page_fault(at, true, f);
	memcpy(mem + at, buf, len);
	return EMUL_OK;
}

static enum emul_result w_cmpxchg(void *ctx, u64 at, void *old, const void *next, unsigned len, bool *done,
				  struct x86_fault *f)
{
	if (at + len > READONLY)
		return page_fault(at, true, f);
	if (cmpxchg_refusals) { // as if another CPU came first
		cmpxchg_refusals--;
		mem[at]++;
	}
	*done = !memcmp(mem + at, old, len);
	if (*done)
		memcpy(mem + at, next, len);
	else
		memcpy(old, mem + at, len);
	return EMUL_OK;
}

static enum emul_result w_fetch(void *ctx, u64 at, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	if (at >= MEM_SIZE)
		return page_fault(at, false, f);
	if (len > PAGE_SIZE - (at & PAGE_MASK))
		len = (unsigned)(PAGE_SIZE - (at & PAGE_MASK));
	memcpy(buf, mem + at, len);
	*got = len;
	return EMUL_OK;
}

static enum emul_result w_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	*value = 0x11111111u * port;
	return EMUL_OK;
}

static enum emul_result w_out(void *ctx, u16 port, unsigned len, u32 value)
{
	return EMUL_OK;
}

static enum emul_result w_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *f)
{
	if (msr == 0xbad) {
		*f = (struct x86_fault){.vector = VEC_GP, .has_error = true};
		return EMUL_FAULT;
	}
	*value = msr_value;
	return EMUL_OK;
}

static enum emul_result w_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *f)
{
	msr_value = value;
	return EMUL_OK;
}

static void w_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = leaf == 7 ? 0 : leaf + i;
	if (pcid_offered)
		out[leaf == 7 ? 1 : 2] |= leaf == 7 ? BIT(10) : leaf == 1 ? BIT(17) : 0;
}

static u64 w_rdtsc(void *ctx)
{
	return 0x123456789abcdefull;
}

static void w_cr(void *ctx, unsigned cr, u64 old)
{
	cr_seen = cr;
	cr_old = old;
}

static void w_segment(void *ctx, unsigned seg)
{
	segments_seen |= 1u << seg;
}

static void w_invlpg(void *ctx, u64 at)
{
	invlpg_at = at;
}

static void w_get_xmm(void *ctx, unsigned reg, u8 out[16])
{
	memcpy(out, xmm[reg], 16);
}

static void w_set_xmm(void *ctx, unsigned reg, const u8 in[16])
{
	memcpy(xmm[reg], in, 16);
}

// What the machine would be made to execute in ring 0.
static u8 native[16];
static unsigned native_len;

static enum emul_result w_native(void *ctx, const u8 *code, unsigned len, void *operand, u64 *gpr, u64 *flags, struct x86_fault *f)
{
	assert_in_range(len, 1, sizeof(native));
	memcpy(native, code, len);
	native_len = len;
	return EMUL_OK;
}

static const struct emul_ports ports = {
	.native = w_native,
	.read = w_read,
	.write = w_write,
	.cmpxchg = w_cmpxchg,
	.fetch = w_fetch,
	.in = w_in,
	.out = w_out,
	.rdmsr = w_rdmsr,
	.wrmsr = w_wrmsr,
	.cpuid = w_cpuid,
	.rdtsc = w_rdtsc,
	.cr_written = w_cr,
	.segment_loaded = w_segment,
	.invlpg = w_invlpg,
	.get_xmm = w_get_xmm,
	.set_xmm = w_set_xmm,
};

static void put(u64 at, u64 v)
{
	memcpy(mem + at, &v, 8);
}

static u64 got(u64 at)
{
	u64 v;

	memcpy(&v, mem + at, 8);
	return v;
}

static void gate(unsigned vector, u16 sel, u64 offset, unsigned ist, unsigned type_dpl_p)
{
	put(IDT + vector * 16, (offset & 0xffff) | (u64)sel << 16 | (u64)ist << 32 | (u64)type_dpl_p << 40 |
				       ((offset >> 16) & 0xffff) << 48);
	put(IDT + vector * 16 + 8, offset >> 32);
}

static void enter_ring(unsigned cpl)
{
	cpu.seg[SEG_CS] = (struct x86_segment){.selector = cpl ? UCS : KCS,
					       .limit = ~0u,
					       .attr = 0x9b | cpl << 5 | (u32)(SEG_ATTR_L | SEG_ATTR_G)};
	cpu.seg[SEG_SS] = (struct x86_segment){.selector = cpl ? USS : KSS,
					       .limit = ~0u,
					       .attr = 0x93 | cpl << 5 | (u32)(SEG_ATTR_DB | SEG_ATTR_G)};
}

static int world(void **state)
{
	memset(mem, 0, sizeof(mem));
	memset(&cpu, 0, sizeof(cpu));
	put(GDT + KCS, 0x00af9a000000ffff); // not accessed yet
	put(GDT + KSS, 0x00cf93000000ffff);
	put(GDT + (UCS & ~7), 0x00affb000000ffff);
	put(GDT + (USS & ~7), 0x00cff3000000ffff);
	put(GDT + (CS32 & ~7), 0x00cffb000000ffff);
	put(GDT + (NPDATA & ~7), 0x00cf73000000ffff);
	put(GDT + TSS_SEL, 0x0000890000000067 | (u64)TSS << 16);
	put(TSS + 4, KSTACK);
	put(TSS + 0x24, IST1);
	put(TSS + 0x66, 0x68); // no I/O map
	gate(3, KCS, 0xffffffff80001000, 0, 0xee);
	gate(13, KCS, 0x3000, 0, 0x8e);
	gate(14, KCS, 0x4000, 1, 0x8e);
	gate(0x80, KCS, 0x5000, 0, 0xef);
	gate(0x81, KCS, 0x5000, 0, 0x6e); // not present, DPL 3
	cpu.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
	cpu.cr4 = CR4_PAE | CR4_OSFXSR;
	cpu.efer = EFER_LME | EFER_LMA | EFER_SCE;
	cpu.rflags = RFL_FIXED | RFL_IF;
	cpu.gdtr = (struct x86_table){GDT, 0x57};
	cpu.idtr = (struct x86_table){IDT, 0xfff};
	cpu.tr = (struct x86_segment){.selector = TSS_SEL, .attr = 0x8b, .limit = 0x67, .base = TSS};
	cpu.ldtr.attr = SEG_ATTR_UNUSABLE;
	for (unsigned i = 0; i < 6; i++)
		cpu.seg[i].attr = SEG_ATTR_UNUSABLE;
	enter_ring(0);
	cpu.gpr[R_RSP] = STACK;
	emul = (struct emul){.cpu = &cpu, .ports = &ports};
	cr_seen = 99;
	cmpxchg_refusals = segments_seen = 0;
	return 0;
}

static enum emul_result run_at(u64 at, const char *bytes, unsigned len)
{
	memcpy(mem + at, bytes, len);
	cpu.rip = at;
	return emul_step(&emul);
}

#define RUN(s) run_at(CODE, s, sizeof(s) - 1)
#define OK(s)                                                    \
	do {                                                     \
		assert_int_equal(RUN(s), EMUL_OK);               \
		assert_int_equal(cpu.rip, CODE + sizeof(s) - 1); \
	} while (0)
#define FAULTS(s, vec, err)                                     \
	do {                                                    \
		struct x86_cpu before = cpu;                    \
		assert_int_equal(RUN(s), EMUL_FAULT);           \
		assert_int_equal(emul.fault.vector, vec);       \
		assert_int_equal(emul.fault.error, err);        \
		before.rip = CODE;                              \
		assert_memory_equal(&before, &cpu, sizeof cpu); \
	} while (0)

static void test_basics(void **state)
{
	OK("\x48\xc7\xc0\xff\xff\xff\xff"); // mov $-1, %rax
	assert_int_equal(cpu.gpr[R_RAX], ~0ull);
	OK("\x83\xc0\x01"); // add $1, %eax
	assert_int_equal(cpu.gpr[R_RAX], 0);
	assert_int_equal(cpu.rflags & RFL_ARITH, RFL_CF | RFL_ZF | RFL_PF | RFL_AF);
	cpu.gpr[R_RBX] = DATA;
	OK("\xc6\x43\x08\x5a"); // movb $0x5a, 8(%rbx)
	assert_int_equal(mem[DATA + 8], 0x5a);
	OK("\x0f\xb6\x73\x08"); // movzbl 8(%rbx), %esi
	assert_int_equal(cpu.gpr[R_RSI], 0x5a);
	OK("\x50"); // push %rax
	assert_int_equal(cpu.gpr[R_RSP], STACK - 8);
	OK("\x8f\x44\x24\x10"); // pop 16(%rsp): the new RSP
	assert_int_equal(cpu.gpr[R_RSP], STACK);
	assert_int_equal(RUN("\xe8\x10\x00\x00\x00"), EMUL_OK); // call +16
	assert_int_equal(cpu.rip, CODE + 0x15);
	assert_int_equal(got(STACK - 8), CODE + 5);
}

static void test_faults_change_nothing(void **state)
{
	cpu.gpr[R_RBX] = READONLY;
	cpu.gpr[R_RCX] = 0x8000000000000000;
	cpu.gpr[R_RDI] = 0xbad;
	FAULTS("\x01\x03", VEC_PF, PF_W);     // add %eax, (%rbx)
	FAULTS("\xf0\x01\x03", VEC_PF, PF_W); // lock
	FAULTS("\x87\x03", VEC_PF, PF_W);     // xchg
	FAULTS("\x8b\x01", VEC_GP, 0);        // non-canonical
	FAULTS("\x36\x8b\x01", VEC_GP, 0);    // an SS prefix does not count
	FAULTS("\xff\xe1", VEC_GP, 0);        // jmp *%rcx
	FAULTS("\xf7\xf2", VEC_DE, 0);        // div %edx
	FAULTS("\xf0\x89\x03", VEC_UD, 0);    // lock mov
	FAULTS("\xf0\x01\xc3", VEC_UD, 0);    // lock with a register
	FAULTS("\x0f\x0b", VEC_UD, 0);
	FAULTS("\x0f\x33", VEC_GP, 0); // rdpmc
	FAULTS("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", VEC_GP, 0);
	cpu.gpr[R_RSP] = 0x8000000000000000;
	FAULTS("\x50", VEC_SS, 0);
	cpu.gpr[R_RSP] = READONLY + 16;
	FAULTS("\xff\x33", VEC_PF, PF_W);
	cpu.gpr[R_RCX] = 0xbad;
	FAULTS("\x0f\x32", VEC_GP, 0); // rdmsr
}

static void test_fetch_across_pages(void **state)
{
	run_at(0x1ffe, "\x48\xc7\xc0\x12\x00\x00\x00", 7);
	assert_int_equal(cpu.gpr[R_RAX], 0x12);
	assert_int_equal(cpu.rip, 0x2005);
	cpu.rip = MEM_SIZE - 2;
	memcpy(mem + MEM_SIZE - 2, "\x48\xc7", 2);
	assert_int_equal(emul_step(&emul), EMUL_FAULT);
	assert_int_equal(emul.fault.cr2, MEM_SIZE);
}

static void test_lock_loop(void **state)
{
	cpu.gpr[R_RBX] = DATA;
	put(DATA, 10);
	cmpxchg_refusals = 3;
	OK("\xf0\x83\x03\x05"); // lock addl $5, (%rbx)
	assert_int_equal(got(DATA), 18);
	cmpxchg_refusals = ~0u;
	assert_int_equal(RUN("\xf0\x83\x03\x05"), EMUL_RETRY);
	assert_int_equal(cpu.rip, CODE);
	cmpxchg_refusals = 0;
	cpu.gpr[R_RAX] = got(DATA);
	cpu.gpr[R_RCX] = 77;
	OK("\xf0\x48\x0f\xb1\x0b"); // lock cmpxchg %rcx, (%rbx)
	assert_int_equal(got(DATA), 77);
	OK("\xf0\x48\x0f\xb1\x0b");
	assert_false(cpu.rflags & RFL_ZF);
	assert_int_equal(cpu.gpr[R_RAX], 77);
	cpu.gpr[R_RBX] = DATA + 8;
	FAULTS("\xf0\x48\x0f\xc7\x0b", VEC_GP, 0); // cmpxchg16b, misaligned
}

static void test_strings(void **state)
{
	for (unsigned i = 0; i < 10000; i++)
		mem[DATA + i] = (u8)(i * 7);
	cpu.gpr[R_RSI] = DATA;
	cpu.gpr[R_RDI] = 0x30000;
	cpu.gpr[R_RCX] = 10000;
	assert_int_equal(RUN("\xf3\xa4"), EMUL_RETRY); // rep movsb, in bounded pieces
	assert_int_equal(cpu.rip, CODE);
	assert_int_equal(cpu.gpr[R_RCX], 10000 - 4096);
	assert_int_equal(RUN("\xf3\xa4"), EMUL_RETRY);
	OK("\xf3\xa4");
	assert_int_equal(cpu.gpr[R_RCX], 0);
	assert_memory_equal(mem + 0x30000, mem + DATA, 10000);
	cpu.gpr[R_RDI] = READONLY - 16;
	cpu.gpr[R_RCX] = 5;
	assert_int_equal(RUN("\xf3\x48\xab"), EMUL_FAULT); // rep stosq keeps its progress
	assert_int_equal(cpu.gpr[R_RCX], 3);
	assert_int_equal(cpu.gpr[R_RDI], READONLY);
	assert_int_equal(cpu.rip, CODE);
	cpu.gpr[R_RDX] = 3;
	cpu.gpr[R_RDI] = DATA;
	OK("\x6d"); // insl
	assert_int_equal((u32)got(DATA), 0x33333333);
}

static void test_privilege(void **state)
{
	enter_ring(3);
	FAULTS("\xfa", VEC_GP, 0);         // cli
	FAULTS("\xfb", VEC_GP, 0);         // sti
	FAULTS("\xf4", VEC_GP, 0);         // hlt
	FAULTS("\x0f\x32", VEC_GP, 0);     // rdmsr
	FAULTS("\x0f\x22\xd8", VEC_GP, 0); // mov %rax, %cr3
	FAULTS("\x0f\x20\xc0", VEC_GP, 0); // mov %cr0, %rax
	FAULTS("\x0f\x23\xf8", VEC_GP, 0); // mov %rax, %dr7
	FAULTS("\x0f\x01\x10", VEC_GP, 0); // lgdt
	FAULTS("\x0f\x01\xf8", VEC_GP, 0); // swapgs
	FAULTS("\x48\x0f\x07", VEC_GP, 0); // sysretq
	FAULTS("\x0f\x01\xca", VEC_UD, 0); // clac
	FAULTS("\x0f\x06", VEC_GP, 0);     // clts
	FAULTS("\x0f\x09", VEC_GP, 0);     // wbinvd
	FAULTS("\x0f\x01\x3b", VEC_GP, 0); // invlpg
	FAULTS("\xe4\x60", VEC_GP, 0);     // in: no bitmap in the TSS
	cpu.cr4 |= CR4_UMIP;
	FAULTS("\x0f\x01\xe0", VEC_GP, 0); // smsw
	cpu.cr4 |= CR4_TSD;
	FAULTS("\x0f\x31", VEC_GP, 0); // rdtsc
	cpu.gpr[R_RAX] = 0;
	assert_int_equal(run_at(CODE, "\x9d", 1), EMUL_OK); // popf: IF and IOPL stay
	assert_int_equal(cpu.rflags, RFL_FIXED | RFL_IF);
}

static u64 hypercall(void *ctx)
{
	return cpu.gpr[R_RAX] + 1;
}

static void test_hypercall(void **state)
{
	struct emul_ports with = ports;

	FAULTS("\x0f\x01\xc1", VEC_UD, 0); // vmcall
	FAULTS("\x0f\x01\xd9", VEC_UD, 0); // vmmcall
	with.hypercall = hypercall;
	emul.ports = &with;
	cpu.gpr[R_RAX] = 9;
	OK("\x0f\x01\xc1");
	OK("\x0f\x01\xd9");
	assert_int_equal(cpu.gpr[R_RAX], 11);
	enter_ring(3);
	FAULTS("\x0f\x01\xc1", VEC_UD, 0);
	emul.ports = &ports;
}

static void test_interrupt_flag(void **state)
{
	OK("\xfa");
	assert_false(cpu.rflags & RFL_IF);
	OK("\xfb");
	assert_true(cpu.interrupt_shadow);
	OK("\x90");
	assert_false(cpu.interrupt_shadow);
	OK("\xfb");
	assert_false(cpu.interrupt_shadow); // was on already
	assert_int_equal(RUN("\xf4"), EMUL_HALT);
	assert_true(cpu.halted);
	assert_int_equal(cpu.rip, CODE + 1);
}

static void invpcid(unsigned type, u64 pcid, u64 linear)
{
	cpu.gpr[R_RAX] = type;
	cpu.gpr[R_RBX] = DATA;
	put(DATA, pcid);
	put(DATA + 8, linear);
	cr_seen = 0;
	invlpg_at = 0;
}

#define INVPCID "\x66\x0f\x38\x82\x03" // [rbx], rax

// Which flush each type becomes, and what is refused.
static void test_pcid(void **state)
{
	invpcid(2, 0, 0);
	FAULTS(INVPCID, VEC_UD, 0); // not offered
	pcid_offered = true;
	invpcid(1, 5, 0);
	FAULTS(INVPCID, VEC_GP, 0); // no PCIDs yet
	cpu.cr3 = 0x5000;
	cpu.gpr[R_RAX] = 0x5000 | BIT(63);
	FAULTS("\x0f\x22\xd8", VEC_GP, 0);
	cpu.cr3 = 0x5018;
	cpu.gpr[R_RAX] = cpu.cr4 | CR4_PCIDE;
	FAULTS("\x0f\x22\xe0", VEC_GP, 0);
	cpu.cr3 = 0x5000;
	OK("\x0f\x22\xe0");
	cpu.gpr[R_RAX] = 0x6007 | BIT(63);
	OK("\x0f\x22\xd8");
	assert_int_equal(cpu.cr3, 0x6007);
	invpcid(0, 7, 0x7123);
	OK(INVPCID);
	assert_int_equal(invlpg_at, 0x7123);
	assert_int_equal(cr_seen, 0);
	for (unsigned type = 1; type < 4; type++) {
		invpcid(type, type == 1 ? 9 : ~0ull, 0);
		OK(INVPCID);
		assert_int_equal(cr_seen, type == 2 ? 4 : 3); // global entries too: as CR4.PGE
		assert_true(type != 2 || ((cr_old ^ cpu.cr4) == CR4_PGE));
	}
	invpcid(4, 0, 0);
	FAULTS(INVPCID, VEC_GP, 0);
	invpcid(0, 0x1007, 0);
	FAULTS(INVPCID, VEC_GP, 0);
	invpcid(0, 7, 0x8000000000000000);
	FAULTS(INVPCID, VEC_GP, 0);
	cpu.gpr[R_RAX] = cpu.cr0 & ~CR0_PG;
	FAULTS("\x0f\x22\xc0", VEC_GP, 0);
	enter_ring(3);
	invpcid(2, 0, 0);
	FAULTS(INVPCID, VEC_GP, 0);
	pcid_offered = false;
}

static void test_control_registers(void **state)
{
	cpu.gpr[R_RAX] = 0x12345000;
	OK("\x0f\x22\xd8");
	assert_int_equal(cpu.cr3, 0x12345000);
	assert_int_equal(cr_seen, 3);
	cpu.gpr[R_RAX] = cpu.cr0 & ~CR0_PG;
	FAULTS("\x0f\x22\xc0", VEC_GP, 0);
	cpu.gpr[R_RAX] = cpu.cr4 | CR4_SMEP; // not in our CPUID
	FAULTS("\x0f\x22\xe0", VEC_GP, 0);
	cpu.gpr[R_RAX] = cpu.cr4 & ~CR4_PAE;
	FAULTS("\x0f\x22\xe0", VEC_GP, 0);
	cpu.gpr[R_RAX] = cpu.cr4 | CR4_PGE;
	OK("\x0f\x22\xe0");
	assert_int_equal(cr_old, cpu.gpr[R_RAX] & ~CR4_PGE);
	cpu.gpr[R_RBX] = 0x7123;
	OK("\x0f\x01\x3b");
	assert_int_equal(invlpg_at, 0x7123);
	cpu.kernel_gs_base = 0xffff888000000000;
	cpu.seg[SEG_GS].base = 0x7000;
	OK("\x0f\x01\xf8");
	assert_int_equal(cpu.seg[SEG_GS].base, 0xffff888000000000);
	assert_int_equal(cpu.kernel_gs_base, 0x7000);
	cpu.seg[SEG_GS].base = DATA;
	put(DATA + 0x10, 0x4242);
	OK("\x65\x48\x8b\x04\x25\x10\x00\x00\x00"); // mov %gs:0x10, %rax
	assert_int_equal(cpu.gpr[R_RAX], 0x4242);
	cpu.gpr[R_RAX] = 0x400;
	OK("\x0f\x23\xf8");
	assert_int_equal(cpu.dr[7], 0x400);
}

static void test_segments(void **state)
{
	cpu.gpr[R_RAX] = USS;
	OK("\x8e\xd8"); // mov %eax, %ds
	assert_int_equal(cpu.seg[SEG_DS].selector, USS);
	assert_true(segments_seen & 1 << SEG_DS);
	OK("\x8c\xd9"); // mov %ds, %ecx
	assert_int_equal(cpu.gpr[R_RCX], USS);
	FAULTS("\x8e\xd0", VEC_GP, USS & ~3); // SS: wrong privilege
	cpu.gpr[R_RAX] = NPDATA;
	FAULTS("\x8e\xe8", VEC_NP, NPDATA & ~3);
	cpu.gpr[R_RAX] = 0x100;
	FAULTS("\x8e\xe8", VEC_GP, 0x100);
	cpu.gpr[R_RAX] = KSS;
	OK("\x8e\xd0");
	assert_true(cpu.interrupt_shadow);
	cpu.gpr[R_RAX] = 0;
	OK("\x8e\xd0"); // null SS is legal in ring 0
	assert_int_equal(cpu_cpl(&cpu), 0);
	cpu.gpr[R_RAX] = TSS_SEL;
	OK("\x0f\x00\xd8"); // ltr
	assert_int_equal(cpu.tr.base, TSS);
	assert_int_equal(mem[GDT + TSS_SEL + 5], 0x8b);
	FAULTS("\x0f\x00\xd8", VEC_GP, TSS_SEL); // busy now
	cpu.gpr[R_RAX] = UCS;
	OK("\x0f\x02\xc8"); // lar
	assert_int_equal(cpu.gpr[R_RCX], 0xa0fb00);
	assert_true(cpu.rflags & RFL_ZF);
	OK("\x0f\x03\xc8"); // lsl
	assert_int_equal(cpu.gpr[R_RCX], 0xffffffff);
	cpu.gpr[R_RBX] = DATA;
	OK("\x0f\x01\x03"); // sgdt
	assert_int_equal(mem[DATA], 0x57);
	assert_int_equal(got(DATA + 2), GDT);
}

static void test_deliver(void **state)
{
	struct x86_fault pf = {.vector = VEC_PF, .has_error = true, .error = 6, .cr2 = 0x1234};

	enter_ring(3);
	cpu.rip = 0x7777;
	cpu.rflags |= RFL_TF;
	assert_int_equal(emul_deliver(&emul, &pf, false, false), EMUL_OK);
	assert_int_equal(cpu.rip, 0x4000);
	assert_int_equal(cpu.cr2, 0x1234);
	assert_int_equal(cpu_cpl(&cpu), 0);
	assert_int_equal(cpu.seg[SEG_SS].selector, 0);
	assert_int_equal(cpu.gpr[R_RSP], IST1 - 48);
	assert_int_equal(got(IST1 - 48), 6);
	assert_int_equal(got(IST1 - 40), 0x7777);
	assert_int_equal(got(IST1 - 32), UCS);
	assert_int_equal(got(IST1 - 24), RFL_FIXED | RFL_IF | RFL_TF | RFL_RF);
	assert_int_equal(got(IST1 - 16), STACK);
	assert_int_equal(got(IST1 - 8), USS);
	assert_int_equal(cpu.rflags, RFL_FIXED);
	assert_int_equal(mem[GDT + KCS + 5], 0x9b); // accessed
	cpu.gpr[R_RSP] += 8;
	assert_int_equal(RUN("\x48\xcf"), EMUL_OK); // iretq
	assert_int_equal(cpu.rip, 0x7777);
	assert_int_equal(cpu_cpl(&cpu), 3);
	assert_int_equal(cpu.gpr[R_RSP], STACK);
	assert_int_equal(cpu.rflags, RFL_FIXED | RFL_IF | RFL_TF | RFL_RF);
}

static void test_software_interrupts(void **state)
{
	enter_ring(3);
	assert_int_equal(RUN("\xcd\x80"), EMUL_OK);
	assert_int_equal(cpu.rip, 0x5000);
	assert_int_equal(cpu.gpr[R_RSP], KSTACK - 40);
	assert_int_equal(got(KSTACK - 40), CODE + 2);
	assert_true(cpu.rflags & RFL_IF); // trap gate
	enter_ring(3);
	FAULTS("\xcd\x0d", VEC_GP, 13 << 3 | 2); // gate of ring 0
	FAULTS("\xcd\x81", VEC_NP, 0x81 << 3 | 2);
	assert_int_equal(RUN("\xcc"), EMUL_OK);
	assert_int_equal(cpu.rip, 0xffffffff80001000);
	cpu.idtr.limit = 0x10;
	FAULTS("\xcc", VEC_GP, 3 << 3 | 2);
	put(TSS + 4, 0x8000000000000000);
	cpu.idtr.limit = 0xfff;
	enter_ring(3);
	FAULTS("\xcd\x80", VEC_SS, 0);
}

static void test_iret_checks(void **state)
{
	u64 frame[5] = {0x6000, UCS, RFL_IF | RFL_IOPL, STACK, USS};

	cpu.gpr[R_RSP] = DATA;
	frame[0] = 0x8000000000000000;
	memcpy(mem + DATA, frame, 40);
	FAULTS("\x48\xcf", VEC_GP, 0);
	frame[0] = 0x6000;
	frame[4] = 0; // null SS for ring 3
	memcpy(mem + DATA, frame, 40);
	FAULTS("\x48\xcf", VEC_GP, 0);
	frame[4] = KSS;
	memcpy(mem + DATA, frame, 40);
	FAULTS("\x48\xcf", VEC_GP, KSS);
	frame[1] = CS32;
	frame[4] = USS;
	frame[0] = 0x6000;
	memcpy(mem + DATA, frame, 40);
	cpu.seg[SEG_DS].attr = 0x93; // ring 0 data must not survive
	assert_int_equal(RUN("\x48\xcf"), EMUL_OK);
	assert_false(cpu_long_mode(&cpu));
	assert_true(cpu.seg[SEG_DS].attr & SEG_ATTR_UNUSABLE);
	assert_int_equal(cpu.rflags & RFL_IOPL, RFL_IOPL);
	memcpy(mem + 0x6000, "\x48\x90", 2); // dec %eax here
	cpu.gpr[R_RAX] = 5;
	assert_int_equal(emul_step(&emul), EMUL_OK);
	assert_int_equal(cpu.gpr[R_RAX], 4);
	assert_int_equal(cpu.rip, 0x6001);
}

static void test_syscall(void **state)
{
	cpu.star = (u64)0x23 << 48 | (u64)KCS << 32;
	cpu.lstar = 0xffffffff81000000;
	cpu.sfmask = RFL_IF | RFL_DF;
	enter_ring(3);
	cpu.rflags |= RFL_CF;
	assert_int_equal(RUN("\x0f\x05"), EMUL_OK);
	assert_int_equal(cpu.rip, cpu.lstar);
	assert_int_equal(cpu.gpr[R_RCX], CODE + 2);
	assert_int_equal(cpu.gpr[R_R11], RFL_FIXED | RFL_IF | RFL_CF);
	assert_int_equal(cpu.rflags, RFL_FIXED | RFL_CF);
	assert_int_equal(cpu.seg[SEG_CS].selector, KCS);
	assert_int_equal(cpu_cpl(&cpu), 0);
	assert_int_equal(RUN("\x48\x0f\x07"), EMUL_OK);
	assert_int_equal(cpu.rip, CODE + 2);
	assert_int_equal(cpu.seg[SEG_CS].selector, 0x33);
	assert_int_equal(cpu.seg[SEG_SS].selector, 0x2b);
	assert_int_equal(cpu_cpl(&cpu), 3);
	enter_ring(0);
	cpu.gpr[R_RCX] = 0x8000000000000000;
	FAULTS("\x48\x0f\x07", VEC_GP, 0);
}

static void test_far(void **state)
{
	u16 sel = CS32;

	enter_ring(3);
	cpu.gpr[R_RBX] = DATA;
	put(DATA, 0x6000);
	memcpy(mem + DATA + 4, &sel, 2);
	assert_int_equal(RUN("\xff\x2b"), EMUL_OK); // ljmpl *(%rbx): to compatibility mode
	assert_int_equal(cpu.rip, 0x6000);
	assert_false(cpu_long_mode(&cpu));
	cpu.seg[SEG_DS] = cpu.seg[SEG_SS];
	assert_int_equal(run_at(0x6000, "\xea\x00\x70\x00\x00\x2b\x00", 7), EMUL_OK); // and back
	assert_true(cpu_long_mode(&cpu));
	assert_int_equal(cpu.rip, 0x7000);
	put(DATA, 0x6000);
	sel = UCS;
	memcpy(mem + DATA + 8, &sel, 2);
	assert_int_equal(RUN("\x48\xff\x1b"), EMUL_OK); // lcallq
	assert_int_equal(cpu.rip, 0x6000);
	assert_int_equal(RUN("\x48\xcb"), EMUL_OK); // lretq
	assert_int_equal(cpu.rip, CODE + 3);
	assert_int_equal(cpu.gpr[R_RSP], STACK);
	sel = KCS;
	memcpy(mem + DATA + 8, &sel, 2);
	FAULTS("\x48\xff\x1b", VEC_GP, KCS);
}

static void test_sse_moves(void **state)
{
	for (unsigned i = 0; i < 16; i++)
		mem[DATA + i] = (u8)i;
	cpu.gpr[R_RBX] = DATA;
	OK("\x0f\x10\x0b"); // movups (%rbx), %xmm1
	assert_memory_equal(xmm[1], mem + DATA, 16);
	OK("\x66\x0f\xe7\x4b\x10"); // movntdq %xmm1, 16(%rbx)
	assert_memory_equal(mem + DATA + 16, mem + DATA, 16);
	FAULTS("\x0f\x29\x4b\x11", VEC_GP, 0); // movaps, misaligned
	cpu.cr0 |= CR0_TS;
	FAULTS("\x0f\x10\x0b", VEC_NM, 0);
}

#define NATIVE(s, bytes)                                         \
	do {                                                     \
		OK(s);                                           \
		assert_int_equal(native_len, sizeof(bytes) - 1); \
		assert_memory_equal(native, bytes, native_len);  \
	} while (0)

// Only whole instructions may go to the machine: one that took what stands behind it for a part of itself would run on there.
static void test_native_encoding(void **state)
{
	cpu.gpr[R_RBX] = DATA;
	cpu.gpr[R_R9] = DATA;
	NATIVE("\x0f\x58\x4b\x10", "\x0f\x58\x08");                     // addps 16(%rbx), %xmm1
	NATIVE("\x66\x45\x0f\x70\x11\x1b", "\x66\x44\x0f\x70\x10\x1b"); // pshufd $27, (%r9), %xmm10
	NATIVE("\x66\x0f\x78\xc1\x05\x07", "\x66\x0f\x78\xc1\x05\x07"); // extrq $7, $5, %xmm1: two immediates
	NATIVE("\xf2\x0f\x78\xca\x05\x07", "\xf2\x0f\x78\xca\x05\x07"); // insertq $7, $5, %xmm2, %xmm1
	NATIVE("\xd8\x43\x08", "\xd8\x00");                             // fadds 8(%rbx)
	NATIVE("\xd9\xe8", "\xd9\xe8");                                 // fld1
	NATIVE("\xf2\x0f\x2c\x03", "\xf2\x0f\x2c\x08");             // cvttsd2si (%rbx), %eax: general registers become RCX
	NATIVE("\x66\x44\x0f\xd7\xc9", "\x66\x40\x0f\xd7\xc9");     // pmovmskb %xmm1, %r9d
	NATIVE("\x66\x41\x0f\xc4\xd1\x03", "\x66\x40\x0f\xc4\xd1\x03"); // pinsrw $3, %r9d, %xmm2
}

static void test_escalation(void **state)
{
	assert_int_equal(emul_escalate(VEC_GP, VEC_NP), EMUL_DOUBLE);
	assert_int_equal(emul_escalate(VEC_GP, VEC_PF), EMUL_SERIAL);
	assert_int_equal(emul_escalate(VEC_PF, VEC_PF), EMUL_DOUBLE);
	assert_int_equal(emul_escalate(VEC_PF, VEC_GP), EMUL_DOUBLE);
	assert_int_equal(emul_escalate(VEC_UD, VEC_GP), EMUL_SERIAL);
	assert_int_equal(emul_escalate(VEC_DF, VEC_PF), EMUL_TRIPLE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, world)
	const struct CMUnitTest tests[] = {
		T(test_basics),
		T(test_faults_change_nothing),
		T(test_fetch_across_pages),
		T(test_lock_loop),
		T(test_strings),
		T(test_privilege),
		T(test_hypercall),
		T(test_interrupt_flag),
		T(test_control_registers),
		T(test_pcid),
		T(test_segments),
		T(test_deliver),
		T(test_software_interrupts),
		T(test_iret_checks),
		T(test_syscall),
		T(test_far),
		T(test_sse_moves),
		T(test_native_encoding),
		T(test_escalation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
