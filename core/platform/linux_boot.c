// SPDX-License-Identifier: MIT
// bzImage loader. Everything is validated before the first write. Layout of low memory:
//
//   0x6000   GDT                 0x7000   boot_params          0x9000..0xefff  identity page tables, 4 GiB in 2M pages
//   0x20000  command line        0x9fc00  end of low RAM       0xe0000..       ACPI tables (acpi.c)
//
// The kernel decompresses itself in the guest. One without the 64-bit entry starts in 32-bit protected mode, without tables.
#include "core/platform/linux_boot.h"
#include "base/string.h"

#define GDT_GPA 0x6000
#define PARAMS_GPA 0x7000
#define TABLES_GPA 0x9000
#define CMDLINE_GPA 0x20000
#define ENTRY_64 0x200
#define CMDLINE_MAX 0x10000

// Offsets in the image's first sector and in boot_params alike.
enum {
	H_SETUP_SECTS = 0x1f1,
	H_SYSSIZE = 0x1f4,
	H_VID_MODE = 0x1fa,
	H_BOOT_FLAG = 0x1fe,
	H_JUMP = 0x200,
	H_MAGIC = 0x202,
	H_VERSION = 0x206,
	H_LOADER = 0x210,
	H_LOADFLAGS = 0x211,
	H_RAMDISK = 0x218,
	H_RAMDISK_SIZE = 0x21c,
	H_CMDLINE = 0x228,
	H_INITRD_MAX = 0x22c,
	H_XLOADFLAGS = 0x236,
	H_CMDLINE_SIZE = 0x238,
	H_PAYLOAD = 0x248,
	H_PAYLOAD_LENGTH = 0x24c,
	H_SETUP_DATA = 0x250,
	H_PREF_ADDRESS = 0x258,
	H_INIT_SIZE = 0x260,
	H_END = 0x264,
	// boot_params only
	P_RSDP = 0x070,
	P_E820_COUNT = 0x1e8,
	P_E820 = 0x2d0,
};

#define BOOT_FLAG 0xaa55
#define MAGIC 0x53726448  // "HdrS"
#define VERSION_MIN 0x20a   // 2.10: pref_address, init_size
#define VERSION_XLOAD 0x20c // 2.12: xloadflags
#define XLF_KERNEL_64 0x0001
#define LOADED_HIGH 0x01
#define LOADER_UNKNOWN 0xff
#define VIDEO_NORMAL 0xffff

struct header {
	u64 setup_bytes, kernel_bytes, pref, init_size, header_end;
	u32 initrd_max, cmdline_size;
	bool entry_64;
};

static u64 le(const u8 *p, unsigned bytes)
{
	u64 v = 0;

	memcpy(&v, p, bytes);
	return v;
}

#define FAIL BOOT_FAIL

bool linux_boot_probe(const u8 *image, u64 size)
{
	return size >= H_END && le(image + H_BOOT_FLAG, 2) == BOOT_FLAG && le(image + H_MAGIC, 4) == MAGIC;
}

static enum status check_kind(struct guest_boot *b)
{
	const u8 *h = b->image;
	unsigned version;

	if (b->image_size < H_END)
		return FAIL(b, ST_INVALID, "kernel image truncated: %llu bytes do not hold a header",
			    (unsigned long long)b->image_size);
	if (le(h + H_BOOT_FLAG, 2) != BOOT_FLAG)
		return FAIL(b, ST_INVALID, "not a bzImage: no boot flag 0xAA55 at 0x1FE");
	if (le(h + H_MAGIC, 4) != MAGIC)
		return FAIL(b, ST_INVALID, "not a bzImage: no magic HdrS at 0x202");
	version = (unsigned)le(h + H_VERSION, 2);
	if (version < VERSION_MIN)
		return FAIL(b, ST_UNSUPPORTED, "boot protocol %u.%02u is too old: 2.10 is the least", version >> 8,
			    version & 0xff);
	if (!(h[H_LOADFLAGS] & LOADED_HIGH))
		return FAIL(b, ST_UNSUPPORTED, "zImage: the kernel wants to be loaded low");
	return ST_OK;
}

static enum status parse(struct guest_boot *b, struct header *out)
{
	const u8 *h = b->image;
	u64 payload, payload_length;

	out->entry_64 = le(h + H_VERSION, 2) >= VERSION_XLOAD && (le(h + H_XLOADFLAGS, 2) & XLF_KERNEL_64);
	out->setup_bytes = ((h[H_SETUP_SECTS] ? h[H_SETUP_SECTS] : 4) + 1ull) * 512;
	out->kernel_bytes = le(h + H_SYSSIZE, 4) * 16;
	out->pref = le(h + H_PREF_ADDRESS, 8);
	out->init_size = le(h + H_INIT_SIZE, 4);
	out->initrd_max = (u32)le(h + H_INITRD_MAX, 4);
	out->cmdline_size = (u32)le(h + H_CMDLINE_SIZE, 4);
	out->header_end = H_MAGIC + h[H_JUMP + 1];
	if (h[H_JUMP] != 0xeb || out->header_end < H_END || out->header_end > 0x290)
		return FAIL(b, ST_INVALID, "corrupt header: it ends at 0x%llx", (unsigned long long)out->header_end);
	if (out->kernel_bytes <= ENTRY_64)
		return FAIL(b, ST_INVALID, "corrupt header: kernel of %llu bytes",
			    (unsigned long long)out->kernel_bytes);
	if (out->setup_bytes < b->image_size && out->setup_bytes + out->kernel_bytes - b->image_size < 16)
		out->kernel_bytes = b->image_size - out->setup_bytes; // syssize is rounded up
	if (out->setup_bytes + out->kernel_bytes > b->image_size)
		return FAIL(b, ST_INVALID, "kernel image truncated: %llu bytes of %llu",
			    (unsigned long long)b->image_size,
			    (unsigned long long)(out->setup_bytes + out->kernel_bytes));
	if (out->init_size < out->kernel_bytes)
		return FAIL(b, ST_INVALID, "corrupt header: init_size 0x%llx is below the kernel's own size",
			    (unsigned long long)out->init_size);
	if (out->pref < BOOT_HIGH_START || out->pref > 4 * GIB || (out->pref & PAGE_MASK))
		return FAIL(b, ST_INVALID, "corrupt header: pref_address 0x%llx", (unsigned long long)out->pref);
	payload = le(h + H_PAYLOAD, 4);
	payload_length = le(h + H_PAYLOAD_LENGTH, 4);
	if (payload + payload_length > out->kernel_bytes)
		return FAIL(b, ST_INVALID, "corrupt header: payload ends at 0x%llx, the kernel at 0x%llx",
			    (unsigned long long)(payload + payload_length), (unsigned long long)out->kernel_bytes);
	return ST_OK;
}

static enum status check_cmdline(struct guest_boot *b, const struct header *h)
{
	size_t length = strlen(b->cmdline), most = MIN(h->cmdline_size, CMDLINE_MAX - 1);

	if (length > most)
		return FAIL(b, ST_INVALID, "command line of %zu characters: the kernel takes %zu", length, most);
	return ST_OK;
}

// The kernel goes to its preferred address: its decompressor moves a lower one up there in any case. The ramdisk goes as
// high as the kernel can reach.
static enum status place(struct guest_boot *b, const struct header *h)
{
	u64 end = h->pref + h->init_size, top = MIN((u64)h->initrd_max + 1, b->mem_low);

	b->kernel_gpa = h->pref;
	b->ramdisk_gpa = 0;
	b->memory_needed = ROUND_UP(end, PAGE_SIZE) + ROUND_UP(b->ramdisk_size, PAGE_SIZE);
	if (end > b->mem_low)
		return FAIL(b, ST_NOMEM, "not enough memory: the kernel needs %llu MiB, there are %llu",
			    (unsigned long long)(ROUND_UP(b->memory_needed, MIB) / MIB),
			    (unsigned long long)(b->mem_low / MIB));
	if (!b->ramdisk_size)
		return ST_OK;
	if (b->ramdisk_size <= top)
		b->ramdisk_gpa = ROUND_DOWN(top - b->ramdisk_size, PAGE_SIZE);
	if (b->ramdisk_gpa < end)
		return FAIL(b, ST_NOMEM, "not enough memory: kernel and ramdisk need %llu MiB, there are %llu in reach",
			    (unsigned long long)(ROUND_UP(b->memory_needed, MIB) / MIB),
			    (unsigned long long)(top / MIB));
	return ST_OK;
}

static void put(struct guest_boot *b, u64 gpa, u64 value, unsigned bytes)
{
	b->write(b->ctx, gpa, &value, bytes);
}

static void write_e820(struct guest_boot *b)
{
	struct guest_range map[BOOT_RANGES];
	unsigned n = boot_memory_map(b, map);

	for (unsigned i = 0; i < n; i++) {
		u64 at = PARAMS_GPA + P_E820 + i * 20;

		put(b, at, map[i].start, 8);
		put(b, at + 8, map[i].end - map[i].start, 8);
		put(b, at + 16, map[i].type, 4);
	}
	put(b, PARAMS_GPA + P_E820_COUNT, n, 1);
}

static void write_params(struct guest_boot *b, const struct header *h)
{
	b->zero(b->ctx, PARAMS_GPA, PAGE_SIZE);
	b->write(b->ctx, PARAMS_GPA + H_SETUP_SECTS, b->image + H_SETUP_SECTS, h->header_end - H_SETUP_SECTS);
	put(b, PARAMS_GPA + H_VID_MODE, VIDEO_NORMAL, 2);
	put(b, PARAMS_GPA + H_LOADER, LOADER_UNKNOWN, 1);
	put(b, PARAMS_GPA + H_RAMDISK, b->ramdisk_gpa, 4);
	put(b, PARAMS_GPA + H_RAMDISK_SIZE, b->ramdisk_size, 4);
	put(b, PARAMS_GPA + H_CMDLINE, CMDLINE_GPA, 4);
	put(b, PARAMS_GPA + H_SETUP_DATA, 0, 8);
	put(b, PARAMS_GPA + P_RSDP, b->acpi_rsdp, 8);
	write_e820(b);
}

static void write_tables(struct guest_boot *b)
{
	u64 entry[64];

	b->zero(b->ctx, TABLES_GPA, 6 * PAGE_SIZE);
	put(b, TABLES_GPA, (TABLES_GPA + PAGE_SIZE) | PTE_P | PTE_W, 8);
	for (unsigned i = 0; i < 4; i++)
		put(b, TABLES_GPA + PAGE_SIZE + i * 8, (TABLES_GPA + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W, 8);
	for (unsigned i = 0; i < 4 * 512; i += ARRAY_SIZE(entry)) {
		for (unsigned k = 0; k < ARRAY_SIZE(entry); k++)
			entry[k] = (i + k) * 2 * MIB | PTE_P | PTE_W | PTE_PS;
		b->write(b->ctx, TABLES_GPA + 2 * PAGE_SIZE + i * 8, entry, sizeof(entry));
	}
}

static void set_cpu(const struct guest_boot *b, const struct header *h, struct x86_cpu *cpu)
{
	boot_set_cpu(cpu, GDT_GPA, h->entry_64 ? TABLES_GPA : 0);
	cpu->rip = b->kernel_gpa + (h->entry_64 ? ENTRY_64 : 0);
	cpu->gpr[R_RSI] = PARAMS_GPA;
}

enum status linux_boot_load(struct guest_boot *b, struct x86_cpu *cpu)
{
	struct header h;
	enum status status;

	b->error[0] = 0;
	b->memory_needed = 0;
	if ((status = check_kind(b)) || (status = parse(b, &h)) || (status = check_cmdline(b, &h)) ||
	    (status = place(b, &h)))
		return status;
	b->write(b->ctx, b->kernel_gpa, b->image + h.setup_bytes, h.kernel_bytes);
	if (b->ramdisk_size)
		b->write(b->ctx, b->ramdisk_gpa, b->ramdisk, b->ramdisk_size);
	b->write(b->ctx, CMDLINE_GPA, b->cmdline, strlen(b->cmdline) + 1);
	write_params(b, &h);
	if (h.entry_64)
		write_tables(b);
	else
		boot_write_vectors(b);
	boot_write_gdt(b, GDT_GPA, h.entry_64);
	set_cpu(b, &h, cpu);
	return ST_OK;
}
