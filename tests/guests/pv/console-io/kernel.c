// SPDX-License-Identifier: MIT
// console_io: lines to the console, of any length and from anywhere.
#include "tests/guests/pv/harness/pv.h"

static void test_console(void)
{
	char *end = (char *)(page(1) + 512); // up to a page that is not there

	check(!remap(page(2), 0), "no page behind it", 0);
	memcpy(end - 8, "written\n", 8);
	check(!CALL(console_io, CONSOLEIO_write, 8, end - 8) && !CALL(console_io, CONSOLEIO_write, 0, end), "write", 0);
	check(CALL(console_io, CONSOLEIO_write, 1, end) < 0 && CALL(console_io, CONSOLEIO_write, ~0u, end) < 0,
	      "what is not there", 0);
	for (unsigned i = 1; i < NOT_OURS; i++)
		check(CALL(console_io, CONSOLEIO_write, 64, not_ours[i]) < 0, "elsewhere", not_ours[i]);
	check(CALL(console_io, CONSOLEIO_read, 8, end - 8) >= 0 && CALL(console_io, 9, 8, end - 8) < 0, "operation", 0);
}

const struct pv_case cases[] = {
	{"console-io", test_console, false},
	{0},
};
