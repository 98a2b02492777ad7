// SPDX-License-Identifier: MIT
// JSON in and out, bounded. See json.h. The reader checks the whole text against the grammar first, so that everything
// after may rely on balanced brackets, complete escapes and well-formed numbers; jsmn then supplies the tokens.
#include "base/json.h"

#include "abi/control.h"
#include "base/string.h"

#define JSMN_STATIC
#include <jsmn.h>

_Static_assert(sizeof(struct json_token) == sizeof(jsmntok_t), "json_token mirrors jsmntok_t");

// ---- grammar ----

struct cursor {
	const char *p, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

static bool take(struct cursor *c, char ch)
{
	if (c->p >= c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return -1;
}

static bool check_escape(struct cursor *c)
{
	if (c->p >= c->end)
		return false;
	char ch = *c->p++;

	if (ch != 'u')
		return ch && strchr("\"\\/bfnrt", ch);
	for (int i = 0; i < 4; i++)
		if (c->p >= c->end || hex_digit(*c->p++) < 0)
			return false;
	return true;
}

static bool check_string(struct cursor *c)
{
	if (!take(c, '"'))
		return false;
	while (c->p < c->end) {
		u8 ch = (u8)*c->p++;

		if (ch == '"')
			return true;
		if (ch < 0x20 || (ch == '\\' && !check_escape(c)))
			return false;
	}
	return false;
}

static bool check_digits(struct cursor *c)
{
	const char *from = c->p;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return c->p > from;
}

static bool check_number(struct cursor *c)
{
	take(c, '-');
	if (!take(c, '0') && !check_digits(c))
		return false;
	if (take(c, '.') && !check_digits(c))
		return false;
	if (take(c, 'e') || take(c, 'E')) {
		if (!take(c, '+'))
			take(c, '-');
		return check_digits(c);
	}
	return true;
}

static bool check_word(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n))
		return false;
	c->p += n;
	return true;
}

static bool check_value(struct cursor *c, int depth);

static bool check_container(struct cursor *c, int depth, char close)
{
	c->p++;
	skip_space(c);
	if (take(c, close))
		return true;
	do {
		skip_space(c);
		if (close == '}') {
			if (!check_string(c))
				return false;
			skip_space(c);
			if (!take(c, ':'))
				return false;
		}
		if (!check_value(c, depth + 1))
			return false;
		skip_space(c);
	} while (take(c, ','));
	return take(c, close);
}

static bool check_value(struct cursor *c, int depth)
{
	skip_space(c);
	if (c->p >= c->end || depth > TZ_CONTROL_DEPTH_MAX)
		return false;
	switch (*c->p) {
	case '{':
		return check_container(c, depth, '}');
	case '[':
		return check_container(c, depth, ']');
	case '"':
		return check_string(c);
	case 't':
		return check_word(c, "true");
	case 'f':
		return check_word(c, "false");
	case 'n':
		return check_word(c, "null");
	default:
		return check_number(c);
	}
}

bool json_valid(const char *text, size_t len)
{
	struct cursor c = {text, text + len};

	if (!check_value(&c, 0))
		return false;
	skip_space(&c);
	return c.p == c.end;
}

// ---- reader ----

bool json_parse(struct json_doc *doc, const char *text, size_t len, struct json_token *tokens, unsigned max)
{
	jsmn_parser parser;
	int n;

	*doc = (struct json_doc){.text = text, .len = len, .token = tokens};
	if (len > INT32_MAX || !json_valid(text, len))
		return false;
	jsmn_init(&parser);
	n = jsmn_parse(&parser, text, len, (jsmntok_t *)tokens, max);
	if (n <= 0)
		return false;
	doc->count = (unsigned)n;
	return true;
}

static const struct json_token *token_of(struct json_value v)
{
	return v.doc && v.index < v.doc->count ? &v.doc->token[v.index] : NULL;
}

struct json_value json_root(const struct json_doc *doc)
{
	return doc->count ? (struct json_value){doc, 0} : (struct json_value){NULL, 0};
}

enum json_kind json_kind(struct json_value v)
{
	const struct json_token *t = token_of(v);

	if (!t)
		return JSON_ABSENT;
	switch ((jsmntype_t)t->type) {
	case JSMN_OBJECT:
		return JSON_OBJECT;
	case JSMN_ARRAY:
		return JSON_ARRAY;
	case JSMN_STRING:
		return JSON_STRING;
	default:
		break;
	}
	switch (v.doc->text[t->start]) {
	case 't':
		return JSON_TRUE;
	case 'f':
		return JSON_FALSE;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

unsigned json_count(struct json_value v)
{
	enum json_kind k = json_kind(v);

	return k == JSON_OBJECT || k == JSON_ARRAY ? (unsigned)token_of(v)->size : 0;
}

// First token after the value and all inside it.
static unsigned skip_value(const struct json_doc *doc, unsigned i)
{
	int end = doc->token[i].end;

	for (i++; i < doc->count && doc->token[i].start < end; i++)
		;
	return i;
}

struct json_value json_member(struct json_value object, const char *name)
{
	if (json_kind(object) != JSON_OBJECT)
		return (struct json_value){NULL, 0};
	const struct json_doc *doc = object.doc;
	unsigned i = object.index + 1;

	for (unsigned n = json_count(object); n > 0 && i + 1 < doc->count; n--) {
		if (json_string_is((struct json_value){doc, i}, name))
			return (struct json_value){doc, i + 1};
		i = skip_value(doc, i + 1);
	}
	return (struct json_value){NULL, 0};
}

bool json_member_at(struct json_value object, unsigned n, struct json_value *name, struct json_value *value)
{
	if (json_kind(object) != JSON_OBJECT || n >= json_count(object))
		return false;
	unsigned i = object.index + 1;

	while (n-- > 0)
		i = skip_value(object.doc, i + 1);
	*name = (struct json_value){object.doc, i};
	*value = (struct json_value){object.doc, i + 1};
	return true;
}

struct json_value json_at(struct json_value array, unsigned n)
{
	if (json_kind(array) != JSON_ARRAY || n >= json_count(array))
		return (struct json_value){NULL, 0};
	unsigned i = array.index + 1;

	while (n-- > 0 && i < array.doc->count)
		i = skip_value(array.doc, i);
	return (struct json_value){array.doc, i};
}

// One byte of a string, or -1. The text between *p and end holds complete escapes.
static int next_byte(const char **p, const char *end)
{
	static const char from[] = "bfnrt\"\\/", to[] = "\b\f\n\r\t\"\\/";
	u8 ch = (u8) * (*p)++;

	if (ch == '\\') {
		char e = *(*p)++;
		int v = 0;

		if (e != 'u')
			return (u8)to[strchr(from, e) - from];
		for (int i = 0; i < 4; i++)
			v = v * 16 + hex_digit(*(*p)++);
		return v <= 0xff ? v : -1;
	}
	if (ch < 0x80)
		return ch;
	if ((ch != 0xc2 && ch != 0xc3) || *p >= end || ((u8) * *p & 0xc0) != 0x80)
		return -1;
	return (ch & 3) << 6 | ((u8) * (*p)++ & 0x3f);
}

long json_string(struct json_value v, char *buf, size_t size)
{
	size_t len = 0;

	if (json_kind(v) != JSON_STRING || !size)
		return -1;
	const char *p = v.doc->text + token_of(v)->start, *end = v.doc->text + token_of(v)->end;

	while (p < end) {
		int b = next_byte(&p, end);

		if (b < 0 || len + 1 >= size)
			return -1;
		buf[len++] = (char)b;
	}
	buf[len] = 0;
	return (long)len;
}

bool json_string_is(struct json_value v, const char *s)
{
	if (json_kind(v) != JSON_STRING)
		return false;
	const char *p = v.doc->text + token_of(v)->start, *end = v.doc->text + token_of(v)->end;

	while (p < end) {
		int b = next_byte(&p, end);

		if (b <= 0 || b != (u8)*s++)
			return false;
	}
	return !*s;
}

bool json_u64(struct json_value v, u64 *out)
{
	if (json_kind(v) != JSON_NUMBER)
		return false;
	const struct json_token *t = token_of(v);
	u64 n = 0;

	for (int i = t->start; i < t->end; i++) {
		unsigned d = (unsigned)(v.doc->text[i] - '0');

		if (d > 9 || n > (~0ull - d) / 10)
			return false;
		n = n * 10 + d;
	}
	*out = n;
	return true;
}

bool json_bool(struct json_value v, bool *out)
{
	enum json_kind k = json_kind(v);

	if (k != JSON_TRUE && k != JSON_FALSE)
		return false;
	*out = k == JSON_TRUE;
	return true;
}

const char *json_raw(struct json_value v, size_t *len)
{
	const struct json_token *t = token_of(v);
	int quotes = json_kind(v) == JSON_STRING;

	*len = 0;
	if (!t)
		return NULL;
	*len = (size_t)(t->end - t->start + 2 * quotes);
	return v.doc->text + t->start - quotes;
}

// ---- writer ----

static void put(struct json_out *j, const char *s, size_t n)
{
	if (n > j->size - j->len) {
		j->overflow = true;
		n = j->size - j->len;
	}
	memcpy(j->buf + j->len, s, n);
	j->len += n;
}

static void put_value(struct json_out *j, const char *s, size_t n)
{
	if (j->comma)
		put(j, ",", 1);
	put(j, s, n);
	j->comma = true;
}

void json_init(struct json_out *j, char *buf, size_t size)
{
	*j = (struct json_out){.buf = buf, .size = size};
}

void json_object(struct json_out *j)
{
	put_value(j, "{", 1);
	j->comma = false;
}

void json_object_end(struct json_out *j)
{
	put(j, "}", 1);
	j->comma = true;
}

void json_array(struct json_out *j)
{
	put_value(j, "[", 1);
	j->comma = false;
}

void json_array_end(struct json_out *j)
{
	put(j, "]", 1);
	j->comma = true;
}

void json_put_bytes(struct json_out *j, const void *bytes, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	const u8 *b = bytes;

	put_value(j, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		char esc[6] = {'\\', 'u', '0', '0', hex[b[i] >> 4], hex[b[i] & 15]};

		if (b[i] == '"' || b[i] == '\\')
			put(j, (const char[]){'\\', (char)b[i]}, 2);
		else if (b[i] == '\n' || b[i] == '\r')
			put(j, b[i] == '\n' ? "\\n" : "\\r", 2);
		else if (b[i] >= 0x20 && b[i] < 0x7f)
			put(j, (const char *)&b[i], 1);
		else
			put(j, esc, 6);
	}
	put(j, "\"", 1);
}

void json_put_string(struct json_out *j, const char *s)
{
	json_put_bytes(j, s, strlen(s));
}

void json_key(struct json_out *j, const char *key)
{
	json_put_string(j, key);
	put(j, ":", 1);
	j->comma = false;
}

void json_put_u64(struct json_out *j, u64 v)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	put_value(j, digits + i, sizeof(digits) - i);
}

void json_put_s64(struct json_out *j, s64 v)
{
	if (v >= 0) {
		json_put_u64(j, (u64)v);
		return;
	}
	put_value(j, "-", 1);
	j->comma = false;
	json_put_u64(j, 0 - (u64)v);
}

void json_put_hex(struct json_out *j, u64 v)
{
	char text[18];
	size_t i = sizeof(text);

	do {
		text[--i] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	text[--i] = 'x';
	text[--i] = '0';
	json_put_bytes(j, text + i, sizeof(text) - i);
}

void json_put_bool(struct json_out *j, bool v)
{
	put_value(j, v ? "true" : "false", v ? 4 : 5);
}

void json_put_null(struct json_out *j)
{
	put_value(j, "null", 4);
}

void json_put_raw(struct json_out *j, const char *text, size_t n)
{
	put_value(j, text, n);
}
