// SPDX-License-Identifier: MIT
// ELF and multiboot headers of a kernel. The file is hostile: every offset and length is compared with what is left before it
// is used, in 64 bits that cannot wrap because the file's own numbers are bounded first.
#include "base/kernel_elf.h"

#include "base/elf.h"

#define SEARCH_BYTES 8192u // the multiboot header lies within
#define MB_MAGIC 0x1badb002u
#define MB_ALIGN_MODULES BIT(0)
#define MB_MEMORY BIT(1)
#define MB_VIDEO BIT(2) // wanted, not needed: there is no graphics mode to give
#define MB_REQUIRED 0xffffu
#define MB_ADDRESSES BIT(16)
#define MB_HEADER 12u
#define MB_ADDRESSES_END 32u

#define EM_386 3
#define ET_EXEC 2
#define ET_DYN 3
#define NOTE_PHYS32_ENTRY 18 // XEN_ELFNOTE_PHYS32_ENTRY

// Where the fields of either class lie.
struct elf_layout {
	unsigned header, entry, phoff, phentsize, phnum, word; // of the file's header
	unsigned p_offset, p_paddr, p_filesz, p_memsz, p_size; // of a program header
};

static const struct elf_layout layout32 = {52, 24, 28, 42, 44, 4, 4, 12, 16, 20, 32};
static const struct elf_layout layout64 = {64, 24, 32, 54, 56, 8, 8, 24, 32, 40, 56};

static bool fail(struct kernel_elf *k, const char *why)
{
	k->wrong = why;
	return false;
}

static bool is_elf(const u8 *image, u64 size)
{
	return size >= 5 && !memcmp(image, "\177ELF", 4);
}

// Offset of the multiboot header, or size for none.
static u64 find_multiboot(const u8 *image, u64 size)
{
	for (u64 at = 0; at + MB_HEADER <= MIN(size, (u64)SEARCH_BYTES); at += 4)
		if (elf_le(image + at, 4) == MB_MAGIC && (u32)(elf_le(image + at, 4) + elf_le(image + at + 4, 4) + elf_le(image + at + 8, 4)) == 0)
			return at;
	return size;
}

bool kernel_elf_probe(const u8 *image, u64 size)
{
	return is_elf(image, size) || find_multiboot(image, size) < size;
}

static bool add_piece(struct kernel_elf *k, const struct kernel_piece *p, u64 size)
{
	if (!p->mem_bytes)
		return true;
	if (p->file_bytes > p->mem_bytes)
		return fail(k, "a segment is larger in the file than in memory");
	if (!elf_within(p->file_offset, p->file_bytes, size))
		return fail(k, "a segment is cut short");
	if (!elf_within(p->gpa, p->mem_bytes, 4 * GIB))
		return fail(k, "a segment lies above 4 GiB");
	for (unsigned i = 0; i < k->pieces; i++)
		if (p->gpa < k->piece[i].gpa + k->piece[i].mem_bytes && k->piece[i].gpa < p->gpa + p->mem_bytes)
			return fail(k, "segments overlap");
	if (k->pieces == KERNEL_PIECES)
		return fail(k, "too many segments");
	k->start = k->pieces ? MIN(k->start, p->gpa) : p->gpa;
	k->end = MAX(k->end, p->gpa + p->mem_bytes);
	k->piece[k->pieces++] = *p;
	return true;
}

static bool check_entry(struct kernel_elf *k, u64 entry)
{
	for (unsigned i = 0; i < k->pieces; i++) {
		if (entry >= k->piece[i].gpa && entry - k->piece[i].gpa < k->piece[i].mem_bytes) {
			k->entry = (u32)entry;
			return true;
		}
	}
	return fail(k, k->pieces ? "the entry point is in no segment" : "nothing to load");
}

// ---- multiboot without ELF: addresses in the header

static bool parse_addresses(struct kernel_elf *k, const u8 *image, u64 size, u64 at)
{
	struct kernel_piece p;
	u64 header, load, load_end, bss_end;

	if (!elf_within(at, MB_ADDRESSES_END, size))
		return fail(k, "the multiboot header is cut short");
	header = elf_le(image + at + 12, 4);
	load = elf_le(image + at + 16, 4);
	load_end = elf_le(image + at + 20, 4);
	bss_end = elf_le(image + at + 24, 4);
	if (load > header || header - load > at)
		return fail(k, "multiboot header with impossible addresses");
	p.file_offset = at - (header - load);
	p.gpa = load;
	p.file_bytes = size - p.file_offset;
	if (load_end) {
		if (load_end <= load)
			return fail(k, "multiboot header with impossible addresses");
		p.file_bytes = load_end - load;
	}
	p.mem_bytes = p.file_bytes;
	if (bss_end) {
		if (bss_end < load + p.file_bytes)
			return fail(k, "multiboot header with impossible addresses");
		p.mem_bytes = bss_end - load;
	}
	return add_piece(k, &p, size) && check_entry(k, elf_le(image + at + 28, 4));
}

// ---- ELF

struct elf_file {
	const u8 *image;
	u64 size;
	const struct elf_layout *l;
	u64 headers;
	unsigned count, stride;
};

static bool open_elf(struct kernel_elf *k, struct elf_file *f, const u8 *image, u64 size)
{
	unsigned machine, type;

	f->image = image;
	f->size = size;
	f->l = image[4] == 2 ? &layout64 : &layout32;
	if (size < f->l->header)
		return fail(k, "ELF header cut short");
	if ((image[4] != 1 && image[4] != 2) || image[5] != 1)
		return fail(k, "ELF of an unknown class or byte order");
	type = (unsigned)elf_le(image + 16, 2);
	machine = (unsigned)elf_le(image + 18, 2);
	if (machine != EM_386 && machine != EM_X86_64)
		return fail(k, "ELF for another processor");
	if (type != ET_EXEC && type != ET_DYN)
		return fail(k, "ELF that is no executable");
	f->headers = elf_le(image + f->l->phoff, f->l->word);
	f->count = (unsigned)elf_le(image + f->l->phnum, 2);
	f->stride = (unsigned)elf_le(image + f->l->phentsize, 2);
	if (!f->count || f->count > ELF_HEADERS_MAX || f->stride < f->l->p_size || !elf_within(f->headers, (u64)f->count * f->stride, size))
		return fail(k, "ELF without usable program headers");
	return true;
}

static const u8 *program_header(const struct elf_file *f, unsigned i)
{
	return f->image + f->headers + (u64)i * f->stride;
}

static bool add_segments(struct kernel_elf *k, const struct elf_file *f)
{
	const struct elf_layout *l = f->l;

	for (unsigned i = 0; i < f->count; i++) {
		const u8 *p = program_header(f, i);
		struct kernel_piece piece = {elf_le(p + l->p_offset, l->word), elf_le(p + l->p_filesz, l->word), elf_le(p + l->p_paddr, l->word),
					     elf_le(p + l->p_memsz, l->word)};

		if (elf_le(p, 4) == PT_LOAD && !add_piece(k, &piece, f->size))
			return false;
	}
	return true;
}

// The entry in one PT_NOTE segment: names and descriptors are padded to four bytes.
static bool note_entry(const u8 *p, u64 left, u64 *entry)
{
	while (left >= 12) {
		u64 name = ROUND_UP(elf_le(p, 4), 4ull), desc = elf_le(p + 4, 4), padded = ROUND_UP(desc, 4ull);

		if (name > left - 12 || desc > left - 12 - name)
			return false;
		if (elf_le(p + 8, 4) == NOTE_PHYS32_ENTRY && elf_le(p, 4) == 4 && !memcmp(p + 12, "Xen", 4) && (desc == 4 || desc == 8)) {
			*entry = elf_le(p + 12 + name, (unsigned)desc);
			return true;
		}
		if (padded > left - 12 - name)
			return false;
		p += 12 + name + padded;
		left -= 12 + name + padded;
	}
	return false;
}

static bool find_pvh(const struct elf_file *f, u64 *entry)
{
	const struct elf_layout *l = f->l;

	for (unsigned i = 0; i < f->count; i++) {
		const u8 *p = program_header(f, i);
		u64 offset = elf_le(p + l->p_offset, l->word), bytes = elf_le(p + l->p_filesz, l->word);

		if (elf_le(p, 4) == PT_NOTE && elf_within(offset, bytes, f->size) && note_entry(f->image + offset, bytes, entry))
			return true;
	}
	return false;
}

// ---- either

static bool check_multiboot(struct kernel_elf *k, const u8 *image, u64 at)
{
	u32 flags = (u32)elf_le(image + at + 4, 4);

	if (flags & MB_REQUIRED & ~(MB_ALIGN_MODULES | MB_MEMORY | MB_VIDEO))
		return fail(k, "multiboot header that demands what is not known");
	k->entered = KERNEL_MULTIBOOT;
	k->aligned_modules = flags & MB_ALIGN_MODULES;
	return true;
}

// An ELF64 kernel that offers both is entered by PVH: multiboot knows 32-bit images only.
bool kernel_elf_parse(struct kernel_elf *k, const u8 *image, u64 size)
{
	u64 at = find_multiboot(image, size), entry;
	struct elf_file f;

	*k = (struct kernel_elf){.entered = KERNEL_PVH};
	if (at < size && !check_multiboot(k, image, at))
		return false;
	if (at < size && (elf_le(image + at + 4, 4) & MB_ADDRESSES))
		return parse_addresses(k, image, size, at);
	if (!is_elf(image, size))
		return fail(k, at < size ? "multiboot header without addresses in a file that is no ELF" : "no ELF");
	if (!open_elf(k, &f, image, size))
		return false;
	if (find_pvh(&f, &entry) && (at == size || f.l == &layout64))
		k->entered = KERNEL_PVH;
	else if (at < size)
		entry = elf_le(image + f.l->entry, f.l->word);
	else
		return fail(k, "ELF with neither a multiboot header nor a PVH note");
	return add_segments(k, &f) && check_entry(k, entry);
}
