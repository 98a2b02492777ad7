// SPDX-License-Identifier: MIT
// Order of the checks: the bytes (NUL), the syntax (libxlutil), the keys (unknown, repeated), the values, the files that
// they name, and last what only follows from several of them. The first thing that is wrong is reported.
#include "tools/vmfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxlutil.h>

#include "abi/bundle.h"
#include "tools/image.h"
#include "tools/pvkernel.h"
#include "tools/vmkeys.h"
#include "tools/vmscan.h"

struct reader {
	struct vm_file *vm;
	struct vmscan scan;
	XLU_Config *cfg;
	FILE *report; // libxlutil's complaints
	char *report_text;
	size_t report_len;
};

static bool wrong_at(struct reader *r, unsigned line, const char *key, const char *what)
{
	if (!key[0])
		return complain("%s:%u: %s", r->vm->path, line, what);
	return complain("%s:%u: %s: %s", r->vm->path, line, key, what);
}

// Line of the last assignment to a key, or 1 for a key that is missing.
static unsigned key_line(const struct reader *r, const char *key)
{
	unsigned line = 1;

	for (unsigned i = 0; i < r->scan.count; i++)
		if (!strcmp(r->scan.key[i].name, key))
			line = r->scan.key[i].line;
	return line;
}

static bool wrong(struct reader *r, const char *key, const char *fmt, ...) PRINTF(3, 4);
static bool wrong(struct reader *r, const char *key, const char *fmt, ...)
{
	char what[4096 + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return wrong_at(r, key_line(r, key), key, what);
}

// ---- syntax and keys ----

// libxlutil's first complaint reads "FILE:LINE: config parsing error near `...': text"; we need its line and its text.
static bool syntax_error(struct reader *r)
{
	const char *path = r->vm->path, *p;
	unsigned line = 1;

	fflush(r->report);
	p = r->report_text ? r->report_text : "";
	if (!strncmp(p, path, strlen(path)) && p[strlen(path)] == ':') {
		line = (unsigned)strtoul(p + strlen(path) + 1, (char **)&p, 10);
		p += strspn(p, ": ");
	}
	char *what = xprintf("%.*s", (int)strcspn(p, "\n"), p);

	for (char *c = what; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	wrong_at(r, line ? line : 1, vmscan_key_at(&r->scan, line), *what ? what : "syntax error");
	free(what);
	return false;
}

static bool parse_text(struct reader *r, const struct bytes *text)
{
	struct bytes ended = {0};
	int err;

	vmscan(&r->scan, text->data, text->len);
	if (r->scan.error)
		return wrong_at(r, r->scan.error_line, r->scan.error_key, r->scan.error);
	// libxlutil knows no comment without a newline behind it.
	bytes_add(&ended, text->data, text->len);
	bytes_add(&ended, "\n", 1);
	if (ended.len > INT32_MAX) {
		bytes_free(&ended);
		return wrong_at(r, 1, "", "too large");
	}
	err = xlu_cfg_readdata(r->cfg, ended.data, (int)ended.len);
	bytes_free(&ended);
	return err ? syntax_error(r) : true;
}

static bool check_keys(struct reader *r)
{
	for (unsigned i = 0; i < r->scan.count; i++) {
		const struct vmscan_key *k = &r->scan.key[i], *first = vmscan_find(&r->scan, k->name);

		if (vmkey_class(k->name) == VMKEY_UNKNOWN)
			return wrong_at(r, k->line, k->name, "unknown key");
		if (k->add && vmkey_class(k->name) == VMKEY_HONOURED && !vmkey_grows(k->name))
			return wrong_at(r, k->line, k->name, "'+=' adds to text and to lists, and this is neither");
		if (first != k && !k->add) {
			char what[64];

			snprintf(what, sizeof(what), "repeated (first on line %u)", first->line);
			return wrong_at(r, k->line, k->name, what);
		}
	}
	for (unsigned i = 0; i < r->scan.count; i++) {
		const struct vmscan_key *k = &r->scan.key[i];

		if (vmkey_class(k->name) == VMKEY_KNOWN)
			complain("%s:%u: %s: warning: not honoured by this version", r->vm->path, k->line, k->name);
	}
	return true;
}

// ---- values ----

// *out is NULL for an absent key.
static bool get_string(struct reader *r, const char *key, const char **out)
{
	*out = NULL;
	switch (xlu_cfg_get_string(r->cfg, key, out, 1)) {
	case 0:
	case ESRCH:
		return true;
	default:
		return wrong(r, key, "must be a string, not a list");
	}
}

// Leaves the default in place when the key is absent.
static bool get_number(struct reader *r, const char *key, u64 min, u64 max, u64 *out)
{
	const char *text;
	char *end;

	if (!get_string(r, key, &text))
		return false;
	if (!text)
		return true;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 0);

	if (!isdigit((unsigned char)text[0]) || *end)
		return wrong(r, key, "'%.40s' is no number", text);
	if (errno || n < min || n > max)
		return wrong(r, key, "%.40s is not between %llu and %llu", text, (unsigned long long)min,
			     (unsigned long long)max);
	*out = n;
	return true;
}

static bool get_number32(struct reader *r, const char *key, u32 min, u32 max, u32 *out)
{
	u64 n = *out;

	if (!get_number(r, key, min, max, &n))
		return false;
	*out = (u32)n;
	return true;
}

// MiB in the file, bytes in *out.
static bool get_mib(struct reader *r, const char *key, u64 min, u64 max, u64 *out)
{
	u64 n = *out / MIB;

	if (!get_number(r, key, min / MIB, max / MIB, &n))
		return false;
	*out = n * MIB;
	return true;
}

static bool get_name(struct reader *r)
{
	const char *name;

	if (!get_string(r, "name", &name))
		return false;
	if (!name)
		return wrong(r, "name", "missing");
	if (!name[0])
		return wrong(r, "name", "empty");
	if (strlen(name) > TZ_NAME_MAX)
		return wrong(r, "name", "longer than %d bytes", TZ_NAME_MAX);
	for (const char *c = name; *c; c++)
		if (!isgraph((unsigned char)*c) || *c == '/' || *c == '|')
			return wrong(r, "name", "only printable ASCII without blanks, '/' and '|'");
	r->vm->name = xstrdup(name);
	return true;
}

static bool get_type(struct reader *r)
{
	const char *type;

	if (!get_string(r, "type", &type))
		return false;
	if (!type || !strcmp(type, "hvm") || !strcmp(type, "pv")) {
		r->vm->type = type && !strcmp(type, "pv") ? "pv" : "hvm"; // the file is forgotten
		return true;
	}
	if (!strcmp(type, "pvh"))
		return wrong(r, "type", "\"pvh\" is not supported by this version");
	return wrong(r, "type", "'%.40s' is neither \"hvm\" nor \"pv\"", type);
}

static bool get_action(struct reader *r, const char *key, const char *fallback, const char **out)
{
	static const char *const ours[] = {"destroy", "restart", "preserve"};
	static const char *const xl[] = {"rename-restart", "coredump-destroy", "coredump-restart", "soft-reset"};
	const char *value;

	*out = fallback;
	if (!get_string(r, key, &value))
		return false;
	if (!value)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (!strcmp(value, ours[i])) {
			*out = ours[i];
			return true;
		}
	for (size_t i = 0; i < ARRAY_SIZE(xl); i++)
		if (!strcmp(value, xl[i]))
			return wrong(r, key, "\"%s\" is not supported by this version", value);
	return wrong(r, key, "'%.40s' is none of destroy, restart, preserve", value);
}

// xl's rule: cmdline alone, or "root=ROOT EXTRA".
static bool get_cmdline(struct reader *r)
{
	const char *cmdline, *root, *extra;

	if (!get_string(r, "cmdline", &cmdline) || !get_string(r, "root", &root) || !get_string(r, "extra", &extra))
		return false;
	if (cmdline) {
		if (root)
			complain("%s:%u: root: warning: ignored beside cmdline", r->vm->path, key_line(r, "root"));
		if (extra)
			complain("%s:%u: extra: warning: ignored beside cmdline", r->vm->path, key_line(r, "extra"));
		r->vm->cmdline = xstrdup(cmdline);
	} else if (root) {
		r->vm->cmdline = xprintf("root=%s%s%s", root, extra ? " " : "", extra ? extra : "");
	} else {
		r->vm->cmdline = xstrdup(extra ? extra : "");
	}
	if (strlen(r->vm->cmdline) > TZ_CMDLINE_MAX)
		return wrong(r, cmdline ? "cmdline" : extra ? "extra" : "root", "longer than %d bytes", TZ_CMDLINE_MAX);
	return true;
}

static bool get_cpu(struct reader *r)
{
	struct vm_file *vm = r->vm;

	vm->vcpus = 1;
	vm->cpu_weight = TZ_WEIGHT_DEFAULT;
	if (!get_number32(r, "vcpus", 1, 64, &vm->vcpus) ||
	    !get_number32(r, "cpu_weight", 1, TZ_WEIGHT_MAX, &vm->cpu_weight) ||
	    !get_number32(r, "cap", 0, TZ_CAP_MAX, &vm->cap))
		return false;
	if (vm->vcpus > 1)
		return wrong(r, "vcpus", "%u: more than one virtual CPU is not supported by this version", vm->vcpus);
	return true;
}

static bool get_share(struct reader *r)
{
	const char *share;

	if (!get_string(r, "tz_share", &share))
		return false;
	if (!share || !strcmp(share, "0"))
		share = "";
	else if (!share[0])
		return wrong(r, "tz_share", "neither 0, 1 nor a group's name");
	if (strlen(share) > TZ_GROUP_MAX)
		return wrong(r, "tz_share", "longer than %d bytes", TZ_GROUP_MAX);
	for (const char *c = share; *c; c++)
		if (!isgraph((unsigned char)*c))
			return wrong(r, "tz_share", "only printable ASCII without blanks");
	r->vm->share = xstrdup(share);
	return true;
}

static bool get_memory(struct reader *r, u64 machine_memory)
{
	struct vm_file *vm = r->vm;

	vm->memory = TZ_MEMORY_DEFAULT;
	vm->mem_shares = TZ_MEM_SHARES_DEFAULT;
	if (!get_mib(r, "memory", TZ_MEMORY_MIN, TZ_MEMORY_MAX, &vm->memory))
		return false;
	vm->memory_line = key_line(r, "memory");
	vm->maxmem = vm->memory;
	if (!get_mib(r, "maxmem", TZ_MEMORY_MIN, TZ_MEMORY_MAX, &vm->maxmem))
		return false;
	if (vm->maxmem < vm->memory)
		return wrong(r, "maxmem", "less than memory (%llu MiB)", (unsigned long long)(vm->memory / MIB));
	if (!get_mib(r, "tz_mem_min", 0, vm->memory, &vm->mem_min) ||
	    !get_number32(r, "tz_mem_shares", 1, 1000000, &vm->mem_shares))
		return false;
	if (vm->maxmem > machine_memory && vm->memory <= machine_memory)
		complain("%s:%u: maxmem: warning: %llu MiB are more than the machine's %llu MiB", r->vm->path, key_line(r, "maxmem"),
			 (unsigned long long)(vm->maxmem / MIB), (unsigned long long)(machine_memory / MIB));
	if (vm->memory > machine_memory)
		return wrong(r, "memory", "%llu MiB do not fit in the machine's %llu MiB (--memory)",
			     (unsigned long long)(vm->memory / MIB), (unsigned long long)(machine_memory / MIB));
	return true;
}

static bool get_serial(struct reader *r)
{
	XLU_ConfigList *list;
	const char *serial;

	if (!xlu_cfg_get_list(r->cfg, "serial", &list, NULL, 1)) {
		complain("%s:%u: serial: warning: only the first port's output is shown", r->vm->path,
			 key_line(r, "serial"));
		return true;
	}
	if (!get_string(r, "serial", &serial))
		return false;
	if (serial && strcmp(serial, "pty") && strcmp(serial, "stdio"))
		complain("%s:%u: serial: warning: the console is the host command's", r->vm->path,
			 key_line(r, "serial"));
	return true;
}

// ---- files ----

static bool get_blob(struct reader *r, const char *key, struct vm_blob *blob)
{
	const char *name;

	if (!get_string(r, key, &name))
		return false;
	if (!name)
		return true;
	if (!name[0])
		return wrong(r, key, "empty");
	blob->path = path_beside(r->vm->path, name);
	int err = read_file(blob->path, &blob->data);

	if (err)
		return wrong(r, key, "%s: %s", blob->path, err == ENOTSUP ? "No regular file" : strerror(err));
	if (!blob->data.len)
		return wrong(r, key, "%s: empty", blob->path);
	if (blob->data.len > UINT32_MAX)
		return wrong(r, key, "%s: too large", blob->path);
	return true;
}

static bool too_little(struct reader *r, u64 need)
{
	return wrong(r, "memory", "%llu MiB are too little: kernel and ramdisk alone take %llu MiB", (unsigned long long)(r->vm->memory / MIB),
		     (unsigned long long)((need + MIB - 1) / MIB));
}

static bool check_pv_kernel(struct reader *r)
{
	struct vm_file *vm = r->vm;
	u64 need;
	char *where = xprintf("%s:%u: kernel: %s", vm->path, key_line(r, "kernel"), vm->kernel.path);
	bool ok = pv_kernel_prepare(where, &vm->kernel.data, &need);

	free(where);
	if (!ok)
		return false;
	if (strlen(vm->cmdline) > TZ_PV_CMDLINE_MAX)
		return wrong(r, vmscan_find(&r->scan, "cmdline") ? "cmdline" : "extra", "longer than the %u bytes that a paravirtual kernel takes",
			     TZ_PV_CMDLINE_MAX);
	need += vm->ramdisk.data.len;
	return need <= vm->memory || too_little(r, need);
}

static bool check_kernel(struct reader *r)
{
	struct vm_file *vm = r->vm;
	struct image img;

	image_inspect(&img, (const u8 *)vm->kernel.data.data, vm->kernel.data.len);
	if (img.wrong)
		return wrong(r, "kernel", "%s: %s", vm->kernel.path, img.wrong);
	if (img.cmdline_max && strlen(vm->cmdline) > img.cmdline_max)
		return wrong(r, vmscan_find(&r->scan, "cmdline") ? "cmdline" : vmscan_find(&r->scan, "extra") ? "extra" : "root",
			     "longer than the %u bytes that this kernel takes", img.cmdline_max);
	// Certain only: a PC's memory loses 384 KiB below 1 MiB, and neither may overlap the other.
	u64 file = img.kind == IMAGE_BZIMAGE ? vm->kernel.data.len : 0; // of an ELF file only the segments count
	u64 need = MAX(MAX(img.run_bytes, file) + vm->ramdisk.data.len + 384 * KIB, img.run_end);

	return need <= vm->memory || too_little(r, need);
}

static bool read_values(struct reader *r, u64 machine_memory)
{
	struct vm_file *vm = r->vm;

	if (!get_name(r) || !get_type(r) || !get_cmdline(r) || !get_cpu(r) || !get_memory(r, machine_memory) ||
	    !get_share(r) || !get_serial(r))
		return false;
	if (!get_action(r, "on_poweroff", "destroy", &vm->on_poweroff) ||
	    !get_action(r, "on_reboot", "restart", &vm->on_reboot) ||
	    !get_action(r, "on_crash", "destroy", &vm->on_crash))
		return false;
	if (!get_blob(r, "kernel", &vm->kernel))
		return false;
	if (!vm->kernel.path)
		return wrong(r, "kernel", "missing");
	return get_blob(r, "ramdisk", &vm->ramdisk) &&
	       (strcmp(vm->type, "pv") ? check_kernel(r) : check_pv_kernel(r));
}

bool vm_file_load(struct vm_file *vm, const char *path, u64 machine_memory)
{
	struct reader *r = xalloc(sizeof(*r));
	struct bytes text = {0};
	bool ok = false;

	*vm = (struct vm_file){.path = path};
	r->vm = vm;
	int err = read_file(path, &text);

	if (err) {
		complain("%s: %s", path, err == ENOTSUP ? "No regular file" : strerror(err));
	} else {
		r->report = open_memstream(&r->report_text, &r->report_len);
		r->cfg = r->report ? xlu_cfg_init(r->report, path) : NULL;
		if (!r->cfg)
			complain("out of memory");
		else
			ok = parse_text(r, &text) && check_keys(r) && read_values(r, machine_memory);
		if (r->cfg)
			xlu_cfg_destroy(r->cfg);
		if (r->report)
			fclose(r->report);
		free(r->report_text);
	}
	bytes_free(&text);
	free(r);
	return ok;
}

void vm_file_free(struct vm_file *vm)
{
	free(vm->name);
	free(vm->cmdline);
	free(vm->share);
	free(vm->kernel.path);
	free(vm->ramdisk.path);
	bytes_free(&vm->kernel.data);
	bytes_free(&vm->ramdisk.data);
}
