// SPDX-License-Identifier: MIT
// XSA-188: EVTCHNOP_init_control (FIFO event channels) with a control block that is none failed and left a pointer to freed memory, which
// EVTCHNOP_expand_array used. Here both are called in that order, with pages that are none and vCPUs that are not there: each must
// fail, no page stay in use, and events of two levels go on. The ABI is not offered, so a good control block is not tried.
#include "tests/guests/pv/harness/pv.h"

static void test_fifo(void)
{
	u64 *array = page(1);
	struct evtchn_init_control c = {.control_gfn = ~1ull};
	struct evtchn_expand_array a = {.array_gfn = mfn_of(array)};
	struct evtchn_set_priority p = {.port = 5, .priority = ~0u};
	u32 port;

	check(CALL(event_channel_op, EVTCHNOP_init_control, &c) < 0, "control block", 0);
	check(CALL(event_channel_op, EVTCHNOP_expand_array, &a) < 0, "array", 0);
	check(CALL(event_channel_op, EVTCHNOP_set_priority, &p) < 0, "priority", 0);
	c.control_gfn = a.array_gfn;
	c.vcpu = 1;
	check(CALL(event_channel_op, EVTCHNOP_init_control, &c) < 0, "a vCPU that is not there", 0);
	check(CALL(event_channel_op, EVTCHNOP_expand_array, &a) < 0, "array again", 0);
	check(!pin(array, 1) && !unpin(array), "the array's page is still in use", 0);
	shared()->evtchn_mask[0] = ~0ull;
	port = bind_ipi();
	check(!port_op(EVTCHNOP_send, port) && (shared()->evtchn_pending[0] >> port & 1), "events go on", port);
	check(!port_op(EVTCHNOP_close, port), "close", port);
}

const struct pv_case cases[] = {
	{"xsa-188-fifo", test_fifo, false},
	{0},
};
