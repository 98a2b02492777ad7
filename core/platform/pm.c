// SPDX-License-Identifier: MIT
// ACPI power management registers. The timer has 24 bits; its carry status is set when bit 23 changes.
#include "core/platform/pm.h"
#include "base/string.h"

#define STS_TIMER 0x0001
#define STS_POWER_BUTTON 0x0100
#define STS_ALL 0x8731
#define EN_ALL 0x0721
#define CNT_SCI_EN 0x0001
#define CNT_SLP_TYP(v) ((v) >> 10 & 7)
#define CNT_SLP_EN 0x2000
#define TIMER_BITS 24

void pm_init(struct pm *m)
{
	memset(m, 0, sizeof(*m));
	m->control = CNT_SCI_EN;
}

static void update(struct pm *m)
{
	irq_set(&m->irq, m->status & m->enable & EN_ALL);
}

static u64 halves(u64 now)
{
	return clock_ticks(now, PM_TIMER_HZ) >> (TIMER_BITS - 1);
}

void pm_advance(struct pm *m, u64 now)
{
	u64 half = halves(now);

	if (half != m->half)
		m->status |= STS_TIMER;
	m->half = half;
	update(m);
}

u64 pm_next_event(const struct pm *m)
{
	if (!(m->enable & STS_TIMER) || (m->status & STS_TIMER))
		return NEVER;
	return clock_ns((m->half + 1) << (TIMER_BITS - 1), PM_TIMER_HZ);
}

void pm_power_button(struct pm *m)
{
	m->status |= STS_POWER_BUTTON;
	update(m);
}

static u8 read_byte(const struct pm *m, u64 now, u16 port)
{
	u32 timer = (u32)clock_ticks(now, PM_TIMER_HZ) & ((1u << TIMER_BITS) - 1);
	unsigned offset = port - PM_BASE;
	u32 block[3] = {m->status | (u32)m->enable << 16, m->control, timer};

	return (u8)(block[offset >> 2] >> (offset & 3) * 8);
}

u32 pm_read(struct pm *m, u64 now, u16 port, unsigned len)
{
	u32 value = 0;

	pm_advance(m, now);
	for (unsigned i = 0; i < len && i < 4; i++)
		value |= (u32)(port + i < PM_BASE + PM_PORTS ? read_byte(m, now, (u16)(port + i)) : 0xff) << i * 8;
	return value;
}

static bool write_control(struct pm *m, u16 value)
{
	m->control = (u16)((value & ~CNT_SLP_EN) | CNT_SCI_EN);
	return (value & CNT_SLP_EN) && CNT_SLP_TYP(value) == PM_S5_TYPE;
}

bool pm_write(struct pm *m, u64 now, u16 port, unsigned len, u32 value)
{
	bool power_off = false;

	pm_advance(m, now);
	for (unsigned i = 0; i < len && i < 4; i++) {
		unsigned offset = port + i - PM_BASE;
		u8 byte = (u8)(value >> i * 8);

		switch (offset) {
		case 0: // status: written ones clear
		case 1:
			m->status &= (u16) ~((u32)byte << offset * 8 & STS_ALL);
			break;
		case 2:
			m->enable = (u16)((m->enable & 0xff00) | (byte & EN_ALL));
			break;
		case 3:
			m->enable = (u16)((m->enable & 0xff) | (byte << 8 & EN_ALL));
			break;
		case 4:
			power_off |= write_control(m, (u16)((m->control & 0xff00) | byte));
			break;
		case 5:
			power_off |= write_control(m, (u16)((m->control & 0xff) | byte << 8));
			break;
		}
	}
	update(m);
	return power_off;
}
