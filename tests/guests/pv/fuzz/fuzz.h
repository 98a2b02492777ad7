// SPDX-License-Identifier: MIT
// Random hypercalls of a real guest, over the gate: seed=, count= (base 16) on the command line. Each call's arguments are plausible ones,
// now and then others. The kernel lives on by what it leaves out: its own image, tables and handlers are never offered to be written, and
// what it needs of the rest is set again afterwards.
#ifndef TESTS_PV_FUZZ_H
#define TESTS_PV_FUZZ_H

#include "tests/guests/pv/harness/pv.h"
#include <xen/errno.h>
#include <xen/nmi.h>

struct call {
	unsigned nr;
	u64 a[4];
	void (*after)(s64 result); // NULL: nothing is to be done when it succeeded
};

// ---- arena.c: frames that are the fuzzer's to lose, addresses where they are mapped, tables made of them
#define POOL 128u
#define BALLOON 64u // from here on they come and go
#define PLANTED 4u  // the first are tables, of level 1 to 4, now and then
#define GONE (~0ull)
#define ARENA (1ull << 30)
#define SLOTS 500u // addresses that calls may map at
#define WORKSHOP (ARENA + 510 * PAGE_SIZE)
extern u64 pool[POOL];
extern u64 seed, kernel_l1;
void arena_set_up(void);
void arena_clear(void); // nothing is mapped or pinned any more
void arena_plant(void); // a table with sensible entries
u64 random64(void), below(u64 n);
bool rarely(void);
u64 pool_frame(void);    // or one that nobody may write
u64 any_frame(void);     // or one of the kernel's own
u64 arena_va(void);      // or no good address
u64 entry(void);         // of a page table
u64 entry_address(void); // of a page table's entry, as mmu_update has it
void own_hands(void);    // what needs no call

// ---- calls.c, memory.c: a call each
#define SEVERAL 6u           // in one multicall, each with a page for
extern u64 *args, list[512]; // arguments
void args_of(unsigned nth);
u64 put(const void *bytes, size_t n);
#define PUT(...) put(&(__VA_ARGS__), sizeof(__VA_ARGS__))
u64 elsewhere(u64 at); // now and then, where it may not be mapped
u16 domain(void);
struct call any_call(void), memory_call(void), grant_call(void);
void grants_clear(void);
void calls_set_up(void);
void restore(void); // what the kernel needs

#endif
