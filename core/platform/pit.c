// SPDX-License-Identifier: MIT
// 8254: every counter is computed from the tick at which it was loaded; only channel 0's next rising edge is kept, as the
// platform's event. A count written to a running counter takes effect at once (the chip waits for the end of the period
// in modes 2 and 3).
#include "core/platform/pit.h"
#include "base/string.h"

#define PORT_61_GATE 0x01
#define PORT_61_SPEAKER 0x02
#define PORT_61_REFRESH 0x10
#define PORT_61_OUT2 0x20
#define REFRESH_NS 15085

void pit_init(struct pit *p)
{
	memset(p, 0, sizeof(*p));
	for (unsigned i = 0; i < 3; i++) {
		p->channel[i].access = 3;
		p->channel[i].mode = 3;
		p->channel[i].reload = 0x10000;
		p->channel[i].gate = i != 2;
	}
	p->edge = NEVER;
}

static bool periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool triggered(const struct pit_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

static u64 elapsed(const struct pit_channel *c, u64 tick)
{
	return !c->running ? c->held : tick > c->start ? tick - c->start : 0;
}

static bool channel_out(const struct pit_channel *c, u64 tick)
{
	u64 d = elapsed(c, tick);

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
		return d >= c->reload;
	case 1:
		return !c->running || d >= c->reload;
	case 2:
		return !c->running || d % c->reload != c->reload - 1;
	case 3:
		return !c->running || d % c->reload < (c->reload + 1) / 2;
	default:
		return !c->running || d != c->reload;
	}
}

bool pit_out(const struct pit *p, u64 now, unsigned channel)
{
	return channel_out(&p->channel[channel], clock_ticks(now, PIT_HZ));
}

static u16 to_bcd(u32 value)
{
	return (u16)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10);
}

static u16 channel_count(const struct pit_channel *c, u64 tick)
{
	u64 d = elapsed(c, tick);
	u32 range = c->bcd ? 10000 : 0x10000, value;

	if (c->mode == 2)
		value = c->reload - (u32)(d % c->reload);
	else if (c->mode == 3)
		value = c->reload - (u32)(2 * (d % c->reload) % c->reload);
	else
		value = (u32)((c->reload + range - d % range) % range);
	return c->bcd ? to_bcd(value % range) : (u16)value;
}

// Tick of the first rising edge of OUT after `tick`.
static u64 next_edge(const struct pit_channel *c, u64 tick)
{
	u64 edge;

	if (!c->loaded || !c->running)
		return NEVER;
	if (periodic(c)) // a period of one tick never goes low: ignore the data sheet's "illegal" and fire each tick
		return c->start + (elapsed(c, tick) / c->reload + 1) * c->reload;
	edge = c->start + c->reload + (c->mode >= 4);
	return edge > tick ? edge : NEVER;
}

static void start(struct pit_channel *c, u64 tick)
{
	c->start = tick;
	c->running = true;
	c->held = 0;
	c->null = false;
}

static void load(struct pit_channel *c, u64 tick, u16 count)
{
	if (c->bcd) {
		u32 v = (count >> 12) * 1000u + (count >> 8 & 15) * 100u + (count >> 4 & 15) * 10u + (count & 15);

		c->reload = v ? v : 10000;
	} else {
		c->reload = count ? count : 0x10000;
	}
	c->loaded = true;
	if (triggered(c))
		return; // waits for the gate to rise
	if (c->gate)
		start(c, tick);
	else
		c->held = 0, c->running = false;
}

static void set_gate(struct pit_channel *c, u64 tick, bool gate)
{
	bool rising = gate && !c->gate, falling = !gate && c->gate;

	c->gate = gate;
	if (!c->loaded)
		return;
	if (rising && (periodic(c) || triggered(c))) {
		start(c, tick);
	} else if (rising) { // modes 0 and 4 go on where they stopped
		c->start = tick - c->held;
		c->running = true;
	} else if (falling && !triggered(c)) {
		c->held = periodic(c) ? 0 : elapsed(c, tick);
		c->running = false;
	}
}

static void latch_count(struct pit_channel *c, u64 tick)
{
	if (c->latched)
		return;
	c->latch = channel_count(c, tick);
	c->latched = c->access == 3 ? 2 : 1;
}

static void latch_status(struct pit_channel *c, u64 tick)
{
	if (c->status_latched)
		return;
	c->status =
		(u8)(channel_out(c, tick) << 7 | (c->null || !c->loaded) << 6 | c->access << 4 | c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void write_control(struct pit *p, u64 tick, u8 value)
{
	struct pit_channel *c;

	if (value >> 6 == 3) { // read-back: bits 1..3 choose channels, 5 and 4 (low active) count and status
		for (unsigned i = 0; i < 3; i++) {
			if (!(value & 2u << i))
				continue;
			if (!(value & 0x20))
				latch_count(&p->channel[i], tick);
			if (!(value & 0x10))
				latch_status(&p->channel[i], tick);
		}
		return;
	}
	c = &p->channel[value >> 6];
	if (!(value >> 4 & 3)) {
		latch_count(c, tick);
		return;
	}
	c->access = value >> 4 & 3;
	c->mode = value >> 1 & 7;
	if (c->mode > 5) // x10 and x11
		c->mode &= 3;
	c->bcd = value & 1;
	c->loaded = c->running = false;
	c->held = 0;
	c->null = true;
	c->write_high = c->read_high = false;
	c->latched = 0;
	c->status_latched = false;
}

static void write_count(struct pit_channel *c, u64 tick, u8 value)
{
	if (c->access == 1) {
		load(c, tick, value);
	} else if (c->access == 2) {
		load(c, tick, (u16)(value << 8));
	} else if (!c->write_high) {
		c->write_low = value;
		c->write_high = true;
		c->null = true;
		if (c->mode == 0) { // the first byte stops the counter
			c->held = elapsed(c, tick);
			c->loaded = c->running = false;
		}
	} else {
		c->write_high = false;
		load(c, tick, (u16)(value << 8 | c->write_low));
	}
}

static u8 read_count(struct pit_channel *c, u64 tick)
{
	u16 count;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latched) {
		count = c->latch;
		c->latched--;
		if (c->access == 3)
			return (u8)(c->latched ? count : count >> 8);
		return (u8)(c->access == 2 ? count >> 8 : count);
	}
	count = channel_count(c, tick);
	if (c->access == 3) {
		c->read_high = !c->read_high;
		return (u8)(c->read_high ? count : count >> 8);
	}
	return (u8)(c->access == 2 ? count >> 8 : count);
}

u8 pit_read(struct pit *p, u64 now, u16 port)
{
	u64 tick = clock_ticks(now, PIT_HZ);

	if (port == 0x61)
		return (u8)((p->channel[2].gate ? PORT_61_GATE : 0) | (p->speaker ? PORT_61_SPEAKER : 0) |
			    (now / REFRESH_NS & 1 ? PORT_61_REFRESH : 0) |
			    (channel_out(&p->channel[2], tick) ? PORT_61_OUT2 : 0));
	return port == 0x43 ? 0xff : read_count(&p->channel[port & 3], tick);
}

void pit_write(struct pit *p, u64 now, u16 port, u8 value)
{
	u64 tick = clock_ticks(now, PIT_HZ);

	pit_advance(p, now);
	if (port == 0x61) {
		p->speaker = value & PORT_61_SPEAKER;
		set_gate(&p->channel[2], tick, value & PORT_61_GATE);
	} else if (port == 0x43) {
		write_control(p, tick, value);
	} else {
		write_count(&p->channel[port & 3], tick, value);
	}
	p->edge = next_edge(&p->channel[0], tick);
}

void pit_advance(struct pit *p, u64 now)
{
	u64 tick;

	if (p->edge == NEVER)
		return;
	tick = clock_ticks(now, PIT_HZ);
	if (tick < p->edge)
		return;
	p->fired = true;
	p->edge = next_edge(&p->channel[0], tick);
}

u64 pit_next_event(const struct pit *p)
{
	return p->edge == NEVER ? NEVER : clock_ns(p->edge, PIT_HZ);
}
