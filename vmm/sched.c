// SPDX-License-Identifier: MIT
// The loop of each CPU, and what reaches into it from others.
//
// Invariants
//  - A vCPU's registers are in at most one CPU (entity.held), and only that CPU touches struct vcpu beyond `requests`, but for
//    counters that others read.
//  - A VM ends, starts again and is freed on the CPU that had its vCPU last.
//  - `look_ns` of a CPU is the queue's, computed under the lock; who changes another CPU's queue sets its `again` and kicks it.
#include "vmm/sched.h"

#include "base/assert.h"
#include "base/trace.h"
#include "core/sched/sched.h"
#include "machine/cpu/cpu.h"
#include "machine/cpu/smp.h"
#include "machine/cpu/spinlock.h"
#include "machine/irq/lapic.h"
#include "machine/irq/time.h"
#include "vmm/service.h"
#include "vmm/vms.h"

struct cpu_sched {
	struct sched_queue *queue;
	volatile bool again; // the queue has changed
	u64 look_ns;
};

static struct spinlock lock;
static struct sched sched;
static struct cpu_sched cpus[CPUS_MAX];

_Static_assert(CPUS_MAX <= SCHED_CPUS_MAX, "a queue for each CPU");

static struct cpu_sched *mine(void)
{
	return &cpus[this_cpu()->id];
}

static struct vcpu *vcpu_of(struct sched_entity *e)
{
	return e ? container_of(e, struct vcpu, entity) : NULL;
}

void sched_start(void)
{
	sched_init(&sched, cpu_count());
	for (unsigned i = 0; i < cpu_count(); i++)
		cpus[i].queue = &sched.queue[i];
}

// After the lock is released: telling is an interrupt, and the other CPU will want the lock.
static void tell(u64 mask)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		if (!(mask & BIT(i)))
			continue;
		cpus[i].again = true;
		if (i != this_cpu()->id)
			smp_kick(i);
	}
}

// ---- from anywhere

void vcpu_start(struct vcpu *v)
{
	struct sched_queue *q;

	sched_entity_init(&v->entity, v->vm->config.cpu_weight, v->vm->config.cap);
	spin_lock(&lock);
	q = sched_add(&sched, &v->entity, time_ns());
	spin_unlock(&lock);
	tell(BIT(q->cpu));
}

void vcpu_kick(struct vcpu *v)
{
	struct sched_entity *e = &v->entity;
	struct sched_queue *q = NULL;

	spin_lock(&lock);
	v->requests = 1;
	if (e->state == SCHED_OFF && (!v->vm->paused || v->vm->killed))
		q = sched_add(&sched, e, time_ns());
	else if (e->state == SCHED_BLOCKED)
		q = sched_wake(&sched, e, time_ns());
	else if (e->state == SCHED_RUNNING)
		q = e->queue;
	spin_unlock(&lock);
	if (q)
		tell(BIT(q->cpu));
}

void vcpu_remove(struct vcpu *v)
{
	spin_lock(&lock);
	assert(!v->entity.held);
	sched_remove(&sched, &v->entity, time_ns());
	spin_unlock(&lock);
}

void vcpu_share(struct vcpu *v, u32 weight, u32 cap)
{
	struct sched_queue *q;

	spin_lock(&lock);
	sched_set_share(&sched, &v->entity, weight, cap, time_ns());
	q = v->entity.queue;
	spin_unlock(&lock);
	if (q)
		tell(BIT(q->cpu));
}

struct vcpu_times vcpu_times(struct vcpu *v)
{
	struct vcpu_times t;

	spin_lock(&lock);
	sched_account(&sched, &v->entity, time_ns());
	t = (struct vcpu_times){v->entity.run_ns, v->entity.ready_ns};
	spin_unlock(&lock);
	return t;
}

// ---- a CPU's own

bool sched_turn_ended(struct vcpu *v, u64 now)
{
	struct cpu_sched *c = mine();
	u64 others = 0;
	bool ended;

	if (likely(!c->again && now < c->look_ns))
		return false;
	spin_lock(&lock);
	c->again = false;
	ended = sched_tick(&sched, c->queue, now, &others);
	c->look_ns = sched_look_at(&sched, c->queue);
	spin_unlock(&lock);
	tell(others);
	return ended;
}

u64 sched_ask_again(void)
{
	return mine()->look_ns;
}

static void put_away(struct vcpu *v)
{
	vcpu_unload(v);
	spin_lock(&lock);
	v->entity.held = false;
	spin_unlock(&lock);
}

// What follows from why the vCPU left vcpu_run(). A request that came meanwhile keeps it awake.
static void leave(struct vcpu *v)
{
	bool pause = v->leave == LEAVE_PAUSED;
	u64 now, wake;

	if (pause)
		vcpu_unload(v);
	now = time_ns();
	wake = vcpu_next_event(v, now);
	spin_lock(&lock);
	if (pause) {
		v->entity.held = false;
		if (v->vm->paused && !v->vm->killed)
			sched_remove(&sched, &v->entity, now);
	} else if (v->leave == LEAVE_HALTED && !v->requests) {
		trace(SCHED, TRACE_SCHED_HALTED, 0, 0, 0, 0);
		v->halted_ns = now;
		sched_block(&sched, &v->entity, wake, now);
	}
	spin_unlock(&lock);
}

static struct vcpu *choose(struct cpu_sched *c)
{
	struct vcpu *loaded = this_cpu()->vcpu, *v;
	u64 others = 0;

	spin_lock(&lock);
	c->again = false;
	v = vcpu_of(sched_choose(&sched, c->queue, time_ns(), &others));
	c->look_ns = sched_look_at(&sched, c->queue);
	if (v)
		v->entity.held = true;
	spin_unlock(&lock);
	tell(others);
	if (v && v != loaded) {
		if (loaded)
			put_away(loaded);
		vcpu_load(v);
	}
	if (v && v->halted_ns) {
		trace(SCHED, TRACE_SCHED_WOKEN, time_ns() - v->halted_ns, 0, 0, 0);
		v->halted_ns = 0;
	}
	return v;
}

// Nothing to run: the registers of the one that ran last stay here, it may well be the next.
static void idle(struct cpu_sched *c)
{
	u64 now = time_ns(), at = c->look_ns;

	if (this_cpu()->id == 0)
		at = MIN(at, now + SERVICE_PERIOD_NS);
	if (c->again || at <= now)
		return;
	if (at == SCHED_NEVER)
		timer_cancel();
	else
		timer_arm(rdtsc() + ns_to_tsc(at - now));
	sti_hlt();
	cli();
}

void sched_run(void)
{
	struct cpu_sched *c = mine();

	for (;;) {
		struct vcpu *v = choose(c);

		if (v && !v->vm->restarting) {
			vcpu_run(v);
			if (v->vm->state == VM_ENDED) {
				put_away(v); // it stays the queue's current one, so that nobody starts it, until it is removed
				vm_finish(v->vm);
			} else {
				leave(v);
			}
			continue;
		}
		if (v) {
			put_away(v);
			vm_restart_on(v->vm);
		} else {
			idle(c);
		}
		if (this_cpu()->id == 0)
			service_poll();
	}
}

static void run_other(void *arg)
{
	sched_run();
}

void sched_run_others(void)
{
	for (unsigned i = 1; i < cpu_count(); i++)
		if (!smp_run(i, run_other, NULL))
			panic("CPU %u has other work", i);
}
