// SPDX-License-Identifier: MIT
// The kernel of a paravirtual VM: unpacked, and without what the hypervisor does not read of it.
#ifndef TOOLS_PVKERNEL_H
#define TOOLS_PVKERNEL_H

#include "tools/tool.h"

// `kernel` (a bzImage or an ELF file) becomes an ELF64 kernel with Xen's notes; *bytes: what it takes of its VM's memory. False:
// there was a complaint that begins with `where`.
bool pv_kernel_prepare(const char *where, struct bytes *kernel, u64 *bytes) MUST_CHECK;

#endif
