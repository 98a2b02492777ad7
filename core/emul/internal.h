// SPDX-License-Identifier: MIT
// What the files of the emulator share: the instruction in flight, operand and memory access, and the handlers that the
// dispatch table in step.c names. A handler does its memory writes first, then its registers, and never RIP: it sets
// `next`, which emul_step commits when the handler returns EMUL_OK.
#ifndef CORE_EMUL_INTERNAL_H
#define CORE_EMUL_INTERNAL_H

#include "core/emul/emul.h"
#include "core/x86/flags.h"
#include "core/x86/insn.h"

struct emu {
	struct emul *e;
	struct x86_cpu *cpu;
	const struct emul_ports *p;
	void *ctx;
	u64 next;            // RIP to commit
	enum insn_mode mode; // of the code segment
	bool shadow;         // this instruction starts an interrupt shadow
	bool keep_rf;        // it loaded RF itself
	bool switched;       // it changed tasks: what was the old task's (TF) no longer counts
	u32 hits;            // data breakpoints it has met
	struct insn in;
};

typedef enum emul_result (*emu_fn)(struct emu *x);
// New value of a destination; *flags holds RFLAGS before and gets them after.
typedef u64 (*emu_alu)(u64 dst, u64 src, unsigned bits, u64 *flags);

#define TRY(call)                                     \
	do {                                          \
		enum emul_result try_result = (call); \
		if (unlikely(try_result != EMUL_OK))  \
			return try_result;            \
	} while (0)

// Locked updates and REP chunks are bounded; beyond that the caller runs the instruction again.
#define EMU_LOCK_TRIES 64
#define EMU_REP_CHUNK 4096

enum insn_mode emu_mode(const struct x86_cpu *c); // of the code segment (step.c)

static inline bool emu_long(const struct emu *x)
{
	return x->mode == INSN_MODE_64;
}

static inline bool emu_protected(const struct emu *x)
{
	return (x->cpu->cr0 & CR0_PE) && !(x->cpu->rflags & RFL_VM);
}

// IA-32e mode: 64-bit or compatibility.
static inline bool emu_lma(const struct emu *x)
{
	return x->cpu->efer & EFER_LMA;
}

static inline bool emu_locked(const struct emu *x)
{
	return x->in.d.attributes & ZYDIS_ATTRIB_HAS_LOCK;
}

static inline bool emu_is_mem(const struct emu *x, unsigned i)
{
	return x->in.op[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static inline unsigned emu_bits(const struct emu *x, unsigned i)
{
	return x->in.op[i].size;
}

// Faults (operand.c).
enum emul_result emu_fault(struct emu *x, unsigned vector);                // without an error code
enum emul_result emu_fault_code(struct emu *x, unsigned vector, u32 code); // with one
#define emu_gp0(x) emu_fault_code(x, VEC_GP, 0)
#define emu_ud(x) emu_fault(x, VEC_UD)
enum emul_result emu_need_cpl0(struct emu *x);

// Registers and operands (operand.c).
u64 emu_reg_get(const struct x86_cpu *cpu, ZydisRegister reg);
void emu_reg_set(struct x86_cpu *cpu, ZydisRegister reg, u64 v);
void emu_gpr_set(struct x86_cpu *cpu, unsigned n, unsigned bits, u64 v); // 32 bits zero-extend, 8 and 16 merge
bool emu_is_segment_register(ZydisRegister reg);
enum emul_result emu_get(struct emu *x, unsigned i, u64 *v);
enum emul_result emu_set(struct emu *x, unsigned i, u64 v);
u64 emu_offset(const struct emu *x, unsigned i);        // effective address without segment
unsigned emu_segment(const struct emu *x, unsigned i);  // SEG_* of a memory operand
bool emu_misaligned16(const struct emu *x, unsigned i); // checked before the address is: #GP wins over #SS
unsigned emu_default_data_segment(const struct emu *x); // DS or the override, for string instructions

// Memory (operand.c). kind: EMUL_*. Segment checks, then the ports.
enum emul_result emu_linear(struct emu *x, unsigned seg, u64 offset, unsigned len, unsigned kind, u64 *linear);
enum emul_result emu_read(struct emu *x, unsigned seg, u64 offset, void *buf, unsigned len, unsigned kind);
enum emul_result emu_write(struct emu *x, unsigned seg, u64 offset, const void *buf, unsigned len);
enum emul_result emu_read_op(struct emu *x, unsigned i, void *buf, unsigned len);
enum emul_result emu_write_op(struct emu *x, unsigned i, const void *buf, unsigned len);
enum emul_result emu_sys_read(struct emu *x, u64 linear, void *buf, unsigned len);
enum emul_result emu_sys_write(struct emu *x, u64 linear, const void *buf, unsigned len);

// Read-modify-write of operand 0, locked when asked; flags are committed. old may be NULL.
enum emul_result emu_rmw(struct emu *x, emu_alu f, u64 src, u64 *old);
enum emul_result emu_rmw_at(struct emu *x, unsigned seg, u64 offset, unsigned bits, bool locked, emu_alu f, u64 src,
			    u64 *old, u64 *flags);

// Stack (operand.c): on a local copy of the stack pointer, committed by emu_sp_set.
u64 emu_sp(const struct emu *x);
void emu_sp_set(struct emu *x, u64 sp);
enum emul_result emu_push(struct emu *x, u64 *sp, unsigned bytes, u64 v);
enum emul_result emu_pop(struct emu *x, u64 *sp, unsigned bytes, u64 *v);
enum emul_result emu_branch(struct emu *x, u64 target, unsigned bits); // near: checks, then next = target

// Segments (segment.c).
struct emu_desc {
	u64 raw, high; // high: upper half of 16-byte system descriptors
	u64 at;        // linear address
};
#define DESC_TYPE(r) ((unsigned)((r) >> 40) & 15)
#define DESC_S(r) (((r) >> 44) & 1)
#define DESC_DPL(r) ((unsigned)((r) >> 45) & 3)
#define DESC_P(r) (((r) >> 47) & 1)
#define DESC_L(r) (((r) >> 53) & 1)
#define DESC_DB(r) (((r) >> 54) & 1)
#define TYPE_CODE 8
#define TYPE_CONFORMING 4
#define TYPE_WRITE 2
#define TYPE_ACCESSED 1
// System descriptors; SYS_32 and SYS_BUSY are bits of the others.
#define SYS_TSS16 1
#define SYS_LDT 2
#define SYS_BUSY 2
#define SYS_CALL16 4
#define SYS_TASK_GATE 5
#define SYS_32 8
#define SYS_TSS 9
#define SYS_CALL32 12

static inline bool desc_is_code(u64 raw)
{
	return DESC_S(raw) && (DESC_TYPE(raw) & TYPE_CODE);
}

enum emul_result emu_desc_read(struct emu *x, u16 sel, unsigned vector, u32 ext, struct emu_desc *d);
enum emul_result emu_desc_read16(struct emu *x, u16 sel, struct emu_desc *d); // system descriptor of the mode's size
enum emul_result emu_desc_mark(struct emu *x, struct emu_desc *d);            // sets A
void emu_desc_unpack(u64 raw, u16 sel, struct x86_segment *s);
enum emul_result emu_segment_load(struct emu *x, unsigned seg, u16 sel);
void emu_segment_null(struct x86_segment *s, u16 sel, unsigned dpl);
void emu_segment_real(struct x86_cpu *cpu, unsigned seg, u16 sel);
void emu_segment_notify(struct emu *x, unsigned seg);
void emu_table_notify(struct emu *x, unsigned which);
void emu_cr_notify(struct emu *x, unsigned cr, u64 old);                          // system.c
void emu_code_flat(struct x86_cpu *cpu, u16 cs, u16 ss, unsigned cpl, bool is64); // SYSCALL and relatives

// Frames are written in one piece, but the machine pushes them from their top: a page fault names the first word that it
// would push in that page.
enum emul_result emu_frame_write(struct emu *x, u64 sp, const void *words, unsigned len, unsigned word, unsigned kind);
// Far transfers through call gates of 64 bits (callgate.c). is_gate: a system descriptor, whatever its type.
bool emu_is_gate(struct emu *x, u16 sel);
enum emul_result emu_gate_jmp(struct emu *x, u16 sel), emu_gate_call(struct emu *x, u16 sel);
// The same without long mode: call gates of 16 and 32 bits, task gates, TSSs (callgate_legacy.c).
enum emul_result emu_system_jmp(struct emu *x, u16 sel), emu_system_call(struct emu *x, u16 sel);

// Stack of an inner ring (stack.c): read from the 16- or 32-bit TSS and checked; and room for a frame on it, as a whole within the
// limit. code: of the #SS. kind of access for a frame that ring cpl gets.
struct emu_stack {
	u16 sel;
	u64 sp;
	struct emu_desc desc;
	struct x86_segment seg;
};
enum emul_result emu_stack_inner(struct emu *x, unsigned cpl, u32 ext, struct emu_stack *s);
enum emul_result emu_stack_place(struct emu *x, struct emu_stack *s, unsigned len, u32 code, u64 *linear);
enum emul_result emu_stack_commit(struct emu *x, struct emu_stack *s, bool load);
static inline unsigned emu_frame_kind(unsigned cpl)
{
	return EMUL_WRITE | (cpl < 3 ? EMUL_SUPERVISOR : 0);
}

// Task switches (task.c; SDM 3A 7.3). Once the old task is saved, what faults faults in the new one, with RIP there.
enum task_how { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
struct task_switch {
	enum task_how how;
	u16 sel;         // of the TSS
	u32 ext;         // EXT of error codes
	u64 rip, rflags; // to be saved
};
enum emul_result emu_task_switch(struct emu *x, const struct task_switch *t);
enum emul_result emu_task_gate(struct emu *x, u64 gate,
			       struct task_switch *t); // through a gate that may be used and is present
enum emul_result emu_task_return(struct emu *x);       // IRET with NT

u64 emu_flags_mask(const struct emu *x, unsigned bytes); // RFLAGS bits that POPF and IRET may change here
void emu_div_u128(u64 hi, u64 lo, u64 by, u64 *quotient, u64 *remainder);

// Debugging (debug.c).
#define DR6_FIXED 0xffff0ff0ull
#define DR6_HITS 0xfu
#define DR6_BD BIT(13)
#define DR6_BS (1u << 14)
#define DR6_BT (1u << 15)
#define DR7_ENABLES 0xff
#define DR7_GD BIT(13)
void emu_debug_status(struct x86_cpu *c, u32 hits); // DR6: the hits of this #DB replace those of the last
enum emul_result emu_code_breakpoint(struct emu *x);
void emu_data_breakpoint(struct emu *x, u64 linear, unsigned len, bool write);
void emu_debug_trap(struct emu *x, bool stepping); // the instruction is done

static inline void emu_watch(struct emu *x, u64 linear, unsigned len, bool write)
{
	if (unlikely(x->cpu->dr[7] & DR7_ENABLES))
		emu_data_breakpoint(x, linear, len, write);
}

// Handlers by subject; see the table in step.c.
emu_alu emu_alu_of(ZydisMnemonic m); // ADD, OR, ... of arith.c
enum emul_result emu_op_alu(struct emu *x), emu_op_cmp(struct emu *x), emu_op_test(struct emu *x);
enum emul_result emu_op_unary(struct emu *x), emu_op_mul(struct emu *x), emu_op_imul(struct emu *x);
enum emul_result emu_op_div(struct emu *x), emu_op_idiv(struct emu *x), emu_op_adx(struct emu *x);
enum emul_result emu_op_bcd(struct emu *x);

enum emul_result emu_op_mov(struct emu *x), emu_op_movzx(struct emu *x), emu_op_movsx(struct emu *x);
enum emul_result emu_op_lea(struct emu *x), emu_op_xchg(struct emu *x), emu_op_bswap(struct emu *x);
enum emul_result emu_op_movbe(struct emu *x), emu_op_convert(struct emu *x), emu_op_xlat(struct emu *x);
enum emul_result emu_op_setcc(struct emu *x), emu_op_cmovcc(struct emu *x), emu_op_nop(struct emu *x);
enum emul_result emu_op_flag(struct emu *x), emu_op_lahf(struct emu *x), emu_op_sahf(struct emu *x);
int emu_condition(ZydisMnemonic m); // condition code of Jcc, SETcc, CMOVcc; -1 for others

enum emul_result emu_op_shift(struct emu *x), emu_op_shld(struct emu *x), emu_op_bt(struct emu *x);
enum emul_result emu_op_scan(struct emu *x), emu_op_crc32(struct emu *x), emu_op_bmi(struct emu *x);

enum emul_result emu_op_xadd(struct emu *x), emu_op_cmpxchg(struct emu *x), emu_op_cmpxchg8b(struct emu *x);

enum emul_result emu_op_string(struct emu *x), emu_op_movsd(struct emu *x), emu_op_cmpsd(struct emu *x);
enum emul_result emu_op_in(struct emu *x), emu_op_out(struct emu *x);

enum emul_result emu_op_jmp(struct emu *x), emu_op_jcc(struct emu *x), emu_op_call(struct emu *x);
enum emul_result emu_op_ret(struct emu *x), emu_op_loop(struct emu *x), emu_op_jcxz(struct emu *x);
enum emul_result emu_op_push(struct emu *x), emu_op_pop(struct emu *x), emu_op_pushf(struct emu *x);
enum emul_result emu_op_popf(struct emu *x), emu_op_enter(struct emu *x), emu_op_leave(struct emu *x);
enum emul_result emu_op_pusha(struct emu *x), emu_op_popa(struct emu *x), emu_op_bound(struct emu *x);

enum emul_result emu_op_cli(struct emu *x), emu_op_sti(struct emu *x), emu_op_hlt(struct emu *x);
enum emul_result emu_op_rdmsr(struct emu *x), emu_op_wrmsr(struct emu *x), emu_op_cpuid(struct emu *x);
enum emul_result emu_op_rdtsc(struct emu *x), emu_op_rdpid(struct emu *x), emu_op_clts(struct emu *x);
enum emul_result emu_op_lmsw(struct emu *x), emu_op_smsw(struct emu *x), emu_op_invlpg(struct emu *x);
enum emul_result emu_op_invpcid(struct emu *x), emu_op_cpl0_nop(struct emu *x), emu_op_swapgs(struct emu *x);
enum emul_result emu_op_fsgsbase(struct emu *x), emu_op_stac(struct emu *x), emu_op_xgetbv(struct emu *x);
enum emul_result emu_op_xsetbv(struct emu *x), emu_op_gp(struct emu *x), emu_op_ud(struct emu *x),
	emu_op_vmcall(struct emu *x);
enum emul_result emu_op_rdrand(struct emu *x), emu_op_pkru(struct emu *x);
enum emul_result emu_mov_cr(struct emu *x), emu_mov_dr(struct emu *x); // parts of MOV

enum emul_result emu_mov_sreg(struct emu *x); // part of MOV
enum emul_result emu_op_lxs(struct emu *x), emu_op_lgdt(struct emu *x), emu_op_sgdt(struct emu *x);
enum emul_result emu_op_lldt(struct emu *x), emu_op_ltr(struct emu *x), emu_op_sldt(struct emu *x);
enum emul_result emu_op_lar(struct emu *x), emu_op_verr(struct emu *x), emu_op_arpl(struct emu *x);

enum emul_result emu_op_int(struct emu *x), emu_op_iret(struct emu *x), emu_op_syscall(struct emu *x);
enum emul_result emu_op_sysret(struct emu *x), emu_op_sysenter(struct emu *x), emu_op_sysexit(struct emu *x);
enum emul_result emu_jmp_far(struct emu *x), emu_call_far(struct emu *x), emu_ret_far(struct emu *x);

enum emul_result emu_op_sse(struct emu *x);
enum emul_result emu_native(struct emu *x); // FPU instructions that are in no table (fpu.c)

#endif
