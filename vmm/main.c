// SPDX-License-Identifier: MIT
// Where the machine layer hands over: says what the machine is, then runs what it was started with.
#include "base/assert.h"
#include "base/log.h"
#include "machine/boot/boot_info.h"
#include "machine/cpu/cpu.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/launch.h"
#include "vmm/selftest.h"

static void show_machine(const struct boot_info *bi)
{
	struct frame_counts c = frame_counts();

	log_info("entered by %s, command line \"%s\"", bi->loader, bi->cmdline);
	log_info("%u CPUs (%s), TSC %lu kHz by %s", cpu_count(), cpu_features.vendor, tsc_khz(), tsc_source());
	log_info("memory: %lu MiB, %lu MiB free, %lu KiB reserved, %lu KiB used", c.total >> 8, c.free >> 8, c.reserved << 2,
		 c.used << 2);
	for (u32 i = 0; i < bi->module_count; i++)
		log_info("module %u: %lu KiB at 0x%lx \"%s\"", i, (bi->modules[i].len + 1023) >> 10,
			 bi->modules[i].start, bi->modules[i].name);
}

void vmm_main(const struct boot_info *bi)
{
	show_machine(bi);
	selftest_run(bi);
	vmm_launch(bi);
}
