// SPDX-License-Identifier: MIT
// Random cases of one instruction each, and what became of them: shared by the tests that compare the emulator with the
// machine (emul_native.c) and with Unicorn (emul_unicorn.c).
//
// A case runs at CASE_CODE with CASE_ARENA as its only memory, at the same addresses in every engine: two writable pages,
// one read-only, one hole.
#ifndef TESTS_DIFF_EMUL_CASE_H
#define TESTS_DIFF_EMUL_CASE_H

#include "core/emul/emul.h"
#include "core/x86/flags.h"
#include "core/x86/insn.h"

#define CASE_CODE 0x20000100ull
#define CASE_ARENA 0x20010000ull
#define CASE_RW 0x2000u   // writable bytes
#define CASE_SIZE 0x3000u // mapped bytes
#define CASE_TAKEN 0x20   // where branches go: this far behind the instruction

enum case_form { FORM_REG, FORM_MEM, FORM_LOCK, FORM_PLAIN, FORM_COUNT };

// What a row of the table needs of the machine.
enum case_feature {
	FEAT_NONE,
	FEAT_POPCNT,
	FEAT_LZCNT,
	FEAT_BMI1,
	FEAT_BMI2,
	FEAT_MOVBE,
	FEAT_ADX,
	FEAT_SSE42,
	FEAT_CX16,
	FEAT_COUNT
};

struct emul_case {
	unsigned row, width; // width in bits
	enum case_form form;
	enum insn_mode mode; // 64 or 32: the latter compares low halves of eight registers
	u8 code[16];
	unsigned length;
	u64 gpr[16], flags;
	u8 xmm[16][16];
	u8 arena[CASE_SIZE];
	struct insn insn;
};

struct emul_outcome {
	u64 gpr[16], flags, rip;
	u8 xmm[16][16];
	u8 arena[CASE_RW];
	int vector; // -1: none
	u32 error;
	u64 cr2;
};

unsigned case_rows(void);
const char *case_row_name(unsigned row);
enum case_feature case_row_feature(unsigned row);
const char *case_feature_name(enum case_feature f);
// In 32-bit mode "64" stands for the default width of stack and branch instructions.
bool case_has(unsigned row, unsigned width, enum case_form form, enum insn_mode mode);
bool case_faults_freely(unsigned row); // may raise anything beyond what memory operands raise

bool case_plain_integer(unsigned row); // neither SSE nor dependent on ring, selectors or faults
bool case_repeats(unsigned row);

struct case_rng {
	u64 s;
};
u64 case_random(struct case_rng *r);
// cs, ss: selectors for far returns. False when the encoding has to be drawn again.
bool case_make(struct case_rng *r, unsigned row, unsigned width, enum case_form form, enum insn_mode mode, u16 cs,
	       u16 ss, struct emul_case *c);

// Runs the emulator on the memory at CASE_ARENA, which holds the case's image already.
struct case_machine {
	u16 cs, cs32, ss, ds, es, fs, gs;
	u64 xcr0;
	u64 fs_base, gs_base;
};
void case_emulate(const struct emul_case *c, const struct case_machine *m, struct emul_outcome *o, bool *unsupported);

// Flags that the manual leaves undefined in this case: Zydis' table, and rules that depend on operands.
u64 case_undefined_flags(const struct emul_case *c);
// Prints the first differences; false if there are any.
bool case_compare(const struct emul_case *c, const struct emul_outcome *want, const struct emul_outcome *got,
		  const char *who, bool print);
void case_print(const struct emul_case *c);

#endif
