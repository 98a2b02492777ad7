// SPDX-License-Identifier: MIT
// Trees of nodes. Invariants (tree_audit)
//  - Records follow each other in the order of their paths; the first is that of /, and the node above each is there.
//  - The copies for transactions lie one behind the other in the pool, in any order and without gaps.
#include "core/pv/store_private.h"

#include "base/assert.h"
#include "base/string.h"

static u32 record_size(u32 path_length, u32 value_length)
{
	return ROUND_UP((u32)offsetof(struct store_node, path) + path_length + 1 + value_length, 8u);
}

static struct store_node *node_at(const struct store_tree *t, u32 at)
{
	return (struct store_node *)(t->nodes + at);
}

struct store_node *tree_first(const struct store_tree *t)
{
	return node_at(t, 0);
}

struct store_node *tree_next(const struct store_tree *t, const struct store_node *n)
{
	u32 at = (u32)((const u8 *)n - t->nodes) + n->size;

	return at < t->used ? node_at(t, at) : NULL;
}

struct store_node *tree_next_under(const struct store_tree *t, const struct store_node *n, const struct store_node *top)
{
	struct store_node *next = tree_next(t, n);

	return next && path_under(next->path, next->path_length, top->path, top->path_length) ? next : NULL;
}

// ---- paths

bool path_under(const char *path, u32 length, const char *top, u32 top_length)
{
	if (length < top_length || memcmp(path, top, top_length) != 0)
		return false;
	return length == top_length || top_length == 1 || path[top_length] == '/';
}

static unsigned rank(char c)
{
	return c == '/' ? 0 : (u8)c;
}

// As memcmp() has it; a path comes before all that it is the beginning of.
static int path_order(const char *a, u32 a_length, const char *b, u32 b_length)
{
	for (u32 i = 0; i < a_length && i < b_length; i++)
		if (a[i] != b[i])
			return rank(a[i]) < rank(b[i]) ? -1 : 1;
	return a_length == b_length ? 0 : a_length < b_length ? -1 : 1;
}

struct store_place tree_locate(const struct store_tree *t, const char *path, u32 length)
{
	struct store_place p = {.at = 0};

	for (struct store_node *n = tree_first(t); n; n = tree_next(t, n)) {
		int order = path_order(n->path, n->path_length, path, length);

		if (order == 0)
			p.node = n;
		if (order >= 0)
			break;
		if (path_under(path, length, n->path, n->path_length))
			p.above = n;
		p.at += n->size;
	}
	return p;
}

// How far the path goes down from that length on: to the end of the next name.
static u32 one_down(const char *path, u32 length, u32 from)
{
	u32 to = from == 1 ? 1 : from + 1;

	while (to < length && path[to] != '/')
		to++;
	return to;
}

// ---- room

// What is at `at` becomes `to` bytes long where it was `from`. All behind it moves, in the pool also other trees.
static void resize(struct pv_store *s, struct store_tree *t, u32 at, u32 from, u32 to)
{
	bool main = t == &s->main;
	u8 *tail = t->nodes + at + from, *end = main ? t->nodes + t->used : s->pool + s->pool_used;

	memmove(tail - from + to, tail, (size_t)(end - tail));
	t->used += to - from;
	assert(t->used <= PV_STORE_TREE);
	if (main)
		return;
	s->pool_used += to - from;
	assert(s->pool_used <= PV_STORE_POOL);
	for (unsigned i = 0; i < PV_STORE_TRANSACTIONS; i++) {
		struct store_transaction *x = &s->transaction[i];

		if (x->id && x->tree.nodes > t->nodes)
			x->tree.nodes += (s32)(to - from);
	}
}

static bool has_room(const struct pv_store *s, const struct store_tree *t, u16 by, u32 from, u32 to)
{
	u32 limit = by == s->dom ? PV_STORE_GUEST : PV_STORE_TREE;

	if (to <= from)
		return true;
	return t->used + (to - from) <= limit && (t == &s->main || s->pool_used + (to - from) <= PV_STORE_POOL);
}

// ---- nodes

unsigned tree_rights(const struct store_node *n, u16 dom)
{
	if (n->perm[0].dom == dom)
		return STORE_READ | STORE_WRITE | STORE_OWNER;
	for (unsigned i = 1; i < n->perms; i++)
		if (n->perm[i].dom == dom)
			return n->perm[i].rights;
	return n->perm[0].rights;
}

static u64 change(struct pv_store *s, struct store_tree *t)
{
	return t->changed = ++s->generation;
}

static void fill(struct store_node *n, const struct store_node *like, const char *path, u32 path_length, const char *value, u32 length)
{
	*n = *like;
	n->size = (u16)record_size(path_length, length);
	n->path_length = (u16)path_length;
	n->value_length = (u16)length;
	memcpy(n->path, path, path_length);
	n->path[path_length] = 0;
	memcpy(n->path + path_length + 1, value, length);
}

// Nothing is below what is missing, so all of it is in one place.
static enum status create(struct pv_store *s, struct store_tree *t, const struct store_place *p, u16 by, const char *value, u32 length)
{
	u32 above = p->above->path_length, size = 0, at = p->at;
	struct store_node like = *p->above;

	for (u32 to = above; to < s->path_length;) {
		to = one_down(s->path, s->path_length, to);
		size += record_size(to, to == s->path_length ? length : 0);
	}
	if (record_size(s->path_length, length) > PV_STORE_NODE || !has_room(s, t, by, 0, size))
		return ST_NOMEM;
	resize(s, t, at, 0, size);
	if (by == s->dom)
		like.perm[0].dom = by;
	like.generation = change(s, t);
	for (u32 to = above; to < s->path_length; at += node_at(t, at)->size) {
		to = one_down(s->path, s->path_length, to);
		fill(node_at(t, at), &like, s->path, to, value, to == s->path_length ? length : 0);
	}
	assert(at == p->at + size);
	return ST_OK;
}

enum status tree_put(struct pv_store *s, struct store_tree *t, const struct store_place *p, u16 by, const char *value, u32 length)
{
	struct store_node like;
	u32 size = record_size(s->path_length, length);

	if (!p->node)
		return create(s, t, p, by, value, length);
	if (size > PV_STORE_NODE || !has_room(s, t, by, p->node->size, size))
		return ST_NOMEM;
	like = *p->node;
	resize(s, t, p->at, p->node->size, size);
	like.generation = change(s, t);
	fill(node_at(t, p->at), &like, s->path, s->path_length, value, length);
	return ST_OK;
}

void tree_perms(struct pv_store *s, struct store_tree *t, struct store_node *n, const struct store_perm *perm, unsigned perms)
{
	assert(perms && perms <= PV_STORE_PERMS);
	memcpy(n->perm, perm, perms * sizeof(*perm));
	n->perms = (u16)perms;
	n->generation = change(s, t);
}

void tree_remove(struct pv_store *s, struct store_tree *t, struct store_node *n)
{
	u32 at = (u32)((u8 *)n - t->nodes), size = 0;

	for (const struct store_node *i = n; i; i = tree_next_under(t, i, n))
		size += i->size;
	resize(s, t, at, size, 0);
	change(s, t);
}

void tree_init(struct pv_store *s)
{
	static const struct store_node root = {.perms = 1};

	s->main.nodes = s->tree;
	s->main.used = record_size(1, 0);
	fill(tree_first(&s->main), &root, "/", 1, "", 0);
}

// ---- transactions

enum status tree_copy(struct pv_store *s, struct store_transaction *x)
{
	if (s->pool_used + s->main.used > PV_STORE_POOL)
		return ST_NOMEM;
	x->tree = (struct store_tree){.nodes = s->pool + s->pool_used, .used = s->main.used};
	memcpy(x->tree.nodes, s->main.nodes, s->main.used);
	s->pool_used += s->main.used;
	x->start = s->generation;
	return ST_OK;
}

void tree_drop(struct pv_store *s, struct store_transaction *x)
{
	resize(s, &x->tree, 0, x->tree.used, 0);
	x->id = 0;
}

// What is in the old tree and not in the new one, under nodes that are, has been removed as one.
static void fire_changes(struct pv_store *s, const struct store_transaction *x)
{
	const struct store_node *old = tree_first(&s->main), *now = tree_first(&x->tree), *gone = NULL;

	while (old || now) {
		int order = !old ? 1 : !now ? -1 : path_order(old->path, old->path_length, now->path, now->path_length);

		if (order < 0) {
			bool below = gone && path_under(old->path, old->path_length, gone->path, gone->path_length);

			watch_fire(s, &s->main, old, below ? STORE_EXACT : STORE_SUBTREE);
			gone = below ? gone : old;
		} else if (now->generation > x->start) {
			watch_fire(s, &x->tree, now, STORE_SUBTREE);
		}
		old = order <= 0 ? tree_next(&s->main, old) : old;
		now = order >= 0 ? tree_next(&x->tree, now) : now;
	}
}

void tree_commit(struct pv_store *s, struct store_transaction *x)
{
	fire_changes(s, x);
	memcpy(s->main.nodes, x->tree.nodes, x->tree.used);
	s->main.used = x->tree.used;
	change(s, &s->main);
}

// ---- audit

static bool audit_node(const struct store_node *n, const struct store_node *before)
{
	u32 end = n->path_length;

	if (n->size != record_size(n->path_length, n->value_length) || !n->perms || n->perms > PV_STORE_PERMS || n->path[end] ||
	    strlen(n->path) != end || n->path[0] != '/')
		return false;
	if (!before)
		return end == 1;
	while (n->path[end] != '/')
		end--;
	return end + 1 < n->path_length && path_order(before->path, before->path_length, n->path, n->path_length) < 0 &&
	       path_under(before->path, before->path_length, n->path, MAX(end, 1u));
}

static bool audit_tree(const struct store_tree *t)
{
	const struct store_node *before = NULL;
	u32 at = 0;

	for (; at < t->used; before = node_at(t, at), at += before->size)
		if (node_at(t, at)->size > t->used - at || !audit_node(node_at(t, at), before))
			return false;
	return at == t->used && before;
}

bool tree_audit(const struct pv_store *s)
{
	u32 sum = 0;

	if (s->main.nodes != s->tree || s->main.used > PV_STORE_TREE || !audit_tree(&s->main))
		return false;
	for (unsigned i = 0; i < PV_STORE_TRANSACTIONS; i++) {
		const struct store_transaction *x = &s->transaction[i];

		if (!x->id)
			continue;
		if (x->tree.nodes < s->pool || x->tree.nodes + x->tree.used > s->pool + s->pool_used || !audit_tree(&x->tree))
			return false;
		sum += x->tree.used;
	}
	return sum == s->pool_used;
}
