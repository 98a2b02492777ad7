// SPDX-License-Identifier: MIT
// What every paravirtual test kernel is built of: start, handlers, and the loop over the cases of its folder. Command line: `case=NAME`,
// with what that case asks for behind it, one case; nothing: all that leave the VM alive. Prints `case NAME` before and `ok NAME`, or
// `bad NAME: ...` and `failed NAME`, after each, and powers off; with `crash` as its reason if any was bad.
#include "tests/guests/pv/harness/pv.h"

struct frame got;
u8 got_mask;
volatile unsigned events;
bool keep_pending;
unsigned nmis;
bool count_nmis;
extern u64 attempt_rsp;
extern const u8 attempt_failed[];
extern const u8 image_end[];
static u64 shared_page[512] __attribute__((aligned(4096)));
u64 program_root[512] __attribute__((aligned(4096)));
static u8 kernel_stack[4096] __attribute__((aligned(4096))); // for what comes from programs
static u8 user_stack[4096] __attribute__((aligned(4096)));
static const char *running;
static unsigned bad;

void kernel_main(void);
void handle(struct frame *f);

void print(const char *s)
{
	(void)CALL(console_io, CONSOLEIO_write, strlen(s), s);
}

static void print_hex(u64 v)
{
	char buf[18], *p = buf + 17;

	*p = 0;
	do
		*--p = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	print(p);
}

bool check(bool good, const char *what, u64 detail)
{
	if (good)
		return true;
	bad++;
	print("bad ");
	print(running);
	print(": ");
	print(what);
	print(" ");
	print_hex(detail);
	print(" (vector ");
	print_hex(got.vector);
	print(" error ");
	print_hex(got.error);
	print(" rip ");
	print_hex(got.rip);
	print(")\n");
	return false;
}

static void power_off(unsigned reason)
{
	struct sched_shutdown s = {reason};

	(void)CALL(sched_op, SCHEDOP_shutdown, &s);
}

struct shared_info *shared(void)
{
	return (struct shared_info *)shared_page;
}

// What an attempt meets ends it; anything else is a fault of ours.
void handle(struct frame *f)
{
	if (f->vector == CAME_EVENT) {
		events++;
		if (!keep_pending) {
			shared()->vcpu_info[0].evtchn_upcall_pending = 0;
			shared()->vcpu_info[0].evtchn_pending_sel = 0;
		}
		f->rflags &= ~(u64)RFL_IF; // masked from here on
		return;
	}
	if (f->vector == VEC_NMI && count_nmis) {
		unsigned was = ++nmis;

		if (was == 1) { // another one waits for the end of this
			check(!CALL(vcpu_op, VCPUOP_send_nmi, 0, 0), "NMI in an NMI", 0);
			check(nmis == was, "it came at once", nmis);
		}
		return;
	}
	got = *f;
	got_mask = shared()->vcpu_info[0].evtchn_upcall_mask;
	if (!attempt_rsp) {
		check(false, "came to the harness itself", shared()->vcpu_info[0].arch.cr2);
		power_off(SHUTDOWN_crash);
	}
	f->rax = f->vector + 1;
	f->rip = (u64)attempt_failed;
	f->rsp = attempt_rsp;
	f->cs = FLAT_KERNEL_CS64 & ~3u;
	f->ss = FLAT_KERNEL_SS64;
	f->rflags = 2;
}

// ---- programs

struct iret_context user_context(const void *rip, u64 rflags, unsigned flags)
{
	return (struct iret_context){.rip = (u64)rip,
				     .cs = FLAT_USER_CS64,
				     .rflags = rflags | 2,
				     .rsp = (u64)user_stack + sizeof(user_stack) - 64,
				     .ss = FLAT_USER_SS64,
				     .flags = flags};
}

void enter_user(u64 context)
{
	iret((struct iret_context *)context);
}

unsigned run_user(const void *rip, u64 rflags, unsigned flags)
{
	struct iret_context c = user_context(rip, rflags, flags);

	return attempt(enter_user, (u64)&c);
}

// ---- start

static void set_callback(unsigned type, void (*fn)(void))
{
	struct callback_register r = {.type = (u16)type, .flags = CALLBACKF_mask_events, .address = (u64)fn};

	check(!CALL(callback_op, CALLBACKOP_register, &r), "callback", type);
}

struct trap_info traps[257];

static void open_to_programs(u64 va)
{
	for (unsigned level = 4; level; level--) {
		u64 *table = table_of(va, level);
		unsigned slot = va >> (12 + 9 * (level - 1)) & 511;

		if (!(table[slot] & PTE_U))
			check(!store(mfn_of(table), slot, table[slot] | PTE_U), "U", va);
	}
}

void set_handlers(void)
{
	for (unsigned v = 0; v < 256; v++)
		traps[v] = (struct trap_info){(u8)v, (v == 3 || v == 4 || v == 0x80 ? 3 : 0) | 4, FLAT_KERNEL_CS64,
					      (u64)stubs + v * 16};
	check(!CALL(set_trap_table, traps), "trap table", 0);
	set_callback(CALLBACKTYPE_event, on_event);
	set_callback(CALLBACKTYPE_failsafe, on_failsafe);
	set_callback(CALLBACKTYPE_syscall, on_syscall);
	check(!CALL(stack_switch, 0, (u64)kernel_stack + sizeof(kernel_stack)), "stack", 0);
}

static void set_up(void)
{
	running = "start";
	set_handlers();
	check(!CALL(update_va_mapping, shared_page, start_info->shared_info | KERNEL_RW, UVMF_INVLPG | UVMF_LOCAL),
	      "shared page", 0);
	for (u64 va = IMAGE_START; va < (u64)image_end; va += PAGE_SIZE)
		open_to_programs(va);
	memcpy(program_root, (void *)start_info->pt_base, sizeof(program_root));
	check(!pin(program_root, 4) && !ext(MMUEXT_NEW_USER_BASEPTR, mfn_of(program_root), 0), "programs' tables", 0);
}

static void run_case(const struct pv_case *c)
{
	unsigned before = bad;

	print("case ");
	print(running = c->name);
	print("\n");
	c->run();
	print(bad == before ? "ok " : "failed ");
	print(c->name);
	print("\n");
}

static const char *parameter(const char *name)
{
	for (const char *s = (const char *)start_info->cmd_line; *s; s++)
		if (!strncmp(s, name, strlen(name)))
			return s + strlen(name);
	return NULL;
}

u64 argument(const char *name, u64 otherwise)
{
	const char *s = parameter(name);
	u64 n = 0;

	if (!s)
		return otherwise;
	for (; (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'f'); s++)
		n = n << 4 | (u64)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return n;
}

static bool is_word(const char *s, const char *word)
{
	size_t n = strlen(word);

	return !strncmp(s, word, n) && (!s[n] || s[n] == ' ');
}

void kernel_main(void)
{
	const char *only = parameter("case=");

	set_up();
	for (const struct pv_case *c = cases; c->name; c++)
		if (only ? is_word(only, c->name) : !c->fatal)
			run_case(c);
	print("end\n");
	power_off(bad ? SHUTDOWN_crash : SHUTDOWN_poweroff);
}
