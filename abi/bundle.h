// SPDX-License-Identifier: MIT
// The bundle: the archive that the hypervisor boots with. A cpio archive in "newc" form (magic 070701, no compression),
// passed as the machine's initial RAM disk: under PVH it is the first module. Its first entry is TZ_BUNDLE_VMS, an array
// of VM descriptions in JSON; the others are the files that these name ("files/0", "files/1", ...), each once even if
// several VMs share it. Data of every entry starts at a multiple of 4 bytes, as newc has it.
//
// A VM description has these keys, all present, in this order; sizes are bytes, strings are bytes as code points 0-255:
//   name, type ("hvm" or "pv"), memory, maxmem, vcpus, cpu_weight, cap, cmdline, kernel, ramdisk (file names in the
//   bundle, "" for none), on_poweroff, on_reboot, on_crash ("destroy" "restart" "preserve"), tz_mem_shares,
//   tz_mem_min, tz_share ("" for none, else the name of the sharing group; "1" is the common one).
// A reader ignores keys that it does not know.
#ifndef ABI_BUNDLE_H
#define ABI_BUNDLE_H

#define TZ_BUNDLE_VMS "vms.json"
#define TZ_BUNDLE_FILES "files/"

#define TZ_VMS_MAX 64
#define TZ_NAME_MAX 63 // bytes, without the NUL, as all below
#define TZ_CMDLINE_MAX 4095
#define TZ_PV_CMDLINE_MAX 1023 // Xen's
#define TZ_FILE_NAME_MAX 31
#define TZ_GROUP_MAX 31
#define TZ_VMS_JSON_MAX (4u << 20)

#define TZ_MEMORY_DEFAULT (256ull << 20)
#define TZ_MEMORY_MIN (4ull << 20)
#define TZ_MEMORY_MAX (1ull << 40)
#define TZ_WEIGHT_DEFAULT 256
#define TZ_WEIGHT_MAX 65535
#define TZ_CAP_MAX 6400 // percent of one CPU
#define TZ_MEM_SHARES_DEFAULT 1000

// newc: an ASCII header of 110 bytes, the name with its NUL padded to 4, the data padded to 4.
#define TZ_CPIO_MAGIC "070701"
#define TZ_CPIO_HEADER 110
#define TZ_CPIO_TRAILER "TRAILER!!!"

#endif
