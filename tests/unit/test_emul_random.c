// SPDX-License-Identifier: MIT
// Random instructions in random states with ports that fail at random: nothing may crash, trip a sanitizer or panic, and
// what faults must have changed nothing (REP strings keep their progress; CR2 and DR6 report faults).
#include "core/emul/emul.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <Zydis/Zydis.h>
#include <cmocka.h>

#define ROUNDS 400000

static u64 rng;
static struct x86_cpu cpu;
static struct emul emul;
static u8 code[15];
static bool failing; // ports may fail
static u8 xmm[16];

static u64 draw(void)
{
	u64 z = rng += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static enum emul_result maybe(struct x86_fault *f, u64 at)
{
	if (!failing || draw() % 6)
		return EMUL_OK;
	if (draw() % 8 == 0)
		return EMUL_RETRY;
	*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .cr2 = at};
	return EMUL_FAULT;
}

static enum emul_result r_read(void *ctx, u64 at, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	u64 v[8];

	assert_in_range(len, 1, 64);
	for (unsigned i = 0; i < 8; i++)
		v[i] = draw() % 3 ? draw() : 0x00cf9b000000ffff | (draw() & 0xff00ull) << 32; // descriptors, sometimes
	memcpy(buf, v, len);
	return maybe(f, at);
}

static enum emul_result r_write(void *ctx, u64 at, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	u8 copy[64];

	assert_in_range(len, 1, 64);
	memcpy(copy, buf, len);
	return maybe(f, at);
}

static enum emul_result r_cmpxchg(void *ctx, u64 at, void *old, const void *next, unsigned len, bool *done,
				  struct x86_fault *f)
{
	u8 copy[16];

	assert_in_range(len, 1, 16);
	memcpy(copy, next, len);
	*done = draw() & 1;
	if (!*done)
		memset(old, (int)draw(), len);
	return maybe(f, at);
}

static enum emul_result r_fetch(void *ctx, u64 at, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	memcpy(buf, code + (sizeof(code) - len), len);
	*got = failing && draw() % 16 == 0 ? 1 + (unsigned)(draw() % len) : len;
	return EMUL_OK;
}

static enum emul_result r_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	*value = (u32)draw();
	return draw() % 8 ? EMUL_OK : EMUL_RETRY;
}

static enum emul_result r_out(void *ctx, u16 port, unsigned len, u32 value)
{
	return draw() % 8 ? EMUL_OK : EMUL_RETRY;
}

static enum emul_result r_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *f)
{
	*value = draw();
	return maybe(f, 0);
}

static enum emul_result r_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *f)
{
	return maybe(f, 0);
}

static void r_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = (u32)draw();
}

static u64 r_rdtsc(void *ctx)
{
	return draw();
}

static void r_get_xmm(void *ctx, unsigned reg, u8 out[16])
{
	assert_in_range(reg, 0, 15);
	memcpy(out, xmm, 16);
}

static void r_set_xmm(void *ctx, unsigned reg, const u8 in[16])
{
	assert_in_range(reg, 0, 15);
	memcpy(xmm, in, 16);
}

static const struct emul_ports ports = {
	.read = r_read,
	.write = r_write,
	.cmpxchg = r_cmpxchg,
	.fetch = r_fetch,
	.in = r_in,
	.out = r_out,
	.rdmsr = r_rdmsr,
	.wrmsr = r_wrmsr,
	.cpuid = r_cpuid,
	.rdtsc = r_rdtsc,
	.get_xmm = r_get_xmm,
	.set_xmm = r_set_xmm,
};

static void random_segment(struct x86_segment *s, bool code_segment, unsigned dpl)
{
	static const u32 data[] = {0x93, 0x91, 0x97, 0xc093, 0x10000, 0xc09b};

	s->selector = (u16)draw();
	s->base = draw() % 2 ? 0 : (u32)draw();
	s->limit = draw() % 3 ? 0xffffffff : (u32)draw();
	s->attr = code_segment ? 0x9b : data[draw() % 6];
	s->attr |= dpl << 5;
}

static void random_state(void)
{
	unsigned mode = (unsigned)(draw() % 4), cpl = mode == 0 ? 0 : (unsigned)(draw() % 2 ? 0 : 3);

	memset(&cpu, 0, sizeof(cpu));
	for (unsigned i = 0; i < 16; i++)
		cpu.gpr[i] = draw() % 4 ? draw() % 0x10000 : draw();
	cpu.rflags = (draw() & 0x3f7fd5) | RFL_FIXED;
	if (mode == 3 || mode == 0)
		cpu.rflags &= ~RFL_VM;
	for (unsigned i = 0; i < 6; i++)
		random_segment(&cpu.seg[i], i == SEG_CS, cpl);
	cpu.cr0 = mode ? CR0_PE | CR0_PG | (draw() & (CR0_TS | CR0_EM)) : CR0_ET;
	cpu.cr4 = draw() & 0x7f07ff;
	if (mode == 3)
		cpu.efer = EFER_LMA | EFER_LME | EFER_SCE;
	if (mode == 3 && draw() % 4)
		cpu.seg[SEG_CS].attr |= (u32)SEG_ATTR_L;
	else if (mode != 1)
		cpu.seg[SEG_CS].attr |= (u32)SEG_ATTR_DB;
	cpu.seg[SEG_CS].base = 0;
	cpu.seg[SEG_CS].limit = ~0u;
	cpu.rip = draw() % 0x8000;
	cpu.gdtr.limit = cpu.idtr.limit = 0xffff;
	cpu.tr = (struct x86_segment){.attr = 0x8b, .limit = (u32)(draw() % 0x100)};
	cpu.ldtr.attr = draw() % 2 ? 0x82 : (u32)SEG_ATTR_UNUSABLE;
	cpu.ldtr.limit = 0xffff;
	cpu.dr[7] = draw() % 8 ? 0x400 : 0x2400;
	cpu.star = draw();
	cpu.lstar = draw();
	cpu.sysenter_cs = draw() % 2 ? 0x10 : 0;
}

static void random_code(void)
{
	static const u8 prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x64, 0x2e, 0x41};
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (u8)draw();
	while (draw() % 3 == 0 && n < 4)
		code[n++] = prefixes[draw() % sizeof(prefixes)];
	if (draw() % 2)
		code[n++] = 0x0f;
	if (draw() % 4 == 0)
		code[n] = (u8[]){
			0xff, 0xcf, 0xcb, 0xca, 0x9a, 0xea, 0xcd, 0x01, 0x00, 0x8e, 0xc7, 0x07, 0x05}[draw() % 13];
}

static bool is_string(void)
{
#define S(n)                        \
	case ZYDIS_MNEMONIC_##n##B: \
	case ZYDIS_MNEMONIC_##n##W: \
	case ZYDIS_MNEMONIC_##n##D
	switch (emul.mnemonic) {
		S(MOVS)
		    : S(CMPS)
		    : S(SCAS)
		    : S(LODS)
		    : S(STOS)
		    : S(INS)
		    : S(OUTS)
		    : case ZYDIS_MNEMONIC_MOVSQ : case ZYDIS_MNEMONIC_CMPSQ : case ZYDIS_MNEMONIC_SCASQ
		    : case ZYDIS_MNEMONIC_LODSQ : case ZYDIS_MNEMONIC_STOSQ : return true;
	default:
		return false;
	}
#undef S
}

// Compares what a fault must leave alone.
static bool unchanged(struct x86_cpu *before)
{
	bool repeat = false;

	for (unsigned i = 0; i < 5; i++)
		repeat |= code[i] == 0xf2 || code[i] == 0xf3;
	before->cr2 = cpu.cr2;
	before->dr[6] = cpu.dr[6];
	if (repeat && is_string()) {
		memcpy(before->gpr, cpu.gpr, sizeof(cpu.gpr));
		before->rflags = cpu.rflags;
	}
	return !memcmp(before, &cpu, sizeof(cpu));
}

static void report(enum emul_result r, const struct x86_cpu *before)
{
	print_message("result %d vector %u mnemonic %u cpl %u mode %s:", r, emul.fault.vector, emul.mnemonic,
		      cpu_cpl(before), cpu_long_mode(before) ? "64" : "legacy");
	for (unsigned i = 0; i < sizeof(code); i++)
		print_message(" %02x", code[i]);
	for (unsigned i = 0; i < sizeof(cpu) / 8; i++)
		if (((const u64 *)before)[i] != ((u64 *)&cpu)[i])
			print_message(" [%u]", i);
	print_message("\n");
}

static void test_random_instructions(void **state)
{
	u64 results[5] = {0};
	unsigned bad = 0;

	rng = 42;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct x86_cpu before;
		enum emul_result r;

		random_state();
		random_code();
		failing = draw() % 2;
		before = cpu;
		r = emul_step(&emul);
		results[r]++;
		if (emul.switched) // what faults then is the new task's
			continue;
		if ((r == EMUL_FAULT || r == EMUL_UNSUPPORTED || r == EMUL_RETRY) && !unchanged(&before) && bad++ < 10)
			report(r, &before);
	}
	print_message("ok %llu fault %llu halt %llu retry %llu unsupported %llu\n", (unsigned long long)results[0],
		      (unsigned long long)results[1], (unsigned long long)results[2], (unsigned long long)results[3],
		      (unsigned long long)results[4]);
	assert_int_equal(bad, 0);
	assert_true(results[EMUL_OK] > ROUNDS / 10);
}

static void test_random_delivery(void **state)
{
	rng = 43;
	failing = true;
	for (unsigned i = 0; i < ROUNDS / 8; i++) {
		struct x86_fault event = {.vector = (u8)draw(), .has_error = draw() % 2, .error = (u32)draw()};
		struct x86_cpu before;
		enum emul_result r;

		random_state();
		before = cpu;
		r = emul_deliver(&emul, &event, draw() % 2, draw() % 2);
		before.cr2 = cpu.cr2;
		if (r != EMUL_OK)
			assert_memory_equal(&before, &cpu, sizeof(cpu));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_instructions),
		cmocka_unit_test(test_random_delivery),
	};

	emul = (struct emul){.cpu = &cpu, .ports = &ports};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
