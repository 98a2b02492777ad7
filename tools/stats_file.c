// SPDX-License-Identifier: MIT
// Writes the last statistics that the hypervisor gave. Had it no time to give any, the file says what the command itself
// knows: every published key is there, with nothing counted.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/session.h"

static void zeros(struct json_out *j, const char *key, const char *const *name, size_t n)
{
	json_key(j, key);
	json_object(j);
	for (size_t i = 0; i < n; i++)
		json_kv_u64(j, name[i], 0);
	json_object_end(j);
}

static void empty_object(struct json_out *j, const char *key)
{
	zeros(j, key, NULL, 0);
}

static void skeleton_vm(struct json_out *j, const struct vm_file *vm)
{
	static const char *const cpu[] = {"run_ns", "ready_ns", "stolen_ns"};
	static const char *const translator[] = {"blocks",  "bytes", "flushes", "smc_faults", "instructions_emulated",
						 "callouts"};
	static const char *const mmu[] = {"shadow_pages", "hidden_faults", "guest_faults", "pte_writes"};
	static const char *const memory[] = {"resident", "shared", "zero",    "ballooned",
					     "swapped",  "target", "overhead"};

	json_object(j);
	json_kv_string(j, "name", vm->name);
	json_kv_string(j, "type", vm->type);
	json_kv_string(j, "state", "unknown");
	json_kv_u64(j, "vcpus", vm->vcpus);
	zeros(j, "cpu", cpu, ARRAY_SIZE(cpu));
	empty_object(j, "exits");
	json_kv_u64(j, "crossings", 0);
	zeros(j, "translator", translator, ARRAY_SIZE(translator));
	zeros(j, "mmu", mmu, ARRAY_SIZE(mmu));
	json_key(j, "memory");
	json_object(j);
	json_kv_u64(j, "configured", vm->memory);
	for (size_t i = 0; i < ARRAY_SIZE(memory); i++)
		json_kv_u64(j, memory[i], 0);
	json_object_end(j);
	empty_object(j, "devices");
	json_object_end(j);
}

static void skeleton(const struct session *s, struct bytes *out)
{
	size_t room = 4096 + s->vms * 2048u;
	char *buf = xalloc(room);
	struct json_out j;

	json_init(&j, buf, room);
	json_object(&j);
	json_kv_u64(&j, "version", 1);
	json_key(&j, "machine");
	json_object(&j);
	json_kv_u64(&j, "cpus", s->options->cpus);
	json_kv_u64(&j, "memory_bytes", s->options->memory);
	json_kv_u64(&j, "hypervisor_bytes", 0);
	json_kv_u64(&j, "free_bytes", 0);
	json_object_end(&j);
	json_key(&j, "vms");
	json_array(&j);
	for (unsigned i = 0; i < s->vms; i++)
		skeleton_vm(&j, s->vm[i].file);
	json_array_end(&j);
	json_object_end(&j);
	bytes_add(out, buf, j.len);
	free(buf);
}

bool stats_file_clear(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		return complain("--stats: %s: %s", path, strerror(errno));
	close(fd);
	return true;
}

bool stats_file_write(const struct session *s)
{
	struct bytes text = {0};
	bool ok;

	if (s->stats.len)
		bytes_add(&text, s->stats.data, s->stats.len);
	else
		skeleton(s, &text);
	bytes_add(&text, "\n", 1);
	int fd = open(s->options->stats, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	ok = fd >= 0 && write_all(fd, text.data, text.len);
	if (fd >= 0 && close(fd))
		ok = false;
	if (!ok)
		complain("%s: %s", s->options->stats, strerror(errno));
	bytes_free(&text);
	return ok;
}
