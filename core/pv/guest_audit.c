// SPDX-License-Identifier: MIT
// What a guest's parts hold of its frames, against what the frames say.
#include "core/pv/guest.h"

static void count_one(struct pv_guest *g, struct pv_count *count, mpn_t mpn)
{
	if (mpn == MPN_NONE)
		return;
	count[pv_page_in(&g->frames, mpn)].refs++;
	count[pv_page_in(&g->frames, mpn)].uses++;
}

unsigned pv_guest_audit(struct pv_guest *g, struct pv_count *count, void (*report)(void *ctx, const char *text), void *ctx)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < g->vcpus; i++) {
		const struct pv_vcpu *v = &g->vcpu[i];

		count_one(g, count, v->root);
		count_one(g, count, v->user_root);
		count_one(g, count, v->info_mpn);
		for (unsigned k = 0; k < PV_GDT_PAGES; k++)
			count_one(g, count, v->gdt[k]);
		for (unsigned k = 0; k < PV_LDT_PAGES; k++)
			count_one(g, count, v->ldt[k]);
	}
	if (!pv_grants_audit(g, count)) {
		wrong++;
		if (report)
			report(ctx, "grants: an invariant is broken");
	}
	if (!pv_events_audit(&g->events)) {
		wrong++;
		if (report)
			report(ctx, "event channels: an invariant is broken");
	}
	return wrong + pv_audit(&g->frames, count, report, ctx);
}
