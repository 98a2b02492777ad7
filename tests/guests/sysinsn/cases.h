// SPDX-License-Identifier: MIT
// Cases of system instructions and their outcomes. A case is a few bytes of code, the state it starts from and changes to
// the world; it runs until an exception or INT has entered a stub of the world, and the state there is its outcome. Code
// pages are full of INT3, so wherever control goes it stops at once and the frame tells where.
#ifndef TESTS_SYSINSN_CASES_H
#define TESTS_SYSINSN_CASES_H

#include "tests/guests/sysinsn/world.h"

// Code that a case starts in.
enum entry { K64, U64, U32, K32, ENTRIES };

struct poke {
	u64 at, value;
	unsigned bytes;
};

struct sys_case {
	enum entry entry;
	u8 code[32];
	unsigned length;
	u64 gpr[16], flags;
	u16 ds, es, fs, gs, ldt;
	u64 cr0, cr2, cr4, cr8, efer, star, lstar, cstar, sfmask, fs_base, gs_base, kernel_gs_base, dr[8];
	struct poke poke[14];
	unsigned pokes;
	const char *skip; // reason why this one must not run
};

struct group {
	const char *name;
	unsigned count;
	void (*make)(unsigned i, struct sys_case *c);
};

extern const struct group groups[];
extern const unsigned group_count;
void case_make(unsigned group, unsigned i, struct sys_case *c);

// For the groups: initial state, bytes of code, changes to memory, and mixed-radix indices.
void case_init(struct sys_case *c, enum entry entry);
void case_code(struct sys_case *c, unsigned n, const u8 *bytes);
#define CODE(c, ...) case_code(c, sizeof((const u8[]){__VA_ARGS__}), (const u8[]){__VA_ARGS__})
void case_poke(struct sys_case *c, u64 at, u64 value, unsigned bytes);
void case_gate(struct sys_case *c, unsigned vector, u16 selector, u64 offset, unsigned ist, unsigned access);
static inline unsigned digit(unsigned *i, unsigned radix)
{
	unsigned d = *i % radix;

	*i /= radix;
	return d;
}
static inline bool user(enum entry e)
{
	return e == U64 || e == U32;
}
static inline bool is64(enum entry e)
{
	return e == K64 || e == U64;
}
static inline u64 code_page(enum entry e)
{
	return user(e) ? W_UCODE : W_KCODE;
}

// What is compared. Regions of memory: first word that differs from the pristine world, and a checksum of all.
#define OUTCOME_FIELDS(F)                                                                                             \
	F(vector)                                                                                                     \
	F(error) F(rip) F(cs) F(flags) F(rsp) F(ss) F(entry_rsp) F(entry_cs) F(entry_ss) F(entry_flags) F(cr2) F(rax) \
		F(rcx) F(rdx) F(rbx) F(unused) F(rbp) F(rsi) F(rdi) F(r8) F(r9) F(r10) F(r11) F(r12) F(r13) F(r14) F( \
			r15) F(ds) F(es) F(fs) F(gs) F(fs_base) F(gs_base) F(kernel_gs_base) F(cr0) F(cr3) F(cr4)     \
			F(cr8) F(efer) F(star) F(lstar) F(cstar) F(sfmask) F(dr0) F(dr1) F(dr2) F(dr3) F(dr6) F(dr7)  \
				F(gdt_base) F(gdt_limit) F(idt_base) F(idt_limit) F(ldtr) F(tr) F(stack0) F(stack1)   \
					F(stack2) F(stack3) F(stack4) F(gdt_at) F(gdt_word) F(gdt_sum) F(ldt_at)      \
						F(ldt_word) F(ldt_sum) F(tss_at) F(tss_word) F(tss_sum) F(data_at)    \
							F(data_word) F(data_sum) F(kdata_at) F(kdata_word)            \
								F(kdata_sum) F(ustack_at) F(ustack_word) F(ustack_sum)

#define F(name) O_##name,
enum outcome_field { OUTCOME_FIELDS(F) OUTCOME_COUNT };
#undef F

struct outcome {
	u64 f[OUTCOME_COUNT];
};

#define ERROR_PRESENT BIT(32) // with an error code in the frame

const char *outcome_name(unsigned field);
// Fields that an untouched state has; lines name only what differs from it.
void outcome_baseline(const struct sys_case *c, struct outcome *o);
// Fields that come from memory: the frame at entry_rsp, what lies above its RSP, and the regions.
void outcome_memory(struct outcome *o, const u8 *image, const u8 *pristine);
// " field=value ..." in hex into buf, at most `size` with the final NUL.
unsigned outcome_print(const struct outcome *o, const struct outcome *base, char *buf, unsigned size);

#endif
