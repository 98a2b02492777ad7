// SPDX-License-Identifier: MIT
#include "tests/guests/pv/harness/pv.h"

u32 bind_ipi(void)
{
	struct evtchn_bind_ipi b = {0};

	check(!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b), "bind", 0);
	return b.port;
}

s64 port_op(unsigned cmd, u32 port)
{
	return CALL(event_channel_op, cmd, &port);
}
