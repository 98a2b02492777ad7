// SPDX-License-Identifier: MIT
// A tiny AML emitter (ACPI 5.0, chapter 20): appends to a bounded buffer; packages get their length when they are closed.
#ifndef CORE_PLATFORM_AML_H
#define CORE_PLATFORM_AML_H

#include "base/types.h"

struct aml {
	u8 *buffer;
	unsigned size, length;
	bool overflow;
};

void aml_byte(struct aml *a, u8 value);
void aml_le(struct aml *a, u64 value, unsigned bytes);
// Opens scope, device, method and so on: opcode (one or two bytes, 0x5bxx) and a length to be filled in. Returns a mark for
// aml_close().
unsigned aml_open(struct aml *a, u16 opcode);
void aml_close(struct aml *a, unsigned mark);
// Path of segments of up to four characters, "\\" for the root first: "_SB", "\\_S5".
void aml_name(struct aml *a, const char *path);
void aml_integer(struct aml *a, u64 value);
// Name(path, integer), Name(path, "string") and Name(_HID, EISAID("PNP0A03")).
void aml_name_integer(struct aml *a, const char *path, u64 value);
void aml_name_string(struct aml *a, const char *path, const char *text);
void aml_name_eisa(struct aml *a, const char *path, const char *id);

// Resource template: Name(_CRS, Buffer(){...}).
struct aml_resources {
	unsigned package, count, start;
};
struct aml_resources aml_resources_open(struct aml *a);
void aml_resources_close(struct aml *a, const struct aml_resources *r);
void aml_io(struct aml *a, u16 first, u16 last_start, u8 align, u8 len);
void aml_irq(struct aml *a, unsigned irq);
enum { AML_MEMORY, AML_IO, AML_BUS };
void aml_word_space(struct aml *a, u8 type, u16 first, u16 last);
void aml_dword_memory(struct aml *a, u32 first, u32 last, bool cacheable);

#endif
