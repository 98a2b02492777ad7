// SPDX-License-Identifier: MIT
// Where QEMU 7.2's TCG departs from the manual, or the manual leaves the choice.
#include "tests/diff/emul_system.h"

#include <string.h>

#define QUIRK(name) static bool name(const char *group, const struct sys_case *c, struct outcome *m, struct outcome *e)

// Takes the machine's value as the emulator's.
static void accept(struct outcome *m, struct outcome *e, unsigned field)
{
	e->f[field] = m->f[field];
}

QUIRK(no_rf)
{
	bool is = (e->f[O_flags] ^ m->f[O_flags]) == RFL_RF && (e->f[O_flags] & RFL_RF);

	if (is)
		accept(m, e, O_flags);
	return is;
}

const struct quirk quirks[] = {
	{"RF in frames", "exceptions of the fault class push RFLAGS without RF", 30000, no_rf},
};
const unsigned quirk_count = ARRAY_SIZE(quirks);
