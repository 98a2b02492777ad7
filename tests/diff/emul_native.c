// SPDX-License-Identifier: MIT
// The emulator against the machine: each case runs in ring 3 with its registers, flags and memory at the same addresses as
// in the emulator; faults are caught by signals and compared too.
//
//   emul_native [--seed N] [--cases N] [--plant N] [--quiet]
//
// --plant falsifies the emulator's outcome now and then (1 carry, 2 upper half of a register, 3 a byte of memory, 4 RIP,
// 5 the fault): the test must notice. Exit: 0 all equal, 1 a difference, 2 usage or set-up.
#include "tests/diff/emul_case.h"

#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PLANT_EVERY 97
#define MISMATCHES_SHOWN 12
#define KERNEL_HALF 0x7ffffffff000ull

// Registers to load and those found afterwards; the assembly below knows the offsets.
struct native_state {
	u64 gpr[16];    // 0
	u64 flags;      // 128
	u64 host_rsp;   // 136
	u64 entry;      // 144
	u64 taken;      // 152
	u8 xmm[16][16]; // 160
	u32 entry32;    // 416: far pointer into 32-bit code
	u16 cs32;
};
struct native_state native_state __attribute__((used));

void native_run(void);
void native_run32(void);
extern char native_back[], native_back_taken[];

#define EACH(op)                                                                                                     \
	op(0, rax) op(1, rcx) op(2, rdx) op(3, rbx) op(5, rbp) op(6, rsi) op(7, rdi) op(8, r8) op(9, r9) op(10, r10) \
		op(11, r11) op(12, r12) op(13, r13) op(14, r14) op(15, r15)
#define LOAD(n, r) "mov native_state+8*" #n "(%rip), %" #r "\n"
#define SAVE(n, r) "mov %" #r ", native_state+8*" #n "(%rip)\n"
#define EACH_XMM(op) \
	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOADX(n) "movups native_state+160+16*" #n "(%rip), %xmm" #n "\n"
#define SAVEX(n) "movups %xmm" #n ", native_state+160+16*" #n "(%rip)\n"
#define ENTER                                                                          \
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n" EACH_XMM( \
		LOADX) "mov %rsp, native_state+136(%rip)\n"                            \
		       "pushq native_state+128(%rip); popfq\n" EACH(LOAD) "mov native_state+32(%rip), %rsp\n"
__asm__(".text\n.globl native_run, native_run32, native_back, native_back_taken\n"
	"native_run:" ENTER "jmp *native_state+144(%rip)\n"
	"native_run32:" ENTER "ljmpl *native_state+416(%rip)\n"
	"native_back_taken: movq $1, native_state+152(%rip)\n"
	"native_back:\n" EACH(SAVE) "mov %rsp, native_state+32(%rip)\n"
				    "mov native_state+136(%rip), %rsp\n"
				    "pushfq; popq native_state+128(%rip); cld\n" EACH_XMM(
					    SAVEX) "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static sigjmp_buf fault_exit;
static volatile sig_atomic_t running;
static struct emul_outcome faulted;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	const ucontext_t *u = context;

	if (!running) {
		fprintf(stderr, "emul_native: signal %d outside a case\n", sig);
		_exit(2);
	}
	for (unsigned i = 0; i < 16; i++)
		faulted.gpr[i] = (u64)u->uc_mcontext.gregs[order[i]];
	faulted.rip = (u64)u->uc_mcontext.gregs[REG_RIP];
	faulted.flags = (u64)u->uc_mcontext.gregs[REG_EFL];
	faulted.vector = (int)u->uc_mcontext.gregs[REG_TRAPNO];
	faulted.error = (u32)u->uc_mcontext.gregs[REG_ERR];
	faulted.cr2 = (u64)u->uc_mcontext.gregs[REG_CR2];
	for (unsigned i = 0; i < 16; i++)
		memcpy(faulted.xmm[i], &u->uc_mcontext.fpregs->_xmm[i], 16);
	siglongjmp(fault_exit, 1);
}

static void catch_signals(void)
{
	static u8 stack[65536];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

	sigaltstack(&ss, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

static bool map_at(u64 at, size_t size, int prot)
{
	return mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)at;
}

// From 32-bit code the way back is a far jump; this program is linked below 4 GiB.
static void exit_stub(u8 *at, const char *where, enum insn_mode mode, u16 cs)
{
	u64 to = (u64)where;

	if (mode == INSN_MODE_32) {
		at[0] = 0xea;
		memcpy(at + 1, &to, 4);
		memcpy(at + 5, &cs, 2);
		return;
	}
	memcpy(at, "\xff\x25\x00\x00\x00\x00", 6); // jmp *0(%rip)
	memcpy(at + 6, &to, 8);
}

static void place(const struct emul_case *c, const struct case_machine *m)
{
	u8 *code = (u8 *)CASE_CODE;

	memcpy(code, c->code, c->length);
	exit_stub(code + c->length, native_back, c->mode, m->cs);
	exit_stub(code + c->length + CASE_TAKEN, native_back_taken, c->mode, m->cs);
	memcpy((void *)CASE_ARENA, c->arena, CASE_RW);
}

// SMAP-less user memory: the read-only page is filled once per case through a second right.
static void fill_readonly(const struct emul_case *c)
{
	static bool done;

	if (done)
		return;
	mprotect((void *)(CASE_ARENA + CASE_RW), CASE_SIZE - CASE_RW, PROT_READ | PROT_WRITE);
	memcpy((void *)(CASE_ARENA + CASE_RW), c->arena + CASE_RW, CASE_SIZE - CASE_RW);
	mprotect((void *)(CASE_ARENA + CASE_RW), CASE_SIZE - CASE_RW, PROT_READ);
	done = true;
}

static void run_native(const struct emul_case *c, const struct case_machine *m, struct emul_outcome *o)
{
	fill_readonly(c);
	place(c, m);
	memcpy(native_state.gpr, c->gpr, sizeof(c->gpr));
	memcpy(native_state.xmm, c->xmm, sizeof(c->xmm));
	native_state.flags = c->flags;
	native_state.entry = CASE_CODE;
	native_state.entry32 = CASE_CODE;
	native_state.cs32 = m->cs32;
	native_state.taken = 0;
	if (!sigsetjmp(fault_exit, 0)) {
		running = 1;
		if (c->mode == INSN_MODE_64)
			native_run();
		else
			native_run32();
		running = 0;
		memcpy(o->gpr, native_state.gpr, sizeof(o->gpr));
		memcpy(o->xmm, native_state.xmm, sizeof(o->xmm));
		o->flags = native_state.flags;
		o->rip = CASE_CODE + c->length + (native_state.taken ? CASE_TAKEN : 0);
		o->vector = -1;
		o->error = 0;
		o->cr2 = 0;
	} else {
		__asm__ volatile("cld");
		running = 0;
		memcpy(o, &faulted, sizeof(*o));
		if (o->vector == VEC_PF && o->cr2 >= KERNEL_HALF) // the host's kernel hides what it maps: P always set
			o->error &= ~(u32)PF_P;
	}
	memcpy(o->arena, (void *)CASE_ARENA, CASE_RW);
}

static bool feature(enum case_feature f)
{
	unsigned a, b, c, d, b7 = 0, c81 = 0;

	__cpuid(1, a, b, c, d);
	unsigned c1 = c;
	if (__get_cpuid_max(0, NULL) >= 7) {
		__cpuid_count(7, 0, a, b, c, d);
		b7 = b;
	}
	__cpuid(0x80000001, a, b, c, d);
	c81 = c;
	switch (f) {
	case FEAT_POPCNT:
		return c1 >> 23 & 1;
	case FEAT_LZCNT:
		return c81 >> 5 & 1;
	case FEAT_BMI1:
		return b7 >> 3 & 1;
	case FEAT_BMI2:
		return b7 >> 8 & 1;
	case FEAT_MOVBE:
		return c1 >> 22 & 1;
	case FEAT_ADX:
		return b7 >> 19 & 1;
	case FEAT_SSE42:
		return c1 >> 20 & 1;
	case FEAT_CX16:
		return c1 >> 13 & 1;
	default:
		return true;
	}
}

static void selectors(struct case_machine *m)
{
	m->cs32 = 0x23; // Linux' user code segment for 32-bit programs
	__asm__ volatile("mov %%ss, %%eax; mov %%eax, %%ds; mov %%eax, %%es" ::: "rax");
	__asm__("mov %%cs, %0" : "=r"(m->cs));
	__asm__("mov %%ss, %0" : "=r"(m->ss));
	__asm__("mov %%ds, %0" : "=r"(m->ds));
	__asm__("mov %%es, %0" : "=r"(m->es));
	__asm__("mov %%fs, %0" : "=r"(m->fs));
	__asm__("mov %%gs, %0" : "=r"(m->gs));
}

#define ONCE_MAX 20 // more than that is no host's slip

struct options {
	u64 seed;
	unsigned cases, plant;
	bool quiet;
};

static void plant(unsigned kind, struct emul_outcome *o)
{
	switch (kind) {
	case 1:
		o->flags ^= RFL_CF;
		break;
	case 2:
		o->gpr[R_RBX] ^= 1ull << 40;
		break;
	case 3:
		o->arena[1500] ^= 1;
		break;
	case 4:
		o->rip++;
		break;
	case 5:
		o->vector = o->vector < 0 ? VEC_GP : -1;
		break;
	default:
		break;
	}
}

struct totals {
	u64 cases, faults, mismatches, unsupported, redrawn, once;
	unsigned combinations, skipped_rows;
};

// A host kernel that does not know FSGSBASE loses or revives segment bases at a context switch in the middle of a case. An instruction
// does the same each time: what differs once and not again was the host.
static bool differs(const struct emul_case *c, const struct case_machine *m, struct emul_outcome *want, const struct emul_outcome *got,
		    bool show, struct totals *t)
{
	if (case_compare(c, want, got, "machine", false))
		return false;
	run_native(c, m, want);
	if (!case_compare(c, want, got, "machine", show))
		return true;
	t->once++;
	return false;
}

static void one_case(struct case_rng *rng, const struct options *opt, const struct case_machine *m, unsigned row,
		     unsigned width, enum case_form form, enum insn_mode mode, struct totals *t)
{
	static struct emul_case c;
	static struct emul_outcome want, got;
	bool unsupported;

	while (!case_make(rng, row, width, form, mode, mode == INSN_MODE_64 ? m->cs : m->cs32, m->ss, &c))
		t->redrawn++;
	run_native(&c, m, &want);
	memcpy((void *)CASE_ARENA, c.arena, CASE_RW);
	case_emulate(&c, m, &got, &unsupported);
	t->cases++;
	t->faults += want.vector >= 0;
	t->unsupported += unsupported;
	if (opt->plant && t->cases % PLANT_EVERY == 0)
		plant(opt->plant, &got);
	if (unsupported || differs(&c, m, &want, &got, t->mismatches < MISMATCHES_SHOWN && !opt->quiet, t)) {
		if (unsupported && t->unsupported < 5)
			case_print(&c);
		t->mismatches++;
	}
}

static const char *const form_names[] = {"reg", "mem", "lock", "-"};

static void one_row(struct case_rng *rng, const struct options *opt, const struct case_machine *m, unsigned row,
		    enum insn_mode mode, struct totals *t)
{
	u64 before = t->cases, bad = t->mismatches;
	char widths[FORM_COUNT][24] = {""};

	for (enum case_form form = 0; form < FORM_COUNT; form++)
		for (unsigned width = 8; width <= 64; width *= 2) {
			if (!case_has(row, width, form, mode))
				continue;
			sprintf(widths[form] + strlen(widths[form]), " %u",
				width == 64 && mode == INSN_MODE_32 ? 32 : width);
			t->combinations++;
			for (unsigned i = 0; i < opt->cases; i++)
				one_case(rng, opt, m, row, width, form, mode, t);
		}
	if (opt->quiet || t->cases == before)
		return;
	printf("  %-18s", case_row_name(row));
	for (enum case_form form = 0; form < FORM_COUNT; form++)
		if (widths[form][0])
			printf(" %s:%s;", form_names[form], widths[form]);
	printf(" %llu cases%s\n", (unsigned long long)(t->cases - before), t->mismatches > bad ? "  DIFFERS" : "");
}

// Some kernels, and all that run as paravirtual guests, offer no 32-bit code segment.
static bool has_code32(u16 sel)
{
	u32 rights = 0;
	bool ok;

	__asm__("lar %2, %0; setz %1" : "+r"(rights), "=q"(ok) : "r"((u32)sel) : "cc");
	return ok && (rights & 0xe00000) == 0xc00000;
}

static void all_rows(struct case_rng *rng, const struct options *opt, const struct case_machine *m, enum insn_mode mode,
		     struct totals *t)
{
	if (!opt->quiet)
		printf("%u-bit mode:\n", mode == INSN_MODE_64 ? 64 : 32);
	for (unsigned row = 0; row < case_rows(); row++) {
		if (feature(case_row_feature(row))) {
			one_row(rng, opt, m, row, mode, t);
			continue;
		}
		if (!opt->quiet)
			printf("  %-18s skipped: this machine has no %s\n", case_row_name(row),
			       case_feature_name(case_row_feature(row)));
		t->skipped_rows++;
	}
}

static void not_covered(void)
{
	printf("not in this test: INT n, INT3, SYSCALL, SYSENTER (they enter this host's kernel); RDTSC, RDPMC, CPUID, SGDT,"
	       " STR, SMSW (host dependent); loads of segment registers, LAR, LSL, VERR, VERW (host's GDT);\n"
	       "  ring-0 behaviour of system instructions, 16-bit mode (unit tests, bare-machine test kernel)\n");
}

static bool parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){.seed = 1, .cases = 100};
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quiet"))
			o->quiet = true;
		else if (i + 1 == argc)
			return false;
		else if (!strcmp(argv[i], "--seed"))
			o->seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--cases"))
			o->cases = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--plant"))
			o->plant = (unsigned)strtoul(argv[++i], NULL, 0);
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct case_machine m = {0};
	struct options opt;
	struct case_rng rng;
	struct totals t = {0};

	if (!parse(argc, argv, &opt)) {
		fprintf(stderr, "usage: emul_native [--seed N] [--cases N] [--plant N] [--quiet]\n");
		return 2;
	}
	if (!map_at(CASE_CODE & ~PAGE_MASK, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    !map_at(CASE_ARENA, CASE_SIZE, PROT_READ | PROT_WRITE)) {
		perror("emul_native: mmap");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	catch_signals();
	selectors(&m);
	rng.s = opt.seed;
	all_rows(&rng, &opt, &m, INSN_MODE_64, &t);
	if (has_code32(m.cs32))
		all_rows(&rng, &opt, &m, INSN_MODE_32, &t);
	else
		printf("32-bit mode: skipped, this host's kernel has no 32-bit code segment\n");
	if (!opt.quiet)
		not_covered();
	printf("emul_native: seed %llu: %u combinations, %llu cases, %llu of them faulting, %u rows skipped, %llu differences, %llu the host's (once and not again)\n",
	       (unsigned long long)opt.seed, t.combinations, (unsigned long long)t.cases, (unsigned long long)t.faults,
	       t.skipped_rows, (unsigned long long)t.mismatches, (unsigned long long)t.once);
	return t.mismatches || t.once > ONCE_MAX;
}
