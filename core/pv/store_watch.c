// SPDX-License-Identifier: MIT
// Watches, one record behind the other, and their events. An event that finds no room in s->out makes its watch due: it is told later, with
// the watch's own path, and stands for all that happened meanwhile. So does the first event of a new watch.
#include "core/pv/store_private.h"

#include "base/assert.h"
#include "base/string.h"
#include <xen/errno.h>

struct store_watch {
	u16 size; // of the record, a multiple of 8
	u16 path_length, token_length;
	u8 hidden; // so much of a path its events do not show: the guest's home
	bool due;
	char text[]; // path, NUL, token, NUL
};

static u32 record_size(u32 path_length, u32 token_length)
{
	return ROUND_UP((u32)offsetof(struct store_watch, text) + path_length + token_length + 2, 8u);
}

static struct store_watch *next_watch(const struct pv_store *s, u32 *at)
{
	struct store_watch *w = (struct store_watch *)(s->watch + *at);

	if (*at == s->watch_used)
		return NULL;
	*at += w->size;
	return w;
}

static const char *token_of(const struct store_watch *w)
{
	return w->text + w->path_length + 1;
}

static struct store_watch *find_watch(const struct pv_store *s, const char *token, u32 length)
{
	u32 at = 0;

	for (struct store_watch *w; (w = next_watch(s, &at)) != NULL;)
		if (w->path_length == s->path_length && w->token_length == length && !memcmp(w->text, s->path, s->path_length) &&
		    !memcmp(token_of(w), token, length))
			return w;
	return NULL;
}

int watch_add(struct pv_store *s, bool relative, const char *token, u32 length)
{
	u32 size = record_size(s->path_length, length);
	struct store_watch *w = (struct store_watch *)(s->watch + s->watch_used);

	if (find_watch(s, token, length))
		return -XEN_EEXIST;
	if (s->watches == PV_STORE_WATCHES || size > PV_STORE_WATCH_BYTES - s->watch_used)
		return -XEN_ENOSPC;
	*w = (struct store_watch){.size = (u16)size,
				  .path_length = (u16)s->path_length,
				  .token_length = (u16)length,
				  .hidden = relative ? (u8)(s->home_length + 1) : 0,
				  .due = true};
	memcpy(w->text, s->path, s->path_length + 1);
	memcpy(w->text + w->path_length + 1, token, length);
	w->text[w->path_length + 1 + length] = 0;
	s->watch_used += size;
	s->watches++;
	s->due = true;
	return 0;
}

int watch_remove(struct pv_store *s, const char *token, u32 length)
{
	struct store_watch *w = find_watch(s, token, length);
	u8 *behind = w ? (u8 *)w + w->size : NULL;
	u32 size = w ? w->size : 0;

	if (!w)
		return -XEN_ENOENT;
	memmove(w, behind, (size_t)(s->watch + s->watch_used - behind));
	s->watch_used -= size;
	s->watches--;
	return 0;
}

void watch_forget(struct pv_store *s)
{
	s->watches = s->watch_used = 0;
	s->due = false;
}

// ---- events

// False: there is no room, or it would be too long.
static bool put_event(struct pv_store *s, const struct store_watch *w, const char *path, u32 length)
{
	struct xsd_sockmsg head = {.type = XS_WATCH_EVENT, .len = length - w->hidden + w->token_length + 2};
	char *out = s->out + s->out_used;

	if (head.len > XENSTORE_PAYLOAD_MAX || sizeof(head) + head.len > sizeof(s->out) - PV_STORE_MESSAGE - s->out_used)
		return false;
	memcpy(out, &head, sizeof(head));
	out += sizeof(head);
	memcpy(out, path + w->hidden, length - w->hidden);
	out += length - w->hidden;
	*out++ = 0;
	memcpy(out, token_of(w), w->token_length + 1u);
	s->out_used += (u32)sizeof(head) + head.len;
	return true;
}

static bool may_see(const struct pv_store *s, const struct store_tree *t, const struct store_node *n)
{
	struct store_place p;

	if (tree_rights(n, s->dom) & STORE_READ)
		return true;
	p = tree_locate(t, n->path, n->path_length);
	return p.above && tree_rights(p.above, s->dom) & STORE_READ;
}

static bool matches(const struct store_watch *w, const struct store_node *n, enum store_match match)
{
	if (match == STORE_EXACT && w->path_length != n->path_length)
		return false;
	return path_under(n->path, n->path_length, w->text, w->path_length);
}

void watch_fire(struct pv_store *s, const struct store_tree *t, const struct store_node *n, enum store_match match)
{
	u32 at = 0;

	if (!s->watches || !may_see(s, t, n))
		return;
	for (struct store_watch *w; (w = next_watch(s, &at)) != NULL;)
		if (!w->due && matches(w, n, match) && !put_event(s, w, n->path, n->path_length))
			s->due = w->due = true;
}

void watch_tell(struct pv_store *s)
{
	u32 at = 0;

	if (!s->due)
		return;
	s->due = false;
	for (struct store_watch *w; (w = next_watch(s, &at)) != NULL;) {
		w->due = w->due && !put_event(s, w, w->text, w->path_length);
		s->due |= w->due;
	}
}

bool watch_audit(const struct pv_store *s)
{
	u32 at = 0, watches = 0;
	bool due = false;

	while (at < s->watch_used) {
		const struct store_watch *w = (const struct store_watch *)(s->watch + at);

		if (w->size != record_size(w->path_length, w->token_length) || w->size > s->watch_used - at ||
		    strlen(w->text) != w->path_length || strlen(token_of(w)) != w->token_length || w->hidden > w->path_length)
			return false;
		due |= w->due;
		at += w->size;
		watches++;
	}
	return watches == s->watches && s->watch_used <= PV_STORE_WATCH_BYTES && (s->due || !due);
}
