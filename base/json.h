// SPDX-License-Identifier: MIT
// JSON in and out, bounded, without allocation.
//
// Reader: json_parse() checks a text against the grammar of RFC 8259 (jsmn, which tokenises, lets much pass), then values
// are small handles into it. Strings here are byte strings: a code point 0-255 is a byte, anything above is an error.
// Writer: struct json_out appends to a buffer; when that is full it keeps counting and sets `overflow`. Commas are its job.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/types.h"

struct json_token {
	int type, start, end, size; // as jsmn has them
};

struct json_doc {
	const char *text;
	size_t len;
	unsigned count;
	struct json_token *token;
};

// A value of a document; doc == NULL means "absent", and every accessor then fails.
struct json_value {
	const struct json_doc *doc;
	unsigned index;
};

enum json_kind { JSON_ABSENT, JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

// False when the text is not one JSON value, nests deeper than TZ_CONTROL_DEPTH_MAX or needs more tokens than given.
MUST_CHECK bool json_parse(struct json_doc *doc, const char *text, size_t len, struct json_token *tokens, unsigned max);
bool json_valid(const char *text, size_t len);
struct json_value json_root(const struct json_doc *doc);
enum json_kind json_kind(struct json_value v);
unsigned json_count(struct json_value v); // members of an object, elements of an array, else 0
struct json_value json_member(struct json_value object, const char *name);
struct json_value json_at(struct json_value array, unsigned i);
// The i-th member of an object: its name (a string) and its value.
bool json_member_at(struct json_value object, unsigned i, struct json_value *name, struct json_value *value);
// Copies the decoded bytes, NUL-terminated. Returns the length, or -1: no string, longer than size-1, code point > 255.
long json_string(struct json_value v, char *buf, size_t size);
bool json_string_is(struct json_value v, const char *s);
bool json_u64(struct json_value v, u64 *out); // a non-negative integer without fraction or exponent
bool json_bool(struct json_value v, bool *out);
// The text of the value as it stands (a string with its quotes).
const char *json_raw(struct json_value v, size_t *len);

struct json_out {
	char *buf;
	size_t size, len;
	bool overflow;
	bool comma; // the next value in this container needs one before it
};

void json_init(struct json_out *j, char *buf, size_t size);
void json_object(struct json_out *j);
void json_object_end(struct json_out *j);
void json_array(struct json_out *j);
void json_array_end(struct json_out *j);
void json_key(struct json_out *j, const char *key);
void json_put_u64(struct json_out *j, u64 v);
void json_put_s64(struct json_out *j, s64 v);
void json_put_bool(struct json_out *j, bool v);
void json_put_null(struct json_out *j);
void json_put_bytes(struct json_out *j, const void *bytes, size_t n); // a string
void json_put_string(struct json_out *j, const char *s);              // the same, NUL-terminated
void json_put_hex(struct json_out *j, u64 v);                         // a string "0x..."
void json_put_raw(struct json_out *j, const char *text, size_t n);    // a whole value, trusted to be JSON

// Member shorthands.
static inline void json_kv_u64(struct json_out *j, const char *key, u64 v)
{
	json_key(j, key);
	json_put_u64(j, v);
}

static inline void json_kv_string(struct json_out *j, const char *key, const char *s)
{
	json_key(j, key);
	json_put_string(j, s);
}

static inline void json_kv_bool(struct json_out *j, const char *key, bool v)
{
	json_key(j, key);
	json_put_bool(j, v);
}

static inline void json_kv_hex(struct json_out *j, const char *key, u64 v)
{
	json_key(j, key);
	json_put_hex(j, v);
}

#endif
