// SPDX-License-Identifier: MIT
// What a paravirtual test kernel has from the harness. Each is a folder beside it, with its `cases`.
#ifndef TESTS_PV_H
#define TESTS_PV_H

#include "base/gate.h"
#include "base/string.h"
#include "base/types.h"
#include "base/x86.h"
#define __XEN_INTERFACE_VERSION__ 0x00040e00
#include <xen/xen.h>
#include <xen/callback.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

// By entry.S.
struct frame {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};
#define CAME_SYSCALL 0x100u
#define CAME_EVENT 0x101u
#define CAME_FAILSAFE 0x102u
#define CAME(vector) ((vector) + 1u) // as attempt() returns it

extern struct start_info *start_info;
extern struct frame got;         // what came last, other than events
extern u8 got_mask;              // of events, when it came
extern volatile unsigned events; // that came
extern unsigned nmis;            // that came while they are counted; else they are exceptions like others
extern bool count_nmis;
extern bool keep_pending; // the event handler leaves all as it is
extern const u8 stubs[], user_syscall[], user_sysenter[];
extern const u8 user_in[], user_out[]; // of port 0x61, then #UD
void on_syscall(void), on_event(void), on_failsafe(void);
unsigned attempt(void (*fn)(u64), u64 arg);
void iret(struct iret_context *c) __attribute__((noreturn));
void call_on(u64 rsp, u64 nr, u64 a0, u64 a1) __attribute__((noreturn));

static inline s64 hypercall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	register u64 r10 __asm__("r10") = a3;

	__asm__ volatile("syscall"
			 : "+a"(nr), "+D"(a0), "+S"(a1), "+d"(a2), "+r"(r10)
			 :
			 : "rcx", "r11", "r8", "r9", "memory");
	return (s64)nr;
}
#define CALL(name, ...) CALL_(name, ##__VA_ARGS__, 0, 0, 0, 0)
#define CALL_(name, a, b, c, d, ...) hypercall(__HYPERVISOR_##name, (u64)(a), (u64)(b), (u64)(c), (u64)(d))

// kernel.c
void print(const char *s);
bool check(bool good, const char *what, u64 detail);            // prints what is wrong
unsigned run_user(const void *rip, u64 rflags, unsigned flags); // as attempt()
void set_handlers(void); // what comes goes to handle()
u64 argument(const char *name, u64 otherwise); // `name` and a number in base 16 on the command line
struct iret_context user_context(const void *rip, u64 rflags, unsigned flags);
void enter_user(u64 context); // for attempt(): iret
struct shared_info *shared(void);
extern u64 program_root[512]; // programs' tables from the start: their root, a copy of the first one
#define IN_SYSCALL VGCF_in_syscall  // of a frame: SYSRET may do
extern struct trap_info traps[257]; // as given to set_trap_table

// memory.c
u64 mfn_of(const void *p); // of an address in the image
u64 *page(unsigned n);     // n-th of PAGES, zeroed, mapped writable
#define IMAGE_START 0x100000 // by kernel.lds
#define PAGES 48
s64 map_at(const void *p, u64 entry);
s64 remap(const void *p, u64 flags); // of the image, where it is: 0 unmaps
u64 leaf(const void *p, u64 flags);  // an entry for it
s64 store(u64 mfn, unsigned slot, u64 value);
s64 ext(unsigned cmd, u64 arg1, u64 arg2);
u64 *table_of(u64 va, unsigned level); // that maps va now, as the kernel sees it (read-only)
s64 pin(void *p, unsigned level);      // a page as a table of that level; its contents are in place already
s64 unpin(void *p);
bool is_own(u64 mfn);
void poke(u64 at), peek(u64 at); // for attempt()
#define NOT_OURS 10
extern const u64 not_ours[NOT_OURS];
#define UNCANONICAL 0x0000800000000000ull

// events.c
u32 bind_ipi(void);
s64 port_op(unsigned cmd, u32 port);

// grants.c
extern struct grant_entry_v1 *grant_table;
s64 grant(unsigned cmd, void *op);
bool set_up_grants(void);
void offer(unsigned ref, const void *p, unsigned flags);
s16 grant_map(unsigned ref, u64 at, unsigned flags, u32 *handle);
s16 grant_unmap(u32 handle, u64 host, u64 bus);

// segments.c: for attempt()
void load_fs(u64 selector), far_call(u64 selector), int_at(u64 code);
void read_msr(u64 msr), write_msr(u64 msr);
extern u64 msr_value;

#define KERNEL_RO (PTE_P | PTE_U | PTE_A | PTE_D) // programs reach all that the kernel has in its lower half
#define KERNEL_RW (KERNEL_RO | PTE_W)
#define TABLE (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

struct pv_case {
	const char *name;
	void (*run)(void);
	bool fatal; // may end the VM: only when asked for by name
};
extern const struct pv_case cases[]; // of the folder

#endif
