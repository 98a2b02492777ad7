// SPDX-License-Identifier: MIT
// The `trace` method: which categories are written, and the records since a number. Records go out as arrays of numbers; what
// they mean is in abi/trace.h, but for names that only the hypervisor knows (exit reasons, mnemonics).
#include "vmm/methods.h"

#include <Zydis/Zydis.h>

#include "base/fmt.h"
#include "base/string.h"
#include "base/trace.h"
#include "machine/irq/time.h"
#include "machine/cpu/cpu.h"
#include "vmm/vms.h"

#define RECORDS_MAX 512 // in one reply
#define LIST_MAX 256    // bytes of a list of categories

static struct trace_record records[RECORDS_MAX];

struct filter {
	u32 mask;
	u32 vm; // 0: every one
};

// "enable" and "disable" are lists of categories, "set" is the list from now on.
static bool change_mask(const struct control_request *req)
{
	static const char *const names[] = {"set", "enable", "disable"};
	char list[LIST_MAX];
	u32 mask;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (json_kind(json_member(req->params, names[i])) == JSON_ABSENT)
			continue;
		if (!control_param_string(req, names[i], list, sizeof(list)) || !trace_parse_mask(list, &mask))
			return false;
		trace_mask = i == 0 ? mask : i == 1 ? trace_mask | mask : trace_mask & ~mask;
	}
	return true;
}

static bool get_filter(const struct control_request *req, struct filter *f)
{
	char list[LIST_MAX];

	*f = (struct filter){.mask = TRACE_ALL};
	return json_kind(json_member(req->params, "categories")) == JSON_ABSENT ||
	       (control_param_string(req, "categories", list, sizeof(list)) && trace_parse_mask(list, &f->mask));
}

// The name that abi/trace.h cannot have.
static const char *own_name(const struct trace_record *r)
{
	if (r->category == TRACE_EXIT_BIT && r->id < EXIT_REASONS)
		return exit_reason_name((enum exit_reason)r->id);
	if (r->category == TRACE_EMUL_BIT)
		return ZydisMnemonicGetString((ZydisMnemonic)r->id);
	return NULL;
}

static void put_record(struct json_out *j, const struct trace_record *r)
{
	const char *name = own_name(r);

	json_array(j);
	json_put_u64(j, r->seq);
	json_put_u64(j, r->tsc);
	json_put_u64(j, r->place.cpu);
	json_put_u64(j, r->place.vm);
	json_put_u64(j, r->category);
	json_put_u64(j, r->id);
	for (unsigned i = 0; i < ARRAY_SIZE(r->arg); i++)
		json_put_u64(j, r->arg[i]);
	if (name)
		json_put_string(j, name);
	json_array_end(j);
}

static void put_mask(struct json_out *j)
{
	json_key(j, "categories");
	json_object(j);
	for (unsigned i = 0; i < TRACE_CATEGORY_COUNT; i++)
		json_kv_bool(j, trace_category_name(i), trace_mask & 1u << i);
	json_object_end(j);
}

static void put_records(struct json_out *j, const struct filter *f, u32 after, unsigned max)
{
	u32 lost;
	unsigned n = trace_read_after(after, records, MIN(max, (unsigned)RECORDS_MAX), &lost);
	u32 next = n ? records[n - 1].seq : trace_written();

	json_key(j, "records");
	json_array(j);
	for (unsigned i = 0; i < n; i++)
		if ((f->mask & 1u << records[i].category) && (!f->vm || records[i].place.vm == f->vm))
			put_record(j, &records[i]);
	json_array_end(j);
	json_kv_u64(j, "lost", lost);
	json_kv_u64(j, "next", next);
	json_kv_u64(j, "written", trace_written());
}

static void put_vms(struct json_out *j)
{
	json_key(j, "vms");
	json_object(j);
	for (const struct vm *vm = vms_next(NULL); vm; vm = vms_next(vm)) {
		char id[12];

		fmt_snprintf(id, sizeof(id), "%u", vm->id);
		json_kv_string(j, id, vm->config.name);
	}
	json_object_end(j);
}

int method_trace(void *ctx, struct control_request *req, struct json_out *result)
{
	u64 after = 0, max = RECORDS_MAX;
	struct filter f;

	if (!get_filter(req, &f) || !change_mask(req))
		return method_bad(req, "a list of trace categories was expected");
	if (json_kind(json_member(req->params, "vm")) != JSON_ABSENT) {
		struct vm *vm = method_vm(req);

		if (!vm)
			return method_no_vm(req);
		f.vm = vm->id;
	}
	if (json_kind(json_member(req->params, "after")) != JSON_ABSENT &&
	    (!control_param_u64(req, "after", &after) || after > 0xffffffff))
		return method_bad(req, "after: a record's number was expected");
	if (json_kind(json_member(req->params, "max")) != JSON_ABSENT && !control_param_u64(req, "max", &max))
		return method_bad(req, "max: a number was expected");
	json_object(result);
	json_kv_u64(result, "tsc", rdtsc());
	json_kv_u64(result, "tsc_khz", tsc_khz());
	json_kv_u64(result, "time_ns", time_ns());
	put_mask(result);
	put_vms(result);
	put_records(result, &f, (u32)after, (unsigned)MIN(max, (u64)RECORDS_MAX));
	json_object_end(result);
	return 0;
}
