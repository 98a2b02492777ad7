// SPDX-License-Identifier: MIT
// Port, MMIO, MSR and time sequences against the virtual platform: no crash, and advancing clears what was due.
#include "core/platform/platform.h"

#include <stdlib.h>
#include <string.h>

// What the guest shares: a page of RAM, and nothing else.
static u8 page[PAGE_SIZE];

static bool ram_read(void *ctx, u64 gpa, void *buf, unsigned len)
{
	if (gpa + len > PAGE_SIZE || gpa > PAGE_SIZE) {
		if ((gpa & PAGE_MASK) + len > PAGE_SIZE)
			abort();
		return false;
	}
	memcpy(buf, page + gpa, len);
	return true;
}

static bool ram_write(void *ctx, u64 gpa, const void *buf, unsigned len)
{
	u8 old[PAGE_SIZE];

	if (len > PAGE_SIZE || !ram_read(ctx, gpa, old, len))
		return false;
	memcpy(page + gpa, buf, len);
	return true;
}

static const struct platform_ports ports = {.ram_read = ram_read, .ram_write = ram_write};

static struct platform p;

struct op {
	u8 kind, len, delay, shift;
	u16 port;
	u16 extra;
	u32 value;
};

static void step(const struct op *o, u64 now)
{
	unsigned len = 1u << o->len % 3;
	u64 gpa = (o->port & 1 ? 0xfee00000 : 0xfec00000) + (o->extra & 0xfff), v = (u64)o->value << (o->shift & 32);

	switch (o->kind % 11) {
	case 0:
		platform_in(&p, now, o->port, len);
		break;
	case 1:
		platform_out(&p, now, o->port, len, o->value);
		break;
	case 2:
		platform_mmio_read(&p, now, gpa, 1u << o->len % 4);
		break;
	case 3:
		platform_mmio_write(&p, now, gpa & ~15ull, 4, o->value);
		break;
	case 4:
		platform_acknowledge(&p, now);
		platform_take_nmi(&p);
		break;
	case 5:
		platform_console_input(&p, now, (const u8 *)o, sizeof(*o));
		break;
	case 6:
		platform_wrmsr(&p, now, o->port & 1 ? 0x1b : o->port & 2 ? 0x6e0 : 0x800u + (o->extra & 0xff), v);
		platform_rdmsr(&p, now, 0x800u + (o->extra & 0xff), &v);
		break;
	case 7:
		platform_set_irq(&p, o->port, o->value & 1);
		platform_set_cr8(&p, o->value);
		break;
	case 8:
		platform_advance(&p, now);
		if (platform_next_event(&p, now) <= now)
			abort();
		break;
	case 9:
		platform_wrmsr(&p, now, o->port & 8 ? 0x11u + (o->port & 1) : 0x4b564d00u + (o->port & 7), v);
		break;
	case 10: // the guest runs
		platform_offer_eoi(&p);
		page[o->port & PAGE_MASK] = (u8)o->value;
		platform_take_eoi(&p);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct platform_config c = {.ports = &ports,
				    .mem_low = 256 * MIB,
				    .wall_seconds = 1700000000,
				    .tsc_khz = 2100000};
	u64 now = 0;

	if (!size)
		return 0;
	c.x2apic = data[0] & 1;
	c.tsc_deadline = data[0] & 2;
	c.kvm = data[0] & 4;
	memset(page, 0, sizeof(page));
	platform_init(&p, &c);
	for (data++, size--; size >= sizeof(struct op); data += sizeof(struct op), size -= sizeof(struct op)) {
		struct op o;

		memcpy(&o, data, sizeof(o));
		now += (u64)o.delay << o.shift % 40;
		now &= BIT(61) - 1;
		step(&o, now);
	}
	return 0;
}
