// SPDX-License-Identifier: MIT
// A QEMU plugin that counts what each world switch makes QEMU do again: after a CR3 write (which flushes QEMU's TLB) every
// page touched first costs a walk, and every translation block reached other than by a jump inside its own page a look-up.
// Time per crossing is mostly this (docs/design/crossings.md), and unlike time it is the same in every run.
//
// Segments run from one MOV to CR3 to the next and are told apart by the address of the one that began them. At exit, for the
// segments from the one numbered FROM on: how many, mean numbers of pages of code and data and of blocks first met, and the pages
// most often met. Arguments: out=FILE, from=FROM.
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/system/qemu_plugin.h"

int qemu_plugin_version = 1;

#define KINDS 8
#define TABLE (1u << 20)

// What was met: a page (low bit 0: data, 1: code) or a block (low bits 2), per kind of segment.
struct met {
	uint64_t key;
	uint64_t segment; // last one that it was met in
	uint32_t count[KINDS];
};

static struct met *table;
static uint64_t segment, from;
static unsigned kind;
static bool counting;
static struct kind {
	uint64_t at, segments, code, data, blocks, indirect;
} kinds[KINDS];
static unsigned kind_count = 1;
static uint64_t last_page; // of the code that ran last
static FILE *out;

static struct met *find(uint64_t key)
{
	uint64_t h = key * 0x9e3779b97f4a7c15ull >> 44;

	while (table[h].key && table[h].key != key)
		h = (h + 1) & (TABLE - 1);
	table[h].key = key;
	return &table[h];
}

static bool first(uint64_t key)
{
	struct met *m = find(key);

	if (m->segment == segment)
		return false;
	m->segment = segment;
	m->count[kind] += counting;
	return counting;
}

static void on_memory(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *userdata)
{
	kinds[kind].data += first((vaddr >> 12 << 2) | 0x4000000000000000);
}

// A block entered from another page is looked up (at the first time since the flush, the slow way).
static void on_block(unsigned int vcpu, void *address)
{
	uint64_t at = (uint64_t)address;
	bool jumped = at >> 12 != last_page;

	last_page = at >> 12;
	kinds[kind].code += first((at >> 12 << 2) | 0x4000000000000001);
	if (jumped && counting) {
		kinds[kind].indirect++;
	}
	if (jumped)
		kinds[kind].blocks += first(at << 2 | 2);
}

static void on_cr3(unsigned int vcpu, void *address)
{
	segment++;
	for (kind = 1; kind < kind_count && kinds[kind].at != (uint64_t)address; kind++)
		;
	if (kind == kind_count) {
		if (kind_count == KINDS)
			kind = 0;
		else
			kinds[kind_count++].at = (uint64_t)address;
	}
	counting = segment >= from;
	kinds[kind].segments += counting;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, (void *)qemu_plugin_tb_vaddr(tb));
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);

		qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
		if (size >= 3 && code[size - 3] == 0x0f && code[size - 2] == 0x22 && (code[size - 1] & 0xf8) == 0xd8)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_cr3, QEMU_PLUGIN_CB_NO_REGS,
							       (void *)qemu_plugin_insn_vaddr(insn));
	}
}

static unsigned sort_kind;

static int by_count(const void *a, const void *b)
{
	uint32_t x = ((const struct met *)a)->count[sort_kind], y = ((const struct met *)b)->count[sort_kind];

	return (x < y) - (x > y);
}

static void finish(qemu_plugin_id_t id, void *userdata)
{
	for (unsigned k = 1; k < kind_count; k++) {
		double n = kinds[k].segments;

		if (!n)
			continue;
		fprintf(out, "segments from %" PRIx64 ": %.0f; pages of code %.2f, of data %.2f, blocks looked up %.2f, jumps to other pages %.2f\n",
			kinds[k].at, n, kinds[k].code / n, kinds[k].data / n, kinds[k].blocks / n, kinds[k].indirect / n);
	}
	for (sort_kind = 1; sort_kind < kind_count; sort_kind++) {
		qsort(table, TABLE, sizeof(*table), by_count);
		fprintf(out, "from %" PRIx64 ":\n", kinds[sort_kind].at);
		for (unsigned i = 0, left = 300; i < TABLE && left && table[i].count[sort_kind] > kinds[sort_kind].segments / 50; i++, left--) {
			uint64_t key = table[i].key;
			const char *what = (key & 3) == 2 ? "block" : (key & 3) == 1 ? "code" : "data";
			uint64_t at = (key & 3) == 2 ? (uint64_t)((int64_t)key >> 2) : (uint64_t)((int64_t)(key << 1) >> 3) << 12;

			fprintf(out, "  %-5s %016" PRIx64 " %.3f\n", what, at, table[i].count[sort_kind] / (double)kinds[sort_kind].segments);
		}
	}
	fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *file = "refill.txt";

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			file = argv[i] + 4;
		else if (!strncmp(argv[i], "from=", 5))
			from = strtoull(argv[i] + 5, NULL, 10);
	}
	out = fopen(file, "w");
	table = calloc(TABLE, sizeof(*table));
	if (!out || !table)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
