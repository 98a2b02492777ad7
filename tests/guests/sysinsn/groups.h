// SPDX-License-Identifier: MIT
// The groups of cases, by file, and how many cases each has.
#ifndef TESTS_SYSINSN_GROUPS_H
#define TESTS_SYSINSN_GROUPS_H

#include "tests/guests/sysinsn/cases.h"

#define SELS WORLD_SELECTORS
#define FLAG_VALUES 12

// groups_flags.c
#define N_FLAGS (ENTRIES * 4 * 2 * (4 + 2 * FLAG_VALUES))
#define N_IRET_FLAGS (ENTRIES * 5 * FLAG_VALUES * 3 * 2)
#define N_IRET_CS (ENTRIES * 2 * SELS)
#define N_IRET_SS (3 * 4 * SELS)
#define N_IRET_ODD (ENTRIES * 4 * 12)
// groups_segment.c
#define N_QUERY (3 * 4 * 2 * SELS)
#define N_LOAD (2 * 5 * 2 * SELS)
#define N_LOAD_LEGACY (2 * 3 * 4 * SELS)
#define N_FAR_POINTER (ENTRIES * 5 * SELS)
#define N_SYSTEM_SELECTOR (ENTRIES * 2 * 2 * SELS)
#define N_TABLES (ENTRIES * 8 * 6)
#define N_SELECTORS (ENTRIES * 12 * 3)
// groups_far.c
#define N_FAR_JMP (ENTRIES * 2 * SELS)
#define N_FAR_CALL (ENTRIES * 2 * SELS)
#define N_FAR_RET (ENTRIES * 2 * SELS)
#define N_FAR_RET_SS (3 * 4 * SELS)
#define N_FAR_ODD (ENTRIES * 3 * 8)
#define N_FAR_GATE (ENTRIES * 2 * SELS)
#define N_FAR_GATE_ODD (ENTRIES * 2 * 14)
// groups_int.c
#define N_INT_VECTOR (ENTRIES * (256 + 5))
#define N_INT_GATE (ENTRIES * 16 * 2 * 2 * 2)
#define N_INT_SELECTOR (ENTRIES * SELS)
#define N_INT_STACK (ENTRIES * 8 * 6)
#define N_INT_ODD (ENTRIES * 9 * 3)
#define N_DOUBLE_FAULT (ENTRIES * 8 * 10 * 3)
// groups_system.c
#define N_PRIVILEGED (ENTRIES * 3 * 44)
#define N_MSR (3 * 18 * 12)
#define N_CR (2 * 16 * 18)
#define N_CR0_WORD (ENTRIES * 4 * 16)
#define N_DR (ENTRIES * 2 * 8 * 6)
#define N_SYSCALL (ENTRIES * 6 * 8 * 2)
#define N_SYSRET (ENTRIES * 2 * 8 * 4)
#define N_SYSENTER (ENTRIES * 2 * 5)
#define N_BASES (ENTRIES * 8 * 10)
#define N_SMAP (ENTRIES * 2 * 4)
// groups_memory.c
#define N_IO (ENTRIES * 4 * 6 * 12 * 2)
#define N_IO_STRING (ENTRIES * 2 * 3 * 2 * 5 * 2)
#define N_STRING (ENTRIES * 3 * 4 * 3 * 3)
#define N_MEMORY (ENTRIES * 5 * 6 * 8)
#define N_CANONICAL (2 * 10 * 8)
#define N_LOCK (512 * 2)
#define N_ALIGNMENT (ENTRIES * 2 * 2 * 6)

#define MAKE(name) void make_##name(unsigned i, struct sys_case *c)
MAKE(flags);
MAKE(iret_flags);
MAKE(iret_cs);
MAKE(iret_ss);
MAKE(iret_odd);
MAKE(query);
MAKE(load);
MAKE(load_legacy);
MAKE(far_pointer);
MAKE(system_selector);
MAKE(tables);
MAKE(selectors);
MAKE(far_jmp);
MAKE(far_call);
MAKE(far_ret);
MAKE(far_ret_ss);
MAKE(far_odd);
MAKE(far_gate);
MAKE(far_gate_odd);
MAKE(int_vector);
MAKE(int_gate);
MAKE(int_selector);
MAKE(int_stack);
MAKE(int_odd);
MAKE(double_fault);
MAKE(privileged);
MAKE(msr);
MAKE(cr);
MAKE(cr0_word);
MAKE(dr);
MAKE(syscall);
MAKE(sysret);
MAKE(sysenter);
MAKE(bases);
MAKE(smap);
MAKE(io);
MAKE(io_string);
MAKE(string);
MAKE(memory);
MAKE(canonical);
MAKE(lock);
MAKE(alignment);

extern const u64 flag_values[FLAG_VALUES];
// Frame of IRET or far RET at the case's RSP: `n` words of `width` bytes.
void case_frame(struct sys_case *c, unsigned width, unsigned n, const u64 *words);

#endif
