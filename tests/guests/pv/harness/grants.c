// SPDX-License-Identifier: MIT
// Grants of a test kernel to itself, there being no other guest.
#include "tests/guests/pv/harness/pv.h"

struct grant_entry_v1 *grant_table;

s64 grant(unsigned cmd, void *op)
{
	return CALL(grant_table_op, cmd, op, 1);
}

bool set_up_grants(void)
{
	u64 frame = 0;
	struct gnttab_setup_table s = {.dom = DOMID_SELF, .nr_frames = 1};
	u8 *at = (u8 *)page(40);

	s.frame_list.p = (void *)&frame;
	check(!grant(GNTTABOP_setup_table, &s), "call", 0);
	grant_table = (struct grant_entry_v1 *)at;
	return check(!s.status &&
			     !CALL(update_va_mapping, at, frame << PAGE_SHIFT | KERNEL_RW, UVMF_INVLPG | UVMF_LOCAL),
		     "set up", (u64)(s64)s.status);
}

void offer(unsigned ref, const void *p, unsigned flags)
{
	grant_table[ref] = (struct grant_entry_v1){.flags = 0, .domid = 1, .frame = (u32)mfn_of(p)};
	grant_table[ref].flags = (u16)(GTF_permit_access | flags);
}

s16 grant_map(unsigned ref, u64 at, unsigned flags, u32 *handle)
{
	struct gnttab_map_grant_ref m = {.host_addr = at, .flags = flags, .ref = ref, .dom = DOMID_SELF};

	check(!grant(GNTTABOP_map_grant_ref, &m), "call", 0);
	*handle = m.handle;
	return m.status;
}

s16 grant_unmap(u32 handle, u64 host, u64 bus)
{
	struct gnttab_unmap_grant_ref u = {.host_addr = host, .dev_bus_addr = bus, .handle = handle};

	check(!grant(GNTTABOP_unmap_grant_ref, &u), "call", 0);
	return u.status;
}
