// SPDX-License-Identifier: MIT
// The bzImage loader: a synthetic kernel whole, cut at every length and damaged at random; a stock kernel when one lies in
// guests/vmlinuz.
#include "core/platform/linux_boot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MEMORY (64 * MIB)
#define SETUP 2048
#define KERNEL 8192
#define SIZE (SETUP + KERNEL)

static u8 *memory;
static u64 memory_size = MEMORY;
static u64 written;

static void on_write(void *ctx, u64 gpa, const void *bytes, u64 len)
{
	assert_true(gpa + len <= memory_size && gpa + len >= gpa);
	assert_true(gpa + len <= 0x9fc00 || gpa >= 0x100000);
	memcpy(memory + gpa, bytes, len);
	written += len;
}

static void on_zero(void *ctx, u64 gpa, u64 len)
{
	assert_true(gpa + len <= memory_size && gpa + len >= gpa);
	memset(memory + gpa, 0, len);
	written += len;
}

static void set(u8 *p, u64 value, unsigned bytes)
{
	memcpy(p, &value, bytes);
}

static u64 get(u64 gpa, unsigned bytes)
{
	u64 v = 0;

	memcpy(&v, memory + gpa, bytes);
	return v;
}

static void make_image(u8 *h)
{
	for (unsigned i = 0; i < SIZE; i++)
		h[i] = (u8)(i * 7);
	memset(h + 0x1f1, 0, 0x280 - 0x1f1);
	h[0x1f1] = SETUP / 512 - 1;
	set(h + 0x1f4, KERNEL / 16, 4);
	set(h + 0x1fe, 0xaa55, 2);
	h[0x200] = 0xeb, h[0x201] = 0x6a;
	memcpy(h + 0x202, "HdrS", 4);
	set(h + 0x206, 0x20f, 2);
	h[0x211] = 1;
	set(h + 0x22c, 0x7fffffff, 4);
	set(h + 0x230, 0x200000, 4);
	h[0x234] = 1, h[0x235] = 21;
	set(h + 0x236, 0x3f, 2);
	set(h + 0x238, 2047, 4);
	set(h + 0x248, 0x100, 4);
	set(h + 0x24c, 0x1000, 4);
	set(h + 0x258, 0x1000000, 8);
	set(h + 0x260, 0x800000, 4);
}

static struct guest_boot boot(const u8 *image, u64 size)
{
	written = 0;
	return (struct guest_boot){.image = image,
				   .image_size = size,
				   .cmdline = "console=ttyS0",
				   .mem_low = MEMORY,
				   .acpi_rsdp = 0xe0000,
				   .write = on_write,
				   .zero = on_zero};
}

static void loads(void **state)
{
	static const u8 ramdisk[5000] = {1, 2, 3};
	u8 image[SIZE];
	struct guest_boot b;
	struct x86_cpu cpu;

	make_image(image);
	assert_true(linux_boot_probe(image, SIZE));
	b = boot(image, SIZE);
	b.ramdisk = ramdisk, b.ramdisk_size = sizeof(ramdisk);
	b.mem_high = GIB;
	memset(memory, 0xcc, 0x100000);
	assert_int_equal(linux_boot_load(&b, &cpu), ST_OK);
	assert_memory_equal(memory + 0x1000000, image + SETUP, KERNEL);
	assert_true(b.ramdisk_gpa == MEMORY - 0x2000);
	assert_memory_equal(memory + b.ramdisk_gpa, ramdisk, sizeof(ramdisk));
	assert_true(cpu.rip == 0x1000200);
	assert_true(cpu_long_mode(&cpu) && cpu_cpl(&cpu) == 0 && !(cpu.rflags & RFL_IF));
	assert_true((cpu.cr0 & CR0_PG) && (cpu.cr4 & CR4_PAE) && cpu.cr3 == 0x9000);
	assert_int_equal(cpu.seg[SEG_CS].selector, 0x10);
	assert_int_equal(cpu.seg[SEG_DS].selector, 0x18);
	assert_true(get(cpu.gdtr.base + 0x10, 8) == 0x00af9b000000ffff);
}

static void boot_params(void **state)
{
	u8 image[SIZE];
	struct guest_boot b;
	struct x86_cpu cpu;
	u64 zp, entries;

	make_image(image);
	b = boot(image, SIZE);
	b.mem_high = GIB;
	memset(memory, 0xcc, 0x100000);
	assert_int_equal(linux_boot_load(&b, &cpu), ST_OK);
	zp = cpu.gpr[R_RSI];
	assert_true(get(zp + 0x202, 4) == 0x53726448);
	assert_true(get(zp + 0x210, 1) == 0xff);
	assert_true(get(zp + 0x258, 8) == 0x1000000);
	assert_true(get(zp + 0x26c, 4) == 0); // nothing past the header's end
	assert_true(get(zp + 0x70, 8) == 0xe0000);
	assert_true(get(zp, 8) == 0 && get(zp + 0x218, 8) == 0 && get(zp + 0x250, 8) == 0);
	assert_string_equal((char *)memory + get(zp + 0x228, 4), "console=ttyS0");
	entries = get(zp + 0x1e8, 1);
	assert_int_equal(entries, 5);
	for (u64 i = 0; i < entries; i++) { // sorted, disjoint
		u64 at = zp + 0x2d0 + i * 20;

		assert_true(get(at + 8, 8) > 0);
		if (i + 1 < entries)
			assert_true(get(at, 8) + get(at + 8, 8) <= get(at + 20, 8));
	}
	assert_true(get(zp + 0x2d0 + 80, 8) == 4 * GIB && get(zp + 0x2d0 + 88, 8) == GIB);
}

static void identity_tables(void **state)
{
	u8 image[SIZE];
	struct guest_boot b;
	struct x86_cpu cpu;

	make_image(image);
	b = boot(image, SIZE);
	assert_int_equal(linux_boot_load(&b, &cpu), ST_OK);
	for (u64 va = 0; va < 4 * GIB; va += 2 * MIB) {
		u64 e = get(cpu.cr3 + (va >> 39) * 8, 8);

		assert_true(e & PTE_P);
		e = get((e & PTE_ADDR) + (va >> 30 & 511) * 8, 8);
		assert_true(e & PTE_P);
		e = get((e & PTE_ADDR) + (va >> 21 & 511) * 8, 8);
		assert_true((e & (PTE_P | PTE_W | PTE_PS)) == (PTE_P | PTE_W | PTE_PS));
		assert_true((e & PTE_ADDR) == va);
	}
	assert_true(get(cpu.cr3 + 8, 8) == 0);
}

static void refuse(u64 offset, u64 value, unsigned bytes, enum status status, const char *part)
{
	u8 image[SIZE];
	struct guest_boot b;
	struct x86_cpu cpu;

	make_image(image);
	set(image + offset, value, bytes);
	b = boot(image, SIZE);
	assert_int_equal(linux_boot_load(&b, &cpu), status);
	if (!strstr(b.error, part))
		fail_msg("'%s' does not speak of '%s'", b.error, part);
	assert_true(written == 0);
}

static void refuses(void **state)
{
	refuse(0x1fe, 0, 2, ST_INVALID, "0xAA55");
	refuse(0x202, 0, 4, ST_INVALID, "HdrS");
	refuse(0x206, 0x209, 2, ST_UNSUPPORTED, "2.09");
	refuse(0x211, 0, 1, ST_UNSUPPORTED, "zImage");
	refuse(0x201, 0x10, 1, ST_INVALID, "header");
	refuse(0x1f4, 0, 4, ST_INVALID, "kernel of 0 bytes");
	refuse(0x1f4, 0xffffffff, 4, ST_INVALID, "truncated");
	refuse(0x258, 0x1000, 8, ST_INVALID, "pref_address");
	refuse(0x258, ~0ull << 12, 8, ST_INVALID, "pref_address");
	refuse(0x260, 0, 4, ST_INVALID, "init_size");
	refuse(0x24c, 0xffffffff, 4, ST_INVALID, "payload");
	refuse(0x238, 4, 4, ST_INVALID, "command line");
	refuse(0x260, 0x7fffffff, 4, ST_NOMEM, "needs 2064 MiB, there are 64");
}

static void memory_is_short(void **state)
{
	static u8 ramdisk[1];
	u8 image[SIZE];
	struct guest_boot b;
	struct x86_cpu cpu;

	make_image(image);
	b = boot(image, SIZE);
	b.ramdisk = ramdisk, b.ramdisk_size = 41 * MIB;
	assert_int_equal(linux_boot_load(&b, &cpu), ST_NOMEM);
	assert_non_null(strstr(b.error, "kernel and ramdisk need 65 MiB"));
	assert_true(b.memory_needed == 65 * MIB);
	b.ramdisk_size = ~0ull >> 1;
	assert_int_equal(linux_boot_load(&b, &cpu), ST_NOMEM);
	assert_true(written == 0);
	// What it asks for is enough.
	b = boot(image, SIZE);
	b.mem_low = 0;
	assert_int_equal(linux_boot_load(&b, &cpu), ST_NOMEM);
	b.mem_low = b.memory_needed;
	assert_int_equal(linux_boot_load(&b, &cpu), ST_OK);
}

static void truncated_at_every_length(void **state)
{
	u8 image[SIZE];
	struct x86_cpu cpu;

	make_image(image);
	for (u64 size = 0; size < SIZE - 15; size++) { // syssize counts paragraphs, the last may be short
		u8 *cut = malloc(size + 1); // exact, so that the sanitizer sees a read past it
		struct guest_boot b = boot(cut + 1, size);

		memcpy(cut + 1, image, size);
		linux_boot_probe(cut + 1, size);
		assert_int_equal(linux_boot_load(&b, &cpu), ST_INVALID);
		assert_non_null(strstr(b.error, "truncated"));
		assert_true(written == 0);
		free(cut);
	}
}

static void damaged_at_random(void **state)
{
	struct x86_cpu cpu;
	unsigned loaded = 0;

	srand(1);
	for (unsigned round = 0; round < 30000; round++) {
		u8 *image = malloc(SIZE);
		struct guest_boot b = boot(image, SIZE);

		make_image(image);
		for (int n = 1 + rand() % 4; n > 0; n--)
			image[0x1f1 + (unsigned)rand() % 0x90] = (u8)(rand() % 3 ? rand() : rand() % 2 ? 0 : 0xff);
		if (linux_boot_load(&b, &cpu) == ST_OK)
			loaded++;
		else
			assert_true(written == 0 && b.error[0]);
		free(image);
	}
	assert_true(loaded > 1000);
}

static void stock_kernel(void **state)
{
	FILE *f = fopen("guests/vmlinuz", "rb");
	struct guest_boot b;
	struct x86_cpu cpu;
	u8 *image;
	long size;

	if (!f) {
		print_message("no guests/vmlinuz: skipped\n");
		skip();
	}
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	image = malloc((size_t)size);
	assert_int_equal(fread(image, 1, (size_t)size, f), size);
	fclose(f);
	b = boot(image, (u64)size);
	b.mem_low = 0;
	assert_true(linux_boot_probe(image, (u64)size));
	assert_int_equal(linux_boot_load(&b, &cpu), ST_NOMEM);
	print_message("%s\n", b.error);
	free(memory);
	memory_size = b.mem_low = b.memory_needed;
	memory = calloc(1, memory_size);
	assert_int_equal(linux_boot_load(&b, &cpu), ST_OK);
	assert_true(memory[cpu.rip] != 0);
	for (long cut = size - 1; cut > 0; cut -= size / 37) {
		b.image_size = (u64)cut;
		if (linux_boot_load(&b, &cpu) == ST_OK) // a signature may follow the kernel
			assert_true(size - cut < 65536);
	}
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads),
		cmocka_unit_test(boot_params),
		cmocka_unit_test(identity_tables),
		cmocka_unit_test(refuses),
		cmocka_unit_test(memory_is_short),
		cmocka_unit_test(truncated_at_every_length),
		cmocka_unit_test(damaged_at_random),
		cmocka_unit_test(stock_kernel),
	};
	int failed;

	memory = calloc(1, MEMORY);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(memory);
	return failed;
}
