// SPDX-License-Identifier: MIT
// Comparing the engines, block by block.
//
// Before a block is entered the emulator runs it on a copy of the vCPU. Its reads see the guest's memory below an overlay of
// its own writes; nothing of the guest changes. Each step is recorded. Whatever would reach beyond registers and memory ends
// the recording: ports, MSRs, CPUID, control registers, tables, devices. At the translated block's exit the registers, flags,
// GS bases and written bytes must be those of a recorded step with the same RIP.
//
// Invariants
//  - Comparable are only exits of the block that was entered: blocks are not linked (bt_set_lone), and a recording that leaves
//    the kernel (IRET, SYSRET) or that read the time or a random number is thrown away.
//  - A log entry belongs to the step that made it: a comparison with step n applies those of steps up to n.
//  - Flags that the manual leaves undefined are not compared, nor are their bits where PUSHF has stored them.
#include "vmm/lockstep.h"

#include <Zydis/Zydis.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/string.h"
#include "vmm/knobs.h"

#define STEPS_MAX 200
#define RETRIES_MAX 4096
#define LOG_MAX 1024
#define BLOCKS_PER_INTERRUPT 3000
#define HISTORY 32
#define UNDEFINED_LOGIC RFL_AF
#define UNDEFINED_MUL (RFL_SF | RFL_ZF | RFL_AF | RFL_PF)
#define UNDEFINED_BIT (RFL_OF | RFL_SF | RFL_AF | RFL_PF)
#define COMPARED_FLAGS (RFL_ARITH | RFL_DF | RFL_IF | RFL_AC | RFL_NT | RFL_ID)
#define PTE_AD 0x60u

struct step {
	u64 rip, gpr[16], rflags, gs_base, kernel_gs_base;
	u64 undefined; // flags
	u64 loose;     // flags whose undefined values went to memory or registers
};

// An entry of the past, whether it was compared or not.
struct past {
	u64 rip, rflags, crossing;
	enum exit_reason exit; // before it
};

struct logged {
	u64 gpa;
	u16 len, step;
	u8 bytes[64];
};

static struct {
	struct emul emul;
	struct x86_cpu cpu;
	struct vcpu *v;
	bool active;
	bool aborted;   // a port asked for the end of the recording
	bool discarded; // nothing recorded may be used
	bool complete;  // the recording ended outside the block
	u64 block_rip;
	u32 block_len;
	unsigned steps, writes;
	struct step step[STEPS_MAX + 1]; // [0]: before the first instruction
	struct logged log[LOG_MAX];
	u64 before; // entries before the mode began
	bool user; // the guest has run in ring 3
	u64 delivered; // `entered` when the guest last got an interrupt
	struct past history[HISTORY]; // a ring
	unsigned past;
	u64 entered, equal, left, unmatched, thrown, cut; // cut: recordings ended early, of whatever fate
} ls;

// ---- memory: real below, overlay above

static struct mmu_mode mode(void)
{
	const struct x86_cpu *c = &ls.cpu;

	return (struct mmu_mode){
		.wp = c->cr0 & CR0_WP,
		.nx = c->efer & EFER_NXE,
		.smep = c->cr4 & CR4_SMEP,
		.smap = c->cr4 & CR4_SMAP,
		.ac = c->rflags & RFL_AC,
		.cr3 = c->cr3,
	};
}

static enum emul_result abort_recording(void)
{
	ls.aborted = true;
	return EMUL_RETRY;
}

// Accessed and dirty bits are left alone: the machine sets them when it does the access. Devices are not touched.
static enum emul_result translate(u64 linear, unsigned kind, u64 *gpa, struct x86_fault *fault)
{
	struct mmu_mode m = mode();
	struct guest_walk w;
	u32 err = (kind & (EMUL_WRITE | EMUL_RMW)) ? PF_W : 0;

	if (!is_canonical(linear)) {
		*fault = (struct x86_fault){.vector = VEC_GP, .has_error = true};
		return EMUL_FAULT;
	}
	if (kind & EMUL_EXEC)
		err |= PF_I;
	if (kind & EMUL_SUPERVISOR)
		m.ac = false;
	if (!guest_translate(ls.v->vm->shadow, &m, linear, err, false, &w, fault))
		return EMUL_FAULT;
	if (!gpa_ram(ls.v->vm, w.gpa))
		return abort_recording();
	*gpa = w.gpa;
	return EMUL_OK;
}

// The overlay's bytes of the steps up to `last` over what buf has.
static void patch(u64 gpa, u8 *buf, unsigned len, unsigned last)
{
	for (unsigned i = 0; i < ls.writes && ls.log[i].step <= last; i++) {
		const struct logged *l = &ls.log[i];
		u64 from = MAX(gpa, l->gpa), to = MIN(gpa + len, l->gpa + l->len);

		if (from < to)
			memcpy(buf + (from - gpa), l->bytes + (from - l->gpa), to - from);
	}
}

static void piece_read(u64 gpa, u8 *buf, unsigned len)
{
	memcpy(buf, gpa_ram(ls.v->vm, gpa), len);
	patch(gpa, buf, len, STEPS_MAX + 1);
}

static void piece_write(u64 gpa, const u8 *buf, unsigned len)
{
	struct logged *l = &ls.log[ls.writes++];

	*l = (struct logged){.gpa = gpa, .len = (u16)len, .step = (u16)(ls.steps + 1)};
	memcpy(l->bytes, buf, len);
}

static enum emul_result access(u64 linear, u8 *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));
	u64 gpa, gpa2 = 0;
	enum emul_result r = translate(linear, kind, &gpa, fault);

	if (r == EMUL_OK && first < len)
		r = translate(linear + first, kind, &gpa2, fault);
	if (r != EMUL_OK)
		return r;
	if (!(kind & EMUL_WRITE)) {
		piece_read(gpa, buf, first);
		if (first < len)
			piece_read(gpa2, buf + first, len - first);
		return EMUL_OK;
	}
	if (ls.writes + 2 > LOG_MAX || len > sizeof(ls.log[0].bytes))
		return abort_recording();
	piece_write(gpa, buf, first);
	if (first < len)
		piece_write(gpa2, buf + first, len - first);
	return EMUL_OK;
}

// ---- the emulator's ports

static enum emul_result port_read(void *ctx, u64 linear, void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	return access(linear, buf, len, kind & ~(unsigned)EMUL_WRITE, fault);
}

static enum emul_result port_write(void *ctx, u64 linear, const void *buf, unsigned len, unsigned kind, struct x86_fault *fault)
{
	return access(linear, (u8 *)buf, len, kind | EMUL_WRITE, fault);
}

static enum emul_result port_cmpxchg(void *ctx, u64 linear, void *old, const void *new_, unsigned len, bool *done,
				     struct x86_fault *fault)
{
	u8 now[16];
	enum emul_result r = access(linear, now, len, EMUL_RMW, fault);

	if (r != EMUL_OK)
		return r;
	*done = memcmp(now, old, len) == 0;
	if (*done)
		return access(linear, (u8 *)new_, len, EMUL_WRITE, fault);
	memcpy(old, now, len);
	return EMUL_OK;
}

static enum emul_result port_fetch(void *ctx, u64 linear, void *buf, unsigned len, unsigned *got, struct x86_fault *fault)
{
	unsigned first = MIN(len, (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)));
	enum emul_result r = access(linear, buf, first, EMUL_EXEC, fault);

	*got = 0;
	if (r != EMUL_OK)
		return r;
	*got = first;
	if (first < len && access(linear + first, (u8 *)buf + first, len - first, EMUL_EXEC, fault) == EMUL_OK)
		*got = len;
	return EMUL_OK;
}

static enum emul_result port_in(void *ctx, u16 port, unsigned len, u32 *value)
{
	return abort_recording();
}

static enum emul_result port_out(void *ctx, u16 port, unsigned len, u32 value)
{
	return abort_recording();
}

static enum emul_result port_rdmsr(void *ctx, u32 msr, u64 *value, struct x86_fault *fault)
{
	return abort_recording();
}

static enum emul_result port_wrmsr(void *ctx, u32 msr, u64 value, struct x86_fault *fault)
{
	return abort_recording();
}

static void port_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	memset(out, 0, 16);
	ls.aborted = true;
}

static u64 port_rdtsc(void *ctx)
{
	ls.aborted = ls.discarded = true;
	return 0;
}

static void port_cr_written(void *ctx, unsigned cr, u64 old)
{
	ls.aborted = true;
}

static void port_number(void *ctx, unsigned which)
{
	ls.aborted = true;
}

static void port_invlpg(void *ctx, u64 linear)
{
	ls.aborted = true;
}

// FPU and SSE registers are the machine's: what uses them is unsupported here and ends the recording.
static const struct emul_ports ports = {
	.read = port_read,
	.write = port_write,
	.cmpxchg = port_cmpxchg,
	.fetch = port_fetch,
	.in = port_in,
	.out = port_out,
	.rdmsr = port_rdmsr,
	.wrmsr = port_wrmsr,
	.cpuid = port_cpuid,
	.rdtsc = port_rdtsc,
	.cr_written = port_cr_written,
	.dr_written = port_number,
	.table_loaded = port_number,
	.segment_loaded = port_number,
	.invlpg = port_invlpg,
};

// ---- recording

// Which flags are undefined after the instruction, when `u` were before it.
static u64 undefined_after(u16 mnemonic, u64 u, u64 loose)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_ADC: case ZYDIS_MNEMONIC_SUB: case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_NEG: case ZYDIS_MNEMONIC_XADD: case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_POPCNT:
		return 0;
	case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_TEST:
		return UNDEFINED_LOGIC;
	case ZYDIS_MNEMONIC_ANDN: case ZYDIS_MNEMONIC_BLSR: case ZYDIS_MNEMONIC_BLSI: case ZYDIS_MNEMONIC_BLSMSK:
	case ZYDIS_MNEMONIC_BZHI: case ZYDIS_MNEMONIC_BEXTR:
		return UNDEFINED_BIT & ~RFL_OF;
	case ZYDIS_MNEMONIC_INC: case ZYDIS_MNEMONIC_DEC:
		return u & RFL_CF;
	case ZYDIS_MNEMONIC_MUL: case ZYDIS_MNEMONIC_IMUL:
		return UNDEFINED_MUL;
	case ZYDIS_MNEMONIC_DIV: case ZYDIS_MNEMONIC_IDIV:
		return RFL_ARITH;
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR: case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return u | RFL_OF | RFL_AF;
	case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR: case ZYDIS_MNEMONIC_RCL: case ZYDIS_MNEMONIC_RCR:
		return u | RFL_OF;
	case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTS: case ZYDIS_MNEMONIC_BTR: case ZYDIS_MNEMONIC_BTC:
		return (u & RFL_ZF) | UNDEFINED_BIT;
	case ZYDIS_MNEMONIC_BSF: case ZYDIS_MNEMONIC_BSR: case ZYDIS_MNEMONIC_TZCNT: case ZYDIS_MNEMONIC_LZCNT:
		return UNDEFINED_BIT | RFL_CF;
	case ZYDIS_MNEMONIC_POPF: case ZYDIS_MNEMONIC_POPFQ: case ZYDIS_MNEMONIC_SAHF:
		return loose;
	default:
		return u;
	}
}

static bool stores_flags(u16 mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_PUSHF || mnemonic == ZYDIS_MNEMONIC_PUSHFQ || mnemonic == ZYDIS_MNEMONIC_LAHF;
}

static bool leaves_kernel(u16 mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_IRET || mnemonic == ZYDIS_MNEMONIC_IRETD || mnemonic == ZYDIS_MNEMONIC_IRETQ ||
	       mnemonic == ZYDIS_MNEMONIC_SYSRET || mnemonic == ZYDIS_MNEMONIC_SYSEXIT;
}

static void record(struct step *s, u64 undefined, u64 loose)
{
	const struct x86_cpu *c = &ls.cpu;

	*s = (struct step){.rip = c->rip, .rflags = c->rflags, .gs_base = c->seg[SEG_GS].base,
			   .kernel_gs_base = c->kernel_gs_base, .undefined = undefined, .loose = loose};
	memcpy(s->gpr, c->gpr, sizeof(s->gpr));
}

static bool one_step(void)
{
	const struct step *before = &ls.step[ls.steps];
	u64 loose = before->loose;
	enum emul_result r;
	u16 m;

	ls.cpu.interrupt_shadow = false;
	for (unsigned i = 0; (r = emul_step(&ls.emul)) == EMUL_RETRY && !ls.aborted; i++)
		if (i == RETRIES_MAX)
			return false;
	m = ls.emul.mnemonic;
	if (leaves_kernel(m) || m == ZYDIS_MNEMONIC_RDRAND || m == ZYDIS_MNEMONIC_RDSEED)
		ls.discarded = true;
	if (r != EMUL_OK || ls.aborted || ls.discarded)
		return false;
	if (stores_flags(m))
		loose |= before->undefined;
	record(&ls.step[ls.steps + 1], undefined_after(m, before->undefined, loose), loose);
	if (m == ZYDIS_MNEMONIC_STI && (before->rflags & RFL_IF)) // one that is taken back was from IF 0 (core/bt/template.c)
		ls.step[ls.steps].undefined |= RFL_IF;
	ls.steps++;
	return true;
}

// A compared block takes a hundred times as long as another: with an interrupt whenever one is due the guest would do nothing
// but serve its timer. So they are late, as on a slow machine.
static bool takes_part(const struct vcpu *v)
{
	return vmm_knobs.compare && v->vm->id == 1;
}

bool lockstep_holds_interrupts(const struct vcpu *v)
{
	if (!takes_part(v) || !lockstep_wanted() || ls.entered == 0)
		return false;
	if (ls.entered - ls.delivered < BLOCKS_PER_INTERRUPT)
		return true;
	ls.delivered = ls.entered;
	return false;
}

bool lockstep_wanted(void)
{
	return ls.before >= vmm_knobs.compare_from && ls.entered < vmm_knobs.compare;
}

void lockstep_drop(struct vcpu *v)
{
	if (!takes_part(v))
		return;
	if (ls.active)
		ls.left++;
	ls.active = false;
}

void lockstep_forget(struct vcpu *v)
{
	lockstep_drop(v);
	ls.user |= takes_part(v) && saved_rpl(v) == 3;
	if (vmm_knobs.compare)
		bt_set_lone(v->vm->bt, takes_part(v) && lockstep_wanted());
}

void lockstep_enter(struct vcpu *v, u64 entry)
{
	if (!takes_part(v) || !lockstep_wanted()) {
		ls.before += takes_part(v) && (!vmm_knobs.compare_user || ls.user);
		return;
	}
	ls.history[ls.past++ % HISTORY] =
		(struct past){.rip = v->cpu.rip, .rflags = v->cpu.rflags, .crossing = v->crossings, .exit = v->last_exit};
	ls.entered++;
	regs_segments_in(v);
	ls.v = v;
	ls.cpu = v->cpu;
	ls.emul = (struct emul){.cpu = &ls.cpu, .ports = &ports};
	ls.active = true;
	ls.aborted = ls.discarded = false;
	ls.steps = ls.writes = 0;
	bt_extent(v->vm->bt, entry, &ls.block_rip, &ls.block_len);
	record(&ls.step[0], 0, 0);
	while (ls.cpu.rip - ls.block_rip < ls.block_len && ls.steps < STEPS_MAX && one_step())
		;
	ls.complete = ls.step[ls.steps].rip - ls.block_rip >= ls.block_len;
	ls.cut += !ls.complete;
}

// ---- comparing

static u64 flag_mask(const struct step *s)
{
	return COMPARED_FLAGS & ~s->undefined & ~s->loose;
}

static bool same_registers(const struct step *s, const struct step *now)
{
	for (unsigned i = 0; i < 16; i++)
		if ((s->gpr[i] ^ now->gpr[i]) & ~s->loose)
			return false;
	return !((s->rflags ^ now->rflags) & flag_mask(s)) && s->gs_base == now->gs_base &&
	       s->kernel_gs_base == now->kernel_gs_base;
}

// Index of the log entry with a byte that memory does not have, LOG_MAX: none. Entries in page tables may have got
// accessed and dirty bits by a hidden fault meanwhile.
static unsigned different_memory(unsigned n, u64 *gpa, u8 *want, u8 *got)
{
	u64 loose = ls.step[n].loose;

	for (unsigned i = 0; i < ls.writes && ls.log[i].step <= n; i++) {
		const struct logged *l = &ls.log[i];
		const u8 *real = gpa_ram(ls.v->vm, l->gpa);
		bool table = shadow_is_table(ls.v->vm->shadow, l->gpa >> PAGE_SHIFT);
		u8 bytes[64];

		memcpy(bytes, l->bytes, l->len);
		patch(l->gpa, bytes, l->len, n);
		for (unsigned k = 0; k < l->len; k++) {
			u8 ignore = (u8)((k < 2 ? loose >> 8 * k : 0) | (table && !((l->gpa + k) & 7) ? PTE_AD : 0));

			if (!((bytes[k] ^ real[k]) & ~ignore))
				continue;
			*gpa = l->gpa + k, *want = bytes[k], *got = real[k];
			return i;
		}
	}
	return LOG_MAX;
}

static const char *const register_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					       "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

static void log_code(void)
{
	u8 b[16];

	for (u64 at = ls.block_rip; at < ls.block_rip + ls.block_len; at += 16) {
		unsigned len = (unsigned)MIN(16ull, ls.block_rip + ls.block_len - at), got = 0;
		struct x86_fault fault;

		memset(b, 0, sizeof(b));
		(void)port_fetch(NULL, at, b, len, &got, &fault);
		log_err("compare: %lx: %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x %02x", at, b[0], b[1],
			b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	}
}

static void log_history(void)
{
	for (unsigned i = 0; i < HISTORY; i++) {
		const struct past *h = &ls.history[(ls.past + i) % HISTORY];

		log_err("compare: crossing %lu, after exit %u: entered at %lx, rflags %lx", h->crossing, h->exit, h->rip, h->rflags);
	}
}

static void NORETURN report(unsigned n, const struct step *now)
{
	const struct step *was = &ls.step[0], *s = &ls.step[n];
	u64 gpa = 0;
	u8 want = 0, got = 0;

	if (s->rip != now->rip)
		log_err("compare: translated code ended at %lx, the emulator at %lx", now->rip, s->rip);
	log_err("compare: block at %lx, %u bytes, entered at %lx, left at %lx after %u instructions", ls.block_rip, ls.block_len,
		was->rip, now->rip, n);
	log_code();
	log_history();
	for (unsigned i = 0; i < 16; i++)
		log_err("compare: %s before %lx emulated %lx translated %lx%s", register_names[i], was->gpr[i], s->gpr[i], now->gpr[i],
			(s->gpr[i] ^ now->gpr[i]) & ~s->loose ? " <" : "");
	log_err("compare: rflags before %lx emulated %lx translated %lx compared %lx%s", was->rflags, s->rflags, now->rflags,
		flag_mask(s), (s->rflags ^ now->rflags) & flag_mask(s) ? " <" : "");
	log_err("compare: gs emulated %lx translated %lx, kernel gs emulated %lx translated %lx", s->gs_base, now->gs_base,
		s->kernel_gs_base, now->kernel_gs_base);
	if (different_memory(n, &gpa, &want, &got) != LOG_MAX)
		log_err("compare: byte at guest-physical %lx emulated %02x translated %02x <", gpa, want, got);
	panic("engines differ: block %lx entered at %lx, left at %lx (block %lu since the start)", ls.block_rip, was->rip, now->rip,
	      ls.entered);
}

static void state_now(struct vcpu *v, struct step *now)
{
	regs_segments_in(v);
	*now = (struct step){.rip = v->cpu.rip, .rflags = v->cpu.rflags, .gs_base = v->cpu.seg[SEG_GS].base,
			     .kernel_gs_base = v->cpu.kernel_gs_base};
	memcpy(now->gpr, v->cpu.gpr, sizeof(now->gpr));
}

// A loop inside the block passes the same RIP more than once; any pass will do, the last one is reported.
void lockstep_check(struct vcpu *v)
{
	unsigned last = 0;
	struct step now;

	if (!takes_part(v) || !ls.active)
		return;
	ls.active = false;
	if (ls.discarded) {
		ls.thrown++;
		return;
	}
	state_now(v, &now);
	for (unsigned n = 1; n <= ls.steps; n++) {
		u64 gpa;
		u8 want, got;

		if (ls.step[n].rip != now.rip)
			continue;
		last = n;
		if (same_registers(&ls.step[n], &now) && different_memory(n, &gpa, &want, &got) == LOG_MAX) {
			ls.equal++;
			return;
		}
	}
	// An event check may fire at once and take its instruction back: nothing was executed.
	if (now.rip == ls.step[0].rip && same_registers(&ls.step[0], &now)) {
		ls.unmatched++;
		return;
	}
	if (last || ls.complete) // a complete recording has been wherever the block can be left
		report(last ? last : ls.steps, &now);
	ls.unmatched++;
}

unsigned lockstep_counters(struct stats_counter *c)
{
	const struct stats_counter all[LOCKSTEP_COUNTERS] = {
		{"compare_entered", ls.entered},     {"compare_equal", ls.equal},
		{"compare_left_otherwise", ls.left}, {"compare_unmatched_rip", ls.unmatched},
		{"compare_thrown_away", ls.thrown},  {"compare_cut_short", ls.cut},
	};

	if (!vmm_knobs.compare)
		return 0;
	memcpy(c, all, sizeof(all));
	return LOCKSTEP_COUNTERS;
}

void lockstep_log(const char *name)
{
	if (vmm_knobs.compare)
		log_info("%s: compare: %lu blocks entered, %lu equal, not comparable: %lu left otherwise, %lu ended elsewhere, "
			 "%lu left the kernel or read time or random numbers; %lu recordings cut short", name, ls.entered, ls.equal, ls.left,
			 ls.unmatched, ls.thrown, ls.cut);
}
