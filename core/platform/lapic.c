// SPDX-License-Identifier: MIT
// Local APIC of the one CPU. The timer's bus clock is 1 GHz, so a count is nanoseconds divided by the divide value. The
// timer is kept as its next expiry; missed periods coalesce into one interrupt, as IRR would have them.
#include "core/platform/lapic.h"
#include "base/string.h"

enum {
	REG_ID = 0x20,
	REG_VERSION = 0x30,
	REG_TPR = 0x80,
	REG_APR = 0x90,
	REG_PPR = 0xa0,
	REG_EOI = 0xb0,
	REG_LDR = 0xd0,
	REG_DFR = 0xe0,
	REG_SVR = 0xf0,
	REG_ISR = 0x100,
	REG_TMR = 0x180,
	REG_IRR = 0x200,
	REG_ESR = 0x280,
	REG_ICR_LOW = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT = 0x320, // six of them
	REG_INITIAL = 0x380,
	REG_CURRENT = 0x390,
	REG_DIVIDE = 0x3e0,
	REG_SELF_IPI = 0x3f0,
};

#define VERSION 0x00050014 // integrated, six LVT entries
#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define LVT_MODE(v) ((v) >> 8 & 7)
#define LVT_STATUS_BITS 0x5000 // delivery status, remote IRR: read only
#define TIMER_MODE(v) ((v) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };
#define ESR_SEND_ILLEGAL 0x20
#define ESR_RECEIVE_ILLEGAL 0x40
#define ESR_ILLEGAL_REGISTER 0x80
#define ICR_LOGICAL 0x800
#define ICR_SHORTHAND(v) ((v) >> 18 & 3)
#define FIRST_VECTOR 16
#define APIC_BASE_ADDRESS 0x000ffffffffff000ull

static const u32 lvt_writable[LVT_COUNT] = {0x300ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

void lapic_init(struct lapic *l, u32 id, u32 tsc_khz, u64 tsc_base, bool x2apic, bool deadline)
{
	memset(l, 0, sizeof(*l));
	l->base = LAPIC_BASE | APIC_BASE_BSP | APIC_BASE_ENABLE;
	l->id = id;
	l->dfr = ~0u;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	// As firmware leaves the boot CPU: on, in virtual wire mode.
	l->svr = SVR_ENABLE | 0xff;
	l->lvt[LVT_LINT0] = APIC_EXTINT << 8;
	l->lvt[LVT_LINT1] = APIC_NMI << 8;
	l->expiry = NEVER;
	l->eoi_broadcast = -1;
	l->tsc_khz = tsc_khz;
	l->tsc_base = tsc_base;
	l->x2apic_allowed = x2apic;
	l->deadline_allowed = deadline && tsc_khz;
	if (l->deadline_allowed)
		l->lvt[LVT_TIMER] = LVT_MASKED;
}

static bool x2_mode(const struct lapic *l)
{
	return (l->base & (APIC_BASE_ENABLE | APIC_BASE_X2)) == (APIC_BASE_ENABLE | APIC_BASE_X2);
}

bool lapic_mmio_enabled(const struct lapic *l)
{
	return (l->base & APIC_BASE_ENABLE) && !(l->base & APIC_BASE_X2);
}

static bool working(const struct lapic *l)
{
	return (l->base & APIC_BASE_ENABLE) && (l->svr & SVR_ENABLE);
}

// --- vectors ---

static void vector_set(u32 *map, u8 v)
{
	map[v >> 5] |= 1u << (v & 31);
}

static void vector_clear(u32 *map, u8 v)
{
	map[v >> 5] &= ~(1u << (v & 31));
}

static bool vector_test(const u32 *map, u8 v)
{
	return map[v >> 5] >> (v & 31) & 1;
}

static int vector_highest(const u32 *map)
{
	for (int i = 7; i >= 0; i--)
		if (map[i])
			return i * 32 + 31 - __builtin_clz(map[i]);
	return -1;
}

static u32 processor_priority(const struct lapic *l)
{
	int serving = vector_highest(l->isr);
	u32 class = serving < 0 ? 0 : (u32)serving & 0xf0;

	return (l->tpr & 0xf0) >= class ? l->tpr : class;
}

int lapic_pending(const struct lapic *l)
{
	int v;

	if (!working(l))
		return -1;
	v = vector_highest(l->irr);
	return v >= 0 && ((u32)v & 0xf0) > (processor_priority(l) & 0xf0) ? v : -1;
}

int lapic_acknowledge(struct lapic *l)
{
	int v = lapic_pending(l);

	if (v < 0)
		return -1;
	vector_clear(l->irr, (u8)v);
	vector_set(l->isr, (u8)v);
	return v;
}

static void raise_lvt(struct lapic *l, unsigned which);

static void error(struct lapic *l, u32 bit)
{
	bool first = !(l->esr_pending & bit);

	l->esr_pending |= bit;
	if (first && bit != 0 && (l->lvt[LVT_ERROR] & 0xff) >= FIRST_VECTOR)
		raise_lvt(l, LVT_ERROR);
}

static void accept_fixed(struct lapic *l, u8 vector, bool level)
{
	if (!working(l))
		return;
	if (vector < FIRST_VECTOR) {
		error(l, ESR_RECEIVE_ILLEGAL);
		return;
	}
	vector_set(l->irr, vector);
	if (level)
		vector_set(l->tmr, vector);
	else
		vector_clear(l->tmr, vector);
}

static void raise_lvt(struct lapic *l, unsigned which)
{
	u32 lvt = l->lvt[which];

	if (lvt & LVT_MASKED)
		return;
	switch (which == LVT_TIMER || which == LVT_ERROR ? APIC_FIXED : LVT_MODE(lvt)) {
	case APIC_FIXED:
		accept_fixed(l, (u8)lvt, false);
		break;
	case APIC_NMI:
		l->nmi_pending = true;
		break;
	}
}

void lapic_set_lint0(struct lapic *l, bool level)
{
	bool rising = level && !l->lint0;

	l->lint0 = level;
	if (rising && LVT_MODE(l->lvt[LVT_LINT0]) != APIC_EXTINT)
		raise_lvt(l, LVT_LINT0);
}

bool lapic_accepts_extint(const struct lapic *l)
{
	if (!(l->base & APIC_BASE_ENABLE))
		return true; // LINT0 is the INTR pin
	return !(l->lvt[LVT_LINT0] & LVT_MASKED) && LVT_MODE(l->lvt[LVT_LINT0]) == APIC_EXTINT;
}

static bool addressed(const struct lapic *l, u32 destination, bool logical)
{
	if (x2_mode(l))
		return destination == 0xffffffff || destination == 0xff ||
		       (logical ? destination >> 16 == l->id >> 4 && (destination & 1u << (l->id & 15))
				: destination == l->id);
	if (!logical)
		return destination == 0xff || destination == l->id;
	if (l->dfr >> 28 == 0xf)
		return l->ldr >> 24 & destination;
	return (destination & 0xf0) == 0xf0 ||
	       ((destination & 0xf0) == (l->ldr >> 24 & 0xf0) && (destination & l->ldr >> 24 & 0xf));
}

static void deliver(struct lapic *l, unsigned mode, u8 vector, bool level)
{
	switch (mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		accept_fixed(l, vector, level);
		break;
	case APIC_NMI:
		l->nmi_pending = true;
		break;
	}
}

bool lapic_deliver(struct lapic *l, u8 destination, bool logical, unsigned mode, u8 vector, bool level)
{
	if (!(l->base & APIC_BASE_ENABLE) || !addressed(l, destination, logical))
		return false;
	deliver(l, mode, vector, level);
	return true;
}

static void send_ipi(struct lapic *l)
{
	unsigned mode = l->icr_low >> 8 & 7, shorthand = ICR_SHORTHAND(l->icr_low);
	u32 destination = x2_mode(l) ? l->icr_high : l->icr_high >> 24;
	bool self = shorthand == 1 || shorthand == 2 ||
		    (shorthand == 0 && addressed(l, destination, l->icr_low & ICR_LOGICAL));

	if ((mode == APIC_FIXED || mode == APIC_LOWEST) && (u8)l->icr_low < FIRST_VECTOR) {
		error(l, ESR_SEND_ILLEGAL);
		return;
	}
	// INIT and SIPI have no one to go to: one CPU, and it is running.
	if (self)
		deliver(l, mode, (u8)l->icr_low, false);
}

void lapic_end_of_interrupt(struct lapic *l)
{
	int v = vector_highest(l->isr);

	if (v < 0)
		return;
	vector_clear(l->isr, (u8)v);
	if (vector_test(l->tmr, (u8)v))
		l->eoi_broadcast = (s16)v;
}

bool lapic_eoi_may_wait(const struct lapic *l)
{
	int v = vector_highest(l->isr);

	if (v < 0 || vector_test(l->tmr, (u8)v) || vector_highest(l->irr) >= 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(l->isr); i++)
		if (l->isr[i] & ~(i == (unsigned)v >> 5 ? 1u << (v & 31) : 0))
			return false;
	return true;
}

// --- timer ---

static u64 divide_by(const struct lapic *l)
{
	unsigned code = (l->divide & 3) | (l->divide >> 1 & 4);

	return code == 7 ? 1 : 2ull << code;
}

static bool deadline_mode(const struct lapic *l)
{
	return TIMER_MODE(l->lvt[LVT_TIMER]) == TIMER_DEADLINE;
}

static u32 current_count(const struct lapic *l, u64 now)
{
	u64 left, div = divide_by(l);

	if (l->expiry == NEVER || l->expiry <= now || deadline_mode(l))
		return 0;
	left = (l->expiry - now + div - 1) / div;
	return left > 0xffffffff ? 0xffffffff : (u32)left;
}

static void start_timer(struct lapic *l, u64 now, u32 count)
{
	l->expiry = count ? now + count * divide_by(l) : NEVER;
}

static void set_deadline(struct lapic *l, u64 now, u64 tsc)
{
	u64 ticks = tsc > l->tsc_base ? tsc - l->tsc_base : 0, ms = ticks / l->tsc_khz;

	l->deadline = tsc;
	if (!tsc)
		l->expiry = NEVER;
	else if (ms > NEVER / 2000000)
		l->expiry = NEVER - 1;
	else
		l->expiry = ms * 1000000 + (ticks % l->tsc_khz * 1000000 + l->tsc_khz - 1) / l->tsc_khz;
	lapic_advance(l, now);
}

void lapic_advance(struct lapic *l, u64 now)
{
	u64 period;

	if (l->expiry > now || l->expiry == NEVER)
		return;
	period = l->initial * divide_by(l);
	if (TIMER_MODE(l->lvt[LVT_TIMER]) == TIMER_PERIODIC && period) {
		l->expiry += ((now - l->expiry) / period + 1) * period;
	} else {
		l->expiry = NEVER;
		l->deadline = 0;
	}
	raise_lvt(l, LVT_TIMER);
}

u64 lapic_next_event(const struct lapic *l)
{
	// A masked periodic timer counts by itself: nobody needs waking for it.
	return l->lvt[LVT_TIMER] & LVT_MASKED ? NEVER : l->expiry;
}

static void write_lvt(struct lapic *l, u64 now, unsigned which, u32 value)
{
	unsigned old_mode = TIMER_MODE(l->lvt[LVT_TIMER]);
	u32 writable = lvt_writable[which] | (which == LVT_TIMER && l->deadline_allowed ? 0x40000 : 0);

	value &= writable;
	if (!(l->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	l->lvt[which] = value;
	if (which == LVT_TIMER && (old_mode == TIMER_DEADLINE) != deadline_mode(l)) {
		l->expiry = NEVER;
		l->deadline = 0;
	}
}

static void write_divide(struct lapic *l, u64 now, u32 value)
{
	u32 count = current_count(l, now);

	l->divide = value & 0xb;
	if (!deadline_mode(l) && count)
		start_timer(l, now, count);
}

static void write_svr(struct lapic *l, u32 value)
{
	l->svr = value & 0x1ff;
	if (!(l->svr & SVR_ENABLE))
		for (unsigned i = 0; i < LVT_COUNT; i++)
			l->lvt[i] |= LVT_MASKED;
}

// --- registers ---

u32 lapic_read(struct lapic *l, u64 now, u32 offset)
{
	unsigned index = offset >> 4 & 7;

	lapic_advance(l, now);
	switch (offset & 0xff0) {
	case REG_ID:
		return x2_mode(l) ? l->id : l->id << 24;
	case REG_VERSION:
		return VERSION;
	case REG_TPR:
		return l->tpr;
	case REG_PPR:
		return processor_priority(l);
	case REG_LDR:
		return x2_mode(l) ? (l->id >> 4) << 16 | 1u << (l->id & 15) : l->ldr;
	case REG_DFR:
		return l->dfr;
	case REG_SVR:
		return l->svr;
	case REG_ISR ... REG_ISR + 0x70:
		return l->isr[index];
	case REG_TMR ... REG_TMR + 0x70:
		return l->tmr[index];
	case REG_IRR ... REG_IRR + 0x70:
		return l->irr[index];
	case REG_ESR:
		return l->esr;
	case REG_ICR_LOW:
		return l->icr_low;
	case REG_ICR_HIGH:
		return l->icr_high;
	case REG_LVT ... REG_LVT + 0x50:
		return l->lvt[(offset - REG_LVT) >> 4];
	case REG_INITIAL:
		return l->initial;
	case REG_CURRENT:
		return current_count(l, now);
	case REG_DIVIDE:
		return l->divide;
	case REG_APR:
	case REG_EOI:
		return 0;
	}
	error(l, ESR_ILLEGAL_REGISTER);
	return 0;
}

void lapic_write(struct lapic *l, u64 now, u32 offset, u32 value)
{
	lapic_advance(l, now);
	switch (offset & 0xff0) {
	case REG_ID: // model-specific whether writable; here not, so that the ID agrees with CPUID and the MADT
		break;
	case REG_TPR:
		l->tpr = value & 0xff;
		break;
	case REG_EOI:
		lapic_end_of_interrupt(l);
		break;
	case REG_LDR:
		l->ldr = value & 0xff000000;
		break;
	case REG_DFR:
		l->dfr = value | 0x0fffffff;
		break;
	case REG_SVR:
		write_svr(l, value);
		break;
	case REG_ESR: // a write publishes what was gathered since the last one
		l->esr = l->esr_pending;
		l->esr_pending = 0;
		break;
	case REG_ICR_LOW:
		l->icr_low = value & 0xccfff;
		send_ipi(l);
		break;
	case REG_ICR_HIGH:
		l->icr_high = value & 0xff000000;
		break;
	case REG_LVT ... REG_LVT + 0x50:
		write_lvt(l, now, (offset - REG_LVT) >> 4, value);
		break;
	case REG_INITIAL:
		if (deadline_mode(l))
			break;
		l->initial = value;
		start_timer(l, now, value);
		break;
	case REG_DIVIDE:
		write_divide(l, now, value);
		break;
	case REG_VERSION:
	case REG_APR:
	case REG_PPR:
	case REG_CURRENT:
	case REG_ISR ... REG_IRR + 0x70: // read only
		break;
	default:
		error(l, ESR_ILLEGAL_REGISTER);
	}
}

// --- MSRs ---

static bool x2_readable(u32 offset)
{
	switch (offset) {
	case REG_ID:
	case REG_VERSION:
	case REG_TPR:
	case REG_PPR:
	case REG_LDR:
	case REG_SVR:
	case REG_ISR ... REG_ESR:
	case REG_LVT ... REG_LVT + 0x50:
	case REG_INITIAL:
	case REG_CURRENT:
	case REG_DIVIDE:
		return true;
	}
	return false;
}

static bool x2_writable(u32 offset, u64 value)
{
	switch (offset) {
	case REG_EOI:
	case REG_ESR:
		return value == 0;
	case REG_TPR:
		return value <= 0xff;
	case REG_SVR:
	case REG_LVT ... REG_LVT + 0x50:
	case REG_INITIAL:
	case REG_DIVIDE:
		return value <= 0xffffffff;
	}
	return false;
}

bool lapic_rdmsr(struct lapic *l, u64 now, u32 msr, u64 *value)
{
	u32 offset = (msr - MSR_X2APIC_FIRST) << 4;

	if (msr == 0x1b) {
		*value = l->base;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE && l->deadline_allowed) {
		lapic_advance(l, now);
		*value = l->deadline;
		return true;
	}
	if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !x2_mode(l))
		return false;
	if (offset == REG_ICR_LOW) {
		*value = (u64)l->icr_high << 32 | l->icr_low;
		return true;
	}
	if (!x2_readable(offset))
		return false;
	*value = lapic_read(l, now, offset);
	return true;
}

static bool write_base(struct lapic *l, u64 value)
{
	bool enable = value & APIC_BASE_ENABLE, x2 = value & APIC_BASE_X2, was_x2 = l->base & APIC_BASE_X2;

	if (value & ~(APIC_BASE_ADDRESS | APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_X2))
		return false;
	if (x2 && (!l->x2apic_allowed || !enable))
		return false;
	if (was_x2 && enable && !x2) // back to xAPIC only through disabled
		return false;
	if (x2 && !was_x2 && !(l->base & APIC_BASE_ENABLE))
		return false;
	l->base = value;
	return true;
}

bool lapic_wrmsr(struct lapic *l, u64 now, u32 msr, u64 value)
{
	u32 offset = (msr - MSR_X2APIC_FIRST) << 4;

	if (msr == 0x1b)
		return write_base(l, value);
	if (msr == MSR_TSC_DEADLINE && l->deadline_allowed) {
		if (deadline_mode(l))
			set_deadline(l, now, value);
		return true;
	}
	if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !x2_mode(l))
		return false;
	if (offset == REG_SELF_IPI) {
		if (value > 0xff)
			return false;
		accept_fixed(l, (u8)value, false);
		return true;
	}
	if (offset == REG_ICR_LOW) {
		l->icr_high = (u32)(value >> 32);
		lapic_write(l, now, offset, (u32)value);
		return true;
	}
	if (!x2_writable(offset, value))
		return false;
	lapic_write(l, now, offset, (u32)value);
	return true;
}
