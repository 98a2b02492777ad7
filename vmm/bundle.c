// SPDX-License-Identifier: MIT
// Reader of the bundle. The archive comes from outside: every length is checked against what is left before it is used.
#include "vmm/bundle.h"

#include "base/string.h"

// ---- archive ----

// Offsets of newc's header fields: 8 hexadecimal digits each, after the magic.
enum { CPIO_FILESIZE = 54, CPIO_NAMESIZE = 94 };

static bool hex_field(const u8 *p, u32 *out)
{
	u32 v = 0;

	for (int i = 0; i < 8; i++) {
		u8 c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (u32)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (u32)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (u32)(c - 'A' + 10);
		else
			return false;
	}
	*out = v;
	return true;
}

static bool is_header(const struct bundle *b, size_t pos)
{
	return pos <= b->size && b->size - pos >= TZ_CPIO_HEADER && !memcmp(b->base + pos, TZ_CPIO_MAGIC, 6);
}

enum status bundle_open(struct bundle *b, const void *base, size_t size)
{
	*b = (struct bundle){.base = base, .size = size};
	return is_header(b, 0) ? ST_OK : ST_INVALID;
}

enum status bundle_next(const struct bundle *b, size_t *pos, struct bundle_file *file)
{
	u32 name_size, data_size;

	if (!is_header(b, *pos) || !hex_field(b->base + *pos + CPIO_NAMESIZE, &name_size) ||
	    !hex_field(b->base + *pos + CPIO_FILESIZE, &data_size))
		return ST_INVALID;
	size_t at = *pos + TZ_CPIO_HEADER;

	if (!name_size || name_size > b->size - at || b->base[at + name_size - 1])
		return ST_INVALID;
	file->name = (const char *)b->base + at;
	if (strlen(file->name) + 1 != name_size)
		return ST_INVALID;
	if (!strcmp(file->name, TZ_CPIO_TRAILER))
		return ST_NOTFOUND;
	at = ROUND_UP(at + name_size, (size_t)4);
	if (at > b->size || data_size > b->size - at)
		return ST_INVALID;
	file->data = b->base + at;
	file->size = data_size;
	*pos = ROUND_UP(at + data_size, (size_t)4);
	return ST_OK;
}

enum status bundle_find(const struct bundle *b, const char *name, struct bundle_file *file)
{
	size_t pos = 0;
	enum status st;

	while ((st = bundle_next(b, &pos, file)) == ST_OK)
		if (!strcmp(file->name, name))
			return ST_OK;
	return st;
}

// ---- VM descriptions ----

static const char *const type_names[] = {[VM_HVM] = "hvm", [VM_PV] = "pv"};
static const char *const action_names[] = {
	[VM_DESTROY] = "destroy",
	[VM_RESTART] = "restart",
	[VM_PRESERVE] = "preserve",
};

const char *vm_type_name(enum vm_type t)
{
	return (unsigned)t < ARRAY_SIZE(type_names) ? type_names[t] : "?";
}

const char *vm_action_name(enum vm_action a)
{
	return (unsigned)a < ARRAY_SIZE(action_names) ? action_names[a] : "?";
}

// Each getter leaves the default in place when the key is absent and fails when it is there but wrong.
static bool get_u64(struct json_value vm, const char *key, u64 min, u64 max, u64 *out)
{
	struct json_value v = json_member(vm, key);
	u64 n;

	if (json_kind(v) == JSON_ABSENT)
		return true;
	if (!json_u64(v, &n) || n < min || n > max)
		return false;
	*out = n;
	return true;
}

static bool get_u32(struct json_value vm, const char *key, u32 min, u32 max, u32 *out)
{
	u64 n = *out;

	if (!get_u64(vm, key, min, max, &n))
		return false;
	*out = (u32)n;
	return true;
}

// No NUL inside: what follows treats these as C strings.
static bool get_string(struct json_value vm, const char *key, char *buf, size_t size)
{
	struct json_value v = json_member(vm, key);

	if (json_kind(v) == JSON_ABSENT)
		return true;
	long n = json_string(v, buf, size);

	return n >= 0 && strlen(buf) == (size_t)n;
}

static bool get_choice(struct json_value vm, const char *key, const char *const *names, unsigned n, unsigned *out)
{
	struct json_value v = json_member(vm, key);

	if (json_kind(v) == JSON_ABSENT)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (json_string_is(v, names[i])) {
			*out = i;
			return true;
		}
	return false;
}

static bool get_action(struct json_value vm, const char *key, enum vm_action *out)
{
	unsigned choice = *out;

	if (!get_choice(vm, key, action_names, ARRAY_SIZE(action_names), &choice))
		return false;
	*out = (enum vm_action)choice;
	return true;
}

static const char *parse_cpu(struct json_value v, struct vm_config *vm)
{
	if (!get_u32(v, "vcpus", 1, 64, &vm->vcpus))
		return "vcpus";
	if (!get_u32(v, "cpu_weight", 1, TZ_WEIGHT_MAX, &vm->cpu_weight))
		return "cpu_weight";
	if (!get_u32(v, "cap", 0, TZ_CAP_MAX, &vm->cap))
		return "cap";
	return NULL;
}

static const char *parse_memory(struct json_value v, struct vm_config *vm)
{
	if (!get_u64(v, "memory", TZ_MEMORY_MIN, TZ_MEMORY_MAX, &vm->memory))
		return "memory";
	vm->maxmem = vm->memory;
	if (!get_u64(v, "maxmem", vm->memory, TZ_MEMORY_MAX, &vm->maxmem))
		return "maxmem";
	if (!get_u32(v, "tz_mem_shares", 1, 1000000, &vm->mem_shares))
		return "tz_mem_shares";
	if (!get_u64(v, "tz_mem_min", 0, vm->maxmem, &vm->mem_min))
		return "tz_mem_min";
	if (!get_string(v, "tz_share", vm->share_group, sizeof(vm->share_group)))
		return "tz_share";
	return NULL;
}

static const char *parse_actions(struct json_value v, struct vm_config *vm)
{
	if (!get_action(v, "on_poweroff", &vm->on_poweroff))
		return "on_poweroff";
	if (!get_action(v, "on_reboot", &vm->on_reboot))
		return "on_reboot";
	if (!get_action(v, "on_crash", &vm->on_crash))
		return "on_crash";
	return NULL;
}

// As VM files have them: what prefixes console lines and stands in commands.
static bool is_vm_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '/' || *c == '|')
			return false;
	return name[0];
}

const char *vm_config_unsupported(const struct vm_config *vm)
{
	if (vm->vcpus > 1)
		return "more than one virtual CPU is not supported by this version";
	return NULL;
}

const char *vm_config_parse(struct json_value v, struct vm_config *vm)
{
	unsigned type = VM_HVM;
	const char *wrong;

	memset(vm, 0, sizeof(*vm));
	vm->memory = TZ_MEMORY_DEFAULT;
	vm->vcpus = 1;
	vm->cpu_weight = TZ_WEIGHT_DEFAULT;
	vm->on_poweroff = VM_DESTROY;
	vm->on_reboot = VM_RESTART;
	vm->on_crash = VM_DESTROY;
	vm->mem_shares = TZ_MEM_SHARES_DEFAULT;
	if (json_kind(v) != JSON_OBJECT)
		return "no object";
	if (!get_string(v, "name", vm->name, sizeof(vm->name)) || !is_vm_name(vm->name))
		return "name";
	if (!get_choice(v, "type", type_names, ARRAY_SIZE(type_names), &type))
		return "type";
	vm->type = (enum vm_type)type;
	if (!get_string(v, "cmdline", vm->cmdline, sizeof(vm->cmdline)))
		return "cmdline";
	if (!get_string(v, "kernel", vm->kernel, sizeof(vm->kernel)) || !vm->kernel[0])
		return "kernel";
	if (!get_string(v, "ramdisk", vm->ramdisk, sizeof(vm->ramdisk)))
		return "ramdisk";
	wrong = parse_cpu(v, vm);
	if (!wrong)
		wrong = parse_memory(v, vm);
	return wrong ? wrong : parse_actions(v, vm);
}

static const char *check_files(const struct bundle *b, const struct vm_config *vm)
{
	struct bundle_file f;

	if (bundle_find(b, vm->kernel, &f) != ST_OK)
		return "kernel is not in the bundle";
	if (vm->ramdisk[0] && bundle_find(b, vm->ramdisk, &f) != ST_OK)
		return "ramdisk is not in the bundle";
	return NULL;
}

static bool name_taken(const struct bundle_vms *vms, const char *name)
{
	for (unsigned i = 0; i < vms->count; i++)
		if (!strcmp(vms->vm[i].name, name))
			return true;
	return false;
}

static const char *parse_vms(const struct bundle *b, struct bundle_vms *vms)
{
	struct bundle_file file;
	struct json_doc doc;

	if (bundle_find(b, TZ_BUNDLE_VMS, &file) != ST_OK)
		return "no " TZ_BUNDLE_VMS;
	if (file.size > TZ_VMS_JSON_MAX)
		return TZ_BUNDLE_VMS " is too large";
	if (!json_parse(&doc, (const char *)file.data, file.size, vms->token, BUNDLE_TOKENS))
		return TZ_BUNDLE_VMS " is no JSON";
	struct json_value array = json_root(&doc);

	if (json_kind(array) != JSON_ARRAY || !json_count(array))
		return TZ_BUNDLE_VMS " holds no VM";
	if (json_count(array) > TZ_VMS_MAX)
		return "too many VMs";
	for (unsigned i = 0; i < json_count(array); i++) {
		struct vm_config *vm = &vms->vm[i];
		const char *wrong = vm_config_parse(json_at(array, i), vm);

		if (!wrong)
			wrong = check_files(b, vm);
		if (!wrong && name_taken(vms, vm->name))
			wrong = "two VMs of one name";
		if (wrong)
			return wrong;
		vms->count++;
	}
	return NULL;
}

enum status bundle_vms(const struct bundle *b, struct bundle_vms *vms)
{
	vms->count = 0;
	vms->error = parse_vms(b, vms);
	return vms->error ? ST_INVALID : ST_OK;
}
