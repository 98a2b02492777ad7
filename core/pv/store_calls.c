// SPDX-License-Identifier: MIT
// Requests: their parts, those of watches and transactions, and which is which. A reply is made in s->out behind the events that its
// request has caused; there is room for the longest.
#include "core/pv/store_private.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/string.h"
#include <xen/errno.h>

// ---- parts of a request

const char *request_string(struct request *r)
{
	const char *string = r->body + r->at;

	for (u32 i = r->at; i < r->length; i++)
		if (!r->body[i]) {
			r->at = i + 1;
			return string;
		}
	return NULL;
}

const char *request_only(struct request *r)
{
	const char *string = request_string(r);

	return r->at == r->length ? string : NULL;
}

bool request_dom(const char *text, u16 *dom)
{
	u32 n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (u32)(*text - '0');
		if (n > 0xffff)
			return false;
	}
	*dom = (u16)n;
	return true;
}

void reply_bytes(struct request *r, const char *bytes, u32 length)
{
	assert(r->reply_length + length <= XENSTORE_PAYLOAD_MAX);
	memcpy(r->reply + r->reply_length, bytes, length);
	r->reply_length += length;
}

void reply_string(struct request *r, const char *text)
{
	reply_bytes(r, text, (u32)strlen(text) + 1);
}

// ---- watches

static int watch_arguments(struct pv_store *s, struct request *r, const char **token, bool *relative)
{
	const char *path = request_string(r);

	*token = request_string(r);
	if (!*token || r->at != r->length)
		return -XEN_EINVAL;
	*relative = path[0] != '/' && path[0] != '@';
	return store_path(s, path, true);
}

static int call_watch(struct pv_store *s, struct request *r)
{
	const char *token;
	bool relative;
	int error = watch_arguments(s, r, &token, &relative);

	return error ? error : watch_add(s, relative, token, (u32)strlen(token));
}

static int call_unwatch(struct pv_store *s, struct request *r)
{
	const char *token;
	bool relative;
	int error = watch_arguments(s, r, &token, &relative);

	return error ? error : watch_remove(s, token, (u32)strlen(token));
}

void store_forget(struct pv_store *s)
{
	watch_forget(s);
	for (unsigned i = 0; i < PV_STORE_TRANSACTIONS; i++)
		if (s->transaction[i].id)
			tree_drop(s, &s->transaction[i]);
}

static int call_reset_watches(struct pv_store *s, struct request *r)
{
	store_forget(s);
	return 0;
}

// ---- transactions

static struct store_transaction *find_transaction(struct pv_store *s, u32 id)
{
	for (unsigned i = 0; i < PV_STORE_TRANSACTIONS; i++)
		if (s->transaction[i].id == id)
			return &s->transaction[i];
	return NULL;
}

static int call_transaction_start(struct pv_store *s, struct request *r)
{
	struct store_transaction *x = find_transaction(s, 0);
	char text[16];

	if (r->transaction)
		return -XEN_EBUSY;
	if (!x || tree_copy(s, x) != ST_OK)
		return -XEN_ENOSPC;
	do
		s->last_id++;
	while (!s->last_id || find_transaction(s, s->last_id));
	x->id = s->last_id;
	fmt_snprintf(text, sizeof(text), "%u", x->id);
	reply_string(r, text);
	return 0;
}

// What has only read saw one state of the store, that of its start.
static int call_transaction_end(struct pv_store *s, struct request *r)
{
	const char *how = request_only(r);
	struct store_transaction *x = r->transaction;
	int error = 0;

	if (!how || (strcmp(how, "T") != 0 && strcmp(how, "F") != 0))
		return -XEN_EINVAL;
	if (!x)
		return -XEN_ENOENT;
	if (how[0] == 'T' && x->tree.changed) {
		if (s->main.changed > x->start)
			error = -XEN_EAGAIN;
		else
			tree_commit(s, x);
	}
	tree_drop(s, x);
	return error;
}

// ---- domains

static int call_domain_path(struct pv_store *s, struct request *r)
{
	const char *text = request_only(r);
	char path[32];
	u16 dom;

	if (!text || !request_dom(text, &dom))
		return -XEN_EINVAL;
	fmt_snprintf(path, sizeof(path), "/local/domain/%u", dom);
	reply_string(r, path);
	return 0;
}

// Of those who build domains.
static int call_privileged(struct pv_store *s, struct request *r)
{
	return -XEN_EACCES;
}

// ---- all

static const struct {
	store_call *call;
	bool outside; // of any transaction, whichever it names
	bool says;    // something of its own, instead of OK
} calls[] = {
	[XS_CONTROL] = {call_privileged, .outside = true},
	[XS_DIRECTORY] = {call_directory, .says = true},
	[XS_READ] = {call_read, .says = true},
	[XS_GET_PERMS] = {call_get_perms, .says = true},
	[XS_WATCH] = {call_watch, .outside = true},
	[XS_UNWATCH] = {call_unwatch, .outside = true},
	[XS_TRANSACTION_START] = {call_transaction_start, .says = true},
	[XS_TRANSACTION_END] = {call_transaction_end},
	[XS_INTRODUCE] = {call_privileged, .outside = true},
	[XS_RELEASE] = {call_privileged, .outside = true},
	[XS_GET_DOMAIN_PATH] = {call_domain_path, .says = true},
	[XS_WRITE] = {call_write},
	[XS_MKDIR] = {call_mkdir},
	[XS_RM] = {call_rm},
	[XS_SET_PERMS] = {call_set_perms},
	[XS_IS_DOMAIN_INTRODUCED] = {call_privileged, .outside = true},
	[XS_RESUME] = {call_privileged, .outside = true},
	[XS_SET_TARGET] = {call_privileged, .outside = true},
	[XS_RESET_WATCHES] = {call_reset_watches},
	[XS_DIRECTORY_PART] = {call_directory_part, .says = true},
};

static int perform(struct pv_store *s, struct request *r)
{
	u32 type = s->in.head.type, id = s->in.head.tx_id;

	if (type >= ARRAY_SIZE(calls) || !calls[type].call)
		return -XEN_ENOSYS;
	if (id && !calls[type].outside) {
		r->transaction = find_transaction(s, id);
		if (!r->transaction)
			return -XEN_ENOENT;
		r->tree = &r->transaction->tree;
	}
	return calls[type].call(s, r);
}

static const char *error_name(int error)
{
	static const char *const names[] = {
		[XEN_EINVAL] = "EINVAL", [XEN_EACCES] = "EACCES", [XEN_EEXIST] = "EEXIST", [XEN_ENOENT] = "ENOENT", [XEN_ENOSPC] = "ENOSPC",
		[XEN_ENOSYS] = "ENOSYS", [XEN_EBUSY] = "EBUSY",	  [XEN_EAGAIN] = "EAGAIN", [XEN_E2BIG] = "E2BIG",   [XEN_EPERM] = "EPERM",
	};

	assert(-error < (int)ARRAY_SIZE(names) && names[-error]);
	return names[-error];
}

void store_answer(struct pv_store *s)
{
	struct request r = {.tree = &s->main, .body = s->in.body, .length = s->in.head.len};
	struct xsd_sockmsg head = s->in.head;
	int error;

	assert(!s->out_used);
	r.reply = s->out + sizeof(head);
	error = perform(s, &r);
	r.reply = s->out + s->out_used + sizeof(head); // events go before
	if (error) {
		head.type = XS_ERROR;
		r.reply_length = 0;
		reply_string(&r, error_name(error));
	} else if (!calls[head.type].says) {
		reply_string(&r, "OK");
	}
	head.len = r.reply_length;
	memcpy(s->out + s->out_used, &head, sizeof(head));
	s->out_used += (u32)sizeof(head) + head.len;
}
