// SPDX-License-Identifier: MIT
// Proportional share by virtual time; contract and invariants in sched.h. Queues are short lists, looked through whole: a
// machine has some tens of vCPUs, and a look costs less than keeping a tree.
#include "core/sched/sched.h"

#include "base/assert.h"
#include "base/string.h"

#define VTIME_UNIT 1024ull // per ns at weight 1

static u64 virtual_time(u64 ns, u32 weight)
{
	return ns * VTIME_UNIT / weight;
}

static bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static u64 later(u64 a, u64 b)
{
	return before(a, b) ? b : a;
}

void sched_init(struct sched *s, unsigned cpus)
{
	assert(cpus && cpus <= SCHED_CPUS_MAX);
	memset(s, 0, sizeof(*s));
	s->cpus = cpus;
	for (unsigned i = 0; i < cpus; i++)
		s->queue[i].cpu = i;
}

void sched_entity_init(struct sched_entity *e, u32 weight, u32 cap)
{
	assert(weight);
	memset(e, 0, sizeof(*e));
	e->weight = weight;
	e->cap = cap;
}

// ---- accounting

static u64 budget(const struct sched_entity *e)
{
	return SCHED_CAP_PERIOD_NS / 100 * e->cap;
}

// What was used beyond one period's budget is taken from the next ones. Time away on account of the cap is not saved up.
static void next_period(struct sched *s, struct sched_entity *e, u64 now)
{
	u64 periods = (now - e->period) / SCHED_CAP_PERIOD_NS, paid;

	if (!e->cap || !periods)
		return;
	if (e->period_used >= budget(e))
		e->vtime = later(e->vtime, s->floor);
	paid = periods > 1000 ? SCHED_NEVER : periods * budget(e);
	e->period_used -= MIN(e->period_used, paid);
	e->period += periods * SCHED_CAP_PERIOD_NS;
}

static bool is_capped(const struct sched_entity *e, u64 now)
{
	return e->cap && e->period_used >= budget(e) && now < e->period + SCHED_CAP_PERIOD_NS;
}

static bool waits(const struct sched_entity *e)
{
	return e->state == SCHED_READY || e->state == SCHED_RUNNING;
}

static void raise_floor(struct sched *s, const struct sched_queue *q, u64 now)
{
	const struct sched_entity *least = NULL;

	for (const struct sched_entity *e = q->first; e; e = e->next)
		if (waits(e) && !is_capped(e, now) && (!least || before(e->vtime, least->vtime)))
			least = e;
	if (least)
		s->floor = later(s->floor, least->vtime);
}

void sched_account(struct sched *s, struct sched_entity *e, u64 now)
{
	u64 ns = now > e->since ? now - e->since : 0;

	e->since = MAX(e->since, now);
	switch (e->state) {
	case SCHED_RUNNING:
		e->run_ns += ns;
		e->vtime += virtual_time(ns, e->weight);
		e->period_used += e->cap ? ns : 0;
		raise_floor(s, e->queue, now);
		e->vtime = later(e->vtime, s->floor - virtual_time(SCHED_LAG_NS, SCHED_WEIGHT_DEFAULT));
		break;
	case SCHED_READY:
		e->ready_ns += ns;
		break;
	case SCHED_BLOCKED:
		e->blocked_ns += ns;
		break;
	case SCHED_OFF:
		break;
	}
	next_period(s, e, now);
}

static void change(struct sched *s, struct sched_entity *e, enum sched_state to, u64 now)
{
	sched_account(s, e, now);
	if (e->state == SCHED_RUNNING)
		e->queue->current = NULL;
	e->state = to;
	if (to == SCHED_RUNNING)
		e->queue->current = e;
}

void sched_set_share(struct sched *s, struct sched_entity *e, u32 weight, u32 cap, u64 now)
{
	assert(weight);
	sched_account(s, e, now);
	if (cap && !e->cap)
		e->period = now, e->period_used = 0;
	e->weight = weight;
	e->cap = cap;
	if (e->queue)
		e->queue->turn_end = MIN(e->queue->turn_end, now); // the turn was planned for the old share
}

// ---- queues

static void link_to(struct sched_queue *q, struct sched_entity *e)
{
	e->queue = q;
	e->next = q->first;
	q->first = e;
}

static void unlink_from_queue(struct sched_entity *e)
{
	struct sched_entity **at = &e->queue->first;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	e->next = NULL;
	e->queue = NULL;
}

static void migrate(struct sched_entity *e, struct sched_queue *to)
{
	if (e->queue == to)
		return;
	assert(!e->held && e->state != SCHED_RUNNING);
	unlink_from_queue(e);
	link_to(to, e);
	e->migrations++;
}

// Weights of those that want to run here; also of those that sleep, with `all`.
static u64 load_of(const struct sched_queue *q, bool all)
{
	u64 load = 0;

	for (const struct sched_entity *e = q->first; e; e = e->next)
		load += all || waits(e) ? e->weight : 0;
	return load;
}

static struct sched_queue *least_loaded(struct sched *s)
{
	struct sched_queue *best = &s->queue[0];
	u64 least = load_of(best, true);

	for (unsigned i = 1; i < s->cpus; i++) {
		u64 load = load_of(&s->queue[i], true);

		if (load < least) {
			least = load;
			best = &s->queue[i];
		}
	}
	return best;
}

static bool is_idle(const struct sched_queue *q)
{
	return !load_of(q, false);
}

// Where one that wakes runs: where it was if that CPU is idle, else on any idle one.
static struct sched_queue *place(struct sched *s, struct sched_entity *e)
{
	if (e->held || is_idle(e->queue))
		return e->queue;
	for (unsigned i = 0; i < s->cpus; i++)
		if (is_idle(&s->queue[i]))
			return &s->queue[i];
	return e->queue;
}

// One that slept gets in front, but not by more than a turn; of a queue that is behind the others, in front of that queue's.
static u64 credit(const struct sched *s, const struct sched_entity *e, const struct sched_queue *q)
{
	u64 base = s->floor;

	if (q->current && before(q->current->vtime, base))
		base = q->current->vtime;
	return base - virtual_time(SCHED_SLICE_NS, e->weight);
}

struct sched_queue *sched_add(struct sched *s, struct sched_entity *e, u64 now)
{
	struct sched_queue *q = least_loaded(s);

	assert(e->state == SCHED_OFF && !e->queue);
	link_to(q, e);
	e->since = now;
	e->period = now;
	e->period_used = 0;
	e->vtime = later(e->vtime, s->floor);
	e->state = SCHED_READY;
	return q;
}

void sched_remove(struct sched *s, struct sched_entity *e, u64 now)
{
	if (e->state == SCHED_OFF)
		return;
	change(s, e, SCHED_OFF, now);
	unlink_from_queue(e);
}

void sched_block(struct sched *s, struct sched_entity *e, u64 wake, u64 now)
{
	assert(e->state == SCHED_RUNNING);
	change(s, e, SCHED_BLOCKED, now);
	e->wake = wake;
}

// Is the one that waits so far behind that the one that runs has to make room?
static bool goes_first(const struct sched_entity *e, const struct sched_entity *current)
{
	return !current || before(e->vtime + virtual_time(SCHED_PREEMPT_NS, current->weight), current->vtime);
}

static struct sched_queue *wake(struct sched *s, struct sched_entity *e, u64 now)
{
	struct sched_queue *q = place(s, e);

	sched_account(s, e, now);
	if (q->current)
		sched_account(s, q->current, now);
	migrate(e, q);
	e->wakes++;
	e->vtime = later(e->vtime, credit(s, e, q));
	e->state = SCHED_READY;
	return q;
}

struct sched_queue *sched_wake(struct sched *s, struct sched_entity *e, u64 now)
{
	return e->state == SCHED_BLOCKED ? wake(s, e, now) : NULL;
}

// ---- turns

static void wake_due(struct sched *s, struct sched_queue *q, u64 now, u64 *tell)
{
	struct sched_entity *next;

	for (struct sched_entity *e = q->first; e; e = next) {
		struct sched_queue *to;

		next = e->next;
		if (e->state != SCHED_BLOCKED || e->wake > now)
			continue;
		to = wake(s, e, now);
		if (to && to != q)
			*tell |= BIT(to->cpu);
	}
}

static struct sched_entity *best_waiting(const struct sched_queue *q, u64 now, bool movable)
{
	struct sched_entity *best = NULL;

	for (struct sched_entity *e = q->first; e; e = e->next)
		if (e->state == SCHED_READY && !is_capped(e, now) && !(movable && e->held) &&
		    (!best || before(e->vtime, best->vtime)))
			best = e;
	return best;
}

// The one furthest behind that waits on another queue. An idle CPU leaves a queue its only entity: that CPU is about to take it.
static struct sched_entity *waits_elsewhere(struct sched *s, const struct sched_queue *q, u64 now)
{
	struct sched_entity *best = NULL;

	for (unsigned i = 0; i < s->cpus; i++) {
		const struct sched_queue *other = &s->queue[i];
		struct sched_entity *e = other == q ? NULL : best_waiting(other, now, true);

		if (e && load_of(other, false) > e->weight && (!best || before(e->vtime, best->vtime)))
			best = e;
	}
	return best;
}

// For q, whose current entity is accounted: one to be fetched, or NULL.
static struct sched_entity *far_behind(struct sched *s, struct sched_queue *q, u64 now)
{
	struct sched_entity *there = waits_elsewhere(s, q, now), *here = best_waiting(q, now, false);
	u64 margin = virtual_time(SCHED_MARGIN_NS, SCHED_WEIGHT_DEFAULT);

	if (!there || (here && !before(there->vtime, here->vtime)))
		return NULL;
	if (q->current && !before(there->vtime + margin, q->current->vtime))
		return NULL;
	return there;
}

static void put_back(struct sched *s, struct sched_queue *q, u64 now)
{
	if (q->current)
		change(s, q->current, SCHED_READY, now);
}

// From time to time, one is fetched that is far behind the current entity, which is accounted.
static bool balance(struct sched *s, struct sched_queue *q, u64 now)
{
	struct sched_entity *other;

	if (q->balance_at > now)
		return false;
	q->balance_at = now + SCHED_BALANCE_NS;
	other = far_behind(s, q, now);
	if (other)
		migrate(other, q);
	return other != NULL;
}

struct sched_entity *sched_choose(struct sched *s, struct sched_queue *q, u64 now, u64 *tell)
{
	struct sched_entity *e;

	wake_due(s, q, now, tell);
	if (q->current) { // its turn may have been one without a tick
		sched_account(s, q->current, now);
		balance(s, q, now);
	}
	put_back(s, q, now);
	for (e = q->first; e; e = e->next)
		sched_account(s, e, now);
	e = best_waiting(q, now, false);
	if (!e) {
		e = waits_elsewhere(s, q, now);
		if (e)
			migrate(e, q);
	}
	if (!e)
		return NULL;
	change(s, e, SCHED_RUNNING, now);
	e->turns++;
	q->turn_end = now + SCHED_SLICE_NS;
	if (e->cap)
		q->turn_end = MIN(q->turn_end, now + budget(e) - MIN(e->period_used, budget(e)));
	if (q->balance_at <= now)
		q->balance_at = now + SCHED_BALANCE_NS;
	return e;
}

bool sched_tick(struct sched *s, struct sched_queue *q, u64 now, u64 *tell)
{
	struct sched_entity *e = q->current, *other;

	wake_due(s, q, now, tell);
	if (!e)
		return true;
	sched_account(s, e, now);
	if (is_capped(e, now))
		return true;
	if (balance(s, q, now))
		return true;
	other = best_waiting(q, now, false);
	if (other && (now >= q->turn_end ? before(other->vtime, e->vtime) : goes_first(other, e)))
		return true;
	if (now >= q->turn_end)
		q->turn_end = now + SCHED_SLICE_NS; // nobody with a better claim: another turn
	if (e->cap)
		q->turn_end = MIN(q->turn_end, now + budget(e) - MIN(e->period_used, budget(e)));
	return false;
}

static bool anyone_waits(const struct sched *s)
{
	for (unsigned i = 0; i < s->cpus; i++)
		for (const struct sched_entity *e = s->queue[i].first; e; e = e->next)
			if (e->state == SCHED_READY)
				return true;
	return false;
}

u64 sched_look_at(const struct sched *s, const struct sched_queue *q)
{
	u64 at = SCHED_NEVER;
	bool others = false;

	for (const struct sched_entity *e = q->first; e; e = e->next) {
		if (e->state == SCHED_BLOCKED) {
			at = MIN(at, e->wake);
		} else if (e->state == SCHED_READY) {
			others = true;
			if (e->cap && e->period_used >= budget(e))
				at = MIN(at, e->period + SCHED_CAP_PERIOD_NS);
		}
	}
	if (!q->current)
		return at;
	if (others || q->current->cap)
		at = MIN(at, q->turn_end);
	return s->cpus > 1 && anyone_waits(s) ? MIN(at, q->balance_at) : at;
}

bool sched_audit(const struct sched *s)
{
	for (unsigned i = 0; i < s->cpus; i++) {
		const struct sched_queue *q = &s->queue[i];
		unsigned running = 0, n = 0;

		for (const struct sched_entity *e = q->first; e; e = e->next) {
			if (e->queue != q || e->state == SCHED_OFF || ++n > 10000)
				return false;
			running += e->state == SCHED_RUNNING;
			if (e->state == SCHED_RUNNING && q->current != e)
				return false;
		}
		if (running != (q->current != NULL))
			return false;
	}
	return true;
}
