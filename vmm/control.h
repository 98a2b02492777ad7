// SPDX-License-Identifier: MIT
// Hypervisor's side of the control channel (abi/control.h, docs/control.md): a line-based JSON-RPC 2.0 server over a byte
// stream, and the notifications that it sends unasked. Pure: bytes come in through control_receive(), go out through a
// port, and methods are a table of the caller's. Each line goes out in one send() call, so notifications sent while a
// method runs never cut into its reply. One struct control per channel; the caller serialises calls for one channel.
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "abi/control.h"
#include "base/types.h"
#include "base/json.h"
#include "vmm/stats.h"

struct control_request {
	const char *method;
	struct json_value params; // object or array; absent when there were none
	const char *error;        // a method that fails may set it: the message (a literal)
	bool notification;        // no reply will be sent
};

struct control_method {
	const char *name;
	// Writes exactly one value to `result` and returns 0 (nothing written: null), or returns an error code of
	// enum tz_control_error; what it wrote is then dropped.
	int (*fn)(void *ctx, struct control_request *req, struct json_out *result);
};

struct control_ports {
	void (*send)(void *ctx, const char *bytes, size_t n);
	const struct control_method *method;
	unsigned methods;
	void *ctx; // passed to all of them
	void (*requested)(void *ctx); // before each method is run; may be NULL
};

#define CONTROL_TOKENS 512

struct control {
	struct control_ports port;
	size_t len;
	bool too_long; // the rest of the line is dropped
	char line[TZ_CONTROL_LINE_MAX];
	char reply[TZ_CONTROL_REPLY_MAX];
	struct json_token token[CONTROL_TOKENS];
};

void control_init(struct control *c, const struct control_ports *port);
// Takes bytes as they arrive, in any pieces; answers each complete line before it returns.
void control_receive(struct control *c, const char *bytes, size_t n);

// Parameters by name; false when absent or of another type (string: or too long).
bool control_param_string(const struct control_request *req, const char *name, char *buf, size_t size);
bool control_param_u64(const struct control_request *req, const char *name, u64 *out);
// Decimal, or hexadecimal after 0x; nothing else, 64 bits at most.
bool control_parse_number(const char *text, u64 *out);

// Notifications. `note_begin` opens {"jsonrpc","method","params":{ in the caller's buffer; write members; `note_send` closes
// and sends (dropped when it overflowed).
void control_note_begin(struct json_out *j, char *buf, size_t size, const char *method);
void control_note_send(struct control *c, struct json_out *j);
void control_ready(struct control *c, const char *version);
void control_console_out(struct control *c, const char *vm, const void *bytes, size_t n);
void control_vm_created(struct control *c, const char *vm, u64 id);
// `how` is one of TZ_END_*; `value` is what a debug exit wrote.
void control_vm_ended(struct control *c, const char *vm, const char *how, const char *reason, u64 value);
void control_vm_restarted(struct control *c, const char *vm, const char *how, const char *reason);
void control_vm_preserved(struct control *c, const char *vm, const char *how, const char *reason);
void control_panic(struct control *c, const char *text);
// The last message: statistics. Uses the reply buffer, so not from inside a method.
void control_final(struct control *c, const struct stats_snapshot *s);

#endif
