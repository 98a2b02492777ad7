// SPDX-License-Identifier: MIT
// Timers and the clock: set_timer_op, vcpu_op's timers, the clock in vcpu_info, and channel 2 of the PC's timer.
#include "tests/guests/pv/harness/pv.h"

#include "tests/guests/common/ports.h"
#include <xen/errno.h>

static void test_timer(void)
{
	struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = 1};
	struct evtchn_bind_virq b = {.virq = VIRQ_TIMER};
	unsigned before = events;

	check(!CALL(event_channel_op, EVTCHNOP_bind_virq, &b), "bind", 0);
	shared()->evtchn_mask[0] &= ~BIT(b.port);
	check(!CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t), "set", 0);
	check(!CALL(sched_op, SCHEDOP_block), "block", 0);
	check(events > before && (shared()->evtchn_pending[0] >> b.port & 1), "nothing came", events);
	t.flags = VCPU_SSHOTTMR_future;
	check(CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t) == -XEN_ETIME, "what is past", 0);
	check(!CALL(set_timer_op, ~0ull >> 1) && !CALL(set_timer_op, 0), "old call", 0);
	check(!CALL(event_channel_op, EVTCHNOP_close, &b.port), "close", 0);
}

// Channel 2 of the timer: what kernels calibrate by. 50 ms are 59659 of its ticks.
static void test_timer_channel(void)
{
	struct vcpu_time_info *t = &shared()->vcpu_info[0].time;
	struct physdev_set_iopl iopl = {1};
	u64 start, ticks;

	check(!CALL(physdev_op, PHYSDEVOP_set_iopl, &iopl), "level 1", 0);
	outb(0x61, (inb(0x61) & ~2u) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 59659 & 0xff);
	outb(0x42, 59659 >> 8);
	start = __builtin_ia32_rdtsc();
	check(!(inb(0x61) & 0x20), "its output at once", 0);
	while (!(inb(0x61) & 0x20) && __builtin_ia32_rdtsc() - start < 1ull << 34)
		;
	ticks = __builtin_ia32_rdtsc() - start;
	ticks = t->tsc_shift < 0 ? ticks >> -t->tsc_shift : ticks << t->tsc_shift;
	ticks = (u64)((unsigned __int128)ticks * t->tsc_to_system_mul >> 32); // ns
	check(ticks >= 49000000 && ticks < 5000000000, "50 ms by the machine's clock", ticks);
}

// Ticks of the processor as the guest is told to turn them into ns.
static u64 now(void)
{
	volatile struct vcpu_time_info *t = &shared()->vcpu_info[0].time;
	u64 ticks = __builtin_ia32_rdtsc() - t->tsc_timestamp;

	ticks = t->tsc_shift < 0 ? ticks >> -t->tsc_shift : ticks << t->tsc_shift;
	return t->system_time + (u64)((unsigned __int128)ticks * t->tsc_to_system_mul >> 32);
}

static void test_clock(void)
{
	u64 last = now();
	struct vcpu_set_singleshot_timer t = {.flags = VCPU_SSHOTTMR_future};

	check(!(shared()->vcpu_info[0].time.version & 1) && shared()->vcpu_info[0].time.tsc_to_system_mul, "the clock",
	      0);
	for (unsigned i = 0; i < 1000; i++) {
		u64 next = now();

		check(next >= last, "it goes back", last - next);
		last = next;
	}
	t.timeout_abs_ns = now() + 1000000000ull;
	check(!CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t) && !CALL(vcpu_op, VCPUOP_stop_singleshot_timer, 0),
	      "to come", 0);
	t.timeout_abs_ns = last - 1;
	check(CALL(vcpu_op, VCPUOP_set_singleshot_timer, 0, &t) == -XEN_ETIME, "past, by the same clock", 0);
	check(CALL(vcpu_op, VCPUOP_set_singleshot_timer, 1, &t) < 0, "of nobody", 0);
}

const struct pv_case cases[] = {
	{"timer", test_timer, false},
	{"timer-channel", test_timer_channel, false},
	{"clock", test_clock, false},
	{0},
};
