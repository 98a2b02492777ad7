// SPDX-License-Identifier: MIT
// The methods that make a VM while the machine runs: upload_begin, upload_data, upload_abort bring a bundle of one VM over, create
// starts it. Nothing of what was sent is believed before it is checked, and nothing is left of what fails.
#include "vmm/methods.h"

#include "base/log.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/reserve.h"
#include "vmm/service.h"
#include "vmm/upload.h"
#include "vmm/vms.h"

#define CHUNK 45000u // bytes of a piece: in base64 below the longest line, and a multiple of 3

static void *alloc_upload(size_t size)
{
	u64 frames = ROUND_UP(size, PAGE_SIZE) >> PAGE_SHIFT;
	mpn_t mpn = MPN_NONE;

	if (frames < reserve_left() / 2) // the VM is to have some too
		mpn = frames_alloc(frames, 0);
	return mpn == MPN_NONE ? NULL : frame_ptr(mpn);
}

static void free_upload(void *memory, size_t size)
{
	frames_free(ptr_mpn(memory), ROUND_UP(size, PAGE_SIZE) >> PAGE_SHIFT);
}

static const struct upload_ports upload_ports = {.alloc = alloc_upload, .free = free_upload};
static struct uploads uploads = {.ports = &upload_ports};
static struct bundle_vms parsed; // large

void service_expire_uploads(u64 now)
{
	upload_expire(&uploads, now);
}

int method_upload_begin(void *ctx, struct control_request *req, struct json_out *result)
{
	u64 size, id;

	if (!control_param_u64(req, "size", &size))
		return method_bad(req, "size: a number was expected");
	switch (upload_begin(&uploads, size, time_ns(), &id)) {
	case ST_OK:
		break;
	case ST_BUSY:
		req->error = "too many uploads at once";
		return TZ_RPC_NO_MEMORY;
	case ST_NOMEM:
		req->error = "not enough memory for an upload of this size";
		return TZ_RPC_NO_MEMORY;
	default:
		return method_bad(req, "size: not between 1 and 1 GiB");
	}
	json_object(result);
	json_kv_u64(result, "upload", id);
	json_kv_u64(result, "chunk", CHUNK);
	json_object_end(result);
	return 0;
}

static struct upload *named_upload(struct control_request *req)
{
	struct upload *up;
	u64 id;

	up = control_param_u64(req, "upload", &id) ? upload_find(&uploads, id) : NULL;
	if (!up)
		req->error = "no such upload";
	return up;
}

int method_upload_data(void *ctx, struct control_request *req, struct json_out *result)
{
	struct upload *up = named_upload(req);
	struct json_value data = json_member(req->params, "data");
	size_t n;
	const char *raw = json_raw(data, &n); // in quotes; an escape in it is no base64
	u64 offset;

	if (!up)
		return TZ_RPC_STATE;
	if (json_kind(data) != JSON_STRING || !control_param_u64(req, "offset", &offset) ||
	    upload_data(up, offset, raw + 1, n - 2, time_ns()) != ST_OK)
		return method_bad(req, "not the next piece, or no base64");
	json_put_u64(result, up->received);
	return 0;
}

int method_upload_abort(void *ctx, struct control_request *req, struct json_out *result)
{
	struct upload *up = named_upload(req);

	if (!up)
		return TZ_RPC_STATE;
	upload_drop(&uploads, up);
	json_put_bool(result, true);
	return 0;
}

// Checks the bundle; the VM's description is then parsed.vm[0].
static const char *parse_bundle(const struct upload *up, struct bundle *b)
{
	if (bundle_open(b, up->data, up->size) != ST_OK)
		return "the upload is no bundle";
	if (bundle_vms(b, &parsed) != ST_OK)
		return parsed.error ? parsed.error : "the upload is damaged";
	return parsed.count == 1 ? NULL : "the upload has more than one VM";
}

static int create_vm(struct control_request *req, struct upload *up, struct json_out *result)
{
	static char error[200];
	struct bundle b;
	struct vm *vm;
	bool paused;

	req->error = parse_bundle(up, &b);
	if (req->error)
		return TZ_RPC_INVALID_PARAMS;
	if (vm_find(parsed.vm[0].name)) {
		req->error = "a VM of that name runs already";
		return TZ_RPC_STATE;
	}
	req->error = vm_config_unsupported(&parsed.vm[0]);
	if (req->error)
		return TZ_RPC_UNSUPPORTED;
	vm = vm_create(&b, &parsed.vm[0], error, sizeof(error));
	if (!vm) {
		req->error = error;
		return TZ_RPC_NO_MEMORY;
	}
	vm_keep_bundle(vm, &b);
	upload_take(up);
	if (vm_start(vm) != ST_OK) {
		vm_free(vm);
		vm_forget(vm);
		req->error = "too many VMs, or one of that name has not gone yet";
		return TZ_RPC_STATE;
	}
	if (json_bool(json_member(req->params, "paused"), &paused) && paused)
		vm_pause(vm);
	control_vm_created(&service_control, vm->config.name, vm->id);
	json_object(result);
	json_kv_string(result, "vm", vm->config.name);
	json_kv_u64(result, "id", vm->id);
	json_object_end(result);
	return 0;
}

int method_create(void *ctx, struct control_request *req, struct json_out *result)
{
	struct upload *up = named_upload(req);
	u64 hash;
	int code;

	if (!up)
		return TZ_RPC_STATE;
	if (!method_number(req, "xxh64", &hash))
		return method_bad(req, "xxh64: the bundle's hash was expected");
	if (!upload_complete(up, hash)) {
		req->error = up->received < up->size ? "the upload is not complete" : "the upload is damaged: its hash differs";
		code = TZ_RPC_INVALID_PARAMS;
	} else {
		code = create_vm(req, up, result);
	}
	if (code && up->id)
		upload_drop(&uploads, up);
	return code;
}
