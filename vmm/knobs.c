// SPDX-License-Identifier: MIT
#include "vmm/knobs.h"

#include "base/string.h"
#include "machine/boot/boot_info.h"

#ifdef TRAPEZE_DEBUG
#define COUNT_BY_DEFAULT 1
#else
#define COUNT_BY_DEFAULT 0
#endif

struct vmm_knobs vmm_knobs;

static const struct {
	const char *key;
	u64 *value, unset;
} knobs[] = {
	{"bt.limit", &vmm_knobs.block_limit, 0},
	{"bt.count", &vmm_knobs.count_instructions, COUNT_BY_DEFAULT},
	{"bt.compare", &vmm_knobs.compare, 0},
	{"bt.compare_from", &vmm_knobs.compare_from, 0},
	{"bt.compare_user", &vmm_knobs.compare_user, 0},
	{"bt.plant", &vmm_knobs.plant, 0},
	{"bt.cache", &vmm_knobs.cache, KNOB_UNSET},
	{"check", &vmm_knobs.check, 0},
	{"mmu.stress", &vmm_knobs.stress, 0},
	{"mmu.audit", &vmm_knobs.audit, 0},
	{"mmu.markers", &vmm_knobs.markers, 1},
	{"mmu.prefetch", &vmm_knobs.prefetch, 1},
	{"mmu.rows", &vmm_knobs.rows, 1},
	{"cpu.x2apic", &vmm_knobs.x2apic, 0},
	{"cpu.pcid", &vmm_knobs.pcid, 0},
	{"pv.audit", &vmm_knobs.pv_audit, 0},
	{"pv.fast", &vmm_knobs.pv_fast, 1},
};

// Read by others: machine/boot/start.c, com1.c, selftest.c.
static const char *const others[] = {"control", "console", "selftest"};

static bool is_key(const char *word, size_t length, const char *key)
{
	return strlen(key) == length && !strncmp(word, key, length);
}

static bool number(const char *digits, size_t n, u64 *out)
{
	u64 value = 0;

	if (!n || n > 19)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return false;
		value = value * 10 + (u64)(digits[i] - '0');
	}
	*out = value;
	return true;
}

static bool set(const char *word, size_t n)
{
	size_t key = 0;

	while (key < n && word[key] != '=')
		key++;
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		if (is_key(word, key, others[i]))
			return true;
	for (unsigned i = 0; i < ARRAY_SIZE(knobs); i++)
		if (is_key(word, key, knobs[i].key))
			return number(word + key + 1, n > key ? n - key - 1 : 0, knobs[i].value);
	return false;
}

bool knobs_read(const struct boot_info *bi, char *wrong, size_t size)
{
	const char *p = bi->cmdline;

	for (unsigned i = 0; i < ARRAY_SIZE(knobs); i++)
		*knobs[i].value = knobs[i].unset;
	for (;;) {
		size_t n = 0;

		while (*p == ' ')
			p++;
		while (p[n] && p[n] != ' ')
			n++;
		if (!n)
			return true;
		if (!set(p, n)) {
			n = MIN(n, size - 1);
			memcpy(wrong, p, n);
			wrong[n] = 0;
			return false;
		}
		p += n;
	}
}
