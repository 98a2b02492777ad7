// SPDX-License-Identifier: MIT
// What the parts of the translator share: descriptors, recovery ranges and the state of one cache.
//
//   quick.c      the same for common instructions, without Zydis
//   scan.c       guest bytes -> struct bt_insn (length, class, what has to be rewritten)
//   translate.c  a superblock: scan, emit, exits, publish
//   control.c    templates of control transfers: calls, returns, indirect jumps, exits, the indirect entry
//   template.c   templates of sensitive instructions
//   emit.c       encoding of the few machine instructions that templates use, recovery ranges
//   cache.c      creation, flush, look-up, link slots, IBTC, audit
//   pages.c      which blocks depend on which guest page: invalidation, remapping
//   quiet.c      stores that mostly change nothing
//   recover.c    machine state -> guest state
//
// Invariants
//  - Blocks are allocated in rising cache order; between flushes code space, slots and ranges are never reused, so a
//    cache address stays explicable after its block was dropped.
//  - Every emitted byte lies in exactly one range, and a range is true whenever RIP points at an instruction inside it,
//    before that instruction has executed. spill[n] holds guest register n (rax..rdi), so restores are idempotent.
//  - A live slot is in exactly one list: the incoming list of the block it leads to, or the pending list of its target's hash.
#ifndef CORE_BT_INTERNAL_H
#define CORE_BT_INTERNAL_H

#include "base/assert.h"
#include "core/bt/bt.h"

#define BT_NONE 0xffffffffu
#define BT_MAX_INSNS 96
#define BT_WINDOW 512      // guest bytes looked at for one block
#define BT_BLOCK_MAX 18432 // code bytes of one block
#define BT_RANGES_MAX 3072
#define BT_SLOTS_MAX (BT_MAX_INSNS + 2)
#define BT_TAILS_MAX 288
#define BT_AHEAD_MAX 6 // blocks made ahead of one that was asked for
#define BT_GRAIN_SHIFT 6
#define BT_MISS_FILTER 64
#define BT_SECOND_ENTRIES 65536u               // by bits 8 to 23 of the target
#define BT_SECOND_SIZE (8ull * BT_SECOND_ENTRIES) // bytes of either half of the second look-up table
// Empty place i holds the tag of a target that is never looked for there, canonical or not.
#define BT_SECOND_NONE(i) (-((u64)((i) ^ 1) << 8))
#define BT_LANDING_LEN 1 // guest bytes a landing block claims: its first instruction starts there

enum bt_class {
	BT_COPY, // as it is, or with its RIP-relative operand re-encoded
	BT_JCC,
	BT_LOOP, // LOOPcc, JRCXZ: byte displacement only
	BT_JMP,
	BT_CALL,
	BT_JMP_IND,
	BT_CALL_IND,
	BT_RET,
	BT_EMULATE, // leave for the emulator
	BT_PUSHF,
	BT_POPF,
	BT_CLI,
	BT_STI,
	BT_SWAPGS,
	BT_STAC,
	BT_CLAC,
	BT_MOV_SEG, // MOV r/m, CS or SS
	BT_MOV_CR2, // MOV r64, CR2
	BT_MOV_CR3, // MOV CR3, r64
	BT_READ_CR3, // MOV r64, CR3
	BT_INVLPG,  // [register]
	BT_IN_AL,   // IN AL, DX
	BT_OUT_AL,  // OUT DX, AL
	BT_SYSRET,
	BT_IRET,
};

enum bt_encoding { BT_ENC_LEGACY, BT_ENC_VEX2, BT_ENC_VEX3, BT_ENC_EVEX };

struct bt_insn {
	u16 off; // from the block's guest RIP
	u8 len, cls, opcode, map;
	u8 encoding, prefix_off; // of REX or of the VEX/XOP/EVEX escape; 0xff: none
	u8 rex, modrm_off, modrm; // modrm_off 0xff: none
	u8 disp_off, disp_size, imm_off, imm_size;
	bool opsize, addrsize, rip_relative;
	u32 code; // buffer position of its code, once emitted
	s64 imm;
	u64 target; // of a direct transfer, or the address of a RIP-relative operand
};

// Where the guest's RIP is.
enum bt_rip_rule {
	BT_RIP_LINEAR,   // guest_off + distance from the range's start: plainly copied code
	BT_RIP_GUEST,    // guest_off
	BT_RIP_RCX,      // in the machine's rcx
	BT_RIP_RCX_PLUS, // rcx + guest_off (inside an indirect entry or a landing)
	BT_RIP_TARGET,   // vcpu_page.target
	BT_RIP_SLOT,     // the target of link slot `slot`
};

#define BT_FIX_VIF BIT(0)         // vif := old_vif
#define BT_FIX_RSP_PUSHED BIT(1)  // rsp += 8: take a push back
#define BT_FIX_RSP_SCRATCH BIT(2) // rsp := scratch[0], guest_ss := scratch[1]
#define BT_FIX_KGS_RCX BIT(3)     // kernel_gs_base := the machine's rcx
#define BT_FIX_FLAGS_STACK BIT(4) // rflags := top word of vcpu_page.stack
#define BT_SHADOW BIT(5)          // the instruction at RIP follows an STI
#define BT_FIX_VIF_ZERO BIT(7)   // vif := 0
#define BT_START BIT(6)           // code here begins the guest instruction at guest_off, no register borrowed

struct bt_range {
	u16 code_off;  // from the block's code
	u16 guest_off; // from the block's guest RIP
	u8 spilled;    // mask of registers 0..7 to be restored from spill[]
	u8 fix;
	u8 rule : 3;    // enum bt_rip_rule
	u8 counted : 1; // the instruction at RIP is in the execution count already
	u8 exit : 4;    // enum bt_exit_kind: an INT of this kind is here
	u8 slot;       // from the block's first slot
};
_Static_assert(sizeof(struct bt_range) == 8, "ranges are the bulk of the metadata");

struct bt_slot {
	u64 target; // guest RIP
	u32 stub;   // cache offset of its INT
	u32 jump;   // cache offset of a jump through it, the first
	u32 owner;  // block
	u32 to;     // block it leads to, BT_NONE: its stub
	u32 next;   // in the incoming or pending list
	bool direct; // that jump leads straight to its target
};

struct bt_ref {
	u64 grains; // 64-byte pieces of the page that the block was made from
	u32 page;   // BT_NONE: unused
	u32 next;   // next reference of the page: block * 2 + index
};

#define BT_BLOCK_DEAD BIT(0)
#define BT_BLOCK_EMULATE BIT(1) // its first instruction is an exit: bt_entry says 0
#define BT_BLOCK_LANDING BIT(2) // only an indirect entry in front of another block's middle
#define BT_BLOCK_SYSTEM BIT(3)  // the common stubs

struct bt_block {
	u64 guest_rip;
	u32 code;  // cache offset of the indirect entry
	u16 hit;   // from there: where the indirect entry has found its RIP
	u16 entry; // direct entry
	u16 body;  // first instruction
	u16 code_len, guest_len;
	u16 range_count;
	u8 slot_count, flags;
	u32 first_range, first_slot, first_map; // first_map: bitmap of instruction starts
	u32 hash_next;
	u32 incoming; // slots that lead here
	struct bt_ref ref[2];
};

// One guest virtual page as backed by one physical page when blocks were made from it.
struct bt_page {
	u64 vpn;
	ppn_t ppn;
	u64 grains; // union over its blocks
	u32 refs;
	u32 vnext, pnext; // hash chains; vnext also chains the free list
	bool used;
};

struct bt_tail {
	u32 fixup; // position of a rel32 that leads here
	u16 guest_off;
	u8 spilled, slot, exit; // exit BT_EXIT_LINK: jump through the slot
	u8 fix; // VIF or VIF_ZERO: the exit undoes that first
	bool counted; // the instruction at guest_off is in the execution count
};

// One block while it is being made.
struct bt_emit {
	struct bt *bt;
	u64 guest_rip; // of the block
	u64 base;      // cache address of buf[0]
	u32 pos;
	u32 range_count, slot_count, tail_count, insn_count;
	u32 first_slot;
	u16 hit;       // position in an indirect entry
	s32 shadow; // guest offset of an instruction in STI's shadow, -1: none
	s32 counted; // guest offset of the instruction that was just counted, -1: none
	u64 slot_target[BT_SLOTS_MAX];
	u32 slot_stub[BT_SLOTS_MAX];
	u32 slot_jump[BT_SLOTS_MAX];
	struct bt_tail tail[BT_TAILS_MAX];
	struct {
		u32 fixup;
		u64 target;
	} inner[BT_MAX_INSNS]; // jumps to instructions of the same block
	u32 inner_count;
	u32 return_fixup[BT_MAX_INSNS], return_count; // immediates that get the address of the landing to come
	struct bt_insn insn[BT_MAX_INSNS];
	struct bt_range range[BT_RANGES_MAX];
	u8 window[BT_WINDOW + 16];
	u8 buf[BT_BLOCK_MAX] __attribute__((aligned(8)));
};

#define BT_QUIET_MAX 32
#define BT_RENEWAL_WORK 4096   // between two looks
#define BT_RENEWAL_FEW 64      // new blocks since the last look: the guest is doing what it did before
#define BT_RENEWAL_BLOCKS 4096 // added since things were last quiet: worth a renewal
struct bt {
	struct bt_config config;
	struct bt_stats stats;
	u64 generation;
	ZydisDecoder decoder;
	u64 code_used; // bytes
	u64 quiet[BT_QUIET_MAX]; // guest RIPs of stores that mostly change nothing (quiet.c)
	u32 quiet_count;
	u64 renewal_work, renewal_blocks; // at the last look
	u32 settled;                      // blocks in the cache when new ones first ceased to come after a flush, 0: not yet
	struct bt_block *block;
	u32 block_count, block_cap;
	u32 *hash; // by guest RIP
	u32 hash_mask;
	struct bt_slot *slot;
	u32 slot_count, slot_cap;
	u32 *pending; // by target
	u32 pending_mask;
	struct bt_range *range;
	u32 range_count, range_cap;
	u64 *map; // bitmaps of instruction starts
	u32 map_count, map_cap;
	struct bt_page *page;
	u32 page_count, page_cap, page_free, page_lower; // page_lower: those in the lower half
	u32 *vhash, *phash;
	u32 page_mask;
	u32 miss_stub, dispatch_stub; // cache offsets
	u64 ahead[BT_AHEAD_MAX]; // guest RIPs that are all but sure to be run soon
	u32 ahead_count;
	u64 *second;   // second look-up: tags (minus guest RIP), then targets; NULL: the cache is too small for one
	u64 missed[BT_MISS_FILTER]; // indirect targets inside a block seen once
	struct bt_emit emit;
};

// scan.c
bool bt_scan(struct bt *bt, struct bt_insn *in, const u8 *bytes, unsigned available, u64 rip);

bool bt_scan_zydis(struct bt *bt, struct bt_insn *in, const u8 *bytes, unsigned available, u64 rip);

// quick.c
bool bt_scan_quick(struct bt_insn *in, const u8 *bytes, u64 rip);

// emit.c
void bt_put8(struct bt_emit *e, u8 v);
void bt_put32(struct bt_emit *e, u32 v);
void bt_put64(struct bt_emit *e, u64 v);
void bt_put(struct bt_emit *e, const void *bytes, unsigned n);
void bt_range(struct bt_emit *e, struct bt_range r);
void bt_spill(struct bt_emit *e, unsigned reg);
void bt_unspill(struct bt_emit *e, unsigned reg);
void bt_store(struct bt_emit *e, unsigned field, unsigned reg); // mov [page field], r64
void bt_load(struct bt_emit *e, unsigned reg, unsigned field);  // mov r64, [page field]
void bt_load_byte(struct bt_emit *e, unsigned reg, unsigned field);  // movzx r32, byte [page field]
void bt_store_imm(struct bt_emit *e, unsigned field, s32 imm);  // mov qword [page field], imm
void bt_load32(struct bt_emit *e, unsigned reg, unsigned field); // the 32-bit forms
void bt_store32(struct bt_emit *e, unsigned field, unsigned reg);
void bt_cmp32(struct bt_emit *e, unsigned reg, unsigned field); // cmp r32, [page field]
void bt_cmp_imm8(struct bt_emit *e, unsigned field, s8 imm);    // cmp qword [page field], imm
void bt_lea_field(struct bt_emit *e, unsigned reg, unsigned field);
void bt_mov_imm(struct bt_emit *e, unsigned reg, u64 v);
void bt_jump_slot(struct bt_emit *e, unsigned slot);
void bt_exit_here(struct bt_emit *e, enum bt_exit_kind kind, unsigned guest_off, unsigned spilled, unsigned fix);
unsigned bt_slot_for(struct bt_emit *e, u64 target);
void bt_jump_tail(struct bt_emit *e, int cc, struct bt_tail t); // jcc (cc 0..15) or jmp (cc < 0) to an exit at the end
void bt_jump_inner(struct bt_emit *e, int cc, u64 target);
void bt_finish_tails(struct bt_emit *e);
u32 bt_short_jump(struct bt_emit *e, u8 opcode);   // two-byte jump forward, returns a label for ...
void bt_here(struct bt_emit *e, u32 label);        // ... this
static inline bool bt_fits32(u64 v)
{
	return (u64)(s64)(s32)v == v;
}

// control.c
void bt_emit_system(struct bt_emit *e);
void bt_emit_indirect_entry(struct bt_emit *e);
void bt_emit_leave(struct bt_emit *e, u64 target); // unconditional exit
void bt_emit_jump(struct bt_emit *e, const struct bt_insn *in, bool inner);
void bt_emit_jcc(struct bt_emit *e, const struct bt_insn *in, bool inner);
void bt_emit_loop(struct bt_emit *e, const struct bt_insn *in, bool inner, const u8 *bytes);
void bt_emit_call(struct bt_emit *e, const struct bt_insn *in, bool inner);
void bt_emit_ret(struct bt_emit *e, const struct bt_insn *in);
void bt_emit_indirect(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes);
void bt_emit_dispatch(struct bt_emit *e); // target in rcx, rax and rcx spilled
void bt_emit_landing(struct bt_emit *e, unsigned guest_off); // where a call's return comes back to
bool bt_calls_return(const struct bt *bt);                   // a call does not end its block

// template.c
void bt_emit_copy(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes);

// quiet.c
bool bt_is_quiet_site(const struct bt *bt, u64 guest_rip);
bool bt_can_compare(const struct bt_insn *in, const u8 *bytes);
void bt_emit_store_if_different(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes);
bool bt_can_copy(const struct bt_insn *in);
// Re-encodes a RIP-relative memory operand; base < 0: absolute disp32, else [base]. Appends from the prefixes to the end.
void bt_emit_rebased(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes, int base);
void bt_emit_sensitive(struct bt_emit *e, const struct bt_insn *in);

// cache.c
u32 bt_lookup(const struct bt *bt, u64 guest_rip);
u32 bt_block_at(const struct bt *bt, u64 cache_rip);
const struct bt_range *bt_range_at(const struct bt *bt, const struct bt_block *b, u32 off);
u64 bt_inside(const struct bt *bt, u64 guest_rip, u32 *block); // cache address of an instruction inside some block
void bt_slot_attach(struct bt *bt, u32 slot);                  // to its target if there is one, else pending
void bt_slot_set(struct bt *bt, u32 slot, u32 block, u64 entry);
void bt_attach_pending(struct bt *bt, u32 block);
void bt_drop(struct bt *bt, u32 block);
static inline u32 bt_hash64(u64 v)
{
	v *= 0x9e3779b97f4a7c15ull;
	return (u32)(v >> 32);
}

// pages.c
void bt_page_release_empty(struct bt *bt, u32 page);
u32 bt_page_get(struct bt *bt, u64 guest_va, ppn_t ppn, bool *fresh); // BT_NONE: none left or cannot be protected
void bt_page_add(struct bt *bt, u32 block, unsigned index, u32 page, u64 grains);
void bt_page_remove(struct bt *bt, u32 block);
void bt_pages_reset(struct bt *bt);
void bt_pages_release_all(struct bt *bt);
void bt_audit_pages(const struct bt *bt);

// translate.c
u32 bt_translate(struct bt *bt, u64 guest_rip, bool landing); // block, or BT_NONE
bool bt_has_room(const struct bt *bt);                        // for one block without a flush
void bt_make_system(struct bt *bt);

#endif
