// SPDX-License-Identifier: MIT
// Test-and-set spin lock. The _irqsave forms are for data that interrupt handlers share.
#ifndef MACHINE_CPU_SPINLOCK_H
#define MACHINE_CPU_SPINLOCK_H

#include "machine/cpu/asm.h"

struct spinlock {
	volatile u32 held;
};

static inline bool spin_trylock(struct spinlock *l)
{
	return !__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_lock(struct spinlock *l)
{
	while (!spin_trylock(l))
		while (l->held)
			cpu_relax();
}

static inline void spin_unlock(struct spinlock *l)
{
	__atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

static inline u64 spin_lock_irqsave(struct spinlock *l)
{
	u64 flags = irq_save();

	spin_lock(l);
	return flags;
}

static inline void spin_unlock_irqrestore(struct spinlock *l, u64 flags)
{
	spin_unlock(l);
	irq_restore(flags);
}

#endif
