// SPDX-License-Identifier: MIT
// Statistics as plain structs and their JSON form, which is a published contract: a key once published stays. Bytes and
// nanoseconds throughout.
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include "base/types.h"
#include "base/json.h"

struct stats_exit {
	const char *name; // the reason, e.g. "page_fault"
	u64 count, ns;
};

struct stats_counter {
	const char *name;
	u64 value;
};

// One device: {"NAME":{"counter":value,...}} under "devices".
struct stats_device {
	const char *name;
	const struct stats_counter *counter;
	unsigned counters;
};

struct stats_vm {
	const char *name;
	const char *type;  // "hvm" "pv"
	const char *state; // "running" "blocked" "paused" "shutdown" "crashed" "ended"
	u32 vcpus;
	struct {
		u64 run_ns, ready_ns, stolen_ns;
	} cpu;
	const struct stats_exit *exit;
	unsigned exits;
	u64 crossings;
	struct {
		u64 blocks, bytes, flushes, smc_faults, instructions_emulated, callouts;
	} translator;
	struct {
		u64 shadow_pages, hidden_faults, guest_faults, pte_writes;
	} mmu;
	struct {
		u64 configured, resident, shared, zero, ballooned, swapped, target, overhead;
	} memory;
	const struct stats_device *device;
	unsigned devices;
	// How it ended; how == NULL while it has not. Written as "end":{"how","reason","value"}.
	struct {
		const char *how, *reason;
		u64 value;
	} end;
	const struct stats_counter *debug; // free-form, written as "debug":{...} when there are any
	unsigned debugs;
};

struct stats_snapshot {
	struct {
		u32 cpus;
		u64 memory_bytes, hypervisor_bytes, free_bytes;
	} machine;
	const struct stats_vm *vm;
	unsigned vms;
};

// Writes the statistics as one JSON object.
void stats_write(struct json_out *j, const struct stats_snapshot *s);
// The same in pieces, for a caller that fills one struct stats_vm after the other.
void stats_begin(struct json_out *j, const struct stats_snapshot *s); // machine only; opens "vms"
void stats_write_vm(struct json_out *j, const struct stats_vm *vm);
void stats_end(struct json_out *j);

#endif
