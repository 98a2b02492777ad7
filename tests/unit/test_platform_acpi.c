// SPDX-License-Identifier: MIT
// ACPI tables as a guest finds them: checksums, pointers, lengths, and the DSDT's package structure.
#include "core/platform/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/platform/aml.h"
#include "core/platform/pm.h"

static u8 area[ACPI_AREA_SIZE];

static void on_write(void *ctx, u64 gpa, const void *bytes, unsigned len)
{
	assert_true(gpa >= ACPI_AREA && gpa + len <= ACPI_AREA + sizeof(area));
	memcpy(area + gpa - ACPI_AREA, bytes, len);
}

static int build(void **state)
{
	struct acpi_config c = {.base = ACPI_AREA, .mem_low = 3 * GIB, .write = on_write};

	memset(area, 0, sizeof(area));
	assert_true(acpi_build(&c) == ACPI_AREA);
	return 0;
}

static u64 le(const u8 *p, unsigned bytes)
{
	u64 v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static const u8 *at(u64 gpa)
{
	assert_true(gpa >= ACPI_AREA && gpa < ACPI_AREA + sizeof(area));
	return area + gpa - ACPI_AREA;
}

static u8 sum(const u8 *p, u64 n)
{
	u8 s = 0;

	while (n--)
		s += *p++;
	return s;
}

static const u8 *table(const char *signature, unsigned *entries_seen)
{
	const u8 *xsdt = at(le(area + 24, 8)), *found = NULL;
	unsigned n = (unsigned)(le(xsdt + 4, 4) - 36) / 8;

	for (unsigned i = 0; i < n; i++) {
		const u8 *t = at(le(xsdt + 36 + i * 8, 8));

		assert_int_equal(sum(t, le(t + 4, 4)), 0);
		if (!memcmp(t, signature, 4))
			found = t;
	}
	*entries_seen = n;
	assert_non_null(found);
	return found;
}

static void root(void **state)
{
	const u8 *rsdt = at(le(area + 16, 4)), *xsdt = at(le(area + 24, 8));

	assert_memory_equal(area, "RSD PTR ", 8);
	assert_int_equal(area[15], 2);
	assert_int_equal(sum(area, 20), 0);
	assert_int_equal(sum(area, 36), 0);
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(rsdt, le(rsdt + 4, 4)), 0);
	assert_int_equal(sum(xsdt, le(xsdt + 4, 4)), 0);
	assert_true(le(rsdt + 36, 4) == le(xsdt + 36, 8) && le(rsdt + 40, 4) == le(xsdt + 44, 8));
}

static void fadt(void **state)
{
	unsigned n;
	const u8 *t = table("FACP", &n);

	assert_int_equal(n, 2);
	assert_true(le(t + 132, 8) == 0 && le(t + 40, 4) == le(t + 140, 8));
	assert_memory_equal(at(le(t + 36, 4)), "FACS", 4);
	assert_true((le(t + 36, 4) & 63) == 0);
	assert_int_equal(le(at(le(t + 36, 4)) + 4, 4), 64);
	assert_int_equal(le(t + 46, 2), SCI_IRQ);
	assert_int_equal(le(t + 56, 4), PM_EVENT);
	assert_int_equal(le(t + 64, 4), PM_CONTROL);
	assert_int_equal(le(t + 76, 4), PM_TIMER);
	assert_int_equal(t[88], 4);
	assert_int_equal(t[89], 2);
	assert_int_equal(t[91], 4);
	assert_int_equal(t[108], 0x32);
	assert_int_equal(le(t + 109, 2) & 2, 0); // no 8042
	assert_int_equal(le(t + 120, 8), 0xcf9); // reset register's address
	assert_int_equal(t[128], 6);
	assert_int_equal(le(t + 152, 8), PM_EVENT);
	assert_int_equal(le(t + 212, 8), PM_TIMER);
}

static void madt(void **state)
{
	unsigned n, types = 0;
	const u8 *t = table("APIC", &n), *end = t + le(t + 4, 4);

	assert_int_equal(le(t + 36, 4), 0xfee00000);
	for (t += 44; t < end; t += t[1]) {
		assert_true(t[1] >= 2 && t + t[1] <= end);
		types |= 1u << t[0];
		if (t[0] == 1)
			assert_int_equal(le(t + 4, 4), 0xfec00000);
		if (t[0] == 2 && t[3] == 0)
			assert_int_equal(le(t + 4, 4), 2);
		if (t[0] == 2 && t[3] == 9)
			assert_int_equal(le(t + 8, 2), 0xd);
	}
	assert_true(t == end);
	assert_int_equal(types, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4);
}

// Packages of the DSDT nest: each one's length stays within its parent's.
static const u8 *find(const u8 *from, const u8 *end, const char *bytes)
{
	size_t n = strlen(bytes);

	for (; from + n <= end; from++)
		if (!memcmp(from, bytes, n))
			return from;
	return NULL;
}

static u64 package_length(const u8 *p)
{
	assert_int_equal(p[0] >> 6, 1);
	return (p[0] & 15) | (u64)p[1] << 4;
}

static void dsdt(void **state)
{
	unsigned n;
	const u8 *t = at(le(table("FACP", &n) + 40, 4)), *end = t + le(t + 4, 4), *s5, *pci, *com;

	assert_int_equal(sum(t, le(t + 4, 4)), 0);
	s5 = find(t, end, "\\_S5_\x12");
	assert_non_null(s5);
	assert_int_equal(s5[8], 4);    // elements
	assert_int_equal(s5[9], 0x0a); // byte prefix
	assert_int_equal(s5[10], PM_S5_TYPE);
	pci = find(t, end, "PCI0");
	com = find(t, end, "COM1");
	assert_true(pci && com > pci);
	assert_true(pci - 2 + package_length(pci - 2) == end); // last device, to the end
	assert_true(com - 2 + package_length(com - 2) < end);
	assert_non_null(find(t, end, "_HID\x0c\x41\xd0\x05\x01")); // PNP0501
	assert_non_null(find(t, end, "_HID\rQEMU0001"));
}

static void emitter(void **state)
{
	u8 bytes[16];
	struct aml a = {.buffer = bytes, .size = sizeof(bytes)};

	aml_integer(&a, 0x1234);
	assert_memory_equal(bytes, "\x0b\x34\x12", 3);
	a.length = 0;
	aml_name(&a, "_SB.PCI0");
	assert_memory_equal(bytes, "\x2e_SB_PCI0", 9);
	a.length = 0;
	aml_integer(&a, 0x123456789);
	assert_int_equal(a.length, 9);
	aml_le(&a, 0, 8);
	assert_true(a.overflow);
	assert_int_equal(a.length, sizeof(bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(root, build), cmocka_unit_test_setup(fadt, build),
		cmocka_unit_test_setup(madt, build), cmocka_unit_test_setup(dsdt, build),
		cmocka_unit_test(emitter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
