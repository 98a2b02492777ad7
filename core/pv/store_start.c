// SPDX-License-Identifier: MIT
// The nodes that xl makes for a paravirtual guest (docs/misc/xenstore-paths of Xen's), as far as they say something here. Its home is
// readable to the guest, and a few nodes are its own.
#include "core/pv/store.h"

#include "base/fmt.h"

#define VM_PATH "/vm/00000000-0000-0000-0000-000000000000" // as XENVER_guest_handle has it

static enum status number(struct pv_store *s, const char *path, u64 value)
{
	char text[24];

	fmt_snprintf(text, sizeof(text), "%lu", (unsigned long)value);
	return pv_store_write(s, path, text);
}

static enum status texts(struct pv_store *s, const struct pv_store_start *start)
{
	const struct {
		const char *path, *value;
	} node[] = {
		{"vm", VM_PATH},
		{VM_PATH "/name", start->name},
		{VM_PATH "/uuid", VM_PATH + 4},
		{"name", start->name},
		{"device", ""},
		{"control/platform-feature-multiprocessor-suspend", "1"},
		{"control/platform-feature-xs_reset_watches", "1"},
		{"console/type", "xenconsoled"},
	};
	enum status st = pv_store_write(s, VM_PATH, "");

	st = st == ST_OK ? pv_store_show(s, VM_PATH) : st;
	for (unsigned i = 0; i < ARRAY_SIZE(node) && st == ST_OK; i++)
		st = pv_store_write(s, node[i].path, node[i].value);
	return st;
}

static enum status numbers(struct pv_store *s, const struct pv_store_start *start)
{
	const struct {
		const char *path;
		u64 value;
	} node[] = {
		{"domid", s->dom},
		{"memory/static-max", start->maximum_kib},
		{"memory/target", start->memory_kib},
		{"store/ring-ref", start->store_mpn},
		{"store/port", start->store_port},
		{"console/ring-ref", start->console_mpn},
		{"console/port", start->console_port},
	};
	enum status st = ST_OK;

	for (unsigned i = 0; i < ARRAY_SIZE(node) && st == ST_OK; i++)
		st = number(s, node[i].path, node[i].value);
	return st;
}

static enum status processors(struct pv_store *s, unsigned vcpus)
{
	enum status st = ST_OK;
	char path[40];

	for (unsigned i = 0; i < vcpus && st == ST_OK; i++) {
		fmt_snprintf(path, sizeof(path), "cpu/%u/availability", i);
		st = pv_store_write(s, path, "online");
	}
	return st;
}

// What the guest answers to requests by, and where its tools leave word.
static enum status guests_own(struct pv_store *s)
{
	static const char *const path[] = {
		"control/shutdown", "control/sysrq", "control/feature-poweroff", "control/feature-reboot", "control/feature-suspend",
		"data",		    "drivers",	     "feature",			 "attr",		   "error",
	};
	enum status st = ST_OK;

	for (unsigned i = 0; i < ARRAY_SIZE(path) && st == ST_OK; i++) {
		st = pv_store_write(s, path[i], "");
		if (st == ST_OK)
			st = pv_store_give(s, path[i]);
	}
	return st;
}

enum status pv_store_start(struct pv_store *s, const struct pv_store_start *start)
{
	enum status st = texts(s, start);

	st = st == ST_OK ? numbers(s, start) : st;
	st = st == ST_OK ? processors(s, start->vcpus) : st;
	return st == ST_OK ? guests_own(s) : st;
}
