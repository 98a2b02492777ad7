// SPDX-License-Identifier: MIT
#ifndef ABI_VERSION_H
#define ABI_VERSION_H

#define TRAPEZE_VERSION "0.1"

#endif
