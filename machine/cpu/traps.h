// SPDX-License-Identifier: MIT
// Exceptions and interrupts that arrive in ring 0: the frame, the dispatcher, and the fix-up table for instructions
// that may fault (rdmsr_safe and relatives). The gate hands its own ring-0 traps to trap_handle() too.
#ifndef MACHINE_CPU_TRAPS_H
#define MACHINE_CPU_TRAPS_H

#define TRAP_STUB_SIZE 16

#define TIMER_VECTOR 0xec
#define KICK_VECTOR 0xed // wakes a CPU, runs smp_run()'s work
#define ERROR_VECTOR 0xfe
#define SPURIOUS_VECTOR 0xff
#define SERIAL_VECTOR 0x34 // COM1; COM2 is one below
#define VIRTIO_VECTOR 0x35
#define FIRST_IRQ_VECTOR 0x20

#ifndef __ASSEMBLER__
#include "base/types.h"

// As machine/cpu/trap_entry.S pushes it; lowest address first.
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error; // error 0 where the CPU pushes none
	u64 rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "trap_entry.S");

void trap_handle(struct trap_frame *f);

// Interrupt handlers run with interrupts off, after EOI. One per vector.
typedef void (*irq_handler)(struct trap_frame *f, void *arg);
void irq_set_handler(unsigned vector, irq_handler fn, void *arg);

const char *trap_name(unsigned vector);

// Link-time ports, provided by vmm/panic.c. The first stops the machine with a report about the trap; the second is
// asked whether an NMI is the panicking CPU's stop signal.
NORETURN void trap_fatal(const struct trap_frame *f);
bool panic_in_progress(void);

// After a fault at instruction `from`, go on at `to` (labels).
#define EX_TABLE(from, to) ".pushsection ex_table, \"a\"\n.long " #from " - ., " #to " - .\n.popsection\n"

// False when the machine has no such register (#GP).
bool rdmsr_safe(u32 msr, u64 *value);
bool wrmsr_safe(u32 msr, u64 value);
// False when the address faults.
bool read_u64_safe(u64 va, u64 *value);
#endif
#endif
