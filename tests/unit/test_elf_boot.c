// SPDX-License-Identifier: MIT
// ELF and multiboot kernels: small ones made here, entered by each protocol, then cut at every length and damaged one field at a
// time.
#include "core/platform/elf_boot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/kernel_elf.h"

#define MEMORY (8 * MIB)
#define SIZE 0x1400
#define MB_AT 0x100
#define NOTE_AT 0x180
#define CODE_AT 0x1000
#define LOAD 0x100000
#define ENTRY 0x100010

static u8 *memory, image[SIZE];
static u64 written;
static struct guest_boot b;
static struct x86_cpu cpu;

static void on_write(void *ctx, u64 gpa, const void *bytes, u64 len)
{
	assert_true(gpa + len <= MEMORY && (gpa + len <= 0x9fc00 || gpa >= 0x100000));
	memcpy(memory + gpa, bytes, len);
	written += len;
}

static void on_zero(void *ctx, u64 gpa, u64 len)
{
	assert_true(gpa + len <= MEMORY);
	memset(memory + gpa, 0, len);
	written += len;
}

static void set(unsigned at, u64 value, unsigned bytes)
{
	memcpy(image + at, &value, bytes);
}

static u64 get(u64 gpa, unsigned bytes)
{
	u64 v = 0;

	memcpy(&v, memory + gpa, bytes);
	return v;
}

static void multiboot_header(u32 flags)
{
	set(MB_AT, 0x1badb002, 4);
	set(MB_AT + 4, flags, 4);
	set(MB_AT + 8, (u32) - (0x1badb002 + flags), 4);
}

static void pvh_note(void)
{
	set(NOTE_AT, 4, 4), set(NOTE_AT + 4, 4, 4), set(NOTE_AT + 8, 18, 4);
	memcpy(image + NOTE_AT + 12, "Xen", 4);
	set(NOTE_AT + 16, ENTRY, 4);
}

// Program headers: a load segment with bss behind it, and the note.
static void make_elf(bool is64)
{
	unsigned ph = is64 ? 64 : 52, size = is64 ? 56 : 32, w = is64 ? 8 : 4;

	memset(image, 0, SIZE);
	for (unsigned i = CODE_AT; i < SIZE; i++)
		image[i] = (u8)(i * 7 + 1);
	memcpy(image, "\177ELF", 4);
	image[4] = is64 ? 2 : 1, image[5] = 1;
	set(16, 2, 2), set(18, is64 ? 62 : 3, 2);
	set(24, ENTRY, w), set(is64 ? 32 : 28, ph, w);
	set(is64 ? 54 : 42, size, 2), set(is64 ? 56 : 44, 2, 2);
	set(ph, 1, 4), set(ph + size, 4, 4);
	set(ph + (is64 ? 8 : 4), CODE_AT, w), set(ph + size + (is64 ? 8 : 4), NOTE_AT, w);
	set(ph + (is64 ? 24 : 12), LOAD, w);
	set(ph + (is64 ? 32 : 16), SIZE - CODE_AT, w), set(ph + size + (is64 ? 32 : 16), 20, w);
	set(ph + (is64 ? 40 : 20), 0x2000, w);
}

static int set_up(void **state)
{
	memory = malloc(MEMORY);
	memset(memory, 0xee, MEMORY);
	written = 0;
	b = (struct guest_boot){.image = image, .image_size = SIZE, .name = "kernel", .cmdline = "one two", .mem_low = MEMORY,
				.mem_high = GIB, .acpi_rsdp = 0xe0000, .write = on_write, .zero = on_zero};
	return 0;
}

static int tear_down(void **state)
{
	free(memory);
	return 0;
}

static void loaded(void)
{
	assert_memory_equal(memory + LOAD, image + CODE_AT, SIZE - CODE_AT);
	for (u64 i = SIZE - CODE_AT; i < 0x2000; i++)
		assert_int_equal(memory[LOAD + i], 0);
	assert_int_equal(cpu.rip, ENTRY);
	assert_int_equal(cpu.cr0 & (CR0_PG | CR0_PE), CR0_PE);
	assert_int_equal(cpu.rflags, RFL_FIXED);
	assert_int_equal(cpu.seg[SEG_CS].attr, 0xc09b);
	assert_int_equal(get(cpu.gdtr.base + cpu.seg[SEG_CS].selector, 8), 0x00cf9b000000ffff);
	assert_int_equal(get(cpu.gdtr.base + cpu.seg[SEG_DS].selector, 8), 0x00cf93000000ffff);
}

static void multiboot_handed_over(void)
{
	u64 info = cpu.gpr[R_RBX], map = get(info + 48, 4);

	assert_int_equal(cpu.gpr[R_RAX], 0x2badb002);
	assert_int_equal(get(info, 4), 0x24d);
	assert_int_equal(get(info + 4, 4), 639);
	assert_int_equal(get(info + 8, 4), 7 * 1024);
	assert_string_equal((char *)memory + get(info + 16, 4), "kernel one two");
	assert_string_equal((char *)memory + get(info + 64, 4), "trapeze");
	assert_int_equal(get(info + 44, 4), 5 * 24);
	assert_int_equal(get(map, 4), 20);
	assert_int_equal(get(map + 4, 8), 0);
	assert_int_equal(get(map + 12, 8), 0x9fc00);
	assert_int_equal(get(map + 20, 4), 1);
	assert_int_equal(get(map + 4 * 24 + 4, 8), 4 * GIB);
	assert_int_equal(get(map + 4 * 24 + 12, 8), GIB);
}

static void multiboot(void **state)
{
	u64 info;

	make_elf(false);
	multiboot_header(3);
	b.ramdisk = "module";
	b.ramdisk_size = 6;
	assert_int_equal(guest_boot_load(&b, &cpu), ST_OK);
	loaded();
	multiboot_handed_over();
	info = cpu.gpr[R_RBX];
	assert_int_equal(get(info + 20, 4), 1);
	assert_int_equal(get(get(info + 24, 4), 4), 0x102000);
	assert_int_equal(get(get(info + 24, 4) + 4, 4), 0x102006);
	assert_memory_equal(memory + 0x102000, "module", 6);
}

static void multiboot_addresses(void **state)
{
	memset(image, 0x90, SIZE);
	multiboot_header(BIT(16));
	set(MB_AT + 12, LOAD + MB_AT - 0x80, 4);
	set(MB_AT + 16, LOAD, 4);
	set(MB_AT + 20, LOAD + 0x1000, 4);
	set(MB_AT + 24, LOAD + 0x3000, 4);
	set(MB_AT + 28, LOAD + 0x200, 4);
	assert_int_equal(guest_boot_load(&b, &cpu), ST_OK);
	assert_memory_equal(memory + LOAD, image + 0x80, 0x1000);
	assert_int_equal(memory[LOAD + 0x2fff], 0);
	assert_int_equal(cpu.rip, LOAD + 0x200);
	multiboot_handed_over();
}

static void pvh(void **state)
{
	u64 info, map;

	make_elf(true);
	pvh_note();
	multiboot_header(0); // an ELF64 goes by its note
	assert_int_equal(guest_boot_load(&b, &cpu), ST_OK);
	loaded();
	info = cpu.gpr[R_RBX];
	assert_int_equal(get(info, 4), 0x336ec578);
	assert_int_equal(get(info + 4, 4), 1);
	assert_string_equal((char *)memory + get(info + 24, 8), "one two");
	assert_int_equal(get(info + 32, 8), 0xe0000);
	assert_int_equal(get(info + 48, 4), 5);
	map = get(info + 40, 8);
	assert_int_equal(get(map + 3 * 24, 8), 0x100000);
	assert_int_equal(get(map + 3 * 24 + 8, 8), MEMORY - 0x100000);
	assert_int_equal(get(map + 3 * 24 + 16, 4), 1);
}

static void handover_moves_aside(void **state)
{
	make_elf(false);
	multiboot_header(0);
	set(24, 0x8010, 4), set(52 + 12, 0x8000, 4);
	assert_int_equal(guest_boot_load(&b, &cpu), ST_OK);
	assert_memory_equal(memory + 0x8000, image + CODE_AT, SIZE - CODE_AT);
	assert_true(cpu.gpr[R_RBX] >= 0x100000);
	multiboot_handed_over();
}

static void refused(enum status wanted, const char *why)
{
	written = 0;
	assert_int_equal(elf_boot_load(&b, &cpu), wanted);
	assert_non_null(strstr(b.error, why));
	assert_int_equal(written, 0);
}

static void refuses_field(unsigned at, u64 value, unsigned bytes, const char *why)
{
	make_elf(false);
	multiboot_header(0);
	set(at, value, bytes);
	refused(ST_INVALID, why);
}

static void refuses(void **state)
{
	refuses_field(MB_AT, 0, 4, "neither");
	refuses_field(18, 40, 2, "processor");
	refuses_field(16, 1, 2, "no executable");
	refuses_field(5, 2, 1, "byte order");
	refuses_field(28, 0xffffffff, 4, "program headers");
	refuses_field(44, 0, 2, "program headers");
	refuses_field(44, 0xffff, 2, "program headers");
	refuses_field(42, 31, 2, "program headers");
	refuses_field(52 + 4, 0xfffffff0, 4, "cut short");
	refuses_field(52 + 16, 0x3000, 4, "larger in the file");
	refuses_field(52 + 12, 0xfffff000, 4, "above 4 GiB");
	refuses_field(52 + 12, 0x9f000, 4, "entry");
	refuses_field(24, 0x50000, 4, "entry");
	refuses_field(52, 0, 4, "nothing to load");
	make_elf(false);
	multiboot_header(0);
	memcpy(image + 52 + 32, image + 52, 32);
	refused(ST_INVALID, "overlap");
	make_elf(false);
	multiboot_header(0x10);
	refused(ST_INVALID, "demands");
	make_elf(false);
	multiboot_header(0);
	set(24, 0x9f010, 4), set(52 + 12, 0x9f000, 4);
	refused(ST_INVALID, "not in RAM");
	set(24, 0x10, 4), set(52 + 12, 0, 4);
	refused(ST_INVALID, "not in RAM");
	set(24, LOAD, 4), set(52 + 12, LOAD, 4), set(52 + 20, 16 * MIB, 4);
	refused(ST_NOMEM, "need 17 MiB, there are 8");
}

// A copy of exact size, so that the sanitizer sees a read past the end.
static void cut_anywhere(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		make_elf(kind);
		kind ? pvh_note() : multiboot_header(0);
		for (u64 size = 0; size < SIZE; size += size < 0x200 ? 1 : 61) {
			struct kernel_elf k;
			u8 *cut = malloc(size + 1);

			memcpy(cut + 1, image, size);
			assert_false(kernel_elf_parse(&k, cut + 1, size));
			assert_non_null(k.wrong);
			free(cut);
		}
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(multiboot), TEST(multiboot_addresses), TEST(pvh),		 TEST(handover_moves_aside),
		TEST(refuses),	 TEST(cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
