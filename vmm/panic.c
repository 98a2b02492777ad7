// SPDX-License-Identifier: MIT
// Panic: other CPUs stop (NMI), the report (reason, registers, back-trace with names, last trace records) is built in a
// static buffer and written to COM1, then to COM2 as a notification. A panic inside a panic stops at once with what is
// in the buffer. Nothing here takes a lock or allocates.
#include "vmm/panic.h"
#include "base/fmt.h"
#include "base/string.h"
#include "base/trace.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/smp.h"
#include "machine/cpu/traps.h"
#include "machine/io/serial.h"

#define REPORT 8192
#define DEPTH 24
#define TRACE_SHOWN 16

// Made by scripts/gen-symbols from the first link: functions by address (low 32 bits), names behind them.
struct symbol {
	u32 address, name;
};
extern const u32 symbol_count;
extern const struct symbol symbol_table[];
extern const char symbol_names[];
extern const char image_start[], image_text_end[];

void (*panic_test_hook)(void);

static u32 panicking; // 1 + id of the CPU that reports
static char report[REPORT];
static size_t used;

bool panic_in_progress(void)
{
	return __atomic_load_n(&panicking, __ATOMIC_RELAXED);
}

const char *symbol_of(u64 addr, u64 *offset)
{
	u32 low = 0, high = symbol_count;

	if (addr < (u64)image_start || addr >= (u64)image_text_end || !symbol_count ||
	    (u32)addr < symbol_table[0].address)
		return NULL;
	while (high - low > 1) {
		u32 mid = low + (high - low) / 2;

		if (symbol_table[mid].address <= (u32)addr)
			low = mid;
		else
			high = mid;
	}
	*offset = (u32)addr - symbol_table[low].address;
	return symbol_names + symbol_table[low].name;
}

static void PRINTF(1, 2) say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	used += (size_t)fmt_vsnprintf(report + used, REPORT - used, fmt, ap);
	va_end(ap);
	used = MIN(used, (size_t)REPORT - 1);
}

static NORETURN void stop(void)
{
	for (;;) {
		cli();
		hlt();
	}
}

static void write_console(void)
{
	size_t start = 0;

	for (size_t i = 0; i < used; i++) {
		if (report[i] != '\n')
			continue;
		serial_write(SERIAL_COM1, report + start, i - start);
		serial_write(SERIAL_COM1, "\r\n", 2);
		start = i + 1;
	}
}

static void write_control(void)
{
	static const char head[] = "{\"jsonrpc\":\"2.0\",\"method\":\"panic\",\"params\":{\"text\":\"";

	serial_write(SERIAL_COM2, head, sizeof(head) - 1);
	for (size_t i = 0; i < used; i++) {
		char c = report[i];

		if (c == '\n')
			serial_write(SERIAL_COM2, "\\n", 2);
		else if (c == '"' || c == '\\')
			serial_write(SERIAL_COM2, (char[]){'\\', c}, 2);
		else if (c >= ' ' && c < 127)
			serial_write(SERIAL_COM2, &c, 1);
	}
	serial_write(SERIAL_COM2, "\"}}\n", 4);
}

static void say_address(u64 addr)
{
	u64 offset;
	const char *name = symbol_of(addr, &offset);

	say("    %016lx %s", addr, name ? name : "?");
	if (name)
		say("+0x%lx", offset);
	say("\n");
}

// Frame pointers are followed while they stay in one CPU block and rise, so a damaged chain ends the list, not us.
static void say_backtrace(u64 rip, u64 rbp)
{
	u64 block = rbp & ~(u64)(CPU_BLOCK_SIZE - 1), ret, next;

	say("  back-trace:\n");
	say_address(rip);
	for (unsigned i = 0; i < DEPTH && rbp && !(rbp % 8); i++) {
		if ((rbp & ~(u64)(CPU_BLOCK_SIZE - 1)) != block || !read_u64_safe(rbp, &next) ||
		    !read_u64_safe(rbp + 8, &ret) || !ret)
			break;
		say_address(ret - 1); // the call, not what follows it
		if (next <= rbp)
			break;
		rbp = next;
	}
}

static void say_registers(const struct trap_frame *f)
{
	say("  rip %016lx  cs %04lx  rflags %08lx  rsp %016lx  ss %04lx\n", f->rip, f->cs, f->rflags, f->rsp, f->ss);
	say("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	say("  rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
	say("  r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
	say("  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r13, f->r14, f->r15);
}

static void say_control_registers(void)
{
	say("  cr0 %lx  cr2 %016lx  cr3 %lx  cr4 %lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

static void say_trace(void)
{
	struct trace_record r;

	say("  last trace records, newest first:\n");
	for (unsigned i = 0; i < TRACE_SHOWN && trace_get(i, &r); i++)
		say("    %lu %s %u: %lx %lx %lx %lx (CPU %u, VM %u)\n", r.tsc, trace_category_name(r.category), r.id, r.arg[0],
		    r.arg[1], r.arg[2], r.arg[3], r.place.cpu, r.place.vm);
}

// Within a report: what is in the buffer is all there will be.
static NORETURN void stop_again(void)
{
	static const char text[] = "\r\ntrapeze: panic: again, while reporting\r\n";
	static bool told;

	if (told)
		stop();
	told = true;
	serial_write(SERIAL_COM1, text, sizeof(text) - 1);
	say("\ntrapeze: report ends\n");
	write_control();
	write_console();
	stop();
}

// The first CPU to come here makes the report; another one only stops.
static void begin(void)
{
	u32 nobody = 0, me = this_cpu()->id + 1;

	cli();
	if (!__atomic_compare_exchange_n(&panicking, &nobody, me, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		if (nobody != me)
			stop();
		stop_again();
	}
	serial_panic_mode();
	smp_stop_others();
	say("trapeze: panic: ");
}

static NORETURN void finish(void)
{
	if (panic_test_hook)
		panic_test_hook();
	say_trace();
	say("trapeze: report ends\n");
	serial_write(SERIAL_COM1, "\r\n", 2);
	write_control();
	write_console();
	stop();
}

static void say_where(void)
{
	say("\n  CPU %u\n", this_cpu()->id);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	begin();
	va_start(ap, fmt);
	used += (size_t)fmt_vsnprintf(report + used, REPORT - used, fmt, ap);
	used = MIN(used, (size_t)REPORT - 1);
	va_end(ap);
	say_where();
	say_control_registers();
	say_backtrace((u64)__builtin_return_address(0) - 1, *(u64 *)__builtin_frame_address(0));
	finish();
}

void assert_failed(const char *expr, const char *file, int line)
{
	begin();
	say("assertion failed: %s (%s:%d)", expr, file, line);
	say_where();
	say_control_registers();
	say_backtrace((u64)__builtin_return_address(0) - 1, *(u64 *)__builtin_frame_address(0));
	finish();
}

void trap_fatal(const struct trap_frame *f)
{
	begin();
	say("%s in ring %lu, error 0x%lx", trap_name((unsigned)f->vector), f->cs & 3, f->error);
	if (f->vector == VEC_PF)
		say(", address %016lx", read_cr2());
	say_where();
	say_registers(f);
	say_control_registers();
	say_backtrace(f->rip, f->rbp);
	finish();
}
