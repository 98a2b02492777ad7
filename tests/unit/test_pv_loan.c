// SPDX-License-Identifier: MIT
// Page tables lent to the kernel: when, when not, what comes back, what is refused; and random rows of stores and updates in two
// machines, one of which lends, whose tables must be the same after each row.
#include "tests/unit/pv_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define IS(a, b) assert_int_equal(a, b)
#define COPY M_FOREIGN

static struct machine m;

static u64 copy[512], before[512];
static mpn_t lent_table, lent_copy;

static void port_lent(void *ctx, mpn_t table, mpn_t to)
{
	lent_table = table;
	lent_copy = to;
}

static struct pv_ports lending;

static int lend_start(void **state)
{
	machine_start(&m);
	lending = m_frame_ports;
	lending.lent = port_lent;
	m.guest.frames.ports = &lending;
	pv_loan_init(&m.guest.loan, COPY, copy, before);
	lent_table = lent_copy = MPN_NONE;
	m.guest.frames.work = ~0u;
	IS(pv_pin(&m.guest.frames, m.p2m[M_USER_L4], PV_L4), ST_OK);
	return 0;
}

static mpn_t table(void)
{
	return m.p2m[M_USER_L1];
}

static u64 *entries(void)
{
	return m_page(&m, M_USER_L1);
}

static bool lent(void)
{
	return m.guest.loan.table != MPN_NONE;
}

// The kernel's store to the table, as it faults; it has gone back to user mode that often.
static void store(unsigned slot, u64 value, u64 returns)
{
	u64 va = m_va(M_USER_L1) + slot * 8, old;

	m.guest.frames.work = PV_WORK;
	IS(pv_table_exchange(&m.vcpu, va, value, &old), ST_OK);
	pv_loan_stored(&m.vcpu, va, returns);
}

static s64 update(unsigned slot, u64 value, u64 returns)
{
	struct mmu_update *u = m_args(&m);
	s64 r;

	*u = (struct mmu_update){m_slot(&m, M_USER_L1, slot) | MMU_NORMAL_PT_UPDATE, value};
	r = CALL(&m, mmu_update, ARGS, 1, 0, DOMID_SELF);
	pv_loan_called(&m.vcpu, __HYPERVISOR_mmu_update, returns);
	return r;
}

static u64 map_of_table(void)
{
	return m_page(&m, M_L1)[M_USER_L1];
}

static void back(bool changed)
{
	assert_true(pv_loan_return(&m.vcpu) == changed);
	assert_false(lent());
	IS(map_of_table(), m_entry(&m, M_USER_L1, M_RO));
	IS(machine_audit(&m), 0);
	assert_true(lent_copy == MPN_NONE);
}

static void test_row_of_stores(void **state)
{
	store(0, 0, 0);
	store(1, 0, 0);
	assert_false(lent());
	store(2, 0, 0);
	assert_true(lent() && lent_table == table() && lent_copy == COPY);
	IS(map_of_table() & PTE_ADDR, COPY << PAGE_SHIFT);
	assert_true(map_of_table() & PTE_W);
	IS(copy[3], entries()[3]);
	copy[3] = 0;
	copy[4] &= ~(u64)PTE_W;
	copy[100] = m_entry(&m, M_DATA + 20, M_RW | PTE_U);
	assert_int_equal(m.frame[M_DATA + 20].uses, 1); // by the direct map
	back(true);
	IS(entries()[3], 0);
	assert_false(entries()[4] & PTE_W);
	IS(entries()[100], m_entry(&m, M_DATA + 20, M_RW | PTE_U));
	assert_int_equal(m.frame[M_DATA + 20].uses, 2);
	store(5, 0, 0); // it was worth it
	assert_true(lent());
	back(false);
	store(6, 0, 0); // it was not
	assert_true(!lent() || m.guest.loan.row >= 3);
}

// The copy is all of the table each time, whatever it was of the last one; nothing that it had then is left.
static void test_lent_again(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		unsigned full = round * 37 % 500, emptied = (round - 1) * 37 % 500;

		store(full, m_entry(&m, M_DATA, M_RO | PTE_U), 0);
		if (round)
			store(emptied, 0, 0);
		for (unsigned i = 0; i < 3 && !lent(); i++)
			store(511, 0, 0);
		assert_true(lent());
		for (unsigned i = 0; i < 512; i++)
			IS(copy[i] & ~PTE_D, entries()[i] & ~PTE_D);
		copy[(full + 256) % 512] = m_entry(&m, M_DATA + 1, M_RO | PTE_U);
		back(true);
		IS(entries()[(full + 256) % 512], m_entry(&m, M_DATA + 1, M_RO | PTE_U));
		store((full + 256) % 512, 0, 1);
		if (lent())
			back(false);
	}
}

static void test_row_ends(void **state)
{
	store(0, 0, 0);
	store(1, 0, 0);
	store(2, 0, 1); // a program has run meanwhile
	assert_false(lent());
	store(3, 0, 1);
	pv_loan_called(&m.vcpu, __HYPERVISOR_xen_version, 1); // another hypercall
	store(4, 0, 1);
	store(5, 0, 1);
	assert_false(lent());
	store(6, 0, 1);
	assert_true(lent());
	back(false);
}

static void test_row_of_updates(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		IS(update(i, 0, 0), 0);
	assert_false(lent()); // where the kernel has the table is not known
	store(4, 0, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(lent());
		IS(update(i, m_entry(&m, M_DATA + i, M_RW | PTE_U), 2), 0);
	}
	assert_true(lent());
	copy[9] = 0;
	back(true);
	IS(entries()[9], 0);
}

// Rows of updates that map read-only and begin at one of 16 places: where they were worth it they are lent from the first on, at others not.
static void test_where_rows_begin(void **state)
{
	u64 page = m_entry(&m, M_DATA, M_RO | PTE_U), returns = 1;

	store(0, 0, 0);
	for (unsigned round = 0; round < 6; round++, returns++) {
		for (unsigned i = 0; i < 5 && !lent(); i++)
			IS(update(32 + i, page, returns), 0);
		assert_true(lent());
		IS(m.guest.loan.row, round < 2 ? 3 : 1);
		for (unsigned i = 10; i < 15; i++)
			copy[32 + i] = page;
		back(true);
		returns++;
		IS(update(40, page, returns), 0); // another place
		assert_false(lent());
		returns++;
		IS(update(16, m_entry(&m, M_DATA, M_RW | PTE_U), returns), 0); // a page of its own, at such a place
		assert_false(lent());
		for (unsigned i = 0; i < 64; i++)
			IS(update(i, 0, ++returns), 0);
	}
	for (unsigned round = 0; round < 2; round++) {
		IS(update(48, page, ++returns), 0);
		assert_true(lent());
		back(false);
	}
	IS(update(48, page, ++returns), 0); // not worth it any more
	assert_false(lent());
}

// Two mappings: one would show what the table was. None: nothing to lend by.
static void test_mapped_elsewhere(void **state)
{
	m.guest.frames.work = PV_WORK;
	IS(pv_store(&m.guest.frames, m.p2m[M_L1], 400, m_entry(&m, M_USER_L1, M_RO), false), ST_OK);
	for (unsigned i = 0; i < 5; i++)
		store(i, 0, 0);
	assert_false(lent());
	m.guest.frames.work = PV_WORK;
	IS(pv_store(&m.guest.frames, m.p2m[M_L1], 400, 0, false), ST_OK);
	store(5, 0, 0);
	assert_true(lent());
	back(false);
}

static void test_only_leaves(void **state)
{
	u64 va = m_va(M_USER_L2) + 8 * 7, old;

	for (unsigned i = 0; i < 5; i++) {
		m.guest.frames.work = PV_WORK;
		IS(pv_table_exchange(&m.vcpu, va, 0, &old), ST_OK);
		pv_loan_stored(&m.vcpu, va, 0);
	}
	assert_false(lent());
}

// The table that maps the kernel's pages, itself included.
static void test_kernel_table(void **state)
{
	u64 va = m_va(M_L1) + 8 * 450, old;

	for (unsigned i = 0; i < 3; i++) {
		m.guest.frames.work = PV_WORK;
		IS(pv_table_exchange(&m.vcpu, va + i * 8, 0, &old), ST_OK);
		pv_loan_stored(&m.vcpu, va + i * 8, 0);
	}
	assert_true(lent());
	IS(copy[M_L1], m_entry(&m, M_L1, M_RO));
	copy[450] = m_entry(&m, M_DATA, M_RW);
	assert_true(pv_loan_return(&m.vcpu));
	IS(m_page(&m, M_L1)[M_L1], m_entry(&m, M_L1, M_RO));
	IS(m_page(&m, M_L1)[450], m_entry(&m, M_DATA, M_RW));
	IS(machine_audit(&m), 0);
}

static void test_refused(void **state)
{
	static const ppn_t bad[] = {M_USER_L1, M_L4};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		lend_start(NULL);
		for (unsigned k = 0; k < 3; k++)
			store(k, 0, 0);
		copy[10] = m_entry(&m, bad[i], M_RW);
		copy[11] = 0;
		assert_true(pv_loan_return(&m.vcpu));
		assert_true(m.ended == 1 && m.how == PV_END_CRASH);
		assert_non_null(strstr(m.said, "entry 10 of a page table"));
		IS(entries()[10], m_entry(&m, M_DATA + 10, M_RW | PTE_U));
		assert_true(entries()[11]); // nothing behind it
		IS(machine_audit(&m), 0);
	}
	lend_start(NULL);
	for (unsigned k = 0; k < 3; k++)
		store(k, 0, 0);
	copy[10] = BIT(45) | PTE_P; // nobody's
	assert_true(pv_loan_return(&m.vcpu));
	assert_int_equal(m.ended, 1);
}

// Set by the machine in the table while the copy is out: it stays where the kernel has stored nothing, and the kernel sees what it might miss.
static void test_accessed_and_dirty(void **state)
{
	entries()[8] &= ~(u64)PTE_D;
	for (unsigned k = 0; k < 3; k++)
		store(k, 0, 0);
	assert_true(copy[8] & PTE_D);
	entries()[9] &= ~(u64)PTE_A; // as if it had been so
	entries()[9] |= PTE_A;
	copy[10] = 0;
	back(true);
	assert_false(entries()[8] & PTE_D);
	assert_true(entries()[9] & PTE_A);
}

// ---- two machines

static struct machine plain;
static u64 seed;

static u64 below(u64 n)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed % n;
}

static u64 random_value(struct machine *on)
{
	static const u64 flags[] = {0, M_RO | PTE_U, M_RW | PTE_U, M_RW | PTE_U | PTE_NX, M_RO};
	u64 f = flags[below(ARRAY_SIZE(flags))];

	return f ? m_entry(on, M_DATA + below(40), f) : 0;
}

static void test_random(void **state)
{
	u64 loans = 0;

	lend_start(NULL);
	machine_start(&plain);
	plain.guest.frames.work = ~0u;
	IS(pv_pin(&plain.guest.frames, plain.p2m[M_USER_L4], PV_L4), ST_OK);
	seed = 12345;
	for (unsigned row = 0; row < 4000; row++) {
		unsigned n = 1 + (unsigned)below(5);
		u64 returns = below(3) ? row : row / 2;

		for (unsigned i = 0; i < n; i++) {
			unsigned slot = (unsigned)below(512);
			u64 value = random_value(&plain);

			plain.guest.frames.work = PV_WORK;
			IS(pv_store(&plain.guest.frames, plain.p2m[M_USER_L1], slot, value, false), ST_OK);
			if (lent())
				copy[slot] = value;
			else if (below(2))
				store(slot, value, returns);
			else
				IS(update(slot, value, returns), 0);
		}
		loans += lent();
		(void)pv_loan_return(&m.vcpu);
		for (unsigned i = 0; i < 512; i++)
			IS(entries()[i], m_page(&plain, M_USER_L1)[i]);
		if (!(row % 16)) {
			IS(machine_audit(&m), 0);
			IS(machine_audit(&plain), 0);
		}
	}
	for (ppn_t p = 0; p < M_LIMIT; p++)
		assert_true(m.frame[p].refs == plain.frame[p].refs && m.frame[p].uses == plain.frame[p].uses);
	print_message("%lu rows of 4,000 were lent\n", (unsigned long)loans);
	assert_true(loans > 500 && loans < 3500);
	assert_true(machine_end(&m) && machine_end(&plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_row_of_stores, lend_start),
		cmocka_unit_test_setup(test_lent_again, lend_start),
		cmocka_unit_test_setup(test_row_ends, lend_start),
		cmocka_unit_test_setup(test_row_of_updates, lend_start),
		cmocka_unit_test_setup(test_where_rows_begin, lend_start),
		cmocka_unit_test_setup(test_mapped_elsewhere, lend_start),
		cmocka_unit_test_setup(test_only_leaves, lend_start),
		cmocka_unit_test_setup(test_kernel_table, lend_start),
		cmocka_unit_test_setup(test_refused, lend_start),
		cmocka_unit_test_setup(test_accessed_and_dirty, lend_start),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
