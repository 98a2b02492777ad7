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

static bool in_key(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static void set_error_key(struct vmscan *out, const char *from, size_t len)
{
	len = MIN(len, (size_t)VMSCAN_NAME_MAX);
	memcpy(out->error_key, from, len);
	out->error_key[len] = 0;
}

static bool fail(struct scanner *s, const char *what)
{
	const char *key = vmscan_key_at(s->out, s->line);

	s->out->error = what;
	s->out->error_line = s->line;
	set_error_key(s->out, key, strlen(key));
	return false;
}

// The same for a statement that is no assignment: its first word is the key.
static bool fail_word(struct scanner *s, const char *from, const char *what)
{
	const char *p = from;

	while (p < s->end && (in_key(*p) || (*p >= 'A' && *p <= 'Z') || *p == '-'))
		p++;
	s->out->error = what;
	s->out->error_line = s->line;
	set_error_key(s->out, from, (size_t)(p - from));
	return false;
}

static void skip_blanks(struct scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
		s->p++;
}

// Reads `key =` or `key +=` at the start of a statement, up to its value.
static bool scan_key(struct scanner *s)
{
	const char *from = s->p;
	size_t len;
	bool add;

	while (s->p < s->end && in_key(*s->p))
		s->p++;
	len = (size_t)(s->p - from);
	if (!len || *from < 'a' || *from > 'z')
		return fail_word(s, from, "a key begins with a lower-case letter");
	skip_blanks(s);
	add = s->p < s->end && *s->p == '+';
	if (add)
		s->p++;
	if (s->p >= s->end || *s->p != '=')
		return fail_word(s, from, "no '=' after the key");
	s->p++;
	skip_blanks(s);
	if (s->p >= s->end || strchr("\n;#", *s->p))
		return fail_word(s, from, "no value");
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
	bool hex = p < end && *p == 'x';
	unsigned digits = 0, most = hex ? 2 : 3;

	if (hex)
		p++;
	for (; p < end && *p == '0' && digits < most; p++)
		digits++;
	return digits && (digits == most || p >= end || *p < '0' || *p > '9');
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

// A NUL comes first whatever else is wrong: nothing behind it was looked at.
static void fail_at_nul(struct scanner *s, const char *text, const char *nul)
{
	s->line = 1;
	for (const char *p = text; p < nul; p++)
		s->line += *p == '\n';
	fail(s, "a NUL byte");
}

void vmscan(struct vmscan *out, const char *text, size_t len)
{
	struct scanner s = {.out = out, .p = text, .end = text + len, .line = 1};
	const char *nul = len ? memchr(text, 0, len) : NULL;
	bool start = true;

	out->count = 0;
	out->error = NULL;
	if (nul)
		s.end = nul;
	while (s.p < s.end) {
		if (start && !strchr(" \t\n;#", *s.p)) {
			start = false;
			if (!scan_key(&s))
				break;
			continue;
		}
		if (*s.p != ' ' && *s.p != '\t')
			start = false;
		if (!scan_token(&s, &start))
			break;
	}
	if (nul)
		fail_at_nul(&s, text, nul);
	else if (!out->error && s.depth)
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
