// SPDX-License-Identifier: MIT
// The host side of the system-instruction cases: runs a case with the emulator, and knows where QEMU departs from the manual.
#ifndef TESTS_DIFF_EMUL_SYSTEM_H
#define TESTS_DIFF_EMUL_SYSTEM_H

#include "core/emul/emul.h"
#include "tests/guests/sysinsn/cases.h"

enum case_end {
	CASE_STOPPED,     // in a stub: the outcome is complete
	CASE_UNSUPPORTED, // the emulator does not cover the instruction
	CASE_LOST,        // triple fault, halt, or no end
};

// The machine's CPUID as the test kernel printed it.
struct cpuid_row {
	u32 leaf, out[4];
};

struct system_run {
	const struct cpuid_row *cpuid;
	unsigned cpuid_rows;
	unsigned plant;   // 0: none
	bool guest;       // the machine is one of the hypervisor's
	u16 unsupported;  // mnemonic
	const char *lost; // how it ended
};

#define PLANTS 6

enum case_end system_run(struct system_run *r, const struct sys_case *c, struct outcome *o);

// Word of the world that cases start from.
u64 system_pristine(u64 at);

// A known difference: when it applies, it brings both outcomes to the same in what it explains and says so.
struct quirk {
	const char *name, *reason;
	unsigned most; // cases that it may explain
	bool (*apply)(const char *group, const struct sys_case *c, struct outcome *machine, struct outcome *emulator);
};
extern const struct quirk quirks[];
extern const unsigned quirk_count;
// Where the hypervisor does.
extern const struct quirk guest_quirks[];
extern const unsigned guest_quirk_count;

#endif
