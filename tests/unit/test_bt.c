// SPDX-License-Identifier: MIT
// The translator's bookkeeping: entries, links, indirect-jump tables, invalidation, remapping, page ends, flushes and the
// recovery of faults. Code is not executed here (tests/diff/bt_native.c does that); its bytes and ranges are looked at.
#include "core/bt/bt.h"
#include "core/bt/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE 0xffffffff81000000ull
#define LOW 0x400000ull
#define FAR 0xffffc90000000000ull // modules elsewhere: nothing there fits 32 bits
#define PAGES 16
#define META (4u << 20)
#define CODE (9u << 20)
#define LINKS 20000u

static struct world {
	u8 guest[PAGES * PAGE_SIZE];
	ppn_t ppn_of[PAGES]; // by virtual page from BASE, PPN_NONE: not mapped
	unsigned protected[PAGES];
	bool refuse;
	struct bt_config config;
	u64 returns[RETURNS];
	struct bt *bt;
} w;

static unsigned fetch(void *ctx, u64 rip, void *buf, unsigned len, ppn_t *page)
{
	u64 off = rip >= BASE ? rip - BASE : rip >= FAR ? rip - FAR : rip - LOW;
	unsigned room = (unsigned)(PAGE_SIZE - (rip & PAGE_MASK));

	if (off >= sizeof(w.guest) || w.ppn_of[off / PAGE_SIZE] == PPN_NONE)
		return 0;
	len = MIN(len, room);
	*page = w.ppn_of[off / PAGE_SIZE];
	memcpy(buf, w.guest + *page * PAGE_SIZE + (off & PAGE_MASK), len);
	return len;
}

static bool protect(void *ctx, ppn_t page)
{
	if (w.refuse)
		return false;
	assert_int_equal(w.protected[page], 0);
	w.protected[page]++;
	return true;
}

static void unprotect(void *ctx, ppn_t page)
{
	assert_int_equal(w.protected[page], 1);
	w.protected[page]--;
}

static const struct bt_ports ports = {fetch, protect, unprotect};

static struct bt *make(size_t code_size, size_t meta_size)
{
	w.config.code_size = code_size;
	w.config.meta_size = meta_size;
	w.bt = bt_create(&w.config);
	return w.bt;
}

static int set_up(void **state)
{
	memset(&w, 0, sizeof(w));
	memset(w.guest, 0x90, sizeof(w.guest));
	for (unsigned i = 0; i < PAGES; i++)
		w.ppn_of[i] = i;
	w.config = (struct bt_config){.code = aligned_alloc(4096, CODE), .links = calloc(LINKS, 8), .link_count = LINKS,
				      .ibtc = calloc(IBTC_ENTRIES, 8), .returns = w.returns, .meta = malloc(META), .code_base = GATE_TC,
				      .links_base = GATE_LINKS, .ibtc_base = GATE_IBTC, .vcpu_base = GATE_VCPU, .ports = &ports,
				      .guest_ss = 0x18, .user_cs = 0x33, .user_ss = 0x2b};
	make(CODE, META);
	return w.bt ? 0 : -1;
}

static int tear_down(void **state)
{
	bt_flush(w.bt);
	bt_audit(w.bt);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(w.protected[i], 0);
	free(w.config.code);
	free(w.config.links);
	free(w.config.ibtc);
	free(w.config.meta);
	return 0;
}

static void put(unsigned off, const char *bytes, unsigned n)
{
	memcpy(w.guest + off, bytes, n);
}

// jmp rel32 from off to off2
static void put_jump(unsigned off, unsigned to)
{
	s32 d = (s32)(to - (off + 5));

	w.guest[off] = 0xe9;
	memcpy(w.guest + off + 1, &d, 4);
}

static u64 enter(u64 rip)
{
	u64 e = bt_entry(w.bt, rip);

	bt_audit(w.bt);
	return e;
}

static u8 *code_at(u64 cache)
{
	return w.config.code + (cache - GATE_TC);
}

// --- decoding ---

static u64 seed = 42;

static u32 rnd(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33);
}

static void random_bytes(u8 *p)
{
	static const u8 heads[] = {0x48, 0x49, 0x4c, 0x41, 0x0f, 0x66, 0x65, 0xff, 0xc7, 0xf7};

	for (unsigned i = 0; i < 15; i++)
		p[i] = (u8)rnd();
	for (unsigned i = 0; i < rnd() % 4; i++)
		p[i] = heads[rnd() % sizeof(heads)];
}

static void quick_decoder_agrees_with_zydis(void **state)
{
	unsigned quick = 0;

	for (unsigned i = 0; i < 200000; i++) {
		struct bt_insn a, b;
		u8 p[15];

		random_bytes(p);
		if (!bt_scan_quick(&a, p, 0x1000))
			continue;
		quick++;
		assert_true(bt_scan_zydis(w.bt, &b, p, 15, 0x1000));
		assert_int_equal(a.len, b.len);
		assert_int_equal(a.opcode, b.opcode);
		assert_int_equal(a.map, b.map);
		assert_int_equal(a.rex, b.rex);
		assert_int_equal(a.prefix_off, b.prefix_off);
		assert_int_equal(a.modrm_off, b.modrm_off);
		assert_int_equal(a.modrm, b.modrm);
		assert_int_equal(a.disp_size, b.disp_size);
		assert_int_equal(a.imm_size, b.imm_size);
		assert_int_equal(a.rip_relative, b.rip_relative);
		assert_int_equal(a.opsize, b.opsize);
		assert_int_equal(a.target, b.target);
		assert_true(!a.disp_size || a.disp_off == b.disp_off);
		assert_true(!a.imm_size || a.imm_off == b.imm_off);
	}
	assert_true(quick > 50000);
}

// --- RIP-relative operands ---

static bool decode(struct insn *in, const u8 *p)
{
	return insn_decode(in, INSN_MODE_64, p, 15);
}

// The same instruction but for the form of its memory operand.
static void assert_same_but_memory(const struct insn *a, const struct insn *b, u64 target, bool based)
{
	assert_int_equal(a->d.mnemonic, b->d.mnemonic);
	assert_int_equal(a->d.operand_count, b->d.operand_count);
	assert_int_equal(a->d.operand_width, b->d.operand_width);
	for (unsigned i = 0; i < a->d.operand_count; i++) {
		const ZydisDecodedOperand *x = &a->op[i], *y = &b->op[i];

		assert_int_equal(x->type, y->type);
		assert_int_equal(x->size, y->size);
		if (x->type == ZYDIS_OPERAND_TYPE_REGISTER)
			assert_int_equal(x->reg.value, y->reg.value);
		if (x->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			assert_int_equal(x->imm.value.u, y->imm.value.u);
		if (x->type != ZYDIS_OPERAND_TYPE_MEMORY || x->mem.base != ZYDIS_REGISTER_RIP)
			continue;
		assert_int_equal(x->mem.segment, y->mem.segment);
		assert_int_equal(y->mem.index, ZYDIS_REGISTER_NONE);
		assert_int_equal(y->mem.base == ZYDIS_REGISTER_NONE, !based);
		if (!based)
			assert_int_equal(y->mem.disp.value, target);
	}
}

// Random instruction with a RIP-relative operand in p.
static bool random_rip_relative(struct bt_insn *in, u8 *p)
{
	static const u8 heads[] = {0x66, 0xf2, 0xf3, 0x65, 0xc5, 0xc4, 0x62, 0x0f, 0x48, 0x43, 0x4a, 0x0f};

	for (unsigned i = 0; i < 15; i++)
		p[i] = (u8)rnd();
	for (unsigned i = 0; i < rnd() % 4; i++)
		p[i] = heads[rnd() % sizeof(heads)];
	switch (rnd() % 4) {
	case 0:
		p[0] = 0xc4;
		p[1] = (u8)((rnd() & 0xe0) | (1 + rnd() % 3));
		p[4] = (u8)(0x05 | (rnd() & 7) << 3);
		break;
	case 1:
		p[0] = 0x62;
		p[1] = (u8)((rnd() & 0xf0) | (1 + rnd() % 3));
		p[2] |= 4;
		p[5] = (u8)(0x05 | (rnd() & 7) << 3);
		break;
	default:
		p[2 + rnd() % 6] = (u8)(0x05 | (rnd() & 7) << 3);
		break;
	}
	return bt_scan(w.bt, in, p, 15, BASE) && in->rip_relative && in->cls == BT_COPY && in->len < 15;
}

static void rip_relative_forms_keep_their_meaning(void **state)
{
	unsigned seen[4] = {0}, far = 0;

	for (unsigned i = 0; i < 200000; i++) {
		struct bt_insn in;
		struct insn a, b;
		u8 p[16] = {0};
		u64 e;

		if (!random_rip_relative(&in, p) || !decode(&a, p))
			continue;
		put(0, (const char *)p, 15);
		bt_flush(w.bt);
		e = bt_entry(w.bt, BASE);
		assert_int_not_equal(e, 0);
		in.target = (u64)(s64)(s32)in.target;
		if (bt_scan(w.bt, &in, p, 15, BASE) && in.target != (u64)(s64)(s32)in.target)
			continue;
		assert_true(decode(&b, code_at(e)));
		assert_same_but_memory(&a, &b, in.target, false);
		seen[in.encoding]++;
		if (rnd() % 8 || !bt_entry(w.bt, FAR) || (in.map == 0 && in.opcode == 0x8d))
			continue;
		e = bt_entry(w.bt, FAR);
		e += 7; // the spill
		e += code_at(e)[0] == 0x48 && (code_at(e)[1] & 0xf8) == 0xb8 ? 10 : 5;
		assert_true(decode(&b, code_at(e)));
		assert_same_but_memory(&a, &b, 0, true);
		far++;
	}
	assert_true(seen[BT_ENC_LEGACY] > 500 && seen[BT_ENC_VEX2] > 30 && seen[BT_ENC_VEX3] > 50 && seen[BT_ENC_EVEX] > 50);
	assert_true(far > 50);
}

struct class_case {
	const char *bytes;
	unsigned len;
	u8 cls;
};

static void sensitive_instructions_are_not_copied(void **state)
{
	static const struct class_case cases[] = {
		{"\x0f\xa2", 2, BT_EMULATE},         // cpuid
		{"\x0f\x30", 2, BT_EMULATE},         // wrmsr
		{"\x0f\x20\xc0", 3, BT_EMULATE},     // mov rax, cr0
		{"\x0f\x22\xd8", 3, BT_MOV_CR3},     // mov cr3, rax
		{"\x0f\x22\xe0", 3, BT_EMULATE},     // mov cr4, rax
		{"\x0f\x20\xd0", 3, BT_MOV_CR2},     // mov rax, cr2
		{"\x0f\x20\xd8", 3, BT_READ_CR3},    // mov rax, cr3
		{"\x41\x0f\x20\xd8", 4, BT_READ_CR3}, // mov r8, cr3
		{"\x44\x0f\x20\xd8", 4, BT_EMULATE}, // mov rax, cr11: #UD
		{"\x44\x0f\x20\xc0", 4, BT_EMULATE}, // mov rax, cr8
		{"\x0f\x23\xf8", 3, BT_EMULATE},     // mov dr7, rax
		{"\x0f\x01\x3f", 3, BT_INVLPG},      // invlpg [rdi]
		{"\x65\x0f\x01\x3f", 4, BT_EMULATE}, // invlpg gs:[rdi]
		{"\x0f\x01\x7f\x08", 4, BT_EMULATE}, // invlpg [rdi + 8]
		{"\x0f\x01\xd0", 3, BT_EMULATE},     // xgetbv
		{"\x0f\x01\x07", 3, BT_EMULATE},     // sgdt
		{"\x0f\x02\xc1", 3, BT_EMULATE},     // lar
		{"\x0f\x03\xc1", 3, BT_EMULATE},     // lsl
		{"\x0f\x00\xe0", 3, BT_EMULATE},     // verr
		{"\x8e\xd0", 2, BT_EMULATE},         // mov ss
		{"\x8e\xe8", 2, BT_COPY},            // mov gs
		{"\x8e\xd8", 2, BT_COPY},            // mov ds
		{"\x8c\xd0", 2, BT_MOV_SEG},         // mov eax, ss
		{"\x8c\xd8", 2, BT_COPY},            // mov eax, ds
		{"\x0f\xa1", 2, BT_EMULATE},         // pop fs
		{"\x0f\xa0", 2, BT_COPY},            // push fs
		{"\xf4", 1, BT_EMULATE},             // hlt
		{"\xcc", 1, BT_EMULATE},             // int3
		{"\xcd\x80", 2, BT_EMULATE},         // int
		{"\xcd\xf0", 2, BT_EMULATE},         // the vector of our own exits
		{"\x0f\x0b", 2, BT_EMULATE},         // ud2
		{"\x0f\x05", 2, BT_EMULATE},         // syscall
		{"\x0f\x07", 2, BT_EMULATE},         // sysretl
		{"\x48\x0f\x07", 3, BT_SYSRET},      // sysretq
		{"\xcf", 1, BT_EMULATE},             // iretd
		{"\x48\xcf", 2, BT_IRET},            // iretq
		{"\x48\xcb", 2, BT_EMULATE},         // lretq
		{"\xee", 1, BT_OUT_AL},              // out dx, al
		{"\xef", 1, BT_EMULATE},             // out dx, eax
		{"\x6e", 1, BT_EMULATE},             // outsb
		{"\x9c", 1, BT_PUSHF},               // pushf
		{"\x66\x9c", 2, BT_EMULATE},         // pushfw
		{"\xfa", 1, BT_CLI},                 // cli
		{"\x0f\x01\xca", 3, BT_CLAC},        // clac
		{"\x0f\x01\xf8", 3, BT_SWAPGS},      // swapgs
		{"\x0f\x01\xf9", 3, BT_COPY},        // rdtscp
		{"\x0f\x31", 2, BT_COPY},            // rdtsc
		{"\xf3\x48\x0f\xae\xc8", 5, BT_COPY}, // rdgsbase
		{"\x0f\xc7\x0f", 3, BT_COPY},        // cmpxchg8b
		{"\x48\x0f\xc7\x2f", 4, BT_EMULATE}, // xsaves
		{"\xc7\xf8\0\0\0\0", 6, BT_EMULATE}, // xbegin
		{"\x66\x0f\x38\x82\x07", 5, BT_EMULATE}, // invpcid
		{"\x67\x8b\x05\0\0\0\0", 7, BT_EMULATE}, // mov eax, [eip]
		{"\x67\x8b\x00", 3, BT_COPY},        // mov eax, [eax]
		{"\x66\xe9\0\0", 4, BT_EMULATE},     // jmp with 66
		{"\xf3\x90", 2, BT_COPY},            // pause
		{"\x0f\xae\xe8", 3, BT_COPY},        // lfence
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bt_insn in;
		u8 p[16] = {0};

		memcpy(p, cases[i].bytes, cases[i].len);
		if (!bt_scan(w.bt, &in, p, 15, BASE))
			assert_int_equal(cases[i].cls, BT_EMULATE);
		else if (in.cls != cases[i].cls)
			fail_msg("case %u: class %u", i, in.cls);
	}
}

// --- blocks ---

static void copies_plain_code(void **state)
{
	u64 e;

	put(0, "\x48\x01\xd8\x48\x8b\x07\xc3", 7);
	e = enter(BASE);
	assert_int_not_equal(e, 0);
	assert_memory_equal(code_at(e), "\x48\x01\xd8\x48\x8b\x07", 6);
	assert_int_equal(enter(BASE), e);
	assert_int_equal(w.protected[0], 1);
	assert_int_equal(bt_get_stats(w.bt)->blocks, 1);
}

static void enters_the_middle_of_a_block(void **state)
{
	u64 e;

	put(0, "\x48\x01\xd8\x48\x8b\x07\xc3", 7);
	e = enter(BASE);
	assert_int_equal(enter(BASE + 3), e + 3);
	assert_int_not_equal(enter(BASE + 1), e + 1); // not an instruction there
	assert_int_equal(bt_get_stats(w.bt)->blocks, 2);
}

static void rip_relative_becomes_absolute(void **state)
{
	u64 e;

	put(0, "\x8b\x05\x10\0\0\0\xc3", 7); // mov eax, [rip + 16]
	e = enter(BASE);
	assert_memory_equal(code_at(e), "\x8b\x04\x25\x16\x00\x00\x81", 7);
}

static void first_instruction_for_the_emulator(void **state)
{
	put(0, "\x0f\xa2\xc3", 3);
	assert_int_equal(enter(BASE), 0);
	assert_int_not_equal(bt_find(w.bt, BASE), 0);
	put(64, "\x90\x0f\xa2\xc3", 4);
	assert_int_not_equal(enter(BASE + 64), 0);
	assert_int_equal(enter(BASE + 65), 0);
}

static void what_cannot_be_fetched_or_protected(void **state)
{
	w.ppn_of[3] = PPN_NONE;
	assert_int_equal(enter(BASE + 3 * PAGE_SIZE), 0);
	w.refuse = true;
	assert_int_equal(enter(BASE), 0);
	w.refuse = false;
	assert_int_not_equal(enter(BASE), 0);
}

static void block_limit_stops_translation(void **state)
{
	w.config.block_limit = 1;
	make(CODE, META);
	put(0, "\x90\xc3", 2);
	put(64, "\x90\xc3", 2);
	assert_int_not_equal(enter(BASE), 0);
	assert_int_equal(enter(BASE + 64), 0);
}

// --- links ---

static u32 slot_value_is(u64 value)
{
	u32 n = 0;

	for (u32 s = 0; s < w.bt->slot_count; s++)
		n += w.config.links[s] == value;
	return n;
}

static void links_wait_for_their_target(void **state)
{
	u64 a, b;

	put_jump(0, 256);
	put(256, "\x90\xc3", 2);
	w.bt->config.block_limit = 1; // nothing ahead
	a = enter(BASE);
	w.bt->config.block_limit = 0;
	assert_memory_equal(code_at(a), "\xff\x25", 2);
	b = enter(BASE + 256);
	assert_int_equal(slot_value_is(b), 1);
	assert_true(bt_invalidate(w.bt, 0, 256, 1));
	bt_audit(w.bt);
	assert_int_equal(slot_value_is(b), 0);
	assert_int_equal(bt_find(w.bt, BASE + 256), 0);
	b = enter(BASE + 256);
	assert_int_equal(slot_value_is(b), 1);
}

static void link_exit_names_its_slot(void **state)
{
	struct bt_exit x;
	u64 a, b;

	put_jump(0, 256);
	put(256, "\x90\xc3", 2);
	w.bt->config.block_limit = 1;
	a = enter(BASE);
	w.bt->config.block_limit = 0;
	x = bt_exit_at(w.bt, a + 6 + 2);
	assert_int_equal(x.kind, BT_EXIT_LINK);
	assert_int_equal(x.guest_rip, BASE + 256);
	assert_int_equal(bt_exit_at(w.bt, a + 6).kind, BT_EXIT_NONE);
	b = enter(BASE + 256);
	bt_link(w.bt, x.slot, b);     // linked already
	bt_link(w.bt, x.slot, a);     // not its target
	bt_link(w.bt, 0x7fffffff, b); // from before a flush
	bt_audit(w.bt);
	assert_int_equal(w.config.links[x.slot], b);
}

static void sure_successors_are_made_ahead(void **state)
{
	put(0, "\xe8\xfb\x01\0\0\x90\xc3", 7); // call 512; nop; ret
	put(512, "\x90\xc3", 2);
	assert_int_not_equal(enter(BASE), 0);
	assert_int_equal(bt_get_stats(w.bt)->blocks, 2);
	assert_int_equal(bt_get_stats(w.bt)->ahead, 1);
	assert_int_equal(slot_value_is(bt_find(w.bt, BASE + 512)), 1);
	assert_int_not_equal(bt_find(w.bt, BASE + 5), 0); // behind the call, in the same block
}

// Address that the first jump through a slot leads to by itself, 0: it goes through the slot.
static u64 direct_target(u32 slot)
{
	const u8 *jump = w.config.code + w.bt->slot[slot].jump;
	s32 d;

	memcpy(&d, jump + 1, 4);
	return *jump == 0xe9 ? GATE_TC + w.bt->slot[slot].jump + 5 + (u64)(s64)d : 0;
}

static void jumps_are_direct_while_their_target_lives(void **state)
{
	put_jump(0, 512);
	put(512, "\x90\xc3", 2);
	enter(BASE);
	assert_int_equal(w.bt->slot[0].target, BASE + 512);
	assert_int_equal(direct_target(0), bt_find(w.bt, BASE + 512));
	bt_invalidate(w.bt, 0, 512, 1);
	assert_int_equal(direct_target(0), 0);
	assert_memory_equal(w.config.code + w.bt->slot[0].jump, "\xff\x25", 2);
	bt_link(w.bt, 0, bt_entry(w.bt, BASE + 512));
	assert_int_equal(direct_target(0), bt_find(w.bt, BASE + 512));
	bt_audit(w.bt);
}

// What a call wrote for its return is void once the call's block is gone.
static void returns_forget_dropped_blocks(void **state)
{
	u64 call = (put(0, "\xe8\xfb\x01\0\0\x90\xc3", 7), put(512, "\x90\xc3", 2), enter(BASE));
	u64 landing = bt_find(w.bt, BASE + 5) - 1;

	assert_int_not_equal(call, 0);
	w.returns[5] = landing;
	bt_audit(w.bt);
	bt_invalidate(w.bt, 0, 0, 1);
	assert_int_equal(w.returns[5], GATE_TC + w.bt->dispatch_stub);
	bt_audit(w.bt);
}

static void renewal_waits_for_quiet(void **state)
{
	w.bt->block_count = BT_RENEWAL_BLOCKS;
	w.bt->stats.blocks = 10 * BT_RENEWAL_FEW;
	assert_false(bt_wants_renewal(w.bt, BT_RENEWAL_WORK - 1));
	assert_false(bt_wants_renewal(w.bt, BT_RENEWAL_WORK));    // new code came
	assert_true(bt_wants_renewal(w.bt, 2 * BT_RENEWAL_WORK)); // none came
	bt_flush(w.bt);
	w.bt->block_count = BT_RENEWAL_BLOCKS;
	assert_false(bt_wants_renewal(w.bt, 3 * BT_RENEWAL_WORK)); // that many are in use
	w.bt->block_count = 3 * BT_RENEWAL_BLOCKS;
	assert_true(bt_wants_renewal(w.bt, 4 * BT_RENEWAL_WORK));
	w.bt->block_count = 1;
}

static void loops_stay_inside(void **state)
{
	u64 e;

	put(0, "\x90\xff\xc9\x75\xfb\xc3", 6); // 1: nop; dec ecx; jnz 1b; ret
	e = enter(BASE);
	assert_memory_equal(code_at(e), "\x90\xff\xc9\x75\xfb", 5);
}

// --- indirect jumps ---

static void table_serves_the_latest_and_demotes(void **state)
{
	u64 one = BASE, two = BASE + 0x100;
	u64 *entry = &w.config.ibtc[one & (IBTC_ENTRIES - 1)];

	// Two addresses with one index: BASE and LOW share their low bits.
	enter(one);
	bt_fill_ibtc(w.bt, one);
	bt_audit(w.bt);
	assert_int_not_equal(*entry, GATE_TC + w.bt->miss_stub);
	enter(LOW);
	bt_fill_ibtc(w.bt, LOW);
	bt_audit(w.bt);
	assert_non_null(w.bt->second);
	assert_int_equal(w.bt->second[(one >> 8) & 0xffff], -one);
	enter(two);
	bt_fill_ibtc(w.bt, two);
	bt_invalidate(w.bt, 0, 0, 1);
	bt_audit(w.bt);
	assert_int_equal(w.bt->second[(one >> 8) & 0xffff], BT_SECOND_NONE((one >> 8) & 0xffff));
	assert_int_equal(*entry, GATE_TC + w.bt->miss_stub);
}

static void second_miss_makes_a_landing(void **state)
{
	u64 blocks, e;

	put(0, "\x48\x01\xd8\x48\x8b\x07\xc3", 7);
	e = enter(BASE);
	blocks = bt_get_stats(w.bt)->blocks;
	bt_fill_ibtc(w.bt, BASE + 3);
	assert_int_equal(bt_get_stats(w.bt)->blocks, blocks);
	bt_fill_ibtc(w.bt, BASE + 3);
	bt_audit(w.bt);
	assert_int_equal(bt_get_stats(w.bt)->blocks, blocks + 1);
	assert_int_equal(enter(BASE + 3), e + 3); // not by way of the landing
	assert_int_equal(slot_value_is(e + 3), 1);
	// Without its block the landing makes room for a real one.
	bt_drop(w.bt, bt_lookup(w.bt, BASE));
	bt_audit(w.bt);
	assert_int_not_equal(enter(BASE + 3), 0);
	assert_int_equal(enter(BASE + 3), bt_find(w.bt, BASE + 3));
}

// --- invalidation ---

static void invalidation_by_grain(void **state)
{
	u64 generation;

	put(0, "\x90\xc3", 2);
	put(128, "\x90\xc3", 2);
	enter(BASE);
	enter(BASE + 128);
	generation = bt_generation(w.bt);
	assert_false(bt_invalidate(w.bt, 0, 64, 64));
	assert_false(bt_invalidate(w.bt, 1, 0, 4096));
	assert_int_equal(bt_generation(w.bt), generation);
	assert_true(bt_invalidate(w.bt, 0, 63, 1));
	assert_int_equal(bt_find(w.bt, BASE), 0);
	assert_int_not_equal(bt_find(w.bt, BASE + 128), 0);
	assert_int_not_equal(bt_generation(w.bt), generation);
	assert_int_equal(w.protected[0], 1);
	assert_true(bt_invalidate(w.bt, 0, 0, 4096));
	assert_int_equal(w.protected[0], 0);
	bt_audit(w.bt);
}

static void straddling_instruction_depends_on_both_pages(void **state)
{
	put(4096 - 3, "\x90\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08\xc3", 12); // nop; mov rax, imm64 over the end
	assert_int_not_equal(enter(BASE + 4096 - 3), 0);
	assert_int_equal(w.protected[0], 1);
	assert_int_equal(w.protected[1], 1);
	assert_int_equal(w.bt->block[bt_lookup(w.bt, BASE + 4096 - 3)].guest_len, 11);
	assert_true(bt_invalidate(w.bt, 1, 0, 1));
	bt_audit(w.bt);
	assert_int_equal(bt_find(w.bt, BASE + 4096 - 3), 0);
	assert_int_equal(w.protected[0], 0);
	w.ppn_of[1] = PPN_NONE; // now only the NOP can be had
	assert_int_not_equal(enter(BASE + 4096 - 3), 0);
	assert_int_equal(w.bt->block[bt_lookup(w.bt, BASE + 4096 - 3)].guest_len, 1);
	assert_int_equal(enter(BASE + 4096 - 2), 0);
}

static void remapping_drops_what_moved(void **state)
{
	put(0, "\x90\xc3", 2);
	enter(BASE);
	enter(BASE + PAGE_SIZE);
	bt_remap(w.bt, BASE + 5);
	assert_int_not_equal(bt_find(w.bt, BASE), 0);
	w.ppn_of[0] = 2;
	bt_remap(w.bt, BASE + PAGE_SIZE);
	assert_int_not_equal(bt_find(w.bt, BASE), 0);
	bt_remap(w.bt, BASE + 5);
	bt_audit(w.bt);
	assert_int_equal(bt_find(w.bt, BASE), 0);
	w.ppn_of[1] = PPN_NONE;
	bt_remap_all(w.bt);
	bt_audit(w.bt);
	assert_int_equal(bt_find(w.bt, BASE + PAGE_SIZE), 0);
}

static void aliases_share_protection(void **state)
{
	put(0, "\x90\xc3", 2);
	enter(BASE);
	enter(LOW); // the same physical page
	assert_int_equal(w.protected[0], 1);
	bt_remap_lower(w.bt);
	bt_audit(w.bt);
	assert_int_equal(bt_find(w.bt, LOW), 0);
	assert_int_not_equal(bt_find(w.bt, BASE), 0);
	assert_int_equal(w.protected[0], 1);
	enter(LOW);
	assert_true(bt_invalidate(w.bt, 0, 0, 1));
	bt_audit(w.bt);
	assert_int_equal(bt_find(w.bt, LOW), 0);
	assert_int_equal(bt_find(w.bt, BASE), 0);
	assert_int_equal(w.protected[0], 0);
}

static void random_work_keeps_the_books(void **state)
{
	make(5 * BT_BLOCK_MAX, META);
	for (unsigned i = 0; i < sizeof(w.guest); i++)
		w.guest[i] = (u8)rnd();
	for (unsigned i = 0; i < 4000; i++) {
		u64 rip = (rnd() & 1 ? BASE : LOW) + rnd() % sizeof(w.guest);

		switch (rnd() % 8) {
		case 0:
			bt_invalidate(w.bt, rnd() % PAGES, rnd() % 4096, 1 + rnd() % 300);
			break;
		case 1:
			w.ppn_of[rnd() % PAGES] = rnd() % 4 ? rnd() % PAGES : PPN_NONE;
			bt_remap_all(w.bt);
			break;
		case 2:
			bt_fill_ibtc(w.bt, rip);
			break;
		case 3:
			if (!(rnd() % 8))
				bt_remap_lower(w.bt);
			break;
		default:
			bt_entry(w.bt, rip);
			break;
		}
		if (i % 16 == 0)
			bt_audit(w.bt);
	}
	assert_true(bt_get_stats(w.bt)->flushes > 0);
}

static void too_little_memory(void **state)
{
	assert_null(make(CODE, 1000));
	assert_null(make(1000, META));
	assert_non_null(make(CODE, META));
}

static void other_selectors_flush(void **state)
{
	bt_set_selectors(w.bt, 0x18, 0x33, 0x2b);
	assert_int_equal(bt_get_stats(w.bt)->flushes, 0);
	bt_set_selectors(w.bt, 0x68, 0x33, 0x2b);
	assert_int_equal(bt_get_stats(w.bt)->flushes, 1);
	put(0, "\x8c\xc8\xc3", 3); // mov eax, cs
	assert_memory_equal(code_at(enter(BASE)), "\x8b\x05", 2);
}

// --- recovery ---

// Cache address of the n-th range of the block at rip.
static u64 range_start(u64 rip, unsigned n)
{
	const struct bt_block *b = &w.bt->block[bt_lookup(w.bt, rip)];

	return GATE_TC + b->code + w.bt->range[b->first_range + n].code_off;
}

static bool fault_state(u64 cache_rip, struct x86_cpu *cpu, struct vcpu_page *page)
{
	bool finish = true;

	cpu->rip = cache_rip;
	bt_recover(w.bt, cpu, page, true, &finish);
	return !finish;
}

// Every range before the commit of a push or call names the instruction itself and gives back what was borrowed.
static void fault_in_ret_rolls_back(void **state)
{
	struct x86_cpu cpu = {.gpr = {[R_RAX] = 7, [R_RCX] = 8, [R_RSP] = 0x1000}, .rflags = RFL_FIXED | RFL_ZF | RFL_IF};
	struct vcpu_page page = {.spill = {[R_RAX] = 1, [R_RCX] = 2}, .vif = 0};
	u64 pop;

	put(0, "\x90\xc3", 2);
	pop = enter(BASE) + 1 + 14; // nop, two spills
	assert_int_equal(*code_at(pop), 0x59);
	assert_true(fault_state(pop, &cpu, &page));
	assert_int_equal(cpu.rip, BASE + 1);
	assert_int_equal(cpu.gpr[R_RAX], 1);
	assert_int_equal(cpu.gpr[R_RCX], 2);
	assert_int_equal(cpu.gpr[R_RSP], 0x1000);
	assert_int_equal(cpu.rflags, RFL_FIXED | RFL_ZF);
}

static void fault_in_iret_gives_if_back(void **state)
{
	struct x86_cpu cpu = {.gpr = {[R_RAX] = 7, [R_RSP] = 0x1000}, .rflags = RFL_FIXED};
	struct vcpu_page page = {.spill = {[R_RAX] = 1, [R_RCX] = 2}, .vif = RFL_IF, .old_vif = 0};
	const struct bt_block *b;
	u64 iret = 0;

	put(0, "\x48\xcf", 2);
	enter(BASE);
	b = &w.bt->block[bt_lookup(w.bt, BASE)];
	for (unsigned i = 0; i + 1 < b->code_len && !iret; i++)
		if (!memcmp(w.config.code + b->code + i, "\x48\xcf", 2))
			iret = GATE_TC + b->code + i;
	assert_int_not_equal(iret, 0);
	assert_true(fault_state(iret, &cpu, &page));
	assert_int_equal(cpu.rip, BASE);
	assert_int_equal(page.vif, 0);
	assert_int_equal(cpu.rflags & RFL_IF, 0);
	assert_int_equal(cpu.gpr[R_RAX], 1);
}

static void shadow_of_sti_is_told(void **state)
{
	struct x86_cpu cpu = {.rflags = RFL_FIXED};
	struct vcpu_page page = {.vif = RFL_IF};
	u64 e;

	put(0, "\xfb\x90\x90\xc3", 4);
	e = enter(BASE);
	assert_int_not_equal(e, 0);
	assert_true(fault_state(enter(BASE + 1), &cpu, &page));
	assert_true(cpu.interrupt_shadow);
	assert_int_equal(cpu.rip, BASE + 1);
	assert_true(fault_state(enter(BASE + 2), &cpu, &page));
	assert_false(cpu.interrupt_shadow);
	assert_int_equal(cpu.rip, BASE + 2);
	put(256, "\xfb\xf4", 2); // sti; hlt
	enter(BASE + 256);
	assert_int_equal(bt_exit_at(w.bt, range_start(BASE + 256, 0)).kind, BT_EXIT_NONE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(quick_decoder_agrees_with_zydis), T(sensitive_instructions_are_not_copied), T(copies_plain_code), T(rip_relative_forms_keep_their_meaning),
		T(enters_the_middle_of_a_block), T(rip_relative_becomes_absolute), T(first_instruction_for_the_emulator),
		T(what_cannot_be_fetched_or_protected), T(block_limit_stops_translation), T(links_wait_for_their_target),
		T(link_exit_names_its_slot), T(sure_successors_are_made_ahead), T(jumps_are_direct_while_their_target_lives), T(returns_forget_dropped_blocks),
		T(renewal_waits_for_quiet), T(loops_stay_inside), T(table_serves_the_latest_and_demotes),
		T(second_miss_makes_a_landing), T(invalidation_by_grain), T(straddling_instruction_depends_on_both_pages),
		T(remapping_drops_what_moved), T(aliases_share_protection), T(random_work_keeps_the_books), T(too_little_memory),
		T(other_selectors_flush), T(fault_in_ret_rolls_back), T(fault_in_iret_gives_if_back), T(shadow_of_sti_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
