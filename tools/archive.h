// SPDX-License-Identifier: MIT
// Writes the bundle (abi/bundle.h) that the hypervisor boots with.
#ifndef TOOLS_ARCHIVE_H
#define TOOLS_ARCHIVE_H

#include "tools/vmfile.h"

// Files that several VMs share go in once. False after a complaint.
bool archive_write(const char *path, const struct vm_file *vm, unsigned count);

#endif
