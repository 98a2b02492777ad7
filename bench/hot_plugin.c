// SPDX-License-Identifier: MIT
// A QEMU plugin that counts the instructions of each block that is executed at the hypervisor's addresses or, with at=guest, at all
// others. Argument out=FILE: address and count of each block, one a line; from=FROM: from that MOV to CR3 on, as in
// refill_plugin.c. bench/hot adds them up by function.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/system/qemu_plugin.h"

int qemu_plugin_version = 1;

#define IMAGE_BASE 0xffff810000000000u
#define IMAGE_END 0xffff820000000000u

struct block {
	struct block *next;
	uint64_t at, executed;
	size_t size;
};

static struct block *all;
static uint64_t switches, from;
static bool guest;
static FILE *out;

static void on_block(unsigned int vcpu, void *block)
{
	((struct block *)block)->executed += switches >= from;
}

static void on_cr3(unsigned int vcpu, void *unused)
{
	switches++;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t at = qemu_plugin_tb_vaddr(tb);
	struct block *b;

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);

		if (size >= 3 && code[size - 3] == 0x0f && code[size - 2] == 0x22 && (code[size - 1] & 0xf8) == 0xd8)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_cr3, QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
	if ((at >= IMAGE_BASE && at < IMAGE_END) == guest)
		return;
	b = calloc(1, sizeof(*b));
	if (!b)
		abort();
	*b = (struct block){.next = all, .at = at, .size = qemu_plugin_tb_n_insns(tb)};
	all = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, b);
}

static void finish(qemu_plugin_id_t id, void *unused)
{
	fprintf(out, "switches %" PRIu64 "\n", switches > from ? switches - from : 0);
	for (const struct block *b = all; b; b = b->next)
		if (b->executed)
			fprintf(out, "%016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", b->at, b->executed * b->size,
				b->executed);
	fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	const char *file = "hot.txt";

	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			file = argv[i] + 4;
		else if (!strncmp(argv[i], "from=", 5))
			from = strtoull(argv[i] + 5, NULL, 10);
		else if (!strcmp(argv[i], "at=guest"))
			guest = true;
	}
	out = fopen(file, "w");
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
