// SPDX-License-Identifier: MIT
// Between the store's files (store.h).
#ifndef CORE_PV_STORE_PRIVATE_H
#define CORE_PV_STORE_PRIVATE_H

#include "core/pv/store.h"

enum { STORE_READ = 1, STORE_WRITE = 2, STORE_OWNER = 4 };

struct store_perm {
	u16 dom;
	u8 rights;
	u8 zero;
};

// The first permission is the owner's, and its rights everybody's who is not in the others.
struct store_node {
	u16 size; // of the record, a multiple of 8
	u16 path_length, value_length;
	u16 perms;
	u64 generation; // of its last change
	struct store_perm perm[PV_STORE_PERMS];
	char path[]; // NUL, value
};

static inline const char *node_value(const struct store_node *n)
{
	return n->path + n->path_length + 1;
}

// Where a path is, or would be, in a tree.
struct store_place {
	struct store_node *node;        // NULL: not there
	const struct store_node *above; // the lowest that is above it
	u32 at;                         // offset
};

// A change's event is told to watches of ...
enum store_match {
	STORE_SUBTREE, // its path and all above
	STORE_EXACT,   // its path alone
};

// ---- store_tree.c
void tree_init(struct pv_store *s);
// Path is top, or under it.
bool path_under(const char *path, u32 length, const char *top, u32 top_length);
struct store_place tree_locate(const struct store_tree *t, const char *path, u32 length);
// The node behind, NULL: it was the last one.
struct store_node *tree_next(const struct store_tree *t, const struct store_node *n);
struct store_node *tree_first(const struct store_tree *t);
// The next one that is still under `top`.
struct store_node *tree_next_under(const struct store_tree *t, const struct store_node *n, const struct store_node *top);
unsigned tree_rights(const struct store_node *n, u16 dom);
// Writes the node of s->path, which is at p, for domain `by`, and makes it and what is missing above it. What is made has the
// permissions of the node above; the guest owns what it makes. ST_NOMEM: too large, and nothing was done.
enum status tree_put(struct pv_store *s, struct store_tree *t, const struct store_place *p, u16 by, const char *value, u32 length) MUST_CHECK;
void tree_perms(struct pv_store *s, struct store_tree *t, struct store_node *n, const struct store_perm *perm, unsigned perms);
void tree_remove(struct pv_store *s, struct store_tree *t, struct store_node *n); // and all under it
enum status tree_copy(struct pv_store *s, struct store_transaction *x) MUST_CHECK; // of the main one, for a transaction
void tree_drop(struct pv_store *s, struct store_transaction *x);
void tree_commit(struct pv_store *s, struct store_transaction *x); // the main one is as that of the transaction; watches fire
bool tree_audit(const struct pv_store *s);

// ---- store_watch.c
// On s->path. `relative`: its events have paths from the guest's home. -XEN_EEXIST, -XEN_ENOSPC.
int watch_add(struct pv_store *s, bool relative, const char *token, u32 length);
int watch_remove(struct pv_store *s, const char *token, u32 length); // -XEN_ENOENT
void watch_forget(struct pv_store *s);                               // all
// The node has changed, or is about to go: the guest is told if it may read it, or the node above.
void watch_fire(struct pv_store *s, const struct store_tree *t, const struct store_node *n, enum store_match match);
void watch_tell(struct pv_store *s); // those events that are due, as far as there is room
bool watch_audit(const struct pv_store *s);

// ---- store_calls.c
struct request {
	struct store_tree *tree; // the store's or that of its transaction
	struct store_transaction *transaction; // NULL: of none
	const char *body;
	u32 length, at; // at: how far it has been read
	struct store_place place;
	char *reply; // room for XENSTORE_PAYLOAD_MAX
	u32 reply_length;
};

typedef int store_call(struct pv_store *s, struct request *r); // 0, or one of Xen's errors, negative

void store_answer(struct pv_store *s); // the request in s->in; the reply goes to s->out
void store_forget(struct pv_store *s); // watches and transactions
const char *request_string(struct request *r); // the next one; NULL: there is none more that has an end
const char *request_only(struct request *r);   // the one that is all of the request, or NULL
bool request_dom(const char *text, u16 *dom);  // a domain's number: digits, and nothing else
void reply_bytes(struct request *r, const char *bytes, u32 length);
void reply_string(struct request *r, const char *text); // with its NUL

// ---- store_nodes.c
store_call call_read, call_directory, call_directory_part, call_get_perms;
store_call call_write, call_mkdir, call_rm, call_set_perms;
// s->path of a path as it is given, -XEN_EINVAL: it is none. `special`: as watches have it, @ and a name, too.
int store_path(struct pv_store *s, const char *given, bool special);

#endif
