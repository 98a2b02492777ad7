// SPDX-License-Identifier: MIT
// LZ77 with a hash table of last positions. The stream is a sequence of items:
//   0lllllll                     l + 1 literal bytes follow
//   1lllllll dddddddd dddddddd   copy l + MATCH_MIN bytes from d bytes (little-endian, not 0) before
#include "lz.h"

#include <string.h>

enum { HASH_BITS = 14, MATCH_MIN = 4, MATCH_MAX = MATCH_MIN + 127, LITERALS_MAX = 128, WINDOW = 65535 };

static uint32_t word_at(const uint8_t *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static uint8_t *put_literals(uint8_t *to, const uint8_t *from, size_t n)
{
	while (n) {
		size_t part = n < LITERALS_MAX ? n : LITERALS_MAX;

		*to++ = part - 1;
		memcpy(to, from, part);
		to += part;
		from += part;
		n -= part;
	}
	return to;
}

size_t lz_compress(const uint8_t *from, size_t n, uint8_t *to)
{
	static uint32_t last[1 << HASH_BITS]; // position + 1; 0: none
	uint8_t *out = to;
	size_t at = 0, literals = 0; // where those not yet written begin

	memset(last, 0, sizeof(last));
	while (at + MATCH_MIN <= n) {
		uint32_t h = word_at(from + at) * 2654435761u >> (32 - HASH_BITS);
		size_t candidate = last[h], length = 0;

		last[h] = at + 1;
		if (candidate && at - (candidate - 1) <= WINDOW)
			while (length < MATCH_MAX && at + length < n &&
			       from[candidate - 1 + length] == from[at + length])
				length++;
		if (length < MATCH_MIN) {
			at++;
			continue;
		}
		out = put_literals(out, from + literals, at - literals);
		*out++ = 0x80 | (length - MATCH_MIN);
		*out++ = (at - (candidate - 1)) & 0xff;
		*out++ = (at - (candidate - 1)) >> 8;
		at += length;
		literals = at;
	}
	out = put_literals(out, from + literals, n - literals);
	return out - to;
}

size_t lz_expand(const uint8_t *from, size_t n, uint8_t *to, size_t room)
{
	size_t in = 0, out = 0;

	while (in < n) {
		size_t length = from[in] & 0x7f, distance;

		if (!(from[in++] & 0x80)) {
			length++;
			if (length > n - in || length > room - out)
				return 0;
			memcpy(to + out, from + in, length);
			in += length;
			out += length;
			continue;
		}
		length += MATCH_MIN;
		if (n - in < 2)
			return 0;
		distance = from[in] | from[in + 1] << 8;
		in += 2;
		if (!distance || distance > out || length > room - out)
			return 0;
		for (; length; length--, out++)
			to[out] = to[out - distance]; // may overlap
	}
	return out;
}

void lz_text(uint8_t *to, size_t n)
{
	static const char syllable[16][4] = {"ba",  "ker", "lo",  "min", "ta", "sur", "ve", "no",
					     "pel", "ri",  "qua", "do",  "xi", "fen", "gu", "ost"};
	uint32_t x = 1;

	for (size_t at = 0; at < n;) {
		uint32_t rank, word, syllables;

		x = x * 1664525 + 1013904223;
		rank = (x >> 22) * (x >> 12 & 0x3ff) >> 10; // low ranks are common
		word = (rank + 1) * 2246822519u;
		syllables = 1 + (word >> 30);
		for (uint32_t s = 0; s < syllables; s++)
			for (const char *c = syllable[word >> (4 * s) & 15]; *c && at < n; c++)
				to[at++] = *c;
		if (at < n)
			to[at++] = rank % 13 ? ' ' : '\n';
	}
}
