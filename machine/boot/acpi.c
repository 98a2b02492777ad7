// SPDX-License-Identifier: MIT
// ACPI table reader (ACPI 6.4, chapter 5). Every table is mapped header first, then in the length its header claims
// (bounded by TABLE_MAX), and used only when its bytes sum to zero.
#include "machine/boot/acpi.h"
#include "base/log.h"
#include "base/string.h"
#include "machine/mm/paging.h"

#define TABLE_MAX (4 * MIB)
#define LAPIC_DEFAULT 0xfee00000
#define IOAPIC_DEFAULT 0xfec00000
#define PM1_SCI_EN BIT(0)
#define PM1_SLP_EN BIT(13)
#define ENABLE_POLLS 1000000 // of the port, for the firmware to hand over
#define FADT_DSDT 40
#define FADT_SMI_CMD 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1A_CNT 64
#define FADT_PM1B_CNT 68

struct rsdp {
	char signature[8];
	u8 checksum;
	char oem[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
	u8 checksum2, reserved[3];
} PACKED;

struct header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem[6], oem_table[8];
	u32 oem_revision, creator, creator_revision;
} PACKED;

struct madt {
	struct header h;
	u32 lapic;
	u32 flags;
	u8 entries[];
} PACKED;
enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_ADDRESS = 5, MADT_X2APIC = 9 };
#define LAPIC_ENABLED 1

static struct acpi_info info;
static const struct header *directory; // XSDT or RSDT
static bool wide;                      // it is an XSDT

static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	return v;
}

static u64 get64(const u8 *p)
{
	u64 v;

	memcpy(&v, p, 8);
	return v;
}

static bool sums_to_zero(const void *p, u32 n)
{
	const u8 *b = p;
	u8 sum = 0;

	while (n--)
		sum += *b++;
	return !sum;
}

static const struct header *map_table(u64 phys)
{
	const struct header *h = phys ? (const void *)map_io(phys, sizeof(*h)) : NULL;

	if (!h || h->length < sizeof(*h) || h->length > TABLE_MAX || !map_io(phys, h->length))
		return NULL;
	return sums_to_zero(h, h->length) ? h : NULL;
}

static const struct rsdp *check_rsdp(u64 phys)
{
	const struct rsdp *r = (const void *)map_io(phys, sizeof(*r));

	return r && !memcmp(r->signature, "RSD PTR ", 8) && sums_to_zero(r, 20) ? r : NULL;
}

static const struct rsdp *scan(u64 from, u64 to)
{
	for (u64 p = from; p < to; p += 16) {
		const struct rsdp *r = check_rsdp(p);

		if (r)
			return r;
	}
	return NULL;
}

static const struct rsdp *find_rsdp(const struct boot_info *bi)
{
	const struct rsdp *r = bi->rsdp ? check_rsdp(bi->rsdp) : NULL;
	const volatile u16 *ebda = map_io(0x40e, 2);

	if (!r && ebda && *ebda >= 0x8000 >> 4)
		r = scan((u64)*ebda << 4, ((u64)*ebda << 4) + 1024);
	return r ? r : scan(0xe0000, 0x100000);
}

const void *acpi_find(const char *signature, u32 *len)
{
	u32 size = wide ? 8 : 4, n = directory ? (directory->length - sizeof(struct header)) / size : 0;
	const u8 *p = (const u8 *)(directory + 1);

	for (u32 i = 0; i < n; i++, p += size) {
		const struct header *h = map_table(wide ? get64(p) : get32(p));

		if (h && !memcmp(h->signature, signature, 4)) {
			*len = h->length;
			return h;
		}
	}
	return NULL;
}

static void add_cpu(u32 apic_id, u32 flags)
{
	if (!(flags & LAPIC_ENABLED))
		return;
	for (u32 i = 0; i < info.cpu_count; i++)
		if (info.apic_id[i] == apic_id)
			return;
	if (info.cpu_count == CPUS_MAX)
		return;
	info.apic_id[info.cpu_count++] = apic_id;
}

// e[1] is the entry's length; each case checks that its fields are inside.
static void madt_entry(const u8 *e)
{
	u8 len = e[1];

	if (e[0] == MADT_LAPIC && len >= 8) {
		add_cpu(e[3], get32(e + 4));
	} else if (e[0] == MADT_X2APIC && len >= 16) {
		add_cpu(get32(e + 4), get32(e + 8));
	} else if (e[0] == MADT_IOAPIC && len >= 12 && info.ioapic_count < IOAPICS_MAX) {
		info.ioapic[info.ioapic_count++] = (struct acpi_ioapic){get32(e + 4), get32(e + 8)};
	} else if (e[0] == MADT_OVERRIDE && len >= 10 && e[2] == 0 && e[3] < ISA_IRQS) {
		info.isa[e[3]].gsi = get32(e + 4);
		info.isa[e[3]].flags = (u16)(e[8] | e[9] << 8);
	} else if (e[0] == MADT_LAPIC_ADDRESS && len >= 12) {
		info.lapic_base = get64(e + 4);
	}
}

static void read_madt(void)
{
	u32 len = 0;
	const struct madt *m = acpi_find("APIC", &len);

	if (!m || len < sizeof(*m))
		return;
	info.lapic_base = m->lapic;
	for (u32 at = sizeof(*m); at + 2 <= len;) {
		const u8 *e = (const u8 *)m + at;

		if (e[1] < 2 || e[1] > len - at)
			break;
		madt_entry(e);
		at += e[1];
	}
}

// \_S5 is a package whose first element is the sleep type: NameOp "_S5_" PackageOp length count [BytePrefix] value.
static void read_s5(const struct header *dsdt)
{
	const u8 *p = (const u8 *)dsdt;

	for (u32 i = sizeof(*dsdt); i + 12 < dsdt->length; i++) {
		const u8 *q = p + i + 5;

		if (memcmp(p + i, "_S5_", 4) || p[i + 4] != 0x12)
			continue;
		q += (*q >> 6) + 2; // package length bytes, element count
		if (q + 4 > p + dsdt->length)
			return;
		info.s5_type = *q == 0x0a ? q[1] : *q;
		q += *q == 0x0a ? 2 : 1;
		info.s5_type_b = *q == 0x0a ? q[1] : *q;
		return;
	}
}

static void read_fadt(void)
{
	u32 len = 0;
	const u8 *f = acpi_find("FACP", &len);
	const struct header *dsdt;

	if (!f || len < FADT_PM1B_CNT + 4)
		return;
	info.pm1a_control = (u16)get32(f + FADT_PM1A_CNT);
	info.pm1b_control = (u16)get32(f + FADT_PM1B_CNT);
	info.smi_command = (u16)get32(f + FADT_SMI_CMD);
	info.acpi_enable = f[FADT_ACPI_ENABLE];
	dsdt = map_table(get32(f + FADT_DSDT));
	if (dsdt)
		read_s5(dsdt);
}

static void defaults(void)
{
	info.lapic_base = LAPIC_DEFAULT;
	for (u32 i = 0; i < ISA_IRQS; i++)
		info.isa[i].gsi = i;
}

void acpi_init(const struct boot_info *bi)
{
	const struct rsdp *r = find_rsdp(bi);

	defaults();
	if (r) {
		wide = r->revision >= 2 && r->xsdt;
		directory = map_table(wide ? r->xsdt : r->rsdt);
		read_madt();
		read_fadt();
	}
	if (!directory)
		log_warn("acpi: no usable tables, assuming one CPU");
	if (!info.cpu_count)
		info.apic_id[info.cpu_count++] = cpuid(1, 0).ebx >> 24;
	if (!info.ioapic_count)
		info.ioapic[info.ioapic_count++] = (struct acpi_ioapic){IOAPIC_DEFAULT, 0};
}

const struct acpi_info *acpi_info(void)
{
	return &info;
}

// The registers obey once the firmware has handed them over.
static void take_over(void)
{
	if (!info.smi_command || !info.acpi_enable || (inw(info.pm1a_control) & PM1_SCI_EN))
		return;
	outb(info.smi_command, info.acpi_enable);
	for (unsigned i = 0; i < ENABLE_POLLS && !(inw(info.pm1a_control) & PM1_SCI_EN); i++)
		cpu_relax();
}

void acpi_poweroff(void)
{
	if (!info.pm1a_control)
		return;
	take_over();
	outw(info.pm1a_control, (u16)(PM1_SLP_EN | (info.s5_type & 7) << 10));
	if (info.pm1b_control)
		outw(info.pm1b_control, (u16)(PM1_SLP_EN | (info.s5_type_b & 7) << 10));
}
