// SPDX-License-Identifier: MIT
// A guest's store with a ring that holds whatever the input says: whole requests of its making, raw bytes, indices, and the
// hypervisor's own writes between. The audit agrees after every step, and no call goes on for ever.
#include "core/pv/store.h"

#include <stdlib.h>
#include <string.h>

static struct pv_store s;
static struct xenstore_domain_interface ring;

struct input {
	const u8 *at;
	size_t left;
};

static u8 next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static void put(const void *bytes, u32 n)
{
	for (u32 i = 0; i < n && ring.req_prod - ring.req_cons < XENSTORE_RING_SIZE; i++)
		ring.req[MASK_XENSTORE_IDX(ring.req_prod++)] = ((const char *)bytes)[i];
}

// Paths of few short names meet each other.
static u32 path(struct input *in, char *to)
{
	static const char *const names[] = {"data", "a", "b", "control", "shutdown", "/local", "domain/1", "/", "@x", "n0", "n1", "r2", "0"};
	u32 n = 0;

	for (unsigned parts = next(in) % 5 + 1u; parts; parts--) {
		const char *name = names[next(in) % ARRAY_SIZE(names)];

		memcpy(to + n, name, strlen(name));
		n += (u32)strlen(name);
		to[n++] = '/';
	}
	to[n - 1] = 0;
	return n;
}

static void request(struct input *in)
{
	struct xsd_sockmsg m = {.type = next(in) % 25u, .tx_id = next(in) % 12u, .req_id = 1};
	char body[1200];
	u8 how = next(in);

	m.len = path(in, body);
	if (how & 1)
		m.len += path(in, body + m.len);
	if (how & 2) {
		u32 n = how & 4 ? next(in) * 4u : next(in) & 3u;

		memset(body + m.len, next(in), n);
		m.len += n;
	}
	if (m.type == XS_TRANSACTION_END) {
		memcpy(body, how & 8 ? "F" : "T", 2);
		m.len = 2;
	}
	put(&m, sizeof(m));
	put(body, m.len);
}

static void step(struct input *in)
{
	char text[64];
	unsigned n;

	switch (next(in) % 8) {
	case 0: // raw
		for (n = next(in) % 64; n; n--) {
			u8 byte = next(in);

			put(&byte, 1);
		}
		break;
	case 1:
		(&ring.req_cons)[next(in) % 7] += (u32)(s8)next(in) * 16;
		break;
	case 2:
		ring.connection = next(in) & 1;
		break;
	case 3:
		path(in, text);
		if (pv_store_write(&s, text, next(in) & 1 ? "poweroff" : "") == ST_OK && !pv_store_read(&s, text, &n))
			abort();
		break;
	case 4: // reads some of what it was told
		n = ring.rsp_prod - ring.rsp_cons;
		ring.rsp_cons += MIN(n, next(in) * 4u);
		break;
	default:
		request(in);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = {data, size};

	memset(&ring, 0, sizeof(ring));
	pv_store_init(&s, &ring, 1);
	if (pv_store_start(&s, &(struct pv_store_start){.name = "fuzz", .vcpus = 1}) != ST_OK)
		abort();
	while (in.left) {
		unsigned calls = 0;

		step(&in);
		while (pv_store_run(&s) & PV_STORE_MORE)
			if (calls++ > XENSTORE_RING_SIZE)
				abort();
		if (!pv_store_audit(&s))
			abort();
	}
	return 0;
}
