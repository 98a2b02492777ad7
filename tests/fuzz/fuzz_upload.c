// SPDX-License-Identifier: MIT
// LINK: vmm/upload.c
// Uploads by any sequence of begin, data, abort, take and waiting, with memory that fails when the input says so. What has arrived
// is what was sent, and nothing leaks.
#include "vmm/upload.h"
#include "base/xxh64.h"

#include <stdlib.h>
#include <string.h>

static int allocated;
static bool fail;

static void *take(size_t size)
{
	if (fail || size > 4096)
		return NULL;
	allocated++;
	return malloc(size);
}

static void give(void *memory, size_t size)
{
	allocated--;
	free(memory);
}

static void check(const struct uploads *u)
{
	int n = 0;

	for (unsigned i = 0; i < UPLOADS; i++) {
		const struct upload *up = &u->upload[i];

		n += up->id != 0;
		if (up->received > up->size || (up->id && (!up->size || !up->data)))
			abort();
		if (up->id && upload_complete(up, 0) && xxh64(up->data, up->size, 0) != 0)
			abort();
	}
	if (n != allocated)
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct upload_ports ports = {.alloc = take, .free = give};
	struct uploads u = {.ports = &ports};
	u64 now = 0, id = 0;

	while (size >= 4) {
		unsigned op = data[0] % 6, n = data[2] | (unsigned)(data[3] & 15) << 8;
		struct upload *up = upload_find(&u, data[1] % 8);

		fail = data[0] & 0x80;
		data += 4, size -= 4;
		n = n < size ? n : (unsigned)size;
		if (op == 0) {
			enum status st = upload_begin(&u, n, now, &id);

			if (st == ST_OK && !upload_find(&u, id))
				abort();
		} else if (op == 1 && up) {
			size_t before = up->received;

			if (upload_data(up, before, (const char *)data, n, now) != ST_OK && up->received != before)
				abort();
			data += n, size -= n;
		} else if (op == 2 && up) {
			upload_drop(&u, up);
		} else if (op == 3 && up) {
			void *memory = up->data;
			size_t bytes = up->size;

			upload_take(up);
			give(memory, bytes);
		} else if (op == 4) {
			now += (u64)n * 1000000000;
			upload_expire(&u, now);
		} else if (op == 5 && up) {
			size_t before = up->received;

			if (upload_data(up, before + 1 + n, "QUJD", 4, now) != ST_INVALID || up->received != before)
				abort();
		}
		check(&u);
	}
	for (unsigned i = 0; i < UPLOADS; i++)
		if (u.upload[i].id)
			upload_drop(&u, &u.upload[i]);
	return allocated ? abort(), 1 : 0;
}
