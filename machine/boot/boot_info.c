// SPDX-License-Identifier: MIT
// Reads PVH start info (Xen's public arch-x86/hvm/start_info.h) and multiboot 2 information (its specification 3.6)
// into struct boot_info. What loaders leave is below 4 GiB, which the boot page tables map; every pointer is checked
// for that, every list is bounded by our arrays.
#include "machine/boot/boot_info.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/string.h"
#include "machine/mm/layout.h"

#define PVH_MAGIC 0x336ec578
#define MB2_MAGIC 0x36d76289
#define TEXT_SIZE 8192 // all strings together

struct pvh_info {
	u32 magic, version, flags, modules;
	u64 module_list, cmdline, rsdp, memory_map;
	u32 memory_map_entries, reserved;
};
struct pvh_module {
	u64 start, len, cmdline, reserved;
};
struct pvh_range {
	u64 base, len;
	u32 type, reserved;
};

struct mb2_tag {
	u32 type, size;
};
struct mb2_module {
	struct mb2_tag tag;
	u32 start, end;
	char cmdline[];
};
struct mb2_map {
	struct mb2_tag tag;
	u32 entry_size, version;
	u8 entries[];
};
enum { MB2_END = 0, MB2_CMDLINE = 1, MB2_MODULE = 3, MB2_MAP = 6, MB2_RSDP_OLD = 14, MB2_RSDP_NEW = 15 };

static struct boot_info info_copy;
static char text[TEXT_SIZE];
static size_t text_used;
static u8 rsdp_copy[36];

// A loader's structure at a physical address, or NULL when the boot tables do not map all of it.
static const void *early_ptr(u64 phys, u64 size)
{
	if (!phys || phys >= 4 * GIB || size > 4 * GIB - phys)
		return NULL;
	return (const void *)(DIRECT_BASE + phys);
}

static const char *keep_string(const char *s, size_t max)
{
	char *d = text + text_used;
	size_t n = 0;

	while (n < max && s && s[n] && text_used + n + 1 < TEXT_SIZE) {
		d[n] = s[n];
		n++;
	}
	if (text_used + n + 1 > TEXT_SIZE)
		return "";
	d[n] = 0;
	text_used += n + 1;
	return d;
}

static void add_range(u64 base, u64 len, u32 type)
{
	struct boot_info *bi = &info_copy;

	if (!len || base + len < base)
		return;
	if (bi->range_count == BOOT_RANGES_MAX) {
		log_warn("boot: memory map has more than %d entries, the rest is ignored", BOOT_RANGES_MAX);
		return;
	}
	bi->ranges[bi->range_count++] = (struct boot_range){base, len, type};
}

static void add_module(u64 start, u64 len, const char *name)
{
	struct boot_info *bi = &info_copy;

	if (!len || start + len < start)
		return;
	if (bi->module_count == BOOT_MODULES_MAX) {
		log_warn("boot: more than %d modules, the rest is ignored", BOOT_MODULES_MAX);
		return;
	}
	bi->modules[bi->module_count++] = (struct boot_module){start, len, name};
}

static void parse_pvh(u32 phys)
{
	const struct pvh_info *p = early_ptr(phys, sizeof(*p));
	const struct pvh_module *m;
	const struct pvh_range *r;

	if (!p || p->magic != PVH_MAGIC || p->version < 1)
		panic("boot: PVH start info without a memory map");
	info_copy.loader = "PVH";
	info_copy.cmdline = keep_string(early_ptr(p->cmdline, 1), TEXT_SIZE / 2);
	info_copy.rsdp = p->rsdp;
	r = early_ptr(p->memory_map, (u64)p->memory_map_entries * sizeof(*r));
	for (u32 i = 0; r && i < p->memory_map_entries; i++)
		add_range(r[i].base, r[i].len, r[i].type);
	m = early_ptr(p->module_list, (u64)p->modules * sizeof(*m));
	for (u32 i = 0; m && i < p->modules; i++)
		add_module(m[i].start, m[i].len, keep_string(early_ptr(m[i].cmdline, 1), 256));
}

static void parse_mb2_map(const struct mb2_map *m)
{
	u32 left = m->tag.size - sizeof(*m);
	const u8 *p = m->entries;

	if (m->tag.size < sizeof(*m) || m->entry_size < sizeof(struct pvh_range))
		return;
	for (; left >= m->entry_size; left -= m->entry_size, p += m->entry_size) {
		const struct pvh_range *r = (const void *)p; // the same layout

		add_range(r->base, r->len, r->type);
	}
}

static void parse_mb2_tag(const struct mb2_tag *t)
{
	const struct mb2_module *m = (const void *)t;
	const char *body = (const char *)(t + 1);

	switch (t->type) {
	case MB2_CMDLINE:
		info_copy.cmdline = keep_string(body, MIN(t->size - sizeof(*t), TEXT_SIZE / 2));
		break;
	case MB2_MODULE:
		if (t->size > sizeof(*m) && m->end > m->start)
			add_module(m->start, m->end - m->start, keep_string(m->cmdline, t->size - sizeof(*m)));
		break;
	case MB2_MAP:
		parse_mb2_map((const void *)t);
		break;
	case MB2_RSDP_OLD:
	case MB2_RSDP_NEW: // the newer form comes later or alone; it has an XSDT
		if (info_copy.rsdp && t->type == MB2_RSDP_OLD)
			break;
		memcpy(rsdp_copy, body, MIN(t->size - sizeof(*t), sizeof(rsdp_copy)));
		info_copy.rsdp = (u64)rsdp_copy - IMAGE_OFFSET;
		break;
	}
}

static void parse_mb2(u32 phys)
{
	const u32 *head = early_ptr(phys, 8);
	const u8 *base = head ? early_ptr(phys, head[0]) : NULL;
	u32 size = base ? head[0] : 0;

	if (!base)
		panic("boot: multiboot 2 information out of reach");
	info_copy.loader = "multiboot 2";
	for (u32 at = 8; at + sizeof(struct mb2_tag) <= size;) {
		const struct mb2_tag *t = (const void *)(base + at);

		if (t->type == MB2_END || t->size < sizeof(*t) || t->size > size - at)
			break;
		parse_mb2_tag(t);
		at += ROUND_UP(t->size, 8);
	}
}

const struct boot_info *boot_info_parse(u32 magic, u32 info)
{
	info_copy.cmdline = "";
	if (magic == PVH_MAGIC)
		parse_pvh(info);
	else if (magic == MB2_MAGIC)
		parse_mb2(info);
	else
		panic("boot: unknown loader (magic 0x%x)", magic);
	if (!info_copy.range_count)
		panic("boot: the loader gave no memory map");
	return &info_copy;
}

bool boot_option(const struct boot_info *bi, const char *key, char *value, size_t size)
{
	size_t n = strlen(key), i = 0;
	const char *p = bi->cmdline;

	while (*p) {
		while (*p == ' ')
			p++;
		if (!strncmp(p, key, n) && (p[n] == '=' || p[n] == ' ' || !p[n])) {
			p += n + (p[n] == '=');
			while (*p && *p != ' ' && i + 1 < size)
				value[i++] = *p++;
			if (size)
				value[i] = 0;
			return true;
		}
		while (*p && *p != ' ')
			p++;
	}
	return false;
}
