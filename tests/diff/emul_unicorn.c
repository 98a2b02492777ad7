// SPDX-License-Identifier: MIT
// A second opinion on integer instructions: the same cases in Unicorn. It runs in ring 0 and has its own idea of undefined
// flags and of some features, so less is compared than with the machine; what is left out is counted and listed.
//
//   emul_unicorn [--seed N] [--cases N] [--plant N] [--quiet]      Exit: 0 equal, 1 a difference, 2 usage or set-up.
#include "tests/diff/emul_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unicorn/unicorn.h>

#define PLANT_EVERY 97
#define MISMATCHES_SHOWN 12

#define REGISTER_COUNT 18
static const int registers[2][REGISTER_COUNT] = {
	[INSN_MODE_64] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP,
			  UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI, UC_X86_REG_EFLAGS, UC_X86_REG_RIP,
			  UC_X86_REG_R8, UC_X86_REG_R9, UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13,
			  UC_X86_REG_R14, UC_X86_REG_R15},
	[INSN_MODE_32] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX, UC_X86_REG_ESP,
			  UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI, UC_X86_REG_EFLAGS, UC_X86_REG_EIP},
};

// Values in the order of the table: eight registers, flags, instruction pointer, the other eight.
struct register_file {
	u64 low[8], flags, rip, high[8];
	void *at[REGISTER_COUNT];
	int count;
};

static void point(struct register_file *f, enum insn_mode mode)
{
	u64 *v = f->low;

	f->count = mode == INSN_MODE_64 ? REGISTER_COUNT : 10;
	for (unsigned i = 0; i < REGISTER_COUNT; i++)
		f->at[i] = i < 8 ? &v[i] : i == 8 ? &f->flags : i == 9 ? &f->rip : &f->high[i - 10];
}

// Cases in which Unicorn 2.0.1 is known to be wrong: the machine, which is asked first, agrees with the emulator there.
enum defect { DEFECT_NONE, DEFECT_LOCK_NEG, DEFECT_SHLD_RIP, DEFECT_CMPXCHG32, DEFECT_COUNT };
static const char *const defect_names[DEFECT_COUNT] = {
	"",
	"flags of LOCK NEG",
	"SHLD/SHRD with an immediate and a RIP-relative operand: displaced by one",
	"CMPXCHG of 32 bits: upper halves of what is not written",
};

struct options {
	u64 seed;
	unsigned cases, plant;
	bool quiet;
};

struct totals {
	u64 cases, faults, mismatches, defects[DEFECT_COUNT];
	unsigned combinations, rows_skipped;
};

// Rows that this Unicorn cannot judge, with the reason.
static const char *skip_reason(unsigned row)
{
	const char *n = case_row_name(row);
	enum case_feature f = case_row_feature(row);

	if (!case_plain_integer(row))
		return "ring, selector, privileged or SSE";
	if (f != FEAT_NONE && f != FEAT_CX16)
		return "feature not in its CPU model";
	if (!strncmp(n, "bsf", 3) || !strncmp(n, "bsr", 3))
		return "treats a zero source its own way";
	return NULL;
}

static enum defect known_defect(const struct emul_case *c)
{
	const ZydisDecodedOperand *o = &c->insn.op[0];
	ZydisMnemonic m = c->insn.d.mnemonic;

	if (m == ZYDIS_MNEMONIC_NEG && c->form == FORM_LOCK)
		return DEFECT_LOCK_NEG;
	if ((m == ZYDIS_MNEMONIC_SHLD || m == ZYDIS_MNEMONIC_SHRD) && o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    o->mem.base == ZYDIS_REGISTER_RIP)
		return DEFECT_SHLD_RIP;
	return m == ZYDIS_MNEMONIC_CMPXCHG && c->width == 32 ? DEFECT_CMPXCHG32 : DEFECT_NONE;
}

static void load(uc_engine *uc, const struct emul_case *c)
{
	struct register_file f = {.flags = c->flags, .rip = CASE_CODE};
	u8 code[16 + CASE_TAKEN + 16];

	point(&f, c->mode);
	memset(code, 0x90, sizeof(code));
	memcpy(code, c->code, c->length);
	memcpy(f.low, c->gpr, sizeof(f.low));
	memcpy(f.high, c->gpr + 8, sizeof(f.high));
	uc_mem_write(uc, CASE_CODE, code, sizeof(code));
	uc_mem_write(uc, CASE_ARENA, c->arena, CASE_SIZE);
	uc_reg_write_batch(uc, (int *)(uintptr_t)registers[c->mode], f.at, f.count);
}

// False: Unicorn faulted.
static bool run(uc_engine *uc, const struct emul_case *c, struct emul_outcome *o)
{
	struct register_file f = {0};
	uc_err e;

	load(uc, c);
	e = uc_emu_start(uc, CASE_CODE, CASE_CODE + c->length, 0, case_repeats(c->row) ? 0 : 1);
	point(&f, c->mode);
	uc_reg_read_batch(uc, (int *)(uintptr_t)registers[c->mode], f.at, f.count);
	memcpy(o->gpr, f.low, sizeof(f.low));
	memcpy(o->gpr + 8, f.high, sizeof(f.high));
	o->flags = f.flags;
	o->rip = f.rip;
	o->vector = -1;
	o->error = 0;
	memcpy(o->xmm, c->xmm, sizeof(o->xmm));
	uc_mem_read(uc, CASE_ARENA, o->arena, CASE_RW);
	return e == UC_ERR_OK;
}

static void plant(unsigned kind, struct emul_outcome *o)
{
	switch (kind) {
	case 1:
		o->flags ^= RFL_CF;
		break;
	case 2:
		o->gpr[R_RBX] ^= 1ull << 40;
		break;
	case 3:
		o->arena[1500] ^= 1;
		break;
	case 4:
		o->rip++;
		break;
	default:
		break;
	}
}

static void one_case(uc_engine *uc, struct case_rng *rng, const struct options *opt, unsigned row, unsigned width,
		     enum case_form form, enum insn_mode mode, struct totals *t)
{
	static struct emul_case c;
	static struct emul_outcome want, got;
	const struct case_machine m = {.cs = 0x33, .cs32 = 0x23, .ss = 0x2b, .ds = 0x2b, .es = 0x2b};
	bool unsupported, ran;

	while (!case_make(rng, row, width, form, mode, m.cs, m.ss, &c))
		;
	memcpy((void *)CASE_ARENA, c.arena, CASE_SIZE);
	case_emulate(&c, &m, &got, &unsupported);
	if (got.vector >= 0) { // compared with the machine; here a ring-0 engine without our protections
		t->faults++;
		return;
	}
	if (known_defect(&c)) {
		t->defects[known_defect(&c)]++;
		return;
	}
	ran = run(uc, &c, &want);
	t->cases++;
	if (opt->plant && t->cases % PLANT_EVERY == 0)
		plant(opt->plant, &got);
	if (!ran || unsupported ||
	    !case_compare(&c, &want, &got, "unicorn", t->mismatches < MISMATCHES_SHOWN && !opt->quiet)) {
		if (!ran && t->mismatches < MISMATCHES_SHOWN && !opt->quiet) {
			printf("    unicorn faulted:\n");
			case_print(&c);
		}
		t->mismatches++;
	}
}

static void one_row(uc_engine *uc, struct case_rng *rng, const struct options *opt, unsigned row, enum insn_mode mode,
		    struct totals *t)
{
	const char *skip = skip_reason(row);
	u64 bad = t->mismatches, before = t->cases;

	if (skip) {
		t->rows_skipped++;
		if (!opt->quiet)
			printf("  %-18s skipped: %s\n", case_row_name(row), skip);
		return;
	}
	for (enum case_form form = 0; form < FORM_COUNT; form++)
		for (unsigned width = 8; width <= 64; width *= 2)
			if (case_has(row, width, form, mode)) {
				t->combinations++;
				for (unsigned i = 0; i < opt->cases; i++)
					one_case(uc, rng, opt, row, width, form, mode, t);
			}
	if (!opt->quiet && t->cases > before)
		printf("  %-18s %llu cases%s\n", case_row_name(row), (unsigned long long)(t->cases - before),
		       t->mismatches > bad ? "  DIFFERS" : "");
}

static bool parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){.seed = 1, .cases = 24};
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quiet"))
			o->quiet = true;
		else if (i + 1 == argc)
			return false;
		else if (!strcmp(argv[i], "--seed"))
			o->seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--cases"))
			o->cases = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--plant"))
			o->plant = (unsigned)strtoul(argv[++i], NULL, 0);
		else
			return false;
	}
	return true;
}

static uc_engine *open_engine(enum insn_mode mode)
{
	uc_engine *uc;

	if (uc_open(UC_ARCH_X86, mode == INSN_MODE_64 ? UC_MODE_64 : UC_MODE_32, &uc) != UC_ERR_OK ||
	    uc_mem_map(uc, CASE_CODE & ~PAGE_MASK, PAGE_SIZE, UC_PROT_ALL) != UC_ERR_OK ||
	    uc_mem_map(uc, CASE_ARENA, CASE_SIZE, UC_PROT_READ | UC_PROT_WRITE) != UC_ERR_OK)
		return NULL;
	return uc;
}

static bool all_rows(struct case_rng *rng, const struct options *opt, enum insn_mode mode, struct totals *t)
{
	uc_engine *uc = open_engine(mode);

	if (!uc)
		return false;
	if (!opt->quiet)
		printf("%u-bit mode:\n", mode == INSN_MODE_64 ? 64 : 32);
	for (unsigned row = 0; row < case_rows(); row++)
		one_row(uc, rng, opt, row, mode, t);
	uc_close(uc);
	return true;
}

int main(int argc, char **argv)
{
	struct options opt;
	struct case_rng rng;
	struct totals t = {0};

	if (!parse(argc, argv, &opt)) {
		fprintf(stderr, "usage: emul_unicorn [--seed N] [--cases N] [--plant N] [--quiet]\n");
		return 2;
	}
	rng.s = opt.seed;
	if (mmap((void *)CASE_ARENA, CASE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)CASE_ARENA ||
	    !all_rows(&rng, &opt, INSN_MODE_64, &t) || !all_rows(&rng, &opt, INSN_MODE_32, &t)) {
		fprintf(stderr, "emul_unicorn: cannot set up\n");
		return 2;
	}
	for (unsigned i = 1; i < DEFECT_COUNT && !opt.quiet; i++)
		printf("  %llu cases left out: %s\n", (unsigned long long)t.defects[i], defect_names[i]);
	printf("emul_unicorn: seed %llu: %u combinations, %llu cases, %llu faulting ones left out, %u rows skipped, %llu differences\n",
	       (unsigned long long)opt.seed, t.combinations, (unsigned long long)t.cases, (unsigned long long)t.faults,
	       t.rows_skipped, (unsigned long long)t.mismatches);
	return t.mismatches != 0;
}
