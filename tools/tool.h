// SPDX-License-Identifier: MIT
// What every part of the host command uses: exit statuses, complaints, growing byte buffers, whole files.
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include "abi/version.h"
#include "base/types.h"

// Exit statuses of `trapeze run` (the other verbs use EXIT_OK, EXIT_USAGE and EXIT_FAILED).
enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_VM_CRASHED = 10,
	EXIT_HYPERVISOR_DIED = 12,
	EXIT_NO_QEMU = 14,
	EXIT_TIMEOUT = 124,
	EXIT_INTERRUPTED = 130,
};

// One line on stderr, "trapeze: ..."; returns false so that a check can return it.
bool complain(const char *fmt, ...) PRINTF(1, 2);
void complain_bytes(const void *bytes, size_t n); // to stderr as they are
// From now on both through this; NULL: straight to stderr.
struct outlet;
void complain_through(struct outlet *o);

// Bytes that grow; never fails (out of memory ends the command).
struct bytes {
	char *data;
	size_t len, room;
};
void bytes_add(struct bytes *b, const void *data, size_t n);
void bytes_printf(struct bytes *b, const char *fmt, ...) PRINTF(2, 3);
void bytes_drop(struct bytes *b, size_t n); // from the front
void bytes_free(struct bytes *b);

void *xalloc(size_t n); // zeroed
char *xstrdup(const char *s);
char *xprintf(const char *fmt, ...) PRINTF(1, 2);

// Reads a regular file whole, NUL-terminated behind the end. Returns 0 or an errno.
int read_file(const char *path, struct bytes *out);
// `name` as seen from the folder of `file`; absolute names stay.
char *path_beside(const char *file, const char *name);

// Milliseconds of the monotonic clock.
u64 now_ms(void);
// Writes everything, also to a non-blocking descriptor. False on an error.
bool write_all(int fd, const void *data, size_t n);

#endif
