// SPDX-License-Identifier: MIT
#include "vmm/upload.h"

#include "base/string.h"
#include "base/xxh64.h"

enum status upload_begin(struct uploads *u, size_t size, u64 now, u64 *id)
{
	struct upload *up = NULL;
	void *memory;

	upload_expire(u, now);
	if (!size || size > UPLOAD_SIZE_MAX)
		return ST_INVALID;
	for (unsigned i = 0; i < UPLOADS && !up; i++)
		if (!u->upload[i].id)
			up = &u->upload[i];
	if (!up)
		return ST_BUSY;
	memory = u->ports->alloc(size);
	if (!memory)
		return ST_NOMEM;
	*up = (struct upload){.id = ++u->last_id, .data = memory, .size = size, .last_ns = now};
	*id = up->id;
	return ST_OK;
}

struct upload *upload_find(struct uploads *u, u64 id)
{
	for (unsigned i = 0; i < UPLOADS; i++)
		if (id && u->upload[i].id == id)
			return &u->upload[i];
	return NULL;
}

// Value of a base64 digit, -1 for any other byte.
static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Bytes that the text stands for; false: it is no base64.
static bool decoded_size(const char *text, size_t n, size_t *size)
{
	size_t pad = 0;

	if (!n || n % 4)
		return false;
	while (pad < 2 && text[n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < n - pad; i++)
		if (digit(text[i]) < 0)
			return false;
	*size = n / 4 * 3 - pad;
	return true;
}

static void decode(u8 *out, size_t size, const char *text)
{
	for (size_t at = 0; at < size; text += 4) {
		u32 v = 0;

		for (unsigned i = 0; i < 4; i++)
			v = v << 6 | (text[i] == '=' ? 0 : (u32)digit(text[i]));
		for (unsigned i = 0; i < 3 && at < size; i++)
			out[at++] = (u8)(v >> (16 - 8 * i));
	}
}

enum status upload_data(struct upload *up, u64 offset, const char *text, size_t n, u64 now)
{
	size_t size;

	if (offset != up->received || !decoded_size(text, n, &size) || size > up->size - up->received)
		return ST_INVALID;
	decode(up->data + up->received, size, text);
	up->received += size;
	up->last_ns = now;
	return ST_OK;
}

bool upload_complete(const struct upload *up, u64 hash)
{
	return up->received == up->size && xxh64(up->data, up->size, 0) == hash;
}

void upload_drop(struct uploads *u, struct upload *up)
{
	u->ports->free(up->data, up->size);
	memset(up, 0, sizeof(*up));
}

void upload_take(struct upload *up)
{
	memset(up, 0, sizeof(*up));
}

void upload_expire(struct uploads *u, u64 now)
{
	for (unsigned i = 0; i < UPLOADS; i++) {
		struct upload *up = &u->upload[i];

		if (up->id && now > up->last_ns && now - up->last_ns >= UPLOAD_IDLE_NS)
			upload_drop(u, up);
	}
}
