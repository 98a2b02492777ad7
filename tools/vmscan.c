// SPDX-License-Identifier: MIT
// The lexical rules are those of xl.cfg(5) as libxlutil has them: a statement is `key = value` or `key += value`, ended by
// a newline or ';' outside brackets; strings in single or double quotes end on their line; '#' comments to the line's end.
#include "tools/vmscan.h"

#include <string.h>

struct scanner {
	struct vmscan *out;
	const char *p, *end;
	unsigned line;
	unsigned depth; // open brackets
};

static bool fail(struct scanner *s, const char *what)
{
	s->out->error = what;
	s->out->error_line = s->line;
	s->out->error_key = vmscan_key_at(s->out, s->line);
	return false;
}

static bool in_key(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static void skip_blanks(struct scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
		s->p++;
}

// Reads `key =` or `key +=` at the start of a statement; anything else there is left to libxlutil to refuse.
static bool scan_key(struct scanner *s)
{
	const char *from = s->p;
	size_t len;
	bool add;

	while (s->p < s->end && in_key(*s->p))
		s->p++;
	len = (size_t)(s->p - from);
	skip_blanks(s);
	add = s->p < s->end && *s->p == '+';
	if (add)
		s->p++;
	if (s->p >= s->end || *s->p != '=')
		return true;
	s->p++;
	if (len > VMSCAN_NAME_MAX)
		return fail(s, "name of the key is too long");
	if (s->out->count == VMSCAN_KEYS_MAX)
		return fail(s, "too many keys");
	struct vmscan_key *k = &s->out->key[s->out->count++];

	memcpy(k->name, from, len);
	k->name[len] = 0;
	k->line = s->line;
	k->add = add;
	return true;
}

// An escape like \000 would put a NUL into the value.
static bool nul_escape(const char *p, const char *end)
{
	unsigned digits = 0;
	bool hex = p < end && *p == 'x';

	if (hex)
		p++;
	for (; p < end && *p == '0' && digits < 3; p++)
		digits++;
	return digits && (p >= end || digits == 3 || !((*p >= '0' && *p <= '9') || (hex && strchr("abcdefABCDEF", *p))));
}

static bool scan_string(struct scanner *s)
{
	char quote = *s->p++;

	for (; s->p < s->end && *s->p != '\n'; s->p++) {
		if (*s->p == quote) {
			s->p++;
			return true;
		}
		if (*s->p != '\\')
			continue;
		s->p++;
		if (s->p >= s->end || *s->p == '\n')
			break;
		if (nul_escape(s->p, s->end))
			return fail(s, "a NUL in a string");
	}
	return fail(s, "string without its closing quote");
}

static void skip_comment(struct scanner *s)
{
	while (s->p < s->end && *s->p != '\n')
		s->p++;
}

// One token of a value, or a separator; sets *start where a statement may begin next.
static bool scan_token(struct scanner *s, bool *start)
{
	char c = *s->p;

	if (c == '\'' || c == '"')
		return scan_string(s);
	if (c == '#') {
		skip_comment(s);
		return true;
	}
	s->p++;
	if (c == '\n') {
		s->line++;
		*start = !s->depth;
	} else if (c == ';') {
		*start = !s->depth;
	} else if (c == '[') {
		s->depth++;
	} else if (c == ']' && s->depth) {
		s->depth--;
	}
	return true;
}

void vmscan(struct vmscan *out, const char *text, size_t len)
{
	struct scanner s = { .out = out, .p = text, .end = text + len, .line = 1 };
	const char *nul = len ? memchr(text, 0, len) : NULL;
	bool start = true;

	out->count = 0;
	out->error = NULL;
	if (nul)
		s.end = nul;
	while (s.p < s.end) {
		if (start && in_key(*s.p)) {
			start = false;
			if (!scan_key(&s))
				return;
			continue;
		}
		if (*s.p != ' ' && *s.p != '\t')
			start = false;
		if (!scan_token(&s, &start))
			return;
	}
	if (nul)
		fail(&s, "a NUL byte");
	else if (s.depth)
		fail(&s, "list without its closing bracket");
}

const struct vmscan_key *vmscan_find(const struct vmscan *s, const char *name)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!strcmp(s->key[i].name, name))
			return &s->key[i];
	return NULL;
}

const char *vmscan_key_at(const struct vmscan *s, unsigned line)
{
	const char *name = "";

	for (unsigned i = 0; i < s->count && s->key[i].line <= line; i++)
		name = s->key[i].name;
	return name;
}
