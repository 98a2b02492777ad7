// SPDX-License-Identifier: MIT
// Time, timers, run states and the vcpu_op hypercalls (Xen's vcpu.h). Guest time is a linear function of the TSC for as long as the
// guest lives, so a clock is written once for each place that the guest names; it may be read without a seqlock's retry.
#include "core/pv/guest.h"

#include "base/string.h"
#include "core/platform/kvm.h"
#include <xen/errno.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#define TSC_STABLE 1
#define NEVER (~0ull)
#define PERIOD_MIN 1000000ull // of a periodic timer, ns
#define FAR (1ull << 50)      // ns from now: a guest that says so means none, or has counted over
#define FAR_IS 100000000ull   // when it is called instead

static struct vcpu_time_info clock_of(const struct pv_guest *g)
{
	return (struct vcpu_time_info){
		.version = 2, .tsc_timestamp = g->tsc_base, .tsc_to_system_mul = g->tsc_mul, .tsc_shift = g->tsc_shift, .flags = TSC_STABLE};
}

void pv_time_publish(struct pv_vcpu *v)
{
	struct vcpu_time_info t = clock_of(v->guest);

	memcpy(&v->info->time, &t, sizeof(t));
}

static void publish_wall(struct pv_guest *g)
{
	g->shared->wc_version = 2;
	g->shared->wc_sec = (u32)g->wall_seconds;
	g->shared->wc_sec_hi = (u32)(g->wall_seconds >> 32);
	g->shared->wc_nsec = 0;
}

void pv_guest_init(struct pv_guest *g, const struct pv_event_ports *events)
{
	pv_events_init(&g->events, events, g->ctx, PV_DOM, g->vcpus, g->shared);
	pv_loan_init(&g->loan, MPN_NONE, NULL, NULL);
	pvclock_scale(g->tsc_mul, &g->tsc_mul, &g->tsc_shift);
	publish_wall(g);
	g->watchdog_at = NEVER;
	for (unsigned i = 0; i < PV_WATCHDOGS; i++)
		g->watchdog[i] = NEVER;
	for (unsigned i = 0; i < g->vcpus; i++) {
		struct pv_vcpu *v = &g->vcpu[i];

		v->guest = g;
		v->id = i;
		v->root = v->user_root = v->info_mpn = MPN_NONE;
		v->info = &g->shared->vcpu_info[i];
		v->info->evtchn_upcall_mask = 1;
		g->budget = PV_WORK;
		v->timer_ns = v->period_at = v->poll_until = NEVER;
		for (unsigned k = 0; k < PV_GDT_PAGES; k++)
			v->gdt[k] = MPN_NONE;
		for (unsigned k = 0; k < PV_LDT_PAGES; k++)
			v->ldt[k] = MPN_NONE;
		v->state = RUNSTATE_runnable;
		pv_time_publish(v);
	}
}

// ---- timers

u64 pv_timer_next(const struct pv_vcpu *v)
{
	return MIN(MIN(v->timer_ns, v->period_at), MIN(v->poll_until, v->guest->watchdog_at));
}

void pv_timer_advance(struct pv_vcpu *v)
{
	u64 now = v->guest->ports->now_ns(v->guest->ctx);
	bool due = false;

	if (v->timer_ns <= now) {
		v->timer_ns = NEVER;
		due = true;
	}
	if (v->period_at <= now) { // what was missed is one
		v->period_at += ((now - v->period_at) / v->period_ns + 1) * v->period_ns;
		due = true;
	}
	if (due)
		pv_event_virq(&v->guest->events, v->id, VIRQ_TIMER);
	if (v->guest->watchdog_at <= now) {
		v->guest->watchdog_at = NEVER;
		(void)pv_shut_down(v, SHUTDOWN_watchdog);
	}
}

// `timeout` in seconds, 0: none any more.
static void wind(struct pv_guest *g, unsigned which, u32 timeout)
{
	g->watchdog[which] = timeout ? g->ports->now_ns(g->ctx) + timeout * 1000000000ull : NEVER;
	g->watchdog_at = NEVER;
	for (unsigned i = 0; i < PV_WATCHDOGS; i++)
		g->watchdog_at = MIN(g->watchdog_at, g->watchdog[i]);
}

s64 pv_watchdog(struct pv_vcpu *v, u64 arg)
{
	struct pv_guest *g = v->guest;
	struct sched_watchdog w;

	if (!pv_read(v, arg, &w, sizeof(w)))
		return -XEN_EFAULT;
	if (w.id > PV_WATCHDOGS)
		return -XEN_EINVAL;
	if (w.id) {
		if (g->watchdog[w.id - 1] == NEVER)
			return -XEN_EINVAL;
		wind(g, w.id - 1, w.timeout);
		return 0;
	}
	if (!w.timeout)
		return -XEN_EINVAL;
	for (unsigned i = 0; i < PV_WATCHDOGS; i++)
		if (g->watchdog[i] == NEVER) {
			wind(g, i, w.timeout);
			return i + 1;
		}
	return -XEN_ENOSPC;
}

static s64 set_timer(struct pv_vcpu *v, u64 at)
{
	v->timer_ns = at;
	return 0;
}

// 0: none. What is past is due at once.
s64 pv_set_timer_op(struct pv_vcpu *v, const u64 *a)
{
	u64 now = v->guest->ports->now_ns(v->guest->ctx);

	if (!a[0])
		return set_timer(v, NEVER);
	return set_timer(v, (s64)a[0] < 0 || (a[0] > now && a[0] - now >= FAR) ? now + FAR_IS : a[0]);
}

// ---- run states

void pv_runstate(struct pv_vcpu *v, int state, u64 now)
{
	struct vcpu_runstate_info r;

	v->state_sum[v->state] += now - v->state_ns;
	v->state = state;
	v->state_ns = now;
	if (!v->runstate_area)
		return;
	r = (struct vcpu_runstate_info){.state = state, .state_entry_time = now};
	memcpy(r.time, v->state_sum, sizeof(r.time));
	if (!pv_write(v, v->runstate_area, &r, sizeof(r)))
		v->runstate_area = 0; // unmapped by now: the guest's loss
}

static void refresh_runstate(struct pv_vcpu *v)
{
	pv_runstate(v, v->state, v->guest->ports->now_ns(v->guest->ctx));
}

static s64 get_runstate(struct pv_vcpu *v, struct pv_vcpu *of, u64 to)
{
	struct vcpu_runstate_info r;

	refresh_runstate(of);
	r = (struct vcpu_runstate_info){.state = of->state, .state_entry_time = of->state_ns};
	memcpy(r.time, of->state_sum, sizeof(r.time));
	return pv_write(v, to, &r, sizeof(r)) ? 0 : -XEN_EFAULT;
}

// ---- vcpu_op

static s64 register_info(struct pv_vcpu *v, struct pv_vcpu *of, u64 arg)
{
	struct vcpu_register_vcpu_info r;
	struct pv_frames *f = &v->guest->frames;
	struct vcpu_info *to;
	enum status st;

	if (!pv_read(v, arg, &r, sizeof(r)))
		return -XEN_EFAULT;
	if (r.offset > PAGE_SIZE - sizeof(*to) || r.offset & 7)
		return -XEN_ENXIO;
	if (of->info_mpn != MPN_NONE)
		return -XEN_EINVAL;
	st = pv_get_type(f, r.mfn, PV_WRITABLE);
	if (st != ST_OK)
		return st == ST_AGAIN ? PV_AGAIN : -XEN_EINVAL;
	to = (struct vcpu_info *)((u8 *)pv_map(f, r.mfn) + r.offset);
	*to = *of->info;
	of->info = to;
	of->info_mpn = r.mfn;
	to->evtchn_upcall_pending = 1; // what came meanwhile may be in the old place: all is looked at once
	to->evtchn_pending_sel = ~0ull;
	pv_time_publish(of);
	return 0;
}

// Written once: a clock does not change.
static s64 register_time_area(struct pv_vcpu *v, u64 arg)
{
	struct vcpu_register_time_memory_area r;
	struct vcpu_time_info t = clock_of(v->guest);

	if (!pv_read(v, arg, &r, sizeof(r)))
		return -XEN_EFAULT;
	return r.addr.p && !pv_write(v, r.addr.p, &t, sizeof(t)) ? -XEN_EFAULT : 0;
}

static s64 register_runstate_area(struct pv_vcpu *v, struct pv_vcpu *of, u64 arg)
{
	struct vcpu_register_runstate_memory_area r;

	if (!pv_read(v, arg, &r, sizeof(r)) || !is_canonical(r.addr.p))
		return -XEN_EFAULT;
	of->runstate_area = r.addr.p;
	refresh_runstate(of);
	return 0;
}

static s64 set_singleshot(struct pv_vcpu *v, u64 arg)
{
	struct vcpu_set_singleshot_timer t;

	if (!pv_read(v, arg, &t, sizeof(t)))
		return -XEN_EFAULT;
	if ((t.flags & VCPU_SSHOTTMR_future) && t.timeout_abs_ns < v->guest->ports->now_ns(v->guest->ctx))
		return -XEN_ETIME;
	return set_timer(v, t.timeout_abs_ns);
}

static s64 set_periodic(struct pv_vcpu *v, u64 arg)
{
	struct vcpu_set_periodic_timer t;

	if (!pv_read(v, arg, &t, sizeof(t)))
		return -XEN_EFAULT;
	if (t.period_ns < PERIOD_MIN || (s64)t.period_ns < 0)
		return -XEN_EINVAL;
	v->period_ns = t.period_ns;
	v->period_at = v->guest->ports->now_ns(v->guest->ctx) + t.period_ns;
	return 0;
}

// Of the last that is up: the guest is done.
static s64 take_down(struct pv_vcpu *v, struct pv_vcpu *of)
{
	for (unsigned i = 0; i < v->guest->vcpus; i++)
		if (&v->guest->vcpu[i] != of && v->guest->vcpu[i].state != RUNSTATE_offline)
			return -XEN_ENOSYS;
	return pv_shut_down(v, SHUTDOWN_poweroff);
}

s64 pv_vcpu_op(struct pv_vcpu *v, const u64 *a)
{
	struct pv_vcpu *of = (u32)a[1] < v->guest->vcpus ? &v->guest->vcpu[(u32)a[1]] : NULL;

	if (!of)
		return -XEN_ENOENT;
	switch ((u32)a[0]) {
	case VCPUOP_is_up:
		return of->state != RUNSTATE_offline;
	case VCPUOP_initialise:
		return of == v ? -XEN_EEXIST : -XEN_EINVAL;
	case VCPUOP_up:
		return of == v ? 0 : -XEN_EINVAL;
	case VCPUOP_down:
		return take_down(v, of);
	case VCPUOP_get_runstate_info:
		return get_runstate(v, of, a[2]);
	case VCPUOP_register_runstate_memory_area:
		return register_runstate_area(v, of, a[2]);
	case VCPUOP_register_vcpu_info:
		return register_info(v, of, a[2]);
	case VCPUOP_register_vcpu_time_memory_area:
		return register_time_area(v, a[2]);
	case VCPUOP_set_periodic_timer:
		return of == v ? set_periodic(v, a[2]) : -XEN_EINVAL;
	case VCPUOP_stop_periodic_timer:
		of->period_at = NEVER;
		return 0;
	case VCPUOP_set_singleshot_timer:
		return of == v ? set_singleshot(v, a[2]) : -XEN_EINVAL;
	case VCPUOP_stop_singleshot_timer:
		return of == v ? set_timer(v, NEVER) : -XEN_EINVAL;
	case VCPUOP_send_nmi:
		if (a[2])
			return -XEN_EINVAL;
		of->nmi_due = true;
		return 0;
	case VCPUOP_get_physid: // for who has vCPUs of its own CPUs
		return -XEN_EINVAL;
	default:
		return -XEN_ENOSYS;
	}
}
