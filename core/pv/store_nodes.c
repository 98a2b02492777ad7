// SPDX-License-Identifier: MIT
// Requests that read and change nodes.
#include "core/pv/store_private.h"

#include "base/fmt.h"
#include "base/string.h"
#include <xen/errno.h>

// ---- paths

static bool path_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '/' || c == '_' || c == '@';
}

int store_path(struct pv_store *s, const char *given, bool special)
{
	bool relative = given && given[0] != '/' && given[0] != '@';
	u32 n = 0, length = given ? (u32)strlen(given) : 0;

	if (!length || length > (relative ? XENSTORE_REL_PATH_MAX : XENSTORE_ABS_PATH_MAX) || (given[0] == '@' && !special))
		return -XEN_EINVAL;
	if (relative) {
		memcpy(s->path, s->home, s->home_length);
		s->path[s->home_length] = '/';
		n = s->home_length + 1u;
	}
	for (u32 i = 0; i < length; i++) {
		if (!path_char(given[i]) || (given[i] == '/' && i && given[i - 1] == '/'))
			return -XEN_EINVAL;
		s->path[n++] = given[i];
	}
	if (n > 1 && s->path[n - 1] == '/')
		return -XEN_EINVAL;
	s->path[n] = 0;
	s->path_length = n;
	return 0;
}

// Where the path leads, if the guest has those rights there. Who may not know of a node is not told that it is missing.
static int find(struct pv_store *s, struct request *r, const char *given, bool special, unsigned rights)
{
	int error = store_path(s, given, special);

	if (error)
		return error;
	r->place = tree_locate(r->tree, s->path, s->path_length);
	if (r->place.node)
		return (tree_rights(r->place.node, s->dom) & rights) == rights ? 0 : -XEN_EACCES;
	return r->place.above && tree_rights(r->place.above, s->dom) & rights ? -XEN_ENOENT : -XEN_EACCES;
}

// Changes in a transaction are told when it is committed.
static void fire(struct pv_store *s, const struct request *r, const struct store_node *n, enum store_match match)
{
	if (!r->transaction)
		watch_fire(s, r->tree, n, match);
}

// ---- reading

int call_read(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_only(r), false, STORE_READ);

	if (!error)
		reply_bytes(r, node_value(r->place.node), r->place.node->value_length);
	return error;
}

// The next child of a node behind that one, or its first; its name is in its path from there on.
static const struct store_node *next_child(const struct request *r, const struct store_node *child, u32 *name)
{
	const struct store_node *parent = r->place.node, *n = child ? child : parent;

	*name = parent->path_length == 1 ? 1 : parent->path_length + 1u;
	while ((n = tree_next_under(r->tree, n, parent)) != NULL)
		if (!strchr(n->path + *name, '/'))
			return n;
	return NULL;
}

int call_directory(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_only(r), false, STORE_READ);
	const struct store_node *child = NULL;
	u32 name;

	if (error)
		return error;
	while ((child = next_child(r, child, &name)) != NULL) {
		if (r->reply_length + child->path_length - name + 1 > XENSTORE_PAYLOAD_MAX)
			return -XEN_E2BIG;
		reply_string(r, child->path + name);
	}
	return 0;
}

// The names from an offset on in what they all are together, as many as fit; an empty one says that there are no more.
int call_directory_part(struct pv_store *s, struct request *r)
{
	const char *path = request_string(r), *from = request_string(r);
	const struct store_node *child = NULL;
	u32 name, offset = 0, at = 0;
	int error;

	if (!from || r->at != r->length)
		return -XEN_EINVAL;
	error = find(s, r, path, false, STORE_READ);
	if (error)
		return error;
	for (; *from >= '0' && *from <= '9'; from++)
		offset = MIN(offset * 10 + (u32)(*from - '0'), 1u << 20);
	r->reply_length = (u32)fmt_snprintf(r->reply, 24, "%lu", (unsigned long)r->tree->changed) + 1;
	while ((child = next_child(r, child, &name)) != NULL) {
		u32 length = child->path_length - name + 1;

		if (at >= offset && r->reply_length + length > XENSTORE_PAYLOAD_MAX - 1)
			return 0;
		if (at >= offset)
			reply_string(r, child->path + name);
		at += length;
	}
	reply_string(r, "");
	return 0;
}

static const char right_letters[] = {[0] = 'n', [STORE_READ] = 'r', [STORE_WRITE] = 'w', [STORE_READ | STORE_WRITE] = 'b'};

int call_get_perms(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_only(r), true, STORE_READ);

	for (unsigned i = 0; !error && i < r->place.node->perms; i++) {
		const struct store_perm *p = &r->place.node->perm[i];
		char text[8];

		fmt_snprintf(text, sizeof(text), "%c%u", right_letters[p->rights], p->dom);
		reply_string(r, text);
	}
	return error;
}

// ---- changing

static int put(struct pv_store *s, struct request *r, const char *value, u32 length)
{
	if (tree_put(s, r->tree, &r->place, s->dom, value, length) != ST_OK)
		return -XEN_ENOSPC;
	fire(s, r, tree_locate(r->tree, s->path, s->path_length).node, STORE_SUBTREE);
	return 0;
}

int call_write(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_string(r), false, STORE_WRITE);

	return error && error != -XEN_ENOENT ? error : put(s, r, r->body + r->at, r->length - r->at);
}

int call_mkdir(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_only(r), false, STORE_WRITE);

	return error == -XEN_ENOENT ? put(s, r, "", 0) : error;
}

int call_rm(struct pv_store *s, struct request *r)
{
	int error = find(s, r, request_only(r), false, STORE_WRITE);
	const struct store_node *top = r->place.node, *above = r->place.above;

	if (error == -XEN_ENOENT) // fine, if the node right above it is there
		return strchr(s->path + (above->path_length == 1 ? 1 : above->path_length + 1), '/') ? error : 0;
	if (error)
		return error;
	if (s->path_length == 1)
		return -XEN_EINVAL;
	for (const struct store_node *n = top; n; n = tree_next_under(r->tree, n, top))
		fire(s, r, n, n == top ? STORE_SUBTREE : STORE_EXACT);
	tree_remove(s, r->tree, r->place.node);
	return 0;
}

static bool parse_perm(const char *text, struct store_perm *p)
{
	for (unsigned rights = 0; rights < sizeof(right_letters); rights++)
		if (right_letters[rights] == text[0]) {
			*p = (struct store_perm){.rights = (u8)rights};
			return request_dom(text + 1, &p->dom);
		}
	return false;
}

int call_set_perms(struct pv_store *s, struct request *r)
{
	const char *path = request_string(r), *text;
	struct store_perm perm[PV_STORE_PERMS];
	unsigned perms = 0;
	int error;

	while (path && (text = request_string(r)) != NULL) {
		if (perms == PV_STORE_PERMS)
			return -XEN_ENOSPC;
		if (!parse_perm(text, &perm[perms++]))
			return -XEN_EINVAL;
	}
	if (!perms)
		return -XEN_EINVAL;
	error = find(s, r, path, true, STORE_WRITE | STORE_OWNER);
	if (error)
		return error;
	if (perm[0].dom != r->place.node->perm[0].dom)
		return -XEN_EPERM;
	tree_perms(s, r->tree, r->place.node, perm, perms);
	fire(s, r, r->place.node, STORE_SUBTREE);
	return 0;
}
