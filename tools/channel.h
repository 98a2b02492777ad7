// SPDX-License-Identifier: MIT
// The host command's end of the control channel: requests with a callback for the reply, and the notifications that
// come unasked. Nothing is sent before the hypervisor says "ready": a serial port that is being set up loses bytes.
#ifndef TOOLS_CHANNEL_H
#define TOOLS_CHANNEL_H

#include "base/json.h"
#include "tools/tool.h"

// One of result and error is present; neither when the channel closed first.
typedef void channel_reply_fn(void *arg, struct json_value result, struct json_value error);
typedef void channel_note_fn(void *arg, const char *method, struct json_value params, const char *line, size_t len);

struct channel_pending;

// The machine has two ports that may carry the channel, and the hypervisor says "ready" on the one that it takes; what comes on
// the other is heard too (a panic).
#define CHANNEL_PORTS 2

struct channel {
	int fd[CHANNEL_PORTS]; // -1: closed
	unsigned port;         // that it is on, once ready
	bool ready, closed;
	struct bytes in[CHANNEL_PORTS], out;
	u64 last_id;
	struct channel_pending *pending;
	struct json_token *token;
	channel_note_fn *note;
	void *note_arg;
};

void channel_init(struct channel *c, const int fd[CHANNEL_PORTS], channel_note_fn *note, void *arg);
void channel_close(struct channel *c); // answers whatever is pending
// `params` is JSON text or NULL. Returns the request's id. `fn` may be NULL: a notification is sent.
u64 channel_request(struct channel *c, const char *method, const char *params, size_t params_len, channel_reply_fn *fn,
		    void *arg);
// Forgets the callbacks of an `arg` that is going away.
void channel_forget(struct channel *c, void *arg);
short channel_events(const struct channel *c, unsigned port); // for poll()
void channel_read(struct channel *c, unsigned port);
void channel_write(struct channel *c);

#endif
