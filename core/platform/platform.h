// SPDX-License-Identifier: MIT
// The PC that an unmodified guest finds: interrupt controllers, timers, clock, serial port, ACPI and an empty PCI bus.
// See docs/design/platform.md.
//
// Everything is a state machine: `now` is guest time in nanoseconds and never decreases from call to call; effects leave
// through struct platform_ports. One struct platform is one VM's; it holds no pointers but the configuration's.
#ifndef CORE_PLATFORM_PLATFORM_H
#define CORE_PLATFORM_PLATFORM_H

#include "core/platform/fw_cfg.h"
#include "core/platform/ioapic.h"
#include "core/platform/kvm.h"
#include "core/platform/lapic.h"
#include "core/platform/pci.h"
#include "core/platform/pic.h"
#include "core/platform/pit.h"
#include "core/platform/pm.h"
#include "core/platform/rtc.h"
#include "core/platform/uart.h"
#include "core/platform/vga.h"

// Any port may be NULL.
struct platform_ports {
	void (*console_out)(void *ctx, const u8 *bytes, unsigned n);
	void (*power_off)(void *ctx);
	void (*reset)(void *ctx);
	void (*debug_exit)(void *ctx, u32 value);
	void (*guest_panic)(void *ctx); // the guest's kernel says that it panicked (QEMU's pvpanic device)
	void (*irq_changed)(void *ctx); // an interrupt or NMI may now be deliverable that was not before
	// Guest RAM within a page, for the structures of kvm.h. False, and nothing done: not all of it is RAM.
	bool (*ram_read)(void *ctx, u64 gpa, void *buf, unsigned len);
	bool (*ram_write)(void *ctx, u64 gpa, const void *buf, unsigned len);
};

struct platform_config {
	const struct platform_ports *ports;
	void *ctx;
	u64 mem_low, mem_high; // bytes of RAM below and above 4 GiB
	u64 wall_seconds;      // since 1970, at now == 0: what the RTC shows
	u32 tsc_khz;           // for the TSC deadline timer
	u64 tsc_base;          // guest TSC at now == 0
	bool x2apic;           // offer x2APIC mode
	bool tsc_deadline;     // offer the TSC deadline timer
	bool kvm;              // offer KVM's clock, silent EOI and stolen time; needs tsc_khz and the RAM ports
};

struct platform {
	struct platform_config config;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct lapic lapic;
	struct ioapic ioapic;
	struct pci pci;
	struct pm pm;
	struct fw_cfg fw_cfg;
	struct kvm_guest kvm;
	struct vga vga;
	u32 external; // lines that platform_set_irq() holds, by gsi
	u8 post;      // last value of port 0x80
	u8 port_92;
	bool deliverable; // what irq_changed last told
	u64 unknown_in, unknown_out, last_unknown_port;
};

void platform_init(struct platform *p, const struct platform_config *c);

// As firmware leaves it for real mode: the timer runs (18.2 Hz) and its interrupt is unmasked.
void platform_start_timer(struct platform *p, u64 now);

// len 1, 2 or 4. Unknown ports read all ones and drop writes.
u32 platform_in(struct platform *p, u64 now, u16 port, unsigned len);
void platform_out(struct platform *p, u64 now, u16 port, unsigned len, u32 value);
// REP OUTS: `count` elements of len bytes; console bytes leave in one piece.
void platform_out_string(struct platform *p, u64 now, u16 port, unsigned len, const void *data, unsigned count);

// A device answers at gpa (LAPIC, IOAPIC). Other addresses read all ones and drop writes.
bool platform_is_mmio(const struct platform *p, u64 gpa);
u64 platform_mmio_read(struct platform *p, u64 now, u64 gpa, unsigned len);
void platform_mmio_write(struct platform *p, u64 now, u64 gpa, unsigned len, u64 value);

// MSRs that devices own: APIC_BASE, TSC_DEADLINE, x2APIC, KVM's. False: #GP.
bool platform_rdmsr(struct platform *p, u64 now, u32 msr, u64 *value);
bool platform_wrmsr(struct platform *p, u64 now, u32 msr, u64 value);
u64 platform_get_cr8(const struct platform *p);
void platform_set_cr8(struct platform *p, u64 value);

// Absolute time of the next timer event (may lie in the past if it is overdue), NEVER (~0) for none.
u64 platform_next_event(const struct platform *p, u64 now);
void platform_advance(struct platform *p, u64 now);

// Where silent EOI is on: before the guest runs natively, and after. In between the guest may end the interrupt in service
// by clearing a bit in its own memory.
void platform_offer_eoi(struct platform *p);
void platform_take_eoi(struct platform *p);

// The VM has waited for a CPU so long since it was created (ns).
void platform_stolen(struct platform *p, u64 ns);

// Something the CPU would accept with IF=1: a LAPIC vector above PPR, or the PIC's output where LINT0 lets it through.
bool platform_interrupt_pending(const struct platform *p);
// Acknowledges it: the vector, or -1.
int platform_acknowledge(struct platform *p, u64 now);
static inline bool platform_nmi_pending(const struct platform *p) // inline: asked at each exit
{
	return p->lapic.nmi_pending;
}
bool platform_take_nmi(struct platform *p);

// For the caller that serves some of the UART's accesses itself (uart_plain_output): its reads of IIR left `iir` there.
void platform_iir_left(struct platform *p, u8 iir);
unsigned platform_console_input(struct platform *p, u64 now, const u8 *bytes, unsigned n);
void platform_power_button(struct platform *p, u64 now);
// Input pin of the PIC (below 16) and of the IOAPIC, for devices that live elsewhere. gsi below 24.
void platform_set_irq(struct platform *p, unsigned gsi, bool level);

#endif
