// SPDX-License-Identifier: MIT
// A VM file read, checked and brought to normal form: paths resolved, defaults filled in, sizes in bytes, kernel and RAM
// disk in memory. Whatever is wrong is one line on stderr, "trapeze: FILE:LINE: KEY: what".
#ifndef TOOLS_VMFILE_H
#define TOOLS_VMFILE_H

#include "tools/tool.h"

struct vm_blob {
	char *path; // NULL: none
	struct bytes data;
};

struct vm_file {
	const char *path;
	char *name, *cmdline, *share;
	const char *type; // "hvm" "pv"
	u64 memory, maxmem, mem_min;
	unsigned memory_line; // in the file
	u32 vcpus, cpu_weight, cap, mem_shares;
	const char *on_poweroff, *on_reboot, *on_crash;
	struct vm_blob kernel, ramdisk;
};

// False after a complaint. `machine_memory` is what all VMs have to fit in.
bool vm_file_load(struct vm_file *vm, const char *path, u64 machine_memory);
void vm_file_free(struct vm_file *vm);

#endif
