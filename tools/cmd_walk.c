// SPDX-License-Identifier: MIT
// trapeze walk VM ADDRESS: each step of an address, VPN -> PPN by the guest's tables, PPN -> MPN by the P2M, VPN -> MPN by the shadow
// that the machine walks, with the flags of every entry.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/bundle.h"
#include "base/x86.h"
#include "tools/client.h"

// Set where a shadow entry stands for an absent one of the guest (docs/design/crossings.md).
#define MARKER_BIT BIT(51)

static u64 hex(struct json_value object, const char *key)
{
	char text[32];
	unsigned long long n = 0;

	client_string(object, key, text, sizeof(text));
	sscanf(text, "%llx", &n);
	return n;
}

static bool is_null(struct json_value object, const char *key)
{
	return json_kind(json_member(object, key)) != JSON_STRING;
}

static const char *flags(u64 e, unsigned level, unsigned levels, char *buf, size_t size)
{
	static const struct {
		u64 bit;
		const char *name;
	} names[] = {{PTE_P, "P"}, {PTE_W, "W"}, {PTE_U, "U"}, {PTE_PWT, "PWT"}, {PTE_PCD, "PCD"}, {PTE_A, "A"},
		     {PTE_D, "D"}, {PTE_G, "G"}, {PTE_NX, "NX"}};
	size_t n = 0;

	buf[0] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (e & names[i].bit)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? " " : "", names[i].name);
	if (level > 1 && level < 4 && (level < 3 || levels == 4) && (e & PTE_PS))
		n += (size_t)snprintf(buf + n, size - n, " %s", level == 3 ? "1G" : levels == 2 ? "4M" : "2M");
	if (!e)
		snprintf(buf, size, "-");
	return buf;
}

// Of the guest's tables; the shadow's are the machine's.
static unsigned levels_of(struct json_value steps)
{
	return json_count(steps) ? (unsigned)client_u64(json_at(steps, 0), "level") : 0;
}

static void guest_table(struct json_value steps)
{
	char text[64];

	printf("guest's tables (VPN -> PPN)\n%7s %5s %12s %12s  %-18s  %s\n", "level", "slot", "table PPN", "table MPN", "entry",
	       "flags");
	for (unsigned i = 0; i < json_count(steps); i++) {
		struct json_value s = json_at(steps, i);
		unsigned level = (unsigned)client_u64(s, "level");

		printf("%7u %5llu %#12llx ", level, (unsigned long long)client_u64(s, "slot"), (unsigned long long)hex(s, "ppn"));
		if (is_null(s, "mpn"))
			printf("%12s  no memory there\n", "-");
		else
			printf("%#12llx  0x%016llx  %s\n", (unsigned long long)hex(s, "mpn"), (unsigned long long)hex(s, "entry"),
			       flags(hex(s, "entry"), level, levels_of(steps), text, sizeof(text)));
	}
}

static void shadow_table(struct json_value steps)
{
	char text[64];

	printf("shadow tables (VPN -> MPN)\n%7s %5s %12s %12s  %-18s  %s\n", "level", "slot", "", "table MPN", "entry", "flags");
	for (unsigned i = 0; i < json_count(steps); i++) {
		struct json_value s = json_at(steps, i);
		unsigned level = (unsigned)client_u64(s, "level");
		u64 e = hex(s, "entry");

		printf("%7u %5llu %12s %#12llx  0x%016llx  %s\n", level, (unsigned long long)client_u64(s, "slot"), "",
		       (unsigned long long)hex(s, "mpn"), (unsigned long long)e,
		       (e & MARKER_BIT) ? "marker: the guest's own fault" : flags(e, level, 4, text, sizeof(text)));
	}
}

// The machine frame that the shadow maps the address to; false if to none.
static bool shadow_mpn(struct json_value steps, u64 address, u64 *mpn)
{
	unsigned n = json_count(steps);
	struct json_value last = json_at(steps, n ? n - 1 : 0);
	unsigned level = (unsigned)client_u64(last, "level");
	u64 e = n ? hex(last, "entry") : 0;

	if (!(e & PTE_P) || (e & MARKER_BIT) || level < 1 || (level > 1 && !(e & PTE_PS)))
		return false;
	*mpn = (e & PTE_ADDR) >> PAGE_SHIFT;
	if (level > 1)
		*mpn |= (address >> PAGE_SHIFT) & (BIT(9 * (level - 1)) - 1);
	return true;
}

static void conclude(struct json_value walk, u64 address)
{
	struct json_value p2m = json_member(walk, "p2m");
	u64 shadow = 0;
	bool filled = shadow_mpn(json_member(walk, "shadow"), address, &shadow), gate;

	if (json_bool(json_member(walk, "gate"), &gate) && gate)
		printf("the gate's slot: the shadow maps the hypervisor's own pages here, the guest's accesses are emulated\n");
	if (json_kind(p2m) == JSON_ABSENT) {
		printf("VPN %#llx is not mapped by the guest\n", (unsigned long long)hex(walk, "vpn"));
		return;
	}
	printf("VPN %#llx -> PPN %#llx -> ", (unsigned long long)hex(walk, "vpn"), (unsigned long long)hex(p2m, "ppn"));
	if (is_null(p2m, "mpn"))
		printf("no memory: a device's, or nothing\n");
	else if (json_kind(json_member(walk, "shadow")) == JSON_ABSENT)
		printf("MPN %#llx; not in long mode: emulated, without a shadow\n", (unsigned long long)hex(p2m, "mpn"));
	else if (!filled)
		printf("MPN %#llx; the shadow has no entry (yet)\n", (unsigned long long)hex(p2m, "mpn"));
	else
		printf("MPN %#llx; the shadow %s\n", (unsigned long long)hex(p2m, "mpn"),
		       shadow == hex(p2m, "mpn") ? "agrees" : "DIFFERS");
	printf("guest-physical address %#llx\n", (unsigned long long)hex(p2m, "gpa"));
}

static void mode(struct json_value walk)
{
	static const char *const bits[] = {"wp", "nx", "smep", "smap"};
	bool on;

	printf("CR3 %#llx", (unsigned long long)hex(walk, "cr3"));
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (json_bool(json_member(walk, bits[i]), &on) && on)
			printf(" %s", bits[i]);
	if (json_bool(json_member(walk, "paging"), &on) && !on)
		printf("; paging is off: VPN is PPN");
	putchar('\n');
}

static bool parse_address(const char *text, u64 *out)
{
	char *end;
	bool base16 = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = text + (base16 ? 2 : 0);

	if (!*digits || strspn(digits, base16 ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
		return false;
	errno = 0;
	*out = strtoull(digits, &end, base16 ? 16 : 10);
	return !errno && !*end;
}

int cmd_walk(const struct verb *v, int argc, char **argv)
{
	char name[TZ_NAME_MAX + 1], params[TZ_NAME_MAX * 6 + 128];
	struct client c;
	struct json_value walk;
	struct json_out j;
	u64 address;
	int status = client_options(&c, v, argc, argv);

	if (status >= 0)
		return status;
	if (!parse_address(c.arg[1], &address)) {
		complain("walk: '%s' is no address: a number of 64 bits, decimal or after 0x hexadecimal", c.arg[1]);
		return EXIT_USAGE;
	}
	json_init(&j, params, sizeof(params));
	json_object(&j);
	json_kv_string(&j, "vm", client_vm(&c, c.arg[0], name, sizeof(name)));
	json_kv_hex(&j, "address", address);
	json_object_end(&j);
	status = EXIT_FAILED;
	if (j.overflow) {
		complain("no VM of that name");
	} else if (client_call_params(&c, "walk", params, j.len, &walk)) {
		mode(walk);
		if (json_count(json_member(walk, "guest"))) {
			guest_table(json_member(walk, "guest"));
			if (json_count(json_member(walk, "shadow")))
				shadow_table(json_member(walk, "shadow"));
		}
		conclude(walk, address);
		status = EXIT_OK;
	}
	client_free(&c);
	return status;
}
