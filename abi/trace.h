// SPDX-License-Identifier: MIT
// What trace records mean: the hypervisor writes and sends numbers (base/trace.h), the host command gives them names from
// these lists. A category is a bit of one mask; an event is a category and an id.
#ifndef ABI_TRACE_H
#define ABI_TRACE_H

// X(name, text, what): the order gives the bit.
#define TRACE_CATEGORIES(X)                                                       \
	X(TRAP, "trap", "traps of the hypervisor's own code")                     \
	X(IRQ, "irq", "interrupts of the machine in the hypervisor world")        \
	X(EXIT, "exit", "exits of guests, with what they cost")                   \
	X(ENTRY, "entry", "entries into guest worlds")                            \
	X(EMUL, "emul", "instructions emulated")                                  \
	X(BT, "bt", "translator: blocks linked, indirect targets, code written")  \
	X(MMU, "mmu", "page faults, page-table stores, CR3 loads, INVLPG")        \
	X(PV, "pv", "hypercalls of paravirtual guests")                           \
	X(MEMORY, "memory", "guest memory taken and given back")                  \
	X(SCHED, "sched", "VMs on CPUs, idle CPUs")                               \
	X(DEVICE, "device", "port and MMIO accesses, MSRs of devices")            \
	X(TIMER, "timer", "the machine's timer armed for a VM")                   \
	X(CONTROL, "control", "requests on the control channel")                  \
	X(VM, "vm", "VMs' starts, pauses and ends")                               \
	X(INJECT, "inject", "interrupts and exceptions delivered to guests")      \
	X(TEST, "test", "the self-test's")

// X(category, id, name, argument names): "" for an argument that is not there. A name that ends in '#' is shown in decimal. An
// id of ~0 stands for every id of a category whose ids are numbers of something: those follow the event's name.
#define TRACE_EVENTS(X)                                                           \
	X(TRAP, 0xffff, "trap", "rip", "error", "cr2", "rsp")                     \
	X(IRQ, 0xffff, "interrupt", "rip", "cs", "rflags", "")                    \
	X(EXIT, 0xffff, "", "rip", "cr2", "error", "ns#")                         \
	X(ENTRY, 1, "enter", "rip", "cs", "root", "pending")                      \
	X(EMUL, 0xffff, "", "rip", "result#", "cpl#", "")                         \
	X(BT, 1, "link", "rip", "entry", "", "")                                  \
	X(BT, 2, "indirect", "target", "entry", "", "")                           \
	X(BT, 3, "code_written", "gpa", "len#", "writes#", "")                    \
	X(BT, 4, "flushed", "rip", "flushes#", "", "")                            \
	X(MMU, 1, "hidden_fault", "va", "error", "gpa", "pte")                    \
	X(MMU, 2, "guest_fault", "va", "error", "rip", "")                        \
	X(MMU, 3, "protected_write", "va", "gpa", "rip", "")                      \
	X(MMU, 4, "cr3_load", "cr3", "root", "rip", "")                           \
	X(MMU, 5, "invlpg", "va", "rip", "", "")                                  \
	X(MEMORY, 1, "vm_memory", "bytes#", "overhead#", "", "")                  \
	X(MEMORY, 2, "vm_freed", "bytes#", "", "", "")                            \
	X(SCHED, 1, "run", "", "", "", "")                                        \
	X(SCHED, 2, "stop", "ns#", "", "", "")                                    \
	X(SCHED, 3, "halted", "", "", "", "")                                     \
	X(SCHED, 4, "woken", "ns#", "", "", "")                                   \
	X(DEVICE, 1, "in", "port", "len#", "value", "")                           \
	X(DEVICE, 2, "out", "port", "len#", "value", "")                          \
	X(DEVICE, 3, "mmio_read", "gpa", "len#", "value", "")                     \
	X(DEVICE, 4, "mmio_write", "gpa", "len#", "value", "")                    \
	X(DEVICE, 5, "rdmsr", "msr", "value", "ok#", "")                          \
	X(DEVICE, 6, "wrmsr", "msr", "value", "ok#", "")                          \
	X(TIMER, 1, "armed", "in_ns#", "", "", "")                                \
	X(CONTROL, 1, "request", "", "", "", "")                                  \
	X(VM, 1, "started", "vm#", "memory#", "", "")                             \
	X(VM, 2, "ended", "vm#", "how#", "value#", "")                            \
	X(VM, 3, "paused", "vm#", "", "", "")                                     \
	X(VM, 4, "unpaused", "vm#", "", "", "")                                   \
	X(INJECT, 1, "exception", "vector#", "error", "rip", "cr2")               \
	X(INJECT, 2, "interrupt", "vector#", "rip", "", "")                       \
	X(TEST, 0xffff, "test", "a", "b", "c", "d")

enum trace_event_id {
	TRACE_ID_ANY = 0xffff,
	TRACE_ENTRY_ENTER = 1,
	TRACE_BT_LINK = 1, TRACE_BT_INDIRECT, TRACE_BT_CODE_WRITTEN, TRACE_BT_FLUSHED,
	TRACE_MMU_HIDDEN = 1, TRACE_MMU_GUEST, TRACE_MMU_WRITE, TRACE_MMU_CR3, TRACE_MMU_INVLPG,
	TRACE_MEMORY_TAKEN = 1, TRACE_MEMORY_FREED,
	TRACE_SCHED_RUN = 1, TRACE_SCHED_STOP, TRACE_SCHED_HALTED, TRACE_SCHED_WOKEN,
	TRACE_DEVICE_IN = 1, TRACE_DEVICE_OUT, TRACE_DEVICE_MMIO_READ, TRACE_DEVICE_MMIO_WRITE, TRACE_DEVICE_RDMSR,
	TRACE_DEVICE_WRMSR,
	TRACE_TIMER_ARMED = 1,
	TRACE_CONTROL_REQUEST = 1,
	TRACE_VM_STARTED = 1, TRACE_VM_ENDED, TRACE_VM_PAUSED, TRACE_VM_UNPAUSED,
	TRACE_INJECT_EXCEPTION = 1, TRACE_INJECT_INTERRUPT,
};

#endif
