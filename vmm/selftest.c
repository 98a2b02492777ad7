// SPDX-License-Identifier: MIT
// One table of tests: `all` runs those that come back, the others each end in the panic report that
// tests/system/test_machine.sh looks for.
#include "vmm/selftest.h"
#include "vmm/panic.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/string.h"
#include "base/trace.h"
#include "machine/boot/acpi.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/smp.h"
#include "machine/cpu/traps.h"
#include "machine/irq/lapic.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "machine/mm/paging.h"

#define MS 1000000ull
#define HELD 64

static volatile unsigned ticks, ran;

#define check(e)                                                        \
	do {                                                            \
		if (!(e)) {                                             \
			log_err("selftest: line %d: %s", __LINE__, #e); \
			return false;                                   \
		}                                                       \
	} while (0)

static bool is_zero(const void *page)
{
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		if (((const u64 *)page)[i])
			return false;
	return true;
}

static bool test_frames(void)
{
	struct frame_counts before = frame_counts();
	mpn_t held[HELD], run;

	for (unsigned i = 0; i < HELD; i++) {
		held[i] = frame_alloc();
		check(held[i] != MPN_NONE && held[i] >= MIB >> PAGE_SHIFT && is_zero(frame_ptr(held[i])));
		check(ptr_mpn(frame_ptr(held[i])) == held[i]);
		memset(frame_ptr(held[i]), 0xa5, PAGE_SIZE);
		for (unsigned j = 0; j < i; j++)
			check(held[j] != held[i]);
	}
	run = frames_alloc(700, 9);
	check(run != MPN_NONE && run % 512 == 0 && is_zero(frame_ptr(run + 699)));
	check(frame_counts().free == before.free - HELD - 700);
	frames_free(run, 700);
	for (unsigned i = 0; i < HELD; i++)
		frame_free(held[i]);
	check(frame_counts().free == before.free && frame_counts().used == before.used);
	check(frames_alloc(frame_limit(), 0) == MPN_NONE); // there are holes
	run = frames_alloc(HELD, 0);
	check(run != MPN_NONE && is_zero(frame_ptr(run)));
	frames_free(run, HELD);
	return true;
}

// Touches the highest frames, beyond what the boot tables mapped.
static bool test_high_memory(void)
{
	mpn_t last = frame_limit() - 1;
	volatile u64 *p = frame_ptr(last);

	check(frame_is_ram(last));
	*p = 0x1122334455667788;
	check(*p == 0x1122334455667788);
	return true;
}

static bool test_paging(void)
{
	u64 va = CPU_BASE + SLOT_SIZE / 2, *e, entry;
	mpn_t f = frame_alloc(), root = mm_new_root();

	check(f != MPN_NONE && root != MPN_NONE && mm_root()[257] == 0);
	check(!mm_lookup(mm_root(), va) && !read_u64_safe(va, &entry));
	check(mm_map_page(mm_root(), va, f, MAP_RW) == ST_OK);
	*(volatile u64 *)va = 77;
	e = frame_ptr(f);
	check(*e == 77 && mm_unmap_page(mm_root(), va) == f && !read_u64_safe(va, &entry));
	check(mm_unmap_page(mm_root(), va) == MPN_NONE);
	frame_free(f);
	frame_free(root);
	return true;
}

static bool test_msr(void)
{
	u64 v;

	check(rdmsr_safe(MSR_EFER, &v) && v & EFER_LMA);
	// QEMU knows no bad MSR number, so the fix-up itself is shown by addresses: not canonical, not mapped.
	check(!read_u64_safe(0x8000000000000000, &v) && !read_u64_safe(IO_BASE + SLOT_SIZE - 8, &v));
	check(wrmsr_safe(MSR_SYSENTER_CS, 0));
	return true;
}

static void tick(void)
{
	ticks++;
}

static bool test_timer(void)
{
	u64 start, took, early = 0;

	timer_set_handler(tick);
	for (unsigned i = 0; i < 5; i++) {
		ticks = 0;
		start = time_ns();
		timer_arm(rdtsc() + ns_to_tsc(20 * MS));
		while (!ticks && time_ns() - start < 2000 * MS) {
			sti_hlt();
			cli();
		}
		took = time_ns() - start;
		check(ticks == 1);
		early += took < 20 * MS;
		log_info("selftest: 20 ms timer took %lu us", took / 1000);
	}
	check(!early);
	ticks = 0;
	timer_arm(rdtsc() + ns_to_tsc(5 * MS));
	timer_cancel();
	sti();
	delay_us(20000);
	cli();
	check(!ticks);
	timer_arm(0); // long past
	sti();
	delay_us(20000);
	cli();
	check(ticks == 1);
	return true;
}

static void work(void *arg)
{
	if (this_cpu() == cpu_get((unsigned)(u64)arg) && read_cr3() == this_cpu()->root << PAGE_SHIFT)
		__atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
}

static bool test_smp(void)
{
	unsigned rounds = 20;
	u64 start = time_ns();

	ran = 0;
	check(!smp_run(0, work, NULL));
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 1; i < cpu_count(); i++)
			while (!smp_run(i, work, (void *)(u64)i) && time_ns() - start < 2000 * MS)
				cpu_relax();
	while (ran < rounds * (cpu_count() - 1) && time_ns() - start < 4000 * MS)
		cpu_relax();
	check(ran == rounds * (cpu_count() - 1));
	return true;
}

static bool test_control_bits(void)
{
	check(read_cr0() & CR0_WP && !(read_cr4() & (CR4_PGE | CR4_PCE)) && rdmsr(MSR_EFER) & EFER_NXE);
	check(read_cr4() == cpu_features.cr4 && rdmsr(MSR_SYSENTER_CS) == 0);
	return true;
}

static bool test_trace(void)
{
	struct trace_record r;
	u32 mask;

	trace(TEST, 5, 1, 2, 3, 4);
	check(trace_get(0, &r) && r.id == 5 && r.arg[3] == 4 && r.category == TRACE_TEST_BIT);
	check(trace_parse_mask("mmu,bt", &mask) && mask == (TRACE_MMU | TRACE_BT) && !trace_parse_mask("x", &mask));
	return true;
}

// What follows does not come back.
static bool __attribute__((noinline)) fail_assert(void)
{
	trace(TEST, 42, 0xfeed, 2, 3, 4);
	assert(cpu_count() == 0);
	return false;
}

static bool __attribute__((noinline)) fail_write_text(void)
{
	*(volatile u8 *)(u64)selftest_run = 0xcc;
	return false;
}

static bool __attribute__((noinline)) fail_write_text_alias(void)
{
	*(volatile u8 *)((u64)selftest_run - IMAGE_OFFSET + DIRECT_BASE) = 0xcc;
	return false;
}

static bool __attribute__((noinline)) fail_write_constant(void)
{
	*(volatile char *)(u64) "constant" = 'x';
	return false;
}

static bool __attribute__((noinline)) fail_execute_data(void)
{
	static u8 code[] = {0xc3};

	((void (*)(void))(u64)code)();
	return false;
}

static volatile bool endless = true;

static u64 __attribute__((noinline)) recurse(u64 n)
{
	volatile u64 a[64];

	a[n % 64] = n;
	return (endless ? recurse(n + 1) : 0) + a[n % 64];
}

static bool fail_stack(void)
{
	return recurse(0) == 1;
}

static void fault(void)
{
	*(volatile u64 *)(IO_BASE + SLOT_SIZE - 8) = 0;
}

static bool __attribute__((noinline)) fail_nested(void)
{
	panic_test_hook = fault;
	panic("planted, with a fault to come");
	return false;
}

static void panic_there(void *arg)
{
	panic("planted on CPU %u", this_cpu()->id);
}

static bool fail_other_cpu(void)
{
	smp_run(cpu_count() - 1, panic_there, NULL);
	while (endless)
		cpu_relax(); // interrupts off: only the NMI stops this
	return false;
}

static const struct {
	const char *name;
	bool (*run)(void);
	bool comes_back;
} tests[] = {
	{"frames", test_frames, true},
	{"high-memory", test_high_memory, true},
	{"paging", test_paging, true},
	{"msr", test_msr, true},
	{"control-bits", test_control_bits, true},
	{"timer", test_timer, true},
	{"smp", test_smp, true},
	{"trace", test_trace, true},
	{"panic", fail_assert, false},
	{"wx", fail_write_text, false},
	{"wx-alias", fail_write_text_alias, false},
	{"ro", fail_write_constant, false},
	{"nx", fail_execute_data, false},
	{"stack", fail_stack, false},
	{"other-cpu", fail_other_cpu, false},
	{"nested", fail_nested, false},
};

void selftest_run(const struct boot_info *bi)
{
	unsigned passed = 0, failed = 0;
	char name[32];
	bool all;

	if (!boot_option(bi, "selftest", name, sizeof(name)))
		return;
	all = !strcmp(name, "all");
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		bool good;

		if (all ? !tests[i].comes_back : strcmp(name, tests[i].name))
			continue;
		good = tests[i].run();
		log_info("selftest: %s %s", tests[i].name, good ? "passed" : "FAILED");
		passed += good;
		failed += !good;
	}
	log_info("selftest: %u passed, %u failed", passed, failed);
	acpi_poweroff();
	for (;;)
		hlt(); // it takes a moment
}
