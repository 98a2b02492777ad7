// SPDX-License-Identifier: MIT
// A first look at a VM file: which keys are assigned on which lines. libxlutil, which then reads the values, does not
// tell lines and quietly takes the last of repeated keys. Pure: bytes in, keys out; any bytes are survived.
#ifndef TOOLS_VMSCAN_H
#define TOOLS_VMSCAN_H

#include "base/types.h"

#define VMSCAN_KEYS_MAX 512
#define VMSCAN_NAME_MAX 63

struct vmscan_key {
	char name[VMSCAN_NAME_MAX + 1];
	unsigned line;
	bool add; // "+=": adds to what an earlier line assigned
};

struct vmscan {
	unsigned count;
	struct vmscan_key key[VMSCAN_KEYS_MAX];
	// First thing that is wrong; NULL: nothing is.
	const char *error;
	unsigned error_line;
	char error_key[VMSCAN_NAME_MAX + 1]; // key of the statement it is in, or ""
};

void vmscan(struct vmscan *s, const char *text, size_t len);
const struct vmscan_key *vmscan_find(const struct vmscan *s, const char *name);
// The last key assigned at or before a line, "" if there is none.
const char *vmscan_key_at(const struct vmscan *s, unsigned line);

#endif
