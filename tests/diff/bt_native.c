// SPDX-License-Identifier: MIT
// Differential test of the translator: random guest kernel programs run as translated code on this host (ring 3 stands in
// for ring 1) and in the emulator; registers, flags, IF, GS bases and memory must agree.
//
// INT 0xf0 raises SIGSEGV here: the handler is the run loop. In stepping runs TF stops after every machine instruction inside
// the cache and what bt_recover() makes of that state must be a boundary state of the reference run, in order.
// Planted mistakes (BT_PLANT_*) run in children and must be found.
#define _GNU_SOURCE
#include "core/bt/bt.h"
#include "core/emul/emul.h"
#include "bt_gen.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define GATE 0x600000000000ull
#define CODE_AT (GATE + 0x40000000)
#define LINKS_AT (GATE + 0x50000000)
#define IBTC_AT (GATE + 0x58000000)
#define PAGE_AT ((struct vcpu_page *)(GATE + 0x100000))
#define CODE_SIZE (8u << 20)
#define LINK_COUNT 65536u
#define META_SIZE (4u << 20)
#define NEAR_CODE 0x10000000ull
#define FAR_CODE 0x500000000000ull
#define PROGRAM_SIZE 0x20000u
#define NEAR_DATA 0x100000u // from the code
#define DATA_AT 0x20000000ull
#define DATA_SIZE 0x1000u
#define STACK_AT 0x30000000ull
#define STACK_SIZE 0x10000u
#define GDT_AT 0x20010000ull
#define TRACE_MAX 100000u
#define STEP_SLACK 4
#define GS_ONE 0x1111000ull
#define GS_TWO 0x2222000ull

struct boundary {
	u64 gpr[16], rip, rflags, kgs, gs;
	u64 executed; // instructions before it
};

static struct {
	struct bt *bt;
	struct emul emul;
	struct x86_cpu cpu; // of the translated run, while outside the cache
	u64 gs;             // stands for the machine's GS base
	ucontext_t home;
	bool stepping, interrupting, counting, done, failed, in_run;
	u64 emulated;       // by resume() and at exits
	bool fsgsbase;      // the host has the instructions: then `gs` mirrors the real base
	u64 code; // guest program
	struct boundary *trace;
	u32 trace_len, cursor;
	u64 checks, exits, programs, protects, unprotects, skipped, interrupts, dice;
	const char *reason;
} h;

static void clear_ac(void)
{
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
}

// --- ports ---

static unsigned port_fetch(void *ctx, u64 rip, void *buf, unsigned len, ppn_t *page)
{
	if (rip < h.code || rip >= h.code + PROGRAM_SIZE)
		return 0;
	*page = (rip >> PAGE_SHIFT) & 0xfffffff;
	memcpy(buf, (void *)rip, len);
	return len;
}

static bool port_protect(void *ctx, ppn_t page)
{
	h.protects++;
	return true;
}

static void port_unprotect(void *ctx, ppn_t page)
{
	h.unprotects++;
}

static const struct bt_ports bt_port_table = {port_fetch, port_protect, port_unprotect};

static bool readable(u64 a, unsigned len)
{
	return (a >= h.code && a + len <= h.code + NEAR_DATA + DATA_SIZE) || (a >= DATA_AT && a + len <= GDT_AT + 0x1000) ||
	       (a >= STACK_AT && a + len <= STACK_AT + STACK_SIZE);
}

static enum emul_result mem_fault(struct x86_fault *f, u64 a)
{
	*f = (struct x86_fault){.vector = VEC_PF, .has_error = true, .cr2 = a};
	return EMUL_FAULT;
}

static enum emul_result em_read(void *ctx, u64 a, void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	if (!readable(a, len))
		return mem_fault(f, a);
	memcpy(buf, (void *)a, len);
	return EMUL_OK;
}

static enum emul_result em_write(void *ctx, u64 a, const void *buf, unsigned len, unsigned kind, struct x86_fault *f)
{
	if (!readable(a, len))
		return mem_fault(f, a);
	memcpy((void *)a, buf, len);
	return EMUL_OK;
}

static enum emul_result em_cmpxchg(void *ctx, u64 a, void *old, const void *new_, unsigned len, bool *done, struct x86_fault *f)
{
	if (!readable(a, len))
		return mem_fault(f, a);
	*done = !memcmp((void *)a, old, len);
	if (*done)
		memcpy((void *)a, new_, len);
	else
		memcpy(old, (void *)a, len);
	return EMUL_OK;
}

static enum emul_result em_fetch(void *ctx, u64 a, void *buf, unsigned len, unsigned *got, struct x86_fault *f)
{
	memcpy(buf, (void *)a, len);
	*got = len;
	return EMUL_OK;
}

static void em_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 out[4])
{
	out[0] = out[1] = out[2] = out[3] = ~0u;
}

static void em_note(void *ctx, unsigned which)
{
}

static const struct emul_ports em_port_table = {.read = em_read, .write = em_write, .cmpxchg = em_cmpxchg, .fetch = em_fetch,
						.cpuid = em_cpuid, .segment_loaded = em_note, .table_loaded = em_note};

// --- guest state ---

static struct x86_segment kernel_segment(bool code)
{
	return (struct x86_segment){.selector = code ? 0x10 : 0x18, .limit = ~0u, .attr = code ? 0xa09b : 0xc093};
}

static void initial_cpu(struct x86_cpu *c, u64 rip, u64 seed)
{
	static const u64 gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff,
				  0x00affb000000ffff};

	memset(c, 0, sizeof(*c));
	memcpy((void *)GDT_AT, gdt, sizeof(gdt));
	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = (seed + i + 1) * 0x9e3779b97f4a7c15ull;
	c->gpr[R_RSP] = STACK_AT + STACK_SIZE - 0x800;
	c->rip = rip;
	c->rflags = RFL_FIXED;
	for (unsigned i = 0; i < 6; i++)
		c->seg[i] = kernel_segment(i == SEG_CS);
	c->gdtr = (struct x86_table){GDT_AT, sizeof(gdt) - 1};
	c->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET;
	c->cr4 = CR4_PAE | CR4_SMAP | CR4_FSGSBASE;
	c->efer = EFER_LMA | EFER_LME | EFER_SCE | EFER_NXE;
	c->star = 0x0023001000000000;
	c->seg[SEG_GS].base = GS_ONE;
	c->kernel_gs_base = GS_TWO;
	c->cr2 = seed * 0x123456789abcdefull;
}

static void back_to_kernel(struct x86_cpu *c)
{
	c->seg[SEG_CS] = kernel_segment(true);
	c->seg[SEG_SS] = kernel_segment(false);
	c->rip += 2;
}

static void fill_data(u64 seed)
{
	u64 *near = (u64 *)(h.code + NEAR_DATA), *data = (u64 *)DATA_AT;

	for (unsigned i = 0; i < DATA_SIZE / 8; i++) {
		near[i] = (seed ^ i) * 0x2545f4914f6cdd1dull;
		data[i] = (seed + i) * 0xd1342543de82ef95ull;
	}
	memset((void *)STACK_AT, 0, STACK_SIZE);
}

static bool at_user_mark(u64 rip)
{
	return *(u16 *)rip == GEN_USER_MARK;
}

static bool run_reference(struct x86_cpu *c)
{
	struct emul e = {.cpu = c, .ports = &em_port_table};
	u64 executed = 0;

	for (h.trace_len = 0; h.trace_len < TRACE_MAX;) {
		struct boundary *b = &h.trace[h.trace_len++];
		enum emul_result r;

		memcpy(b->gpr, c->gpr, sizeof(b->gpr));
		b->rip = c->rip;
		b->rflags = c->rflags;
		b->kgs = c->kernel_gs_base;
		b->gs = c->seg[SEG_GS].base;
		b->executed = executed;
		if (at_user_mark(c->rip)) {
			back_to_kernel(c);
			continue;
		}
		r = emul_step(&e);
		executed++;
		if (r == EMUL_HALT)
			return true;
		if (r != EMUL_OK) {
			fprintf(stderr, "reference: result %d vector %d at %lx\n", r, e.fault.vector, c->rip);
			return false;
		}
	}
	return false;
}

// --- machine state ---

static const int greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void sync_gs(void)
{
	if (h.fsgsbase)
		__asm__ volatile("rdgsbase %0" : "=r"(h.gs));
}

static void from_machine(struct x86_cpu *c, const ucontext_t *uc)
{
	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = (u64)uc->uc_mcontext.gregs[greg_of[i]];
	c->rip = (u64)uc->uc_mcontext.gregs[REG_RIP];
	c->rflags = (u64)uc->uc_mcontext.gregs[REG_EFL] & ~(u64)RFL_TF;
	sync_gs();
}

// The kernel's selectors are kept by translated code. SS's descriptor is read by nobody here.
static void selectors_from_page(struct x86_cpu *c)
{
	c->seg[SEG_CS].selector = (u16)PAGE_AT->guest_cs;
	c->seg[SEG_SS].selector = (u16)PAGE_AT->guest_ss;
}

static void to_machine(ucontext_t *uc, const struct x86_cpu *c, u64 rip)
{
	for (unsigned i = 0; i < 16; i++)
		uc->uc_mcontext.gregs[greg_of[i]] = (long long)c->gpr[i];
	uc->uc_mcontext.gregs[REG_RIP] = (long long)rip;
	uc->uc_mcontext.gregs[REG_EFL] = (long long)((c->rflags & ~(u64)RFL_IF) | RFL_IF | (h.stepping ? RFL_TF : 0));
	PAGE_AT->vif = c->rflags & RFL_IF;
	if (cpu_cpl(c) == 0) {
		PAGE_AT->guest_cs = c->seg[SEG_CS].selector;
		PAGE_AT->guest_ss = c->seg[SEG_SS].selector;
	}
	if (h.fsgsbase)
		__asm__ volatile("wrgsbase %0" ::"r"(h.gs));
}

static void go_home(ucontext_t *uc)
{
	memcpy(uc->uc_mcontext.gregs, h.home.uc_mcontext.gregs, sizeof(uc->uc_mcontext.gregs));
	h.in_run = false;
}

static void fail(ucontext_t *uc, const char *reason)
{
	h.failed = true;
	h.reason = reason;
	go_home(uc);
}

static u64 flag_mask(u64 rip)
{
	const u8 *p = (const u8 *)rip;
	u64 mask = RFL_ARITH | RFL_IF | RFL_DF | RFL_AC;

	// IRET and SYSRET load the flags: before their commit the old ones are free.
	if (p[0] == 0x48 && (p[1] == 0xcf || (p[1] == 0x0f && p[2] == 0x07)))
		mask &= ~(u64)RFL_ARITH;
	// An STI that is taken back is always one from IF 0.
	if (p[0] == 0xfb)
		mask &= ~(u64)RFL_IF;
	return mask;
}

// The translator's own count, with what was emulated, is that of the reference at each boundary.
static bool same_count(const struct boundary *b, u64 counter)
{
	return !h.counting || b->executed == counter + h.emulated;
}

static bool same_boundary(const struct boundary *b, const struct x86_cpu *c, u64 kgs)
{
	return b->rip == c->rip && !memcmp(b->gpr, c->gpr, sizeof(b->gpr)) && b->kgs == kgs && b->gs == h.gs &&
	       !((b->rflags ^ c->rflags) & flag_mask(c->rip));
}

static void show(const char *what, const u64 *gpr, u64 rip, u64 rflags, u64 kgs, u64 gs)
{
	fprintf(stderr, "%s rip %lx rflags %lx kgs %lx gs %lx\n", what, rip, rflags, kgs, gs);
	for (unsigned i = 0; i < 16; i++)
		fprintf(stderr, " %2u:%016lx%s", i, gpr[i], i % 4 == 3 ? "\n" : "");
}

static void show_near(u64 cursor)
{
	for (u64 i = cursor; i < cursor + 2 && i < h.trace_len; i++) {
		const struct boundary *b = &h.trace[i];

		show("expected", b->gpr, b->rip, b->rflags, b->kgs, b->gs);
	}
}

// The state must be where the reference run was at the last check or a little further.
static bool check_boundary(const struct x86_cpu *c, const struct vcpu_page *page)
{
	h.checks++;
	for (u32 i = h.cursor; i < h.trace_len && i <= h.cursor + STEP_SLACK; i++) {
		if (same_boundary(&h.trace[i], c, page->kernel_gs_base) && same_count(&h.trace[i], page->counter[0])) {
			h.cursor = i;
			return true;
		}
	}
	return false;
}

static bool quiet;

// A host kernel that does not know FSGSBASE loses or revives what WRGSBASE wrote at its next context switch. Such a run is
// repeated; a mistake of ours would show as runs that never succeed, which are counted.
static bool host_lost_gs(void)
{
	return h.gs + PAGE_AT->kernel_gs_base != GS_ONE + GS_TWO || (h.gs != GS_ONE && h.gs != GS_TWO);
}

static bool check_machine(const ucontext_t *uc)
{
	struct x86_cpu c = h.cpu;
	struct vcpu_page page = *PAGE_AT;
	bool finish;

	from_machine(&c, uc);
	bt_recover(h.bt, &c, &page, false, &finish);
	if (check_boundary(&c, &page))
		return true;
	if (!quiet && !host_lost_gs()) {
		u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP];

		fprintf(stderr, "recovery at cache %lx (+%lx)\n", rip, (u64)(rip - CODE_AT));
		show("recovered", c.gpr, c.rip, c.rflags, page.kernel_gs_base, h.gs);
		show_near(h.cursor);
	}
	return false;
}

// --- the run loop ---

static bool emulate(void)
{
	enum emul_result r;

	h.cpu.kernel_gs_base = PAGE_AT->kernel_gs_base;
	h.cpu.seg[SEG_GS].base = h.gs;
	h.emul.cpu = &h.cpu;
	h.emul.ports = &em_port_table;
	r = emul_step(&h.emul);
	h.emulated++;
	PAGE_AT->kernel_gs_base = h.cpu.kernel_gs_base;
	h.gs = h.cpu.seg[SEG_GS].base;
	h.done = r == EMUL_HALT;
	return r == EMUL_OK || r == EMUL_HALT;
}

static void resume(ucontext_t *uc)
{
	for (;;) {
		u64 entry;

		if (cpu_cpl(&h.cpu) == 3) {
			to_machine(uc, &h.cpu, h.cpu.rip);
			return;
		}
		entry = bt_entry(h.bt, h.cpu.rip);
		if (entry) {
			to_machine(uc, &h.cpu, entry);
			return;
		}
		if (!emulate()) {
			fail(uc, "emulation");
			return;
		}
		if (h.done) {
			go_home(uc);
			return;
		}
	}
}

static void handle_exit(ucontext_t *uc)
{
	u64 after = (u64)uc->uc_mcontext.gregs[REG_RIP] + 2;
	struct bt_exit x = bt_exit_at(h.bt, after);
	bool finish;
	u64 entry;

	h.exits++;
	from_machine(&h.cpu, uc);
	h.cpu.rip = after;
	bt_recover(h.bt, &h.cpu, PAGE_AT, false, &finish);
	selectors_from_page(&h.cpu);
	if (x.kind == BT_EXIT_NONE || (x.kind != BT_EXIT_INDIRECT && x.guest_rip != h.cpu.rip)) {
		fail(uc, "exit");
		return;
	}
	if (x.kind == BT_EXIT_EMULATE && !emulate()) {
		fail(uc, "emulation at exit");
		return;
	}
	if (h.done) {
		go_home(uc);
		return;
	}
	if (x.kind == BT_EXIT_LINK || x.kind == BT_EXIT_INDIRECT) {
		entry = bt_entry(h.bt, h.cpu.rip);
		if (x.kind == BT_EXIT_INDIRECT)
			bt_fill_ibtc(h.bt, h.cpu.rip);
		else if (entry)
			bt_link(h.bt, x.slot, entry);
	}
	resume(uc);
}

static void handle_user_mark(ucontext_t *uc)
{
	from_machine(&h.cpu, uc);
	h.cpu.rflags = (h.cpu.rflags & ~(u64)RFL_IF) | PAGE_AT->vif;
	back_to_kernel(&h.cpu);
	resume(uc);
}

static void on_segv(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP];

	clear_ac();
	if (!h.in_run)
		_exit(3);
	if (sig != SIGSEGV)
		fail(uc, "signal");
	else if (bt_contains(h.bt, rip) && *(u16 *)rip == 0xf0cd)
		handle_exit(uc);
	else if (rip >= h.code && rip < h.code + PROGRAM_SIZE && at_user_mark(rip))
		handle_user_mark(uc);
	else
		fail(uc, "fault");
}

static bool in_cache(const ucontext_t *uc)
{
	return bt_contains(h.bt, (u64)uc->uc_mcontext.gregs[REG_RIP]);
}

// What an interrupt does to translated code: state recovered, then entered again from guest state alone.
static void interrupt(ucontext_t *uc)
{
	bool finish;

	from_machine(&h.cpu, uc);
	bt_recover(h.bt, &h.cpu, PAGE_AT, false, &finish);
	selectors_from_page(&h.cpu);
	h.interrupts++;
	resume(uc);
}

// TF would leave with a POPFQ and show in a PUSHFQ: patched around them.
static void on_trap(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP], *sp = (u64 *)uc->uc_mcontext.gregs[REG_RSP];
	static bool pushed;

	clear_ac();
	if (!h.in_run || !h.stepping || !in_cache(uc)) {
		if (!h.in_run)
			_exit(4);
		return;
	}
	if (pushed)
		*sp &= ~(u64)RFL_TF;
	pushed = *(u8 *)rip == 0x9c;
	if (!check_machine(uc)) {
		fail(uc, "recovered state is no boundary");
		return;
	}
	if (h.interrupting && (h.dice = h.dice * 6364136223846793005ull + 1) >> 59 == 0) {
		pushed = false;
		interrupt(uc);
		return;
	}
	if (*(u8 *)rip == 0x9d)
		*sp |= RFL_TF;
}

// RDxSBASE and WRxSBASE where the host does not offer them.
static void on_ill(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	const u8 *p = (const u8 *)uc->uc_mcontext.gregs[REG_RIP];
	unsigned reg;

	clear_ac();
	if (!h.in_run && h.fsgsbase) { // set_up() asks
		h.fsgsbase = false;
		uc->uc_mcontext.gregs[REG_RIP] += 5;
		return;
	}
	if (!h.in_run || p[0] != 0xf3 || (p[1] & 0xf0) != 0x40 || p[2] != 0x0f || p[3] != 0xae) {
		if (!h.in_run)
			_exit(5);
		fail(uc, "illegal instruction");
		return;
	}
	reg = (p[4] & 7) | (p[1] & 1) << 3;
	if (((p[4] >> 3) & 7) == 1)
		uc->uc_mcontext.gregs[greg_of[reg]] = (long long)h.gs;
	else
		h.gs = (u64)uc->uc_mcontext.gregs[greg_of[reg]];
	uc->uc_mcontext.gregs[REG_RIP] += 5;
	if (h.stepping && in_cache(uc) && !check_machine(uc))
		fail(uc, "recovered state is no boundary");
}

static void on_start(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;

	memcpy(h.home.uc_mcontext.gregs, uc->uc_mcontext.gregs, sizeof(uc->uc_mcontext.gregs));
	h.in_run = true;
	resume(uc);
}

// --- a test case ---

struct variant {
	bool far, pending, stepping, small, count;
	unsigned plant;
};

static void *map_at(u64 at, size_t size, int prot)
{
	void *p = mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)at) {
		fprintf(stderr, "cannot map %lx\n", at);
		exit(2);
	}
	return p;
}

static void make_translator(const struct variant *v)
{
	static void *meta;
	struct bt_config c = {.code = (u8 *)CODE_AT, .code_size = v->small ? 5 * 18432 : CODE_SIZE, .links = (u64 *)LINKS_AT,
			      .link_count = LINK_COUNT, .ibtc = (u64 *)IBTC_AT, .returns = PAGE_AT->returns, .meta_size = META_SIZE, .code_base = CODE_AT,
			      .links_base = LINKS_AT, .ibtc_base = IBTC_AT, .vcpu_base = (u64)PAGE_AT, .ports = &bt_port_table,
			      .guest_ss = 0x18, .user_cs = 0x33, .user_ss = 0x2b, .count_instructions = v->count,
			      .cr2_in_page = true, .invlpg_in_page = true, .all_quiet = v->small || v->count, // in half of the variants or so
			      .plant = v->plant};

	if (!meta)
		meta = malloc(META_SIZE);
	c.meta = meta;
	h.bt = bt_create(&c);
	if (!h.bt) {
		fprintf(stderr, "bt_create failed\n");
		exit(2);
	}
}

static bool differs(const struct x86_cpu *ref)
{
	if (memcmp(ref->gpr, h.cpu.gpr, sizeof(ref->gpr)) || ref->rip != h.cpu.rip || ref->kernel_gs_base != h.cpu.kernel_gs_base ||
	    ref->seg[SEG_GS].base != h.gs || ((ref->rflags ^ h.cpu.rflags) & (RFL_ARITH | RFL_IF | RFL_DF | RFL_AC))) {
		h.reason = "final state";
		if (!quiet && !host_lost_gs()) {
			show("translated", h.cpu.gpr, h.cpu.rip, h.cpu.rflags, h.cpu.kernel_gs_base, h.gs);
			show("reference ", ref->gpr, ref->rip, ref->rflags, ref->kernel_gs_base, ref->seg[SEG_GS].base);
		}
		return true;
	}
	return false;
}

// One more than at the last boundary, where HLT was about to run.
static bool miscounted(void)
{
	u64 wanted = h.trace[h.trace_len - 1].executed + 1, got = PAGE_AT->counter[0] + h.emulated;

	if (!h.counting || got == wanted)
		return false;
	h.reason = "count";
	if (!quiet)
		fprintf(stderr, "counted %lu, emulated %lu, reference %lu\n", PAGE_AT->counter[0], h.emulated, wanted);
	return true;
}

static bool run_once(const struct variant *v, u64 seed)
{
	static u8 near_ref[DATA_SIZE], data_ref[DATA_SIZE];
	struct gen_layout l = {.code = (u8 *)(v->far ? FAR_CODE : NEAR_CODE), .code_size = PROGRAM_SIZE, .data = DATA_AT,
			       .data_size = DATA_SIZE, .kernel_cs = 0x10, .kernel_ss = 0x18, .user_cs = 0x33, .user_ss = 0x2b,
			       .features = GEN_SYSTEM};
	struct x86_cpu ref;
	u64 rip;

	h.code = (u64)l.code;
	l.near = h.code + NEAR_DATA;
	rip = gen_program(&l, seed);
	fill_data(seed);
	initial_cpu(&ref, rip, seed);
	h.cpu = ref;
	h.gs = ref.seg[SEG_GS].base;
	if (!run_reference(&ref))
		return true; // too long: no verdict
	memcpy(near_ref, (void *)l.near, DATA_SIZE);
	memcpy(data_ref, (void *)DATA_AT, DATA_SIZE);
	fill_data(seed);
	if (!v->small)
		make_translator(v);
	memset(PAGE_AT, 0, offsetof(struct vcpu_page, returns)); // the translator has filled in the rest
	for (unsigned i = 0; i < sizeof(PAGE_AT->popf_special); i++)
		PAGE_AT->popf_special[i] = POPF_SPECIAL(i);
	PAGE_AT->pending = v->pending;
	PAGE_AT->kernel_gs_base = h.cpu.kernel_gs_base;
	PAGE_AT->guest_cr2 = h.cpu.cr2;
	PAGE_AT->invlpg_exits = seed & 1;
	if (v->small)
		bt_flush(h.bt);
	h.stepping = v->stepping;
	h.counting = v->count;
	h.emulated = 0;
	h.interrupting = v->stepping && v->small;
	h.failed = h.done = false;
	h.reason = NULL;
	h.cursor = 0;
	raise(SIGUSR1);
	h.programs++;
	if (!h.failed && (differs(&ref) || memcmp(near_ref, (void *)l.near, DATA_SIZE) || memcmp(data_ref, (void *)DATA_AT, DATA_SIZE))) {
		h.failed = true;
		if (!h.reason)
			h.reason = "memory";
	}
	if (!h.failed && miscounted())
		h.failed = true;
	if (!h.failed)
		bt_audit(h.bt);
	else if (!quiet && !host_lost_gs())
		fprintf(stderr, "seed %lu far %d pending %d stepping %d small %d plant %u: %s (last boundary %u of %u, rip %lx)\n", seed,
			v->far, v->pending, v->stepping, v->small, v->plant, h.reason, h.cursor, h.trace_len, h.trace[h.cursor].rip);
	return !h.failed;
}

static bool run_case(const struct variant *v, u64 seed)
{
	unsigned unexplained = 0;

	for (unsigned attempt = 0; attempt < 16; attempt++)
		if (run_once(v, seed))
			return true;
		else if (!host_lost_gs() && ++unexplained == 2) // GS can be lost and be revived: a mistake of ours fails each time
			return false;
	h.skipped++;
	return true;
}

static bool run_many(struct variant v, u64 first, u64 count)
{
	if (v.small)
		make_translator(&v);
	for (u64 seed = first; seed < first + count; seed++)
		if (!run_case(&v, seed))
			return false;
	return true;
}

// A mistake planted in the translator must be found: by a difference, a bad recovery, or a crash.
static bool plant_is_found(unsigned plant)
{
	pid_t child = fork();
	int status;

	if (!child) {
		bool ok = true;

		quiet = true;
		alarm(20);
		for (unsigned k = 0; k < 4 && ok; k++)
			ok = run_many((struct variant){.far = k & 1, .stepping = true, .pending = k >> 1, .plant = plant}, 0, 20);
		_exit(ok ? 0 : 1);
	}
	waitpid(child, &status, 0);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void set_up(void)
{
	stack_t alt = {.ss_size = 1 << 20};
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	map_at(CODE_AT, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(LINKS_AT, LINK_COUNT * 8, PROT_READ | PROT_WRITE);
	map_at(IBTC_AT, IBTC_ENTRIES * 8, PROT_READ | PROT_WRITE);
	map_at((u64)PAGE_AT, 4096, PROT_READ | PROT_WRITE);
	map_at(NEAR_CODE, NEAR_DATA + DATA_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(FAR_CODE, NEAR_DATA + DATA_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(DATA_AT, DATA_SIZE, PROT_READ | PROT_WRITE);
	map_at(GDT_AT, 4096, PROT_READ | PROT_WRITE);
	map_at(STACK_AT, STACK_SIZE, PROT_READ | PROT_WRITE);
	h.trace = malloc(sizeof(*h.trace) * TRACE_MAX);
	alt.ss_sp = malloc(alt.ss_size);
	sigaltstack(&alt, NULL);
	sa.sa_sigaction = on_segv;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sa.sa_sigaction = on_trap;
	sigaction(SIGTRAP, &sa, NULL);
	sa.sa_sigaction = on_ill;
	sigaction(SIGILL, &sa, NULL);
	sa.sa_sigaction = on_start;
	sigaction(SIGUSR1, &sa, NULL);
	h.fsgsbase = true;
	__asm__ volatile("rdgsbase %%rax" ::: "rax");
}

int main(int argc, char **argv)
{
	u64 count = argc > 1 ? strtoul(argv[1], NULL, 0) : 150, first = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	unsigned failed = 0;

	set_up();
	for (unsigned k = 0; k < 16; k++) {
		struct variant v = {.far = k & 1, .pending = k & 2, .stepping = k & 4, .small = k & 8, .count = k & 1};

		failed += !run_many(v, first, v.stepping ? (count + 3) / 4 : count);
	}
	printf("bt_native: %lu programs, %lu exits, %lu recovered states checked, %lu interrupts, %lu skipped, %u variants failed\n", h.programs,
	       h.exits, h.checks, h.interrupts, h.skipped, failed);
	failed += h.skipped * 4 > h.programs;
	for (unsigned p = 1; p < BT_PLANT_COUNT; p++) {
		bool found = plant_is_found(p);

		printf("planted mistake %u: %s\n", p, found ? "found" : "NOT FOUND");
		failed += !found;
	}
	return failed ? 1 : 0;
}
