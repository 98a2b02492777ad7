// SPDX-License-Identifier: MIT
// KVM's MSRs and the structures in guest memory behind them. Guest time is a linear function of the TSC that holds from
// creation to the end of a VM, so a clock structure is written once, when the guest names its place, and never goes stale.
//
// Invariants
//  - An address is the guest's word: aligned, within one page, and RAM, or nothing is written.
//  - eoi_offered implies that the guest's byte was written with the flag set and has not been looked at since.
#include "core/platform/kvm.h"
#include "base/string.h"

#define NS_PER_MS 1000000ull
#define GIGA 1000000 // in kHz
#define WORD_MASK 3ull
#define STEAL_RESERVED 0x3eull // the structure is aligned to its size

void kvm_init(struct kvm_guest *k, const struct kvm_memory *m, u32 tsc_khz, u64 tsc_base, u64 wall_seconds)
{
	*k = (struct kvm_guest){.memory = *m, .tsc_base = tsc_base, .wall_seconds = wall_seconds};
	if (m->read && m->write)
		k->tsc_khz = tsc_khz;
}

// The scaled frequency lies between 1 and 2 GHz, so mul keeps 31 bits.
void pvclock_scale(u32 khz, u32 *mul, s8 *shift)
{
	s8 s = 0;

	while (s > -12 && (khz >> -s) > 2 * GIGA)
		s--;
	while (s >= 0 && ((u64)khz << s) <= GIGA)
		s++;
	*shift = s;
	*mul = (u32)(s < 0 ? (NS_PER_MS << (32 - s)) / khz : (NS_PER_MS << 32) / ((u64)khz << s));
}

// Version first, odd, then the rest, then the version, even: readers retry (pvclock-abi.h).
static bool publish(struct kvm_guest *k, u64 gpa, void *structure, unsigned len)
{
	const struct kvm_memory *m = &k->memory;
	u32 version;

	if ((gpa & PAGE_MASK) + len > PAGE_SIZE || !m->read(m->ctx, gpa, &version, sizeof(version)))
		return false;
	version |= 1;
	memcpy(structure, &version, sizeof(version));
	if (!m->write(m->ctx, gpa, structure, len))
		return false;
	version++;
	return m->write(m->ctx, gpa, &version, sizeof(version));
}

static void publish_time(struct kvm_guest *k, u64 gpa)
{
	struct pvclock_time t = {.tsc_timestamp = k->tsc_base, .flags = PVCLOCK_TSC_STABLE};

	pvclock_scale(k->tsc_khz, &t.mul, &t.shift);
	(void)publish(k, gpa, &t, sizeof(t));
}

static void publish_wall(struct kvm_guest *k, u64 gpa)
{
	struct pvclock_wall w = {.sec = (u32)k->wall_seconds};

	(void)publish(k, gpa, &w, sizeof(w));
}

// --- interrupts that end without an exit ---

static u64 eoi_place(const struct kvm_guest *k)
{
	return k->pv_eoi & ~KVM_MSR_ENABLED;
}

static bool write_flag(struct kvm_guest *k, u8 flag)
{
	return k->memory.write(k->memory.ctx, eoi_place(k), &flag, 1);
}

void kvm_offer_eoi(struct kvm_guest *k)
{
	if ((k->pv_eoi & KVM_MSR_ENABLED) && !k->eoi_offered)
		k->eoi_offered = write_flag(k, KVM_PV_EOI_FLAG);
}

bool kvm_eoi_taken(struct kvm_guest *k)
{
	u8 flag;

	if (!k->eoi_offered || !k->memory.read(k->memory.ctx, eoi_place(k), &flag, 1) || (flag & KVM_PV_EOI_FLAG))
		return false;
	k->eoi_offered = false;
	return true;
}

void kvm_withdraw_eoi(struct kvm_guest *k)
{
	if (!k->eoi_offered)
		return;
	k->eoi_offered = false;
	(void)write_flag(k, 0);
}

static bool set_pv_eoi(struct kvm_guest *k, u64 value)
{
	u64 gpa = value & ~KVM_MSR_ENABLED;
	u8 flag;

	if ((gpa & WORD_MASK) || ((value & KVM_MSR_ENABLED) && !k->memory.read(k->memory.ctx, gpa, &flag, 1)))
		return false;
	kvm_withdraw_eoi(k);
	k->pv_eoi = value;
	return true;
}

// --- stolen time ---

// The sum is the guest's own memory and stays so: what it has not been told is added.
static void publish_stolen(struct kvm_guest *k)
{
	const struct kvm_memory *m = &k->memory;
	u64 gpa = k->steal_time & ~KVM_MSR_ENABLED;
	struct kvm_steal_time t;

	if (!m->read(m->ctx, gpa, &t, sizeof(t)))
		return;
	t.version |= 1;
	t.steal += k->stolen - k->stolen_told;
	t.preempted = 0;
	k->stolen_told = k->stolen;
	if (m->write(m->ctx, gpa + offsetof(struct kvm_steal_time, version), &t.version, sizeof(t.version)))
		(void)m->write(m->ctx, gpa, &t, sizeof(t));
	t.version++;
	(void)m->write(m->ctx, gpa + offsetof(struct kvm_steal_time, version), &t.version, sizeof(t.version));
}

void kvm_stolen(struct kvm_guest *k, u64 ns)
{
	k->stolen = ns;
	if ((k->steal_time & KVM_MSR_ENABLED) && k->stolen_told != ns)
		publish_stolen(k);
}

static bool set_steal_time(struct kvm_guest *k, u64 value)
{
	if (value & STEAL_RESERVED)
		return false;
	k->steal_time = value;
	k->stolen_told = k->stolen;
	if (value & KVM_MSR_ENABLED)
		publish_stolen(k);
	return true;
}

// --- MSRs ---

bool kvm_rdmsr(const struct kvm_guest *k, u32 msr, u64 *value)
{
	if (!k->tsc_khz)
		return false;
	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		*value = k->wall_clock;
		return true;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		*value = k->system_time;
		return true;
	case MSR_KVM_PV_EOI_EN:
		*value = k->pv_eoi;
		return true;
	case MSR_KVM_STEAL_TIME:
		*value = k->steal_time;
		return true;
	}
	return false;
}

// A clock's place that is not RAM is no fault, as KVM has it; a misaligned one is.
bool kvm_wrmsr(struct kvm_guest *k, u32 msr, u64 value)
{
	u64 gpa = value;

	if (!k->tsc_khz)
		return false;
	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_NEW:
		if (gpa & WORD_MASK)
			return false;
		k->wall_clock = value;
		if (gpa)
			publish_wall(k, gpa);
		return true;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_NEW:
		gpa &= ~KVM_MSR_ENABLED;
		if (gpa & WORD_MASK)
			return false;
		k->system_time = value;
		if (value & KVM_MSR_ENABLED)
			publish_time(k, gpa);
		return true;
	case MSR_KVM_PV_EOI_EN:
		return set_pv_eoi(k, value);
	case MSR_KVM_STEAL_TIME:
		return set_steal_time(k, value);
	}
	return false;
}
