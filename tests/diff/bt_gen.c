// SPDX-License-Identifier: MIT
// Random guest programs: straight lines, loops, calls of every form, returns, jumps, flags and privilege.
//
// Registers: r15 data base, rsp stack, rbp and rcx loop counters, the others free. Stack and data stay 8-byte aligned (AC
// may be set). Every loop is bounded. No instruction whose flags the architecture leaves undefined.
#include "bt_gen.h"

#include <string.h>

#include "base/x86.h"

#define FUNCTIONS 6

struct gen {
	const struct gen_layout *l;
	u64 seed;
	u8 *p;
	u64 function[FUNCTIONS];
	unsigned depth;    // of loops
	bool counter_used; // rcx is a loop counter here
	bool null_ss;      // this program may run with a null SS
};

static u32 rnd(struct gen *g, u32 n)
{
	g->seed = g->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(g->seed >> 33) % n;
}

static void b(struct gen *g, const char *bytes, unsigned n)
{
	memcpy(g->p, bytes, n);
	g->p += n;
}
#define B(g, s) b(g, s, sizeof(s) - 1)

static void b1(struct gen *g, unsigned v)
{
	*g->p++ = (u8)v;
}

static void b4(struct gen *g, u32 v)
{
	memcpy(g->p, &v, 4);
	g->p += 4;
}

static void b8(struct gen *g, u64 v)
{
	memcpy(g->p, &v, 8);
	g->p += 8;
}

static unsigned reg(struct gen *g)
{
	static const u8 pool[] = {R_RAX, R_RDX, R_RBX, R_RSI, R_RDI, R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_RCX};

	return pool[rnd(g, g->counter_used ? sizeof(pool) - 1 : sizeof(pool))];
}

static void rex(struct gen *g, unsigned w, unsigned r, unsigned rm)
{
	b1(g, 0x40 | w << 3 | (r >> 3) << 2 | (rm >> 3));
}

static void modrm_reg(struct gen *g, unsigned r, unsigned rm)
{
	b1(g, 0xc0 | (r & 7) << 3 | (rm & 7));
}

// [r15 + disp32]
static void op_data(struct gen *g, const char *opcode, unsigned n, unsigned w, unsigned r)
{
	rex(g, w, r, R_R15);
	b(g, opcode, n);
	b1(g, 0x80 | (r & 7) << 3 | 7);
	b4(g, rnd(g, (u32)g->l->data_size / 8) * 8);
}

// [rip + x] with `imm` bytes behind the displacement
static void op_near(struct gen *g, const char *opcode, unsigned n, unsigned w, unsigned r, unsigned imm)
{
	u64 at = g->l->near + rnd(g, (u32)g->l->data_size / 8) * 8;

	rex(g, w, r, 0);
	b(g, opcode, n);
	b1(g, 0x05 | (r & 7) << 3);
	b4(g, (u32)(at - ((u64)g->p + 4 + imm)));
}

static void mov_imm(struct gen *g, unsigned r, u64 v)
{
	rex(g, 1, 0, r);
	b1(g, 0xb8 | (r & 7));
	b8(g, v);
}

// lea r, [rip + x] with x to be filled in; returns where.
static u8 *lea_label(struct gen *g, unsigned r)
{
	rex(g, 1, r, 0);
	b1(g, 0x8d);
	b1(g, 0x05 | (r & 7) << 3);
	b4(g, 0);
	return g->p - 4;
}

static void here(struct gen *g, u8 *fix)
{
	u32 d = (u32)(g->p - (fix + 4));

	memcpy(fix, &d, 4);
}

static void push(struct gen *g, unsigned r)
{
	if (r >= 8)
		b1(g, 0x41);
	b1(g, 0x50 | (r & 7));
}

static void pop(struct gen *g, unsigned r)
{
	if (r >= 8)
		b1(g, 0x41);
	b1(g, 0x58 | (r & 7));
}

static void plain(struct gen *g)
{
	static const u8 alu[] = {0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39};
	unsigned r = reg(g), s = reg(g), w = rnd(g, 2);
	char op[3];

	op[0] = (char)alu[rnd(g, 8)];
	switch (rnd(g, 20)) {
	case 0:
	case 1:
		rex(g, w, r, s);
		b1(g, (u8)op[0]);
		modrm_reg(g, r, s);
		break;
	case 2:
		op_data(g, op, 1, w, r);
		break;
	case 3:
		op[0] |= 2;
		op_data(g, op, 1, w, r);
		break;
	case 4:
		op_near(g, op, 1, w, r, 0);
		break;
	case 5:
		op[0] |= 2;
		op_near(g, op, 1, w, r, 0);
		break;
	case 6:
		op_near(g, "\x81", 1, w, rnd(g, 8), 4); // alu [rip + x], imm32
		b4(g, rnd(g, 0x7fffffff));
		break;
	case 7:
		op_near(g, "\x8d", 1, w, r, 0); // lea
		rex(g, w, r, r);                // keep addresses out of the state
		b1(g, 0x31);
		modrm_reg(g, r, r);
		break;
	case 8:
		mov_imm(g, r, (u64)rnd(g, ~0u) << 33 | rnd(g, ~0u));
		break;
	case 9:
		rex(g, w, 0, r);
		b1(g, 0xff);
		modrm_reg(g, rnd(g, 2), r); // inc, dec
		break;
	case 10:
		rex(g, w, 0, r);
		b1(g, 0xf7);
		modrm_reg(g, 2 + rnd(g, 2), r); // not, neg
		break;
	case 11:
		rex(g, w, r, s);
		b1(g, 0x0f);
		b1(g, 0x40 | rnd(g, 16)); // cmovcc
		modrm_reg(g, r, s);
		break;
	case 12:
		rex(g, 0, 0, r);
		b1(g, 0x0f);
		b1(g, 0x90 | rnd(g, 16)); // setcc
		modrm_reg(g, 0, r);
		break;
	case 13:
		op_data(g, rnd(g, 2) ? "\x0f\xb6" : "\x0f\xbe", 2, w, r); // movzx, movsx
		break;
	case 14:
		rex(g, w, r, s);
		b1(g, 0x87);
		modrm_reg(g, r, s);
		break;
	case 15:
		b1(g, 0xf0);
		op_near(g, "\x01", 1, w, r, 0); // lock add
		break;
	case 16:
		op_near(g, "\x8b", 1, w, r, 0);
		break;
	case 17:
		op_near(g, "\x89", 1, w, r, 0);
		break;
	case 18:
		push(g, r);
		op_data(g, "\x03", 1, 1, s);
		pop(g, reg(g));
		break;
	default:
		rex(g, w, 0, r);
		b1(g, 0x81);
		modrm_reg(g, rnd(g, 8), r);
		b4(g, rnd(g, ~0u));
		break;
	}
}

static void far_jump_forms(struct gen *g)
{
	unsigned r = reg(g);
	u8 *fix;
	u32 disp;

	switch (rnd(g, 7)) {
	case 0: // jmp r
		fix = lea_label(g, r);
		rex(g, 0, 0, r);
		b1(g, 0xff);
		modrm_reg(g, 4, r);
		B(g, "\xcc\xcc");
		here(g, fix);
		break;
	case 1: // jmp [mem]
		fix = lea_label(g, r);
		op_near(g, "\x89", 1, 1, r, 0);
		memcpy(&disp, g->p - 4, 4);
		B(g, "\xff\x25");
		b4(g, disp - 6); // the same place from 6 bytes further
		B(g, "\xcc");
		here(g, fix);
		break;
	case 2: // push, ret
		fix = lea_label(g, r);
		push(g, r);
		B(g, "\xc3\xcc");
		here(g, fix);
		break;
	case 3: // ret n
		push(g, r);
		push(g, r);
		fix = lea_label(g, r);
		push(g, r);
		B(g, "\xc2\x10\x00");
		here(g, fix);
		break;
	case 4: // call next; pop
		B(g, "\xe8\0\0\0\0");
		pop(g, r);
		break;
	case 5: // retpoline
		fix = lea_label(g, R_R11);
		B(g, "\xe8\x07\0\0\0");         // call 1f
		B(g, "\xf3\x90\x0f\xae\xe8\xeb\xf9"); // 2: pause; lfence; jmp 2b
		B(g, "\x4c\x89\x1c\x24\xc3");   // 1: mov [rsp], r11; ret
		here(g, fix);
		break;
	default: // jrcxz over a jump
		B(g, "\xe3\x02\xeb\x00");
		break;
	}
	rex(g, 1, r, r);
	b1(g, 0x31);
	modrm_reg(g, r, r); // forget the address
	B(g, "\x45\x31\xdb");
}

static void call_forms(struct gen *g, unsigned level)
{
	u64 target = g->function[rnd(g, level)];
	unsigned r = reg(g);

	switch (rnd(g, 4)) {
	case 0:
	case 1:
		b1(g, 0xe8);
		b4(g, (u32)(target - ((u64)g->p + 4)));
		break;
	case 2:
		mov_imm(g, r, target);
		rex(g, 0, 0, r);
		b1(g, 0xff);
		modrm_reg(g, 2, r);
		break;
	default:
		mov_imm(g, r, target);
		push(g, r);
		B(g, "\xff\x14\x24"); // call [rsp]
		pop(g, r);
		break;
	}
}

static void flags_and_privilege(struct gen *g)
{
	unsigned r = reg(g);
	u8 *fix;

	switch (rnd(g, 16)) {
	case 15:
		if ((r & 7) == R_RSP || (r & 7) == R_RBP)
			break;
		rex(g, 0, 0, r);
		B(g, "\x0f\x01"); // invlpg [r]
		b1(g, (u8)(0x38 | (r & 7)));
		break;
	case 13:
		rex(g, 0, 0, r);
		B(g, "\x0f\x20"); // mov r, cr2
		modrm_reg(g, 2, r);
		break;
	case 0:
	case 1:
		B(g, "\x9c"); // pushf; pop
		pop(g, r);
		break;
	case 2:
	case 3:
		b1(g, 0x68); // push flags; popf
		b4(g, (rnd(g, 0x1000) & (u32)(RFL_ARITH | RFL_IF)) | 2);
		B(g, "\x9d");
		break;
	case 4:
		B(g, "\xfa");
		break;
	case 5:
	case 6:
		B(g, "\xfb");
		break;
	case 7:
		B(g, "\x0f\x01\xcb"); // stac
		break;
	case 8:
		B(g, "\x0f\x01\xca"); // clac
		break;
	case 9:
		rex(g, rnd(g, 2), 0, r);
		b1(g, 0x8c);
		modrm_reg(g, rnd(g, 2) ? SEG_CS : SEG_SS, r);
		break;
	case 10:
		op_near(g, "\x8c", 1, 0, rnd(g, 2) ? SEG_CS : SEG_SS, 0);
		break;
	case 11:
		B(g, "\x0f\x01\xf8"); // swapgs
		B(g, "\xf3");
		rex(g, 1, 0, r);
		B(g, "\x0f\xae");
		modrm_reg(g, 1, r); // rdgsbase
		break;
	case 12: // iret to ourselves
		B(g, "\x48\x89\xe0\x6a"); // mov rax, rsp; push ss
		b1(g, g->null_ss && rnd(g, 2) ? 0 : g->l->kernel_ss);
		B(g, "\x50\x68"); // push rax; push flags
		b4(g, (rnd(g, 0x1000) & (u32)(RFL_ARITH | RFL_IF)) | 2);
		b1(g, 0x6a); // push cs
		b1(g, g->l->kernel_cs);
		fix = lea_label(g, R_RDX);
		B(g, "\x52\x48\xcf\xcc");
		here(g, fix);
		B(g, "\x31\xd2\x31\xc0");
		break;
	default: // iret to user and back
		B(g, "\x48\x89\xe0\x6a"); // mov rax, rsp; push ss
		b1(g, g->l->user_ss);
		B(g, "\x50\x68");
		b4(g, (rnd(g, 0x1000) & (u32)RFL_ARITH) | 0x202);
		b1(g, 0x6a);
		b1(g, g->l->user_cs);
		fix = lea_label(g, R_RDX);
		B(g, "\x52\x48\xcf\xcc");
		here(g, fix);
		B(g, "\xcd\xf1\x31\xd2\x31\xc0");
		break;
	}
}

static void sysret(struct gen *g)
{
	u8 *fix;

	if (g->counter_used)
		return;
	fix = lea_label(g, R_RCX);
	B(g, "\x41\xbb"); // mov r11d, flags
	b4(g, (rnd(g, 0x1000) & (u32)RFL_ARITH) | (rnd(g, 8) ? 0x202 : 2));
	B(g, "\x48\x0f\x07\xcc");
	here(g, fix);
	B(g, "\xcd\xf1\x31\xc9");
}

static void body(struct gen *g, unsigned n, unsigned level);

static void loop(struct gen *g, unsigned level)
{
	bool was = g->counter_used;
	u8 *top;

	if (g->depth)
		return;
	g->depth++;
	if (rnd(g, 3) || was) { // dec ebp; jnz
		B(g, "\x55\xbd");
		b4(g, 2 + rnd(g, 4));
		top = g->p;
		body(g, 2 + rnd(g, 8), level);
		B(g, "\xff\xcd\x0f\x85");
		b4(g, (u32)(top - (g->p + 4)));
		b1(g, 0x5d);
	} else { // loop: short reach
		g->counter_used = true;
		b1(g, 0xb9);
		b4(g, 2 + rnd(g, 4));
		top = g->p;
		for (unsigned i = 0; i < 5; i++)
			plain(g);
		b1(g, 0xe2);
		b1(g, (u8)(top - (g->p + 1)));
		g->counter_used = was;
	}
	g->depth--;
}

static void body(struct gen *g, unsigned n, unsigned level)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned kind = rnd(g, 32);

		if (kind < 18) {
			plain(g);
		} else if (kind < 21) { // skip something
			u8 *fix;

			B(g, "\x0f");
			b1(g, 0x80 | rnd(g, 16));
			b4(g, 0);
			fix = g->p - 4;
			plain(g);
			plain(g);
			here(g, fix);
		} else if (kind < 23) {
			far_jump_forms(g);
		} else if (kind < 25 && level) {
			call_forms(g, level);
		} else if (kind < 27) {
			loop(g, level);
		} else if (g->l->features & GEN_SYSTEM) {
			if (rnd(g, 10))
				flags_and_privilege(g);
			else
				sysret(g);
		}
	}
}

u64 gen_program(const struct gen_layout *l, u64 seed)
{
	struct gen g = {.l = l, .seed = seed * 0x9e3779b97f4a7c15ull + 1, .p = l->code, .null_ss = seed & 1};
	u64 entry;

	memset(l->code, 0xcc, l->code_size);
	// Anywhere in the page, so that blocks meet page ends and misaligned heads.
	g.p += rnd(&g, 4096);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		u8 *low = g.p;

		// Every second one 64 KiB above the one before: they share an entry of the indirect-jump table.
		if (i & 1)
			g.p = (u8 *)g.function[i - 1] + 0x10000;
		g.function[i] = (u64)g.p;
		body(&g, 3 + rnd(&g, 12), i > 3 ? 3 : i);
		b1(&g, 0xc3);
		if (i & 1)
			g.p = g.p - 0x10000 > low ? g.p - 0x10000 : low;
	}
	entry = (u64)g.p;
	mov_imm(&g, R_R15, l->data);
	body(&g, 20 + rnd(&g, 40), FUNCTIONS);
	b1(&g, 0xf4);
	return entry;
}
