// SPDX-License-Identifier: MIT
// Debug registers. The hypervisor's world has none on: the guest's are loaded before each entry and switched off at each
// exit, which costs nothing while no breakpoint is on. Never loaded: breakpoints on our slots (the gate runs in ring 0), on
// ports (ours are accessed in ring 0 too), and general detect (it would stop us; the emulator does it for the guest).
#include "vmm/vm.h"

#include "machine/cpu/cpu.h"

#define DR7_OFF 0x400ull
#define DR7_ENABLE(n) (3ull << ((n)*2))
#define DR7_CONDITION(dr7, n) ((dr7) >> (16 + (n)*4) & 3)
#define DR7_FIELDS(n) (15ull << (16 + (n)*4))
#define DR7_ANY 0xffull
#define DR7_GD BIT(13)
#define CONDITION_IO 2
#define DR6_CLEAR 0xffff0ff0ull
#define DR6_EVENTS 0xe00full // B0 to B3, BD, BS, BT
#define DR6_HITS 0xfull
#define LAST_OWN_SLOT 272    // machine/mm/layout.h

// An aligned breakpoint of at most 8 bytes does not cross a slot's end.
static bool on_our_slots(u64 va)
{
	unsigned slot = (va >> 39) & 511;

	return slot >= GATE_SLOT && slot <= LAST_OWN_SLOT;
}

void debug_written(struct vcpu *v)
{
	u64 dr7 = v->cpu.dr[7] & ~DR7_GD;

	for (unsigned n = 0; n < 4; n++)
		if (on_our_slots(v->cpu.dr[n] & ~7ull) || DR7_CONDITION(dr7, n) == CONDITION_IO)
			dr7 &= ~(DR7_ENABLE(n) | DR7_FIELDS(n));
	v->machine_dr7 = dr7 & DR7_ANY ? dr7 : 0;
}

void debug_enter(const struct vcpu *v)
{
	write_dr0(v->cpu.dr[0]);
	write_dr1(v->cpu.dr[1]);
	write_dr2(v->cpu.dr[2]);
	write_dr3(v->cpu.dr[3]);
	write_dr7(v->machine_dr7);
}

void debug_leave(void)
{
	write_dr7(DR7_OFF);
}

// The hits of this exception replace those of the last, the other bits stay set until the guest clears them; the machine's go,
// so that no other event shows them again.
void debug_exception(struct vcpu *v)
{
	v->cpu.dr[6] = (v->cpu.dr[6] & ~DR6_HITS) | (read_dr6() & DR6_EVENTS);
	write_dr6(DR6_CLEAR);
}
