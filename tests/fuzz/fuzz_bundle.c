// SPDX-License-Identifier: MIT
// LINK: vmm/bundle.c
// The bundle reader over any bytes. When the first byte is odd, the rest is taken as the VM descriptions of an otherwise
// good archive, which reaches the parser sooner. Whatever is accepted keeps its limits.
#include "vmm/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bundle_vms vms;

static size_t add(u8 *to, const char *name, const u8 *data, size_t n)
{
	size_t names = strlen(name) + 1;
	size_t len = (size_t)sprintf((char *)to, "070701%048x%08zx%032x%08zx%08x", 0, n, 0, names, 0);

	memcpy(to + len, name, names);
	len = ROUND_UP(len + names, (size_t)4);
	memcpy(to + len, data, n);
	return ROUND_UP(len + n, (size_t)4);
}

static void check_vm(const struct bundle *b, const struct vm_config *vm)
{
	struct bundle_file f;

	if (!vm->name[0] || strlen(vm->name) > TZ_NAME_MAX || strlen(vm->cmdline) > TZ_CMDLINE_MAX)
		abort();
	if (vm->memory < TZ_MEMORY_MIN || vm->maxmem < vm->memory || !vm->vcpus || !vm->cpu_weight)
		abort();
	if (bundle_find(b, vm->kernel, &f) != ST_OK || f.data < b->base || f.size > b->size ||
	    (size_t)(f.data - b->base) > b->size - f.size)
		abort();
}

static void check(const u8 *data, size_t size)
{
	struct bundle b;

	if (bundle_open(&b, data, size) != ST_OK || bundle_vms(&b, &vms) != ST_OK)
		return;
	for (unsigned i = 0; i < vms.count; i++)
		check_vm(&b, &vms.vm[i]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (!size || !(data[0] & 1)) {
		check(data, size);
		return 0;
	}
	u8 *archive = calloc(1, size + 1024);
	size_t len = add(archive, "vms.json", data + 1, size - 1);

	len += add(archive + len, "files/0", (const u8 *)"k", 1);
	len += add(archive + len, "TRAILER!!!", (const u8 *)"", 0);
	u8 *exact = malloc(len);

	memcpy(exact, archive, len);
	check(exact, len);
	free(exact);
	free(archive);
	return 0;
}
