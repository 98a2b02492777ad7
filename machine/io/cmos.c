// SPDX-License-Identifier: MIT
// MC146818 read-out: two equal readings outside an update.
#include "machine/io/cmos.h"

#include "base/string.h"
#include "machine/cpu/asm.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define REG_A_UIP 0x80
#define REG_B_BINARY 0x04
#define REG_B_24H 0x02
#define TRIES 100000

static u8 cmos(u8 reg)
{
	outb(CMOS_INDEX, reg);
	return inb(CMOS_DATA);
}

static bool read_fields(u8 f[7])
{
	static const u8 regs[7] = {0, 2, 4, 7, 8, 9, 0x32};

	for (unsigned t = 0; t < TRIES; t++)
		if (!(cmos(10) & REG_A_UIP)) {
			for (unsigned i = 0; i < 7; i++)
				f[i] = cmos(regs[i]);
			return true;
		}
	return false;
}

static u64 days_from_civil(u64 y, u64 m, u64 d)
{
	u64 era, yoe, doy;

	y -= m <= 2;
	era = y / 400;
	yoe = y - era * 400;
	doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

u64 rtc_wall_seconds(void)
{
	u8 a[7], b[7], mode;
	bool pm;

	do {
		if (!read_fields(a) || !read_fields(b))
			return 0;
	} while (memcmp(a, b, sizeof(a)));
	mode = cmos(11);
	pm = !(mode & REG_B_24H) && (a[2] & 0x80);
	a[2] &= (mode & REG_B_24H) ? 0xff : 0x7f;
	if (!(mode & REG_B_BINARY))
		for (unsigned i = 0; i < 7; i++)
			a[i] = (u8)((a[i] & 15) + (a[i] >> 4) * 10);
	if (!(mode & REG_B_24H))
		a[2] = (u8)(a[2] % 12 + (pm ? 12 : 0));
	if (a[3] < 1 || a[3] > 31 || a[4] < 1 || a[4] > 12 || a[6] < 19)
		return 0;
	return ((days_from_civil(a[6] * 100ull + a[5], a[4], a[3]) * 24 + a[2]) * 60 + a[1]) * 60 + a[0];
}
