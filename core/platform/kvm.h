// SPDX-License-Identifier: MIT
// KVM's paravirtual interface, as far as an unmodified Linux uses it here: its clock, its wall clock, interrupts that end without
// an exit, and the time that the VM waited for a CPU (Linux Documentation/virt/kvm/x86/{cpuid,msr}.rst, hypercalls.rst).
#ifndef CORE_PLATFORM_KVM_H
#define CORE_PLATFORM_KVM_H

#include "base/types.h"

#define MSR_KVM_WALL_CLOCK 0x11
#define MSR_KVM_SYSTEM_TIME 0x12
#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define MSR_KVM_STEAL_TIME 0x4b564d03
#define MSR_KVM_PV_EOI_EN 0x4b564d04
#define KVM_MSR_ENABLED BIT(0)
#define KVM_PV_EOI_FLAG 1 // in the guest's byte
#define PVCLOCK_TSC_STABLE 1
#define KVM_ENOSYS 1000

struct pvclock_time {
	u32 version; // odd while it is being written
	u32 pad;
	u64 tsc_timestamp, system_time;
	u32 mul;
	s8 shift;
	u8 flags, pad2[2];
};
_Static_assert(sizeof(struct pvclock_time) == 32, "ABI");

struct pvclock_wall {
	u32 version, sec, nsec;
};

struct kvm_steal_time {
	u64 steal;   // ns
	u32 version; // odd while it is being written
	u32 flags;
	u8 preempted, pad[47];
};
_Static_assert(sizeof(struct kvm_steal_time) == 64, "ABI");

// Guest RAM. False, and nothing done: not all of it is RAM. The range never crosses a page.
struct kvm_memory {
	bool (*read)(void *ctx, u64 gpa, void *buf, unsigned len);
	bool (*write)(void *ctx, u64 gpa, const void *buf, unsigned len);
	void *ctx;
};

struct kvm_guest {
	struct kvm_memory memory;
	u32 tsc_khz;                                     // 0: nothing is offered
	u64 tsc_base, wall_seconds;                      // TSC and seconds since 1970 at guest time 0
	u64 system_time, wall_clock, pv_eoi, steal_time; // the MSRs
	u64 stolen;                                      // ns that the VM has waited since it was created
	u64 stolen_told;                                 // as far as the guest knows, or came before it asked
	bool eoi_offered;                                // the guest's byte says: clear me instead of writing EOI
};

void kvm_init(struct kvm_guest *k, const struct kvm_memory *m, u32 tsc_khz, u64 tsc_base, u64 wall_seconds);
// False: #GP.
bool kvm_rdmsr(const struct kvm_guest *k, u32 msr, u64 *value);
bool kvm_wrmsr(struct kvm_guest *k, u32 msr, u64 value);
// The caller guarantees that the interrupt in service may end without being told at once.
void kvm_offer_eoi(struct kvm_guest *k);
// True, once: the guest has taken the offer and the interrupt in service has ended.
bool kvm_eoi_taken(struct kvm_guest *k);
void kvm_withdraw_eoi(struct kvm_guest *k);
// The VM has waited so long since it was created; the guest sees it if it has asked to. Never decreases.
void kvm_stolen(struct kvm_guest *k, u64 ns);
// ns = (ticks shifted left by *shift) * *mul >> 32, for a TSC of khz (1 and more).
void pvclock_scale(u32 khz, u32 *mul, s8 *shift);

#endif
