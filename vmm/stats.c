// SPDX-License-Identifier: MIT
// Statistics in their published JSON form (stats.h).
#include "vmm/stats.h"

static void write_exits(struct json_out *j, const struct stats_vm *vm)
{
	json_key(j, "exits");
	json_object(j);
	for (unsigned i = 0; i < vm->exits; i++) {
		json_key(j, vm->exit[i].name);
		json_object(j);
		json_kv_u64(j, "count", vm->exit[i].count);
		json_kv_u64(j, "ns", vm->exit[i].ns);
		json_object_end(j);
	}
	json_object_end(j);
	json_kv_u64(j, "crossings", vm->crossings);
}

static void write_translator(struct json_out *j, const struct stats_vm *vm)
{
	json_key(j, "translator");
	json_object(j);
	json_kv_u64(j, "blocks", vm->translator.blocks);
	json_kv_u64(j, "bytes", vm->translator.bytes);
	json_kv_u64(j, "flushes", vm->translator.flushes);
	json_kv_u64(j, "smc_faults", vm->translator.smc_faults);
	json_kv_u64(j, "instructions_emulated", vm->translator.instructions_emulated);
	json_kv_u64(j, "callouts", vm->translator.callouts);
	json_object_end(j);
}

static void write_mmu(struct json_out *j, const struct stats_vm *vm)
{
	json_key(j, "mmu");
	json_object(j);
	json_kv_u64(j, "shadow_pages", vm->mmu.shadow_pages);
	json_kv_u64(j, "hidden_faults", vm->mmu.hidden_faults);
	json_kv_u64(j, "guest_faults", vm->mmu.guest_faults);
	json_kv_u64(j, "pte_writes", vm->mmu.pte_writes);
	json_object_end(j);
}

static void write_memory(struct json_out *j, const struct stats_vm *vm)
{
	json_key(j, "memory");
	json_object(j);
	json_kv_u64(j, "configured", vm->memory.configured);
	json_kv_u64(j, "resident", vm->memory.resident);
	json_kv_u64(j, "shared", vm->memory.shared);
	json_kv_u64(j, "zero", vm->memory.zero);
	json_kv_u64(j, "ballooned", vm->memory.ballooned);
	json_kv_u64(j, "swapped", vm->memory.swapped);
	json_kv_u64(j, "target", vm->memory.target);
	json_kv_u64(j, "overhead", vm->memory.overhead);
	json_object_end(j);
}

static void write_counters(struct json_out *j, const char *key, const struct stats_counter *c, unsigned n)
{
	json_key(j, key);
	json_object(j);
	for (unsigned i = 0; i < n; i++)
		json_kv_u64(j, c[i].name, c[i].value);
	json_object_end(j);
}

static void write_devices(struct json_out *j, const struct stats_vm *vm)
{
	json_key(j, "devices");
	json_object(j);
	for (unsigned i = 0; i < vm->devices; i++)
		write_counters(j, vm->device[i].name, vm->device[i].counter, vm->device[i].counters);
	json_object_end(j);
}

static void write_end(struct json_out *j, const struct stats_vm *vm)
{
	if (!vm->end.how)
		return;
	json_key(j, "end");
	json_object(j);
	json_kv_string(j, "how", vm->end.how);
	json_kv_string(j, "reason", vm->end.reason ? vm->end.reason : "");
	json_kv_u64(j, "value", vm->end.value);
	json_object_end(j);
}

void stats_write_vm(struct json_out *j, const struct stats_vm *vm)
{
	json_object(j);
	json_kv_string(j, "name", vm->name);
	json_kv_string(j, "type", vm->type);
	json_kv_string(j, "state", vm->state);
	json_kv_u64(j, "vcpus", vm->vcpus);
	json_key(j, "cpu");
	json_object(j);
	json_kv_u64(j, "run_ns", vm->cpu.run_ns);
	json_kv_u64(j, "ready_ns", vm->cpu.ready_ns);
	json_kv_u64(j, "stolen_ns", vm->cpu.stolen_ns);
	json_object_end(j);
	write_exits(j, vm);
	write_translator(j, vm);
	write_mmu(j, vm);
	write_memory(j, vm);
	write_devices(j, vm);
	write_end(j, vm);
	if (vm->debugs)
		write_counters(j, "debug", vm->debug, vm->debugs);
	json_object_end(j);
}

void stats_begin(struct json_out *j, const struct stats_snapshot *s)
{
	json_object(j);
	json_kv_u64(j, "version", 1);
	json_key(j, "machine");
	json_object(j);
	json_kv_u64(j, "cpus", s->machine.cpus);
	json_kv_u64(j, "memory_bytes", s->machine.memory_bytes);
	json_kv_u64(j, "hypervisor_bytes", s->machine.hypervisor_bytes);
	json_kv_u64(j, "free_bytes", s->machine.free_bytes);
	json_object_end(j);
	json_key(j, "vms");
	json_array(j);
}

void stats_end(struct json_out *j)
{
	json_array_end(j);
	json_object_end(j);
}

void stats_write(struct json_out *j, const struct stats_snapshot *s)
{
	stats_begin(j, s);
	for (unsigned i = 0; i < s->vms; i++)
		stats_write_vm(j, &s->vm[i]);
	stats_end(j);
}
