// SPDX-License-Identifier: MIT
// The control channel's methods that have a file of their own, and what methods share. They run with vms_lock held.
#ifndef VMM_METHODS_H
#define VMM_METHODS_H

#include "vmm/control.h"
#include "vmm/vm.h"

// The living VM that the parameter "vm" names, or NULL.
struct vm *method_vm(const struct control_request *req);
// What a method returns if there is none.
int method_no_vm(struct control_request *req);
int method_ended(struct control_request *req); // it is preserved
// Bad parameters, with a reason (a literal).
int method_bad(struct control_request *req, const char *why);
// An address or another number: a JSON number, or a string that has it in decimal or, after 0x, in hexadecimal.
bool method_number(const struct control_request *req, const char *name, u64 *out);

// service_trace.c
int method_trace(void *ctx, struct control_request *req, struct json_out *result);
// service_walk.c
int method_walk(void *ctx, struct control_request *req, struct json_out *result);
// service_create.c
int method_upload_begin(void *ctx, struct control_request *req, struct json_out *result);
int method_upload_data(void *ctx, struct control_request *req, struct json_out *result);
int method_upload_abort(void *ctx, struct control_request *req, struct json_out *result);
int method_create(void *ctx, struct control_request *req, struct json_out *result);
void service_expire_uploads(u64 now); // with vms_lock held
// service_sites.c
int method_sites(void *ctx, struct control_request *req, struct json_out *result);

#endif
