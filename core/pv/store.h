// SPDX-License-Identifier: MIT
// A paravirtual guest's xenstore (Xen's io/xs_wire.h and docs/misc/xenstore.txt), all of it in the hypervisor: a tree of small values
// that the guest and the hypervisor write and watch. Each guest has its own; the hypervisor is domain 0 there.
//
//   store.c        the ring, and what of it makes a request
//   store_calls.c  requests; store_nodes.c those that read and change nodes
//   store_tree.c   trees of nodes: the store's, and a copy for each transaction
//   store_watch.c  watches and their events
//   store_start.c  what a guest finds when it starts
//
// Everything is of a fixed size. A tree is its nodes' records one behind the other, in the order of their paths with '/' before all
// other characters: what is under a node follows it. Watches lie in the same way in an area of their own.
//
// The ring's page is the guest's: its indices are read once and believed as far as they make sense. A guest that breaks the rules is not
// served any more until it asks for a new connection. A request is looked at when all that was to be said before it is in the ring, so what
// waits to be said is bounded; an event that finds no room is told later, with its watch's own path.
#ifndef CORE_PV_STORE_H
#define CORE_PV_STORE_H

#include "base/status.h"
#include "base/types.h"
#include <xen/io/xs_wire.h>

#define PV_STORE_TREE (28 * KIB)  // the hypervisor's limit
#define PV_STORE_GUEST (24 * KIB) // the guest's: what the hypervisor has to say always finds room
#define PV_STORE_NODE 2048u       // one node, with its path
#define PV_STORE_PERMS 5u
#define PV_STORE_TRANSACTIONS 10u
#define PV_STORE_POOL (96 * KIB)  // copies for transactions, each as large as the tree is
#define PV_STORE_WATCHES 128u
#define PV_STORE_WATCH_BYTES (8 * KIB)
#define PV_STORE_BURST 4u         // requests of one call
#define PV_STORE_MESSAGE (sizeof(struct xsd_sockmsg) + XENSTORE_PAYLOAD_MAX)

struct store_tree {
	u8 *nodes;
	u32 used;
	u64 changed; // generation of the last change
};

struct store_transaction {
	u32 id;    // 0: free
	u64 start; // generation
	struct store_tree tree;
};

struct pv_store {
	struct xenstore_domain_interface *ring;
	u16 dom;
	u16 home_length;
	char home[24];
	bool broken; // not served
	bool due;    // a watch's event is
	u64 generation; // of the last change of any tree
	struct store_tree main;
	struct store_transaction transaction[PV_STORE_TRANSACTIONS];
	u32 last_id, pool_used;
	u32 watches, watch_used;
	u32 in_used, out_used;
	u32 path_length;
	char path[XENSTORE_ABS_PATH_MAX + 1]; // of the request in hand
	struct {
		struct xsd_sockmsg head;
		char body[XENSTORE_PAYLOAD_MAX];
	} in;
	char out[2 * PV_STORE_MESSAGE]; // events, and room for a reply
	u8 watch[PV_STORE_WATCH_BYTES] __attribute__((aligned(8)));
	u8 tree[PV_STORE_TREE] __attribute__((aligned(8)));
	u8 pool[PV_STORE_POOL] __attribute__((aligned(8)));
};

// A store with the guest's home, /local/domain/DOM, and nothing in it. The ring's page is zero.
void pv_store_init(struct pv_store *s, struct xenstore_domain_interface *ring, u16 dom);

// What xl gives a guest.
struct pv_store_start {
	const char *name;
	u64 memory_kib, maximum_kib;
	unsigned vcpus;
	mpn_t store_mpn, console_mpn;
	u32 store_port, console_port; // event channels
};
enum status pv_store_start(struct pv_store *s, const struct pv_store_start *start) MUST_CHECK;

// By the hypervisor, at a path from / or from the guest's home; nodes above are made. Watches fire; pv_store_run() tells the guest.
// ST_NOMEM: no room, ST_INVALID: not a path.
enum status pv_store_write(struct pv_store *s, const char *path, const char *value) MUST_CHECK;
// The guest may read the node / it is the guest's, to write and to remove; and so is what is made under it from now on.
// ST_NOTFOUND: there is none.
enum status pv_store_show(struct pv_store *s, const char *path) MUST_CHECK;
enum status pv_store_give(struct pv_store *s, const char *path) MUST_CHECK;
// Its length, NULL: there is none. Valid until the next call.
const char *pv_store_read(struct pv_store *s, const char *path, unsigned *length);

// Takes requests from the ring and puts replies and events into it, a bounded number.
enum {
	PV_STORE_RING = 1, // the ring has changed: the guest is to be told
	PV_STORE_MORE = 2, // there may be more to do: call again
};
unsigned pv_store_run(struct pv_store *s) MUST_CHECK;

bool pv_store_audit(const struct pv_store *s);

#endif
