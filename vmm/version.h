// SPDX-License-Identifier: MIT
#ifndef VMM_VERSION_H
#define VMM_VERSION_H

#define TRAPEZE_VERSION "0.1"

#endif
