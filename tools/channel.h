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

struct channel {
	int fd;
	bool ready, closed;
	struct bytes in, out;
	u64 last_id;
	struct channel_pending *pending;
	struct json_token *token;
	channel_note_fn *note;
	void *note_arg;
};

void channel_init(struct channel *c, int fd, channel_note_fn *note, void *arg);
void channel_close(struct channel *c); // answers whatever is pending
// `params` is JSON text or NULL. Returns the request's id. `fn` may be NULL: a notification is sent.
u64 channel_request(struct channel *c, const char *method, const char *params, size_t params_len, channel_reply_fn *fn,
		    void *arg);
// Forgets the callbacks of an `arg` that is going away.
void channel_forget(struct channel *c, void *arg);
short channel_events(const struct channel *c); // for poll()
void channel_read(struct channel *c);
void channel_write(struct channel *c);

#endif
