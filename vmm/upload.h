// SPDX-License-Identifier: MIT
// Uploads over the control channel: a client sends the bytes of a bundle (abi/bundle.h) in pieces, in order; `create` takes it when
// all are there and their hash is the client's. Pure: memory and time come from the caller. Bounded: so many at a time, and what
// no client goes on with is dropped.
#ifndef VMM_UPLOAD_H
#define VMM_UPLOAD_H

#include "base/status.h"
#include "base/types.h"

#define UPLOADS 4
#define UPLOAD_SIZE_MAX (1ull << 30)
#define UPLOAD_IDLE_NS 60000000000ull // without a piece for so long: dropped

struct upload_ports {
	// Memory for an upload, in one piece; NULL: none.
	void *(*alloc)(size_t size);
	void (*free)(void *memory, size_t size);
};

struct upload {
	u64 id; // 0: free; never used again
	u8 *data;
	size_t size, received;
	u64 last_ns;
};

struct uploads {
	const struct upload_ports *ports;
	u64 last_id;
	struct upload upload[UPLOADS];
};

// ST_INVALID: no size for a bundle; ST_NOMEM: no memory; ST_BUSY: too many at once.
MUST_CHECK enum status upload_begin(struct uploads *u, size_t size, u64 now, u64 *id);
struct upload *upload_find(struct uploads *u, u64 id); // NULL: none
// Takes a piece in base64 (RFC 4648, padded). ST_INVALID: not the next bytes, too many, or no base64; nothing has changed then.
MUST_CHECK enum status upload_data(struct upload *up, u64 offset, const char *text, size_t n, u64 now);
// All there, and what was sent.
bool upload_complete(const struct upload *up, u64 hash);
void upload_drop(struct uploads *u, struct upload *up);
// The memory is the caller's from now on.
void upload_take(struct upload *up);
void upload_expire(struct uploads *u, u64 now);

#endif
