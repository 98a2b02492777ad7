// SPDX-License-Identifier: MIT
// XSA-122: texts of xen_version were put into a buffer on the hypervisor's stack that was not cleared, and all of it was given to the guest:
// what is behind the text was whatever had been there. Each text must be followed by zeroes up to the end of its buffer, and
// nothing be written behind that; so must each of the four of XENVER_compile_info.
#include "tests/guests/pv/harness/pv.h"

static void test_version_texts(void)
{
	static const struct {
		u8 cmd;
		u16 size;
	} text[] = {{XENVER_extraversion, 16},
		    {XENVER_capabilities, 1024},
		    {XENVER_changeset, 64},
		    {XENVER_commandline, 1024},
		    {XENVER_guest_handle, 16}};
	u8 *to = (u8 *)page(1);

	for (unsigned i = 0; i < ARRAY_SIZE(text); i++) {
		memset(to, 0xa5, PAGE_SIZE);
		if (CALL(xen_version, text[i].cmd, to) < 0)
			continue;
		for (u64 n = strlen((char *)to); n < text[i].size; n++)
			if (!check(!to[n], "a byte behind the text", text[i].cmd))
				break;
		check(to[text[i].size] == 0xa5, "more than the buffer is written", text[i].cmd);
	}
}

static void check_tail(const char *s, unsigned size)
{
	unsigned n = 0;

	while (n < size && s[n])
		n++;
	check(n < size, "no end", size);
	for (; n < size; n++)
		if (!check(!s[n], "a byte behind the text", (u8)s[n]))
			break;
}

static void test_compile_info(void)
{
	struct xen_compile_info *info = (struct xen_compile_info *)page(1);

	memset(info, 0xa5, PAGE_SIZE);
	check(!CALL(xen_version, XENVER_compile_info, info), "call", 0);
	check_tail(info->compiler, sizeof(info->compiler));
	check_tail(info->compile_by, sizeof(info->compile_by));
	check_tail(info->compile_domain, sizeof(info->compile_domain));
	check_tail(info->compile_date, sizeof(info->compile_date));
	check(*(u8 *)(info + 1) == 0xa5, "more than the buffer is written", 0);
}

const struct pv_case cases[] = {
	{"xsa-122-version-texts", test_version_texts, false},
	{"xsa-122-compile-info", test_compile_info, false},
	{0},
};
