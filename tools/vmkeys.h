// SPDX-License-Identifier: MIT
// The keys of a VM file: those that this version honours, those that only xl does, and all others.
#ifndef TOOLS_VMKEYS_H
#define TOOLS_VMKEYS_H

#include "base/types.h"

enum vmkey_class { VMKEY_UNKNOWN, VMKEY_KNOWN, VMKEY_HONOURED };
enum vmkey_class vmkey_class(const char *name);
// May `+=` be written for this honoured key? It joins texts, which makes another number of a number.
bool vmkey_grows(const char *name);

#endif
