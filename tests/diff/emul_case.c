// SPDX-License-Identifier: MIT
// Generator of the differential tests: a table of encodings, random operands with a taste for edges, memory operands in
// all addressing forms, some of them faulting.
#include "tests/diff/emul_case.h"

#include <stdio.h>
#include <string.h>

enum { W_B = 1, W_W = 2, W_D = 4, W_Q = 8, W_WDQ = 14, W_ALL = 15, W_DQ = 12 };
enum { E_MODRM, E_OPREG, E_PLAIN, E_VEX };
enum { I_NONE, I_8, I_Z, I_V, I_16, I_ENTER, I_REL8, I_REL32, I_MOFFS };
enum { RM_R = 1, RM_M = 2, RM_RM = 3 };
// Attributes. A_W8: the opcode's low bit distinguishes bytes from words. A_64: no REX.W needed for 64 bits. A_32: 32-bit
// mode only.
enum { A_W8 = 1, A_LOCK = 2, A_64 = 4, A_FREE = 8, A_NOSP = 16, A_XMM = 32, A_SHORT = 64, A_32 = 128 };
enum special {
	S_NONE,
	S_DIV,
	S_BITS,
	S_CMPXCHG,
	S_CMPXCHG8,
	S_STRING,
	S_REP,
	S_REPNE,
	S_STACK,
	S_POPF,
	S_TARGET,
	S_TARGETM,
	S_RET,
	S_IRET,
	S_FARRET,
	S_LEAVE,
	S_RCX,
	S_XLAT,
	S_ALIGN
};

struct row {
	const char *name;
	u8 enc, pfx, map, op;
	s8 ext;
	u8 imm, widths, rm;
	u8 attr, special;
	u8 feature;
};

#define R(n, enc, pfx, map, op, ext, imm, w, rm, attr, sp, ...)                \
	{                                                                      \
		n, enc, pfx, map, op, ext, imm, w, rm, attr, sp, ##__VA_ARGS__ \
	}
#define RM_REG(n, map, op, w, attr, sp, ...) R(n, E_MODRM, 0, map, op, -1, I_NONE, w, RM_RM, attr, sp, ##__VA_ARGS__)
#define ALU(n, base, k, lk)                                                               \
	R(n " rm,r", E_MODRM, 0, 0, base, -1, I_NONE, W_ALL, RM_RM, A_W8 | lk, 0),        \
		R(n " r,rm", E_MODRM, 0, 0, base + 2, -1, I_NONE, W_ALL, RM_RM, A_W8, 0), \
		R(n " a,imm", E_PLAIN, 0, 0, base + 4, -1, I_Z, W_ALL, 0, A_W8, 0),       \
		R(n " rm,imm", E_MODRM, 0, 0, 0x80, k, I_Z, W_ALL, RM_RM, A_W8 | lk, 0),  \
		R(n " rm,imm8", E_MODRM, 0, 0, 0x83, k, I_8, W_WDQ, RM_RM, lk, 0)
#define SHIFT(n, k)                                                                   \
	R(n " rm,1", E_MODRM, 0, 0, 0xd0, k, I_NONE, W_ALL, RM_RM, A_W8, 0),          \
		R(n " rm,cl", E_MODRM, 0, 0, 0xd2, k, I_NONE, W_ALL, RM_RM, A_W8, 0), \
		R(n " rm,imm8", E_MODRM, 0, 0, 0xc0, k, I_8, W_ALL, RM_RM, A_W8, 0)
#define BITS(n, op, k, lk)                                                     \
	R(n " rm,r", E_MODRM, 0, 1, op, -1, I_NONE, W_WDQ, RM_RM, lk, S_BITS), \
		R(n " rm,imm8", E_MODRM, 0, 1, 0xba, k, I_8, W_WDQ, RM_RM, lk, 0)
#define CC(n, k)                                                                          \
	R("j" n " rel8", E_PLAIN, 0, 0, 0x70 + k, -1, I_REL8, W_Q, 0, A_64, 0),           \
		R("j" n " rel32", E_PLAIN, 0, 1, 0x80 + k, -1, I_REL32, W_Q, 0, A_64, 0), \
		R("set" n, E_MODRM, 0, 1, 0x90 + k, 0, I_NONE, W_B, RM_RM, 0, 0),         \
		R("cmov" n, E_MODRM, 0, 1, 0x40 + k, -1, I_NONE, W_WDQ, RM_RM, 0, 0)
#define STRING(n, op)                                                  \
	R(n, E_PLAIN, 0, 0, op, -1, I_NONE, W_ALL, 0, A_W8, S_STRING), \
		R("rep " n, E_PLAIN, 0xf3, 0, op, -1, I_NONE, W_ALL, 0, A_W8, S_REP)
#define PLAIN(n, op, w, sp) R(n, E_PLAIN, 0, 0, op, -1, I_NONE, w, 0, 0, sp)

static const struct row rows[] = {
	ALU("add", 0x00, 0, A_LOCK),
	ALU("or", 0x08, 1, A_LOCK),
	ALU("adc", 0x10, 2, A_LOCK),
	ALU("sbb", 0x18, 3, A_LOCK),
	ALU("and", 0x20, 4, A_LOCK),
	ALU("sub", 0x28, 5, A_LOCK),
	ALU("xor", 0x30, 6, A_LOCK),
	ALU("cmp", 0x38, 7, 0),
	RM_REG("test rm,r", 0, 0x84, W_ALL, A_W8, 0),
	R("test a,imm", E_PLAIN, 0, 0, 0xa8, -1, I_Z, W_ALL, 0, A_W8, 0),
	R("test rm,imm", E_MODRM, 0, 0, 0xf6, 0, I_Z, W_ALL, RM_RM, A_W8, 0),
	R("not", E_MODRM, 0, 0, 0xf6, 2, I_NONE, W_ALL, RM_RM, A_W8 | A_LOCK, 0),
	R("neg", E_MODRM, 0, 0, 0xf6, 3, I_NONE, W_ALL, RM_RM, A_W8 | A_LOCK, 0),
	R("mul", E_MODRM, 0, 0, 0xf6, 4, I_NONE, W_ALL, RM_RM, A_W8, 0),
	R("imul rm", E_MODRM, 0, 0, 0xf6, 5, I_NONE, W_ALL, RM_RM, A_W8, 0),
	R("div", E_MODRM, 0, 0, 0xf6, 6, I_NONE, W_ALL, RM_RM, A_W8 | A_FREE, S_DIV),
	R("idiv", E_MODRM, 0, 0, 0xf6, 7, I_NONE, W_ALL, RM_RM, A_W8 | A_FREE, S_DIV),
	R("inc", E_MODRM, 0, 0, 0xfe, 0, I_NONE, W_ALL, RM_RM, A_W8 | A_LOCK, 0),
	R("dec", E_MODRM, 0, 0, 0xfe, 1, I_NONE, W_ALL, RM_RM, A_W8 | A_LOCK, 0),
	RM_REG("imul r,rm", 1, 0xaf, W_WDQ, 0, 0),
	R("imul r,rm,imm", E_MODRM, 0, 0, 0x69, -1, I_Z, W_WDQ, RM_RM, 0, 0),
	R("imul r,rm,imm8", E_MODRM, 0, 0, 0x6b, -1, I_8, W_WDQ, RM_RM, 0, 0),
	// Moves.
	RM_REG("mov rm,r", 0, 0x88, W_ALL, A_W8, 0),
	RM_REG("mov r,rm", 0, 0x8a, W_ALL, A_W8, 0),
	R("mov rm,imm", E_MODRM, 0, 0, 0xc6, 0, I_Z, W_ALL, RM_RM, A_W8, 0),
	R("mov r8,imm8", E_OPREG, 0, 0, 0xb0, -1, I_8, W_B, 0, 0, 0),
	R("mov r,imm", E_OPREG, 0, 0, 0xb8, -1, I_V, W_WDQ, 0, 0, 0),
	R("mov a,moffs", E_PLAIN, 0, 0, 0xa0, -1, I_MOFFS, W_ALL, 0, A_W8, 0),
	R("mov moffs,a", E_PLAIN, 0, 0, 0xa2, -1, I_MOFFS, W_ALL, 0, A_W8, 0),
	R("mov rm,ds", E_MODRM, 0, 0, 0x8c, 3, I_NONE, W_WDQ, RM_RM, 0, 0),
	R("mov rm,cs", E_MODRM, 0, 0, 0x8c, 1, I_NONE, W_WDQ, RM_RM, 0, 0),
	RM_REG("movzx r,rm8", 1, 0xb6, W_WDQ, A_SHORT, 0),
	RM_REG("movzx r,rm16", 1, 0xb7, W_DQ, 0, 0),
	RM_REG("movsx r,rm8", 1, 0xbe, W_WDQ, A_SHORT, 0),
	RM_REG("movsx r,rm16", 1, 0xbf, W_DQ, 0, 0),
	RM_REG("movsxd", 0, 0x63, W_Q, 0, 0),
	R("lea", E_MODRM, 0, 0, 0x8d, -1, I_NONE, W_WDQ, RM_M, 0, 0),
	RM_REG("xchg", 0, 0x86, W_ALL, A_W8 | A_LOCK, 0),
	R("xchg a,r", E_OPREG, 0, 0, 0x90, -1, I_NONE, W_WDQ, 0, 0, 0),
	R("bswap", E_OPREG, 0, 1, 0xc8, -1, I_NONE, W_DQ, 0, 0, 0),
	R("movbe r,m", E_MODRM, 0, 2, 0xf0, -1, I_NONE, W_WDQ, RM_M, 0, 0, FEAT_MOVBE),
	R("movbe m,r", E_MODRM, 0, 2, 0xf1, -1, I_NONE, W_WDQ, RM_M, 0, 0, FEAT_MOVBE),
	R("movnti", E_MODRM, 0, 1, 0xc3, -1, I_NONE, W_DQ, RM_M, 0, 0),
	PLAIN("cbw", 0x98, W_WDQ, 0),
	PLAIN("cwd", 0x99, W_WDQ, 0),
	PLAIN("xlat", 0xd7, W_D, S_XLAT),
	PLAIN("lahf", 0x9f, W_D, 0),
	PLAIN("sahf", 0x9e, W_D, 0),
	PLAIN("clc", 0xf8, W_D, 0),
	PLAIN("stc", 0xf9, W_D, 0),
	PLAIN("cmc", 0xf5, W_D, 0),
	PLAIN("cld", 0xfc, W_D, 0),
	PLAIN("std", 0xfd, W_D, 0),
	PLAIN("nop", 0x90, W_D, 0),
	R("nop rm", E_MODRM, 0, 1, 0x1f, 0, I_NONE, W_WDQ, RM_RM, 0, 0),
	R("pause", E_PLAIN, 0xf3, 0, 0x90, -1, I_NONE, W_D, 0, 0, 0),
	CC("o", 0),
	CC("no", 1),
	CC("b", 2),
	CC("nb", 3),
	CC("z", 4),
	CC("nz", 5),
	CC("be", 6),
	CC("nbe", 7),
	CC("s", 8),
	CC("ns", 9),
	CC("p", 10),
	CC("np", 11),
	CC("l", 12),
	CC("nl", 13),
	CC("le", 14),
	CC("nle", 15),
	// Shifts and bits.
	SHIFT("rol", 0),
	SHIFT("ror", 1),
	SHIFT("rcl", 2),
	SHIFT("rcr", 3),
	SHIFT("shl", 4),
	SHIFT("shr", 5),
	SHIFT("sar", 7),
	R("shld imm8", E_MODRM, 0, 1, 0xa4, -1, I_8, W_WDQ, RM_RM, 0, 0),
	RM_REG("shld cl", 1, 0xa5, W_WDQ, 0, 0),
	R("shrd imm8", E_MODRM, 0, 1, 0xac, -1, I_8, W_WDQ, RM_RM, 0, 0),
	RM_REG("shrd cl", 1, 0xad, W_WDQ, 0, 0),
	BITS("bt", 0xa3, 4, 0),
	BITS("bts", 0xab, 5, A_LOCK),
	BITS("btr", 0xb3, 6, A_LOCK),
	BITS("btc", 0xbb, 7, A_LOCK),
	RM_REG("bsf", 1, 0xbc, W_WDQ, 0, 0),
	RM_REG("bsr", 1, 0xbd, W_WDQ, 0, 0),
	R("tzcnt", E_MODRM, 0xf3, 1, 0xbc, -1, I_NONE, W_WDQ, RM_RM, 0, 0, FEAT_BMI1),
	R("lzcnt", E_MODRM, 0xf3, 1, 0xbd, -1, I_NONE, W_WDQ, RM_RM, 0, 0, FEAT_LZCNT),
	R("popcnt", E_MODRM, 0xf3, 1, 0xb8, -1, I_NONE, W_WDQ, RM_RM, 0, 0, FEAT_POPCNT),
	R("crc32 r,rm8", E_MODRM, 0xf2, 2, 0xf0, -1, I_NONE, W_DQ, RM_RM, A_SHORT, 0, FEAT_SSE42),
	R("crc32 r,rm", E_MODRM, 0xf2, 2, 0xf1, -1, I_NONE, W_WDQ, RM_RM, 0, 0, FEAT_SSE42),
	R("adcx", E_MODRM, 0x66, 2, 0xf6, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_ADX),
	R("adox", E_MODRM, 0xf3, 2, 0xf6, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_ADX),
	R("andn", E_VEX, 0, 2, 0xf2, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI1),
	R("bextr", E_VEX, 0, 2, 0xf7, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI1),
	R("blsr", E_VEX, 0, 2, 0xf3, 1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI1),
	R("blsmsk", E_VEX, 0, 2, 0xf3, 2, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI1),
	R("blsi", E_VEX, 0, 2, 0xf3, 3, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI1),
	R("bzhi", E_VEX, 0, 2, 0xf5, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("pdep", E_VEX, 0xf2, 2, 0xf5, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("pext", E_VEX, 0xf3, 2, 0xf5, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("mulx", E_VEX, 0xf2, 2, 0xf6, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("sarx", E_VEX, 0xf3, 2, 0xf7, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("shlx", E_VEX, 0x66, 2, 0xf7, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("shrx", E_VEX, 0xf2, 2, 0xf7, -1, I_NONE, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	R("rorx", E_VEX, 0xf2, 3, 0xf0, -2, I_8, W_DQ, RM_RM, 0, 0, FEAT_BMI2),
	// Atomics.
	RM_REG("xadd", 1, 0xc0, W_ALL, A_W8 | A_LOCK, 0),
	RM_REG("cmpxchg", 1, 0xb0, W_ALL, A_W8 | A_LOCK, S_CMPXCHG),
	R("cmpxchg8b", E_MODRM, 0, 1, 0xc7, 1, I_NONE, W_D, RM_M, A_LOCK, S_CMPXCHG8),
	R("cmpxchg16b", E_MODRM, 0, 1, 0xc7, 1, I_NONE, W_Q, RM_M, A_LOCK, S_CMPXCHG8, FEAT_CX16),
	// Strings.
	STRING("movs", 0xa4),
	STRING("stos", 0xaa),
	STRING("lods", 0xac),
	STRING("cmps", 0xa6),
	STRING("scas", 0xae),
	R("repne cmps", E_PLAIN, 0xf2, 0, 0xa6, -1, I_NONE, W_ALL, 0, A_W8, S_REPNE),
	R("repne scas", E_PLAIN, 0xf2, 0, 0xae, -1, I_NONE, W_ALL, 0, A_W8, S_REPNE),
	R("repne movs", E_PLAIN, 0xf2, 0, 0xa4, -1, I_NONE, W_ALL, 0, A_W8, S_REPNE),
	// Stack and control flow.
	R("push r", E_OPREG, 0, 0, 0x50, -1, I_NONE, W_W | W_Q, 0, A_64, S_STACK),
	R("pop r", E_OPREG, 0, 0, 0x58, -1, I_NONE, W_W | W_Q, 0, A_64, S_STACK),
	R("push rm", E_MODRM, 0, 0, 0xff, 6, I_NONE, W_W | W_Q, RM_RM, A_64, S_STACK),
	R("pop rm", E_MODRM, 0, 0, 0x8f, 0, I_NONE, W_W | W_Q, RM_RM, A_64, S_STACK),
	R("push imm8", E_PLAIN, 0, 0, 0x6a, -1, I_8, W_W | W_Q, 0, A_64, S_STACK),
	R("push imm", E_PLAIN, 0, 0, 0x68, -1, I_Z, W_W | W_Q, 0, A_64, S_STACK),
	R("push fs", E_PLAIN, 0, 1, 0xa0, -1, I_NONE, W_W | W_Q, 0, A_64, S_STACK),
	R("push gs", E_PLAIN, 0, 1, 0xa8, -1, I_NONE, W_W | W_Q, 0, A_64, S_STACK),
	R("pushf", E_PLAIN, 0, 0, 0x9c, -1, I_NONE, W_W | W_Q, 0, A_64, S_STACK),
	R("popf", E_PLAIN, 0, 0, 0x9d, -1, I_NONE, W_W | W_Q, 0, A_64, S_POPF),
	R("leave", E_PLAIN, 0, 0, 0xc9, -1, I_NONE, W_W | W_Q, 0, A_64, S_LEAVE),
	R("enter", E_PLAIN, 0, 0, 0xc8, -1, I_ENTER, W_W | W_Q, 0, A_64, S_LEAVE),
	R("jmp rel8", E_PLAIN, 0, 0, 0xeb, -1, I_REL8, W_Q, 0, A_64, 0),
	R("jmp rel32", E_PLAIN, 0, 0, 0xe9, -1, I_REL32, W_Q, 0, A_64, 0),
	R("call rel32", E_PLAIN, 0, 0, 0xe8, -1, I_REL32, W_Q, 0, A_64, S_STACK),
	R("jmp rm", E_MODRM, 0, 0, 0xff, 4, I_NONE, W_Q, RM_RM, A_64, S_TARGET),
	R("call rm", E_MODRM, 0, 0, 0xff, 2, I_NONE, W_Q, RM_RM, A_64, S_TARGET),
	R("ret", E_PLAIN, 0, 0, 0xc3, -1, I_NONE, W_Q, 0, A_64, S_RET),
	R("ret imm16", E_PLAIN, 0, 0, 0xc2, -1, I_16, W_Q, 0, A_64, S_RET),
	R("loop", E_PLAIN, 0, 0, 0xe2, -1, I_REL8, W_D | W_Q, 0, A_64, S_RCX),
	R("loope", E_PLAIN, 0, 0, 0xe1, -1, I_REL8, W_D | W_Q, 0, A_64, S_RCX),
	R("loopne", E_PLAIN, 0, 0, 0xe0, -1, I_REL8, W_D | W_Q, 0, A_64, S_RCX),
	R("jrcxz", E_PLAIN, 0, 0, 0xe3, -1, I_REL8, W_D | W_Q, 0, A_64, S_RCX),
	R("iret", E_PLAIN, 0, 0, 0xcf, -1, I_NONE, W_Q, 0, 0, S_IRET),
	R("ret far", E_PLAIN, 0, 0, 0xcb, -1, I_NONE, W_Q, 0, 0, S_FARRET),
	// 32-bit mode only.
	R("iret", E_PLAIN, 0, 0, 0xcf, -1, I_NONE, W_D, 0, A_32, S_IRET),
	R("ret far", E_PLAIN, 0, 0, 0xcb, -1, I_NONE, W_D, 0, A_32, S_FARRET),
	R("aaa", E_PLAIN, 0, 0, 0x37, -1, I_NONE, W_D, 0, A_32, 0),
	R("aas", E_PLAIN, 0, 0, 0x3f, -1, I_NONE, W_D, 0, A_32, 0),
	R("daa", E_PLAIN, 0, 0, 0x27, -1, I_NONE, W_D, 0, A_32, 0),
	R("das", E_PLAIN, 0, 0, 0x2f, -1, I_NONE, W_D, 0, A_32, 0),
	R("aam", E_PLAIN, 0, 0, 0xd4, -1, I_8, W_D, 0, A_32 | A_FREE, 0),
	R("aad", E_PLAIN, 0, 0, 0xd5, -1, I_8, W_D, 0, A_32, 0),
	R("salc", E_PLAIN, 0, 0, 0xd6, -1, I_NONE, W_D, 0, A_32, 0),
	R("inc r", E_OPREG, 0, 0, 0x40, -1, I_NONE, W_W | W_D, 0, A_32, 0),
	R("dec r", E_OPREG, 0, 0, 0x48, -1, I_NONE, W_W | W_D, 0, A_32, 0),
	R("pusha", E_PLAIN, 0, 0, 0x60, -1, I_NONE, W_W | W_D, 0, A_32, S_STACK),
	R("popa", E_PLAIN, 0, 0, 0x61, -1, I_NONE, W_W | W_D, 0, A_32, S_STACK),
	R("bound", E_MODRM, 0, 0, 0x62, -1, I_NONE, W_W | W_D, RM_M, A_32 | A_FREE, 0),
	// Privileged ones fault alike; a few others are invalid.
	R("cli", E_PLAIN, 0, 0, 0xfa, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("sti", E_PLAIN, 0, 0, 0xfb, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("hlt", E_PLAIN, 0, 0, 0xf4, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("rdmsr", E_PLAIN, 0, 1, 0x32, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("wrmsr", E_PLAIN, 0, 1, 0x30, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("clts", E_PLAIN, 0, 1, 0x06, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("mov cr,r", E_MODRM, 0, 1, 0x22, 3, I_NONE, W_D, RM_R, A_FREE, 0),
	R("mov r,cr", E_MODRM, 0, 1, 0x20, 0, I_NONE, W_D, RM_R, A_FREE, 0),
	R("mov r,dr", E_MODRM, 0, 1, 0x21, 7, I_NONE, W_D, RM_R, A_FREE, 0),
	R("lgdt", E_MODRM, 0, 1, 0x01, 2, I_NONE, W_D, RM_M, A_FREE, 0),
	R("wbinvd", E_PLAIN, 0, 1, 0x09, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("invlpg", E_MODRM, 0, 1, 0x01, 7, I_NONE, W_D, RM_M, A_FREE, 0),
	R("ud2", E_PLAIN, 0, 1, 0x0b, -1, I_NONE, W_D, 0, A_FREE, 0),
	R("lock mov", E_MODRM, 0xf0, 0, 0x88, -1, I_NONE, W_ALL, RM_RM, A_W8 | A_FREE, 0),
	R("lock cmp", E_MODRM, 0xf0, 0, 0x38, -1, I_NONE, W_ALL, RM_RM, A_W8 | A_FREE, 0),
	// SSE moves.
	R("movups x,rm", E_MODRM, 0, 1, 0x10, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movups rm,x", E_MODRM, 0, 1, 0x11, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movupd x,rm", E_MODRM, 0x66, 1, 0x10, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movupd rm,x", E_MODRM, 0x66, 1, 0x11, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movaps x,m", E_MODRM, 0, 1, 0x28, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movaps m,x", E_MODRM, 0, 1, 0x29, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movdqa x,m", E_MODRM, 0x66, 1, 0x6f, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movdqa m,x", E_MODRM, 0x66, 1, 0x7f, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movdqu x,m", E_MODRM, 0xf3, 1, 0x6f, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movdqu m,x", E_MODRM, 0xf3, 1, 0x7f, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movss x,m", E_MODRM, 0xf3, 1, 0x10, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movss m,x", E_MODRM, 0xf3, 1, 0x11, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movsd x,m", E_MODRM, 0xf2, 1, 0x10, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movsd m,x", E_MODRM, 0xf2, 1, 0x11, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movd x,rm", E_MODRM, 0x66, 1, 0x6e, -1, I_NONE, W_D, RM_RM, A_XMM, 0),
	R("movd rm,x", E_MODRM, 0x66, 1, 0x7e, -1, I_NONE, W_D, RM_RM, A_XMM, 0),
	R("movq x,rm", E_MODRM, 0x66, 1, 0x6e, -1, I_NONE, W_Q, RM_RM, A_XMM, 0),
	R("movq rm,x", E_MODRM, 0x66, 1, 0x7e, -1, I_NONE, W_Q, RM_RM, A_XMM, 0),
	R("movq x,m", E_MODRM, 0xf3, 1, 0x7e, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movq m,x", E_MODRM, 0x66, 1, 0xd6, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movntdq", E_MODRM, 0x66, 1, 0xe7, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movntps", E_MODRM, 0, 1, 0x2b, -1, I_NONE, W_D, RM_M, A_XMM, S_ALIGN),
	R("movlps x,m", E_MODRM, 0, 1, 0x12, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movhps x,m", E_MODRM, 0, 1, 0x16, -1, I_NONE, W_D, RM_M, A_XMM, 0),
	R("movhpd m,x", E_MODRM, 0x66, 1, 0x17, -1, I_NONE, W_D, RM_M, A_XMM, 0),
};

unsigned case_rows(void)
{
	return ARRAY_SIZE(rows);
}

const char *case_row_name(unsigned row)
{
	return rows[row].name;
}

enum case_feature case_row_feature(unsigned row)
{
	return rows[row].feature;
}

const char *case_feature_name(enum case_feature f)
{
	static const char *const names[FEAT_COUNT] = {"",      "popcnt", "lzcnt",  "bmi1", "bmi2",
						      "movbe", "adx",    "sse4.2", "cx16"};

	return names[f];
}

bool case_faults_freely(unsigned row)
{
	return rows[row].attr & A_FREE;
}

bool case_has(unsigned row, unsigned width, enum case_form form, enum insn_mode mode)
{
	const struct row *r = &rows[row];

	if (!(r->widths * 8 & width))
		return false;
	if (mode == INSN_MODE_64 ? r->attr & A_32 : width == 64 && !(r->attr & A_64))
		return false;
	if (r->enc == E_PLAIN || r->enc == E_OPREG)
		return form == FORM_PLAIN;
	if (form == FORM_REG)
		return r->rm & RM_R;
	if (form == FORM_MEM)
		return r->rm & RM_M;
	return form == FORM_LOCK && (r->attr & A_LOCK);
}

bool case_plain_integer(unsigned row)
{
	const struct row *r = &rows[row];
	bool selector = r->op == 0x8c || (r->map == 1 && r->enc == E_PLAIN && (r->op == 0xa0 || r->op == 0xa8));

	return !(r->attr & (A_FREE | A_XMM)) && !selector && r->special != S_POPF && r->special != S_IRET &&
	       r->special != S_FARRET;
}

bool case_repeats(unsigned row)
{
	return rows[row].special == S_REP || rows[row].special == S_REPNE;
}

u64 case_random(struct case_rng *r)
{
	u64 z = r->s += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned below(struct case_rng *r, unsigned n)
{
	return (unsigned)(case_random(r) % n);
}

static u64 interesting(struct case_rng *r)
{
	static const u64 edges[] = {0,
				    1,
				    0x7f,
				    0x80,
				    0xff,
				    0x7fff,
				    0x8000,
				    0xffff,
				    0x7fffffff,
				    0x80000000,
				    0xffffffff,
				    0x7fffffffffffffff,
				    0x8000000000000000,
				    0xffffffffffffffff,
				    0x0f,
				    0x10,
				    0x9};

	switch (below(r, 6)) {
	case 0:
		return edges[below(r, ARRAY_SIZE(edges))];
	case 1:
		return below(r, 256);
	case 2:
		return (u64)(s64)(s32)case_random(r);
	case 3:
		return 1ull << below(r, 64);
	default:
		return case_random(r);
	}
}

// An instruction under construction.
struct build {
	struct case_rng *rng;
	const struct row *row;
	struct emul_case *c;
	u16 reserved; // registers whose values are taken
	u8 bytes[16];
	unsigned n;
	u8 rex, modrm, sib;
	bool has_rex, has_modrm, has_sib, addr32, rip_relative;
	unsigned disp_bytes;
	s64 disp;
	u64 target;         // address of the memory operand
	unsigned registers; // 16, or 8 in 32-bit mode
};

static void byte(struct build *b, unsigned v)
{
	if (b->n < sizeof(b->bytes))
		b->bytes[b->n] = (u8)v;
	b->n++;
}

static void number(struct build *b, u64 v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		byte(b, (unsigned)(v >> (8 * i)) & 0xff);
}

static void reserve(struct build *b, unsigned reg, u64 v)
{
	b->reserved |= (u16)(1 << reg);
	b->c->gpr[reg] = v;
}

static bool taken(const struct build *b, unsigned reg)
{
	return (b->reserved >> reg) & 1;
}

// Mostly inside the writable part; now and then across its end, read-only, unmapped or non-canonical.
static u64 choose_target(struct build *b)
{
	bool aligned = b->row->special == S_ALIGN || b->row->special == S_CMPXCHG8;
	unsigned kind = below(b->rng, 64);
	u64 t = CASE_ARENA + 256 + below(b->rng, CASE_RW - 512);

	if (kind == 0)
		t = CASE_ARENA + CASE_RW - 1 - below(b->rng, 16);
	else if (kind == 1)
		t = CASE_ARENA + CASE_RW + 64 + below(b->rng, 1024);
	else if (kind == 2)
		t = CASE_ARENA + CASE_SIZE - below(b->rng, 16);
	else if (kind == 3 && b->registers == 16 && !aligned) // which of two faults comes first differs by vendor
		t = 0x800000000000 + below(b->rng, 4096);
	if (aligned && below(b->rng, 8))
		t &= ~15ull;
	return t;
}

static unsigned free_register(struct build *b, unsigned avoid)
{
	unsigned reg;

	do
		reg = below(b->rng, b->registers);
	while (taken(b, reg) || reg == avoid);
	return reg;
}

static void set_disp(struct build *b, unsigned bytes)
{
	b->disp_bytes = bytes;
	b->disp = bytes == 1 ? (s8)case_random(b->rng) : bytes == 4 ? (s32)case_random(b->rng) : 0;
	if (b->addr32 && bytes == 4)
		b->disp &= 0xffff;
}

static void memory_operand(struct build *b)
{
	unsigned kind = below(b->rng, 7), base, index, scale = below(b->rng, 4), mod;
	bool low;

	b->target = choose_target(b);
	low = b->target < 0x7fffffff;
	if (!low && kind >= 4)
		kind = 0;
	if (kind == 4) { // relative to RIP: displacement known at the end; absolute in 32-bit mode
		b->modrm |= 5;
		b->rip_relative = b->registers == 16;
		b->disp_bytes = 4;
		b->disp = (s64)b->target;
		return;
	}
	b->addr32 = low && b->registers == 16 && below(b->rng, 8) == 0;
	if (kind == 5) { // absolute
		b->modrm |= 4, b->has_sib = true, b->sib = 0x25;
		b->disp_bytes = 4, b->disp = (s64)b->target;
		return;
	}
	if (kind == 6) { // index and displacement
		index = free_register(b, R_RSP);
		b->modrm |= 4, b->has_sib = true, b->sib = (u8)(scale << 6 | (index & 7) << 3 | 5);
		b->rex |= index & 8 ? 2 : 0;
		reserve(b, index, below(b->rng, 4096));
		b->disp_bytes = 4, b->disp = (s64)(b->target - (b->c->gpr[index] << scale));
		return;
	}
	base = free_register(b, 99);
	mod = below(b->rng, 3);
	if ((base & 7) == 5 && mod == 0)
		mod = 1;
	set_disp(b, mod == 1 ? 1 : mod == 2 ? 4 : 0);
	b->modrm |= (u8)(mod << 6);
	reserve(b, base, 0);
	b->rex |= base & 8 ? 1 : 0;
	if (kind == 3 || (base & 7) == 4) {
		index = kind == 3 ? free_register(b, R_RSP) : R_RSP; // RSP as index: none
		b->modrm |= 4, b->has_sib = true, b->sib = (u8)(scale << 6 | (index & 7) << 3 | (base & 7));
		b->rex |= index & 8 ? 2 : 0;
		if (index != R_RSP)
			reserve(b, index, b->addr32 ? below(b->rng, 4096) : (u64)(s64)(s32)case_random(b->rng));
		b->c->gpr[base] = b->target - (u64)b->disp - (index != R_RSP ? b->c->gpr[index] << scale : 0);
	} else {
		b->modrm |= base & 7;
		b->c->gpr[base] = b->target - (u64)b->disp;
	}
	if (b->addr32)
		b->c->gpr[base] = (u32)b->c->gpr[base] | (u64)below(b->rng, 2) << 40;
}

static void put_arena(struct emul_case *c, u64 at, u64 v, unsigned bytes)
{
	if (at >= CASE_ARENA && at + bytes <= CASE_ARENA + CASE_SIZE)
		memcpy(c->arena + (at - CASE_ARENA), &v, bytes);
}

static u64 get_arena(const struct emul_case *c, u64 at, unsigned bytes)
{
	u64 v = 0;

	if (at >= CASE_ARENA && at + bytes <= CASE_ARENA + CASE_SIZE)
		memcpy(&v, c->arena + (at - CASE_ARENA), bytes);
	return v;
}

static u64 inside(struct build *b)
{
	return CASE_ARENA + 1024 + below(b->rng, CASE_RW - 2048);
}

#define SAFE_FLAGS (RFL_ARITH | RFL_DF | RFL_ID)

// Values that implicit operands need; before the memory operand is chosen.
static void special_before(struct build *b)
{
	struct emul_case *c = b->c;
	u64 m = width_mask(c->width);

	switch (b->row->special) {
	case S_DIV:
		reserve(b, R_RAX, interesting(b->rng));
		reserve(b, R_RDX, interesting(b->rng));
		if (below(b->rng, 3)) { // likely to fit
			bool negative = b->row->ext == 7 && below(b->rng, 2);

			c->gpr[R_RDX] = (c->gpr[R_RDX] & ~m) | (negative ? m : 0);
			if (c->width == 8)
				c->gpr[R_RAX] = (c->gpr[R_RAX] & ~0xff00ull) | (negative ? 0xff00 : 0);
		}
		break;
	case S_STRING:
	case S_REP:
	case S_REPNE:
		reserve(b, R_RSI, inside(b));
		reserve(b, R_RDI, below(b->rng, 4) ? inside(b) : c->gpr[R_RSI] + below(b->rng, 16) - 8);
		if (b->row->special != S_STRING)
			reserve(b, R_RCX, below(b->rng, 48));
		if (below(b->rng, 2)) // let comparisons meet equals
			memset(c->arena, (int)c->gpr[R_RAX], CASE_RW);
		if (below(b->rng, 40) == 0)
			c->gpr[R_RDI] = CASE_ARENA + CASE_RW - below(b->rng, 64);
		b->addr32 = b->registers == 16 && below(b->rng, 8) == 0;
		break;
	case S_STACK:
	case S_TARGET:
	case S_RET:
	case S_POPF:
	case S_IRET:
	case S_FARRET:
		reserve(b, R_RSP, inside(b));
		break;
	case S_LEAVE:
		reserve(b, R_RBP, inside(b));
		reserve(b, R_RSP, inside(b));
		break;
	case S_RCX:
		reserve(b, R_RCX, below(b->rng, 3) ? below(b->rng, 3) : interesting(b->rng));
		break;
	case S_XLAT:
		reserve(b, R_RBX, inside(b));
		break;
	case S_CMPXCHG8:
		reserve(b, R_RAX, interesting(b->rng));
		reserve(b, R_RDX, interesting(b->rng));
		break;
	case S_CMPXCHG:
		reserve(b, R_RAX, interesting(b->rng));
		break;
	default:
		break;
	}
}

// What depends on the memory operand or on the instruction's length.
static void special_after(struct build *b, u16 cs, u16 ss)
{
	struct emul_case *c = b->c;
	u64 landing = CASE_CODE + b->n + CASE_TAKEN, sp = c->gpr[R_RSP];
	unsigned bytes = c->width / 8, word = c->mode == INSN_MODE_64 ? 8 : 4;

	switch (b->row->special) {
	case S_CMPXCHG:
		if (b->target && below(b->rng, 2))
			put_arena(c, b->target, c->gpr[R_RAX], bytes);
		break;
	case S_CMPXCHG8:
		if (below(b->rng, 2)) {
			put_arena(c, b->target, c->gpr[R_RAX], bytes);
			put_arena(c, b->target + bytes, c->gpr[R_RDX], bytes);
		}
		break;
	case S_POPF:
		put_arena(c, sp, (case_random(b->rng) & (SAFE_FLAGS | RFL_IF | RFL_IOPL | RFL_RF)), 8);
		break;
	case S_RET:
		put_arena(c, sp, landing, 8);
		break;
	case S_FARRET:
		put_arena(c, sp, landing, word);
		put_arena(c, sp + word, cs, word);
		break;
	case S_IRET:
		put_arena(c, sp, landing, word);
		put_arena(c, sp + word, cs, word);
		put_arena(c, sp + 2 * word, (case_random(b->rng) & (SAFE_FLAGS | RFL_IOPL)) | RFL_IF | RFL_FIXED, word);
		put_arena(c, sp + 3 * word, interesting(b->rng), word);
		put_arena(c, sp + 4 * word, ss, word);
		break;
	case S_TARGET:
		if (b->has_modrm && b->modrm >> 6 == 3)
			c->gpr[(b->modrm & 7) | (b->rex & 1 ? 8 : 0)] = landing;
		else
			put_arena(c, b->target, landing, 8);
		break;
	default:
		break;
	}
}

static void operands(struct build *b)
{
	const struct row *r = b->row;
	unsigned reg, rm;

	if (r->enc == E_PLAIN)
		return;
	if (r->enc == E_OPREG) {
		reg = below(b->rng, b->registers);
		b->rex |= reg & 8 ? 1 : 0;
		b->modrm = reg & 7;
		return;
	}
	b->has_modrm = true;
	reg = r->ext >= 0 ? (unsigned)r->ext : below(b->rng, b->registers);
	if (r->enc == E_VEX && r->ext >= 0)
		reg = (unsigned)r->ext;
	if (r->special == S_BITS && b->c->form != FORM_REG) {
		do
			reg = below(b->rng, b->registers);
		while (taken(b, reg));
		reserve(b, reg, (u64)(s64)((int)below(b->rng, 4096) - 2048) & width_mask(b->c->width));
		if (below(b->rng, 2) && b->c->width < 64) // bits above the operand do not count
			b->c->gpr[reg] |= 0xabcdull << 48;
	}
	b->rex |= reg & 8 ? 4 : 0;
	b->modrm = (u8)((reg & 7) << 3);
	if (b->c->form == FORM_REG) {
		rm = below(b->rng, b->registers);
		b->modrm |= 0xc0 | (rm & 7);
		b->rex |= rm & 8 ? 1 : 0;
	} else {
		memory_operand(b);
	}
}

static unsigned immediate_bytes(const struct build *b)
{
	unsigned w = b->c->width;

	switch (b->row->imm) {
	case I_8:
	case I_REL8:
		return 1;
	case I_16:
		return 2;
	case I_ENTER:
		return 3;
	case I_REL32:
		return 4;
	case I_Z:
		return w == 8 ? 1 : w == 16 ? 2 : 4;
	case I_V:
		return w / 8;
	case I_MOFFS:
		return b->addr32 || b->registers == 8 ? 4 : 8;
	default:
		return 0;
	}
}

static void immediate(struct build *b)
{
	unsigned bytes = immediate_bytes(b);

	switch (b->row->imm) {
	case I_REL8:
		number(b, CASE_TAKEN, 1);
		break;
	case I_REL32:
		number(b, CASE_TAKEN, 4);
		break;
	case I_16:
		number(b, below(b->rng, 256), 2);
		break;
	case I_ENTER:
		number(b, below(b->rng, 128), 2);
		number(b, below(b->rng, 6), 1);
		break;
	case I_MOFFS:
		b->target = choose_target(b);
		number(b, b->target, bytes);
		break;
	default:
		number(b, interesting(b->rng), bytes);
		break;
	}
}

static void vex(struct build *b)
{
	static const u8 pp[] = {[0x66 & 0xf] = 1, [0xf3 & 0xf] = 2, [0xf2 & 0xf] = 3};
	unsigned v = b->row->ext == -2 ? 15 : (15 ^ below(b->rng, b->registers));
	unsigned w = b->c->width == 64, p = b->row->pfx ? pp[b->row->pfx & 0xf] : 0;

	if (b->row->ext == -2)
		v = 15;
	byte(b, 0xc4);
	byte(b, (b->rex & 4 ? 0 : 0x80) | (b->rex & 2 ? 0 : 0x40) | (b->rex & 1 ? 0 : 0x20) | b->row->map);
	byte(b, w << 7 | v << 3 | p);
}

static void legacy(struct build *b)
{
	const struct row *r = b->row;
	unsigned w = b->c->width;

	if (w == 16)
		byte(b, 0x66);
	if (r->pfx)
		byte(b, r->pfx);
	if (b->c->form == FORM_LOCK)
		byte(b, 0xf0);
	if (w == 64 && !(r->attr & A_64))
		b->rex |= 8;
	if (b->rex || (b->registers == 16 && r->enc != E_PLAIN && below(b->rng, 4) == 0))
		byte(b, 0x40 | b->rex);
	if (r->map)
		byte(b, 0x0f);
	if (r->map == 2)
		byte(b, 0x38);
	if (r->map == 3)
		byte(b, 0x3a);
}

static void assemble(struct build *b)
{
	const struct row *r = b->row;
	unsigned op = r->op, disp_at;

	if (r->special == S_RCX && b->c->width == 32)
		b->addr32 = true;
	if (b->addr32)
		byte(b, 0x67);
	if (r->enc == E_VEX)
		vex(b);
	else
		legacy(b);
	if ((r->attr & A_W8) && b->c->width != 8)
		op |= 1;
	byte(b, r->enc == E_OPREG ? op | b->modrm : op);
	if (!b->has_modrm) {
		immediate(b);
		return;
	}
	byte(b, b->modrm);
	if (b->has_sib)
		byte(b, b->sib);
	disp_at = b->n;
	number(b, (u64)b->disp, b->disp_bytes);
	immediate(b);
	if (b->rip_relative && b->n <= sizeof(b->bytes)) {
		s32 d = (s32)(b->target - (CASE_CODE + b->n));

		memcpy(b->bytes + disp_at, &d, 4);
	}
}

bool case_make(struct case_rng *rng, unsigned row, unsigned width, enum case_form form, enum insn_mode mode, u16 cs,
	       u16 ss, struct emul_case *c)
{
	struct build b = {.rng = rng, .row = &rows[row], .c = c, .registers = mode == INSN_MODE_64 ? 16 : 8};

	c->row = row;
	c->width = width;
	c->form = form;
	c->mode = mode;
	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = interesting(rng);
	c->flags = (case_random(rng) & SAFE_FLAGS) | RFL_IF | RFL_FIXED;
	for (unsigned i = 0; i < sizeof(c->arena); i += 8) {
		u64 v = case_random(rng);

		memcpy(c->arena + i, &v, 8);
	}
	for (unsigned i = 0; i < sizeof(c->xmm); i++)
		((u8 *)c->xmm)[i] = (u8)case_random(rng);
	special_before(&b);
	operands(&b);
	assemble(&b);
	if (b.n > 15)
		return false;
	if (b.row->special == S_TARGET && form == FORM_REG && (b.modrm & 7) == 4 && !(b.rex & 1))
		return false; // RSP cannot be target and stack at once
	if (b.row->special == S_TARGET && b.target >= CASE_ARENA + CASE_RW - 8 && b.target < CASE_ARENA + CASE_SIZE)
		return false; // the read-only page holds no target
	for (unsigned i = 0; i < 16 && mode != INSN_MODE_64; i++)
		c->gpr[i] = (u32)c->gpr[i];
	special_after(&b, cs, ss);
	if (b.target && below(rng, 3) == 0) // edges in memory, too
		put_arena(c, b.target, b.row->special == S_NONE ? interesting(rng) : get_arena(c, b.target, 8), 8);
	memset(c->code, 0x90, sizeof(c->code));
	memcpy(c->code, b.bytes, b.n);
	c->length = b.n;
	if (insn_decode_status(&c->insn, mode, c->code, 15) != INSN_OK)
		return rows[row].attr & A_FREE;
	return c->insn.length == b.n;
}
