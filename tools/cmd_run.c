// SPDX-License-Identifier: MIT
// trapeze run: VM files in, exit status out.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "abi/machine.h"
#include "tools/client.h"
#include "tools/session.h"

static bool load_vms(struct vm_file *vm, const struct run_options *o)
{
	for (unsigned i = 0; i < o->vm_files; i++) {
		if (!vm_file_load(&vm[i], o->vm_file[i], o->memory))
			return false;
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(vm[k].name, vm[i].name))
				return complain("%s:1: name: '%s' is also the name in %s", o->vm_file[i], vm[i].name,
						o->vm_file[k]);
	}
	return true;
}

// Bytes of a file that VMs before have not brought along.
static u64 new_bytes(const struct vm_file *vm, unsigned i, const struct vm_blob *blob)
{
	for (unsigned k = 0; blob->path && k < i; k++)
		if ((vm[k].kernel.path && !strcmp(vm[k].kernel.path, blob->path)) ||
		    (vm[k].ramdisk.path && !strcmp(vm[k].ramdisk.path, blob->path)))
			return 0;
	return blob->path ? blob->data.len : 0;
}

// The VM with which they do not fit in the machine any more is the one that is wrong.
static bool fit(const struct vm_file *vm, const struct run_options *o)
{
	u64 need = TZ_HV_MEMORY;

	for (unsigned i = 0; i < o->vm_files; i++) {
		need += vm[i].memory + TZ_VM_OVERHEAD + new_bytes(vm, i, &vm[i].kernel) + new_bytes(vm, i, &vm[i].ramdisk);
		if (need > o->memory)
			return complain("%s:%u: memory: %llu MiB%s need %llu MiB with what the hypervisor needs; the machine has %llu MiB "
					"(--memory)",
					o->vm_file[i], vm[i].memory_line, (unsigned long long)(vm[i].memory / MIB),
					i ? " and the VMs before it" : "", (unsigned long long)((need + MIB - 1) / MIB),
					(unsigned long long)(o->memory / MIB));
	}
	return true;
}

// A run of minutes should not end in a statistics file that could never be written.
static bool stats_writable(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		return complain("--stats: %s: %s", path, strerror(errno));
	close(fd);
	return true;
}

static int run(const struct run_options *o)
{
	struct vm_file *vm = xalloc(o->vm_files * sizeof(*vm));
	int status = EXIT_USAGE;

	if (load_vms(vm, o) && fit(vm, o)) {
		if (!o->stats || stats_writable(o->stats))
			status = session_run(o, vm, o->vm_files);
	}
	for (unsigned i = 0; i < o->vm_files; i++)
		vm_file_free(&vm[i]);
	free(vm);
	return status;
}

int cmd_run(const struct verb *v, int argc, char **argv)
{
	struct run_options o;
	bool done;
	int status = run_options_parse(&o, argc, argv, &done);

	if (status != EXIT_OK || done)
		return status;
	if (o.vm_files > TZ_VMS_MAX) {
		complain("run: more than %d VM files", TZ_VMS_MAX);
		return EXIT_USAGE;
	}
	return run(&o);
}
