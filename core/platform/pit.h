// SPDX-License-Identifier: MIT
// 8254 programmable interval timer and the port 0x61 logic around its channel 2 (Intel 8254 data sheet).
#ifndef CORE_PLATFORM_PIT_H
#define CORE_PLATFORM_PIT_H

#include "core/platform/device.h"

#define PIT_HZ 1193182u

struct pit_channel {
	u8 mode;   // 0..5
	u8 access; // 1 low byte, 2 high byte, 3 low then high
	bool bcd;
	bool gate;
	bool loaded;                // a count was written since the control word
	bool running;               // counting now: `start` is valid, else `held`
	bool null;                  // count written but not in the counter yet
	bool write_high, read_high; // access 3: the high byte is next
	bool status_latched;
	u8 latched; // bytes of `latch` still to be read
	u8 status, write_low;
	u16 latch;
	u32 reload; // 1..65536
	u64 start;  // tick at which the counter held `reload`
	u64 held;   // ticks counted when it stopped
};

struct pit {
	struct pit_channel channel[3];
	u64 edge;   // tick of channel 0's next rising edge, NEVER for none
	bool fired; // rising edge of channel 0 since the platform last looked
	bool speaker;
};

void pit_init(struct pit *p);
u8 pit_read(struct pit *p, u64 now, u16 port);
void pit_write(struct pit *p, u64 now, u16 port, u8 value);
void pit_advance(struct pit *p, u64 now);
u64 pit_next_event(const struct pit *p);
bool pit_out(const struct pit *p, u64 now, unsigned channel);

#endif
