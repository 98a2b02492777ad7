// SPDX-License-Identifier: MIT
// The store's ring, and the hypervisor's own reading and writing.
#include "core/pv/store_private.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/string.h"

// ---- the ring

struct span {
	XENSTORE_RING_IDX cons, prod;
};

static u32 used(struct span i)
{
	return i.prod - i.cons;
}

static XENSTORE_RING_IDX load(const XENSTORE_RING_IDX *index)
{
	return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

static void store(XENSTORE_RING_IDX *index, XENSTORE_RING_IDX value)
{
	__atomic_store_n(index, value, __ATOMIC_RELEASE);
}

static void forget_all(struct pv_store *s)
{
	store_forget(s);
	s->in_used = s->out_used = 0;
}

static void give_up(struct pv_store *s, u32 why)
{
	forget_all(s);
	s->broken = true;
	store(&s->ring->error, why);
}

static bool connect_anew(struct pv_store *s)
{
	struct xenstore_domain_interface *ring = s->ring;

	if (load(&ring->connection) != XENSTORE_RECONNECT)
		return false;
	forget_all(s);
	s->broken = false;
	ring->req_cons = ring->req_prod = ring->rsp_cons = ring->rsp_prod = 0;
	ring->error = XENSTORE_ERROR_NONE;
	store(&ring->connection, XENSTORE_CONNECTED);
	return true;
}

// Up to n bytes out of the requests. How many; 0, too, if it had to give up.
static u32 take(struct pv_store *s, void *to, u32 n)
{
	struct span i = {load(&s->ring->req_cons), load(&s->ring->req_prod)};
	u32 first, at = MASK_XENSTORE_IDX(i.cons);

	if (used(i) > XENSTORE_RING_SIZE) {
		give_up(s, XENSTORE_ERROR_RINGIDX);
		return 0;
	}
	n = MIN(n, used(i));
	first = MIN(n, XENSTORE_RING_SIZE - at);
	memcpy(to, s->ring->req + at, first);
	memcpy((char *)to + first, s->ring->req, n - first);
	store(&s->ring->req_cons, i.cons + n);
	return n;
}

// What is to be said, as far as it fits. False: nothing went.
static bool say(struct pv_store *s)
{
	struct span i = {load(&s->ring->rsp_cons), load(&s->ring->rsp_prod)};
	u32 n, first, at = MASK_XENSTORE_IDX(i.prod);

	watch_tell(s);
	if (used(i) > XENSTORE_RING_SIZE) {
		give_up(s, XENSTORE_ERROR_RINGIDX);
		return false;
	}
	n = MIN(s->out_used, XENSTORE_RING_SIZE - used(i));
	first = MIN(n, XENSTORE_RING_SIZE - at);
	memcpy(s->ring->rsp + at, s->out, first);
	memcpy(s->ring->rsp, s->out + first, n - first);
	store(&s->ring->rsp_prod, i.prod + n);
	s->out_used -= n;
	memmove(s->out, s->out + n, s->out_used);
	return n;
}

// A request's head, or what there is of the rest. False: nothing came.
static bool hear(struct pv_store *s)
{
	u32 head = sizeof(s->in.head), want = s->in_used < head ? head : head + s->in.head.len;
	u32 n = take(s, (char *)&s->in + s->in_used, want - s->in_used);

	s->in_used += n;
	if (n && s->in_used == head && s->in.head.len > XENSTORE_PAYLOAD_MAX)
		give_up(s, XENSTORE_ERROR_PROTO);
	return n;
}

static bool heard_all(const struct pv_store *s)
{
	return s->in_used >= sizeof(s->in.head) && s->in_used == sizeof(s->in.head) + s->in.head.len;
}

// False: there is nothing to do, or the guest has to read first.
static bool step(struct pv_store *s, bool *moved)
{
	if (s->broken)
		return false;
	*moved |= say(s);
	if (s->broken || s->out_used || s->due || !hear(s))
		return false;
	*moved = true;
	if (!s->broken && heard_all(s)) {
		store_answer(s);
		s->in_used = 0;
	}
	return true;
}

unsigned pv_store_run(struct pv_store *s)
{
	unsigned steps = 2 * PV_STORE_BURST; // head and body
	bool moved = connect_anew(s), broken = s->broken;

	while (steps && step(s, &moved))
		steps--;
	return (moved || s->broken != broken ? PV_STORE_RING : 0) | (steps ? 0 : PV_STORE_MORE);
}

// ---- the hypervisor's own

static enum status locate(struct pv_store *s, const char *path, struct store_place *p)
{
	if (store_path(s, path, false))
		return ST_INVALID;
	*p = tree_locate(&s->main, s->path, s->path_length);
	return p->node ? ST_OK : ST_NOTFOUND;
}

enum status pv_store_write(struct pv_store *s, const char *path, const char *value)
{
	struct store_place p;

	if (locate(s, path, &p) == ST_INVALID)
		return ST_INVALID;
	if (tree_put(s, &s->main, &p, 0, value, (u32)strlen(value)) != ST_OK)
		return ST_NOMEM;
	watch_fire(s, &s->main, tree_locate(&s->main, s->path, s->path_length).node, STORE_SUBTREE);
	return ST_OK;
}

static enum status permit(struct pv_store *s, const char *path, const struct store_perm *perm, unsigned perms)
{
	struct store_place p;
	enum status st = locate(s, path, &p);

	if (st == ST_OK)
		tree_perms(s, &s->main, p.node, perm, perms);
	return st;
}

enum status pv_store_show(struct pv_store *s, const char *path)
{
	const struct store_perm perm[] = {{.dom = 0}, {.dom = s->dom, .rights = STORE_READ}};

	return permit(s, path, perm, ARRAY_SIZE(perm));
}

enum status pv_store_give(struct pv_store *s, const char *path)
{
	const struct store_perm guest = {.dom = s->dom};

	return permit(s, path, &guest, 1);
}

const char *pv_store_read(struct pv_store *s, const char *path, unsigned *length)
{
	struct store_place p;

	if (locate(s, path, &p) != ST_OK)
		return NULL;
	*length = p.node->value_length;
	return node_value(p.node);
}

void pv_store_init(struct pv_store *s, struct xenstore_domain_interface *ring, u16 dom)
{
	enum status st;

	memset(s, 0, sizeof(*s));
	s->ring = ring;
	s->dom = dom;
	s->home_length = (u16)fmt_snprintf(s->home, sizeof(s->home), "/local/domain/%u", dom);
	tree_init(s);
	st = pv_store_write(s, s->home, "");
	if (st == ST_OK)
		st = pv_store_show(s, s->home);
	assert(st == ST_OK);
	ring->server_features = XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR;
}

bool pv_store_audit(const struct pv_store *s)
{
	return tree_audit(s) && watch_audit(s) && s->out_used <= sizeof(s->out) && s->in_used <= sizeof(s->in);
}
