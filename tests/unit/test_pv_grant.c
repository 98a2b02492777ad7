// SPDX-License-Identifier: MIT
// Grants: each operation and its errors, what the guest's entries say while they are in use, what holds a frame, and entries that change
// under the hypervisor's hands. The guest grants to itself. After each call the audit agrees.
#include "tests/unit/pv_test.h"

#include <xen/errno.h>

static s64 raw(unsigned op, const void *bytes, size_t n, unsigned count)
{
	memcpy(m_args(&m), bytes, n);
	return CALL(&m, grant_table_op, op, ARGS, count);
}

// One element; its status is at this offset of it.
static s64 one(unsigned op, const void *bytes, size_t n, size_t status)
{
	assert_int_equal(raw(op, bytes, n, 1), 0);
	return *(s16 *)((u8 *)m_args(&m) + status);
}
#define ONE(op, type, ...) one(GNTTABOP_##op, &(struct type){__VA_ARGS__}, sizeof(struct type), offsetof(struct type, status))

static grant_entry_v1_t *entry(u32 ref)
{
	return (grant_entry_v1_t *)m_page(&m, M_GRANTS + ref / 512) + ref % 512;
}

static void grant(u32 ref, ppn_t page, u16 flags)
{
	*entry(ref) = (grant_entry_v1_t){(u16)(GTF_permit_access | flags), PV_DOM, (u32)m.p2m[page]};
}

static u32 handle(void)
{
	return ((struct gnttab_map_grant_ref *)m_args(&m))->handle;
}

#define AT (M_BASE + 400 * PAGE_SIZE) // nothing is mapped there
#define AT_SLOT 400

static s64 map_of(domid_t dom, u32 ref, u32 flags, u64 host)
{
	return ONE(map_grant_ref, gnttab_map_grant_ref, .dom = dom, .ref = ref, .flags = flags, .host_addr = host);
}

static s64 map(u32 ref, u32 flags, u64 host)
{
	return map_of(PV_DOM, ref, flags, host);
}

static s64 unmap(u32 h, u64 host, u64 bus)
{
	return ONE(unmap_grant_ref, gnttab_unmap_grant_ref, .handle = h, .host_addr = host, .dev_bus_addr = bus);
}

static void test_table(void **state)
{
	struct gnttab_query_size *q = m_args(&m);
	struct gnttab_setup_table s = {.dom = DOMID_SELF, .nr_frames = 3};

	s.frame_list.p = (void *)m_va(M_LIST);
	IS(ONE(query_size, gnttab_query_size, .dom = DOMID_SELF), GNTST_okay);
	assert_true(q->nr_frames == 1 && q->max_nr_frames == PV_GRANT_FRAMES);
	IS(ONE(query_size, gnttab_query_size, .dom = 5), GNTST_bad_domain);
	IS(CALL(&m, grant_table_op, GNTTABOP_query_size, ARGS, 2), -XEN_EINVAL);
	IS(CALL(&m, grant_table_op, GNTTABOP_query_size, UNMAPPED, 1), -XEN_EFAULT);
	IS(one(GNTTABOP_setup_table, &s, sizeof(s), offsetof(struct gnttab_setup_table, status)), GNTST_okay);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(m_page(&m, M_LIST)[i], m.p2m[M_GRANTS + i]);
	IS(ONE(query_size, gnttab_query_size, .dom = PV_DOM), GNTST_okay);
	assert_int_equal(q->nr_frames, 3);
	s.nr_frames = PV_GRANT_FRAMES + 1;
	IS(one(GNTTABOP_setup_table, &s, sizeof(s), offsetof(struct gnttab_setup_table, status)), GNTST_general_error);
	s.nr_frames = 1, s.dom = 9;
	IS(one(GNTTABOP_setup_table, &s, sizeof(s), offsetof(struct gnttab_setup_table, status)), GNTST_bad_domain);
	s.dom = PV_HOST; // it is there, and not to be looked at
	IS(one(GNTTABOP_setup_table, &s, sizeof(s), offsetof(struct gnttab_setup_table, status)),
	   GNTST_permission_denied);
	IS(ONE(query_size, gnttab_query_size, .dom = PV_HOST), GNTST_permission_denied);
	IS(ONE(get_status_frames, gnttab_get_status_frames, .dom = PV_HOST), GNTST_permission_denied);
	s.dom = DOMID_SELF, s.frame_list.p = (void *)UNMAPPED;
	IS(one(GNTTABOP_setup_table, &s, sizeof(s), offsetof(struct gnttab_setup_table, status)), GNTST_bad_virt_addr);
	IS(raw(GNTTABOP_setup_table, &s, sizeof(s), 0), -XEN_EINVAL);
	IS(ONE(get_status_frames, gnttab_get_status_frames, .dom = DOMID_SELF, .nr_frames = 1), GNTST_general_error);
	IS(ONE(get_status_frames, gnttab_get_status_frames, .dom = 4, .nr_frames = 1), GNTST_bad_domain);
	IS(ONE(get_status_frames, gnttab_get_status_frames, .dom = DOMID_SELF), GNTST_okay);
	// They are never a table, nor given away.
	IS(CALL(&m, mmu_update, (memcpy(m_args(&m), &(struct mmu_update){m_slot(&m, M_L2, 9), m_entry(&m, M_GRANTS, M_RW)}, 16), ARGS), 1, 0, DOMID_SELF),
	   -XEN_EINVAL);
}

static void test_version(void **state)
{
	struct gnttab_set_version v = {1};
	struct gnttab_get_version get = {.dom = DOMID_SELF};

	IS(raw(GNTTABOP_set_version, &v, sizeof(v), 1), 0);
	v.version = 2;
	IS(raw(GNTTABOP_set_version, &v, sizeof(v), 1), -XEN_ENOSYS);
	assert_int_equal(((struct gnttab_set_version *)m_args(&m))->version, 1);
	v.version = 3;
	IS(raw(GNTTABOP_set_version, &v, sizeof(v), 1), -XEN_EINVAL);
	IS(CALL(&m, grant_table_op, GNTTABOP_set_version, UNMAPPED, 1), -XEN_EFAULT);
	IS(raw(GNTTABOP_get_version, &get, sizeof(get), 1), 0);
	assert_int_equal(((struct gnttab_get_version *)m_args(&m))->version, 1);
	get.dom = 4;
	IS(raw(GNTTABOP_get_version, &get, sizeof(get), 1), -XEN_ESRCH);
	get.dom = PV_HOST;
	IS(raw(GNTTABOP_get_version, &get, sizeof(get), 1), -XEN_EPERM);
	IS(CALL(&m, grant_table_op, GNTTABOP_get_version, UNMAPPED, 1), -XEN_EFAULT);
	IS(CALL(&m, grant_table_op, GNTTABOP_dump_table, ARGS, 1), -XEN_ENOSYS);
	IS(CALL(&m, grant_table_op, 99, ARGS, 1), -XEN_ENOSYS);
	IS(CALL(&m, grant_table_op, GNTTABOP_copy, ARGS, 1u << 31), -XEN_EINVAL);
	IS(CALL(&m, grant_table_op, GNTTABOP_copy | 1u << 20, ARGS, 1), -XEN_EINVAL);
	IS(ONE(transfer, gnttab_transfer, .mfn = m.p2m[M_DATA], .domid = 3), GNTST_bad_page); // it stays
	assert_true(m_ppn(&m, m.p2m[M_DATA]) == M_DATA);
}

static void test_map(void **state)
{
	u32 w, r, refs = m.frame[M_DATA].refs;
	u64 bus = m.p2m[M_DATA] << PAGE_SHIFT;

	grant(8, M_DATA, 0);
	IS(map(8, GNTMAP_host_map | 5u << 16, AT), GNTST_okay);
	w = handle();
	assert_int_equal(((struct gnttab_map_grant_ref *)m_args(&m))->dev_bus_addr, bus);
	assert_int_equal(m_page(&m, M_L1)[AT_SLOT], m_entry(&m, M_DATA, M_RW | PTE_NX | 5ull << 9));
	assert_int_equal(entry(8)->flags, GTF_permit_access | GTF_reading | GTF_writing);
	assert_int_equal(m.frame[M_DATA].refs, refs + 2); // its mapping, its handle
	IS(map(8, GNTMAP_host_map | GNTMAP_readonly | GNTMAP_contains_pte | GNTMAP_application_map, m_slot(&m, M_L1, AT_SLOT + 1)), GNTST_okay);
	r = handle();
	assert_int_equal(m_page(&m, M_L1)[AT_SLOT + 1], m_entry(&m, M_DATA, M_RO | PTE_D | PTE_NX | PTE_U));
	entry(8)->frame = (u32)m.p2m[M_L1]; // too late: it is in use as it was
	entry(8)->domid = 77;
	IS(map(8, GNTMAP_host_map | GNTMAP_readonly, AT + 2 * PAGE_SIZE), GNTST_okay);
	assert_int_equal(m_page(&m, M_L1)[AT_SLOT + 2] & PTE_ADDR, bus);
	IS(unmap(handle(), AT + 2 * PAGE_SIZE, 0), GNTST_okay);
	IS(unmap(w, AT + PAGE_SIZE, 0), GNTST_general_error); // read-only there: not its mapping
	IS(unmap(w, AT, 0), GNTST_okay);
	assert_int_equal(entry(8)->flags, GTF_permit_access | GTF_reading);
	assert_int_equal(m_page(&m, M_L1)[AT_SLOT], 0);
	IS(unmap(w, AT, 0), GNTST_bad_handle);
	IS(unmap(r, m_slot(&m, M_L1, AT_SLOT + 1), 0), GNTST_okay);
	assert_int_equal(entry(8)->flags, GTF_permit_access);
	assert_int_equal(m.frame[M_DATA].refs, refs);
	IS(unmap(PV_HANDLES, AT, 0), GNTST_bad_handle);
	IS(unmap(~0u, AT, 0), GNTST_bad_handle);
}

static void test_map_refused(void **state)
{
	grant(8, M_DATA, 0);
	grant(9, M_DATA, GTF_readonly);
	grant(10, M_L1, 0);
	*entry(11) = (grant_entry_v1_t){GTF_permit_access, PV_DOM, M_FOREIGN};
	*entry(12) = (grant_entry_v1_t){GTF_permit_access, 5, (u32)m.p2m[M_DATA]};
	*entry(13) = (grant_entry_v1_t){GTF_permit_access | GTF_sub_page, PV_DOM, (u32)m.p2m[M_DATA]};
	*entry(14) = (grant_entry_v1_t){GTF_accept_transfer, PV_DOM, (u32)m.p2m[M_DATA]};
	IS(map(8, 0, AT), GNTST_bad_gntref);
	IS(map_of(7, 8, GNTMAP_host_map, AT), GNTST_bad_domain);
	IS(map_of(PV_HOST, 8, GNTMAP_host_map, AT), GNTST_general_error);
	IS(map_of(PV_HOST, 511, GNTMAP_device_map, 0), GNTST_general_error);
	IS(map_of(PV_HOST, 512, GNTMAP_device_map, 0), GNTST_bad_gntref);
	IS(map_of(PV_HOST, 8, 0, AT), GNTST_bad_gntref);     // how, it does not say
	IS(map(512, GNTMAP_host_map, AT), GNTST_bad_gntref); // the table has one page
	IS(map(9, GNTMAP_host_map, AT), GNTST_general_error);
	IS(map(10, GNTMAP_host_map, AT), GNTST_general_error); // a page table, writable
	IS(map(11, GNTMAP_host_map, AT), GNTST_bad_page);
	for (u32 ref = 12; ref < 16; ref++)
		IS(map(ref, GNTMAP_host_map, AT), GNTST_general_error);
	IS(map(8, GNTMAP_host_map, 0x1000), GNTST_general_error); // no table there
	IS(map(8, GNTMAP_host_map | GNTMAP_contains_pte, m_slot(&m, M_L1, AT_SLOT) + 4), GNTST_general_error);
	IS(map(8, GNTMAP_host_map | GNTMAP_contains_pte, m_slot(&m, M_L2, 9)), GNTST_general_error);
	IS(map(8, GNTMAP_host_map | GNTMAP_contains_pte, m_slot(&m, M_DATA, 9)), GNTST_general_error);
	IS(map(8, GNTMAP_host_map | GNTMAP_contains_pte, M_FOREIGN << PAGE_SHIFT), GNTST_general_error);
	for (u32 ref = 8; ref < 16; ref++)
		assert_false(entry(ref)->flags & (GTF_reading | GTF_writing));
	IS(map(9, GNTMAP_host_map | GNTMAP_readonly, AT), GNTST_okay);
	IS(map(9, GNTMAP_host_map, AT + PAGE_SIZE), GNTST_general_error); // in use, but not for that
	assert_int_equal(entry(9)->flags, GTF_permit_access | GTF_readonly | GTF_reading);
	assert_int_equal(CALL(&m, grant_table_op, GNTTABOP_map_grant_ref, UNMAPPED, 1), -XEN_EFAULT);
	assert_int_equal(CALL(&m, grant_table_op, GNTTABOP_unmap_grant_ref, UNMAPPED, 1), -XEN_EFAULT);
	for (unsigned i = 1; i < PV_HANDLES; i++)
		assert_int_equal(map(8, GNTMAP_device_map, 0), GNTST_okay);
	IS(map(8, GNTMAP_device_map, 0), GNTST_no_space);
}

static void test_device(void **state)
{
	u64 bus = m.p2m[M_DATA] << PAGE_SHIFT;

	grant(8, M_DATA, 0);
	IS(map(8, GNTMAP_host_map | GNTMAP_device_map, AT), GNTST_okay);
	u32 h = handle();

	IS(unmap(h, 0, bus + 1), GNTST_bad_dev_addr);
	IS(unmap(h, 0, 0), GNTST_okay); // nothing was asked for
	IS(unmap(h, AT, 0), GNTST_okay);
	assert_int_equal(entry(8)->flags, GTF_permit_access | GTF_reading | GTF_writing);
	IS(unmap(h, 0, bus), GNTST_okay);
	assert_int_equal(entry(8)->flags, GTF_permit_access);
	IS(unmap(h, 0, bus), GNTST_bad_handle);
	IS(map(8, GNTMAP_device_map, 0), GNTST_okay); // a frame that is held is no table, and stays
	h = handle();
	IS(CALL(&m, mmu_update, (memcpy(m_args(&m), &(struct mmu_update){m_slot(&m, M_L2, 9), m_entry(&m, M_DATA, M_RW)}, 16), ARGS), 1, 0, DOMID_SELF),
	   -XEN_EINVAL);
}

static s64 replace(u32 h, u64 host, u64 new_addr)
{
	return ONE(unmap_and_replace, gnttab_unmap_and_replace, .handle = h, .host_addr = host, .new_addr = new_addr);
}

static void test_replace(void **state)
{
	grant(8, M_DATA, 0);
	IS(map(8, GNTMAP_host_map, AT), GNTST_okay);
	u32 h = handle();

	IS(replace(h, AT, AT), GNTST_general_error);
	IS(replace(h, AT, 0x1000), GNTST_general_error);
	IS(replace(h, AT + PAGE_SIZE, m_va(M_DATA + 1)), GNTST_general_error);
	IS(replace(h, AT, m_va(M_DATA + 1)), GNTST_okay); // which moves
	assert_int_equal(m_page(&m, M_L1)[AT_SLOT], m_entry(&m, M_DATA + 1, M_RW));
	assert_int_equal(m_page(&m, M_L1)[M_DATA + 1], 0);
	IS(replace(h, AT, 0), GNTST_bad_handle);
	IS(map(8, GNTMAP_host_map | GNTMAP_contains_pte, m_slot(&m, M_L1, AT_SLOT)), GNTST_okay);
	h = handle();
	IS(replace(h, m_slot(&m, M_L1, AT_SLOT), m_va(M_DATA + 2)), GNTST_general_error);
	IS(replace(h, m_slot(&m, M_L1, AT_SLOT), 0), GNTST_okay);
	assert_int_equal(CALL(&m, grant_table_op, GNTTABOP_unmap_and_replace, UNMAPPED, 1), -XEN_EFAULT);
}

// A guest that has changed its own mapping meanwhile: the handle stays until what it says is so again, or the guest goes.
static void test_mapping_lost(void **state)
{
	struct mmu_update u = {m_slot(&m, M_L1, AT_SLOT), 0};

	grant(8, M_DATA, 0);
	IS(map(8, GNTMAP_host_map, AT), GNTST_okay);
	u32 h = handle();

	memcpy(m_args(&m), &u, sizeof(u));
	IS(CALL(&m, mmu_update, ARGS, 1, 0, DOMID_SELF), 0);
	IS(unmap(h, AT, 0), GNTST_general_error);
	assert_int_equal(entry(8)->flags, GTF_permit_access | GTF_reading | GTF_writing);
}

#define PAGE_OF(page) {.u.gmfn = m.p2m[page], .domid = DOMID_SELF}
#define REF(number) {.u.ref = (number), .domid = PV_DOM}

static s64 copy(struct gnttab_copy c)
{
	return one(GNTTABOP_copy, &c, sizeof(c), offsetof(struct gnttab_copy, status));
}

static void test_copy(void **state)
{
	grant(8, M_DATA, GTF_readonly);
	grant(9, M_DATA + 1, 0);
	grant(10, M_L1, 0);
	memset(m_page(&m, M_DATA), 0x5a, PAGE_SIZE);
	IS(copy((struct gnttab_copy){PAGE_OF(M_DATA), PAGE_OF(M_DATA + 2), 100, 0, 0}), GNTST_okay);
	assert_true(((u8 *)m_page(&m, M_DATA + 2))[99] == 0x5a && !((u8 *)m_page(&m, M_DATA + 2))[100]);
	struct gnttab_copy c = {REF(8), REF(9), 16, GNTCOPY_source_gref | GNTCOPY_dest_gref, 0};

	c.source.offset = PAGE_SIZE - 16, c.dest.offset = 32;
	IS(copy(c), GNTST_okay);
	assert_true(((u8 *)m_page(&m, M_DATA + 1))[32] == 0x5a && !((u8 *)m_page(&m, M_DATA + 1))[31] && !((u8 *)m_page(&m, M_DATA + 1))[48]);
	c.len = 17;
	IS(copy(c), GNTST_bad_copy_arg);
	c.len = 16, c.dest.offset = PAGE_SIZE - 15;
	IS(copy(c), GNTST_bad_copy_arg);
	c.dest.offset = 0, c.dest.u.ref = 8;
	IS(copy(c), GNTST_general_error); // read-only
	c.dest.u.ref = 10;
	IS(copy(c), GNTST_general_error); // a page table
	c.dest.u.ref = 600;
	IS(copy(c), GNTST_bad_gntref);
	c.dest.u.ref = 9, c.dest.domid = 8;
	IS(copy(c), GNTST_bad_domain);
	c.dest.domid = PV_HOST;
	IS(copy(c), GNTST_general_error);
	c.dest.u.ref = 512;
	IS(copy(c), GNTST_bad_gntref);
	c.dest.u.ref = 9;
	c.dest.domid = PV_DOM, c.flags = 0;
	IS(copy(c), GNTST_permission_denied); // pages by their frames are one's own
	IS(copy((struct gnttab_copy){PAGE_OF(M_DATA), PAGE_OF(M_L1), 8, 0, 0}), GNTST_general_error);
	IS(copy((struct gnttab_copy){PAGE_OF(M_L1), PAGE_OF(M_DATA), 8, 0, 0}), GNTST_okay);
	IS(copy((struct gnttab_copy){{.u.gmfn = M_FOREIGN, .domid = DOMID_SELF}, PAGE_OF(M_DATA), 8, 0, 0}), GNTST_bad_page);
	IS(copy((struct gnttab_copy){PAGE_OF(M_DATA), {.u.gmfn = ~0ull, .domid = DOMID_SELF}, 8, 0, 0}), GNTST_bad_page);
	for (u32 ref = 8; ref < 11; ref++)
		assert_false(entry(ref)->flags & (GTF_reading | GTF_writing));
	assert_int_equal(CALL(&m, grant_table_op, GNTTABOP_copy, UNMAPPED, 1), -XEN_EFAULT);
}

// Many at once, in small pieces; the last is not there.
static void test_batch(void **state)
{
	struct gnttab_copy *c = m_args(&m);

	for (unsigned i = 0; i < 50; i++)
		c[i] = (struct gnttab_copy){.source = PAGE_OF(M_DATA), .dest = PAGE_OF(M_DATA + 1), .len = 8, .status = 99};
	c[30].dest.domid = 3;
	m.guest.budget = PV_WORK_MIN;
	IS(CALL(&m, grant_table_op, GNTTABOP_copy, ARGS, 50), 0);
	assert_true(m.pieces >= 50);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(c[i].status, i == 30 ? GNTST_permission_denied : GNTST_okay);
}

static void test_swap_and_flush(void **state)
{
	struct gnttab_cache_flush f = {.a.dev_bus_addr = m.p2m[M_DATA] << PAGE_SHIFT, .length = 100, .op = GNTTAB_CACHE_CLEAN};

	grant(8, M_DATA, 0);
	grant(9, M_DATA + 1, GTF_readonly);
	IS(ONE(swap_grant_ref, gnttab_swap_grant_ref, 8, 9, 0), GNTST_okay);
	assert_true(entry(8)->frame == m.p2m[M_DATA + 1] && entry(8)->flags & GTF_readonly && entry(9)->frame == m.p2m[M_DATA]);
	IS(ONE(swap_grant_ref, gnttab_swap_grant_ref, 8, 8, 0), GNTST_okay);
	IS(ONE(swap_grant_ref, gnttab_swap_grant_ref, 8, 512, 0), GNTST_bad_gntref);
	IS(map(9, GNTMAP_host_map, AT), GNTST_okay);
	IS(ONE(swap_grant_ref, gnttab_swap_grant_ref, 8, 9, 0), GNTST_eagain);
	assert_int_equal(CALL(&m, grant_table_op, GNTTABOP_swap_grant_ref, UNMAPPED, 1), -XEN_EFAULT);
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), 0);
	f.length = 0;
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), 0);
	f.length = PAGE_SIZE, f.offset = 1;
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), -XEN_EINVAL);
	f.length = 1, f.op = GNTTAB_CACHE_SOURCE_GREF | GNTTAB_CACHE_CLEAN;
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), -XEN_EINVAL);
	f.op = GNTTAB_CACHE_INVAL, f.a.dev_bus_addr = M_FOREIGN << PAGE_SHIFT;
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), -XEN_EPERM);
	f.a.dev_bus_addr = (u64)M_FRAMES << PAGE_SHIFT;
	IS(raw(GNTTABOP_cache_flush, &f, sizeof(f), 1), -XEN_EINVAL);
	IS(CALL(&m, grant_table_op, GNTTABOP_cache_flush, UNMAPPED, 1), -XEN_EFAULT);
}

// The audit can fail.
static void test_planted(void **state)
{
	grant(8, M_DATA, 0);
	IS(map(8, GNTMAP_host_map, AT), GNTST_okay);
	m.guest.grants.grant[8].readers++;
	assert_true(machine_audit(&m) > 0);
	m.guest.grants.grant[8].readers--;
	m.guest.grants.handle[handle()].flags = GNTMAP_readonly;
	assert_true(machine_audit(&m) > 0);
	m.guest.grants.handle[handle()].flags = GNTMAP_host_map;
	IS(0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_table),   TEST(test_version),	     TEST(test_map),  TEST(test_map_refused), TEST(test_device),
		TEST(test_replace), TEST(test_mapping_lost), TEST(test_copy), TEST(test_batch),	      TEST(test_swap_and_flush),
		TEST(test_planted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
