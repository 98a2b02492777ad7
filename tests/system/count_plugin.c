// SPDX-License-Identifier: MIT
// A QEMU plugin that counts the instructions which the bare machine executes at kernel addresses: what the translator's own
// count is compared with. Counts are added inline at each instruction, so a block left early counts what it ran.
//
//  - An instruction counts when it begins. QEMU runs each round of a repeated string instruction as an instruction of its own;
//    rounds after the first, known by nothing else having run between, are taken out again.
//  - A user program marks a place by executing an eight-byte NOP with the displacement MARK, as tests/guests/initrd/tz.c does.
//    Each mark prints `mark N COUNT` to the file given as out=FILE.
//  - With all=on the instructions at every address count (bench/run, where the machine has one CPU).
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tests/system/qemu_plugin.h"

#define KERNEL_HALF 0xffff800000000000ull
#define REPEATED_MAX 4096

int qemu_plugin_version = 1;

static uint64_t executed;     // inline; rounds of string instructions each
static uint64_t again;        // rounds after the first
static uint64_t last_address; // of the last round, and `executed` before it
static uint64_t last_executed;
static bool all; // addresses
static unsigned marks;
static FILE *out;

// Runs before the instruction's own addition.
static void on_repeated(unsigned int vcpu, void *address)
{
	if ((uint64_t)address == last_address && executed == last_executed + 1)
		again++;
	last_address = (uint64_t)address;
	last_executed = executed;
}

static void on_mark(unsigned int vcpu, void *unused)
{
	fprintf(out, "mark %u %llu\n", ++marks, (unsigned long long)(executed - again));
	fflush(out);
}

static bool is_mark(const uint8_t *code, size_t n)
{
	return n == 8 && !memcmp(code, "\x0f\x1f\x84\x00MARK", 8);
}

// REP or REPNE before MOVS, CMPS, STOS, LODS, SCAS, INS or OUTS.
static bool is_repeated(const uint8_t *code, size_t n)
{
	bool rep = false;
	size_t i = 0;

	for (; i < n; i++) {
		uint8_t c = code[i];

		if (c == 0xf2 || c == 0xf3)
			rep = true;
		else if (c != 0x66 && c != 0x67 && c != 0x2e && c != 0x36 && c != 0x3e && c != 0x26 && c != 0x64 &&
			 c != 0x65 && (c & 0xf0) != 0x40)
			break;
	}
	return rep && i < n &&
	       ((code[i] >= 0xa4 && code[i] <= 0xa7) || (code[i] >= 0xaa && code[i] <= 0xaf) ||
		(code[i] >= 0x6c && code[i] <= 0x6f));
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (address < KERNEL_HALF && is_mark(code, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (address < KERNEL_HALF && !all)
			continue;
		if (is_repeated(code, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_repeated, QEMU_PLUGIN_CB_NO_REGS,
							       (void *)address);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
	}
}

static void on_exit_print(qemu_plugin_id_t id, void *unused)
{
	fprintf(out, "total %llu again %llu\n", (unsigned long long)(executed - again), (unsigned long long)again);
	fflush(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	out = stderr;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		all |= !strcmp(argv[i], "all=on");
	}
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_print, NULL);
	return 0;
}
