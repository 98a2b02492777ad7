// SPDX-License-Identifier: MIT
// Event channels, and grants.
#include "tests/guests/pv/pv.h"
#include <xen/errno.h>

static u32 bind_ipi(void)
{
	struct evtchn_bind_ipi b = {0};

	check(!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b), "bind", 0);
	return b.port;
}

static s64 port_op(unsigned cmd, u32 port)
{
	return CALL(event_channel_op, cmd, &port);
}

static void test_events(void)
{
	u32 port = bind_ipi();
	unsigned before = events;
	volatile struct vcpu_info *v = &shared()->vcpu_info[0];

	shared()->evtchn_mask[0] |= BIT(port);
	v->evtchn_upcall_mask = 0;
	check(!port_op(EVTCHNOP_send, port) && events == before && (shared()->evtchn_pending[0] >> port & 1),
	      "a masked port", events);
	check(!port_op(EVTCHNOP_unmask, port), "unmask", 0);
	check(events == before + 1, "an upcall", events);
	shared()->evtchn_pending[0] = 0;
	v->evtchn_upcall_mask = 1;
	check(!port_op(EVTCHNOP_send, port) && events == before + 1, "while masked", events);
	v->evtchn_upcall_mask = 0;
	(void)CALL(xen_version, 0, 0);
	check(events == before + 2, "after it", events);
	shared()->evtchn_pending[0] = 0;
	check(!port_op(EVTCHNOP_close, port) && port_op(EVTCHNOP_send, port) < 0 && port_op(EVTCHNOP_close, port) < 0,
	      "close", 0);
}

// XSA-317 and more: ports that are none.
static void test_ports(void)
{
	static const u32 odd[] = {0, 1000, 1023, 1024, 4095, 4096, 65535, 131071, 131072, 0x7fffffff, 0x80000000, ~0u};

	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		struct evtchn_status s = {.dom = DOMID_SELF, .port = odd[i]};
		struct evtchn_bind_vcpu b = {.port = odd[i], .vcpu = odd[i]};
		struct sched_poll p = {.nr_ports = 1, .timeout = 1};
		evtchn_port_t port = odd[i];

		p.ports.p = &port;
		check(port_op(EVTCHNOP_send, odd[i]) < 0 && port_op(EVTCHNOP_close, odd[i]) < 0, "send, close", odd[i]);
		check(port_op(EVTCHNOP_unmask, odd[i]) < 0 || odd[i] < 1024, "unmask", odd[i]);
		check(CALL(event_channel_op, EVTCHNOP_bind_vcpu, &b) < 0, "vCPU", odd[i]);
		(void)CALL(event_channel_op, EVTCHNOP_status, &s);
		check(CALL(sched_op, SCHEDOP_poll, &p) < 0 || odd[i] < 1024, "poll", odd[i]);
	}
	struct evtchn_bind_virq q = {.virq = 24};
	struct evtchn_bind_interdomain d = {.remote_dom = 0, .remote_port = 5};

	check(CALL(event_channel_op, EVTCHNOP_bind_virq, &q) < 0, "virtual interrupt", 0);
	check(CALL(event_channel_op, EVTCHNOP_bind_interdomain, &d) < 0, "another's", 0);
}

// All there are, and no more; then all are free again.
static void test_exhaustion(void)
{
	unsigned n = 0;
	struct evtchn_bind_ipi b = {0};
	u32 first = 0;

	while (!CALL(event_channel_op, EVTCHNOP_bind_ipi, &b)) {
		first = first ? first : b.port;
		if (++n > 1024)
			break;
	}
	check(n > 900 && n < 1024, "how many", n);
	for (u32 port = first; port < 1024; port++)
		(void)port_op(EVTCHNOP_close, port);
	check(bind_ipi() != 0, "again", 0);
	(void)port_op(EVTCHNOP_close, first);
}

// XSA-188: a control block that is none, and arrays behind it.
static void test_fifo(void)
{
	struct evtchn_init_control c = {.control_gfn = ~1ull};
	struct evtchn_expand_array a = {.array_gfn = mfn_of(page(1))};
	struct evtchn_set_priority p = {.port = 5, .priority = ~0u};

	check(CALL(event_channel_op, EVTCHNOP_init_control, &c) < 0, "control block", 0);
	check(CALL(event_channel_op, EVTCHNOP_expand_array, &a) < 0, "array", 0);
	(void)CALL(event_channel_op, EVTCHNOP_set_priority, &p);
	check(!port_op(EVTCHNOP_send, bind_ipi()), "events go on", 0);
	shared()->evtchn_pending[0] = 0;
}

const struct pv_case event_cases[] = {
	{"events", test_events, false},
	{"xsa-317-ports", test_ports, false},
	{"ports-exhausted", test_exhaustion, false},
	{"xsa-188-fifo", test_fifo, false},
	{0},
};

// ---- grants: the guest's to itself, there being no other

static struct grant_entry_v1 *table;

static s64 grant(unsigned cmd, void *op)
{
	return CALL(grant_table_op, cmd, op, 1);
}

static bool set_up_grants(void)
{
	u64 frame = 0;
	struct gnttab_setup_table s = {.dom = DOMID_SELF, .nr_frames = 1};
	u8 *at = (u8 *)page(40);

	s.frame_list.p = (void *)&frame;
	check(!grant(GNTTABOP_setup_table, &s), "call", 0);
	table = (struct grant_entry_v1 *)at;
	return check(!s.status &&
			     !CALL(update_va_mapping, at, frame << PAGE_SHIFT | KERNEL_RW, UVMF_INVLPG | UVMF_LOCAL),
		     "set up", (u64)(s64)s.status);
}

static void offer(unsigned ref, const void *p, unsigned flags)
{
	table[ref] = (struct grant_entry_v1){.flags = 0, .domid = 1, .frame = (u32)mfn_of(p)};
	table[ref].flags = (u16)(GTF_permit_access | flags);
}

static s16 map(unsigned ref, u64 at, unsigned flags, u32 *handle)
{
	struct gnttab_map_grant_ref m = {.host_addr = at, .flags = flags, .ref = ref, .dom = DOMID_SELF};

	check(!grant(GNTTABOP_map_grant_ref, &m), "call", 0);
	*handle = m.handle;
	return m.status;
}

static s16 unmap(u32 handle, u64 host, u64 bus)
{
	struct gnttab_unmap_grant_ref u = {.host_addr = host, .dev_bus_addr = bus, .handle = handle};

	check(!grant(GNTTABOP_unmap_grant_ref, &u), "call", 0);
	return u.status;
}

// XSA-224, 234: a mapping that is for the device and for the host, taken away in either order, twice, and by wrong addresses.
static void test_grant_counts(void)
{
	u64 *data = page(1), *at = page(2), *elsewhere = page(3);
	u32 h = 0;

	if (!set_up_grants())
		return;
	for (unsigned order = 0; order < 4; order++) {
		offer(10, data, 0);
		check(!remap(at, 0), "free address", 0);
		check(!map(10, (u64)at, GNTMAP_host_map | GNTMAP_device_map, &h), "map", order);
		at[7] = order + 1;
		check(data[7] == order + 1, "it is the page", data[7]);
		check(unmap(h, (u64)elsewhere, 0) != 0, "another address", order);
		check(unmap(h + 1000, (u64)at, 0) != 0 && unmap(~0u, (u64)at, 0) != 0, "another handle", order);
		if (order & 1)
			check(!unmap(h, 0, mfn_of(data) << PAGE_SHIFT) && !unmap(h, (u64)at, 0), "one after the other",
			      order);
		else
			check(!unmap(h, (u64)at, mfn_of(data) << PAGE_SHIFT), "both", order);
		check(unmap(h, (u64)at, 0) != 0, "twice", order);
		check(!(table[10].flags & (GTF_reading | GTF_writing)), "in use after all", table[10].flags);
		table[10].flags = 0;
	}
	check(!remap(data, 0) && !remap(data, KERNEL_RO) && ext(MMUEXT_PIN_L1_TABLE, mfn_of(data), 0) == 0,
	      "no use is left", 0);
	check(!ext(MMUEXT_UNPIN_TABLE, mfn_of(data), 0), "unpin", 0);
}

// XSA-227: by the entry's own address.
static void test_grant_pte(void)
{
	u64 *data = page(1), *l1 = page(2);
	u32 h = 0;

	if (!set_up_grants())
		return;
	check(!remap(l1, KERNEL_RO) && !ext(MMUEXT_PIN_L1_TABLE, mfn_of(l1), 0), "table", 0);
	offer(11, data, 0);
	for (unsigned odd = 1; odd < 8; odd++)
		check(map(11, (mfn_of(l1) << PAGE_SHIFT) + odd, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0,
		      "within an entry", odd);
	check(map(11, mfn_of(data) << PAGE_SHIFT, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0, "no table", 0);
	check(map(11, 0x100000, GNTMAP_host_map | GNTMAP_contains_pte, &h) != 0, "others' frame", 0);
	check(map(11, (mfn_of((void *)start_info->pt_base) << PAGE_SHIFT) + 800, GNTMAP_host_map | GNTMAP_contains_pte,
		  &h) != 0,
	      "level 4", 0);
	check(!map(11, (mfn_of(l1) << PAGE_SHIFT) + 8, GNTMAP_host_map | GNTMAP_contains_pte, &h) &&
		      (l1[1] & PTE_ADDR) >> PAGE_SHIFT == mfn_of(data),
	      "as it should be", l1[1]);
	check(!unmap(h, (mfn_of(l1) << PAGE_SHIFT) + 8, 0) && !l1[1], "unmap", l1[1]);
	offer(12, l1, 0);
	check(map(12, (u64)page(3), GNTMAP_host_map, &h) != 0, "a table can be written by a grant", 0);
	check(!ext(MMUEXT_UNPIN_TABLE, mfn_of(l1), 0), "unpin", 0);
	table[11].flags = table[12].flags = 0;
}

// XSA-255: a version with status frames, and back; XSA-232: caches of frames that are none.
static void test_grant_versions(void)
{
	struct gnttab_set_version s = {.version = 2};
	struct gnttab_get_status_frames f = {.dom = DOMID_SELF, .nr_frames = 1};
	u64 frame = 0;

	if (!set_up_grants())
		return;
	(void)grant(GNTTABOP_set_version, &s);
	f.frame_list.p = (void *)&frame;
	(void)grant(GNTTABOP_get_status_frames, &f);
	s.version = 1;
	check(!grant(GNTTABOP_set_version, &s), "back to 1", 0);
	if (frame)
		check(store(frame, 0, 0) == 0 || true, "status", 0);
	for (unsigned bit = 12; bit < 64; bit++) {
		struct gnttab_cache_flush c = {.length = 1, .op = GNTTAB_CACHE_INVAL};

		c.a.dev_bus_addr = ~0ull << bit;
		check(CALL(grant_table_op, GNTTABOP_cache_flush, &c, 1) < 0, "cache", bit);
	}
}

static void test_grant_copy(void)
{
	u64 *from = page(1), *to = page(2), *l1 = page(3);
	struct gnttab_copy c = {.source = {.domid = DOMID_SELF}, .dest = {.domid = DOMID_SELF}, .len = 8};

	if (!set_up_grants())
		return;
	from[0] = 77;
	c.source.u.gmfn = mfn_of(from);
	c.dest.u.gmfn = mfn_of(to);
	check(!grant(GNTTABOP_copy, &c) && !c.status && to[0] == 77, "copy", (u64)(s64)c.status);
	c.dest.offset = 4092;
	check(!grant(GNTTABOP_copy, &c) && c.status, "over the end", 0);
	c.dest.offset = 0;
	check(!remap(l1, KERNEL_RO) && !ext(MMUEXT_PIN_L1_TABLE, mfn_of(l1), 0), "table", 0);
	c.dest.u.gmfn = mfn_of(l1);
	check(!grant(GNTTABOP_copy, &c) && c.status && !l1[0], "into a table", l1[0]);
	for (u64 mfn = 0; mfn < 300; mfn++) {
		c.dest.u.gmfn = mfn;
		check(((u64 *)MACH2PHYS_VIRT_START)[mfn] < start_info->nr_pages ||
			      (!grant(GNTTABOP_copy, &c) && c.status),
		      "into others' frame", mfn);
	}
	check(!ext(MMUEXT_UNPIN_TABLE, mfn_of(l1), 0), "unpin", 0);
}

const struct pv_case grant_cases[] = {
	{"xsa-224-234-grant-counts", test_grant_counts, false},
	{"xsa-227-grant-pte", test_grant_pte, false},
	{"xsa-232-255-grant-versions", test_grant_versions, false},
	{"grant-copy", test_grant_copy, false},
	{0},
};
