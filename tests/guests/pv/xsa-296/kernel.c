// SPDX-License-Identifier: MIT
// XSA-296: VCPUOP_initialise of a vCPU whose tables are still to be validated, with an event pending, had to stop and go on later; what was
// to be kept for that was written in a way that ended the machine. Here it is called with contexts of any kind, good tables and an event
// pending among them; and a call that is too long for one go goes on with an event pending, by itself and in a list of calls.
#include "tests/guests/pv/harness/pv.h"

static void test_initialise(void)
{
	u64 *context = page(1);

	memset(context, 0xff, PAGE_SIZE);
	for (unsigned v = 0; v < 70; v++)
		check(CALL(vcpu_op, VCPUOP_initialise, v, context) < 0 &&
			      CALL(vcpu_op, VCPUOP_initialise, v, ~0ull - 4095) < 0,
		      "initialise", v);
	for (unsigned cmd = 0; cmd < 32; cmd++)
		check(CALL(vcpu_op, cmd, ~0u, context) < 0, "a vCPU without end", cmd);
}

// A context that is as it should be, but that its vCPU is not there, or runs.
static void test_initialise_pending(void)
{
	struct vcpu_guest_context *c = (void *)page(1); // and the page behind it
	u64 *l4 = page(4);

	_Static_assert(sizeof(*c) <= 2 * PAGE_SIZE, "two pages");
	(void)page(2);
	c->flags = VGCF_in_kernel;
	c->user_regs.cs = FLAT_KERNEL_CS64;
	c->user_regs.ss = FLAT_KERNEL_SS64;
	c->ctrlreg[3] = mfn_of(l4) << PAGE_SHIFT;
	check(!remap(l4, KERNEL_RO), "table", 0);
	for (unsigned v = 0; v < 3; v++) {
		shared()->vcpu_info[0].evtchn_upcall_mask = 0;
		shared()->vcpu_info[0].evtchn_upcall_pending = 1;
		check(CALL(vcpu_op, VCPUOP_initialise, v, c) < 0, "initialise", v);
	}
	check(!remap(l4, KERNEL_RW), "its table is in use", 0);
}

#define TABLES 24 // of 512 entries: more than one go
#define FIRST 10

// The pins of TABLES tables, one of which may not be.
static s64 pin_all(struct mmuext_op *op, unsigned *done, bool in_list)
{
	struct multicall_entry e = {.op = __HYPERVISOR_mmuext_op, .args = {(u64)op, TABLES, (u64)done, DOMID_SELF}};

	shared()->vcpu_info[0].evtchn_upcall_mask = 0;
	shared()->vcpu_info[0].evtchn_upcall_pending = 1;
	if (!in_list)
		return CALL(mmuext_op, op, TABLES, done, DOMID_SELF);
	check(!CALL(multicall, &e, 1), "list", 0);
	return (s64)e.result;
}

static void test_continued(void)
{
	static struct mmuext_op op[TABLES];
	u64 entry = leaf(page(1), KERNEL_RO), last;

	for (unsigned t = 0; t < TABLES; t++) {
		u64 *l1 = page(FIRST + t);

		for (unsigned i = 0; i < 512; i++)
			l1[i] = entry;
		op[t].cmd = MMUEXT_PIN_L1_TABLE;
		op[t].arg1.mfn = mfn_of(l1);
		check(!remap(l1, KERNEL_RO), "read-only", t);
	}
	last = op[TABLES - 2].arg1.mfn;
	for (unsigned in_list = 0; in_list < 2; in_list++) {
		unsigned done = 77, before = events;

		check(!pin_all(op, &done, in_list) && done == TABLES, "pins", done);
		check(events > before, "the event", in_list);
		for (unsigned t = 0; t < TABLES; t++)
			check(!ext(MMUEXT_UNPIN_TABLE, op[t].arg1.mfn, 0), "unpin", t);
		op[TABLES - 2].arg1.mfn = mfn_of(page(1)); // mapped writable
		check(pin_all(op, &done, in_list) < 0 && done == TABLES - 2, "one that may not be", done);
		for (unsigned t = 0; t < TABLES; t++)
			check(!ext(MMUEXT_UNPIN_TABLE, op[t].arg1.mfn, 0) == (t < TABLES - 2), "as many as were done",
			      t);
		op[TABLES - 2].arg1.mfn = last;
	}
}

const struct pv_case cases[] = {
	{"xsa-296-vcpu", test_initialise, false},
	{"xsa-296-pending", test_initialise_pending, false},
	{"xsa-296-continued", test_continued, false},
	{0},
};
