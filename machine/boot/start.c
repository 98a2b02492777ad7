// SPDX-License-Identifier: MIT
// From the first C instruction to vmm_main(): each step needs the ones before it.
#include "base/string.h"
#include "machine/boot/acpi.h"
#include "machine/boot/boot_info.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/smp.h"
#include "machine/io/serial.h"
#include "machine/io/virtio_console.h"
#include "machine/irq/ioapic.h"
#include "machine/irq/lapic.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "machine/mm/paging.h"

extern char boot_cpu_block[];
static u64 boot_cpu_gdt[GDT_BYTES / 8] __attribute__((aligned(4096)));

NORETURN void boot_start(u32 magic, u32 info);

// `control=com2`: the control channel stays on the serial port.
static void start_virtio_console(const struct boot_info *bi)
{
	char value[8];

	if (boot_option(bi, "control", value, sizeof(value)) && !strcmp(value, "com2"))
		return;
	virtio_console_init();
	virtio_console_irq_init();
}

void boot_start(u32 magic, u32 info)
{
	const struct boot_info *bi;

	serial_init();
	pic_mask();
	cpu_features_init();
	pcpu_install(pcpu_init(boot_cpu_block, 0, cpuid(1, 0).ebx >> 24, boot_cpu_gdt));
	cpu_enable_features();
	bi = boot_info_parse(magic, info);
	frames_init(bi);
	mm_init(bi);
	acpi_init(bi);
	lapic_start();
	this_cpu()->apic_id = lapic_id();
	time_init();
	ioapic_start();
	serial_irq_init();
	start_virtio_console(bi);
	smp_init();
	vmm_main(bi);
}
