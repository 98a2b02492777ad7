// SPDX-License-Identifier: MIT
// Grant tables (Xen's grant_table.h), version 1: a guest's offers of its own pages. There is nobody yet to take them.
#include "core/pv/guest.h"

#include <xen/errno.h>
#include <xen/grant_table.h>

s64 pv_grant_table_op(struct pv_vcpu *v, const u64 *a)
{
	(void)v;
	(void)a;
	return -XEN_ENOSYS;
}
