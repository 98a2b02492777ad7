// SPDX-License-Identifier: MIT
// The machine that the host command gives the hypervisor, and what hypervisor and command agree on about it. Bare runs
// that we compare with use the same machine.
#ifndef ABI_MACHINE_H
#define ABI_MACHINE_H

// The one place that names the CPU model: QEMU's plainest 64-bit CPU plus what the design relies on (FSGSBASE, SMEP,
// SMAP, UMIP) and what common 64-bit kernels and programs expect. No PCID, x2APIC or TSC deadline: QEMU 7.2's TCG has
// none. ERMS is left out on purpose: TCG then copies byte by byte. So is XSAVE: stock Linux 6.1 hangs on a bare qemu64 with it.
#define TZ_CPU_MODEL "qemu64,+fsgsbase,+smep,+smap,+umip,+rdtscp,+popcnt,+ssse3,+sse4.1,+sse4.2,+rdrand"
#define TZ_MACHINE_CPUS 2
#define TZ_MACHINE_MEMORY "2G"

// What the hypervisor needs at least, for itself and for each VM beside the VM's own memory: a machine that has less is refused
// before it starts. Lower bounds: vmm/vm.c asserts that it takes no less.
#define TZ_HV_MEMORY (3ull << 20)
#define TZ_VM_OVERHEAD (10ull << 20)

// A guest, or the hypervisor at the very end, writes here; QEMU's isa-debug-exit ends with (v << 1) | 1.
#define TZ_DEBUG_EXIT_PORT 0xf4

// COM1 carries the hypervisor's log, COM2 the control channel (docs/control.md).
#define TZ_LOG_PORT 0x3f8
#define TZ_CONTROL_PORT 0x2f8

#endif
