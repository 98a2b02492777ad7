// SPDX-License-Identifier: MIT
// LINK: tools/vmscan.c tools/vmkeys.c tools/image.c
// The scan of a VM file, and the look at a kernel's header, over any bytes.
#include "tools/image.h"
#include "tools/vmkeys.h"
#include "tools/vmscan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct vmscan scan;
	struct image img;
	unsigned lines = 1;

	image_inspect(&img, data, size);
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	vmscan(&scan, (const char *)data, size);
	if (scan.error && (scan.error_line < 1 || scan.error_line > lines))
		abort();
	if (size && memchr(data, 0, size) && !scan.error)
		abort();
	for (unsigned i = 0; i < scan.count; i++) {
		const struct vmscan_key *k = &scan.key[i];

		if (!k->name[0] || k->line < 1 || k->line > lines || (i && k->line < scan.key[i - 1].line))
			abort();
		if (strcmp(vmscan_find(&scan, k->name)->name, k->name))
			abort();
		vmkey_class(k->name);
	}
	return 0;
}
