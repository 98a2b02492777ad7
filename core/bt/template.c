// SPDX-License-Identifier: MIT
// Templates of copied and of sensitive instructions. Each has one point of commitment; the ranges before it roll back, those
// behind it roll forward. Flags are kept unless the guest instruction itself loads them (POPF, IRET, SYSRET).
#include "core/bt/internal.h"

#include "base/string.h"

#define SP_A BIT(R_RAX)
#define SP_AC (BIT(R_RAX) | BIT(R_RCX))
#define SP_ASP (BIT(R_RAX) | BIT(R_RSP))
#define SP_ACSP (BIT(R_RAX) | BIT(R_RCX) | BIT(R_RSP))
#define FIELD(f) offsetof(struct vcpu_page, f)
#define STACK_TOP offsetof(struct vcpu_page, stack[31])

static void fixed(struct bt_emit *e, unsigned off, unsigned spilled, unsigned fix)
{
	bt_range(e, (struct bt_range){.rule = BT_RIP_GUEST, .guest_off = (u16)off, .spilled = (u8)spilled, .fix = (u8)fix});
}

static void before(struct bt_emit *e, const struct bt_insn *in, unsigned spilled)
{
	fixed(e, in->off, spilled, 0);
}

static void after(struct bt_emit *e, const struct bt_insn *in, unsigned spilled)
{
	fixed(e, in->off + in->len, spilled, 0);
}

static void start(struct bt_emit *e, const struct bt_insn *in)
{
	fixed(e, in->off, 0, BT_START);
}

static void tail_emulate(struct bt_emit *e, const struct bt_insn *in, int cc, unsigned spilled, unsigned fix)
{
	bt_jump_tail(e, cc, (struct bt_tail){.exit = BT_EXIT_EMULATE, .guest_off = in->off, .spilled = (u8)spilled,
					     .fix = (u8)fix});
}

// --- copied instructions ---

bool bt_can_copy(const struct bt_insn *in)
{
	return !in->rip_relative || in->len < 15 || !bt_fits32(in->target);
}

void bt_emit_rebased(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes, int base)
{
	u8 code[16];
	unsigned n = in->modrm_off;

	memcpy(code, bytes, n);
	if (in->encoding == BT_ENC_LEGACY && in->prefix_off != 0xff)
		code[in->prefix_off] &= (u8)~3; // REX.X and REX.B had no meaning
	else if (in->encoding == BT_ENC_VEX3 || in->encoding == BT_ENC_EVEX)
		code[in->prefix_off + 1] |= 0x60;
	if (base < 0) {
		u32 target = (u32)in->target;

		code[n++] = (in->modrm & 0x38) | 4;
		code[n++] = 0x25;
		memcpy(code + n, &target, 4);
		n += 4;
	} else {
		code[n++] = (in->modrm & 0x38) | (u8)base;
	}
	bt_put(e, code, n);
	bt_put(e, bytes + in->disp_off + 4, in->len - in->disp_off - 4u);
}

// A register of rax..rdi that the instruction does not name or imply; rsp and rbp would change the segment or encoding.
static int free_register(const u8 *bytes, unsigned len)
{
	struct insn full;
	u32 used = BIT(R_RSP) | BIT(R_RBP);

	if (!insn_decode(&full, INSN_MODE_64, bytes, len))
		return -1;
	for (unsigned i = 0; i < full.d.operand_count; i++) {
		int n = -1;

		if (full.op[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			n = insn_gpr_number(full.op[i].reg.value);
		else if (full.op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && full.op[i].mem.base != ZYDIS_REGISTER_RIP)
			n = insn_gpr_number(full.op[i].mem.base);
		if (n >= 0)
			used |= (u32)BIT(n);
		if (full.op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && n < 0)
			used |= BIT(R_RAX) | BIT(R_RCX) | BIT(R_RDX) | BIT(R_RBX); // AH..BH
	}
	for (int reg = 0; reg < 8; reg++)
		if (!(used & BIT(reg)))
			return reg;
	return -1;
}

static void emit_lea_far(struct bt_emit *e, const struct bt_insn *in)
{
	unsigned reg = ((in->modrm >> 3) & 7) | (in->rex & 4) << 1;

	start(e, in);
	bt_mov_imm(e, reg, in->rex & 8 ? in->target : (u32)in->target);
}

static void emit_copy_far(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes)
{
	int reg = free_register(bytes, in->len);

	start(e, in);
	if (reg < 0) {
		bt_exit_here(e, BT_EXIT_EMULATE, in->off, 0, BT_START);
		return;
	}
	bt_spill(e, (unsigned)reg);
	before(e, in, (unsigned)BIT(reg));
	bt_mov_imm(e, (unsigned)reg, in->target);
	bt_emit_rebased(e, in, bytes, reg);
	after(e, in, e->bt->config.plant == BT_PLANT_SPILL ? 0 : (unsigned)BIT(reg));
	bt_unspill(e, (unsigned)reg);
}

void bt_emit_copy(struct bt_emit *e, const struct bt_insn *in, const u8 *bytes)
{
	if (in->rip_relative && !bt_fits32(in->target)) {
		if (in->map == 0 && in->opcode == 0x8d && in->encoding == BT_ENC_LEGACY && !in->opsize)
			emit_lea_far(e, in);
		else
			emit_copy_far(e, in, bytes);
	} else if (in->rip_relative) {
		struct bt_insn moved = *in;

		start(e, in);
		moved.target += e->bt->config.plant == BT_PLANT_RIPREL;
		bt_emit_rebased(e, &moved, bytes, -1);
	} else {
		if (e->shadow == in->off)
			start(e, in);
		else
			bt_range(e, (struct bt_range){.rule = BT_RIP_LINEAR, .guest_off = in->off});
		bt_put(e, bytes, in->len);
	}
}

// --- flags and IF ---

// The pushed word is real: IF 1, IOPL 0. The guest's IF is put in while the push can still be taken back.
static void emit_pushf(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_spill(e, R_RAX);
	before(e, in, SP_A);
	bt_spill(e, R_RCX);
	before(e, in, SP_AC);
	bt_put8(e, 0x9c);
	fixed(e, in->off, SP_AC, BT_FIX_RSP_PUSHED);
	bt_put(e, "\x48\x8b\x04\x24", 4); // mov rax, [rsp]
	bt_load(e, R_RCX, FIELD(vif));
	bt_put(e, "\x48\x8d\x84\x08", 4); // lea rax, [rax + rcx - 0x200]
	bt_put32(e, e->bt->config.plant == BT_PLANT_PUSHF ? 0u : (u32)-0x200);
	bt_put(e, "\x48\x89\x04\x24", 4); // mov [rsp], rax
	after(e, in, SP_AC);
	bt_unspill(e, R_RCX);
	bt_unspill(e, R_RAX);
}

// rax holds a flags word: ecx := word & (IF | TF) << 8 shifted down, that is bits 7 and 6 of cl; flags kept.
static void isolate_if_tf(struct bt_emit *e)
{
	bt_put(e, "\x0f\xb6\xcc", 3);             // movzx ecx, ah
	bt_put(e, "\x8d\x0c\xcd\0\0\0\0", 7);     // lea ecx, [rcx * 8]
	bt_put(e, "\x8d\x0c\xcd\0\0\0\0", 7);     // lea ecx, [rcx * 8]
	bt_put(e, "\x0f\xb6\xc9", 3);             // movzx ecx, cl
}

static void event_check_tail(struct bt_emit *e, const struct bt_insn *in, unsigned spilled)
{
	bt_jump_tail(e, -1, (struct bt_tail){.exit = BT_EXIT_PENDING, .guest_off = (u16)(in->off + in->len),
					     .spilled = (u8)spilled});
}

// TF would trap inside the cache, and IOPL is the emulator's: it does those. Everything up to the real POPFQ can be taken back.
static void emit_popf(struct bt_emit *e, const struct bt_insn *in)
{
	u32 plain, masked, quiet;

	start(e, in);
	bt_spill(e, R_RAX);
	before(e, in, SP_A);
	bt_spill(e, R_RCX);
	before(e, in, SP_AC);
	bt_put(e, "\x0f\xb6\x4c\x24\x01", 5); // movzx ecx, byte [rsp + 1]
	bt_lea_field(e, R_RAX, FIELD(popf_special));
	bt_put(e, "\x0f\xb6\x0c\x08", 4); // movzx ecx, byte [rax + rcx]
	plain = bt_short_jump(e, 0xe3);
	tail_emulate(e, in, -1, SP_AC, 0);
	bt_here(e, plain);
	bt_put(e, "\x48\x8b\x04\x24", 4); // mov rax, [rsp]
	isolate_if_tf(e);
	bt_put(e, "\x8d\x0c\x8d\0\0\0\0", 7); // lea ecx, [rcx * 4]: the guest's new IF
	bt_load(e, R_RAX, FIELD(vif));
	bt_store(e, FIELD(old_vif), R_RAX);
	bt_store(e, FIELD(vif), R_RCX);
	fixed(e, in->off, SP_AC, e->bt->config.plant == BT_PLANT_VIF ? 0 : BT_FIX_VIF);
	bt_put8(e, 0x9d); // IOPL and IF stay as ring 1 cannot change them
	after(e, in, SP_AC);
	masked = bt_short_jump(e, 0xe3);
	bt_load(e, R_RCX, FIELD(pending));
	quiet = bt_short_jump(e, 0xe3);
	event_check_tail(e, in, SP_AC);
	bt_here(e, masked);
	bt_here(e, quiet);
	bt_unspill(e, R_RCX);
	bt_unspill(e, R_RAX);
}

static void emit_cli(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_store_imm(e, FIELD(vif), 0);
}

// IF first, then the look at pending: an interrupt before the store leaves its event pending and is seen here, one after
// it finds IF set. A waiting event goes to the emulator, which runs STI and the instruction in its shadow, exactly. Up to
// the branch STI is taken back, as one from IF 0 (one from IF 1 changes nothing but the shadow).
static void emit_sti(struct bt_emit *e, const struct bt_insn *in)
{
	u32 quiet;

	start(e, in);
	bt_spill(e, R_RCX);
	before(e, in, BIT(R_RCX));
	bt_store_imm(e, FIELD(vif), RFL_IF);
	fixed(e, in->off, BIT(R_RCX), BT_FIX_VIF_ZERO);
	bt_load(e, R_RCX, FIELD(pending));
	quiet = bt_short_jump(e, 0xe3);
	tail_emulate(e, in, -1, BIT(R_RCX), BT_FIX_VIF_ZERO);
	bt_here(e, quiet);
	e->shadow = in->off + in->len;
	after(e, in, BIT(R_RCX));
	bt_unspill(e, R_RCX);
}

// AC through the small stack. From the OR or AND on the arithmetic flags live in the saved word: roll forward with it.
static void emit_ac(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_spill(e, R_RSP);
	before(e, in, BIT(R_RSP));
	bt_lea_field(e, R_RSP, STACK_TOP + 8);
	bt_put8(e, 0x9c);
	if (in->cls == BT_STAC) {
		bt_put(e, "\x81\x0c\x24", 3); // or dword [rsp], AC
		bt_put32(e, (u32)RFL_AC);
	} else {
		bt_put(e, "\x81\x24\x24", 3); // and dword [rsp], ~AC
		bt_put32(e, ~(u32)RFL_AC);
	}
	fixed(e, in->off + in->len, BIT(R_RSP), BT_FIX_FLAGS_STACK);
	bt_put8(e, 0x9d);
	after(e, in, BIT(R_RSP));
	bt_unspill(e, R_RSP);
}

// --- control registers ---

// The gate loads the root if it may; else the emulator does. Loading the same root again changes nothing, so the whole
// template rolls back until its end.
static void emit_mov_cr3(struct bt_emit *e, const struct bt_insn *in)
{
	u32 done;

	start(e, in);
	bt_store(e, FIELD(cr3_request), (in->modrm & 7) | (in->rex & 1) << 3);
	bt_spill(e, R_RCX);
	before(e, in, BIT(R_RCX));
	bt_put8(e, 0xcd);
	bt_put8(e, GATE_CR3_VECTOR);
	bt_load(e, R_RCX, FIELD(cr3_refused));
	done = bt_short_jump(e, 0xe3);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, done);
	after(e, in, BIT(R_RCX));
	bt_unspill(e, R_RCX);
}

// Every write to a shadowed page table was a crossing, which has flushed the TLB: there is nothing to do, unless code was translated
// from that address. No flags: the address's top byte is 0 in the lower half.
static void emit_invlpg(struct bt_emit *e, const struct bt_insn *in)
{
	u32 no_code, lower;

	start(e, in);
	bt_store(e, FIELD(invlpg_va), (in->modrm & 7) | (in->rex & 1) << 3);
	bt_spill(e, R_RCX);
	before(e, in, BIT(R_RCX));
	bt_load(e, R_RCX, FIELD(invlpg_exits));
	no_code = bt_short_jump(e, 0xe3);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, no_code);
	bt_load_byte(e, R_RCX, FIELD(invlpg_va) + 7);
	lower = bt_short_jump(e, 0xe3);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, lower);
	after(e, in, BIT(R_RCX));
	bt_unspill(e, R_RCX);
}

// --- console port ---

// RCX is spilled from here on. Falls through if the UART is plain; else the emulator does it.
static void uart_start(struct bt_emit *e, const struct bt_insn *in)
{
	u32 plain;

	start(e, in);
	bt_spill(e, R_RCX);
	before(e, in, BIT(R_RCX));
	bt_load(e, R_RCX, FIELD(uart_room));
	bt_put(e, "\xe3\x02", 2); // jrcxz over the jump
	plain = bt_short_jump(e, 0xeb);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, plain);
	bt_put(e, "\x0f\xb7\xca", 3); // movzx ecx, dx
}

// RCX is DX less `from`. Jumps if DX is `port`.
static u32 uart_port_is(struct bt_emit *e, u16 from, u16 port)
{
	bt_put(e, "\x48\x8d\x89", 3); // lea rcx, [rcx + disp32]
	bt_put32(e, (u32)((s32)from - port));
	return bt_short_jump(e, 0xe3);
}

static void in_al_constant(struct bt_emit *e, const struct bt_insn *in, unsigned field)
{
	before(e, in, BIT(R_RCX));
	bt_load(e, R_RCX, field);
	bt_put(e, "\x88\xc8", 2); // mov al, cl
	after(e, in, BIT(R_RCX));
	bt_unspill(e, R_RCX);
}

// Reading IIR acknowledges: the store commits, and AL is the guest's old one until then.
static void in_al_iir(struct bt_emit *e, const struct bt_insn *in)
{
	before(e, in, BIT(R_RCX));
	bt_spill(e, R_RAX);
	before(e, in, SP_AC);
	bt_load(e, R_RCX, FIELD(uart_iir));
	bt_put(e, "\x88\xc8", 2); // mov al, cl
	bt_load(e, R_RCX, FIELD(uart_iir_read));
	bt_store(e, FIELD(uart_iir), R_RCX);
	after(e, in, BIT(R_RCX));
	bt_unspill(e, R_RCX);
}

static void emit_in_al(struct bt_emit *e, const struct bt_insn *in)
{
	u32 lsr, iir, msr, done[2];

	uart_start(e, in);
	lsr = uart_port_is(e, 0, UART_FAST_LSR);
	iir = uart_port_is(e, UART_FAST_LSR, UART_FAST_IIR);
	msr = uart_port_is(e, UART_FAST_IIR, UART_FAST_MSR);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, lsr);
	in_al_constant(e, in, FIELD(uart_lsr));
	done[0] = bt_short_jump(e, 0xeb);
	bt_here(e, msr);
	in_al_constant(e, in, FIELD(uart_msr));
	done[1] = bt_short_jump(e, 0xeb);
	bt_here(e, iir);
	in_al_iir(e, in);
	bt_here(e, done[0]);
	bt_here(e, done[1]);
}

// What the transmitter's interrupt needs is stored around the byte's commitment: one `pending` too many does no harm.
static void emit_out_al(struct bt_emit *e, const struct bt_insn *in)
{
	u32 ours;

	uart_start(e, in);
	ours = uart_port_is(e, 0, UART_FAST_PORT);
	tail_emulate(e, in, -1, BIT(R_RCX), 0);
	bt_here(e, ours);
	bt_spill(e, R_RDX);
	before(e, in, BIT(R_RCX) | BIT(R_RDX));
	bt_load(e, R_RDX, FIELD(uart_iir_sent));
	bt_store(e, FIELD(uart_iir), R_RDX);
	bt_load(e, R_RCX, FIELD(pending));
	bt_load(e, R_RDX, FIELD(uart_event));
	bt_put(e, "\x48\x8d\x0c\x11", 4); // lea rcx, [rcx + rdx]
	bt_store(e, FIELD(pending), R_RCX);
	bt_load(e, R_RCX, FIELD(uart_room));
	bt_lea_field(e, R_RDX, FIELD(uart_buffer) - 1);
	bt_put(e, "\x88\x04\x0a\x48\x8d\x49\xff", 7); // mov [rdx + rcx], al; lea rcx, [rcx - 1]
	bt_store(e, FIELD(uart_room), R_RCX);
	after(e, in, BIT(R_RCX) | BIT(R_RDX));
	bt_unspill(e, R_RDX);
	bt_unspill(e, R_RCX);
}

// --- segments ---

static void emit_swapgs(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_spill(e, R_RAX);
	before(e, in, SP_A);
	bt_spill(e, R_RCX);
	before(e, in, SP_AC);
	bt_put(e, "\xf3\x48\x0f\xae\xc8", 5); // rdgsbase rax
	bt_load(e, R_RCX, FIELD(kernel_gs_base));
	bt_store(e, FIELD(kernel_gs_base), R_RAX);
	fixed(e, in->off, SP_AC, BT_FIX_KGS_RCX);
	bt_put(e, "\xf3\x48\x0f\xae\xd9", 5); // wrgsbase rcx
	after(e, in, SP_AC);
	bt_unspill(e, R_RCX);
	bt_unspill(e, R_RAX);
}

static void emit_mov_seg(struct bt_emit *e, const struct bt_insn *in)
{
	bool cs = ((in->modrm >> 3) & 7) == SEG_CS;
	unsigned reg = (in->modrm & 7) | (in->rex & 1) << 3;

	start(e, in);
	if (in->opsize)
		bt_put8(e, 0x66);
	bt_load32(e, reg, cs ? FIELD(guest_cs) : FIELD(guest_ss));
}

// --- returns to user mode and to the kernel ---

// eax holds flags. Sets vif from their IF (flags are free here), and when IF becomes 1 with an event
// waiting leaves for the emulator with vif as it was. Looking after the store leaves no gap: see emit_sti().
static void load_vif(struct bt_emit *e, const struct bt_insn *in, unsigned spilled)
{
	u32 masked;

	bt_put8(e, 0x25); // and eax, IF
	bt_put32(e, (u32)RFL_IF);
	bt_store(e, FIELD(vif), R_RAX);
	fixed(e, in->off, spilled, BT_FIX_VIF);
	masked = bt_short_jump(e, 0x74);
	bt_cmp_imm8(e, FIELD(pending), 0);
	tail_emulate(e, in, 5, spilled, BT_FIX_VIF);
	bt_here(e, masked);
}

static void emit_sysret(struct bt_emit *e, const struct bt_insn *in)
{
	start(e, in);
	bt_spill(e, R_RAX);
	before(e, in, SP_A);
	bt_spill(e, R_RSP);
	before(e, in, SP_ASP);
	bt_put(e, "\x48\x89\xc8\x48\xc1\xe8\x2f", 7); // mov rax, rcx; shr rax, 47
	tail_emulate(e, in, 5, SP_ASP, 0);               // not in the lower half
	bt_put(e, "\x44\x89\xd8\xa9", 4);             // mov eax, r11d; test eax, TF | IOPL
	bt_put32(e, (u32)(RFL_TF | RFL_IOPL));
	tail_emulate(e, in, 5, SP_ASP, 0);
	bt_store(e, FIELD(frame[0]), R_RCX);
	bt_store_imm(e, FIELD(frame[1]), e->bt->config.user_cs);
	bt_put8(e, 0x25); // and eax, what SYSRET loads
	bt_put32(e, 0x3c7fd7);
	bt_put(e, "\x0d", 1); // or eax, fixed bit and the real IF
	bt_put32(e, (u32)(RFL_FIXED | RFL_IF));
	bt_store(e, FIELD(frame[2]), R_RAX);
	bt_store(e, FIELD(frame[3]), R_RSP);
	bt_store_imm(e, FIELD(frame[4]), e->bt->config.user_ss);
	bt_load(e, R_RAX, FIELD(vif));
	bt_store(e, FIELD(old_vif), R_RAX);
	bt_put(e, "\x44\x89\xd8", 3); // mov eax, r11d
	load_vif(e, in, SP_ASP);
	bt_unspill(e, R_RAX);
	bt_lea_field(e, R_RSP, FIELD(frame));
	bt_put(e, "\x48\xcf", 2);
}

// Return to ring 3: the guest's own frame, natively. A fault in it is the guest's own.
static void emit_iret_user(struct bt_emit *e, const struct bt_insn *in)
{
	bt_put(e, "\x24\x03\x3c\x03", 4); // and al, 3; cmp al, 3
	tail_emulate(e, in, 5, SP_AC, 0);
	bt_put(e, "\x8b\x44\x24\x10\xa9", 5); // mov eax, [rsp + 16]; test eax, ...
	bt_put32(e, (u32)RFL_IOPL);
	tail_emulate(e, in, 5, SP_AC, 0);
	bt_load(e, R_RCX, FIELD(vif));
	bt_store(e, FIELD(old_vif), R_RCX);
	load_vif(e, in, SP_AC);
	bt_unspill(e, R_RCX);
	bt_unspill(e, R_RAX);
	bt_put(e, "\x48\xcf", 2);
}

// Return to the kernel itself: flags by POPFQ from the small stack (the commit), RSP and SS from scratch, RIP through the IBTC.
// SS may be what is loaded anyway, null, or what SYSCALL loads; another one is the emulator's to check.
static void emit_iret_kernel(struct bt_emit *e, const struct bt_insn *in)
{
	u32 null_ss, same_ss;

	bt_put(e, "\x0f\xb7\x44\x24\x20\x85\xc0", 7); // movzx eax, word [rsp + 32]; test eax, eax
	null_ss = bt_short_jump(e, 0x74);
	bt_cmp32(e, R_RAX, FIELD(guest_ss));
	same_ss = bt_short_jump(e, 0x74);
	bt_put8(e, 0x3d); // cmp eax, SS
	bt_put32(e, e->bt->config.guest_ss);
	tail_emulate(e, in, 5, SP_AC, 0);
	bt_here(e, null_ss);
	bt_here(e, same_ss);
	bt_store(e, FIELD(scratch[1]), R_RAX);
	bt_put(e, "\x8b\x44\x24\x10\xa9", 5); // mov eax, [rsp + 16]; test eax, ...
	bt_put32(e, (u32)(RFL_TF | RFL_NT | RFL_VM | RFL_VIF | RFL_VIP | RFL_IOPL));
	tail_emulate(e, in, 5, SP_AC, 0);
	bt_spill(e, R_RSP);
	before(e, in, SP_ACSP);
	bt_put(e, "\x48\x8b\x4c\x24\x18", 5); // mov rcx, [rsp + 24]
	bt_store(e, FIELD(scratch[0]), R_RCX);
	bt_store(e, STACK_TOP, R_RAX);
	bt_load(e, R_RCX, FIELD(vif));
	bt_store(e, FIELD(old_vif), R_RCX);
	bt_put(e, "\x48\x8b\x0c\x24", 4); // mov rcx, [rsp]
	load_vif(e, in, SP_ACSP);
	bt_lea_field(e, R_RSP, STACK_TOP);
	bt_put8(e, 0x9d);
	bt_range(e, (struct bt_range){.rule = BT_RIP_RCX, .spilled = SP_AC, .fix = BT_FIX_RSP_SCRATCH});
	bt_load(e, R_RAX, FIELD(scratch[1]));
	bt_store32(e, FIELD(guest_ss), R_RAX);
	bt_load(e, R_RSP, FIELD(scratch[0]));
	bt_emit_dispatch(e);
}

static void emit_iret(struct bt_emit *e, const struct bt_insn *in)
{
	u32 user;

	start(e, in);
	bt_spill(e, R_RAX);
	before(e, in, SP_A);
	bt_spill(e, R_RCX);
	before(e, in, SP_AC);
	bt_put(e, "\x0f\xb7\x44\x24\x08", 5); // movzx eax, word [rsp + 8]
	bt_cmp32(e, R_RAX, FIELD(guest_cs));
	bt_put(e, "\x0f\x84", 2); // je kernel
	bt_put32(e, 0);
	user = e->pos;
	emit_iret_user(e, in);
	assert(e->pos - user < 256);
	e->buf[user - 4] = (u8)(e->pos - user);
	before(e, in, SP_AC);
	emit_iret_kernel(e, in);
}

void bt_emit_sensitive(struct bt_emit *e, const struct bt_insn *in)
{
	switch (in->cls) {
	case BT_PUSHF:
		emit_pushf(e, in);
		break;
	case BT_POPF:
		emit_popf(e, in);
		break;
	case BT_CLI:
		emit_cli(e, in);
		break;
	case BT_STI:
		emit_sti(e, in);
		break;
	case BT_STAC:
	case BT_CLAC:
		emit_ac(e, in);
		break;
	case BT_SWAPGS:
		emit_swapgs(e, in);
		break;
	case BT_MOV_SEG:
		emit_mov_seg(e, in);
		break;
	case BT_MOV_CR2:
		start(e, in);
		bt_load(e, (in->modrm & 7) | (in->rex & 1) << 3, FIELD(guest_cr2));
		break;
	case BT_READ_CR3:
		start(e, in);
		bt_load(e, (in->modrm & 7) | (in->rex & 1) << 3, FIELD(guest_cr3));
		break;
	case BT_IN_AL:
		emit_in_al(e, in);
		break;
	case BT_OUT_AL:
		emit_out_al(e, in);
		break;
	case BT_MOV_CR3:
		emit_mov_cr3(e, in);
		break;
	case BT_INVLPG:
		emit_invlpg(e, in);
		break;
	case BT_SYSRET:
		emit_sysret(e, in);
		break;
	case BT_IRET:
		emit_iret(e, in);
		break;
	default:
		start(e, in);
		bt_exit_here(e, BT_EXIT_EMULATE, in->off, 0, BT_START);
		break;
	}
}
