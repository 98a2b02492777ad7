// SPDX-License-Identifier: MIT
// Reader of the bundle (abi/bundle.h): a cpio archive in memory, of which nothing is believed before it is checked, and
// the VM descriptions in it. Fills caller-owned structs; nothing here points into the caller's stack.
#ifndef VMM_BUNDLE_H
#define VMM_BUNDLE_H

#include "abi/bundle.h"
#include "base/status.h"
#include "base/types.h"
#include "base/json.h"

struct bundle {
	const u8 *base;
	size_t size;
};

struct bundle_file {
	const u8 *data;
	size_t size;
	const char *name; // in the archive, NUL-terminated
};

enum vm_type { VM_HVM, VM_PV };
enum vm_action { VM_DESTROY, VM_RESTART, VM_PRESERVE };

struct vm_config {
	char name[TZ_NAME_MAX + 1];
	enum vm_type type;
	u64 memory, maxmem; // bytes
	u32 vcpus;
	u32 cpu_weight;
	u32 cap; // percent of one CPU, 0: none
	char cmdline[TZ_CMDLINE_MAX + 1];
	char kernel[TZ_FILE_NAME_MAX + 1];
	char ramdisk[TZ_FILE_NAME_MAX + 1]; // "" for none
	enum vm_action on_poweroff, on_reboot, on_crash;
	u32 mem_shares;
	u64 mem_min;                        // bytes
	char share_group[TZ_GROUP_MAX + 1]; // "" for none
};

#define BUNDLE_TOKENS (TZ_VMS_MAX * 48)

struct bundle_vms {
	unsigned count;
	struct vm_config vm[TZ_VMS_MAX];
	const char *error;                      // what was wrong, when bundle_vms() fails
	struct json_token token[BUNDLE_TOKENS]; // work space
};

// ST_INVALID unless it begins with a cpio newc header.
MUST_CHECK enum status bundle_open(struct bundle *b, const void *base, size_t size);
// Walks the entries: *pos is 0 at first. ST_NOTFOUND at the trailer, ST_INVALID when the archive is damaged.
MUST_CHECK enum status bundle_next(const struct bundle *b, size_t *pos, struct bundle_file *file);
MUST_CHECK enum status bundle_find(const struct bundle *b, const char *name, struct bundle_file *file);
// Parses the VM descriptions and checks that the files which they name are there. The struct is large: make it static.
MUST_CHECK enum status bundle_vms(const struct bundle *b, struct bundle_vms *vms);
// Parses one description out of a JSON value, as the control channel's `create` has it. NULL, or what is wrong.
const char *vm_config_parse(struct json_value v, struct vm_config *vm);
// What of it this version cannot do; NULL: it can.
const char *vm_config_unsupported(const struct vm_config *vm);
const char *vm_type_name(enum vm_type t);
const char *vm_action_name(enum vm_action a);

#endif
