// SPDX-License-Identifier: MIT
// Real mode: a piece of code started there with registers of its own; the exception or interrupt that ends it comes back in `caught`.
#ifndef LEGACY_REAL_H
#define LEGACY_REAL_H

#include "kernel.h"

void real_run(const struct start *s);

#endif
