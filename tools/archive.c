// SPDX-License-Identifier: MIT
#include "tools/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/bundle.h"
#include "base/json.h"

struct archive {
	int fd;
	bool failed;
	u32 inode;
	// Files so far, to find repeated ones; a file's index is its name.
	const struct vm_blob *blob[2 * TZ_VMS_MAX];
	unsigned blobs;
};

static void put(struct archive *a, const void *data, size_t n)
{
	if (!a->failed && !write_all(a->fd, data, n))
		a->failed = true;
}

static void pad4(struct archive *a, size_t n)
{
	put(a, "\0\0\0", (4 - n % 4) % 4);
}

static void add_entry(struct archive *a, const char *name, const void *data, size_t n)
{
	size_t name_size = strlen(name) + 1;
	bool trailer = !strcmp(name, TZ_CPIO_TRAILER);
	// inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, check
	char *head =
		xprintf(TZ_CPIO_MAGIC "%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", trailer ? 0 : ++a->inode,
			trailer ? 0 : 0100644, 0, 0, 1, 0, (unsigned)n, 0, 0, 0, 0, (unsigned)name_size, 0);

	put(a, head, TZ_CPIO_HEADER);
	put(a, name, name_size);
	pad4(a, TZ_CPIO_HEADER + name_size);
	put(a, data, n);
	pad4(a, n);
	free(head);
}

static unsigned file_index(struct archive *a, const struct vm_blob *blob)
{
	for (unsigned i = 0; i < a->blobs; i++)
		if (a->blob[i]->data.len == blob->data.len &&
		    !memcmp(a->blob[i]->data.data, blob->data.data, blob->data.len))
			return i;
	a->blob[a->blobs] = blob;
	return a->blobs++;
}

static void kv_file(struct json_out *j, const char *key, struct archive *a, const struct vm_blob *blob)
{
	char *name = blob->path ? xprintf(TZ_BUNDLE_FILES "%u", file_index(a, blob)) : xstrdup("");

	json_kv_string(j, key, name);
	free(name);
}

static void describe(struct json_out *j, struct archive *a, const struct vm_file *vm)
{
	json_object(j);
	json_kv_string(j, "name", vm->name);
	json_kv_string(j, "type", vm->type);
	json_kv_u64(j, "memory", vm->memory);
	json_kv_u64(j, "maxmem", vm->maxmem);
	json_kv_u64(j, "vcpus", vm->vcpus);
	json_kv_u64(j, "cpu_weight", vm->cpu_weight);
	json_kv_u64(j, "cap", vm->cap);
	json_kv_string(j, "cmdline", vm->cmdline);
	kv_file(j, "kernel", a, &vm->kernel);
	kv_file(j, "ramdisk", a, &vm->ramdisk);
	json_kv_string(j, "on_poweroff", vm->on_poweroff);
	json_kv_string(j, "on_reboot", vm->on_reboot);
	json_kv_string(j, "on_crash", vm->on_crash);
	json_kv_u64(j, "tz_mem_shares", vm->mem_shares);
	json_kv_u64(j, "tz_mem_min", vm->mem_min);
	json_kv_string(j, "tz_share", vm->share);
	json_object_end(j);
}

bool archive_write(const char *path, const struct vm_file *vm, unsigned count)
{
	struct archive a = {.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
	char *text = xalloc(TZ_VMS_JSON_MAX);
	struct json_out j;

	if (a.fd < 0) {
		free(text);
		return complain("%s: %s", path, strerror(errno));
	}
	json_init(&j, text, TZ_VMS_JSON_MAX);
	json_array(&j);
	for (unsigned i = 0; i < count; i++)
		describe(&j, &a, &vm[i]);
	json_array_end(&j);
	add_entry(&a, TZ_BUNDLE_VMS, text, j.len);
	for (unsigned i = 0; i < a.blobs; i++) {
		char *name = xprintf(TZ_BUNDLE_FILES "%u", i);

		add_entry(&a, name, a.blob[i]->data.data, a.blob[i]->data.len);
		free(name);
	}
	add_entry(&a, TZ_CPIO_TRAILER, "", 0);
	free(text);
	if (close(a.fd) || a.failed)
		return complain("%s: %s", path, strerror(errno));
	return true;
}
