// SPDX-License-Identifier: MIT
// The file is hostile: each offset and length is compared with what is left before it is used.
#include "base/pv_image.h"

#include "base/elf.h"
#include <xen/elfnote.h>

#define SPAN_MAX (512 * MIB) // of the kernel
#define LOWER_END BIT(47)
#define UPPER_START 0xffff880000000000 // behind the hypervisor's slots
#define HEADER_BYTES 64u
#define PH_BYTES 56u

struct note {
	u64 value;
	bool there;
};

static bool fail(struct pv_image *i, const char *why)
{
	i->wrong = why;
	return false;
}

// ---- notes

static void take_note(struct note *notes, u64 type, const u8 *desc, u64 bytes)
{
	if (type > XEN_ELFNOTE_MAX)
		return;
	notes[type].there = true;
	notes[type].value = bytes == 4 || bytes == 8 ? elf_le(desc, (unsigned)bytes) : 0;
}

// Name and contents are padded to 4 bytes each.
static bool read_notes(struct note *notes, const u8 *p, u64 left)
{
	while (left >= 12) {
		u64 name = elf_le(p, 4), desc = elf_le(p + 4, 4), type = elf_le(p + 8, 4);
		u64 name_room = ROUND_UP(name, 4ull), desc_room = ROUND_UP(desc, 4ull);

		p += 12, left -= 12;
		if (name_room > left || desc > left - name_room)
			return false;
		if (name == 4 && !memcmp(p, "Xen", 4))
			take_note(notes, type, p + name_room, desc);
		if (desc_room > left - name_room)
			return true; // the last one, without its padding
		p += name_room + desc_room, left -= name_room + desc_room;
	}
	return true;
}

// In either half, and not in the hypervisor's slots.
static bool base_ok(u64 base)
{
	return !(base & PAGE_MASK) && (base <= LOWER_END - SPAN_MAX || (base >= UPPER_START && base <= ~0ull - SPAN_MAX));
}

// Small kernels leave out the notes whose defaults suit them: the base is 0 then, and they are entered where the file says. One with an
// entry for PVH and none for PV is for PVH alone.
static bool use_notes(struct pv_image *i, const struct note *n, u64 file_entry)
{
	if (!n[XEN_ELFNOTE_ENTRY].there && (!n[XEN_ELFNOTE_XEN_VERSION].there || n[XEN_ELFNOTE_PHYS32_ENTRY].there))
		return fail(i, "no kernel for Xen's PV interface: it has no notes that say so");
	i->virt_base = n[XEN_ELFNOTE_VIRT_BASE].value;
	i->entry = n[XEN_ELFNOTE_ENTRY].there ? n[XEN_ELFNOTE_ENTRY].value : file_entry;
	i->hypercall_page = n[XEN_ELFNOTE_HYPERCALL_PAGE].value;
	i->init_p2m = n[XEN_ELFNOTE_INIT_P2M].value;
	i->module_by_page = n[XEN_ELFNOTE_MOD_START_PFN].value;
	if (!base_ok(i->virt_base))
		return fail(i, "the base address of its notes is none of a 64-bit kernel");
	if (i->init_p2m & PAGE_MASK)
		return fail(i, "the address for its list of frames is no page's");
	return true;
}

// ---- segments

static bool add_piece(struct pv_image *i, const struct pv_piece *p, u64 size)
{
	if (!p->mem_bytes)
		return true;
	if (p->file_bytes > p->mem_bytes)
		return fail(i, "a segment is larger in the file than in memory");
	if (!elf_within(p->file_offset, p->file_bytes, size))
		return fail(i, "a segment is cut short");
	if (!elf_within(p->va - i->virt_base, p->mem_bytes, SPAN_MAX))
		return fail(i, "a segment lies too far from the kernel's base");
	for (unsigned k = 0; k < i->pieces; k++) // neither can wrap
		if (p->va < i->piece[k].va + i->piece[k].mem_bytes && i->piece[k].va < p->va + p->mem_bytes)
			return fail(i, "segments overlap");
	if (i->pieces == PV_PIECES)
		return fail(i, "too many segments");
	i->end = MAX(i->end, p->va + p->mem_bytes);
	i->piece[i->pieces++] = *p;
	return true;
}

static bool in_pieces(const struct pv_image *i, u64 va, u64 bytes)
{
	for (unsigned k = 0; k < i->pieces; k++)
		if (va >= i->piece[k].va && elf_within(va - i->piece[k].va, bytes, i->piece[k].mem_bytes))
			return true;
	return false;
}

bool pv_image_parse(struct pv_image *i, const u8 *image, u64 size)
{
	struct note notes[XEN_ELFNOTE_MAX + 1] = {0};
	u64 at, count;

	*i = (struct pv_image){0};
	if (size < HEADER_BYTES || memcmp(image, "\177ELF\2\1", 6) || elf_le(image + 18, 2) != EM_X86_64)
		return fail(i, "no 64-bit ELF file for x86");
	at = elf_le(image + 32, 8);
	count = elf_le(image + 56, 2);
	if (elf_le(image + 54, 2) != PH_BYTES || !count || count > ELF_HEADERS_MAX || !elf_within(at, count * PH_BYTES, size))
		return fail(i, "its program headers are cut short");
	for (const u8 *p = image + at; p < image + at + count * PH_BYTES; p += PH_BYTES)
		if (elf_le(p, 4) == PT_NOTE &&
		    (!elf_within(elf_le(p + 8, 8), elf_le(p + 32, 8), size) || !read_notes(notes, image + elf_le(p + 8, 8), elf_le(p + 32, 8))))
			return fail(i, "its notes are cut short");
	if (!use_notes(i, notes, elf_le(image + 24, 8)))
		return false;
	for (const u8 *p = image + at; p < image + at + count * PH_BYTES; p += PH_BYTES) {
		u64 pa = elf_le(p + 24, 8) - notes[XEN_ELFNOTE_PADDR_OFFSET].value;
		struct pv_piece piece = {elf_le(p + 8, 8), elf_le(p + 32, 8), i->virt_base + pa, elf_le(p + 40, 8)};

		if (elf_le(p, 4) == PT_LOAD && !add_piece(i, &piece, size))
			return false;
	}
	if (!in_pieces(i, i->entry, 1))
		return fail(i, "the entry point is in no segment");
	if (i->hypercall_page && ((i->hypercall_page & PAGE_MASK) || !in_pieces(i, i->hypercall_page, PAGE_SIZE)))
		return fail(i, "its page for hypercalls is in no segment");
	return true;
}
