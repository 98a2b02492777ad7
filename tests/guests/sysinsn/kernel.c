// SPDX-License-Identifier: MIT
// The test kernel: builds the world, runs every case on the machine and prints its outcome to COM1, one line each:
// "GROUP INDEX field=value ...", only fields that differ from the baseline. The index is out before the case runs, so that a
// case that kills the machine can be told. Ends by isa-debug-exit. Command line: step=N runs every Nth case of each group,
// group=N one group.
#include "tests/guests/sysinsn/cases.h"
#include "tests/guests/sysinsn/layout.h"

#include "base/string.h"

#define COM1 0x3f8
#define EXIT_PORT 0xf4

_Static_assert(SAVE_GPR == W_SAVE, "save page");

void kernel_main(const char *cmdline);
void case_enter(void);
void stub_common(void);

static u8 pristine[W_SIZE];
static u8 *const world = (u8 *)(u64)WORLD;

static void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void print(const char *s)
{
	for (; *s; s++)
		outb(COM1, (u8)*s);
}

static void print_number(u64 v)
{
	char buf[20], *p = buf + sizeof(buf);

	*--p = 0;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	print(p);
}

static u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}

static void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)));
}

#define READ(reg)                                                  \
	({                                                         \
		u64 v_;                                            \
		__asm__ volatile("mov %%" #reg ", %0" : "=r"(v_)); \
		v_;                                                \
	})
#define WRITE(reg, v) __asm__ volatile("mov %0, %%" #reg : : "r"((u64)(v)) : "memory")

static void load_table(bool gdt, u64 base, u16 limit)
{
	struct {
		u16 limit;
		u64 base;
	} PACKED t = {limit, base};

	if (gdt)
		__asm__ volatile("lgdt %0" : : "m"(t));
	else
		__asm__ volatile("lidt %0" : : "m"(t));
}

static void store_table(bool gdt, u64 *base, u64 *limit)
{
	struct {
		u16 limit;
		u64 base;
	} PACKED t;

	if (gdt)
		__asm__ volatile("sgdt %0" : "=m"(t));
	else
		__asm__ volatile("sidt %0" : "=m"(t));
	*base = t.base;
	*limit = t.limit;
}

static void reload_cs(void)
{
	__asm__ volatile("pushq %0\n\tleaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:"
			 :
			 : "i"(S_KCS)
			 : "rax", "memory");
	__asm__ volatile("mov %0, %%ss" : : "r"(S_KDS));
}

static void restore_range(u64 at, u64 bytes)
{
	const u64 *from = (const u64 *)(pristine + (at - WORLD));

	for (u64 *to = (u64 *)at; to < (u64 *)(at + bytes); to++, from++)
		if (*to != *from)
			*to = *from;
}

// What pokes, the CPU and the case's code can have changed; a read-only page only when it was not.
static void restore_world(const struct sys_case *c)
{
	for (unsigned i = 0; i < c->pokes; i++)
		memcpy((void *)c->poke[i].at, pristine + (c->poke[i].at - WORLD), c->poke[i].bytes);
	restore_range(W_GDT, ROUND_UP(GDT_LIMIT, 8));
	restore_range(W_LDT, 0x30);
	restore_range(W_TSS, 0x70);
	restore_range(W_DATA, PAGE_SIZE);
	restore_range(W_KDATA, PAGE_SIZE);
	restore_range(W_USTACK, PAGE_SIZE);
	restore_range(W_KSTACK, PAGE_SIZE);
	if (c->cr0 & CR0_WP)
		return;
	WRITE(cr0, W_CR0 & ~CR0_WP);
	restore_range(W_RODATA, PAGE_SIZE);
	WRITE(cr0, W_CR0);
}

// By words: each store to a page with translations in it is dear.
static void write_code(u64 *to, const u8 *from, unsigned length)
{
	for (unsigned i = 0; i < length; i += 8)
		memcpy(to++, from + i, 8);
}

static void apply_pokes(const struct sys_case *c)
{
	for (unsigned i = 0; i < c->pokes; i++)
		memcpy((void *)c->poke[i].at, &c->poke[i].value, c->poke[i].bytes);
}

// TR's descriptor is busy in the pristine world: made available for LTR.
static void load_tables(const struct sys_case *c)
{
	u8 *busy = (u8 *)(u64)(W_GDT + S_TSS + 5);

	load_table(false, W_IDT, 0xfff);
	*busy &= (u8)~2;
	__asm__ volatile("ltr %0" : : "r"((u16)S_TSS));
	__asm__ volatile("lldt %0" : : "r"(c->ldt));
}

static void load_registers(const struct sys_case *c)
{
	wrmsr(MSR_EFER, c->efer);
	wrmsr(MSR_STAR, c->star);
	wrmsr(MSR_LSTAR, c->lstar);
	wrmsr(MSR_CSTAR, c->cstar);
	wrmsr(MSR_SFMASK, c->sfmask);
	wrmsr(MSR_SYSENTER_CS, W_SYSENTER_CS);
	wrmsr(MSR_SYSENTER_ESP, W_SYSENTER_ESP);
	wrmsr(MSR_SYSENTER_EIP, W_SYSENTER_EIP);
	wrmsr(MSR_PAT, W_PAT);
	wrmsr(MSR_TSC_AUX, 0);
	wrmsr(0x2ff, 0);
	WRITE(dr0, c->dr[0]);
	WRITE(dr1, c->dr[1]);
	WRITE(dr2, c->dr[2]);
	WRITE(dr3, c->dr[3]);
	WRITE(dr6, c->dr[6]);
	WRITE(dr7, c->dr[7]);
	WRITE(cr2, c->cr2);
	WRITE(cr8, c->cr8);
	__asm__ volatile("mov %0, %%ds; mov %1, %%es; mov %2, %%fs; mov %3, %%gs"
			 :
			 : "r"(c->ds), "r"(c->es), "r"(c->fs), "r"(c->gs));
	wrmsr(MSR_FS_BASE, c->fs_base);
	wrmsr(MSR_GS_BASE, c->gs_base);
	wrmsr(MSR_KERNEL_GS_BASE, c->kernel_gs_base);
	if (c->cr0 != W_CR0)
		WRITE(cr0, c->cr0);
	if (c->cr4 != W_CR4)
		WRITE(cr4, c->cr4);
}

static void prepare_frame(const struct sys_case *c)
{
	struct outcome base;
	u64 *frame = (u64 *)SAVE_FRAME;

	outcome_baseline(c, &base);
	memcpy((void *)SAVE_GPR, c->gpr, sizeof(c->gpr));
	frame[0] = code_page(c->entry) + W_CODE_AT;
	frame[1] = base.f[O_cs];
	frame[2] = c->flags;
	frame[3] = c->gpr[R_RSP];
	frame[4] = base.f[O_ss];
}

static void read_state(struct outcome *o)
{
	const u64 *gpr = (const u64 *)SAVE_GPR;

	for (unsigned i = 0; i < 16; i++)
		o->f[O_rax + i] = i == R_RSP ? 0 : gpr[i];
	o->f[O_entry_rsp] = gpr[R_RSP];
	o->f[O_vector] = *(const u32 *)SAVE_VECTOR;
	o->f[O_entry_ss] = *(const u32 *)SAVE_SS & 0xffff;
	o->f[O_entry_flags] = *(const u64 *)SAVE_FLAGS;
	o->f[O_entry_cs] = READ(cs) & 0xffff;
	o->f[O_ds] = READ(ds) & 0xffff;
	o->f[O_es] = READ(es) & 0xffff;
	o->f[O_fs] = READ(fs) & 0xffff;
	o->f[O_gs] = READ(gs) & 0xffff;
	o->f[O_cr0] = READ(cr0);
	o->f[O_cr2] = READ(cr2);
	o->f[O_cr3] = READ(cr3);
	o->f[O_cr4] = READ(cr4);
	o->f[O_cr8] = READ(cr8);
	o->f[O_dr0] = READ(dr0);
	o->f[O_dr1] = READ(dr1);
	o->f[O_dr2] = READ(dr2);
	o->f[O_dr3] = READ(dr3);
	o->f[O_dr6] = READ(dr6);
	o->f[O_dr7] = READ(dr7);
	o->f[O_efer] = rdmsr(MSR_EFER);
	o->f[O_star] = rdmsr(MSR_STAR);
	o->f[O_lstar] = rdmsr(MSR_LSTAR);
	o->f[O_cstar] = rdmsr(MSR_CSTAR);
	o->f[O_sfmask] = rdmsr(MSR_SFMASK);
	o->f[O_fs_base] = rdmsr(MSR_FS_BASE);
	o->f[O_gs_base] = rdmsr(MSR_GS_BASE);
	o->f[O_kernel_gs_base] = rdmsr(MSR_KERNEL_GS_BASE);
	store_table(true, &o->f[O_gdt_base], &o->f[O_gdt_limit]);
	store_table(false, &o->f[O_idt_base], &o->f[O_idt_limit]);
	__asm__ volatile("sldt %0" : "=r"(o->f[O_ldtr]));
	__asm__ volatile("str %0" : "=r"(o->f[O_tr]));
	o->f[O_ldtr] &= 0xffff;
	o->f[O_tr] &= 0xffff;
}

// Back to a state in which this kernel can work, whatever the case left. Control registers are written when they must: QEMU
// forgets all translations then.
static void recover(void)
{
	WRITE(dr7, 0x400);
	if (READ(cr0) != W_CR0)
		WRITE(cr0, W_CR0);
	if (READ(cr4) != W_CR4)
		WRITE(cr4, W_CR4);
	if (READ(cr3) != W_PML4)
		WRITE(cr3, W_PML4);
	wrmsr(MSR_EFER, W_EFER);
	load_table(true, W_GDT, GDT_LIMIT);
	__asm__ volatile("stac" : : : "memory"); // user pages are compared and restored
}

static void run_case(unsigned group, unsigned index)
{
	static struct sys_case c;
	static struct outcome o, base;
	static char line[2048];
	static const u8 int3s[32] = {[0 ... 31] = 0xcc};
	u64 *code;

	case_make(group, index, &c);
	if (c.skip)
		return;
	print_number(group);
	print(" ");
	print_number(index);
	code = (u64 *)(code_page(c.entry) + W_CODE_ALIAS + W_CODE_AT);
	write_code(code, c.code, c.length);
	apply_pokes(&c);
	prepare_frame(&c);
	load_tables(&c);
	load_registers(&c);
	case_enter();
	memset(&o, 0, sizeof(o));
	read_state(&o);
	recover();
	outcome_memory(&o, world, pristine);
	write_code(code, int3s, c.length);
	restore_world(&c);
	reload_cs();
	outcome_baseline(&c, &base);
	outcome_print(&o, &base, line, sizeof(line));
	print(line);
	print("\n");
}

// movabs %rax, save; mov $vector, %eax; jmp stub_common
static void write_stubs(void)
{
	for (unsigned v = 0; v < 256; v++) {
		u8 *p = (u8 *)world_stub(v);
		u64 save = SAVE_GPR;
		s32 rel = (s32)((u64)stub_common - (world_stub(v) + 20));

		p[0] = 0x48;
		p[1] = 0xa3;
		memcpy(p + 2, &save, 8);
		p[10] = 0xb8;
		memcpy(p + 11, &v, 4);
		p[15] = 0xe9;
		memcpy(p + 16, &rel, 4);
	}
}

static void print_cpuid(void)
{
	static const u32 leaves[] = {0, 1, 7, 0xd, 0x80000001, 0x80000008};
	char line[128];

	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct outcome o = {0}, zero = {0};
		u32 a = leaves[i], b, c = 0, d;

		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		o.f[O_rax] = a;
		o.f[O_rbx] = b;
		o.f[O_rcx] = c;
		o.f[O_rdx] = d;
		outcome_print(&o, &zero, line, sizeof(line));
		print("cpuid ");
		print_number(leaves[i]);
		print(line);
		print("\n");
	}
}

// Value of "name=" in the command line.
static unsigned option(const char *cmdline, const char *name, unsigned otherwise)
{
	unsigned len = (unsigned)strlen(name), v = 0;

	for (; cmdline && *cmdline; cmdline++) {
		if (strncmp(cmdline, name, len))
			continue;
		for (cmdline += len; *cmdline >= '0' && *cmdline <= '9'; cmdline++)
			v = v * 10 + (unsigned)(*cmdline - '0');
		return v;
	}
	return otherwise;
}

void kernel_main(const char *cmdline)
{
	unsigned step = option(cmdline, "step=", 1), only = option(cmdline, "group=", ~0u);

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	world_build(pristine);
	memcpy(world, pristine, W_SIZE);
	write_stubs();
	WRITE(cr3, W_PML4);
	recover();
	reload_cs();
	print_cpuid();
	for (unsigned g = 0; g < group_count; g++)
		for (unsigned i = 0; i < groups[g].count && (only == ~0u || only == g); i += step)
			run_case(g, i);
	print("end\n");
	outb(EXIT_PORT, 0x10);
}
