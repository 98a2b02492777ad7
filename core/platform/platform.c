// SPDX-License-Identifier: MIT
// Dispatch of ports, MMIO and MSRs to the devices, and the wiring between them: device lines to PIC and IOAPIC, the PIC to
// LINT0, LAPIC EOIs back to the IOAPIC. Devices know nothing of each other; sync() carries their outputs over after every
// step.
#include "core/platform/platform.h"
#include "core/platform/pvpanic.h"
#include "base/string.h"

enum { IRQ_TIMER = 0, IRQ_SERIAL = 4, IRQ_RTC = 8 };
#define TIMER_PIN 2 // MADT: ISA interrupt 0 is IOAPIC input 2
#define RESET_PORT 0xcf9
#define RESET_CPU 0x04
#define PORT_92_RESET 0x01
#define KBC_PULSE_RESET 0xfe
#define PAGE_OF(a) ((a) & ~PAGE_MASK)

void platform_init(struct platform *p, const struct platform_config *c)
{
	memset(p, 0, sizeof(*p));
	p->config = *c;
	pic_init(&p->pic);
	pit_init(&p->pit);
	rtc_init(&p->rtc, c->wall_seconds);
	uart_init(&p->uart);
	lapic_init(&p->lapic, 0, c->tsc_khz, c->tsc_base, c->x2apic, c->tsc_deadline);
	ioapic_init(&p->ioapic);
	pci_init(&p->pci);
	pm_init(&p->pm);
	vga_init(&p->vga);
	fw_cfg_init(&p->fw_cfg, c->mem_low + c->mem_high, 1);
	kvm_init(&p->kvm, &(struct kvm_memory){c->ports->ram_read, c->ports->ram_write, c->ctx},
		 c->kvm ? c->tsc_khz : 0, c->tsc_base, c->wall_seconds);
	p->port_92 = 0x02; // A20 open
}

void platform_start_timer(struct platform *p, u64 now)
{
	static const u8 mode_3_both_bytes = 0x36, all_but_timer_and_cascade = 0xfa;

	pit_write(&p->pit, now, 0x43, mode_3_both_bytes);
	pit_write(&p->pit, now, 0x40, 0);
	pit_write(&p->pit, now, 0x40, 0);
	pic_write(&p->pic, 0x21, all_but_timer_and_cascade);
}

// --- wiring ---

static void set_line(struct platform *p, unsigned gsi, bool level)
{
	unsigned pin = gsi == IRQ_TIMER ? TIMER_PIN : gsi;

	if (gsi < 16)
		pic_set_irq(&p->pic, gsi, level);
	ioapic_set_irq(&p->ioapic, &p->lapic, pin, level);
}

// A line may be shared with a device outside: it is high while either holds it.
static void carry(struct platform *p, unsigned irq, struct irq_line *line)
{
	bool shared = p->external >> irq & 1;

	if (line->fell && !shared)
		set_line(p, irq, false);
	line->fell = false;
	set_line(p, irq, line->level || shared);
}

// An offer stands only while the interrupt in service is alone: else its end must be told at once, by an EOI that exits.
void platform_take_eoi(struct platform *p)
{
	if (!p->kvm.eoi_offered)
		return;
	if (kvm_eoi_taken(&p->kvm))
		lapic_end_of_interrupt(&p->lapic);
	else if (!lapic_eoi_may_wait(&p->lapic))
		kvm_withdraw_eoi(&p->kvm);
}

void platform_offer_eoi(struct platform *p)
{
	if (lapic_eoi_may_wait(&p->lapic))
		kvm_offer_eoi(&p->kvm);
}

void platform_stolen(struct platform *p, u64 ns)
{
	kvm_stolen(&p->kvm, ns);
}

static void sync(struct platform *p)
{
	bool deliverable;

	platform_take_eoi(p);
	if (p->pit.fired) {
		p->pit.fired = false;
		set_line(p, IRQ_TIMER, false);
		set_line(p, IRQ_TIMER, true);
	}
	carry(p, IRQ_SERIAL, &p->uart.irq);
	carry(p, IRQ_RTC, &p->rtc.irq);
	carry(p, SCI_IRQ, &p->pm.irq);
	// Each broadcast clears one vector's remote IRR; that may reassert at once, never adds a broadcast.
	if (p->lapic.eoi_broadcast >= 0) {
		u8 vector = (u8)p->lapic.eoi_broadcast;

		p->lapic.eoi_broadcast = -1;
		ioapic_eoi(&p->ioapic, &p->lapic, vector);
	}
	lapic_set_lint0(&p->lapic, pic_output(&p->pic));
	deliverable = platform_interrupt_pending(p) || p->lapic.nmi_pending;
	if (deliverable && !p->deliverable && p->config.ports->irq_changed)
		p->config.ports->irq_changed(p->config.ctx);
	p->deliverable = deliverable;
}

void platform_set_irq(struct platform *p, unsigned gsi, bool level)
{
	if (gsi < IOAPIC_PINS) {
		p->external = level ? p->external | 1u << gsi : p->external & ~(1u << gsi);
		set_line(p, gsi, level);
	}
	sync(p);
}

// --- interrupts ---

bool platform_interrupt_pending(const struct platform *p)
{
	return lapic_pending(&p->lapic) >= 0 || (lapic_accepts_extint(&p->lapic) && pic_output(&p->pic));
}

int platform_acknowledge(struct platform *p, u64 now)
{
	int vector;

	platform_advance(p, now);
	vector = lapic_acknowledge(&p->lapic);
	if (vector < 0 && lapic_accepts_extint(&p->lapic) && pic_output(&p->pic))
		vector = pic_acknowledge(&p->pic);
	p->deliverable = false; // what is still deliverable is told anew
	sync(p);
	return vector;
}

bool platform_take_nmi(struct platform *p)
{
	bool pending = p->lapic.nmi_pending;

	p->lapic.nmi_pending = false;
	sync(p);
	return pending;
}

// --- time ---

void platform_advance(struct platform *p, u64 now)
{
	pit_advance(&p->pit, now);
	rtc_advance(&p->rtc, now);
	uart_advance(&p->uart, now);
	lapic_advance(&p->lapic, now);
	pm_advance(&p->pm, now);
	sync(p);
}

u64 platform_next_event(const struct platform *p, u64 now)
{
	u64 next = pit_next_event(&p->pit);

	next = MIN(next, rtc_next_event(&p->rtc, now));
	next = MIN(next, uart_next_event(&p->uart));
	next = MIN(next, lapic_next_event(&p->lapic));
	return MIN(next, pm_next_event(&p->pm));
}

// --- ports ---

static void request_reset(struct platform *p)
{
	if (p->config.ports->reset)
		p->config.ports->reset(p->config.ctx);
}

static bool is_pci(u16 port)
{
	return port >= PCI_ADDRESS && port < PCI_DATA + 4;
}

static bool is_pm(u16 port)
{
	return port >= PM_BASE && port < PM_BASE + PM_PORTS;
}

static u8 in_byte(struct platform *p, u64 now, u16 port)
{
	u8 value;

	switch (port) {
	case 0x20 ... 0x21:
	case 0xa0 ... 0xa1:
	case 0x4d0 ... 0x4d1:
		return pic_read(&p->pic, port);
	case 0x40 ... 0x43:
	case 0x61:
		return pit_read(&p->pit, now, port);
	case 0x70 ... 0x71:
		return rtc_read(&p->rtc, now, port);
	case 0x92:
		return p->port_92;
	case PVPANIC_PORT:
		return PVPANIC_PANICKED; // what it can be told
	case 0x3f8 ... 0x3ff:
		return uart_read(&p->uart, now, port & 7);
	case FW_CFG_DATA:
		return fw_cfg_read(&p->fw_cfg);
	case VGA_FIRST_PORT ... VGA_LAST_PORT:
		if (vga_read(&p->vga, now, port, &value))
			return value;
		break;
	case 0x60: // no keyboard controller
	case 0x64:
		return 0xff;
	}
	p->unknown_in++;
	p->last_unknown_port = port;
	return 0xff;
}

u32 platform_in(struct platform *p, u64 now, u16 port, unsigned len)
{
	u32 value = 0, mask = len >= 4 ? 0xffffffff : (1u << len * 8) - 1;

	if (is_pci(port))
		value = pci_read(&p->pci, port, len) & mask;
	else if (is_pm(port))
		value = pm_read(&p->pm, now, port, len) & mask;
	else
		for (unsigned i = 0; i < len && i < 4; i++)
			value |= (u32)in_byte(p, now, (u16)(port + i)) << i * 8;
	sync(p);
	return value;
}

// True: *tx left by the serial port.
static bool out_byte(struct platform *p, u64 now, u16 port, u8 value, u8 *tx)
{
	switch (port) {
	case 0x20 ... 0x21:
	case 0xa0 ... 0xa1:
	case 0x4d0 ... 0x4d1:
		pic_write(&p->pic, port, value);
		break;
	case 0x40 ... 0x43:
	case 0x61:
		pit_write(&p->pit, now, port, value);
		break;
	case 0x64:
		if (value == KBC_PULSE_RESET)
			request_reset(p);
		break;
	case 0x70 ... 0x71:
		rtc_write(&p->rtc, now, port, value);
		break;
	case 0x80:
		p->post = value;
		break;
	case 0x92:
		p->port_92 = value & 0x02;
		if (value & PORT_92_RESET)
			request_reset(p);
		break;
	case PVPANIC_PORT:
		if ((value & PVPANIC_PANICKED) && p->config.ports->guest_panic)
			p->config.ports->guest_panic(p->config.ctx);
		break;
	case 0x3f8 ... 0x3ff:
		return uart_write(&p->uart, now, port & 7, value, tx);
	case VGA_FIRST_PORT ... VGA_LAST_PORT:
		if (vga_write(&p->vga, port, value))
			break;
		__attribute__((fallthrough));
	default:
		p->unknown_out++;
		p->last_unknown_port = port;
	}
	return false;
}

static void console_out(struct platform *p, const u8 *bytes, unsigned n)
{
	if (n && p->config.ports->console_out)
		p->config.ports->console_out(p->config.ctx, bytes, n);
}

static void out_wide(struct platform *p, u64 now, u16 port, unsigned len, u32 value)
{
	u8 tx;

	for (unsigned i = 0; i < len && i < 4; i++)
		if (out_byte(p, now, (u16)(port + i), (u8)(value >> i * 8), &tx))
			console_out(p, &tx, 1);
}

void platform_out(struct platform *p, u64 now, u16 port, unsigned len, u32 value)
{
	const struct platform_ports *out = p->config.ports;

	if (len < 4)
		value &= (1u << len * 8) - 1;
	if (port == RESET_PORT && len == 1) {
		if (value & RESET_CPU)
			request_reset(p);
	} else if (port == FW_CFG_SELECT && len == 2) {
		fw_cfg_select(&p->fw_cfg, (u16)value);
	} else if (is_pci(port)) {
		pci_write(&p->pci, port, len, value);
	} else if (is_pm(port)) {
		if (pm_write(&p->pm, now, port, len, value) && out->power_off)
			out->power_off(p->config.ctx);
	} else if (port >= 0xf4 && port < 0xf8) {
		if (out->debug_exit)
			out->debug_exit(p->config.ctx, value);
	} else {
		out_wide(p, now, port, len, value);
	}
	sync(p);
}

void platform_out_string(struct platform *p, u64 now, u16 port, unsigned len, const void *data, unsigned count)
{
	const u8 *bytes = data;
	u8 chunk[128];
	unsigned n = 0;
	u32 value;

	for (unsigned i = 0; i < count; i++, bytes += len) {
		if (len == 1 && port >= 0x3f8 && port < 0x400) {
			if (out_byte(p, now, port, *bytes, &chunk[n]))
				n++;
			if (n < sizeof(chunk))
				continue;
			console_out(p, chunk, n);
			n = 0;
			continue;
		}
		value = 0;
		memcpy(&value, bytes, MIN(len, 4u));
		platform_out(p, now, port, len, value);
	}
	console_out(p, chunk, n);
	sync(p);
}

// --- MMIO and MSRs ---

bool platform_is_mmio(const struct platform *p, u64 gpa)
{
	return PAGE_OF(gpa) == IOAPIC_BASE || (lapic_mmio_enabled(&p->lapic) && PAGE_OF(gpa) == PAGE_OF(p->lapic.base));
}

u64 platform_mmio_read(struct platform *p, u64 now, u64 gpa, unsigned len)
{
	u64 mask = len >= 8 ? ~0ull : (1ull << len * 8) - 1;
	u32 offset = gpa & PAGE_MASK, value;

	if (!platform_is_mmio(p, gpa))
		return mask;
	platform_take_eoi(p);
	if (PAGE_OF(gpa) == IOAPIC_BASE)
		value = ioapic_read(&p->ioapic, offset & ~3u);
	else
		value = offset & 0xc ? 0 : lapic_read(&p->lapic, now, offset & ~3u);
	sync(p);
	return value >> (offset & 3) * 8 & mask;
}

void platform_mmio_write(struct platform *p, u64 now, u64 gpa, unsigned len, u64 value)
{
	u32 offset = gpa & PAGE_MASK;

	// Registers are 32 bits wide on 16-byte boundaries; other accesses are undefined and here without effect.
	if (!platform_is_mmio(p, gpa) || len < 4 || (offset & 0xf))
		return;
	platform_take_eoi(p);
	if (PAGE_OF(gpa) == IOAPIC_BASE)
		ioapic_write(&p->ioapic, &p->lapic, offset, (u32)value);
	else
		lapic_write(&p->lapic, now, offset, (u32)value);
	sync(p);
}

bool platform_rdmsr(struct platform *p, u64 now, u32 msr, u64 *value)
{
	bool ok;

	platform_take_eoi(p);
	ok = lapic_rdmsr(&p->lapic, now, msr, value) || kvm_rdmsr(&p->kvm, msr, value);
	sync(p);
	return ok;
}

bool platform_wrmsr(struct platform *p, u64 now, u32 msr, u64 value)
{
	bool ok;

	platform_take_eoi(p);
	ok = lapic_wrmsr(&p->lapic, now, msr, value) || kvm_wrmsr(&p->kvm, msr, value);
	sync(p);
	return ok;
}

u64 platform_get_cr8(const struct platform *p)
{
	return p->lapic.tpr >> 4;
}

void platform_set_cr8(struct platform *p, u64 value)
{
	p->lapic.tpr = (u32)(value & 15) << 4;
	sync(p);
}

void platform_iir_left(struct platform *p, u8 iir)
{
	uart_iir_left(&p->uart, iir);
	sync(p);
}

unsigned platform_console_input(struct platform *p, u64 now, const u8 *bytes, unsigned n)
{
	unsigned taken = uart_input(&p->uart, now, bytes, n);

	sync(p);
	return taken;
}

void platform_power_button(struct platform *p, u64 now)
{
	pm_advance(&p->pm, now);
	pm_power_button(&p->pm);
	sync(p);
}
