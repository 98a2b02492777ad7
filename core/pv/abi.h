// SPDX-License-Identifier: MIT
// Xen's public headers (libxen-dev), at the version of the interface that this project speaks.
#ifndef CORE_PV_ABI_H
#define CORE_PV_ABI_H

#include "base/types.h"

#define __XEN_INTERFACE_VERSION__ 0x00040e00
#include <xen/elfnote.h>
#include <xen/xen.h>

#endif
