// SPDX-License-Identifier: MIT
// The scheduler: which vCPU runs on which CPU, for how long, and what that costs it. See docs/design/scheduler.md.
//
// Proportional share by virtual time. Each vCPU has a clock that runs while it runs, slower the larger its weight; the one
// furthest behind is next. One queue per CPU; virtual times are comparable across queues, so a CPU whose own vCPU is far ahead
// of one that waits elsewhere fetches that one. A vCPU that has slept keeps a credit of one slice at most: it gets in front of
// those that compute (wake-up boost), and cannot save up more.
//
// Pure: functions of the state and `now` (ns, never decreasing). The caller serialises all calls for one struct sched.
//
// Invariants
//  - An entity that is not SCHED_OFF is in the list of exactly one queue; at most one of a queue's is SCHED_RUNNING, its current.
//  - floor never decreases; an entity that begins to wait has floor - SCHED_SLICE_NS (weighted) at least.
//  - run_ns + ready_ns + blocked_ns is the time since the entity was added, up to the last call that accounted it.
#ifndef CORE_SCHED_SCHED_H
#define CORE_SCHED_SCHED_H

#include "base/types.h"

#define SCHED_SLICE_NS 10000000ull    // a turn, when others wait
#define SCHED_PREEMPT_NS 1000000ull   // by so much must a woken one be behind the one that runs to interrupt it
#define SCHED_BALANCE_NS 50000000ull  // how often a busy CPU looks at the other queues
#define SCHED_MARGIN_NS 30000000ull   // by so much must one that waits elsewhere be behind to be fetched
#define SCHED_LAG_NS 200000000ull     // nobody is further behind than this
#define SCHED_CAP_PERIOD_NS 50000000ull
#define SCHED_NEVER (~0ull)
#define SCHED_CPUS_MAX 64
#define SCHED_WEIGHT_DEFAULT 256 // the times above are for this weight

enum sched_state { SCHED_OFF, SCHED_BLOCKED, SCHED_READY, SCHED_RUNNING };

struct sched_queue;

struct sched_entity {
	// The caller's.
	bool held; // its registers are in the queue's CPU: it stays there
	// For reading.
	enum sched_state state;
	struct sched_queue *queue;
	u32 weight, cap; // cap: percent of one CPU, 0: none
	u64 run_ns, ready_ns, blocked_ns;
	u64 turns, migrations, wakes;
	// The scheduler's.
	struct sched_entity *next;
	u64 vtime;
	u64 since; // accounted up to
	u64 wake;  // SCHED_BLOCKED: when it wakes by itself
	u64 period, period_used; // of the cap: start, time run in it
};

struct sched_queue {
	unsigned cpu;
	struct sched_entity *first;   // all that are at home here
	struct sched_entity *current;
	u64 turn_end, balance_at;
};

struct sched {
	unsigned cpus;
	u64 floor;
	struct sched_queue queue[SCHED_CPUS_MAX];
};

void sched_init(struct sched *s, unsigned cpus);
void sched_entity_init(struct sched_entity *e, u32 weight, u32 cap);
void sched_set_share(struct sched *s, struct sched_entity *e, u32 weight, u32 cap, u64 now);

// SCHED_OFF -> SCHED_READY, on the queue with the least load. Returns that queue: its CPU is to be told.
struct sched_queue *sched_add(struct sched *s, struct sched_entity *e, u64 now);
// To SCHED_OFF from whatever.
void sched_remove(struct sched *s, struct sched_entity *e, u64 now);
// The current entity sleeps until sched_wake() or the time `wake`.
void sched_block(struct sched *s, struct sched_entity *e, u64 wake, u64 now);
// SCHED_BLOCKED -> SCHED_READY, maybe on an idle CPU's queue. Returns the queue whose CPU is to be told, NULL: it was awake.
struct sched_queue *sched_wake(struct sched *s, struct sched_entity *e, u64 now);

// A CPU's turn: wakes those whose time has come, accounts the current entity and puts it back, chooses anew, fetches from
// other queues if there is nothing here. NULL: idle. Wakes may make work for other CPUs: told by *tell, a mask.
struct sched_entity *sched_choose(struct sched *s, struct sched_queue *q, u64 now, u64 *tell);
// While one runs: as sched_choose(), but only says whether the current entity should go.
bool sched_tick(struct sched *s, struct sched_queue *q, u64 now, u64 *tell);
// When the CPU has to call one of these two at the latest.
u64 sched_look_at(const struct sched *s, const struct sched_queue *q);
// The current entity's times up to now, without a change.
void sched_account(struct sched *s, struct sched_entity *e, u64 now);
// Checks the invariants; false: broken.
bool sched_audit(const struct sched *s);

#endif
