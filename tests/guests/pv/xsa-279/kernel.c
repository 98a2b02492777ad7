// SPDX-License-Identifier: MIT
// XSA-279: addresses to flush went to INVPCID, which faults, in the hypervisor, on those that are no addresses, where INVLPG does not. Here each
// call that flushes is made with such addresses, by itself (which the gate serves) and in lists; good ones must flush all the same.
#include "tests/guests/pv/harness/pv.h"

static s64 flush_list(unsigned cmd, u64 address)
{
	struct mmuext_op op[2] = {{.cmd = cmd}, {.cmd = cmd}};
	u64 mask = 1;

	for (unsigned i = 0; i < 2; i++) {
		op[i].arg1.linear_addr = address;
		if (cmd == MMUEXT_INVLPG_MULTI)
			op[i].arg2.vcpumask.p = (void *)&mask;
	}
	return CALL(mmuext_op, op, 2, 0, DOMID_SELF);
}

static void test_invlpg(void)
{
	u64 mask = 1;

	for (unsigned i = 0; i < 32; i++) {
		u64 bad[] = {0x800000000000ull << (i & 15), ~0x800000000000ull - i, ~0ull << i};

		for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
			check(!ext(MMUEXT_INVLPG_LOCAL, bad[n], 0) && !flush_list(MMUEXT_INVLPG_LOCAL, bad[n]),
			      "INVLPG", bad[n]);
			check(!ext(MMUEXT_INVLPG_ALL, bad[n], 0) && !flush_list(MMUEXT_INVLPG_ALL, bad[n]), "of all",
			      bad[n]);
			check(!ext(MMUEXT_INVLPG_MULTI, bad[n], (u64)&mask) && !flush_list(MMUEXT_INVLPG_MULTI, bad[n]),
			      "of some", bad[n]);
		}
		for (unsigned n = 0; n < 2; n++)
			check(CALL(update_va_mapping, bad[n], 0, UVMF_INVLPG | UVMF_LOCAL) < 0 &&
				      CALL(update_va_mapping, bad[n], 0, UVMF_INVLPG | UVMF_ALL) < 0,
			      "update_va_mapping", bad[n]);
	}
}

// An entry that has changed without a flush is used once it is flushed.
static void test_flush(void)
{
	static const unsigned how[] = {MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_MULTI};
	volatile u64 *at = page(1);
	u64 *a = page(2), *b = page(3);

	a[0] = 1, b[0] = 2;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(how); i++) {
		u64 *to = i & 1 ? a : b;

		check(!CALL(update_va_mapping, at, leaf(to, KERNEL_RW), 0), "map", i);
		check(!flush_list(how[i / 2], (u64)at) && at[0] == to[0], "what was there before", i);
	}
	check(!remap((void *)at, KERNEL_RW), "as it was", 0);
}

const struct pv_case cases[] = {
	{"xsa-279-invlpg", test_invlpg, false},
	{"xsa-279-flush", test_flush, false},
	{0},
};
