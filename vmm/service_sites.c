// SPDX-License-Identifier: MIT
// The `exits` method: a VM's exits by reason, and by the guest addresses that cause most. Counters run on while they are read.
#include "vmm/methods.h"

#include <Zydis/Zydis.h>

#define SITES_MAX 256 // in one reply

// Sites by falling count; those of equal count in any order.
static unsigned sort_sites(const struct vcpu *v, const struct hot_site **out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOT_SITES; i++) {
		const struct hot_site *h = &v->hot[i];
		unsigned at = n;

		if (!h->count || (n == max && h->count <= out[n - 1]->count))
			continue;
		if (n < max)
			n++;
		else
			at--;
		for (; at > 0 && out[at - 1]->count < h->count; at--)
			out[at] = out[at - 1];
		out[at] = h;
	}
	return n;
}

static void put_reasons(struct json_out *j, const struct vcpu *v)
{
	json_key(j, "reasons");
	json_object(j);
	for (unsigned i = 0; i < EXIT_REASONS; i++) {
		json_key(j, exit_reason_name((enum exit_reason)i));
		json_object(j);
		json_kv_u64(j, "count", v->exits[i].count);
		json_kv_u64(j, "ns", v->exits[i].ns);
		json_object_end(j);
	}
	json_object_end(j);
}

static void put_site(struct json_out *j, const struct hot_site *h)
{
	struct hot_site s = *h;

	json_object(j);
	json_kv_string(j, "reason", s.reason < EXIT_REASONS ? exit_reason_name((enum exit_reason)s.reason) : "");
	json_kv_hex(j, "rip", s.rip);
	json_kv_string(j, "instruction", s.mnemonic ? ZydisMnemonicGetString((ZydisMnemonic)s.mnemonic) : "");
	json_kv_u64(j, "count", s.count);
	json_object_end(j);
}

int method_sites(void *ctx, struct control_request *req, struct json_out *result)
{
	static const struct hot_site *sites[SITES_MAX];
	const struct vm *vm = method_vm(req);
	u64 max = 32;
	unsigned n;

	if (!vm)
		return method_no_vm(req);
	if (json_kind(json_member(req->params, "max")) != JSON_ABSENT && (!control_param_u64(req, "max", &max) || !max))
		return method_bad(req, "max: a number above 0 was expected");
	n = sort_sites(&vm->vcpu, sites, (unsigned)MIN(max, (u64)SITES_MAX));
	json_object(result);
	json_kv_u64(result, "crossings", vm->vcpu.crossings);
	json_kv_hex(result, "lstar", vm->vcpu.cpu.lstar); // where a client that has the kernel's symbols finds its slide
	put_reasons(result, &vm->vcpu);
	json_key(result, "sites");
	json_array(result);
	for (unsigned i = 0; i < n; i++)
		put_site(result, sites[i]);
	json_array_end(result);
	json_object_end(result);
	return 0;
}
