// SPDX-License-Identifier: MIT
// AML emitter. Lengths of packages are always written in two bytes (up to 4095), of resource buffers in a word.
#include "core/platform/aml.h"

#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_BUFFER 0x11
#define OP_DUAL_PREFIX 0x2e
#define OP_MULTI_PREFIX 0x2f

void aml_byte(struct aml *a, u8 value)
{
	if (a->length >= a->size) {
		a->overflow = true;
		return;
	}
	a->buffer[a->length++] = value;
}

void aml_le(struct aml *a, u64 value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		aml_byte(a, (u8)(value >> i * 8));
}

unsigned aml_open(struct aml *a, u16 opcode)
{
	unsigned mark;

	if (opcode >> 8)
		aml_byte(a, (u8)(opcode >> 8));
	aml_byte(a, (u8)opcode);
	mark = a->length;
	aml_le(a, 0, 2);
	return mark;
}

void aml_close(struct aml *a, unsigned mark)
{
	unsigned length = a->length - mark;

	if (a->overflow)
		return;
	a->buffer[mark] = (u8)(0x40 | (length & 15)); // one more length byte follows
	a->buffer[mark + 1] = (u8)(length >> 4);
}

void aml_name(struct aml *a, const char *path)
{
	unsigned segments = 1;

	if (*path == '\\')
		aml_byte(a, (u8)*path++);
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (segments == 2)
		aml_byte(a, OP_DUAL_PREFIX);
	if (segments > 2) {
		aml_byte(a, OP_MULTI_PREFIX);
		aml_byte(a, (u8)segments);
	}
	for (; segments; segments--) {
		for (unsigned i = 0; i < 4; i++)
			aml_byte(a, (u8)(*path && *path != '.' ? *path++ : '_'));
		path += *path == '.';
	}
}

void aml_integer(struct aml *a, u64 value)
{
	unsigned bytes = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;

	if (value <= 1) { // ZeroOp, OneOp
		aml_byte(a, (u8)value);
		return;
	}
	aml_byte(a, bytes == 1 ? OP_BYTE : bytes == 2 ? OP_WORD : bytes == 4 ? OP_DWORD : OP_QWORD);
	aml_le(a, value, bytes);
}

void aml_name_integer(struct aml *a, const char *path, u64 value)
{
	aml_byte(a, OP_NAME);
	aml_name(a, path);
	aml_integer(a, value);
}

static u32 hex_digit(char c)
{
	return (u32)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_name_eisa(struct aml *a, const char *path, const char *id)
{
	u32 v = (u32)(id[0] - '@') << 26 | (u32)(id[1] - '@') << 21 | (u32)(id[2] - '@') << 16;

	for (unsigned i = 0; i < 4; i++)
		v |= hex_digit(id[3 + i]) << (12 - 4 * i);
	aml_byte(a, OP_NAME);
	aml_name(a, path);
	aml_byte(a, OP_DWORD);
	aml_le(a, __builtin_bswap32(v), 4);
}

void aml_name_string(struct aml *a, const char *path, const char *text)
{
	aml_byte(a, OP_NAME);
	aml_name(a, path);
	aml_byte(a, OP_STRING);
	do
		aml_byte(a, (u8)*text);
	while (*text++);
}

struct aml_resources aml_resources_open(struct aml *a)
{
	struct aml_resources r;

	aml_byte(a, OP_NAME);
	aml_name(a, "_CRS");
	r.package = aml_open(a, OP_BUFFER);
	aml_byte(a, OP_WORD);
	r.count = a->length;
	aml_le(a, 0, 2);
	r.start = a->length;
	return r;
}

void aml_resources_close(struct aml *a, const struct aml_resources *r)
{
	unsigned length;

	aml_le(a, 0x0079, 2); // end tag, no checksum
	length = a->length - r->start;
	if (a->overflow)
		return;
	a->buffer[r->count] = (u8)length;
	a->buffer[r->count + 1] = (u8)(length >> 8);
	aml_close(a, r->package);
}

void aml_io(struct aml *a, u16 first, u16 last_start, u8 align, u8 len)
{
	aml_byte(a, 0x47); // I/O port descriptor
	aml_byte(a, 1);    // decodes 16 bits
	aml_le(a, first, 2);
	aml_le(a, last_start, 2);
	aml_byte(a, align);
	aml_byte(a, len);
}

void aml_irq(struct aml *a, unsigned irq)
{
	aml_byte(a, 0x22); // IRQ descriptor without flags: edge, active high
	aml_le(a, 1u << irq, 2);
}

void aml_word_space(struct aml *a, u8 type, u16 first, u16 last)
{
	aml_byte(a, 0x88); // word address space
	aml_le(a, 13, 2);
	aml_byte(a, type);
	aml_byte(a, 0x0c);                   // fixed minimum and maximum, positive decode
	aml_byte(a, type == AML_IO ? 3 : 0); // entire range
	aml_le(a, 0, 2);
	aml_le(a, first, 2);
	aml_le(a, last, 2);
	aml_le(a, 0, 2);
	aml_le(a, (u16)(last - first + 1), 2);
}

void aml_dword_memory(struct aml *a, u32 first, u32 last, bool cacheable)
{
	aml_byte(a, 0x87); // double word address space
	aml_le(a, 23, 2);
	aml_byte(a, AML_MEMORY);
	aml_byte(a, 0x0c);
	aml_byte(a, cacheable ? 3 : 1); // cacheability, writable
	aml_le(a, 0, 4);
	aml_le(a, first, 4);
	aml_le(a, last, 4);
	aml_le(a, 0, 4);
	aml_le(a, last - first + 1, 4);
}
